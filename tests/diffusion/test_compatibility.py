"""The table of compatible combinations, and the reasons why the others are refused."""

import re

import pytest

from jaxgen.diffusion import compatibility
from jaxgen.diffusion.samplers import SAMPLERS
from jaxgen.diffusion.schedules import SCHEDULES

VP = dict.fromkeys(('eps', 'x0', 'v', 'edm'), ('simple', 'learned', 'min_snr', 'elbo'))
NO_SIGNAL = dict.fromkeys(('x0', 'v', 'edm'), ('simple', 'learned', 'elbo'))
COMPATIBLE = {  # weightings; 'learned' stands for simple with variance=learned
    'linear': VP,
    'linear_betas': VP,
    'cosine': VP,
    'linear_zero_snr': NO_SIGNAL,
    'cosine_zero_snr': NO_SIGNAL,
    'edm': {'edm': ('simple', 'min_snr'), 'consistency': ('simple',)},
    'flow': {**dict.fromkeys(('x0', 'edm', 'flow'), ('simple', 'min_snr')), 'mean_flow': ('simple',)},
    'learned': dict.fromkeys(('eps', 'x0', 'v', 'edm'), ('elbo',)),
}


def test_the_compatible_combinations_are_this_table():
    expected = set()
    for schedule, predictions in COMPATIBLE.items():
        for prediction, weightings in predictions.items():
            samplers = {'ddpm', 'ddpm_fixedsmall', 'ddim', 'heun', 'dpmpp_2m', 'dpmpp_2m_sde'}
            samplers |= set() if schedule == 'learned' else {'edm'}
            for weighting in weightings:
                variance = ('simple', 'learned') if weighting == 'learned' else (weighting, 'fixed')
                for sampler in {prediction} if prediction in ('mean_flow', 'consistency') else samplers:
                    expected.add((schedule, prediction, *variance, sampler))
    known = {choice[-1] for choice in expected}  # other tests check combinations that are added
    got = {
        choice for choice in compatibility.compatible_combinations() if choice[0] in COMPATIBLE and choice[-1] in known
    }
    assert got == expected


@pytest.mark.parametrize(
    ('choice', 'words'),
    [
        (('linear_zero_snr', 'eps'), 'prediction=eps does not determine x_0 .* choose v$'),
        (('flow', 'eps'), 'prediction=eps does not determine x_0 .* choose flow$'),
        (('cosine', 'flow'), 'prediction=flow needs alpha'),
        (('cosine', 'mean_flow'), 'prediction=mean_flow needs alpha'),
        (('edm', 'v'), 'prediction=v needs .* schedule=edm does not have: choose edm$'),
        (('flow', 'v'), 'prediction=v needs .* schedule=flow does not have: choose flow$'),
        (('edm', 'x0'), 'prediction=x0 does not scale the input'),
        (('flow', 'mean_flow', 'min_snr'), 'weighting=min_snr does not go with prediction=mean_flow'),
        (('cosine', 'consistency'), 'prediction=consistency starts from .* schedule=edm: choose edm'),
        (('edm', 'consistency', 'min_snr'), 'weighting=min_snr does not go with prediction=consistency'),
        (('edm', 'consistency', 'simple', 'fixed', 'heun'), 'a consistency function is sampled .* choose consistency$'),
        (('edm', 'edm', 'simple', 'fixed', 'consistency'), 'sampler=consistency does not .* choose another sampler$'),
        (('flow', 'mean_flow', 'elbo'), 'weighting=elbo does not go with prediction=mean_flow'),
        (
            ('cosine_zero_snr', 'v', 'min_snr'),
            'weighting=min_snr gives no weight to the last timestep of schedule=cosine_zero_snr',
        ),
        (('edm', 'edm', 'elbo'), 'weighting=elbo is not bounded near the image with schedule=edm'),
        (('flow', 'flow', 'elbo'), 'weighting=elbo is not bounded near the image with schedule=flow'),
        (('learned', 'v', 'min_snr'), 'choose weighting=elbo$'),
        (('edm', 'edm', 'simple', 'learned'), 'variance=learned is trained by the hybrid loss'),
        (('linear', 'eps', 'elbo', 'learned'), 'variance=learned is trained by the hybrid loss'),
        (('flow', 'mean_flow', 'simple', 'fixed', 'ddim'), 'sampler=ddim does not go with .* choose mean_flow$'),
        (
            ('flow', 'flow', 'simple', 'fixed', 'mean_flow'),
            'sampler=mean_flow does not go with .* choose another sampler$',
        ),
        (('learned', 'v', 'elbo', 'fixed', 'edm'), 'sampler=edm adds noise up to .* choose heun$'),
    ],
)
def test_what_is_incompatible_has_a_reason(choice, words):
    assert re.search(words, compatibility.incompatibility_reason(*choice))
    assert not compatibility.is_compatible(*choice)


def test_the_table_names_every_schedule_and_sampler():
    text = compatibility.table()
    assert all(
        name in text
        for name in (*SCHEDULES, *SAMPLERS, *compatibility.ALL_PREDICTIONS, *compatibility.all_weightings())
    )
