"""Judging a set of images against a reference: figures, and the protocol without which they say nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxgen.data import class_names
from jaxgen.errors import MANY, UserError, names
from jaxgen.io.files import write_json
from jaxgen.metrics import class_accuracy as judge
from jaxgen.metrics import features
from jaxgen.metrics.features import Extraction, Extractor, Meter
from jaxgen.metrics.image_sets import ImageSet, open_set
from jaxgen.metrics.registry import METRICS, PARAMETERS, Pair

FEWEST = 2048  # images below which the covariance of Inception's 2,048 features is singular


class Evaluator:
    """Judges any number of sets against one reference under one protocol.

    Args:
      config: of the whole run; ``config.evaluation`` says how, ``config.data`` what the reference is if not named there.
      metrics: keys of ``METRICS``.

    Raises:
      UserError: if the reference or the weights of a network cannot be had.
    """

    def __init__(self, config: ConfigDict, mesh: Mesh, metrics: tuple[str, ...]):
        options = config.evaluation
        self._metrics = metrics
        self._judge = judge.for_images(options.judge, config.data.name)
        self._extractor = _extractor(config, self._judge)
        extractors = [self._extractor]
        if self._judge is not None and options.extractor != 'judge':
            extractors.append(self._judge.extractor())
        self._extraction = Extraction(extractors, mesh, batch_size(options))
        self._judges = len(extractors) - 1  # the judge's place among the extractors, which may be the first
        self.reference = open_set(
            options.reference or f'{config.data.name}:train',
            'config.evaluation.reference',
            options.reference_num,
            **data_options(config),
        )
        self._require_fit(self.reference, 'config.evaluation.reference')
        meter = Meter('reference', self.reference.count)
        self._real = features.of_stored(self._extraction, self._extractor.description, self.reference, meter)

    def __call__(self, images: ImageSet, tick: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """The figures of a set, with warnings and the protocol: JSON values; ``tick`` is called after each batch."""
        self._require_fit(images, 'the generated images')
        judged = self._sees(images.image_shape)
        meter = Meter('generated', images.count)

        def progress(count: int) -> None:
            meter(count)
            tick()

        which = sorted({0, self._judges}) if judged else [0]
        found = self._extraction(images.pieces(), progress, which)
        fake, seen = found[0], found[-1]

        real = self.reference
        labelled = images.labels is not None and real.labels is not None and images.class_names == real.class_names
        pair = Pair(fake, self._real, images.labels, real.labels, images.class_names if labelled else ())
        result: dict[str, Any] = {}
        for name in self._metrics:
            result |= METRICS[name](pair)
        if judged:
            labels = self._judge.labels(images.labels, images.class_names)
            result['judge'] = judge.figures(seen.logits, labels, self._judge.class_names)
        return result | {
            'metrics': list(self._metrics),
            'images_per_sec': meter.rate,
            'warnings': self._warnings(images, pair, result),
            'protocol': self.protocol(images),
        }

    def best(self, images: np.ndarray, labels: np.ndarray | None, class_names: tuple[str, ...]) -> np.ndarray:
        """The order of images uint8 ``[N, H, W, C]`` by the judge's confidence, the surest first; as they are without one.

        Args:
          labels: ``[N]``, what they should show, or None: then the confidence is that of any class.
        """
        if not self._sees(images.shape[1:]):
            return np.arange(len(images))
        (seen,) = self._extraction([images], which=[self._judges])
        probabilities = np.asarray(jax.nn.softmax(seen.logits))
        asked = self._judge.labels(labels, class_names)
        sure = probabilities.max(1) if asked is None else probabilities[np.arange(len(images)), asked]
        return np.argsort(-sure, kind='stable')

    def protocol(self, images: ImageSet) -> dict[str, Any]:
        """All that decides a figure of this set: JSON values."""
        return {
            'generated': images.description,
            'reference': self.reference.description,
            'extractor': self._extractor.description,
            'judge': self._judge.description if self._sees(images.image_shape) else None,
            'parameters': PARAMETERS,
            **features.environment(),
        }

    def _sees(self, image_shape: tuple[int, ...]) -> bool:
        """Whether the judge can look at such images."""
        return self._judge is not None and image_shape == self._judge.image_shape

    def _require_fit(self, images: ImageSet, what: str) -> None:
        if images.image_shape[-1] not in (1, self._extractor.channels):
            raise UserError(
                f'{what}: the images have {images.image_shape[-1]} channels, and {self._extractor.description["name"]} '
                f'sees {self._extractor.channels}: choose another config.evaluation.extractor'
            )
        size = self._extractor.image_size
        if size and images.image_shape[:2] != (size, size):
            raise UserError(
                f'{what}: the images are {images.image_shape[0]}x{images.image_shape[1]}, and '
                f'{self._extractor.description["name"]} sees {size}x{size}: choose another config.evaluation.extractor'
            )

    def _warnings(self, images: ImageSet, pair: Pair, result: dict[str, Any]) -> list[str]:
        found = []
        name = self._extractor.description['name']
        if not name.startswith('inception'):
            found.append(f'distances are those of features of {name}: they compare with no FID elsewhere')
        for what, count in (('generated', images.count), ('reference', self.reference.count)):
            if count < FEWEST:
                found.append(
                    f'{count} {what} images are fewer than {FEWEST}: FID is biased upwards, and compares with no '
                    f'published figure; look at KID, which is not biased'
                )
        if images.image_shape != self.reference.image_shape:
            found.append(f'the generated images are {images.image_shape}, the reference {self.reference.image_shape}')
        drawn, known = images.description, self.reference.class_names
        asked = names(drawn['classes']) if 'sampler' in drawn else ()
        if asked and self.reference.labels is not None and set(asked) != set(known):
            found.append(f'the generated images are of {_listed(asked)}, the reference of {_listed(known)}')
        if 'kid' in result and result['kid_std'] is None:
            found.append(f'every subset of KID is the whole set of {images.count} images: it has no deviation')
        if 'fid_per_class' in self._metrics and pair.class_names:
            found.append('FID by class is of few images each: compare it between classes and models, not with FID')
        if 'inception_score' in self._metrics and pair.fake.logits is None:
            found.append('no Inception Score: the weights have no classifier')
        return found


def _listed(class_names: Sequence[str]) -> str:
    more = f' and {len(class_names) - MANY} more' if len(class_names) > MANY else ''
    return ', '.join(class_names[:MANY]) + more


def data_options(config: ConfigDict) -> dict[str, Any]:
    """How ``open_set`` reads images for this config: a data set as training does, labels as training counts them."""
    return {'class_names': class_names(config.data.name, config.data.classes or ()), **loaded(config)}


def loaded(config: ConfigDict) -> dict[str, Any]:
    """How ``jaxgen.data.load`` reads what ``config.data`` names, but for a limit of examples."""
    d = config.data
    return {'classes': d.classes or (), 'image_size': d.image_size or 0, 'crop': d.crop or ''}


def batch_size(options: ConfigDict) -> int:
    """``evaluation.batch_size``, or 8 a device on a CPU, 64 on others."""
    return options.batch_size or jax.device_count() * (8 if jax.default_backend() == 'cpu' else 64)


def _extractor(config: ConfigDict, the_judge: judge.Judge | None) -> Extractor:
    if config.evaluation.extractor == 'inception':
        return features.inception_extractor(config.evaluation)
    if the_judge is None:
        raise UserError(
            f'config.evaluation.extractor=judge needs a judge, and jaxgen has none for {config.data.name}: train one and '
            f'pass --config.evaluation.judge=FILE.safetensors, or use inception'
        )
    return the_judge.extractor()


def protocol_hash(protocol: dict[str, Any]) -> str:
    """Eight digits that are the same for the same protocol."""
    return hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()[:8]


def stored_results(workdir: epath.Path) -> dict[str, dict[str, Any]]:
    """What ``evaluate`` or ``compare`` has written to ``evaluation/``, by the file's name."""
    found = {}
    for path in sorted((workdir / 'evaluation').glob('*.json')):
        result = json.loads(path.read_text())
        if isinstance(result, dict) and 'protocol' in result:
            found[path.stem] = result
    return found


def write(result: dict[str, Any], path: epath.Path) -> None:
    """Writes a result; one of another protocol that was there moves to a name with its protocol's hash."""
    if path.exists():
        before = json.loads(path.read_text())
        if before['protocol'] != json.loads(json.dumps(result['protocol'])):
            path.rename(path.parent / f'{path.stem}-{protocol_hash(before["protocol"])}.json')
    write_json(path, result)


def summary(result: dict[str, Any]) -> str:
    """Lines for people: figures, then warnings."""
    lines = []
    for name in ('fid', 'inception_score', 'precision', 'recall'):
        if result.get(name) is not None:
            lines.append(f'{name}: {result[name]:.4f}')
    if 'kid' in result:
        spread = '' if result['kid_std'] is None else f' +- {result["kid_std"]:.6f} over subsets'
        lines.append(f'kid: {result["kid"]:.6f}{spread}')
    if 'judge' in result:
        seen = result['judge']
        right = f'{seen["accuracy"]:.1%} seen as the class asked for, ' if seen.get('accuracy') is not None else ''
        lines.append(f'judge: {right}mean confidence {seen["mean_confidence"]:.3f}')
    return '\n'.join(lines + [f'warning: {text}' for text in result['warnings']])
