"""A trained classifier of real images as the judge of generated ones: what class each shows, and how surely.

python -m jaxgen.metrics.class_accuracy runs/judge_cifar OUT.safetensors

makes the file of a judge from the workdir of its training, and prints one JSON object: its accuracy on the test images
and the confusion of their classes. What jaxgen brings of such files lies in ``judges/`` beside this one.

Label smoothing makes a classifier less sure than it has reason to be. So the logits in the file are divided by a
temperature (Guo et al. 2017), the one that makes the labels of the test images the likeliest; but for rounding no class
changes by it. On those test images the confidence is therefore as right as it can be.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from absl import logging
from etils import epath
from ml_collections import ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxgen.apps import stored_config
from jaxgen.apps.restore import restore
from jaxgen.data import load
from jaxgen.errors import UserError, check, names
from jaxgen.io.files import replacing
from jaxgen.metrics.features import Extraction, Extractor
from jaxgen.models.classifier import LOGIT_SCALE, Classifier
from jaxgen.models.inception_weights import tensors_hash

Array = jax.Array

CONFIDENT = 0.9
BATCH_SIZE = 50  # test images that a device looks at at once
METADATA = ('data', 'class_names', 'image_shape', 'model', 'mirrored', 'test_accuracy')


@dataclasses.dataclass(frozen=True)
class Judge:
    """A classifier with all that it needs to look at images.

    Attributes:
      network: the architecture, in float32.
      variables: of the network, float32.
      data: name of the data set that it learnt.
      class_names: in the order of its logits.
      image_shape: (height, width, channels) of the images that it can look at.
      mirrored: looks at each image twice, as it is and mirrored, and takes the means of what it sees.
      test_accuracy: share of the data set's test images that it recognises; None where it was not measured.
    """

    network: Classifier
    variables: dict[str, Any]
    data: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mirrored: bool
    test_accuracy: float | None = None

    def apply(self, variables: dict[str, Any], images: Array) -> tuple[Array, Array]:
        """Features float32 ``[N, D]`` and logits ``[N, K]`` of uint8 ``[N, H, W, C]``, at the highest precision; pure."""
        x = images.astype(jnp.float32) / 127.5 - 1
        views = [x, x[:, :, ::-1]] if self.mirrored else [x]
        with jax.default_matmul_precision('highest'):
            seen = [self.network.apply(variables, view) for view in views]
        return jax.tree.map(lambda *each: sum(each) / len(each), *seen)

    @property
    def hash(self) -> str:
        """Of the tensors."""
        return tensors_hash(_flat(self.variables))

    @property
    def description(self) -> dict[str, Any]:
        """What decides its features and logits, for a protocol: JSON values."""
        return {'name': f'judge-{self.data}', 'weights': self.hash, 'mirrored': self.mirrored}

    def extractor(self) -> Extractor:
        size, _, channels = self.image_shape
        return Extractor(self.apply, self.variables, channels, size, self.description)

    def labels(self, labels: np.ndarray | None, class_names: tuple[str, ...]) -> np.ndarray | None:
        """Labels of other images ``[N]`` as this judge counts them; None where there are none, or classes that it
        does not know.

        Args:
          class_names: what the labels mean; empty where nobody says, and then they are the judge's own.
        """
        named = class_names or self.class_names
        if labels is None or not len(labels) or labels.min() < 0 or labels.max() >= len(named):
            return None
        if not set(named) <= set(self.class_names):
            return None
        return np.array([self.class_names.index(name) for name in named], np.int32)[labels]


def figures(logits: np.ndarray, labels: np.ndarray | None, class_names: tuple[str, ...]) -> dict[str, Any]:
    """What a judge says of images, as JSON values.

    ``mean_confidence``: mean of the largest class probability. ``confident``: share where it is over 0.9. ``seen``: how
    many images are seen as each class. With labels also ``accuracy``: share seen as the class asked for;
    ``accuracy_per_class``: the same of each class asked for; ``confusion``: counts, a row a class asked for, a
    column a class seen.

    Args:
      logits: float ``[N, K]``.
      labels: int ``[N]`` below K, or None.
      class_names: K of them.
    """
    confidence = np.exp(_log_softmax(logits)).max(1)
    seen, k = logits.argmax(1), len(class_names)
    result: dict[str, Any] = {
        'mean_confidence': float(confidence.mean()),
        'confident': float(np.mean(confidence > CONFIDENT)),
        'seen': dict(zip(class_names, np.bincount(seen, minlength=k).tolist(), strict=True)),
    }
    if labels is None:
        return result
    confusion = np.bincount(labels * k + seen, minlength=k * k).reshape(k, k)
    asked = confusion.sum(1)
    return result | {
        'accuracy': float(np.mean(seen == labels)),
        'accuracy_per_class': {
            name: float(confusion[i, i] / asked[i]) for i, name in enumerate(class_names) if asked[i]
        },
        'confusion': confusion.tolist(),
    }


def default_judge(name: str) -> pathlib.Path | None:
    """The file that jaxgen brings for a data set, if it does."""
    path = pathlib.Path(__file__).parent / 'classifiers' / f'{name}.safetensors'
    return path if path.is_file() else None


def for_images(path: str, name: str) -> Judge | None:
    """The judge in a file, or, where ``path`` is empty, jaxgen's own for the data set ``name``; None if it has none.

    Raises:
      UserError: as ``load_judge``.
    """
    chosen = path or default_judge(name)
    return load_judge(chosen) if chosen else None


def save_judge(path: epath.PathLike, judge: Judge) -> None:
    """Writes bfloat16 safetensors, with the judge's other attributes as JSON in the metadata."""
    metadata = {name: getattr(judge, name) for name in METADATA if name != 'model'}
    metadata['model'] = {'widths': judge.network.widths}
    tensors = {name: value.astype(ml_dtypes.bfloat16) for name, value in _flat(judge.variables).items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, {name: json.dumps(value) for name, value in metadata.items()})


def load_judge(path: epath.PathLike) -> Judge:
    """The judge in a file that ``save_judge`` wrote.

    Raises:
      UserError: if there is no such file, or it holds something else.
    """
    file = pathlib.Path(path).expanduser()
    check(file.is_file(), f'the judge {path} is not a file: name a .safetensors in config.evaluation.judge')
    try:
        with safe_open(file, 'np') as stored:
            metadata = {name: json.loads(value) for name, value in (stored.metadata() or {}).items()}
            tensors = {name: stored.get_tensor(name).astype(np.float32) for name in stored.keys()}  # noqa: SIM118
        network = Classifier(len(metadata['class_names']), tuple(metadata['model']['widths']))
        judge = Judge(
            network,
            flax.traverse_util.unflatten_dict(tensors, sep='.'),
            metadata['data'],
            tuple(metadata['class_names']),
            tuple(metadata['image_shape']),
            metadata['mirrored'],
            metadata['test_accuracy'],
        )
        expected = _flat(jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, *judge.image_shape))))
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise UserError(f'{path} is not the file of a judge, or was damaged ({type(e).__name__}: {e})') from e
    shapes, expected = ({name: x.shape for name, x in of.items()} for of in (tensors, expected))
    wrong = sorted(name for name in shapes.keys() | expected if shapes.get(name) != expected.get(name))
    check(not wrong, f'{path} does not hold the judge that it describes: {next(iter(wrong), "")} is missing or wrong')
    return judge


def publish(workdir: epath.Path, path: epath.PathLike) -> dict[str, Any]:
    """Writes the judge of a workdir's newest checkpoint, by its slow weights, to a file.

    Returns:
      ``figures`` of the test images, for the judge as it is in the file; and the ``temperature``.

    Raises:
      UserError: if the workdir holds no judge.
    """
    config = _config(workdir)
    trained = restore(config, workdir)
    variables = trained.method.sampling_variables(trained.model, jax.random.key(0), ema=True)
    judge = Judge(
        Classifier(len(trained.class_names), tuple(config.model.widths)),
        _rounded(variables),
        config.data.name,
        trained.class_names,
        trained.method.image_shape,
        config.data.random_flip,
    )
    d = config.data
    test = load(d.name, 'test', names(d.classes), image_size=d.image_size, crop=d.crop)
    extraction = Extraction([judge.extractor()], trained.mesh, BATCH_SIZE * trained.mesh.size)
    (seen,) = extraction([test.images])  # the features are those of the file; the head is scaled yet
    head = np.asarray(variables['params']['head']['kernel'])
    divisor = temperature(seen.features @ head * LOGIT_SCALE, test.labels)
    params = {**variables['params'], 'head': {'kernel': head / divisor}}
    judge = dataclasses.replace(judge, variables=_rounded({**variables, 'params': params}))
    logits = seen.features @ judge.variables['params']['head']['kernel'] * LOGIT_SCALE
    result = figures(logits, test.labels, test.class_names)
    save_judge(path, dataclasses.replace(judge, test_accuracy=result['accuracy']))
    return result | {'temperature': divisor}


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """What to divide logits ``[N, K]`` by, so that labels ``[N]`` are the likeliest: between 1/20 and 20."""
    from scipy.optimize import minimize_scalar  # most of a second, which nothing else needs

    def surprise(log_of_it: float) -> float:
        return -_log_softmax(logits / np.exp(log_of_it))[np.arange(len(labels)), labels].mean()

    return float(np.exp(minimize_scalar(surprise, bounds=(-np.log(20), np.log(20)), method='bounded').x))


def _rounded(variables: dict[str, Any]) -> dict[str, Any]:
    """As they come back from the file."""
    return jax.tree.map(lambda x: np.asarray(x).astype(ml_dtypes.bfloat16).astype(np.float32), variables)


def _config(workdir: epath.Path) -> ConfigDict:
    """That of a judge's training, on this machine's devices."""
    stored = workdir / 'config.json'
    check(stored.exists(), f'{workdir} holds no trained model (no config.json): train a judge there')
    config = stored_config.get_config(stored)
    check(config.family == 'judge', f'{workdir} holds a {config.family}, and not a judge')
    config.mesh.fsdp = 1
    return config


def _flat(variables: dict[str, Any]) -> dict[str, Any]:
    return flax.traverse_util.flatten_dict(variables, sep='.')


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    x = logits.astype(np.float64)
    x -= x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def main(argv: list[str]) -> int:
    logging.set_verbosity(logging.FATAL)
    if len(argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print(json.dumps(publish(epath.Path(argv[1]), argv[2])))
    except UserError as e:
        print(f'jaxgen: {e}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
