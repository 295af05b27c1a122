"""Edits of images by a diffusion model: image to image, inpainting, interpolation and class transfer."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jaxgen.apps.edit import denoising_steps
from jaxgen.apps.edit.denoising_steps import Steps, noise_share
from jaxgen.apps.edit.inputs import open_image, open_mask
from jaxgen.apps.edit.start import edit_keys, require_editable, start_edit, to_images
from jaxgen.apps.trained import Trained
from jaxgen.diffusion import editing
from jaxgen.diffusion.levels import Level
from jaxgen.diffusion.samplers import DDIM, ddim_inversion
from jaxgen.errors import check, pick
from jaxgen.io import grids, images
from jaxgen.io.files import write_atomically
from jaxgen.io.grids import Labels
from jaxgen.io.run_directory import output_folder
from jaxgen.methods.diffusion.method import Diffusion
from jaxgen.methods.diffusion.sampling import Edit, mean_only
from jaxgen.runtime import xla_flags
from jaxgen.runtime.compilation import compiled
from jaxgen.runtime.progress import Stage
from jaxgen.runtime.random import root_key
from jaxgen.training.sampling import cycled_labels
from jaxgen.types import Array

COLUMNS = 5  # images in a row


@dataclasses.dataclass(frozen=True)
class Edited:
    """The result of an edit.

    Attributes:
      given: uint8 ``[G, H, W, C]``, the input images as the network sees them.
      made: uint8 ``[N, H, W, C]``, the edited images.
      steps: the edited images after each step.
      names: the name of each edited image.
      mask: uint8 ``[H, W, C]``, white where the model painted; None if it painted everywhere.
      notes: sentences about the result for the user.
    """

    given: np.ndarray
    made: np.ndarray
    steps: Steps
    names: Sequence[str]
    mask: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """The input images and the mask, uint8 ``[H, W, C]``, by their captions."""
        shown = dict(zip(('input', 'other input'), self.given, strict=False))
        return shown if self.mask is None else {**shown, 'mask: white is painted': self.mask}


class Editor:
    """A trained diffusion model with the options of an edit, ``trained.config.edit``; each kind of edit is one of ``EDITS``.

    Raises:
      UserError: if the model cannot edit images, or ``source_class`` is not one of its classes.
    """

    def __init__(self, trained: Trained):
        config = trained.config
        require_editable(config, trained.method)
        self.trained, self.config, self.options = trained, config, config.edit
        self.method = cast(Diffusion, trained.method)
        key = root_key(config.seed)
        self.variables = self.method.sampling_variables(trained.model, key, config.sample.ema)
        self.levels = self.method.levels(self.variables)
        if self.options.source_class is not None:
            pick(self.options.source_class, trained.class_names, 'config.edit.source_class:')

    def image2image(self) -> Edited:
        """Add noise of ``strength`` to the input and denoise it, as in SDEdit (Meng et al. 2022)."""
        return self._edit_from_noise(self._open('input'))

    def inpaint(self) -> Edited:
        """Make images that equal the input outside the mask."""
        given = self._open('input')
        return self._edit_from_noise(given, open_mask(self.options.mask, 'config.edit.mask', given.shape[0]))

    def interpolate(self) -> Edited:
        """Make images on the great circle between the noises from which DDIM makes the two input images.

        ``sample.classes`` names the classes of the two inputs; each image has the class of the nearer input.
        """
        given = np.stack([self._open('input'), self._open('other')])
        share = np.linspace(0.0, 1.0, max(self.options.num, 2))
        end_labels = self._labels_of_ends()
        noise = self._invert(given, end_labels)
        between = editing.slerp(noise[0], noise[1], jnp.asarray(share, jnp.float32))
        made, steps = self._sample(between, end_labels[(share >= 0.5).astype(int)], self.levels)
        names = [f'{part:.0%} of the way' for part in share]
        return Edited(given, made, steps, names, notes=(_reconstruction_note(made[[0, -1]], given),))

    def transfer(self) -> Edited:
        """Find the noise of the input as ``source_class``, and sample from it as that class and as each of ``sample.classes``."""
        classes = self.config.sample.classes
        check(
            self.method.capabilities.knows_classes,
            'config.edit.kind=transfer needs a model that takes class labels: train one with model.conditional=True',
        )
        check(
            classes is not None,
            'config.sample.classes is not set, but config.edit.kind=transfer needs it: name the classes to transfer to',
        )
        given = self._open('input')[None]
        label_of = self.trained.class_names.index
        labels = np.array([label_of(name) for name in (self.options.source_class, *classes)], np.int32)
        noise = self._invert(given, labels[:1])
        made, steps = self._sample(noise.repeat(len(labels), axis=0), labels, self.levels)
        names = [f'made again as {self.options.source_class}', *(f'made as {name}' for name in classes)]
        return Edited(given, made, steps, names, notes=(_reconstruction_note(made[:1], given),))

    def _open(self, field: str) -> np.ndarray:
        name = getattr(self.options, field)
        return open_image(name, f'config.edit.{field}', self.method.image_shape, self.config)

    def _labels_of_ends(self) -> np.ndarray:
        """Return the labels of the two inputs: the first of ``sample.classes``, or the label of no class if not set."""
        classes = self.config.sample.classes
        if classes is not None:
            return cycled_labels([self.trained.class_names.index(name) for name in classes], 0, 2)
        no_class = self.method.null_label if self.method.label_dropout else 0
        return np.full(2, no_class, np.int32)

    def _edit_from_noise(self, given: np.ndarray, mask: np.ndarray | None = None) -> Edited:
        start = start_edit(self.trained, self.variables, given, mask=mask, num=self.options.num)
        edit = editing.keep_known(start.known, jnp.ones(()) if mask is None else jnp.asarray(mask))
        made, steps = self._sample(start.x, start.labels, start.levels, edit)
        steps = dataclasses.replace(steps, start='the noisy input')
        names = [f'result {i + 1}' for i in range(len(made))]
        if self.method.capabilities.knows_classes:
            names = [f'{name}: {self.trained.class_names[c]}' for name, c in zip(names, start.labels, strict=True)]
        shown = None if mask is None else np.broadcast_to(mask * 255, given.shape).astype(np.uint8)
        return Edited(given[None], start.finish(made), steps, names, shown)

    def _sample(
        self, x: Array, labels: np.ndarray, levels: Level, edit: Edit | None = None
    ) -> tuple[np.ndarray, Steps]:
        """Sample from ``x`` at the first of the levels, and return the images uint8 and the images after each step."""

        @functools.partial(jax.jit, compiler_options=xla_flags.options_of_samplers())
        def take_step(variables, keys, labels, carry, step):
            return self.method.prepare(variables, keys, labels, levels=levels, x=carry.x, edit=edit).step(carry, step)

        given = (self.variables, edit_keys(self.config, len(labels)), jnp.asarray(labels))
        run = self.method.prepare(*given, levels=levels, x=x, edit=edit)
        tables = [jax.tree.map(lambda table, i=i: table[i], run.steps) for i in range(len(levels.t) - 1)]
        carry, xs = run.carry, []
        program = compiled('the sampler', lambda: take_step.lower(*given, carry, tables[0]))
        with Stage(f'sampling {len(labels)} images', len(tables), 'steps') as stage:
            for step in tables:
                carry = program(*given, carry, step)
                xs.append(np.asarray(carry.x))
                stage.advance()
        path = np.stack(xs)
        ends = Level(*(table[1:] for table in levels))
        steps = Steps(to_images(path, ends), np.arange(1, len(path) + 1), noise_share(ends), len(path))
        return images.to_uint8(path[-1]), steps

    def _invert(self, given: np.ndarray, labels: np.ndarray) -> Array:
        """Return the noise from which DDIM makes images uint8 ``[N, H, W, C]``.

        The denoiser is neither guided nor clipped, since the fixed-point iteration would not invert such steps.
        """
        check(
            self.method.sampling.sampler == DDIM(eta=0.0),
            f'config.edit.kind={self.options.kind} follows the image back along the way of a sampler without noise: set '
            f'config.sample.sampler=ddim and config.sample.eta=0',
        )

        @functools.partial(jax.jit, compiler_options=xla_flags.options_of_samplers())
        def invert(variables, x0, labels):
            denoiser = mean_only(self.method.predictor(variables, labels, clip=False))
            return ddim_inversion(denoiser, self.levels, x0, iterations=self.options.inversion_iterations)

        inputs = (self.variables, images.from_uint8(jnp.asarray(given)), jnp.asarray(labels))
        program = compiled('the inversion', lambda: invert.lower(*inputs))
        with Stage(f'finding the noise of {len(labels)} images'):
            return jax.block_until_ready(program(*inputs))


# The kinds of edits by their names in ``EditOptions``
EDITS: Mapping[str, Callable[[Editor], Edited]] = {
    'image2image': Editor.image2image,
    'inpaint': Editor.inpaint,
    'interpolate': Editor.interpolate,
    'transfer': Editor.transfer,
}


def edit(trained: Trained) -> Edited:
    """Make the edit that ``trained.config.edit`` describes.

    Raises:
      UserError: if the model cannot make it, or an image cannot be read.
    """
    return EDITS[trained.config.edit.kind](Editor(trained))


def write(edited: Edited, kind: str, workdir: epath.Path) -> epath.Path:
    """Write the result of an edit to ``edits/<kind>`` in a run directory.

    ``grid.png`` shows the inputs, the mask and the edited images; ``strip.png`` and ``strip.webp`` show the steps to the first
    of them; ``images.npz`` has the arrays.

    Returns:
      The path of the folder.
    """
    folder = output_folder(workdir) / 'edits' / kind
    write_atomically(folder / 'grid.png', images.png(_grid(edited)))
    draw = frame_of(edited.names)
    denoising_steps.write(edited.steps, folder, 'strip', names=edited.names, draw=draw, inputs=edited.inputs)
    write_atomically(folder / 'images.npz', images.npz(given=edited.given, images=edited.made))
    return folder


def _grid(edited: Edited) -> np.ndarray:
    shown = [*edited.inputs.values(), *edited.made]
    captions = [*edited.inputs, *edited.names]
    return grids.labelled(np.stack(shown), Labels(captions=captions), min(len(shown), COLUMNS))


def frame_of(names: Sequence[str]) -> Callable[[np.ndarray, str], np.ndarray]:
    """Return a function that draws a frame of an animation: images with their names, and a title."""
    return lambda frame, title: grids.labelled(frame, Labels(title, captions=names), min(len(frame), COLUMNS))


def _reconstruction_note(made: np.ndarray, given: np.ndarray) -> str:
    error = np.sqrt(np.mean(np.square(made.astype(np.float32) - given)))
    return f'sampled again from its noise, an image differs by {error:.1f} of 255 grey levels (root mean square)'
