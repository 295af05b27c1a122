"""Folders of weights on the Hugging Face Hub."""

from __future__ import annotations

import fnmatch
import pathlib
import re
from collections.abc import Sequence

from jaxgen.errors import UserError, check, reason, shortened
from jaxgen.io.download import TIMEOUT, reachable
from jaxgen.io.hashes import file_hash
from jaxgen.schema import expanded

NAME = re.compile(r'[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*')  # as in google/ddpm-cifar10-32
LONGEST_NAME = 96  # largest number of characters in a name
FORBIDDEN = re.compile(r'--|\.\.|[-.](/|$)|\.git$')  # patterns that a name may not contain
WEIGHTS = 'diffusion_pytorch_model'  # stem of the names of diffusers' weights files
SHA256 = re.compile(r'[0-9a-f]{64}')
MAX_BYTES = 16 * 2**30  # largest size of all files of a folder together
DIFFUSERS = ('*.json', f'*{WEIGHTS}.safetensors')
BIN = ('*.json', f'*{WEIGHTS}.bin')  # for folders without safetensors


def folder(path: str, files: Sequence[str] = DIFFUSERS) -> pathlib.Path:
    """Return a local folder as it is, or download the folder with this name on the Hub.

    Downloads are kept in the Hub's own cache. Large files are stored there under their SHA-256, which is checked every time.
    Nothing is downloaded if the files are larger than ``MAX_BYTES`` according to the Hub. In a diffusers folder the
    ``.safetensors`` files are preferred; PyTorch's ``.bin`` files are downloaded only if there are no others.

    Args:
      path: a local folder, or a name on the Hub such as ``google/ddpm-cifar10-32``.
      files: patterns of the files to download; the files of a diffusers folder if not set.

    Raises:
      UserError: if there is no such folder, it is too large or damaged, or the Hub cannot be reached.
    """
    local = pathlib.Path(expanded(path))
    if local.is_dir():
        return local
    if not NAME.fullmatch(path):
        raise UserError(f'{path} is neither a folder nor a name on the Hugging Face Hub')
    missing = f'{path} is not a folder here'
    by_hand = 'or download it elsewhere and pass its folder'
    try:
        from huggingface_hub import HfApi, constants, snapshot_download
    except ImportError as e:
        raise UserError(
            f'{missing}, and downloading it from the Hugging Face Hub takes huggingface_hub: pip install huggingface_hub, '
            f'{by_hand}'
        ) from e

    online = not constants.HF_HUB_OFFLINE and reachable(constants.ENDPOINT)

    def fetched(patterns: Sequence[str]) -> pathlib.Path:
        if online:
            about = HfApi().model_info(path, files_metadata=True, timeout=TIMEOUT)
            sizes = [file.size or 0 for file in about.siblings or () if _matches(file.rfilename, patterns)]
            check(sum(sizes) <= MAX_BYTES, f'{path} has {sum(sizes)} bytes, and at most {MAX_BYTES} are downloaded')
        return pathlib.Path(snapshot_download(path, allow_patterns=list(patterns), local_files_only=not online))

    try:
        found = fetched(files)
        if files == DIFFUSERS and not any(found.rglob(f'{WEIGHTS}.safetensors')):
            files = BIN
            found = fetched(files)
    except UserError:
        raise
    except Exception as e:  # errors of huggingface_hub, of its HTTP client and of the file system share no base class
        if not online:
            raise UserError(f'{missing}, and {constants.ENDPOINT} cannot be reached: connect, {by_hand}') from e
        raise UserError(
            f'{missing}, and the Hugging Face Hub does not provide it ({reason(e)}): check the name, {by_hand}'
        ) from e
    _check_hashes(found, files)
    return found


def require_name(name: str) -> None:
    """Refuse a text that cannot be the name of a repository on the Hub.

    Raises:
      UserError: if it cannot; the message describes a valid name.
    """
    check(
        NAME.fullmatch(name) is not None and len(name) <= LONGEST_NAME and not FORBIDDEN.search(name),
        f'{shortened(name)} is not the name of a repository on the Hugging Face Hub: write OWNER/NAME, in letters, digits, '
        f'hyphens, underscores and full stops',
    )


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _check_hashes(folder: pathlib.Path, patterns: Sequence[str]) -> None:
    """Compare the files of a folder in the Hub's cache with the SHA-256 in the names of the files that they link to.

    Small files have no SHA-256 as a name, and neither have files on a system without links.

    Raises:
      UserError: if a file is damaged; the message names it.
    """
    for path in sorted(folder.rglob('*')):
        blob = path.resolve()
        if path.is_file() and _matches(path.relative_to(folder).as_posix(), patterns) and SHA256.fullmatch(blob.name):
            check(
                file_hash(blob) == blob.name,
                f'{path} is damaged (its SHA-256 is not the one that the Hub states): delete {blob} and run this again',
            )
