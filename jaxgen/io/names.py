"""Turn names from files, data sets and configs into valid file names."""

from __future__ import annotations

import hashlib
import re

LONGEST = (
    100  # largest number of UTF-8 bytes in a name: file systems allow 255, which leaves room for prefixes and suffixes
)
DIGITS = 8  # number of hexadecimal digits of the hash


def safe_name(name: str) -> str:
    """Return a name that can be one part of a path: the same name if possible.

    Letters, digits and ``_ . + = -`` stay; runs of other characters and of dots become one ``-``, dots and dashes at both
    ends are removed, and a long name is cut. A hash is appended to a name that was changed, and to a name that already ends
    like one with a hash, so that different names stay different.

    Args:
      name: any text, such as the name of a class.

    Example:
      >>> safe_name('black-and-tan_coonhound'), safe_name('a/../b')
      ('black-and-tan_coonhound', 'a-b-900ea8b7')
    """
    kept = re.sub(r'([^\w.+=-]|\.{2,})+', '-', name).strip('.-')
    kept = kept.encode()[:LONGEST].decode(errors='ignore')
    if kept == name and name and not re.search(rf'(^|-)[0-9a-f]{{{DIGITS}}}$', name):
        return name
    digest = hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:DIGITS]
    return f'{kept}-{digest}'.lstrip('-')
