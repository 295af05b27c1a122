"""Evaluate generated images with a classifier of real images: which class it recognises in each, and how confidently.

The classifiers that come with jaxgen are in ``classifiers/`` next to this file. ``jaxgen.apps.publish_classifier`` makes such a
file from a trained run.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence

import jax
import ml_dtypes
import numpy as np
from jaxtyping import Float, Int, Int32, UInt8
from safetensors.numpy import save_file

from jaxgen.errors import UserError, check, reason
from jaxgen.io.files import replacing
from jaxgen.io.hashes import tensors_hash
from jaxgen.io.images import from_uint8
from jaxgen.io.names import safe_name
from jaxgen.io.tensors import flatten, float32, read, read_header, unflatten
from jaxgen.metrics.class_probabilities import log_softmax
from jaxgen.metrics.features import Extractor
from jaxgen.models.classifier import Classifier, variable_shapes
from jaxgen.schema import expanded
from jaxgen.types import Array, JsonObject, PyTree

CONFIDENT = 0.9  # probability above which the classifier counts as confident
LARGEST_SIZE = 8192  # largest width of a layer, and side of an image in pixels, that is read
METADATA = ('data', 'class_names', 'image_shape', 'mirrored', 'test_accuracy')  # attributes in the header of a file


@dataclasses.dataclass(frozen=True)
class TrainedClassifier:
    """A trained classifier with everything that is needed to apply it.

    Attributes:
      network: the architecture, in float32.
      variables: the variables of the network, float32.
      data: name of the data set on which it was trained.
      class_names: the name of each class, in the order of the logits.
      image_shape: (height, width, channels) of the images that the network accepts.
      mirrored: whether features and logits are means over the image and its mirror image.
      test_accuracy: accuracy on the test images of the data set; None if it was not measured.
    """

    network: Classifier
    variables: dict[str, PyTree]
    data: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mirrored: bool
    test_accuracy: float | None = None

    def apply(
        self, variables: dict[str, PyTree], images: UInt8[Array, 'n h w c']
    ) -> tuple[Float[Array, 'n d'], Float[Array, 'n k']]:
        """Return float32 features and logits, computed at the highest precision; a pure function."""
        x = from_uint8(images)
        views = [x, x[:, :, ::-1]] if self.mirrored else [x]
        with jax.default_matmul_precision('highest'):
            outputs = [self.network.apply(variables, view) for view in views]
        return jax.tree.map(lambda *each: sum(each) / len(each), *outputs)

    @property
    def hash(self) -> str:
        """The hash of the variables."""
        return tensors_hash(flatten(self.variables))

    @property
    def description(self) -> JsonObject:
        """Everything that features and logits depend on, as JSON values for the protocol."""
        return {'name': f'judge-{self.data}', 'weights': self.hash, 'mirrored': self.mirrored}

    def extractor(self) -> Extractor:
        """Return the classifier as an extractor of features."""
        size, _, channels = self.image_shape
        return Extractor(self.apply, self.variables, channels, size, self.description)

    def own_labels(
        self, labels: Int[np.ndarray, ' n'] | None, class_names: Sequence[str]
    ) -> Int32[np.ndarray, ' n'] | None:
        """Convert labels to indices into the classes of this classifier.

        Args:
          labels: indices into ``class_names``, or None if the classes of the images are not known.
          class_names: the name of each class. If it is empty, the labels already index the classes of this classifier.

        Returns:
          Indices into the classifier's own ``class_names``; None if there are no labels, a label has no name, or the
          classifier does not have one of the classes.
        """
        named = class_names or self.class_names
        if labels is None or not len(labels) or labels.min() < 0 or labels.max() >= len(named):
            return None
        if not set(named) <= set(self.class_names):
            return None
        return np.array([self.class_names.index(name) for name in named], np.int32)[labels]


def class_metrics(
    logits: Float[np.ndarray, 'n k'], labels: Int[np.ndarray, ' n'] | None, class_names: Sequence[str]
) -> JsonObject:
    """Summarise the predictions of a classifier.

    Args:
      logits: the classifier's logits of the images.
      labels: the class that each image should show, below k; None if they are not known.
      class_names: the name of each of the k classes.

    Returns:
      JSON values:

      - ``mean_confidence``: the mean of the largest class probability.
      - ``confident``: the share of images whose largest class probability is over 0.9.
      - ``seen``: the number of images that are recognised as each class.

      With labels also:

      - ``accuracy``: the share of images that are recognised as the class that they should show.
      - ``accuracy_per_class``: the accuracy for each class that occurs in the labels.
      - ``confusion``: the numbers of images, with a row for each class that they should show and a column for each class
        that is recognised.
    """
    confidence = np.exp(log_softmax(logits)).max(1)
    recognised, k = logits.argmax(1), len(class_names)
    result: JsonObject = {
        'mean_confidence': float(confidence.mean()),
        'confident': float(np.mean(confidence > CONFIDENT)),
        'seen': dict(zip(class_names, np.bincount(recognised, minlength=k).tolist(), strict=True)),
    }
    if labels is None:
        return result
    counts = confusion(recognised, labels, k)
    total = counts.sum(1)
    per_class = {name: float(counts[i, i] / total[i]) for i, name in enumerate(class_names) if total[i]}
    return result | {
        'accuracy': float(np.mean(recognised == labels)),
        'accuracy_per_class': per_class,
        'confusion': counts.tolist(),
    }


def confusion(
    recognised: Int[np.ndarray, ' n'], labels: Int[np.ndarray, ' n'], num_classes: int
) -> Int[np.ndarray, 'k k']:
    """Count images in a matrix with a row for each class that they should show and a column for each recognised class."""
    pairs = labels * num_classes + recognised
    return np.bincount(pairs, minlength=num_classes * num_classes).reshape(num_classes, num_classes)


def calibration_temperature(logits: Float[np.ndarray, 'n k'], labels: Int[np.ndarray, ' n']) -> float:
    """Return the temperature between 1/20 and 20 that makes the labels most likely (Guo et al. 2017).

    The class probabilities of a classifier are calibrated if its logits are divided by the temperature.
    """
    from scipy.optimize import minimize_scalar  # imported here because it takes most of a second

    def cross_entropy(log_temperature: float) -> float:
        return -log_softmax(logits / np.exp(log_temperature))[np.arange(len(labels)), labels].mean()

    limit = np.log(20)
    return float(np.exp(minimize_scalar(cross_entropy, bounds=(-limit, limit), method='bounded').x))


def default_classifier_path(data: str) -> pathlib.Path | None:
    """Return the file of the classifier that comes with jaxgen for a data set, or None if there is none."""
    path = pathlib.Path(__file__).parent / 'classifiers' / f'{safe_name(data)}.safetensors'
    return path if path.is_file() else None


def find_classifier(data: str, path: os.PathLike | str | None = None) -> TrainedClassifier | None:
    """Load a classifier for the images of a data set.

    Args:
      data: name of the data set.
      path: the file of a classifier. If not set, the one that comes with jaxgen for ``data``.

    Returns:
      The classifier, or None if ``path`` is not set and jaxgen has none for this data set.

    Raises:
      UserError: as ``load_classifier`` does.
    """
    chosen = default_classifier_path(data) if path is None else path
    return None if chosen is None else load_classifier(chosen)


def save_classifier(path: os.PathLike | str, classifier: TrainedClassifier) -> None:
    """Write a classifier to a ``.safetensors`` file: bfloat16 tensors, and the other attributes as JSON in its header."""
    metadata = {name: getattr(classifier, name) for name in METADATA}
    metadata['model'] = {'widths': classifier.network.widths}
    tensors = {name: value.astype(ml_dtypes.bfloat16) for name, value in flatten(classifier.variables).items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, {name: json.dumps(value) for name, value in metadata.items()})


def load_classifier(path: os.PathLike | str) -> TrainedClassifier:
    """Load a classifier from a file that ``save_classifier`` wrote.

    Raises:
      UserError: if the file does not exist, is damaged or holds something else.
    """
    file = pathlib.Path(expanded(path))
    check(file.is_file(), f'{path} is not a file: name the .safetensors file of a classifier')
    try:
        tensors, header = read(file), read_header(file)
        metadata = {name: json.loads(header[name]) for name in (*METADATA, 'model')}
        _require_metadata(metadata)
        network = Classifier(len(metadata['class_names']), tuple(metadata['model']['widths']))
        expected = flatten(variable_shapes(network, tuple(metadata['image_shape'])))
    except Exception as e:  # tracing a network that cannot be built raises errors of many types
        raise UserError(
            f'{path} is not the file of a classifier, or is damaged ({type(e).__name__}: {reason(e)})'
        ) from e
    shapes = {name: x.shape for name, x in tensors.items()}
    needed = {name: x.shape for name, x in expected.items()}
    wrong = sorted(name for name in shapes.keys() | needed.keys() if shapes.get(name) != needed.get(name))
    if wrong:
        raise UserError(f'{path} does not hold the classifier that it describes: {wrong[0]} is missing or wrong')
    return TrainedClassifier(
        network,
        unflatten(float32(tensors, path)),
        metadata['data'],
        tuple(metadata['class_names']),
        tuple(metadata['image_shape']),
        metadata['mirrored'],
        metadata['test_accuracy'],
    )


def _require_metadata(metadata: JsonObject) -> None:
    """Refuse metadata with a wrong type or an impossible value.

    Raises:
      UserError: if there are any; the message names them.
    """
    names, shape, accuracy = (metadata[name] for name in ('class_names', 'image_shape', 'test_accuracy'))
    widths = metadata['model']['widths']
    checks = {
        'data': isinstance(metadata['data'], str),
        'class_names': isinstance(names, list)
        and all(isinstance(n, str) for n in names)
        and len(set(names)) == len(names),
        'image_shape': _are_sizes(shape) and len(shape) == 3 and shape[-1] in (1, 3),
        'mirrored': isinstance(metadata['mirrored'], bool),
        'test_accuracy': accuracy is None or (type(accuracy) in (int, float) and 0 <= accuracy <= 1),
        'widths': _are_sizes(widths),
    }
    wrong = [name for name, is_right in checks.items() if not is_right]
    check(not wrong, f'its header has an impossible value of {", ".join(wrong)}')


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(x) is int and 0 < x <= LARGEST_SIZE for x in value)


def rounded(variables: dict[str, PyTree]) -> dict[str, PyTree]:
    """Round variables to the values that they have after ``save_classifier`` and ``load_classifier``."""
    return jax.tree.map(lambda x: np.asarray(x).astype(ml_dtypes.bfloat16).astype(np.float32), variables)
