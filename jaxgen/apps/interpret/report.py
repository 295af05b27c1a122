"""An interpretation as one self-contained page: figures, and in words what they show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from ml_collections import ConfigDict

from jaxgen.apps.interpret.ablation import Effect
from jaxgen.apps.interpret.activations import Atlas
from jaxgen.apps.interpret.interpret import Interpretation, Pictures
from jaxgen.apps.interpret.intervals import Interval, difference, exchange, proportion
from jaxgen.apps.interpret.selectivity import Selectivity
from jaxgen.apps.reports import plots
from jaxgen.apps.reports.pages import document, grid, note, section, side, svg, table, text
from jaxgen.apps.reports.plots import HeatMap
from jaxgen.io.images import to_uint8

LISTED = 20  # channels, classes or pictures that a figure can hold
DETAILED = 3  # channels that are shown class by level
SEEN = 6  # images drawn from a picture


def page(found: Interpretation) -> str:
    """The HTML."""
    config = found.config
    sections = [
        f'<p>Step {found.step:,} of {text(config.data.name)}, {found.examples:,} training images; seed '
        f'{config.interpret.seed}. A block is a part of a network whose output is a feature map; a channel is a map of it, '
        f'and its activation is the mean over the map.</p>'
    ]
    for atlas, tested in zip(found.atlases, found.selectivities, strict=True):
        sections.append(_selectivity(found, atlas, tested))
    if found.ablation is not None:
        sections.append(_ablation(found))
    if found.pictures is not None:
        sections.append(_pictures(found, found.pictures))
    return document(f'What {config.family} on {config.data.name} has learnt', ''.join(sections))


ABOUT = {
    'generator': 'From latents: its only knowledge of a class is the label.',
    'discriminator': 'Of real images; the label enters behind its blocks.',
}


def _about(found: Interpretation, atlas: Atlas) -> str:
    if atlas.network in ABOUT:
        return ABOUT[atlas.network]
    if not found.config.model.conditional:
        return 'Of real images with noise; the network knows no classes.'
    if not atlas.network.endswith('_untold'):
        return 'Of real images with noise, the network being told the class of each: picture and label speak together.'
    told = 'that there is no class' if found.config.diffusion.label_dropout else 'a class at random'
    return f'The same network being told {told}: what tells classes apart here has seen it in the picture.'


def _selectivity(found: Interpretation, atlas: Atlas, tested: Selectivity) -> str:
    rate, blocks = found.config.interpret.false_discoveries, list(atlas.means)
    above = {block: tested.index.q[block] <= rate for block in blocks}
    counts = [int(above[block].any(0).sum()) for block in blocks]
    total = sum(x.size for x in above.values())
    passed = sum(int(x.sum()) for x in above.values())
    strict = sum(int((tested.index.strict[block] <= rate).sum()) for block in blocks)
    informed = sum(int((tested.information.q[block] <= rate).sum()) for block in blocks)
    best = blocks[int(np.argmax([float(above[block].mean()) for block in blocks]))]
    options = found.config.interpret
    words = (
        f'<p>{text(_about(found, atlas))}</p>'
        f'<p>Of {total:,} channels and levels of noise {passed:,} tell classes apart by the index of Morcos et al. 2018 (of '
        f'activations shifted to begin at 0, or of their negatives), {informed:,} by mutual information: above '
        f'{options.permutations:,} permutations of the labels of {len(atlas.labels):,} images at a false discovery rate of '
        f'{rate:.0%} (Benjamini and Hochberg). {strict:,} pass the maximum statistic, by which the chance that any is '
        f'wrong is {rate:.0%}. With labels shuffled before, the same tests find {tested.index.shuffled:,} and '
        f'{tested.information.shuffled:,}. The largest share is in {text(best)}.</p>'
    )
    rows = []
    for block, count in zip(blocks, counts, strict=True):
        of_block = tested.index.q[block], tested.information.q[block], tested.index.strict[block]
        shares = (f'{np.mean(q <= rate):.0%}' for q in of_block)
        rows.append((block, str(above[block].shape[1]), str(count), *shares, f'{tested.index.value[block].max():.2f}'))
    head = (
        'block',
        'channels',
        'above chance at some level',
        'index',
        'information',
        'maximum statistic',
        'largest index',
    )
    parts = [words, table(head, rows), _maps(found, atlas, tested, above), _ranked(found, atlas, tested)]
    return section(f'Which channels of {atlas.network} tell classes apart', ''.join(parts))


def _maps(found: Interpretation, atlas: Atlas, tested: Selectivity, above: dict[str, np.ndarray]) -> str:
    blocks = list(atlas.means)
    told = np.array([tested.information.excess[block].mean(1) for block in blocks])
    preferred = {block: tested.by_class[block].argmax(1) for block in blocks}
    k = len(found.class_names)
    chosen = np.array([np.bincount(preferred[block][above[block]], minlength=k) for block in blocks])
    shown = np.sort(np.argsort(-chosen.sum(0), kind='stable')[:LISTED])
    names = [found.class_names[c] for c in shown]
    maps = [
        HeatMap(('block', blocks), ('level of noise', atlas.levels), told),
        HeatMap(('block', blocks), ('class', names), chosen[:, shown].astype(float)),
    ]
    caption = (
        'Left: what a channel says of the class by level of noise, in bits over chance, the mean of each block. Right: how many '
        'channels above chance, all levels counted, answer to each class the most.'
    )
    return svg(plots.heat_maps(maps, lower_is_better=False), caption)


def _ranked(found: Interpretation, atlas: Atlas, tested: Selectivity) -> str:
    best = list(_best(atlas, tested))[:LISTED]
    rows = []
    for block, c, level in best:
        label = int(tested.by_class[block][level, :, c].argmax())
        index, shared = tested.index, tested.information
        rows.append(
            (
                f'{block}:{c}',
                found.class_names[label] + (' (low)' if tested.low[block][level, label, c] else ''),
                atlas.levels[level],
                f'{index.value[block][level, c]:.2f}',
                f'{index.p[block][level, c]:.4f}',
                f'{index.q[block][level, c]:.4f}',
                f'{shared.excess[block][level, c]:.2f}',
                f'{shared.q[block][level, c]:.4f}',
            )
        )
    head = ('channel', 'class', 'level', 'index', 'p', 'q', 'information over chance, bits', 'q')
    listed = '<p>The channels with the largest index, each at its best level:</p>' + table(head, rows)
    return listed + _means(found, atlas, tested, best)


def _best(atlas: Atlas, tested: Selectivity) -> Iterator[tuple[str, int, int]]:
    """(block, channel, level) of every channel at its best level, those with the largest index first."""
    every = []
    for block in atlas.means:
        values = tested.index.value[block]
        every += [(-float(values[:, c].max()), block, c, int(values[:, c].argmax())) for c in range(values.shape[1])]
    return ((block, c, level) for _, block, c, level in sorted(every))


def _means(found: Interpretation, atlas: Atlas, tested: Selectivity, best: Sequence[tuple[str, int, int]]) -> str:
    """Mean activations in standard deviations over images: the best channels by class, and some by class and level."""

    def standard(block: str, c: int) -> np.ndarray:
        deviation = tested.deviation[block][:, c][:, None]
        centred = atlas.means[block][:, :, c] - tested.mean[block][:, c][:, None]
        return np.round(centred / np.where(deviation > 0, deviation, 1), 2) + 0.0

    rows = np.array([standard(block, c)[level] for block, c, level in best])
    shown = np.sort(np.argsort(-np.abs(rows).max(0), kind='stable')[:LISTED])
    classes = ('class', [found.class_names[c] for c in shown])
    listed = HeatMap(('channel', [f'{block}:{c}' for block, c, _ in best]), classes, rows[:, shown])
    figures = svg(
        plots.heat_maps([listed], lower_is_better=False),
        'Mean activation by class, in standard deviations over images from the mean of all, of the channels above.',
    )
    if len(atlas.levels) == 1:
        return figures
    for block, c, _ in best[:DETAILED]:
        by_level = HeatMap(('level of noise', atlas.levels), classes, standard(block, c)[:, shown])
        caption = f'The same of {block}:{c}, by class and level of noise.'
        figures += svg(plots.heat_maps([by_level], lower_is_better=False), caption)
    return figures


def _ablation(found: Interpretation) -> str:
    known, options = found.ablation, found.config.interpret
    words = (
        f'<p>Drawn as it is, {proportion(known.right)} of {len(known.labels):,} images are seen as the class asked for. Then '
        f'the {options.top_k} channels with the largest index for a class are multiplied, by 0 (ablated) or by more '
        f'(amplified), at every level of noise, and the same images drawn again from the same seeds; as a control, as many '
        f'random channels of the same blocks, or all others that there are ({_draws(options.controls)}). Differences with 95% '
        f'intervals for paired proportions (Bonett and Price 2012), those of the whole network by Wilson. A class is described '
        f'and not tested: channels drawn as the random ones are would be beyond all of these, on one side or the other, in '
        f'up to {min(2 / (options.controls + 1), 1):.0%} of cases.</p>'
    )
    parts = [words]
    for factor in options.factors:
        effects = [e for e in known.effects if e.factor == factor]
        for on, title in (('on_class', 'images of the class'), ('on_others', 'images of the other classes')):
            rows = [(_name(e), *(100 * x for x in getattr(e, on))) for e in effects]
            caption = f'Channels times {factor:g}: change in the share of {title} that are seen as the class asked for.'
            parts.append(svg(plots.intervals(rows, 'percentage points', [int(e.draw > 0) for e in effects]), caption))
        parts += [f'<ul>{"".join(_described(effects))}</ul>', note(_tested(effects, options))]
    listed = (e for e in known.effects if e.draw == 0 and e.factor == options.factors[0])
    lines = (f'<li>{text(e.name)}: {text(", ".join(map(str, e.channels)))}</li>' for e in listed)
    parts.append(f'<p>The channels of each class, the best first:</p><ul>{"".join(lines)}</ul>')
    for name, before in known.images.items():
        own = [(f'{name}, times {e.factor:g}', e.images) for e in known.effects if e.name == name and e.draw == 0]
        rows = [(f'{name}, as it is', before), *own]
        parts.append(side((caption, grid(images, len(images))) for caption, images in rows))
    return section('What channels cause', ''.join(parts))


def _name(effect: Effect) -> str:
    return f'{effect.name}, random {effect.draw}' if effect.draw else f'{effect.name}, its own'


def _draws(count: int) -> str:
    return f'{count} random draw{"s" if count > 1 else ""}'


def _described(effects: Sequence[Effect]) -> Iterator[str]:
    """A sentence for each class: what its own channels do, and random ones."""
    for own in (e for e in effects if e.draw == 0):
        random = [e.on_class.value for e in effects if e.name == own.name and e.draw]
        beyond = own.on_class.value < min(random) or own.on_class.value > max(random)
        where = f'beyond all of {_draws(len(random))}' if beyond else f'within {_draws(len(random))}'
        yield (
            f'<li>{text(own.name)}: {_points(own.on_class)} percentage points on its own images, {_points(own.on_others)} on '
            f'others; random channels on its own images {100 * min(random):+.0f} to {100 * max(random):+.0f}: {where}.</li>'
        )


def _tested(effects: Sequence[Effect], options: ConfigDict) -> str:
    """Over all classes: their own channels against random ones on their own images, and there more than on others."""
    classes = list(dict.fromkeys(e.name for e in effects))

    def by_class(value: Callable[[Effect], float]) -> np.ndarray:
        return np.array([[value(e) for e in effects if e.name == name] for name in classes])

    on_class = exchange(by_class(lambda e: e.on_class.value), options.seed)
    apart = exchange(by_class(lambda e: e.on_class.value - e.on_others.value), options.seed)
    return (
        f'Times {effects[0].factor:g}, in the mean over {len(classes)} class{"es" if len(classes) > 1 else ""}, the own '
        f'channels differ from random ones by {100 * on_class.value:+.1f} points in the change on images of the class (p = '
        f'{on_class.p:.2g}), and by {100 * apart.value:+.1f} in that change less the one on other images (p = {apart.p:.2g}): '
        f'two of the {2 * len(options.factors)} such tests of this page, p being how often, on either side, it is as much '
        f'where any of the {options.controls + 1} draws of each class is called its own.'
    )


def _points(change: Interval) -> str:
    value, low, high = (100 * x for x in change)
    return f'{value:+.0f} ({low:+.0f} to {high:+.0f})'


def _pictures(found: Interpretation, known: Pictures) -> str:
    options, names = found.config.interpret, (*found.class_names, 'none of these')
    drawn = known.denoised
    words = (
        f'<p>For a channel of each block of {text(known.network)} a picture is sought by {options.ascent_steps} steps of '
        f'gradient ascent on its activation (Olah et al. 2017), under small moves, scalings and noise, with a prior for smooth '
        f'pictures; a channel that is low for its class is driven down. Drive is counted in standard deviations over real '
        f'images: where it hardly rises, no picture moves the channel, and another input does.</p>'
    )
    if drawn is not None:
        told = 'was told no class' if drawn.told[0] < 0 else 'was told all classes in turn'
        words += (
            f'<p>Each picture was then given noise of several strengths and denoised {len(drawn.told)} times; the network '
            f'{told}. The share of what comes out that is seen as the class the channel answers to is compared with that '
            f'from a grey picture under the same noise, with 95% intervals as above.</p>'
        )
    head = ['channel', 'class', 'drive before', 'drive after', 'picture is seen as']
    strengths = drawn.strengths if drawn is not None else ()
    head += [f'as the class at {s:g}, and points over grey' for s in strengths]
    rows, more = [], []
    for i, target in enumerate(known.targets):
        outcomes = [_outcome(known, s, i, target.label) for s in range(len(strengths))]
        more += [f'{target.channel} at {strengths[s]:g}' for s, (_, gain) in enumerate(outcomes) if gain.low > 0]
        cells = [f'{share.value:.0%}, {_points(gain)}' for share, gain in outcomes]
        label = found.class_names[target.label] + (' (low)' if target.low else '')
        drive = f'{known.driven.before[i]:+.1f}', f'{known.driven.after[i]:+.1f}'
        rows.append((str(target.channel), label, *drive, names[known.seen[i]], *cells))
    parts = [words, table(head, rows)]
    if drawn is not None:
        verdict = (
            f'more often than from grey: {", ".join(more)} (no interval is corrected for their number)'
            if more
            else 'no more often than from grey'
        )
        parts.append(note(f'The class that a channel answers to comes out of its picture {verdict}.'))
        if drawn.told[0] >= 0:
            obeyed = [
                f'{np.mean(known.outcomes[s, :-1] == drawn.told):.0%} at {at:g}' for s, at in enumerate(strengths)
            ]
            parts.append(f'<p>Seen as the class that the network was told: {", ".join(obeyed)}.</p>')
    parts.append(_shown(known))
    return section('Pictures that drive channels, layer by layer', ''.join(parts))


def _outcome(known: Pictures, strength: int, place: int, label: int) -> tuple[Interval, Interval]:
    of_class = known.outcomes[strength] == label
    return proportion(of_class[place]), difference(of_class[place], of_class[-1])


def _shown(known: Pictures) -> str:
    pictures = to_uint8(known.driven.pictures)
    if known.denoised is None:
        return side([(', '.join(str(t.channel) for t in known.targets), grid(pictures, min(len(pictures), 8)))])
    grids = []
    for s, strength in enumerate(known.denoised.strengths):
        rows = [
            np.concatenate([pictures[i : i + 1], known.denoised.images[s, i, :SEEN]])
            for i in range(len(pictures[:LISTED]))
        ]
        grids.append((f'strength {strength:g}', grid(np.concatenate(rows), 1 + min(SEEN, len(known.denoised.told)))))
    listed = ', '.join(str(t.channel) for t in known.targets[:LISTED])
    return (
        side(grids) + f'<p>A row a channel: its picture, then what was drawn from it. From the top: {text(listed)}.</p>'
    )
