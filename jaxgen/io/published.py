"""Published files of weights: each is downloaded once and compared with its known SHA-256."""

from __future__ import annotations

import dataclasses
import pathlib

from jaxgen.errors import UserError, reason
from jaxgen.io.download import download, reachable
from jaxgen.io.files import cache_dir, replacing
from jaxgen.io.hashes import file_hash


@dataclasses.dataclass(frozen=True)
class PublishedFile:
    """A file that is published at an address and never changes.

    Attributes:
      what: the content of the file, in the plural, for messages.
      url: the address of the file.
      sha256: hash of the whole file, in hexadecimal digits.
      max_bytes: largest size that is downloaded.
      name: name of the file in the cache.
    """

    what: str
    url: str
    sha256: str
    max_bytes: int
    name: str


def published_path(file: PublishedFile) -> pathlib.Path:
    """Return the path of a published file in the cache, and download it first if necessary.

    The SHA-256 of a download is checked. A file that is already in the cache is used as it is.

    Raises:
      UserError: if the file cannot be downloaded, or the address sends something else.
    """
    path = cache_dir() / file.name
    if path.exists():
        return path
    how = f'download it elsewhere, and put it at {path} or pass the path of the file'
    if not reachable(file.url):
        raise UserError(f'{file.what} are not at {path} and {file.url} cannot be reached: {how}')
    try:
        with replacing(path) as temporary:
            received = pathlib.Path(temporary)
            download(file.url, received, file.max_bytes)
            if file_hash(received) != file.sha256:
                raise UserError(f'{file.url} sent something other than the published file (its SHA-256 differs): {how}')
    except OSError as e:
        raise UserError(f'downloading {file.url} failed ({reason(e)}): {how}') from e
    return path
