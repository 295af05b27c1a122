"""Convert the fields that a visitor sets on the page into a config, and into a command line."""

from __future__ import annotations

import shlex

from jaxgen.apps.config import Config
from jaxgen.apps.rules import validate
from jaxgen.apps.same_run import differences, flag, flatten
from jaxgen.apps.untrained import build
from jaxgen.diffusion.compatibility import is_compatible
from jaxgen.diffusion.samplers import SAMPLERS
from jaxgen.errors import UserError
from jaxgen.methods import METHODS
from jaxgen.types import Fields


def with_fields(config: Config, fields: Fields) -> Config:
    """Return a config with new values of some fields, which are validated.

    Args:
      config: the config.
      fields: the new values, by dotted names; fields that the method of the config does not have are ignored.

    Raises:
      UserError: if a value is refused, or the values contradict each other.
    """
    known = flatten(config.to_tree())
    changed = config.replace({name: value for name, value in fields.items() if name in known})
    validate(changed)
    return changed


def compatible_samplers(config: Config) -> list[str]:
    """Return the names of the samplers that the model of a config can use; none for a GAN."""
    if not METHODS[config.method].supports.denoises:
        return []
    d = config.diffusion
    choices = (d.schedule, d.parameterisation, d.weighting, d.variance)
    return [name for name in SAMPLERS if is_compatible(*choices, name)]


def can_edit(config: Config) -> bool:
    """Return whether the model of a config can edit images."""
    try:
        return build(config)[0].capabilities.edits
    except UserError:
        return False


def command_line(workdir: str, mode: str, config: Config, fields: Fields) -> str:
    """Return the command line that makes the same images as the page.

    Args:
      workdir: the run directory.
      mode: the mode of the command line.
      config: the config of the run directory.
      fields: the values that the visitor set, by dotted names; those that equal the config's are left out.
    """
    wanted = with_fields(config, fields).to_tree()
    changed = differences(config.to_tree(), wanted, tuple(fields))
    flags = [shlex.quote(flag(name, value)) for name, _, value in changed]
    return ' '.join(['python main.py', f'--config={shlex.quote(workdir + "/config.json")}', f'--mode={mode}', *flags])
