"""The changes that the mutation run makes; it itself is run by hand."""

import pytest

from tests.mutation import run
from tests.mutation.mutations import mutations


@pytest.mark.parametrize(
    ('source', 'expected'),
    [
        ('y = a + b * c', {'y = a - b * c', 'y = a + b / c'}),
        ('y = a < b', {'y = a <= b'}),
        ('y = 2.0 * x', {'y = 3.0 * x', 'y = 0.0 * x', 'y = 2.0 / x'}),
        ('f(x, train=True)', {'f(x, train=False)'}),
        ('y = not x', {'y = x'}),
        ('f(a, b)', {'f(b, b)', 'f(a, a)'}),
        ('y = x.astype(int)', {'y = x'}),
        ('y = jax.lax.stop_gradient(x)', {'y = x'}),
        ('k = jax.random.fold_in(key, i)', {'k = key', 'k = jax.random.fold_in(i, i)', 'k = jax.random.fold_in(key, key)'}),
        ('def f(x: Float[Array, 1 + 2]) -> g(1): pass', set()),
        ("def f():\n    raise ValueError(f'{1 + 2}')", set()),
        ('"""A docstring with 1 + 2."""', set()),
    ],
)  # fmt: skip
def test_the_mutations_of_an_expression(source, expected):
    assert {mutation.source.strip() for mutation in mutations(source)} == expected


def test_every_file_to_mutate_has_tests_that_exist():
    files = run.files()
    assert 'jaxgen/diffusion/losses.py' in files and 'jaxgen/training/step.py' in files
    assert all((run.ROOT / test).exists() for tests in files.values() for test in tests)


def test_the_choice_of_mutations_depends_on_the_seed_alone():
    first, again, other = (run.chosen(3, seed, 'diffusion/losses.py') for seed in (0, 0, 1))
    assert first == again != other and len(first) == 3
