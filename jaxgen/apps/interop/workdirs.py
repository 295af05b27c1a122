"""``--mode=import`` and ``--mode=export``: a run directory from a folder of weights, and a folder of weights from one."""

from __future__ import annotations

import pathlib
from types import ModuleType

import jax
from clu import parameter_overview
from etils import epath

from jaxgen.apps import weights
from jaxgen.apps.config import Config
from jaxgen.apps.interop import diffusers_folder, r3gan_folder, tutorial_folder
from jaxgen.apps.interop.imported import Imported
from jaxgen.apps.publish import folder as published
from jaxgen.apps.publish.upload import upload
from jaxgen.apps.restore import restore
from jaxgen.apps.same_run import NETWORK_FIELDS, differences, flag
from jaxgen.errors import UserError, check
from jaxgen.io import hub
from jaxgen.io.files import filled, make_folder, write_json
from jaxgen.io.lock import exclusive
from jaxgen.io.run_directory import BEST, CHECKPOINTS, CONFIG
from jaxgen.runtime import progress
from jaxgen.runtime.mesh import make_mesh
from jaxgen.runtime.random import root_key
from jaxgen.schema import located
from jaxgen.training.checkpoints import Checkpoints
from jaxgen.training.state import initializer, start_state, state_template

# The module that reads and writes the PyTorch format of each method
FORMATS = {'ddpm': diffusers_folder, 'dcgan': tutorial_folder, 'r3gan': r3gan_folder}


def import_weights(config: Config, workdir: epath.Path) -> None:
    """Make a run directory from the weights in ``config.interop.path``: its config, and a checkpoint of step 0.

    The parameters and their moving average both get these weights. Nothing is written before everything is read and checked.

    Args:
      config: the config of the command.
      workdir: the run directory to make.

    Raises:
      UserError: if the run directory has checkpoints, or the config cannot describe the folder.
    """
    method_format, path = _format(config, 'imported'), _path(config)
    for name in (CHECKPOINTS, BEST):
        folder = workdir / name
        check(
            not folder.exists() or not any(folder.iterdir()),
            f'{folder} holds checkpoints already: import into another --workdir',
        )
    weights.require_none(workdir)
    with located('config.interop.path'):
        source = hub.folder(path)
    imported = method_format.load(config, source)
    _write(imported, workdir)
    for name, params in imported.method.networks(imported.model).items():
        print(f'{name}: {parameter_overview.count_parameters(params):,} parameters from {path}')
    for note in imported.notes:
        print(note)
    print(f'sample from it: python main.py --config={workdir}/config.json --mode=sample')
    changed = differences(config.to_tree(), imported.config.to_tree(), NETWORK_FIELDS)
    flags = [flag(name, value) for name, _, value in changed]
    print(f'or with the --config of this command{" and " if flags else ""}{" ".join(flags)} and --workdir={workdir}')


def _write(imported: Imported, workdir: epath.Path) -> None:
    config, method = imported.config, imported.method
    mesh, key = make_mesh(config.mesh.fsdp), root_key(config.seed, config.train.prng)
    template = state_template(initializer(method, key), mesh)
    state = start_state(method, imported.model)
    state = jax.device_put(state, jax.tree.map(lambda s: s.sharding, template))
    make_folder(workdir)
    with exclusive(workdir):
        write_json(workdir / CONFIG, config.to_tree())
        checkpoints = Checkpoints(workdir / CHECKPOINTS, config.checkpoint.keep, config.checkpoint.keep_every)
        checkpoints.save(0, state)
        checkpoints.wait()
        checkpoints.close()


def export_weights(config: Config, workdir: epath.Path) -> None:
    """Write the weights with which the run directory samples to the new folder ``config.interop.path``.

    With ``config.interop.hub`` the folder also gets a model card and is uploaded.

    Args:
      config: the config of the command.
      workdir: the run directory.

    Raises:
      UserError: if there is no such model, it cannot be represented, the folder is not empty, or the upload fails.
    """
    written_format = _format(config, 'exported')
    if config.interop.hub is not None:
        _upload(config, workdir, config.interop.hub)
        return
    path = _path(config)
    if config.interop.format == 'jaxgen':
        written_format = weights
    folder = _new_folder(path)
    trained = restore(config, workdir)
    with filled(folder) as temporary:
        what = written_format.write(trained, weights.exported(trained), temporary)
    averaged = 'averaged weights' if config.sample.ema else 'weights'
    print(f'{what}, with the {averaged} of step {trained.step}: {folder}')


def _upload(config: Config, workdir: epath.Path, repository: str) -> None:
    """Export a model in the format of ``jaxgen.load``, with a model card, and upload the folder."""
    options = config.interop
    if options.path is not None:
        _new_folder(options.path)
    trained = restore(config, workdir)
    folder = published.export(trained, workdir, repository, options.license, options.path)
    print(f'step {trained.step} with a model card: {folder}', flush=True)
    with located('config.interop.hub'), progress.Stage(f'uploading to {repository}', sums_up=False):
        url = upload(folder, repository, options.private)
    print(f'uploaded to {url}: jaxgen.load({repository!r})')


def _new_folder(path: str) -> pathlib.Path:
    folder = pathlib.Path(path)
    check(
        not folder.exists() or (folder.is_dir() and not any(folder.iterdir())),
        f'config.interop.path={path} exists already, and is not an empty folder: name a new one',
    )
    return folder


def _path(config: Config) -> str:
    if config.interop.path is None:
        raise UserError('config.interop.path is not set: name the folder of the weights')
    return config.interop.path


def _format(config: Config, done: str) -> ModuleType:
    """Return the module that reads and writes the weights of a method; ``done`` is the participle for the error message."""
    if config.method not in FORMATS:
        *first, last = FORMATS
        raise UserError(
            f'config.family={config.method} cannot be {done}: only {", ".join(first)} and {last} have counterparts in PyTorch'
        )
    return FORMATS[config.method]
