"""Upload a folder to a repository of models on the Hugging Face Hub."""

from __future__ import annotations

import pathlib

from jaxgen.errors import UserError, check, reason
from jaxgen.io import hub
from jaxgen.io.download import TIMEOUT, reachable
from jaxgen.io.run_directory import CONFIG, WEIGHTS


def upload(folder: pathlib.Path, repository: str, private: bool = False) -> str:
    """Upload the files of a folder in one commit, and return the address of the repository.

    The repository is created if it does not exist. If it already has a model of jaxgen, it gets another commit.

    Args:
      folder: the folder, which is kept even if the upload fails.
      repository: the name of the repository on the Hub, as in ``owner/name``.
      private: whether a new repository is visible to its owner only.

    Raises:
      UserError: if huggingface_hub or a token is missing, the Hub cannot be reached or refuses, or the repository contains
        something else.
    """
    hub.require_name(repository)
    kept = f'the model is in {folder}'
    again = f'hf upload {repository} {folder}'
    try:
        from huggingface_hub import HfApi, constants, get_token
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as e:
        raise UserError(
            f'uploading to the Hugging Face Hub takes huggingface_hub; {kept}: pip install huggingface_hub, then {again}'
        ) from e
    check(
        get_token() is not None,
        f'there is no token for the Hugging Face Hub; {kept}: run hf auth login or set HF_TOKEN, then {again}',
    )
    check(
        not constants.HF_HUB_OFFLINE and reachable(constants.ENDPOINT),
        f'the Hugging Face Hub ({constants.ENDPOINT}) cannot be reached; {kept}: connect, then {again}',
    )
    try:
        api = HfApi(endpoint=constants.ENDPOINT)
        url = api.create_repo(repository, private=private or None, exist_ok=True)
        check(
            _is_ours([file.rfilename for file in api.model_info(repository, timeout=TIMEOUT).siblings or ()]),
            f'{repository} exists on the Hugging Face Hub and holds something other than a model of jaxgen; {kept}: choose '
            f'another name',
        )
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message='Upload a model of jaxgen')
    except UserError:
        raise
    except Exception as e:  # errors of huggingface_hub, of its HTTP client and of the file system share no base class
        raise UserError(f'{_refusal(e, repository, HfHubHTTPError)}; {kept}: {_remedy(e, again)}') from e
    return str(url)


def _is_ours(files: list[str]) -> bool:
    """Return whether a repository with these files is empty or holds a model of jaxgen."""
    return {CONFIG, WEIGHTS} <= {*files} or not {*files} - {'.gitattributes'}


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, 'response', None), 'status_code', None)


def _refusal(error: Exception, repository: str, refused: type[Exception]) -> str:
    """Describe the error of an upload."""
    if _status(error) == 401:
        return 'the Hugging Face Hub does not accept the token'
    if _status(error) == 403:
        return f'the Hugging Face Hub does not let the owner of the token write to {repository}'
    if isinstance(error, refused):
        return f'the Hugging Face Hub refuses {repository} ({reason(error)})'
    return f'the upload to {repository} failed ({reason(error)})'


def _remedy(error: Exception, again: str) -> str:
    """Return the advice for an error of an upload."""
    return {
        401: f'run hf auth login or set HF_TOKEN to a token that may write, then {again}',
        403: 'choose a name under your own account, or a token that may write there',
    }.get(_status(error) or 0, f'correct that, then {again}')
