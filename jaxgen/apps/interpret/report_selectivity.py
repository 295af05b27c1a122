"""The section of a report on which channels of a network tell classes apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxgen.apps.interpret.activations import Atlas
from jaxgen.apps.interpret.interpret import Interpretation
from jaxgen.apps.interpret.probes import WITHOUT_CLASS
from jaxgen.apps.interpret.selectivity import Selectivity
from jaxgen.apps.reports import plots
from jaxgen.apps.reports.pages import charts, section, table, text
from jaxgen.apps.reports.plots import HeatMap

MAX_ROWS = 20  # largest number of channels or classes in a table or a map
DETAILED = 3  # channels with a map by class and noise level
ABOUT = {
    'generator': 'Measured on latents: the generator knows a class only by its label.',
    'discriminator': 'Measured on real images; the label enters after the blocks.',
}


def selectivity_section(found: Interpretation, atlas: Atlas, tested: Selectivity) -> str:
    """Return the section about one network."""
    rate = found.config.interpret.false_discoveries
    discovered = {block: tested.index.q[block] <= rate for block in atlas.means}
    parts = [
        _summary(found, atlas, tested, discovered),
        _block_table(tested, discovered, rate),
        _maps(found, atlas, tested, discovered),
        _ranking(found, atlas, tested),
    ]
    return section(f'Which channels of {atlas.network} tell classes apart', ''.join(parts))


def _about(found: Interpretation, atlas: Atlas) -> str:
    if atlas.network in ABOUT:
        return ABOUT[atlas.network]
    if not found.config.model.conditional:
        return 'Measured on real images with noise; the network takes no class labels.'
    if not atlas.network.endswith(WITHOUT_CLASS):
        return 'Measured on real images with noise and with their class labels: image and label act together.'
    given = 'no class' if found.config.diffusion.label_dropout else 'a random class'
    return f'The same network, given {given}: a channel that tells classes apart here takes them from the image.'


def _summary(found: Interpretation, atlas: Atlas, tested: Selectivity, discovered: dict[str, np.ndarray]) -> str:
    options, blocks = found.config.interpret, list(atlas.means)
    rate = options.false_discoveries
    total = sum(x.size for x in discovered.values())
    by_index = sum(int(x.sum()) for x in discovered.values())
    by_information = sum(int((tested.information.q[block] <= rate).sum()) for block in blocks)
    strictly = sum(int((tested.index.strict[block] <= rate).sum()) for block in blocks)
    best = blocks[int(np.argmax([float(discovered[block].mean()) for block in blocks]))]
    return (
        f'<p>{text(_about(found, atlas))}</p>'
        f'<p>Of {total:,} pairs of a channel and a noise level, {by_index:,} tell classes apart by the index of Morcos et al. '
        f'2018 (of activations shifted to begin at 0, or of their negatives) and {by_information:,} by mutual information. '
        f'This is in comparison with {options.permutations:,} permutations of the labels of {len(atlas.labels):,} images, at '
        f'a false discovery rate of {rate:.0%} (Benjamini and Hochberg). {strictly:,} pass the maximum statistic, which has a '
        f'chance of {rate:.0%} of any error. With shuffled labels, the same tests find {tested.index.shuffled:,} and '
        f'{tested.information.shuffled:,}. {text(best)} has the largest share.</p>'
    )


def _block_table(tested: Selectivity, discovered: dict[str, np.ndarray], rate: float) -> str:
    head = (
        'block',
        'channels',
        'above chance at some level',
        'index',
        'information',
        'maximum statistic',
        'largest index',
    )
    rows = []
    for block, found in discovered.items():
        tests = tested.index.q[block], tested.information.q[block], tested.index.strict[block]
        shares = (f'{np.mean(q <= rate):.0%}' for q in tests)
        some_level, largest = int(found.any(0).sum()), tested.index.value[block].max()
        rows.append((block, str(found.shape[1]), str(some_level), *shares, f'{largest:.2f}'))
    return table(head, rows)


def _maps(found: Interpretation, atlas: Atlas, tested: Selectivity, discovered: dict[str, np.ndarray]) -> str:
    blocks, num_classes = list(atlas.means), len(found.class_names)
    bits = np.array([tested.information.excess[block].mean(1) for block in blocks])
    preferred = {block: tested.by_class[block].argmax(1) for block in blocks}
    counts = np.array([np.bincount(preferred[block][discovered[block]], minlength=num_classes) for block in blocks])
    shown = np.sort(np.argsort(-counts.sum(0), kind='stable')[:MAX_ROWS])
    names = [found.class_names[c] for c in shown]
    rows = ('block', blocks)
    title = 'Information of a channel about the class'
    maps = [HeatMap(rows, ('noise level', atlas.levels), bits, 'bits over chance, mean of the block', title)]
    if counts.any():
        title = 'Channels above chance that respond most to a class, all noise levels counted'
        maps.append(HeatMap(rows, ('class', names), counts[:, shown].astype(float), 'number of channels', title))
    return charts(
        [plots.heat_map(heat) for heat in maps], 'How much each block knows about the class, and which classes.'
    )


class _Best(NamedTuple):
    """A channel at the noise level of its largest index."""

    block: str
    channel: int
    level: int

    def __str__(self) -> str:
        return f'{self.block}:{self.channel}'


def _best_channels(atlas: Atlas, tested: Selectivity) -> list[_Best]:
    """Return the channels with the largest index at any level, the largest first."""
    scored = []
    for block in atlas.means:
        values = tested.index.value[block]
        best_levels = values.argmax(0)
        scored += [(-float(values[level, c]), _Best(block, c, int(level))) for c, level in enumerate(best_levels)]
    return [channel for _, channel in sorted(scored)[:MAX_ROWS]]


def _ranking(found: Interpretation, atlas: Atlas, tested: Selectivity) -> str:
    best = _best_channels(atlas, tested)
    index, shared = tested.index, tested.information
    rows = []
    for channel in best:
        block, c, level = channel
        label = int(tested.by_class[block][level, :, c].argmax())
        row = (
            str(channel),
            found.class_names[label] + (' (low)' if tested.low[block][level, label, c] else ''),
            atlas.levels[level],
            f'{index.value[block][level, c]:.2f}',
            f'{index.p[block][level, c]:.4f}',
            f'{index.q[block][level, c]:.4f}',
            f'{shared.excess[block][level, c]:.2f}',
            f'{shared.q[block][level, c]:.4f}',
        )
        rows.append(row)
    head = (
        'channel',
        'class',
        'noise level',
        'index',
        'p of the index',
        'q of the index',
        *('bits over chance', 'q of the bits'),
    )
    introduction = '<p>The channels with the largest index, each at its best level:</p>'
    return introduction + table(head, rows) + _mean_activations(found, atlas, tested, best)


def _mean_activations(found: Interpretation, atlas: Atlas, tested: Selectivity, best: Sequence[_Best]) -> str:
    """Return maps of mean activations: of the best channels by class, and of a few channels by class and noise level."""

    def standardised(channel: _Best) -> np.ndarray:
        block, c, _ = channel
        deviation = tested.deviation[block][:, c][:, None]
        centred = atlas.means[block][:, :, c] - tested.mean[block][:, c][:, None]
        return np.round(centred / np.where(deviation > 0, deviation, 1), 2) + 0.0

    rows = np.array([standardised(channel)[channel.level] for channel in best])
    shown = np.sort(np.argsort(-np.abs(rows).max(0), kind='stable')[:MAX_ROWS])
    classes = ('class', [found.class_names[c] for c in shown])
    label = 'standard deviations over images, from the mean of all'
    names = [str(channel) for channel in best]
    maps = [HeatMap(('channel', names), classes, rows[:, shown], label, 'Mean activation by class')]
    if len(atlas.levels) > 1:
        maps += [
            HeatMap(
                ('noise level', atlas.levels),
                classes,
                standardised(channel)[:, shown],
                label,
                f'Mean activation of {channel}',
            )
            for channel in best[:DETAILED]
        ]
    return charts([plots.heat_map(heat) for heat in maps], 'Mean activations of the channels above.')
