"""Folders of weights on the Hugging Face Hub."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Sequence

from jaxgen.errors import UserError
from jaxgen.io.download import reachable
from jaxgen.schema import expanded

NAME = re.compile(r'[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*')  # as in google/ddpm-cifar10-32
WEIGHTS = 'diffusion_pytorch_model'  # stem of the files of weights that diffusers writes
DIFFUSERS = ('*.json', f'*{WEIGHTS}.safetensors')


def folder(path: str, files: Sequence[str] = DIFFUSERS) -> pathlib.Path:
    """Return a local folder as it is, or download the folder of this name on the Hub.

    The Hub's own cache keeps what was downloaded. Of a folder of diffusers the ``.safetensors`` files are preferred; PyTorch's
    ``.bin`` files are downloaded if there are no others.

    Args:
      path: a local folder, or a name on the Hub such as ``google/ddpm-cifar10-32``.
      files: patterns of the files to download; those of diffusers if not set.

    Raises:
      UserError: if there is no such folder, or the Hub cannot be reached.
    """
    local = pathlib.Path(expanded(path))
    if local.is_dir():
        return local
    if not NAME.fullmatch(path):
        raise UserError(f'{path} is neither a folder nor a name on the Hugging Face Hub')
    missing = f'{path} is not a folder here'
    by_hand = 'or download it elsewhere and pass its folder'
    try:
        from huggingface_hub import constants, snapshot_download
    except ImportError as e:
        raise UserError(
            f'{missing}, and downloading it from the Hugging Face Hub takes huggingface_hub: pip install huggingface_hub, '
            f'{by_hand}'
        ) from e

    online = not constants.HF_HUB_OFFLINE and reachable(constants.ENDPOINT)

    def fetched(*patterns: str) -> pathlib.Path:
        return pathlib.Path(snapshot_download(path, allow_patterns=list(patterns), local_files_only=not online))

    try:
        found = fetched(*files)
        if files == DIFFUSERS and not any(found.rglob(f'{WEIGHTS}.safetensors')):
            found = fetched('*.json', f'*{WEIGHTS}.bin')
    except Exception as e:  # errors of huggingface_hub, of its HTTP client and of the file system share no base class
        if not online:
            raise UserError(f'{missing}, and {constants.ENDPOINT} cannot be reached: connect, {by_hand}') from e
        reason = (str(e).strip() or type(e).__name__).splitlines()[0]
        raise UserError(
            f'{missing}, and the Hugging Face Hub does not provide it ({reason}): check the name, {by_hand}'
        ) from e
    return found
