"""The kernel distance against its definition."""

import numpy as np
import pytest

from jaxgen.metrics.kernel import kernel_distance

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(('real', 'size'), [(7, 5), (5, 5), (7, 4)])
def test_kernel_distance_by_its_definition(real, size):
    x, y = RNG.normal(size=(5, 4)), RNG.normal(0.5, 1, (real, 4))
    got, spread = kernel_distance(x, y, subsets=3, subset_size=size if size < 5 else 6)
    rng, values = np.random.RandomState(2020), []
    for _ in range(3):
        a, b = x[rng.choice(5, size, replace=False)], y[rng.choice(real, size, replace=False)]

        def kernel(u, v):
            return (u @ v / 4 + 1) ** 3

        pairs = [(i, j) for i in range(size) for j in range(size) if i != j]
        within = sum(kernel(s[i], s[j]) for s in (a, b) for i, j in pairs) / len(pairs)
        across = sum(kernel(u, v) for u in a for v in b) / size**2
        values.append(within - 2 * across)
    np.testing.assert_allclose(got, np.mean(values), rtol=1e-10)
    if size == 5:  # every subset of x is the whole set: the deviation would only describe y
        assert spread is None and (real > 5 or np.std(values) < 1e-12)
    else:
        np.testing.assert_allclose(spread, np.std(values), rtol=1e-10)


def test_kernel_distance_is_unbiased():
    """For two sets from one distribution, the mean of independent estimates is within five standard errors of zero."""
    values = [kernel_distance(*RNG.normal(size=(2, 50, 8)), subsets=1)[0] for _ in range(400)]
    assert abs(np.mean(values)) < 5 * np.std(values) / np.sqrt(len(values))
