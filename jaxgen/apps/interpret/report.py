"""The report of an interpretation: one self-contained page with tables, plots and sentences on what they show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from jaxgen.apps.interpret.ablation import Ablation, Effect
from jaxgen.apps.interpret.denoising import Denoised
from jaxgen.apps.interpret.interpret import Interpretation, Synthesis
from jaxgen.apps.interpret.intervals import Interval, difference, permutation_test, proportion
from jaxgen.apps.interpret.options import InterpretOptions
from jaxgen.apps.interpret.report_selectivity import selectivity_section
from jaxgen.apps.reports import plots
from jaxgen.apps.reports.pages import charts_by_width, document, note, section, side, table, text
from jaxgen.io import grids
from jaxgen.io.grids import Labels
from jaxgen.io.images import to_uint8

MAX_ROWS = 20  # largest number of synthesised images that a grid shows
SHOWN = 6  # denoised images to show for each synthesised image


def page(found: Interpretation) -> str:
    """Return the HTML of the report."""
    config = found.config
    sections = [
        f'<p>Step {found.step:,} of {text(config.data.title)}, {found.num_examples:,} training images; seed '
        f'{config.interpret.seed}. A block is a part of a network whose output is a feature map; a channel is one of its maps, '
        f'and the activation of a channel is the mean over its map.</p>'
    ]
    for atlas, tested in zip(found.atlases, found.selectivities, strict=True):
        sections.append(selectivity_section(found, atlas, tested))
    if found.ablation is not None:
        sections.append(_ablation_section(found.ablation, config.interpret))
    if found.synthesis is not None:
        sections.append(_synthesis_section(found, found.synthesis))
    return document(f'What {config.method} has learned about {config.data.title}', ''.join(sections))


def _ablation_section(known: Ablation, options: InterpretOptions) -> str:
    parts = [_ablation_introduction(known, options)]
    for factor in options.factors:
        effects = [effect for effect in known.effects if effect.factor == factor]
        fields = {'on_class': 'images of the class', 'on_others': 'images of the other classes'}
        shown = [_effects_chart(effects, field, f'channels times {factor:g}, {of}') for field, of in fields.items()]
        caption = 'Change in the share of these images that show the class asked for, with 95% intervals.'
        parts.append(charts_by_width(shown, caption))
        parts += [f'<ul>{"".join(_class_sentences(effects))}</ul>', note(_test_of_all_classes(effects, options))]
    own = [e for e in known.effects if e.control == 0 and e.factor == options.factors[0]]
    lines = (f'<li>{text(effect.name)}: {text(", ".join(map(str, effect.channels)))}</li>' for effect in own)
    parts.append(f'<p>The channels of each class, the best first:</p><ul>{"".join(lines)}</ul>')
    parts.append(side(_ablated_images(known, name) for name in known.images))
    return section('What channels cause', ''.join(parts))


def _effects_chart(effects: Sequence[Effect], field: str, title: str) -> tuple[str, str]:
    """Return charts of the effects in a ``field``, ``on_class`` or ``on_others``, for wide and for narrow windows."""
    rows = [(_effect_name(effect), *(100 * x for x in getattr(effect, field))) for effect in effects]
    groups = ['random channels' if effect.control else 'channels of the class' for effect in effects]
    axis = 'change, percentage points'
    broad, narrow = (plots.intervals(rows, axis, groups, title, width) for width in (plots.BROAD, plots.NARROW))
    return broad, narrow


def _ablation_introduction(known: Ablation, options: InterpretOptions) -> str:
    return (
        f'<p>Sampled from the unchanged network, {proportion(known.right)} of {len(known.labels):,} images show the class '
        f'asked for. Then the {options.top_k} channels with the largest index of a class are multiplied, by 0 (ablated) or '
        f'by more (amplified), at every noise level, and the same images are sampled again from the same seeds. The control is '
        f'as many random channels of the same blocks, or all others if there are fewer ({_choices(options.controls)}). '
        f'Differences have 95% intervals for paired proportions (Bonett and Price 2012); shares have those of Wilson (1927). '
        f'The results of a single class are not a test: even random channels would lie beyond all of the controls, on one '
        f'side or the other, in up to {min(2 / (options.controls + 1), 1):.0%} of cases.</p>'
    )


def _ablated_images(known: Ablation, name: str) -> tuple[str, np.ndarray]:
    """Return a title and a picture with rows of images of a class: unchanged, and with its own channels times each factor."""
    own = [effect for effect in known.effects if effect.name == name and effect.control == 0]
    rows = ('unchanged', *(f'times {effect.factor:g}' for effect in own))
    pictures = [known.images[name], *(effect.images for effect in own)]
    title = f'{name}: its channels multiplied'
    return title, grids.labelled(np.concatenate(pictures), Labels(title, rows=rows), len(pictures[0]))


def _effect_name(effect: Effect) -> str:
    return f'{effect.name}, random {effect.control}' if effect.control else f'{effect.name}, its own'


def _choices(count: int) -> str:
    return f'{count} random choice{"s" if count > 1 else ""}'


def _class_sentences(effects: Sequence[Effect]) -> Iterator[str]:
    """Yield a sentence for each class about the effects of its own channels and of random ones."""
    for own in (effect for effect in effects if effect.control == 0):
        controls = [effect.on_class.value for effect in effects if effect.name == own.name and effect.control]
        beyond = own.on_class.value < min(controls) or own.on_class.value > max(controls)
        where = f'{"beyond all of" if beyond else "within"} {_choices(len(controls))}'
        yield (
            f'<li>{text(own.name)}: {_points(own.on_class)} percentage points on its own images, {_points(own.on_others)} on '
            f'others; random channels on its own images {100 * min(controls):+.0f} to {100 * max(controls):+.0f}: {where}.</li>'
        )


def _test_of_all_classes(effects: Sequence[Effect], options: InterpretOptions) -> str:
    """Test the own channels of all classes against random ones: on images of the class, and relative to other images."""
    classes = list(dict.fromkeys(effect.name for effect in effects))

    def by_class(value: Callable[[Effect], float]) -> np.ndarray:
        return np.array([[value(effect) for effect in effects if effect.name == name] for name in classes])

    on_class = permutation_test(by_class(lambda e: e.on_class.value), options.seed)
    apart = permutation_test(by_class(lambda e: e.on_class.value - e.on_others.value), options.seed)
    return (
        f'Times {effects[0].factor:g}, in the mean over {len(classes)} class{"es" if len(classes) > 1 else ""}: on images of '
        f'the class, the change by its own channels differs from that by random channels by {100 * on_class.value:+.1f} '
        f'points (p = {on_class.p:.2g}). After subtracting the change on other images, it differs by '
        f'{100 * apart.value:+.1f} points (p = {apart.p:.2g}). These are two of the {2 * len(options.factors)} such tests on '
        f'this page. p is the share of cases with a difference at least as large, on either side, if any of the '
        f'{options.controls + 1} choices of channels of each class takes the place of its own.'
    )


def _points(change: Interval) -> str:
    value, low, high = (100 * x for x in change)
    return f'{value:+.0f} ({low:+.0f} to {high:+.0f})'


def _synthesis_section(found: Interpretation, known: Synthesis) -> str:
    denoised = known.denoised
    parts = [_synthesis_introduction(known, found.config.interpret), _synthesis_table(found, known)]
    if denoised is not None:
        parts.append(note(f'Denoising makes the class of a channel from its image {_verdict(known, denoised)}.'))
        if denoised.classes[0] >= 0:
            shares = (np.mean(outcomes[:-1] == denoised.classes) for outcomes in known.outcomes)
            obeyed = ', '.join(f'{share:.0%} at {s:g}' for share, s in zip(shares, denoised.strengths, strict=True))
            parts.append(f'<p>Share of images that show the class label of the network: {obeyed}.</p>')
    parts.append(_synthesised_images(found, known))
    return section('Images that drive channels, layer by layer', ''.join(parts))


def _synthesis_introduction(known: Synthesis, options: InterpretOptions) -> str:
    words = (
        f'<p>For a channel of each block of {text(known.network)}, {options.ascent_steps} steps of gradient ascent on its '
        f'activation make an image (Olah et al. 2017), under small shifts, scalings and noise, with a prior for smooth images; '
        f'a channel that is low for its class is driven down. The drive is measured in standard deviations over real images: '
        f'if it hardly rises, the channel depends on another input and not on the image.</p>'
    )
    if known.denoised is None:
        return words
    given = 'was given no class' if known.denoised.classes[0] < 0 else 'was given all classes in turn'
    return words + (
        f'<p>Noise of several strengths was then added to each image, and the result denoised {len(known.denoised.classes)} '
        f'times; the network {given}. The share of results that show the class of the channel is compared with the share from '
        f'a grey image under the same noise, with 95% intervals as above.</p>'
    )


def _synthesis_table(found: Interpretation, known: Synthesis) -> str:
    strengths = () if known.denoised is None else known.denoised.strengths
    names = (*found.class_names, 'none of these')
    head = ['channel', 'class', 'drive before', 'drive after', 'image shows']
    head += [f'class made at {strength:g}, and points over grey' for strength in strengths]
    rows = []
    for i, target in enumerate(known.targets):
        outcomes = [_outcome(known, s, i, target.label) for s in range(len(strengths))]
        cells = [f'{share.value:.0%}, {_points(gain)}' for share, gain in outcomes]
        label = found.class_names[target.label] + (' (low)' if target.low else '')
        drive = f'{known.synthesised.before[i]:+.1f}', f'{known.synthesised.after[i]:+.1f}'
        rows.append((str(target.channel), label, *drive, names[known.shown[i]], *cells))
    return table(head, rows)


def _verdict(known: Synthesis, denoised: Denoised) -> str:
    """Return in words from which images denoising makes the class of the channel more often than from a grey image."""
    more = []
    for i, target in enumerate(known.targets):
        for s, strength in enumerate(denoised.strengths):
            _, gain = _outcome(known, s, i, target.label)
            if gain.low > 0:
                more.append(f'{target.channel} at {strength:g}')
    if not more:
        return 'no more often than from grey'
    return f'more often than from grey: {", ".join(more)} (no interval is corrected for their number)'


def _outcome(known: Synthesis, strength: int, target: int, label: int) -> tuple[Interval, Interval]:
    """Return the share of the images made from a synthesised image that show a class, and its gain over grey."""
    shows_class = known.outcomes[strength] == label
    return proportion(shows_class[target]), difference(shows_class[target], shows_class[-1])


def _synthesised_images(found: Interpretation, known: Synthesis) -> str:
    pictures = to_uint8(known.synthesised.images)
    names = [f'{target.channel} {found.class_names[target.label]}' for target in known.targets]
    if known.denoised is None:
        return side(
            [('images that drive channels', grids.labelled(pictures, Labels(captions=names), min(len(names), 5)))]
        )
    shown = min(SHOWN, len(known.denoised.classes))
    heads = ('image of the channel', *(f'denoised {i + 1}' for i in range(shown)))
    made = []
    for strength, images in zip(known.denoised.strengths, known.denoised.images, strict=True):
        rows = [np.concatenate([pictures[i : i + 1], images[i, :shown]]) for i in range(len(pictures[:MAX_ROWS]))]
        labels = Labels(f'denoised from strength {strength:g}', columns=heads, rows=names[:MAX_ROWS])
        made.append((labels.title, grids.labelled(np.concatenate(rows), labels)))
    return side(made)
