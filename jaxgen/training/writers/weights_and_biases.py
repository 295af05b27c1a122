"""Curves and images of a run on Weights & Biases."""

from __future__ import annotations

import os
import secrets
import tempfile

import numpy as np
from etils import epath

from jaxgen.errors import UserError, check, reason
from jaxgen.io.files import is_remote, read_object, write_json
from jaxgen.io.processes import is_first
from jaxgen.io.run_directory import read_config
from jaxgen.runtime import progress
from jaxgen.types import Fields, JsonObject

FILE = 'wandb.json'  # in the run directory: the project, the id, and the last step that was sent for each curve
SECONDS = 30  # longest wait for the server at the start


class WeightsAndBiases:
    """A writer to a run of Weights & Biases, which continues when training resumes.

    W&B numbers the values that it receives, and drops values with a smaller number than before. Each value is therefore sent
    with its ``step``, the x axis of its curve. When training resumes from an earlier checkpoint, it repeats the steps since
    then with the same values, because they depend on the config, the seed and the step alone. Values that were sent before are
    not sent again, so the steps of a curve never decrease.

    Args:
      workdir: the run directory.
      start: the step at which training starts or resumes; at step 0 a new run of W&B begins.
      project: ``project`` or ``entity/project``.

    Raises:
      UserError: if W&B does not start, or the file of an earlier run is damaged.
    """

    def __init__(self, workdir: epath.Path, start: int, project: str):
        self._path = workdir / FILE
        self._run = None
        if not is_first():
            return
        self._record = _record(self._path, project) if start else _new(project)
        try:
            self._run = _started(workdir, project, str(self._record['id']))
        except Exception as e:  # errors of wandb and of its service share no base class
            raise UserError(
                f'log.wandb={project}: Weights & Biases does not start ({reason(e)}): run wandb login, connect to the network, '
                f'or set WANDB_MODE=offline and upload the run later'
            ) from e
        write_json(self._path, self._record)
        progress.say(f'Weights & Biases: {_place(self._run)}')

    def write_scalars(self, step: int, values: dict[str, float]) -> None:
        """Write one point of each curve that has no point at this step or a later one."""
        self._write(step, dict(values))

    def write_image(self, step: int, name: str, image: np.ndarray) -> None:
        """Write an image, uint8 ``[H, W, C]``."""
        if self._run is not None:
            import wandb

            self._write(step, {name: wandb.Image(image[..., 0] if image.shape[-1] == 1 else image)})

    def _write(self, step: int, values: dict[str, object]) -> None:
        if self._run is None:
            return
        sent = self._record['sent']
        new = {name: value for name, value in values.items() if step > sent.get(name, -1)}
        if not new:
            return
        try:
            self._run.log({'step': step, **new})
        except Exception as e:  # the service of wandb may have ended; training goes on
            progress.say(f'warning: Weights & Biases gets nothing more ({reason(e)}); metrics.jsonl has all metrics')
            self._run = None
            return
        sent.update(dict.fromkeys(new, step))
        write_json(self._path, self._record)

    def close(self, is_complete: bool) -> None:
        """Wait until everything is sent; W&B shows a run that did not reach its last step as failed."""
        if self._run is not None:
            self._run.finish(exit_code=0 if is_complete else 1)


def _new(project: str) -> JsonObject:
    return {'project': project, 'id': secrets.token_hex(4), 'sent': {}}


def _record(path: epath.Path, project: str) -> JsonObject:
    """Return the record of the W&B run to continue, or of a new run if there is none in this project.

    Raises:
      UserError: if the file is damaged.
    """
    if not path.exists():
        return _new(project)
    remedy = 'remove it to begin a new run of Weights & Biases'
    stored = read_object(path, 'the record of a run of Weights & Biases', remedy)
    check(_is_record(stored), f'{path} is not the record of a run of Weights & Biases: {remedy}')
    return stored if stored['project'] == project else _new(project)


def _is_record(stored: Fields) -> bool:
    sent = stored.get('sent')
    return (
        isinstance(stored.get('project'), str)
        and isinstance(stored.get('id'), str)
        and isinstance(sent, dict)
        and all(type(step) is int for step in sent.values())
    )


def _started(workdir: epath.Path, project: str, id: str):
    """Return the run of W&B, new or continued, with the config of the run directory."""
    import wandb

    *entity, name = project.split('/')
    folder = tempfile.gettempdir() if is_remote(workdir) else str(workdir)
    run = wandb.init(
        project=name,
        entity=entity[0] if entity else None,
        name=workdir.name,
        id=id,
        resume='allow',
        dir=os.environ.get('WANDB_DIR', folder),
        settings=wandb.Settings(console='off', silent=True, init_timeout=SECONDS),
    )
    run.config.update(read_config(workdir) or {}, allow_val_change=True)
    run.define_metric('step')
    run.define_metric('*', step_metric='step')
    return run


def _place(run) -> str:
    """Return the address of a run, or the command that uploads it."""
    return f'offline; upload it with wandb sync {os.path.dirname(run.dir)}' if run.offline else str(run.url)
