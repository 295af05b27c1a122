"""The class probabilities that a classifier predicts, and the Inception Score that is computed from them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64


def log_softmax(logits: Float[np.ndarray, 'n k']) -> Float64[np.ndarray, 'n k']:
    """Return the logarithms of the class probabilities of each row."""
    x = np.array(logits, np.float64)
    x -= x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def inception_score(logits: Float[np.ndarray, 'n k'], splits: int = 10, seed: int = 2020) -> tuple[float, float]:
    """Compute the Inception Score ``exp E_x KL(p(y|x) || p(y))`` (Salimans et al. 2016), with p(y) the mean over a split.

    The images are shuffled as torch-fidelity shuffles them for the same seed.

    Args:
      logits: logits of generated images.
      splits: number of equal parts; the score is computed for each of them.
      seed: random seed of the shuffle.

    Returns:
      The mean and the standard deviation over splits, computed in float64; the score lies between 1 and k.
    """
    log_p = log_softmax(logits[np.random.RandomState(seed).permutation(len(logits))])
    p = np.exp(log_p)
    scores = []
    for i in range(splits):
        part = slice(i * len(p) // splits, (i + 1) * len(p) // splits)
        marginal = p[part].mean(0, keepdims=True)
        scores.append(np.exp((p[part] * (log_p[part] - np.log(marginal))).sum(1).mean()))
    return float(np.mean(scores)), float(np.std(scores))
