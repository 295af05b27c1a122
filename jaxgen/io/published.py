"""Files of weights that others have published: download each once, and compare it with the SHA-256 that is known of it."""

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
      what: what the file holds, in the plural, for messages.
      url: the address.
      sha256: of the whole file, in hexadecimal digits.
      max_bytes: largest size that is downloaded.
      name: of the file in the cache.
    """

    what: str
    url: str
    sha256: str
    max_bytes: int
    name: str


def published_path(file: PublishedFile) -> pathlib.Path:
    """Return the path of a published file in the cache, and download it first if it is not there.

    A download is compared with the whole SHA-256. A file that somebody put into the cache is taken as it is.

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
