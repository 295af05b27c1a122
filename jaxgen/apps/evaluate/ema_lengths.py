"""Find the best length of the moving average of the weights after training, from the snapshots of ``power_ema``."""

from __future__ import annotations

from etils import epath

from jaxgen.apps.config import Config
from jaxgen.apps.evaluate.evaluator import make_evaluator, summary
from jaxgen.apps.evaluate.generated import STREAM, generated_set
from jaxgen.apps.reports import words
from jaxgen.apps.reports.plots import png, side_by_side
from jaxgen.apps.restore import restore
from jaxgen.runtime.mesh import make_mesh
from jaxgen.types import JsonObject


def evaluate_lengths(config: Config, workdir: epath.Path) -> tuple[int, list[JsonObject]]:
    """Evaluate the average of each length in ``config.evaluation.ema_lengths``, all with the same seed.

    A length of 0 is the average that training itself kept, with ``config.optimizer.ema_decay``.

    Returns:
      The step of the model, and the results in order of length, each with its ``ema_length``.
    """
    evaluate = make_evaluator(config, make_mesh(config.mesh.fsdp))
    sampler, found = None, []
    for length in sorted(config.evaluation.ema_lengths or ()):
        trained = restore(config.replace({'sample.ema_length': length or None}), workdir)
        sampler = sampler or trained.sampler(config.evaluation.seed, STREAM)
        result = evaluate(generated_set(trained, sampler, config.evaluation.num))
        print(f'length {length:g}\n{summary(result)}', flush=True)
        found.append({'ema_length': length, **result})
    return trained.step, found


def plot(found: list[JsonObject], decay: float) -> bytes:
    """Plot FID and KID over the length of the average, and return a PNG file.

    Args:
      found: the results that ``evaluate_lengths`` returned.
      decay: decay of the average that training kept, for the legend.
    """
    panels = []
    for name in ('fid', 'kid'):
        if name in found[0]:
            by_length = {row['ema_length']: row[name] for row in found}
            lines = {'chosen afterwards': [point for point in by_length.items() if point[0]]}
            if 0 in by_length:
                ends = min(by_length), max(by_length)
                lines[f'kept in training, decay {decay:g}'] = [(length, by_length[0]) for length in ends]
            panels.append((lines, words.setting('ema_length'), words.axis(name, found[0]['protocol'])))
    return png(side_by_side(panels))
