"""Trained models for use from Python: ``jaxgen.load``."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Float, UInt8

from jaxgen.apps import stored_config
from jaxgen.apps.edit import from_python
from jaxgen.apps.edit.options import EditOptions
from jaxgen.apps.edit.start import start_edit
from jaxgen.apps.publish import folder as published
from jaxgen.apps.publish.upload import upload
from jaxgen.apps.restore import restore
from jaxgen.apps.rules import validate
from jaxgen.apps.trained import Trained
from jaxgen.diffusion.levels import Level
from jaxgen.errors import check, pick
from jaxgen.io import hub
from jaxgen.io.files import absolute, is_remote
from jaxgen.io.run_directory import CONFIG, WEIGHTS
from jaxgen.methods.base import Method
from jaxgen.methods.diffusion.method import Diffusion
from jaxgen.methods.diffusion.options import GUIDE_FIELDS
from jaxgen.runtime.random import root_key, stream
from jaxgen.schema import specs
from jaxgen.training.sampling import SamplePipeline, chosen_classes, cycled_labels
from jaxgen.types import Array, PyTree

# Fields of ``config.sample`` that are arguments of ``load`` or ``Model.sample``, or that only the command line uses.
NO_OPTIONS = (*GUIDE_FIELDS, 'adapter', 'adapter_scale', 'batch_size', 'classes', 'ema_length', 'every', 'name', 'num')


class Model:
    """A trained model that generates images; ``load`` returns one.

    Attributes:
      step: the training step of its parameters.
      class_names: the classes that it was trained on, in the order of their labels.
      method: the networks and the mathematics of the model.
    """

    def __init__(self, trained: Trained, workdir: epath.Path):
        self._trained, self._workdir = trained, workdir
        self.step, self.class_names, self.method = trained.step, trained.class_names, trained.method
        self._pipelines: dict[object, SamplePipeline] = {}
        self._editors: dict[object, Callable[..., Array]] = {}

    def __repr__(self) -> str:
        height, width, channels = self.method.image_shape
        return f'<jaxgen model: {type(self.method).__name__}, {height}x{width}x{channels}, step {self.step}>'

    @property
    def params(self) -> PyTree:
        """The averaged parameters, with which the model samples: nested dicts of arrays."""
        return self._variables['params']

    def sample(
        self,
        num: int,
        *,
        classes: Sequence[str] | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        **options: object,
    ) -> UInt8[np.ndarray, 'n h w c']:
        """Generate images; image i depends only on the seed, on its class and on i.

        Example::

            images = model.sample(16, classes=['ship', 'horse'], seed=0)
            quick = model.sample(16, sampler='dpmpp_2m', num_steps=10)

        Args:
          num: number of images.
          classes: the classes that the images have in turn; all classes of the model if not set.
          seed: seed of the random keys.
          batch_size: number of images to generate at once; at most 64 if not set.
          options: values of options of ``config.sample`` that replace those of the trained model: ``sampler``, ``num_steps``,
            ``guidance_scale``, ``eta``, ``clip`` and so on for a diffusion model.

        Returns:
          The images, uint8 ``[num, height, width, channels]``.

        Raises:
          UserError: (a ValueError) if a class or an option does not exist, or the method generates no images.
        """
        check(
            self.method.capabilities.samples,
            f'{type(self.method).__name__} generates no images: load a diffusion model or a GAN',
        )
        check(num >= 1, f'num={num} must be at least 1')
        check(batch_size is None or batch_size >= 1, f'batch_size={batch_size} must be at least 1, or None')
        self._require_classes(classes)
        devices = self._trained.mesh.size
        size = batch_size or min(num, 64)
        pipeline = self._pipeline(-(-size // devices) * devices, options)
        pipeline = pipeline.with_classes(chosen_classes(self.class_names, classes)).reseeded(seed)
        return pipeline(self._trained.model, num)[0]

    def edit(
        self,
        image: from_python.Image,
        *,
        mask: from_python.Mask | None = None,
        strength: float = 0.6,
        num: int = 8,
        classes: Sequence[str] | None = None,
        seed: int = 0,
        **options: object,
    ) -> UInt8[np.ndarray, 'n h w c']:
        """Change an image: add noise to it and remove the noise again (SDEdit), or paint a part of it anew.

        These are the images of ``--mode=edit`` with kind=image2image or, with a mask, kind=inpaint.

        Example::

            dogs = model.edit('cat.png', classes=['dog'], strength=0.5, num=4)

            mask = np.zeros((32, 32), bool)
            mask[16:] = True  # paint the lower half anew
            others = model.edit(dogs[0], mask=mask, strength=1.0)

        Args:
          image: the image to edit: uint8 ``[height, width, channels]`` in the size of the model; a file, which is cropped and
            resized to that size; or an image of a data set, as in ``cifar10:test:17``.
          mask: bool ``[height, width]``, True where the model paints, or a file of that size that is white there; the model
            may change every pixel if not set.
          strength: how much may change: near 0 almost nothing, 1 everything.
          num: number of edited images to make, all at once.
          classes: the classes that the edited images have in turn; all classes of the model if not set.
          seed: seed of the random keys.
          options: other values of the options of ``config.sample``, as in ``sample``.

        Returns:
          The edited images, uint8 ``[num, height, width, channels]``.

        Raises:
          UserError: (a ValueError) if the model cannot edit images, an image or a mask does not fit it, or a class or an
            option does not exist.
        """
        check(
            self.method.capabilities.edits,
            'this model cannot edit images: load a diffusion model that is neither a mean flow nor a consistency model',
        )
        self._require_classes(classes)
        edit, names = EditOptions(strength=strength, num=num), None if classes is None else tuple(classes)
        trained = self._with_options(options, {'edit': edit, 'seed': seed, 'sample.classes': names})
        height, width, channels = self.method.image_shape
        given = from_python.image_array(image, (height, width, channels), trained.config)
        painted = None if mask is None else from_python.mask_array(mask, height)
        start = start_edit(trained, self._variables, given, mask=painted, num=num)
        key = (strength, *sorted(options.items()))
        if key not in self._editors:
            self._editors[key] = from_python.sampler(cast(Diffusion, trained.method), start.levels)
        everywhere = np.ones((height, width, 1), np.float32)
        inputs = start.keys, start.labels, start.x, start.known, everywhere if painted is None else painted
        return start.finish(np.asarray(self._editors[key](self._variables, *inputs)))

    def noise_levels(self, num_steps: int | None = None) -> Level:
        """Return the noise levels that the sampler of a diffusion model visits, from noise to data.

        Args:
          num_steps: number of steps; the number of the model's sampler if not set.

        Returns:
          alpha, sigma and the time input of the network, arrays ``[num_steps + 1]`` each, where x = alpha x_0 + sigma noise.

        Raises:
          UserError: (a ValueError) if the model has no noise levels.
        """
        return self._denoising_method().levels(self._variables, num_steps)

    def denoise(
        self, x: Float[Array, 'n h w c'], level: Level, *, classes: Sequence[str] | None = None
    ) -> Float[Array, 'n h w c']:
        """Estimate x_0 of noisy images, without guidance and without clipping.

        Args:
          x: noisy images, alpha x_0 + sigma noise with x_0 in [-1, 1].
          level: a scalar noise level, such as ``jaxgen.diffusion.Level(*(z[10] for z in model.noise_levels(50)))``.
          classes: the classes that the images have in turn; all classes of the model if not set.

        Returns:
          The estimates, in the shape of ``x``.

        Raises:
          UserError: (a ValueError) if the model does not denoise, or a class does not exist.
        """
        method, chosen = self._denoising_method(), chosen_classes(self.class_names, classes)
        labels = jnp.asarray(cycled_labels(chosen, 0, len(x)))
        return method.predictor(self._variables, labels, clip=False)(jnp.asarray(x), level).mean

    def push_to_hub(
        self, repository: str, *, private: bool = False, license: str = 'other', folder: str | None = None
    ) -> str:
        """Upload the model with a model card to the Hugging Face Hub; ``jaxgen.load(repository)`` loads it from there.

        The card shows samples and the evaluations in the run directory, with their protocols. The weights are rounded to
        bfloat16.

        Args:
          repository: the name of the repository, as in ``owner/name``; it is made if it does not exist.
          private: whether a new repository is visible only to its owner.
          license: the licence that the card states, by its identifier on the Hub, such as ``apache-2.0``.
          folder: a new folder to export to; ``runs/hub/<owner>/<name>`` if not set. It is kept even if the upload fails.

        Returns:
          The address of the repository.

        Raises:
          UserError: (a ValueError) if the model cannot be exported, or the Hub cannot be reached or refuses it.
        """
        return upload(published.export(self._trained, self._workdir, repository, license, folder), repository, private)

    @functools.cached_property
    def _variables(self) -> PyTree:
        config = self._trained.config
        key = stream(root_key(config.seed), 'statistics')
        return self.method.sampling_variables(self._trained.model, key, True)

    def _denoising_method(self) -> Any:
        check(
            self.method.capabilities.denoises and self.method.capabilities.has_likelihood,
            'this model estimates no image at a noise level: load a diffusion model other than a mean flow',
        )
        return self.method

    def _require_classes(self, classes: Sequence[str] | None) -> None:
        check(classes is None or self.method.capabilities.knows_classes, 'this model was trained without class labels')

    def _pipeline(self, batch_size: int, options: Mapping[str, object]) -> SamplePipeline:
        """Return the compiled sampler of these options."""
        key = (batch_size, *sorted(options.items()))
        if key not in self._pipelines:
            self._pipelines[key] = self._with_options(options, {'sample.batch_size': batch_size}).sampler()
        return self._pipelines[key]

    def _with_options(self, options: Mapping[str, object], changes: Mapping[str, object]) -> Trained:
        """Return the model with other options of ``config.sample``, and with other changes of its config by dotted name."""
        known = [name for name in specs(type(self._trained.config.sample)) if name not in NO_OPTIONS]
        fields = {f'sample.{pick(name, known, "the option")}': value for name, value in options.items()}
        config = self._trained.config.replace({**fields, **changes})
        validate(config)
        method: Method = self.method.with_sample_options(config.sample)
        return dataclasses.replace(self._trained, config=config, method=method)


def load(
    path: str | epath.PathLike,
    *,
    adapter: str | None = None,
    adapter_scale: float = 1.0,
    guide: str | epath.PathLike | None = None,
    guide_step: int | None = None,
    guide_ema_length: float | None = None,
) -> Model:
    """Load a trained model.

    Args:
      path: a run directory, or the name of a model on the Hugging Face Hub with the files of ``--mode=export
        --config.interop.format=jaxgen``, such as ``owner/name``.
      adapter: an ``adapter.safetensors`` that ``--mode=finetune`` made for this model.
      adapter_scale: share of the adapter, from 0 (the model alone) to 1.
      guide: run directory of a worse diffusion model that guides this one (autoguidance). If only ``guide_step`` or
        ``guide_ema_length`` is set, this run guides itself. ``model.sample(16, guide_scale=1.5)`` sets the scale.
      guide_step: step of the guide's checkpoint or snapshots; the newest if not set.
      guide_ema_length: length of the guide's average, made from its snapshots; its usual average if not set.

    Returns:
      The model of the newest checkpoint, or of ``weights.safetensors``, on all devices.

    Raises:
      UserError: (a ValueError) if there is no model, a file is damaged, or the Hub cannot be reached.

    Example:
      >>> import jaxgen
      >>> model = jaxgen.load('pretrained/ddpm_cifar')
      >>> images = model.sample(8, sampler='ddim', num_steps=2, seed=0)
      >>> images.shape[0], images.dtype
      (8, dtype('uint8'))
    """
    workdir = absolute(path)
    if not is_remote(path) and not (workdir / CONFIG).exists() and hub.NAME.fullmatch(str(path)):
        workdir = epath.Path(hub.folder(str(path), (CONFIG, WEIGHTS)))
    check((workdir / CONFIG).exists(), f'{path} holds no trained model (no {CONFIG}): name the folder of a run')
    config = stored_config.read(workdir / CONFIG)
    config = config.replace({'mesh.fsdp': 1, 'sample.adapter': adapter, 'sample.adapter_scale': adapter_scale})
    values = (None if guide is None else os.fspath(guide), guide_step, guide_ema_length)
    given = {f'sample.{name}': value for name, value in zip(GUIDE_FIELDS, values, strict=True) if value is not None}
    check(not given or hasattr(config.sample, 'guide'), f'{path} is no diffusion model, so nothing guides it')
    config = config.replace(given)
    validate(config)
    return Model(restore(config, workdir), workdir)
