"""A workdir from a folder of weights, and a folder of weights from a workdir."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator

import jax
from clu import parameter_overview
from etils import epath
from ml_collections import ConfigDict

from jaxgen.apps import from_config, weights
from jaxgen.apps.interop import diffusers_folder, tutorial_folder
from jaxgen.apps.restore import restore
from jaxgen.apps.same_run import NETWORK_FIELDS, differences, flag
from jaxgen.errors import UserError, check
from jaxgen.io import hub
from jaxgen.io.files import write_json
from jaxgen.io.run_directory import BEST, CHECKPOINTS
from jaxgen.runtime.mesh import make_mesh
from jaxgen.runtime.random import root_key, stream
from jaxgen.schema import located
from jaxgen.training import CheckpointOptions
from jaxgen.training.checkpoints import Checkpoints
from jaxgen.training.preemption import exclusive
from jaxgen.training.state import initializer, start_state, state_template

FORMATS = {'ddpm': diffusers_folder, 'dcgan': tutorial_folder}


def import_weights(config: ConfigDict, workdir: epath.Path) -> None:
    """Makes a workdir of the weights in ``config.interop.path``: its config, and a checkpoint of step 0.

    Both the parameters and their moving average are those weights. Nothing is written before all is read and checked.

    Raises:
      UserError: if the workdir has checkpoints, or the folder cannot be what the config says.
    """
    form = _format(config)
    for name in (CHECKPOINTS, BEST):
        there = workdir / name
        check(
            not there.exists() or not any(there.iterdir()),
            f'{there} holds checkpoints already: import into another --workdir',
        )
    weights.require_none(workdir)
    with located('config.interop.path'):
        folder = hub.folder(config.interop.path)
    imported = form.load(config, folder)
    c, method = imported.config, imported.method
    mesh, key = make_mesh(c.mesh.fsdp), root_key(c.seed, c.train.prng)
    template = state_template(initializer(method, key), mesh)
    state = start_state(method, imported.model)
    state = jax.device_put(state, jax.tree.map(lambda s: s.sharding, template))

    workdir.mkdir(parents=True, exist_ok=True)
    with exclusive(workdir):
        write_json(workdir / 'config.json', json.loads(c.to_json()))
        kept = from_config.options(CheckpointOptions, c.checkpoint)
        checkpoints = Checkpoints(workdir / 'checkpoints', kept.keep, kept.keep_every)
        checkpoints.save(0, state)
        checkpoints.wait()
        checkpoints.close()
    for name, params in method.networks(imported.model).items():
        print(f'{name}: {parameter_overview.count_parameters(params):,} parameters from {config.interop.path}')
    for note in imported.notes:
        print(note)
    print(f'draw with it: python main.py --config={workdir}/config.json --mode=sample')
    now = json.loads(config.to_json())
    flags = [flag(name, value) for name, _, value in differences(now, json.loads(c.to_json()), NETWORK_FIELDS)]
    print(f'or with the --config of this command{" and " if flags else ""}{" ".join(flags)} and --workdir={workdir}')


def export_weights(config: ConfigDict, workdir: epath.Path) -> None:
    """Writes the weights that the workdir samples with to the new folder ``config.interop.path``.

    Raises:
      UserError: if there is no such model, it cannot be represented, or the folder is not empty.
    """
    form = _format(config)
    if config.interop.format == 'jaxgen':
        form = weights
    folder = pathlib.Path(config.interop.path).expanduser()
    check(
        not folder.exists() or (folder.is_dir() and not any(folder.iterdir())),
        f'config.interop.path={config.interop.path} is there already, and not an empty folder: name a new one',
    )
    trained = restore(config, workdir)
    key = stream(root_key(config.seed, config.train.prng), 'statistics')
    learnt = jax.device_get(trained.method.weights(trained.model, key, config.sample.ema))
    with _whole(folder) as temporary:
        what = form.write(trained, learnt, temporary)
    averaged = 'averaged weights' if config.sample.ema else 'weights'
    print(f'{what}, with the {averaged} of step {trained.step}: {folder}')


def _format(config: ConfigDict):
    if not config.interop.path:
        raise UserError('config.interop.path is empty: name the folder of the weights')
    if config.family not in FORMATS:
        raise UserError(
            f'config.family={config.family} has no weights elsewhere: it is {" or ".join(FORMATS)} that has'
        )
    return FORMATS[config.family]


@contextlib.contextmanager
def _whole(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder to fill, which takes the place of ``folder`` at the end of the block; failed, nothing is left."""
    temporary = folder.parent / f'.{os.getpid()}.{folder.name}'
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
