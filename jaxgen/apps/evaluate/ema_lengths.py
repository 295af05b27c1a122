"""Which length of the weights' moving average draws best: chosen after training, from the snapshots of ``power_ema``."""

from __future__ import annotations

import copy
from typing import Any

from etils import epath
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from jaxgen.apps.evaluate.evaluator import Evaluator, summary
from jaxgen.apps.evaluate.generated import STREAM, generated_set
from jaxgen.apps.reports.plots import lines_on, png
from jaxgen.apps.restore import restore
from jaxgen.errors import names
from jaxgen.runtime.mesh import make_mesh


def judge(config: ConfigDict, workdir: epath.Path) -> tuple[int, list[dict[str, Any]]]:
    """The step, and the figures of each of ``config.evaluation.ema_lengths``, all of the same seeds.

    A length of 0 is the average that training itself kept, with ``config.optimizer.ema_decay``.
    """
    config = copy.deepcopy(config)
    evaluate = Evaluator(config, make_mesh(config.mesh.fsdp), names(config.evaluation.metrics))
    sampler, found = None, []
    for length in sorted(config.evaluation.ema_lengths):
        config.sample.ema_length = length
        trained = restore(config, workdir)
        sampler = sampler or trained.sampler(config.evaluation.seed, STREAM)
        result = evaluate(generated_set(trained, sampler, config.evaluation.num))
        print(f'length {length:g}\n{summary(result)}', flush=True)
        found.append({'ema_length': length, **result})
    return trained.step, found


def plot(found: list[dict[str, Any]], decay: float) -> bytes:
    """A PNG of every distance over the length; that of training's own average is a line."""
    figures = [name for name in ('fid', 'kid') if name in found[0]]
    figure = Figure(figsize=(5 * len(figures), 3.5), layout='constrained')
    for ax, name in zip(figure.subplots(1, len(figures), squeeze=False)[0], figures, strict=True):
        by_length = {row['ema_length']: row[name] for row in found}
        lines = {'chosen afterwards': [point for point in by_length.items() if point[0]]}
        if 0 in by_length:
            lines[f'ema_decay={decay:g}'] = [(length, by_length[0]) for length in (min(by_length), max(by_length))]
        lines_on(ax, lines, 'length of the average, in parts of the run', name.upper())
    return png(figure)
