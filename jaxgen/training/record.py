"""The record of a run in its ``config.json``, which shows whether a run that resumes is the same run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from clu import parameter_overview

from jaxgen.errors import UserError
from jaxgen.schema import to_tree
from jaxgen.training.plan import Plan
from jaxgen.types import Fields, JsonObject, PyTree

# The fields that determine the training steps of a run. A run may resume with other values of all other fields.
SAME = ('seed', 'data', 'parameters', 'train.prng')


def run_record(plan: Plan, networks: Mapping[str, PyTree]) -> JsonObject:
    """Return a description of a run as JSON values; the method is described by the size of its networks only.

    Args:
      plan: the run.
      networks: the parameters of each network, or their shapes.
    """
    return {
        'seed': plan.seed,
        'data': {
            'batch_size': plan.batch_size,
            'random_flip': plan.random_flip,
            'num_examples': len(plan.dataset.images),
            'class_names': list(plan.dataset.class_names),
        },
        'parameters': {name: int(parameter_overview.count_parameters(params)) for name, params in networks.items()},
        'train': to_tree(plan.train),
        'sample': to_tree(plan.sample),
        'checkpoint': to_tree(plan.checkpoint),
    }


def require_same_run(record: Fields, stored: Fields, workdir: object) -> None:
    """Refuse to resume a run as a different one.

    Args:
      record: the run to train, see ``run_record``.
      stored: the contents of ``config.json``; a field that is missing there is not compared.
      workdir: the run directory, for the message.

    Raises:
      UserError: naming the first field that differs.
    """
    before = dict(_leaves(stored))
    for name, value in _leaves(record):
        is_compared = any(name == field or name.startswith(f'{field}.') for field in SAME)
        if is_compared and before.get(name, value) != value:
            raise UserError(
                f'{name} is {value!r}, but the run in {workdir} was made with {before[name]!r}: pass that, or choose '
                f'another run directory'
            )


def _leaves(tree: Fields, prefix: str = '') -> Iterator[tuple[str, object]]:
    """Yield the values of nested dicts by their dotted name."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value
