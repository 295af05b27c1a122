"""img2img, inpainting, interpolation and class transfer, with the way that the images took."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from jaxgen.apps.edit.inputs import open_image, open_mask
from jaxgen.apps.trained import Trained
from jaxgen.diffusion import editing
from jaxgen.diffusion.compatibility import MEAN_FLOW
from jaxgen.diffusion.noise import step_noise
from jaxgen.diffusion.samplers import DDIM, ddim_inversion
from jaxgen.diffusion.schedules import Level
from jaxgen.errors import check, names, pick
from jaxgen.io import images
from jaxgen.io.files import write_atomically
from jaxgen.methods.diffusion.denoiser import Edit, mean_only
from jaxgen.methods.diffusion.method import Diffusion
from jaxgen.runtime.random import image_keys, root_key, stream
from jaxgen.training.sampling import chosen_classes, cycled_labels

STRIP, FILM = 12, 60  # moments at most of the way that are shown


@dataclasses.dataclass(frozen=True)
class Edited:
    """What an edit made.

    Attributes:
      given: uint8 ``[G, H, W, C]``, the pictures as the network saw them.
      made: uint8 ``[N, H, W, C]``.
      path: uint8 ``[S, N, H, W, C]``, x after each step, of unit variance.
      notes: what there is to say.
    """

    given: np.ndarray
    made: np.ndarray
    path: np.ndarray
    notes: tuple[str, ...] = ()


class Editor:
    """A trained diffusion model and the pictures of a config; ``KINDS`` are its methods.

    Raises:
      UserError: if it is no diffusion model, or a field does not fit.
    """

    def __init__(self, config: ConfigDict, trained: Trained):
        self.trained, self.options = trained, config.edit
        check(
            trained.method.capabilities.denoises,
            f'config.family={config.family}: images are edited on the way from noise, which a diffusion model goes step by step',
        )
        self.method: Diffusion = trained.method
        check(
            self.method.prediction != MEAN_FLOW,
            'config.diffusion.parameterisation=mean_flow jumps over the way from noise on which images are edited: take a '
            'model that was trained with flow, say',
        )
        self.method = trained.method
        self.variables = self.method.sampling_variables(
            trained.model, root_key(config.seed, config.train.prng), config.sample.ema
        )
        self.levels = self.method.levels(self.variables)
        key = jax.random.fold_in(stream(root_key(config.seed, config.train.prng), 'sample'), 1)
        self._keys = image_keys(key, jnp.arange(max(config.edit.num, 2)))
        self._classes = names(config.sample.classes)
        if config.edit.source_class:
            pick(config.edit.source_class, trained.class_names, 'config.edit.source_class:')

    def image2image(self) -> Edited:
        """``num`` images that share with the picture what noise of ``strength`` leaves of it (Meng et al. 2022)."""
        given = self._open('input')
        return self._painted(given, None)

    def inpaint(self) -> Edited:
        """``num`` images that are the picture outside of the mask."""
        check(
            bool(self.options.mask), 'config.edit.mask is empty: give it a picture, white where the model is to paint'
        )
        given = self._open('input')
        return self._painted(given, open_mask(self.options.mask, 'config.edit.mask', given.shape[0]))

    def interpolate(self) -> Edited:
        """``num`` images on the great circle between the starts from which DDIM draws the two pictures.

        ``sample.classes`` says what the two are of: the half of the images that is nearer to a picture is drawn as its class.
        """
        given = np.stack([self._open('input'), self._open('other')])
        share = np.linspace(0.0, 1.0, max(self.options.num, 2))
        ends = self._labels_of_ends()
        starts = self._inverted(given, ends)
        between = editing.slerp(starts[0], starts[1], jnp.asarray(share, jnp.float32))
        made, path = self._drawn(between, ends[(share >= 0.5).astype(int)], self.levels)
        back = np.stack([made[0], made[-1]]).astype(np.float32) - given
        return Edited(given, made, path, (self._of_inversion(back),))

    def transfer(self) -> Edited:
        """The start from which DDIM draws the picture as ``source_class``, drawn as ``sample.classes``, one after another."""
        check(
            bool(self.trained.config.model.conditional and self.options.source_class and self._classes),
            'config.edit.kind=transfer needs a network that knows classes, config.edit.source_class, which the picture is '
            'of, and config.sample.classes, which it is to become',
        )
        given = self._open('input')[None]
        source = self.trained.class_names.index(self.options.source_class)
        start = self._inverted(given, np.array([source], np.int32))
        targets = np.array([source, *(self.trained.class_names.index(c) for c in self._classes)], np.int32)
        made, path = self._drawn(start.repeat(len(targets), axis=0), targets, self.levels)
        return Edited(given, made, path, (self._of_inversion(made[:1].astype(np.float32) - given),))

    def _open(self, field: str) -> np.ndarray:
        return open_image(
            self.options[field], f'config.edit.{field}', self.method.image_shape, self.trained.config.data.crop
        )

    def _labels(self, num: int) -> np.ndarray:
        names_trained = names(self.trained.config.data.classes)
        return cycled_labels(chosen_classes(self.trained.class_names, self._classes, names_trained), 0, num)

    def _labels_of_ends(self) -> np.ndarray:
        """Both pictures are of the first of ``sample.classes``, or the other one of the second; of none where that is known."""
        if self._classes:
            return self._labels(2)
        unlabelled = self.method.null_label if self.method.label_dropout else 0
        return np.full(2, unlabelled, np.int32)

    def _painted(self, given: np.ndarray, mask: np.ndarray | None) -> Edited:
        num = self.options.num
        strength = self.options.strength
        levels = editing.last_levels(self.levels, strength)
        x0 = images.from_uint8(jnp.asarray(given))
        normal = step_noise(self._keys[:num], 0, self.method.image_shape)
        x = editing.noisy_start(x0, normal, levels, strength=strength, inpaints=mask is not None)
        edit = editing.keep_known(x0, jnp.ones(()) if mask is None else jnp.asarray(mask))
        made, path = self._drawn(x, self._labels(num), levels, edit)
        if mask is not None:
            made = np.where(mask > 0, made, given)
        return Edited(given[None], made, path)

    def _drawn(
        self, x: jax.Array, labels: np.ndarray, levels: Level, edit: Edit | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the images, and x after each step on the way there from ``x`` at the first of the levels."""

        @jax.jit
        def sample_path(variables, x, labels):
            keys = self._keys[: len(labels)]
            return self.method.prepare(variables, keys, labels, levels=levels, x=x, edit=edit).path()

        path = np.asarray(sample_path(self.variables, x, jnp.asarray(labels)))
        scale = np.hypot(*(np.asarray(z[1:]) for z in levels[:2])).reshape(-1, 1, 1, 1, 1)
        return images.to_uint8(path[-1]), images.to_uint8(path / scale)

    def _inverted(self, given: np.ndarray, labels: np.ndarray) -> jax.Array:
        """Starts of uint8 pictures. Guided or clipped estimates have no inverse that could be found so: neither is used."""
        check(
            self.method.sampling.sampler == DDIM(eta=0.0),
            'config.edit.kind=interpolate and transfer follow the picture back on the way of a sampler without noise: set '
            'config.sample.sampler=ddim and config.sample.eta=0',
        )

        @jax.jit
        def invert(variables, x, labels):
            denoiser = mean_only(self.method.predictor(variables, labels, clip=False))
            return ddim_inversion(denoiser, self.levels, x, iterations=self.options.inversion_iterations)

        return invert(self.variables, images.from_uint8(jnp.asarray(given)), jnp.asarray(labels))

    @staticmethod
    def _of_inversion(difference: np.ndarray) -> str:
        off = np.sqrt(np.mean(np.square(difference)))
        return f'drawn again from its start, a picture is off by {off:.1f} of 255 grey levels (root mean square)'


KINDS: dict[str, Callable[[Editor], Edited]] = {
    'image2image': Editor.image2image,
    'inpaint': Editor.inpaint,
    'interpolate': Editor.interpolate,
    'transfer': Editor.transfer,
}


def write(edited: Edited, kind: str, workdir: epath.Path) -> epath.Path:
    """Writes ``edits/<kind>``: ``grid.png`` (what was given, then what was made), ``strip.png`` and ``strip.webp`` (the way
    of the first images), and ``images.npz``.
    """
    folder = workdir / 'edits' / kind
    write_atomically(folder / 'grid.png', images.png(images.grid(np.concatenate([edited.given, edited.made]))))
    rows = moments(edited.path[:, :4], STRIP).swapaxes(0, 1)
    strip = images.grid(rows.reshape(-1, *rows.shape[2:]), columns=rows.shape[1])
    write_atomically(folder / 'strip.png', images.png(strip))
    write_atomically(folder / 'strip.webp', images.webp([images.grid(frame) for frame in moments(edited.path, FILM)]))
    write_atomically(folder / 'images.npz', images.npz(given=edited.given, images=edited.made))
    return folder


def moments(path: np.ndarray, most: int) -> np.ndarray:
    """At most so many of its steps, evenly, the first and the last among them."""
    return path[np.unique(np.linspace(0, len(path) - 1, most).round().astype(int))]


def require_fields(config: ConfigDict) -> None:
    """Refuses what cannot be edited so, before anything is loaded.

    Raises:
      UserError: naming the field.
    """
    pick(config.edit.kind, KINDS, 'config.edit.kind')
    strength = config.edit.strength
    check(0 < strength <= 1, f'config.edit.strength={strength} must lie between 0, the picture, and 1, nothing of it')
