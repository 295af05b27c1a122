"""Download folders of the Hugging Face Hub."""

from __future__ import annotations

import pathlib
import re

from jaxgen.errors import UserError
from jaxgen.io.download import reachable

NAME = re.compile(r'[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*')  # as in google/ddpm-cifar10-32
WEIGHTS = 'diffusion_pytorch_model'


def folder(path: str) -> pathlib.Path:
    """Return a local folder as it is, or the folder that the Hub has under this name, downloaded once.

    Raises:
      UserError: if there is no such folder, or the Hub cannot be reached.
    """
    local = pathlib.Path(path).expanduser()
    if local.is_dir():
        return local
    if not NAME.fullmatch(path):
        raise UserError(f'config.interop.path={path} is not a folder, nor a name on the Hugging Face Hub')
    missing = f'config.interop.path={path} is not a folder here'
    by_hand = 'or download it elsewhere and pass its folder'
    try:
        from huggingface_hub import constants, snapshot_download
    except ImportError as e:
        raise UserError(
            f'{missing}, and to get it from the Hugging Face Hub takes huggingface_hub: pip install huggingface_hub, {by_hand}'
        ) from e

    online = not constants.HF_HUB_OFFLINE and reachable(constants.ENDPOINT)

    def fetched(*patterns: str) -> pathlib.Path:
        return pathlib.Path(snapshot_download(path, allow_patterns=list(patterns), local_files_only=not online))

    try:
        found = fetched('*.json', f'*{WEIGHTS}.safetensors')
        if not any(found.rglob(f'{WEIGHTS}.safetensors')):
            found = fetched('*.json', f'*{WEIGHTS}.bin')
    except Exception as e:  # huggingface_hub's own, its HTTP client's and the file system's have nothing in common
        if not online:
            raise UserError(f'{missing}, and {constants.ENDPOINT} cannot be reached: connect, {by_hand}') from e
        reason = (str(e).strip() or type(e).__name__).splitlines()[0]
        raise UserError(
            f'{missing}, and the Hugging Face Hub does not give it ({reason}): check the name, {by_hand}'
        ) from e
    return found
