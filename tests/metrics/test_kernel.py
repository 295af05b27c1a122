"""The kernel distance against its definition."""

import numpy as np
import pytest

from jaxgen.metrics.kernel import kernel_distance

RNG = np.random.default_rng(0)


@pytest.mark.parametrize('real', [7, 5])
def test_kernel_distance_by_its_definition(real):
    x, y = RNG.normal(size=(5, 4)), RNG.normal(0.5, 1, (real, 4))
    got, spread = kernel_distance(x, y, subsets=3, subset_size=6)
    rng, values = np.random.RandomState(2020), []
    for _ in range(3):
        a, b = x[rng.choice(5, 5, replace=False)], y[rng.choice(real, 5, replace=False)]

        def kernel(u, v):
            return (u @ v / 4 + 1) ** 3

        within = sum(kernel(s[i], s[j]) for s in (a, b) for i in range(5) for j in range(5) if i != j) / 20
        across = sum(kernel(u, v) for u in a for v in b) / 25
        values.append(within - 2 * across)
    np.testing.assert_allclose(got, np.mean(values), rtol=1e-10)
    if real == 5:  # every subset is the whole set
        assert spread is None and np.std(values) < 1e-12
    else:
        np.testing.assert_allclose(spread, np.std(values), rtol=1e-10)


def test_kernel_distance_is_unbiased():
    """For two sets of one distribution the mean of independent estimates lies within five standard errors of zero."""
    values = [kernel_distance(*RNG.normal(size=(2, 50, 8)), subsets=1)[0] for _ in range(400)]
    assert abs(np.mean(values)) < 5 * np.std(values) / np.sqrt(len(values))
