"""Are these digits? ``python -m jaxgen.evaluation.digits runs/ddpm_digits/samples/samples.npz`` prints one JSON object.

A classifier that never saw the diffusion model (scikit-learn's MLP on the 1,437 real training digits) looks at the
samples and, for comparison, at the 360 real digits that neither has seen.
"""

from __future__ import annotations

import functools
import json
import sys

import numpy as np
from sklearn.neural_network import MLPClassifier

from jaxgen.data import load

CONFIDENT = 0.9


def judge(images: np.ndarray, labels: np.ndarray) -> dict:
    """Figures of uint8 ``[N, 8, 8, 1]`` images that were asked to show ``labels``, beside those of held-out digits.

    ``confident``: share with a class probability over 0.9. ``right_class``: share seen as the class asked for.
    ``classes``: share of each digit among the classes seen. ``distance_to_training``: quartiles of the Euclidean
    distance to the nearest training image (pixels in [0, 1]); copies of the training set would be at 0.
    """
    train, test = load('digits', 'train'), load('digits', 'test')

    def figures(images, labels):
        probabilities = _classifier().predict_proba(_flat(images))
        seen = probabilities.argmax(1)
        return {
            'count': len(images),
            'confident': float(np.mean(probabilities.max(1) > CONFIDENT)),
            'right_class': float(np.mean(seen == labels)),
            'classes': (np.bincount(seen, minlength=10) / len(seen)).tolist(),
            'distance_to_training': np.quantile(_nearest(images, train.images), [0.25, 0.5, 0.75]).tolist(),
        }

    return {'samples': figures(images, labels), 'held_out': figures(test.images, test.labels)}


@functools.cache
def _classifier() -> MLPClassifier:
    train = load('digits', 'train')
    return MLPClassifier((256,), max_iter=500, random_state=0).fit(_flat(train.images), train.labels)


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) / 255.0


def _nearest(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    a, b = _flat(images), _flat(others)
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.sqrt(np.maximum(squares.min(1), 0))


if __name__ == '__main__':
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    with np.load(sys.argv[1]) as file:
        print(json.dumps(judge(file['images'], file['labels'])))
