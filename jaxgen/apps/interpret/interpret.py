"""``--mode=interpret``: an atlas of activations, tests of channels, ablations and synthesised images of a trained model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from etils import epath

from jaxgen.apps.config import Config
from jaxgen.apps.data import load_split
from jaxgen.apps.evaluate.evaluator import classifier_of
from jaxgen.apps.interpret import ablation, files, synthesis
from jaxgen.apps.interpret.ablation import Ablation, ClassPredictor
from jaxgen.apps.interpret.activations import Atlas, Probe, make_atlas
from jaxgen.apps.interpret.denoising import Denoised, denoise
from jaxgen.apps.interpret.options import InterpretOptions
from jaxgen.apps.interpret.probes import probes_of
from jaxgen.apps.interpret.selectivity import Channel, Selectivity, channels_of_class, measure_selectivity
from jaxgen.apps.trained import Trained
from jaxgen.apps.untrained import build
from jaxgen.data import Dataset
from jaxgen.data.pipeline import example_indices
from jaxgen.diffusion.compatibility import is_discrete
from jaxgen.errors import UserError, check, pick
from jaxgen.io import images
from jaxgen.io.run_directory import output_folder
from jaxgen.methods import METHODS
from jaxgen.runtime.progress import Stage
from jaxgen.runtime.random import root_key, stream
from jaxgen.types import Array


@dataclasses.dataclass(frozen=True)
class Synthesis:
    """Images that drive chosen channels, and the classes that they show.

    Attributes:
      network: the network of the channels.
      targets: the T channels.
      synthesised: an image for each channel.
      shown: the class that the classifier sees in each image, int ``[T]``; -1 for a class that the model does not have.
      denoised: the images that the model makes from them by denoising; None for a GAN.
      outcomes: the class that the classifier sees in each denoised image, int ``[S, T + 1, V]``.
    """

    network: str
    targets: tuple[synthesis.Target, ...]
    synthesised: synthesis.Synthesised
    shown: np.ndarray
    denoised: Denoised | None
    outcomes: np.ndarray


@dataclasses.dataclass(frozen=True)
class Interpretation:
    """All results of an interpretation.

    Attributes:
      config: the config.
      step: the training step of the model.
      class_names: the classes of the model.
      num_examples: number of training images in the atlas.
      atlases: the atlas of each network.
      selectivities: the tests of each network.
      ablation: the effects of channels; None without the part ``ablation``.
      synthesis: images that drive channels; None without the part ``synthesis``.
    """

    config: Config
    step: int
    class_names: tuple[str, ...]
    num_examples: int
    atlases: tuple[Atlas, ...]
    selectivities: tuple[Selectivity, ...]
    ablation: Ablation | None
    synthesis: Synthesis | None


def require_interpretable(config: Config) -> None:
    """Refuse a config whose model cannot be interpreted in the way that it asks for, before the model is loaded.

    Raises:
      UserError: naming the field.
    """
    supports, options = METHODS[config.method].supports, config.interpret
    check(
        supports.samples,
        f'config.family={config.method} generates no images: pass the --config of a diffusion model or a GAN',
    )
    capabilities = build(config)[0].capabilities
    check(
        capabilities.knows_classes or 'ablation' not in options.parts,
        'config.interpret.parts contains ablation, which samples images of a class, but config.model.conditional=False takes '
        'none: leave it out, as in --config.interpret.parts=synthesis, or train a model with model.conditional=True',
    )
    if not supports.denoises:
        return
    d = config.diffusion
    check(
        capabilities.edits,
        f'config.diffusion.parameterisation={d.parameterisation} cannot be interpreted: its network estimates no image at a '
        f'noise level; take a model that was trained with another one, such as flow',
    )
    check(
        not is_discrete(d.schedule) or 2 * options.levels <= d.timesteps,
        f'config.interpret.levels={options.levels} must be at most half of config.diffusion.timesteps={d.timesteps}',
    )


def interpret(trained: Trained, workdir: epath.Path) -> Interpretation:
    """Interpret a model as ``trained.config.interpret`` says, and write the data of each part to ``interpretation/<part>.npz``.

    Raises:
      UserError: if a class, a layer or a channel does not exist, or a part needs a classifier and there is none.
    """
    config, options = trained.config, trained.config.interpret
    folder = output_folder(workdir) / 'interpretation'
    _require_classes(trained)
    if options.parts:
        predict = _class_predictor(trained)  # before the atlas, which takes long, in case this fails
    variables = trained.sampler().variables(trained.model)
    probes = probes_of(trained, variables, options.levels)
    layers = _layers(options, probes[0].blocks(trained.method.image_shape))
    channels = _channels(options, probes[-1].blocks(trained.method.image_shape))

    dataset = _examples(trained)
    key = stream(root_key(options.seed), 'interpretation')
    studies = []
    for i, probe in enumerate(probes):
        study = _study(trained, probe, dataset, [jax.random.fold_in(key, 2 * i + j) for j in (0, 1)])
        files.write(folder / f'{probe.network}.npz', files.study_arrays(*study, dataset.class_names))
        studies.append(study)

    effects = synthesised = None
    if 'ablation' in options.parts:
        effects = _ablate(trained, predict, probes[0], layers, studies[0].selectivity)
        files.write(folder / 'ablation.npz', files.ablation_arrays(effects))
    if 'synthesis' in options.parts:
        synthesised = _synthesise(
            trained, predict, probes[-1], _targets(studies[-1], channels), jax.random.fold_in(key, 4)
        )
        files.write(folder / 'synthesis.npz', files.synthesis_arrays(synthesised))
    return Interpretation(
        config=config,
        step=trained.step,
        class_names=trained.class_names,
        num_examples=len(dataset.images),
        atlases=tuple(study.atlas for study in studies),
        selectivities=tuple(study.selectivity for study in studies),
        ablation=effects,
        synthesis=synthesised,
    )


class _Study(NamedTuple):
    atlas: Atlas
    selectivity: Selectivity


def _require_classes(trained: Trained) -> None:
    check(
        len(trained.class_names) > 1,
        f'config.data.classes={",".join(trained.class_names)} is a single class, and channels cannot tell it from another: '
        f'pass the --workdir of a model of several classes',
    )
    for name in trained.config.interpret.classes or ():
        pick(name, trained.class_names, 'config.interpret.classes:')


def _class_predictor(trained: Trained) -> ClassPredictor:
    config, classes = trained.config, trained.class_names
    parts = f'config.interpret.parts={",".join(config.interpret.parts)}'
    remedy = 'name one in config.evaluation.judge=FILE.safetensors, or set config.interpret.parts to nothing'
    classifier = classifier_of(config)
    if classifier is None:
        raise UserError(f'{parts} needs a classifier, and jaxgen has none for {config.data.title}: {remedy}')
    check(
        classifier.image_shape == trained.method.image_shape and set(classes) <= set(classifier.class_names),
        f'{parts}: the classifier of {classifier.data} does not know such images: {remedy}',
    )
    return ClassPredictor(trained, classifier)


def _layers(options: InterpretOptions, blocks: dict[str, int]) -> list[str]:
    """Return the blocks whose channels are assigned to classes."""
    layers = list(blocks) if options.layer is None else [pick(options.layer, blocks, 'config.interpret.layer:')]
    available = sum(blocks[layer] for layer in layers)
    check(
        options.top_k < available,
        f'config.interpret.top_k={options.top_k} must be below the {available} channels of '
        f'{options.layer or "the network"}',
    )
    return layers


def _channels(options: InterpretOptions, blocks: dict[str, int]) -> list[Channel] | None:
    """Return the channels that ``options.channels`` names, or None."""
    if options.channels is None:
        return None
    chosen = []
    for name in options.channels:
        block = pick(name.partition(':')[0], blocks, 'config.interpret.channels: the layer')
        pick(name, [str(Channel(block, c)) for c in range(blocks[block])], 'config.interpret.channels:')
        chosen.append(Channel(block, int(name.partition(':')[2])))
    return chosen


def _examples(trained: Trained) -> Dataset:
    """Return training images of all classes of the model.

    For a fine-tuned model ``data.max_examples`` is ignored, because it limits the images of fine-tuning, not those of the base.
    """
    config = trained.config
    is_fine_tuned = config.finetune.base is not None or config.sample.adapter is not None
    max_examples = None if is_fine_tuned else config.data.max_examples
    dataset = load_split(config, 'train', classes=trained.class_names, max_examples=max_examples)
    total, num = len(dataset.images), config.interpret.num
    rows = example_indices(config.interpret.seed, 0, total if num is None else min(num, total), total)
    return dataset.subset(rows)


def _study(trained: Trained, probe: Probe, dataset: Dataset, keys: Sequence[Array]) -> _Study:
    """Return the atlas of a network and the tests of its channels."""
    options = trained.config.interpret
    with Stage(f'atlas of {probe.network}', len(dataset.images)) as stage:
        atlas = make_atlas(
            probe,
            dataset,
            trained.mesh,
            batch_size=trained.config.sample.batch_size,
            key=keys[0],
            keep=options.tested,
            progress=stage.reach,
        )
    with Stage(f'testing {probe.network}', len(atlas.kept), 'layers') as stage:
        found = measure_selectivity(atlas, len(dataset.class_names), options, keys[1], stage.reach)
    return _Study(atlas, found)


def _ablate(
    trained: Trained, predict: ClassPredictor, probe: Probe, layers: Sequence[str], found: Selectivity
) -> Ablation:
    options, names = trained.config.interpret, trained.class_names
    chosen = {
        name: channels_of_class(found, names.index(name), layers, options.top_k) for name in options.classes or names
    }
    runs = 1 + len(chosen) * len(options.factors) * (1 + options.controls)
    with Stage('ablation', runs, 'runs') as stage:
        blocks = probe.blocks(trained.method.image_shape)
        return ablation.ablate(trained, options, predict, chosen, blocks, progress=stage.reach)


def _targets(study: _Study, channels: Sequence[Channel] | None) -> list[synthesis.Target]:
    """Return the given channels as targets, or the most selective channel of each block if ``channels`` is None."""
    found = study.selectivity
    if channels is None:
        channels = [synthesis.most_selective(found, block) for block in study.atlas.means]
    return [synthesis.make_target(found, channel) for channel in channels]


def _synthesise(
    trained: Trained, predict: ClassPredictor, probe: Probe, targets: Sequence[synthesis.Target], key: Array
) -> Synthesis:
    options, shape = trained.config.interpret, trained.method.image_shape
    with Stage(f'synthesising images for {len(targets)} channels'):
        made = synthesis.synthesise(
            probe,
            shape,
            targets,
            steps=options.ascent_steps,
            smoothness=options.smoothness,
            key=jax.random.fold_in(key, 0),
        )
    shown = predict(images.to_uint8(made.images))
    if not trained.method.capabilities.denoises:
        return Synthesis(probe.network, tuple(targets), made, shown, None, np.empty((0, len(targets) + 1, 0), int))
    with Stage('denoising the synthesised images'):
        denoised = denoise(trained, probe.variables, made.images, options, jax.random.fold_in(key, 1))
    outcomes = predict(denoised.images.reshape(-1, *shape)).reshape(denoised.images.shape[:3])
    return Synthesis(probe.network, tuple(targets), made, shown, denoised, outcomes)
