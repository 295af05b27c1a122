"""The abstract class through which the trainer and the apps use every method."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import ClassVar, NoReturn

from jaxgen.errors import UserError
from jaxgen.methods.options import SampleOptions
from jaxgen.schema import Options, Sections
from jaxgen.types import Array, Fields, JsonObject, PyTree

State = PyTree  # a pytree of everything that training changes: parameters, moving averages, optimizer state, counters


@dataclasses.dataclass(frozen=True)
class Capabilities:
    """The capabilities of a method.

    Attributes:
      samples: whether it generates images with ``sample``.
      denoises: whether it generates them through a sequence of noise levels, so that it has samplers, steps and guidance.
      edits: whether it can edit a given image by adding noise to it and removing the noise again.
      has_likelihood: whether it has a bound on the likelihood of an image.
      finetunes: whether its trained models can be fine-tuned.
      knows_classes: whether it takes class labels as an input.

    Example:
      >>> from jaxgen import methods
      >>> methods.METHODS['dcgan'].supports.edits
      False
    """

    samples: bool = False
    denoises: bool = False
    edits: bool = False
    has_likelihood: bool = False
    finetunes: bool = False
    knows_classes: bool = False


class Method(abc.ABC):
    """A way to train a model: its networks, its mathematics and its optimizer.

    Every hook is a pure function and sees the global batch, whatever the number of devices. A subclass must implement the
    abstract hooks. The others have a default, which their docstring states.

    Attributes:
      supports: the capabilities of the method in general, for decisions made before an instance exists.
      sections: the classes of the method's options by the name of their section: ``model``, further sections of its own, and
        classes that replace a section which all methods share (``data``, ``optimizer``, ``sample`` ...).
      defaults: the method's defaults in shared sections that it does not replace, by section and field.
      image_shape: height, width and channels of an image.
      base_hash: hash of the frozen weights that the method adapts, or None if it trains all of its parameters.

    Example:
      >>> from jaxgen import methods
      >>> issubclass(methods.Diffusion, methods.Method), sorted(methods.Diffusion.sections)
      (True, ['diffusion', 'model', 'optimizer', 'sample'])
    """

    supports: ClassVar[Capabilities]
    sections: ClassVar[Mapping[str, type[Options]]] = {}
    defaults: ClassVar[Mapping[str, Fields]] = {}
    image_shape: tuple[int, int, int]
    base_hash: str | None = None

    @classmethod
    def from_sections(cls, sections: Sections, *, image_shape: tuple[int, int, int], num_classes: int) -> Method:
        """Make the method from its options. The default raises UserError, for methods that are only constructed in Python.

        Args:
          sections: the options by the name of their section: the sections in the attribute ``sections``, and ``optimizer``,
            ``train`` and ``sample``.
          image_shape: height, width and channels of an image.
          num_classes: number of classes of the data; labels lie below it.

        Raises:
          UserError: if the method cannot be made from options.
        """
        raise UserError(
            f'{cls.__name__} is not made from options: construct it in Python, and pass it to jaxgen.Trainer'
        )

    @staticmethod
    def check_options(options: Sections, image_size: int) -> None:
        """Refuse options of different sections that do not go together. The default accepts all.

        Args:
          options: the options of a run by the name of their section.
          image_size: side of the images in pixels.

        Raises:
          UserError: if options do not go together. An ``OptionError`` names the section and the field.
        """
        return

    @property
    def capabilities(self) -> Capabilities:
        """The capabilities of this instance; by default those that the class supports."""
        return self.supports

    @property
    @abc.abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics that ``step`` returns."""

    @abc.abstractmethod
    def init(self, key: Array) -> State:
        """Return the trainable state before the first step, with random parameters.

        Args:
          key: random key of the initialisation.
        """

    def trainable(self, state: State) -> State:
        """Return the part of the state that a checkpoint stores: all but frozen weights. The default is the whole state."""
        return state

    def with_frozen(self, trainable: State) -> State:
        """Return the full state: ``trainable`` joined with the frozen weights. The default has none to join."""
        return trainable

    @abc.abstractmethod
    def networks(self, state: State) -> dict[str, PyTree]:
        """Return the parameters of each network by its name, so that they can be counted.

        Args:
          state: the full state, or the shapes of its arrays.
        """

    def moving_averages(self, state: State) -> dict[float, PyTree]:
        """Return the power-function averages of the parameters by their relative length, to be kept as snapshots.

        If a method returns any, its trainable state has an attribute ``ema``. It can be replaced by an average of another
        length that is made from the snapshots (see ``optim.power_ema``). The default has none.
        """
        return {}

    @abc.abstractmethod
    def step(self, state: State, batch: dict[str, Array], key: Array) -> tuple[State, dict[str, Array]]:
        """Make one update of the parameters.

        Args:
          state: the full state.
          batch: ``image``, float ``[B, H, W, C]`` in [-1, 1], and ``label``, int32 ``[B]``.
          key: random key of this step.

        Returns:
          The full state after the step, and the scalar of each name in ``metrics``.
        """

    def augment(self, images: Array, key: Array) -> Array:
        """Return real images as the networks see them in training. The default leaves them as they are.

        Args:
          images: float ``[B, H, W, C]`` in [-1, 1].
          key: the key of ``step``, so that ``--mode=data`` can show what a step sees.
        """
        return images

    @abc.abstractmethod
    def sampling_variables(self, state: State, key: Array, ema: bool) -> PyTree:
        """Return the variables of the trained network, which are computed once and used for any number of images.

        Args:
          state: the full state.
          key: random key for statistics that have to be estimated.
          ema: whether to take the moving average of the parameters instead of their last values.
        """

    def weights(self, state: State, key: Array, ema: bool) -> dict[str, PyTree]:
        """Return the trained weights of all networks, without what only training needs, as nested dicts of arrays.

        The default is ``sampling_variables``, which takes the same arguments.
        """
        return self.sampling_variables(state, key, ema)

    @abc.abstractmethod
    def from_weights(self, weights: dict[str, PyTree], key: Array) -> State:
        """Return the trainable state before the first step, with given weights.

        Args:
          weights: what ``weights`` returned. A network that is missing starts from random parameters.
          key: random key of the initialisation.
        """

    def with_sample_options(self, options: SampleOptions) -> Method:
        """Return a copy of the method that samples with other options. The default has no options that change its samples.

        Args:
          options: an instance of the class that ``sections`` has for ``sample``.
        """
        return self

    def sample(self, variables: PyTree, keys: Array, labels: Array) -> Array:
        """Generate images; image i depends on entry i of ``keys`` and ``labels`` alone. The default raises UserError.

        Args:
          variables: what ``sampling_variables`` returned.
          keys: random keys ``[N]``.
          labels: class labels, int32 ``[N]``.

        Returns:
          float ``[N, H, W, C]`` in [-1, 1].

        Raises:
          UserError: if the method does not generate images.
        """
        self._refuse_to_sample()

    def sampling_protocol(self) -> JsonObject:
        """Return a description of how ``sample`` generates an image, as JSON values. The default raises UserError.

        It includes ``network_calls``, and ``dtype`` and ``matmul_precision`` of the network (``models.layers.precision_of``).

        Raises:
          UserError: if the method does not generate images.
        """
        self._refuse_to_sample()

    def _refuse_to_sample(self) -> NoReturn:
        raise UserError(f'{type(self).__name__} generates no images: choose a method that does')
