"""``--mode=interpret``: from a trained model to ``interpretation/``: an atlas, tests, ablations, pictures, a report."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from jaxgen import methods
from jaxgen.apps.evaluate.evaluator import classifier_of, load_options
from jaxgen.apps.interpret import ablation, selectivity, synthesis
from jaxgen.apps.interpret.activations import Atlas, Probe, make_atlas
from jaxgen.apps.interpret.probes import probes_of
from jaxgen.apps.interpret.selectivity import Channel, Selectivity
from jaxgen.apps.trained import Trained
from jaxgen.data import Dataset, load
from jaxgen.data.pipeline import example_indices
from jaxgen.diffusion.compatibility import MEAN_FLOW, is_discrete
from jaxgen.errors import check, names, pick
from jaxgen.io import images
from jaxgen.io.files import write_atomically
from jaxgen.metrics.progress import Meter, print_line
from jaxgen.runtime.random import root_key, stream

PARTS = 'ablation', 'synthesis'


@dataclasses.dataclass(frozen=True)
class Pictures:
    """What drives chosen channels, and what it is seen as.

    Attributes:
      seen: int ``[T]``, the class that the judge sees in each picture; -1 for none of the model's.
      denoised: None for a GAN.
      outcomes: int ``[S, T + 1, V]``, what it sees in what is drawn from them.
    """

    network: str
    targets: tuple[synthesis.Target, ...]
    driven: synthesis.Driven
    seen: np.ndarray
    denoised: synthesis.Denoised | None
    outcomes: np.ndarray


@dataclasses.dataclass(frozen=True)
class Interpretation:
    """All that is known at the end; ``ablation`` and ``pictures`` are None where they were not asked for."""

    config: ConfigDict
    step: int
    class_names: tuple[str, ...]
    examples: int
    atlases: tuple[Atlas, ...]
    selectivities: tuple[Selectivity, ...]
    ablation: ablation.Ablation | None
    pictures: Pictures | None


def require_fields(config: ConfigDict) -> None:
    """Refuses what cannot be interpreted so, before anything is loaded.

    Raises:
      UserError: naming the field.
    """
    options, model = config.interpret, config.model
    check(
        methods.METHODS[config.family].supports.samples,
        f'config.family={config.family} generates no images: diffusion models and GANs are interpreted',
    )
    parts = [pick(part, PARTS, 'config.interpret.parts:') for part in names(options.parts)]
    check(
        model.conditional or 'ablation' not in parts,
        'config.interpret.parts: the ablation asks for images of a class, and config.model.conditional=False knows none: '
        'leave it out, as in --config.interpret.parts=synthesis, or train a model with config.model.conditional=True',
    )
    rate = options.false_discoveries
    check(0 < rate < 1, f'config.interpret.false_discoveries={rate} must lie between 0 and 1')
    check(
        1 / (options.permutations + 1) <= rate,
        f'config.interpret.permutations={options.permutations} are too few to find anything at '
        f'config.interpret.false_discoveries={rate}: pass at least {math.ceil(1 / rate) - 1}',
    )
    check(options.bins > 1, f'config.interpret.bins={options.bins} must be at least 2')
    check(
        len(options.factors) > 0 and min(options.factors) >= 0,
        f'config.interpret.factors={options.factors} must name numbers that are not negative',
    )
    strengths = options.strengths
    check(
        len(strengths) > 0 and min(strengths) > 0 and max(strengths) <= 1,
        f'config.interpret.strengths={strengths} must name numbers between 0, the picture, and 1, nothing of it',
    )
    check(options.smoothness >= 0, f'config.interpret.smoothness={options.smoothness} must not be negative')
    if methods.METHODS[config.family].supports.denoises:
        _require_diffusion(config)


def _require_diffusion(config: ConfigDict) -> None:
    d, options = config.diffusion, config.interpret
    check(
        d.parameterisation != MEAN_FLOW,
        f'config.diffusion.parameterisation={d.parameterisation} is not interpreted: its network does not estimate the image '
        f'at a level of noise',
    )
    check(
        not is_discrete(d.schedule) or 2 * options.levels <= d.timesteps,
        f'config.interpret.levels={options.levels} must be at most half of config.diffusion.timesteps={d.timesteps}',
    )


def interpret(config: ConfigDict, trained: Trained, workdir: epath.Path) -> Interpretation:
    """Does what ``config.interpret`` asks for, and writes the data of each part to ``interpretation/<part>.npz``.

    Raises:
      UserError: for a class, a layer or a channel that does not exist, or if there is no judge.
    """
    options, folder = config.interpret, workdir / 'interpretation'
    check(
        len(trained.class_names) > 1,
        f'config.data.classes={config.data.classes}: channels that tell classes apart need two of them: pass the --workdir of '
        f'a model that knows more',
    )
    for name in names(options.classes):
        pick(name, trained.class_names, 'config.interpret.classes:')
    sight = _sight(config, trained) if names(options.parts) else None
    variables = trained.sampler().variables(trained.model)
    probes = probes_of(trained, variables, options.levels)
    blocks = [probe.blocks(trained.method.image_shape) for probe in probes]
    layers, channels = _layers(options, blocks[0]), _channels(options, blocks[-1])

    dataset = _examples(config, trained.class_names)
    key = stream(root_key(options.seed, config.train.prng), 'interpretation')
    atlases, found = [], []
    for i, probe in enumerate(probes):
        atlas_key, test_key = (jax.random.fold_in(key, 2 * i + j) for j in (0, 1))
        meter = Meter(f'{probe.network}: atlas', len(dataset.images), print_line)
        atlas = make_atlas(probe, dataset, trained.mesh, config.sample.batch_size, atlas_key, options.tested, meter)
        tested = selectivity.measure(
            atlas, len(dataset.class_names), options, test_key, _said(f'{probe.network}: layers tested', len(blocks[i]))
        )
        _write(folder / f'{probe.network}.npz', **_arrays(atlas, tested, dataset.class_names))
        atlases.append(atlas)
        found.append(tested)

    effects = pictures = None
    if 'ablation' in names(options.parts):
        chosen = {
            name: selectivity.for_class(found[0], trained.class_names.index(name), layers, options.top_k)
            for name in names(options.classes) or trained.class_names
        }
        runs = 1 + len(chosen) * len(options.factors) * (1 + options.controls)
        effects = ablation.ablate(trained, options, sight, blocks[0], chosen, _said('ablation: runs', runs))
        _write(folder / 'ablation.npz', **_ablation_arrays(effects))
    if 'synthesis' in names(options.parts):
        chosen = channels or [synthesis.most_selective(found[-1], block) for block in blocks[-1]]
        targets = [synthesis.target(found[-1], channel) for channel in chosen]
        pictures = _pictures(config, trained, probes[-1], blocks[-1], targets, sight, jax.random.fold_in(key, 4))
        _write(folder / 'synthesis.npz', **_picture_arrays(pictures))
    return Interpretation(
        config,
        trained.step,
        trained.class_names,
        len(dataset.images),
        tuple(atlases),
        tuple(found),
        effects,
        pictures,
    )


def _sight(config: ConfigDict, trained: Trained) -> ablation.Sight:
    options = config.interpret
    found = classifier_of(config)
    way_out = 'pass another as config.evaluation.judge=FILE.safetensors, or set config.interpret.parts to nothing'
    check(
        found is not None,
        f'config.interpret.parts={options.parts} needs a classifier, and jaxgen has none for {config.data.name}: {way_out}',
    )
    shape = trained.method.image_shape
    fits_it = found.image_shape == shape and set(trained.class_names) <= set(found.class_names)
    check(
        fits_it,
        f'config.interpret.parts={options.parts}: the classifier of {found.data} does not know such images: {way_out}',
    )
    return ablation.Sight(trained, found)


def _layers(options: ConfigDict, blocks: dict[str, int]) -> list[str]:
    layers = [pick(options.layer, blocks, 'config.interpret.layer:')] if options.layer else list(blocks)
    most = sum(blocks[layer] for layer in layers)
    check(
        options.top_k < most,
        f'config.interpret.top_k={options.top_k} must be below the {most} channels of {options.layer or "the network"}',
    )
    return layers


def _channels(options: ConfigDict, blocks: dict[str, int]) -> list[Channel]:
    chosen = []
    for name in names(options.channels):
        block = pick(name.partition(':')[0], blocks, 'config.interpret.channels: the layer')
        pick(name, [str(Channel(block, c)) for c in range(blocks[block])], 'config.interpret.channels:')
        chosen.append(Channel(block, int(name.partition(':')[2])))
    return chosen


def _examples(config: ConfigDict, classes: tuple[str, ...]) -> Dataset:
    """Of all classes that the model knows; ``config.data.max_examples`` of a fine-tuned one is of what it was tuned on."""
    tuned = config.finetune.base or config.sample.adapter
    most = None if tuned else config.data.max_examples or None
    every = load(config.data.name, 'train', max_examples=most, **load_options(config) | {'classes': classes})
    num = min(config.interpret.num or len(every.images), len(every.images))
    rows = example_indices(config.interpret.seed, 0, num, len(every.images))
    return Dataset(every.images[rows], every.labels[rows], every.class_names)


def _pictures(
    config: ConfigDict,
    trained: Trained,
    probe: Probe,
    blocks: dict[str, int],
    targets: list[synthesis.Target],
    sight: ablation.Sight,
    key: Any,
) -> Pictures:
    options, shape = config.interpret, trained.method.image_shape
    driven = synthesis.drive(
        probe, shape, blocks, targets, options.ascent_steps, options.smoothness, jax.random.fold_in(key, 0)
    )
    seen = sight(images.to_uint8(driven.pictures))
    if not trained.method.capabilities.denoises:
        return Pictures(probe.network, tuple(targets), driven, seen, None, np.empty((0, len(targets) + 1, 0), int))
    drawn = synthesis.denoise(trained, probe.variables, driven.pictures, options, jax.random.fold_in(key, 1))
    outcomes = sight(drawn.images.reshape(-1, *shape)).reshape(drawn.images.shape[:3])
    return Pictures(probe.network, tuple(targets), driven, seen, drawn, outcomes)


def _said(what: str, total: int) -> Callable[[int], None]:
    return lambda done: print(f'{what}: {done}/{total}', flush=True)


def _write(path: epath.Path, **arrays: np.ndarray) -> None:
    write_atomically(path, images.npz(**arrays))


def _arrays(atlas: Atlas, found: Selectivity, classes: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Of a network: ``mean/<block>`` ``[L, K, C]``, ``index/<block>`` ``[L, C]``, ``by_class/<block>`` ``[L, K, C]`` ..."""
    arrays = {'levels': np.array(atlas.levels), 'classes': np.array(classes), 'counts': atlas.counts}
    for block in atlas.means:
        arrays |= {f'mean/{block}': atlas.means[block], f'by_class/{block}': found.by_class[block]}
        arrays[f'low/{block}'] = found.low[block]
        for name, test in (('index', found.index), ('information', found.information)):
            arrays |= {f'{name}/{block}': test.value[block], f'{name}_excess/{block}': test.excess[block]}
            arrays |= {f'{name}_p/{block}': test.p[block], f'{name}_q/{block}': test.q[block]}
            arrays[f'{name}_strict/{block}'] = test.strict[block]
    return arrays


def _ablation_arrays(found: ablation.Ablation) -> dict[str, np.ndarray]:
    """A row an effect; ``right`` bool ``[E, N]``, image by image."""
    effects = found.effects
    return {
        'labels': found.labels,
        'right_before': found.right,
        'right': np.stack([e.right for e in effects]),
        'class': np.array([e.name for e in effects]),
        'factor': np.array([e.factor for e in effects]),
        'draw': np.array([e.draw for e in effects]),
        'channels': np.array([' '.join(map(str, e.channels)) for e in effects]),
        'on_class': np.array([e.on_class for e in effects]),
        'on_others': np.array([e.on_others for e in effects]),
    }


def _picture_arrays(found: Pictures) -> dict[str, np.ndarray]:
    arrays = {
        'channels': np.array([str(t.channel) for t in found.targets]),
        'classes': np.array([t.label for t in found.targets]),
        'pictures': found.driven.pictures,
        'before': found.driven.before,
        'after': found.driven.after,
        'seen': found.seen,
    }
    if found.denoised is not None:
        arrays |= {'strengths': np.array(found.denoised.strengths), 'images': found.denoised.images}
        arrays |= {'told': found.denoised.told, 'outcomes': found.outcomes}
    return arrays
