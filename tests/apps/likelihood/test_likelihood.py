"""Bits per dimension of a known network, against closed forms, and refusals."""

import json

import numpy as np
import pytest
from etils import epath

from jaxgen.cli import modes
from jaxgen.data import load
from jaxgen.diffusion.schedules import linear
from jaxgen.errors import UserError
from tests.tiny import tiny_config, untrained

FIELDS = {
    'diffusion.schedule': 'linear',
    'diffusion.parameterisation': 'edm',
    'likelihood.num': 96,
    'sample.batch_size': 48,
    'sample.clip': False,
}
X0 = load('digits', 'test').images[:96].reshape(96, -1) / 127.5 - 1


def bits(run, **fields):
    modes.run('likelihood', tiny_config(**{**FIELDS, **fields}), run)
    return json.loads((run / 'likelihood' / '4.json').read_text())


def error(alpha, sigma):
    """Return E|x_0 - skip x|^2 over the noise: the untrained network of edm adds nothing to skip x."""
    skip = alpha * 0.25 / (sigma**2 + alpha**2 * 0.25)
    return np.mean((1 - skip * alpha) ** 2 * X0**2 + skip**2 * sigma**2)


def test_discrete_terms_are_those_of_the_known_network(tmp_path, capsys):
    run = epath.Path(untrained(tiny_config(**FIELDS), tmp_path / 'run'))
    result = bits(run)
    ac = linear(20).alphas_cumprod
    snr = ac / (1 - ac)
    expected = [
        0.5 * (snr[t - 1] - snr[t]) * error(np.sqrt(ac[t]), np.sqrt(1 - ac[t])) / np.log(2) for t in range(1, 20)
    ]
    assert [term['level'] for term in result['terms']] == list(range(20))
    np.testing.assert_allclose([term['bits'] for term in result['terms'][1:]], expected, rtol=0.06)
    total = result['prior'] + sum(term['bits'] for term in result['terms'])
    np.testing.assert_allclose(result['bits_per_dim'], total, rtol=1e-6)
    bits_of_all = f'{total:.4f} +- {result["standard_error"]:.4f} bits per dimension'
    assert not result['is_estimate'] and result['protocol']['terms'] == result['protocol']['all_terms'] == 20
    assert f'at most {bits_of_all} (standard error over 96 images); all' in capsys.readouterr().out
    some = bits(run, **{'likelihood.terms': 7})
    assert [term['level'] for term in some['terms']][:3] == [0, 1, 2] and len(some['terms']) < 9
    np.testing.assert_allclose(some['bits_per_dim'], result['bits_per_dim'], rtol=0.1)
    assert some['protocol']['bound'] == 'discrete' and some['is_estimate']
    computed = len(some['terms'])
    assert (some['protocol']['terms'], some['protocol']['all_terms']) == (computed, 20)
    printed = capsys.readouterr().out
    assert f'about {some["bits_per_dim"]:.4f} +-' in printed and 'at most' not in printed
    assert f'(standard error over 96 images), an estimate of the bound from {computed} of 20 terms; all' in printed
    precision = {'dtype': 'float32', 'matmul_precision': 'default', 'batch_size': 48}
    assert precision.items() <= some['protocol'].items()


def test_continuous_terms_are_those_of_the_known_network(tmp_path, capsys):
    fields = {**FIELDS, 'diffusion.schedule': 'edm', 'sample.num_steps': 4, 'likelihood.terms': 40}
    run = epath.Path(untrained(tiny_config(**fields), tmp_path / 'run'))
    result = bits(run, **fields)
    low, high = 2 * np.log(np.array([0.002, 80.0]))
    gamma = low + (high - low) * (np.arange(4000) + 0.5) / 4000
    each = np.array([0.5 * np.exp(-g) * error(1.0, np.exp(g / 2)) for g in gamma]) * (high - low) / 4000 / np.log(2)
    got = [term['bits'] for term in result['terms']]
    np.testing.assert_allclose(sum(got[:-1]), each.sum(), rtol=0.02)
    assert abs(got[-1]) < 0.2 and result['prior'] < 1e-3  # almost nothing is lost at the ends
    assert result['is_estimate'] and result['protocol']['all_terms'] is None
    assert (
        'an estimate of the bound from 41 of infinitely many noise levels, taken at random' in capsys.readouterr().out
    )


@pytest.mark.parametrize('field', ['likelihood.num', 'likelihood.terms'])
def test_one_image_or_term_is_too_few(field, tmp_path):
    with pytest.raises(UserError, match=f'config.{field}=1 must be at least 2'):
        bits(epath.Path(tmp_path) / 'run', **{field: 1})


def test_a_gan_has_no_likelihood(tmp_path):
    run = epath.Path(untrained(tiny_config('dcgan'), tmp_path / 'run'))
    with pytest.raises(UserError, match='config.family=dcgan has no bound'):
        modes.run('likelihood', tiny_config('dcgan'), run)
