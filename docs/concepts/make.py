"""Make the pictures of docs/concepts: ``PYTHONPATH=. python docs/concepts/make.py [NAME ...]``, all of them without a name.

They are as wide as a phone, on white, with text of at least 9 points and colours that colour-blind people can tell apart.
"""

from __future__ import annotations

import functools
import io
import pathlib
import sys
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import toy
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from scipy.special import ndtr

from jaxgen import diffusion, gan
from jaxgen.apps.reports import words
from jaxgen.apps.reports.plots import COLOURS, GREY, MARKERS, NARROW, PLAIN
from jaxgen.diffusion import Level
from jaxgen.diffusion.losses import WEIGHTINGS
from jaxgen.diffusion.predictions import PREDICTIONS, Prediction
from jaxgen.diffusion.samplers import SAMPLERS
from jaxgen.diffusion.schedules import SCHEDULES, EDMSchedule, FlowSchedule, LearnedSchedule
from jaxgen.metrics.frechet import frechet_distance
from jaxgen.metrics.kernel import kernel_distance
from jaxgen.metrics.moments import Moments

FOLDER = pathlib.Path(__file__).parent
DPI = 150
CHURN = 10.0
DENOISING = ('ddpm', 'ddpm_fixedsmall', 'ddim', 'heun', 'edm', 'dpmpp_2m', 'dpmpp_2m_sde')
STYLE = {**PLAIN, 'text.parse_math': True, 'mathtext.default': 'regular'}


def save(figure: Figure, name: str) -> None:
    """Write a figure as a PNG file with few colours, which is small."""
    out = io.BytesIO()
    figure.savefig(out, format='png', dpi=DPI)
    Image.open(out).convert('RGB').quantize(96, dither=Image.Dither.NONE).save(FOLDER / f'{name}.png', optimize=True)


def figure(height: float, rows: int = 1, columns: int = 1, **options: object) -> tuple[Figure, np.ndarray]:
    """Return a figure with panels, ``[rows, columns]``."""
    made = Figure(figsize=(NARROW, height), layout='constrained')
    return made, made.subplots(rows, columns, squeeze=False, **options)


def scaled(x: np.ndarray, level: Level) -> np.ndarray:
    """Divide points at a noise level by sqrt(alpha^2 + sigma^2), which brings them to the scale of the data."""
    return np.asarray(x) / np.hypot(level.alpha, level.sigma)


def plain_square(ax: Axes, title: str, limit: float = 1.35) -> None:
    """Give a panel a title, and equal axes without numbers."""
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[], aspect='equal')
    ax.set_title(title)
    for spine in ax.spines.values():
        spine.set(visible=True, color=GREY, linewidth=0.6)


def training_levels(name: str, num: int = 400) -> Level:
    """Return ``num`` quantiles of the distribution of the noise levels in training, from little noise to much."""
    schedule, ranks = SCHEDULES[name](1000), (np.arange(num) + 0.5) / num
    if isinstance(schedule, EDMSchedule):
        return schedule.at(np.exp(np.interp(ranks, ndtr(np.linspace(-4, 4, 801)), np.linspace(-4, 4, 801)) * 1.2 - 1.2))
    if isinstance(schedule, FlowSchedule):
        return schedule.at(ranks / (1 - ranks))
    if isinstance(schedule, LearnedSchedule):
        schedule = schedule.with_params(schedule.init(jax.random.key(0)))
        return schedule.level(schedule.gamma(jnp.asarray(ranks)))
    return schedule.level((1000 * ranks).astype(int))


def schedules() -> None:
    """Plot log SNR, alpha and sigma of all schedules over the share of training levels with less noise."""
    names = [name for name in SCHEDULES if name != 'linear_betas']  # the same as linear for 1,000 timesteps
    made, axes = figure(7.6, 3, sharex=True)
    for number, name in enumerate(names):
        level = training_levels(name)
        alpha, sigma = np.asarray(level.alpha, np.float64), np.asarray(level.sigma, np.float64)
        look = {'color': COLOURS[number % 6], 'linestyle': '--' if name.endswith('snr') or number > 5 else '-'}
        share = (np.arange(len(alpha)) + 0.5) / len(alpha)
        with np.errstate(divide='ignore'):
            curves = 2 * np.log(alpha / sigma), alpha, sigma
        for ax, values in zip(axes[:, 0], curves, strict=True):
            ax.plot(share, values, label=words.VALUES['schedule'][name], **look)
    for ax, title in zip(axes[:, 0], ('log SNR = 2 log(alpha / sigma)', 'alpha', 'sigma'), strict=True):
        ax.set_title(title, loc='left')
        ax.grid(alpha=0.3)
    axes[0, 0].set_ylim(-15, 15)
    axes[1, 0].set_ylim(-0.05, 1.05)
    axes[2, 0].set_ylim(-0.05, 2.05)
    axes[2, 0].set_xlabel('share of the training levels with less noise')
    made.legend(*axes[0, 0].get_legend_handles_labels(), loc='outside lower left', ncols=2)
    save(made, 'schedules')


def steps() -> None:
    """Plot the noise levels of a sampler with ten steps, for four schedules."""
    made, axes = figure(3.9)
    for number, name in enumerate(('linear', 'cosine', 'edm', 'flow')):
        levels = SCHEDULES[name](1000).levels(10)
        with np.errstate(divide='ignore'):
            ratio = (levels.sigma / levels.alpha)[:-1]
        place = np.arange(10)[np.isfinite(ratio)]
        label = words.VALUES['schedule'][name]
        axes[0, 0].plot(place, ratio[np.isfinite(ratio)], marker=MARKERS[number], markersize=4, label=label)
    axes[0, 0].set(yscale='log', xlabel='step', ylabel='sigma / alpha at its beginning', xticks=range(0, 10, 3))
    axes[0, 0].grid(alpha=0.3)
    made.legend(loc='outside lower left', ncols=2)
    save(made, 'steps')


def weights() -> None:
    """Plot the weight of each parameterisation and weighting on the squared error of x_0 over log SNR."""
    made, axes = figure(4.2)
    log_snr = np.linspace(-10, 10, 201)
    alpha, sigma = np.sqrt(1 / (1 + np.exp(-log_snr))), np.sqrt(1 / (1 + np.exp(log_snr)))
    for prediction in ('eps', 'x0', 'v', 'edm'):
        c_out = PREDICTIONS[prediction](alpha, sigma).c_out
        weight = np.asarray(WEIGHTINGS['simple'](alpha, sigma, c_out)) / np.asarray(c_out) ** 2
        look = {'linewidth': 4, 'alpha': 0.5} if prediction == 'eps' else {}  # under the others
        axes[0, 0].plot(log_snr, np.broadcast_to(weight, 201), label=f'simple, {prediction}', **look)
    look = {'color': 'k', 'linestyle': ':', 'linewidth': 2}
    axes[0, 0].plot(log_snr, WEIGHTINGS['min_snr'](alpha, sigma, 1.0), label='min_snr, any', **look)
    axes[0, 0].set(yscale='log', ylim=(1e-3, 1e3), xlabel='log SNR')
    axes[0, 0].set_ylabel('weight on the squared error of x_0')
    axes[0, 0].grid(alpha=0.3)
    made.legend(loc='outside lower left', ncols=2)
    save(made, 'weights')


def path(name: str, mixture: toy.Mixture, normal: np.ndarray, num_steps: int) -> np.ndarray:
    """Return the path of each point from noise to data, ``[steps + 1, N, 2]``, in the scale of the data."""
    schedule = FlowSchedule() if name == 'mean_flow' else EDMSchedule()
    sampler = SAMPLERS[name].with_options(**{'churn': CHURN} if name == 'edm' else {})
    levels = sampler.levels(schedule, num_steps)
    denoiser: Callable = mixture.denoise
    if name == 'mean_flow':
        denoiser = functools.partial(toy.follow, mixture.denoise)
    if name == 'consistency':
        data = Level(*(jnp.asarray(a[-1]) for a in levels))

        def denoiser(x: jax.Array, level: Level) -> jax.Array:
            return toy.follow(mixture.denoise, x, level, data)

    x = diffusion.initial_noise(levels, jnp.asarray(normal))
    key = jax.random.key(3)
    way = sampler.sample(denoiser, levels, x, key=key, schedule=schedule, keep_path=True)
    whole = np.concatenate([np.asarray(x)[None], np.asarray(way)])
    return np.stack([scaled(points, Level(*(a[i] for a in levels))) for i, points in enumerate(whole)])


def trajectories() -> None:
    """Plot the paths of a few points with each sampler, over points of the data."""
    mixture = toy.both()
    made, axes = figure(9.6, 5, 2)
    data, normal = mixture.sample(600), np.array([[1.2, 0.7], [-1.1, 0.9], [-0.7, -1.2], [0.9, -1.1]])
    axes[0, 0].scatter(*data.T, s=2, color=GREY)
    plain_square(axes[0, 0], 'the data')
    for ax, name in zip(axes.ravel()[1:], (*DENOISING, 'mean_flow', 'consistency'), strict=True):
        num_steps = {'mean_flow': 1, 'consistency': 2}.get(name, 10)
        ax.scatter(*data.T, s=1, color=GREY, alpha=0.6)
        way = path(name, mixture, normal, num_steps)
        for number in range(way.shape[1]):
            colour = COLOURS[number % 6]
            ax.plot(*way[:, number].T, color=colour, linestyle='-', linewidth=0.8, marker='.', markersize=3)
            ax.plot(*way[-1, number], color=colour, marker='o', markersize=5, markeredgecolor='k')
        sampler = SAMPLERS[name].with_options(**{'churn': CHURN} if name == 'edm' else {})
        calls = sampler.network_calls(sampler.levels(EDMSchedule(), num_steps))
        label = words.VALUES['sampler'][name].replace('EDM, stochastic Heun', 'EDM, churn 10')
        plain_square(ax, f'{label}\n{calls} call{"s" if calls > 1 else ""}', 1.9)
    save(made, 'trajectories')


def errors() -> None:
    """Plot the distance of samples from the data over the number of denoiser calls, for each sampler."""
    mixture, schedule, num = toy.both(), EDMSchedule(), 20_000
    normal = jax.random.normal(jax.random.key(0), (num, 2))
    made, axes = figure(4.9)
    for number, name in enumerate(DENOISING):
        sampler = SAMPLERS[name].with_options(**{'churn': CHURN} if name == 'edm' else {})
        found = []
        for count in (3, 5, 8, 12, 18, 27, 40, 60, 90, 135):
            levels = schedule.levels(count)
            x = diffusion.initial_noise(levels, normal)
            points = sampler.sample(mixture.denoise, levels, x, key=jax.random.key(1), schedule=schedule)
            found.append((sampler.network_calls(levels), mixture.distance(np.asarray(points))))
        print(name, [(calls, round(error, 4)) for calls, error in found])
        label = words.VALUES['sampler'][name].replace('EDM, stochastic Heun', 'EDM, churn 10')
        axes[0, 0].plot(*zip(*found, strict=True), marker=MARKERS[number], markersize=4, label=label)
    exact = np.mean([mixture.distance(mixture.sample(num, seed)) for seed in range(5)])
    axes[0, 0].axhline(exact, color=GREY, linestyle='-', linewidth=1)
    axes[0, 0].text(3, exact * 1.06, f'{num:,} points of the data', color='#555555', fontsize=9)
    axes[0, 0].set(xscale='log', yscale='log', xlabel='calls of the denoiser', ylabel='distance from the data')
    axes[0, 0].set_xticks([3, 10, 30, 100, 300], ['3', '10', '30', '100', '300'])
    axes[0, 0].grid(alpha=0.3, which='both')
    made.legend(loc='outside lower left', ncols=2, handlelength=1.2, columnspacing=0.5)
    save(made, 'errors')


def guided(model: toy.Mixture, scale: float, guide_scale: float, num: int = 1500) -> np.ndarray:
    """Return samples of the first class from a model that has the width of ``model``; scales of 1 are no guidance."""
    own, everything, worse = toy.arc(False, model.width), toy.both(model.width), toy.arc(False, 2 * model.width)

    def predict(x: jax.Array, level: Level, labels: jax.Array) -> Prediction:
        with_class, without = own.denoise(x, level), everything.denoise(x, level)
        return Prediction(jnp.where(labels[:, None] == 0, with_class, without))

    def guide(x: jax.Array, level: Level, labels: jax.Array) -> Prediction:
        return Prediction(worse.denoise(x, level))

    guidance = diffusion.Guidance(scale=scale, guide_scale=guide_scale)
    labels = jnp.zeros(num, jnp.int32)
    null_label = 1 if scale != 1 else None
    denoiser = guidance(predict, labels, null_label=null_label, guide=guide if guide_scale != 1 else None)
    levels = EDMSchedule().levels(40)
    x = diffusion.initial_noise(levels, jax.random.normal(jax.random.key(0), (num, 2)))
    return np.asarray(diffusion.samplers.heun(lambda x, level: denoiser(x, level).mean, levels, x))


def guidance() -> None:
    """Plot samples of a class from a model that blurs it, without guidance and with either kind of guidance."""
    model = toy.both(0.16)
    made, axes = figure(5.9, 3, 2)
    first, second = toy.arc(False), toy.arc(True)
    panels = {
        'the data': first.sample(1500),
        'the model, unguided': guided(model, 1.0, 1.0),
        'class guidance, scale 2': guided(model, 2.0, 1.0),
        'class guidance, scale 5': guided(model, 5.0, 1.0),
        'autoguidance, scale 2': guided(model, 1.0, 2.0),
        'autoguidance, scale 3': guided(model, 1.0, 3.0),
    }
    for ax, (title, points) in zip(axes.ravel(), panels.items(), strict=True):
        ax.scatter(*second.centres.T, s=90, color='#cccccc')
        ax.scatter(*points.T, s=1, color=COLOURS[0], alpha=0.7)
        print(title, {'distance': round(first.distance(points), 3), 'std': points.std(0).round(3).tolist()})
        plain_square(ax, title)
    save(made, 'guidance')


def dirac(gamma: float, num_steps: int = 400, rate: float = 0.1) -> np.ndarray:
    """Return the path ``[steps + 1, 2]`` of theta and psi in the Dirac-GAN, in alternating steps.

    Mescheder et al. 2018: the data are the point 0, the generator makes the point theta, and D(x) = psi x.
    """
    loss, way = gan.NON_SATURATING, [(1.0, 0.0)]

    def discriminator_loss(psi: jax.Array, theta: jax.Array) -> jax.Array:
        def discriminator(images: jax.Array) -> jax.Array:
            return psi * images[:, 0, 0, 0]

        real, fake = jnp.zeros((1, 1, 1, 1)), theta * jnp.ones((1, 1, 1, 1))
        penalty = gan.penalties.r1(discriminator, real, gamma)
        return loss.real(discriminator(real)) + loss.fake(discriminator(fake)) + penalty

    def generator_loss(theta: jax.Array, psi: jax.Array) -> jax.Array:
        return loss.generator(psi * theta * jnp.ones(1))

    discriminate, generate = jax.jit(jax.grad(discriminator_loss)), jax.jit(jax.grad(generator_loss))
    theta, psi = jnp.array(1.0), jnp.array(0.0)
    for _ in range(num_steps):
        psi = psi - rate * discriminate(psi, theta)
        theta = theta - rate * generate(theta, psi)
        way.append((float(theta), float(psi)))
    return np.array(way)


def orbits() -> None:
    """Plot the path of the Dirac-GAN without and with R1."""
    made, axes = figure(2.3, 1, 2, sharey=True)
    for ax, gamma, title in zip(axes[0], (0.0, 0.5), ('without R1', 'with R1, gamma 0.5'), strict=True):
        way = dirac(gamma)
        ax.plot(*way.T, color=COLOURS[0], linestyle='-', linewidth=0.8)
        ax.plot(*way[0], 'o', color=COLOURS[1], markersize=5, linestyle='none')
        ax.plot(0, 0, '*', color='k', markersize=8)
        ax.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), aspect='equal', xlabel='generator', title=title)
    axes[0, 0].set_ylabel('discriminator')
    save(made, 'orbits')


def bias() -> None:
    """Plot FID and KID between two sets with the same distribution, over their number of images."""
    rng, dimension, counts = np.random.default_rng(0), 256, (100, 200, 400, 800, 1600, 3200)
    made, axes = figure(4.2, 2, sharex=True)
    scales = 1 / np.sqrt(1 + np.arange(dimension))  # few directions have most of the variance, as in real features
    found: dict[str, list] = {'FID': [], 'KID': []}
    for count in counts:
        sets = [[rng.normal(size=(count, dimension)) * scales for _ in range(2)] for _ in range(6)]
        found['FID'].append([frechet_distance(*map(Moments.of, pair)) for pair in sets])
        found['KID'].append([kernel_distance(*pair, subsets=10)[0] for pair in sets])
    for ax, (name, values), colour in zip(axes[:, 0], found.items(), COLOURS, strict=False):
        mean, std = np.mean(values, axis=1), np.std(values, axis=1)
        ax.errorbar(counts, mean, std, color=colour, linestyle='-', marker='o', markersize=4, capsize=2)
        print(name, dict(zip(counts, mean.round(5), strict=True)))
        ax.axhline(0, color='k', linewidth=0.8)
        ax.set_title(f'{name}, of which the true value is 0', loc='left')
        ax.grid(alpha=0.3)
    axes[1, 0].set(xscale='log', xlabel='images in each set')
    axes[1, 0].set_xticks(counts[::2], [f'{count:,}' for count in counts[::2]])
    axes[1, 0].minorticks_off()
    save(made, 'bias')


PICTURES = {f.__name__: f for f in (schedules, steps, weights, trajectories, errors, guidance, orbits, bias)}


def main(names: Iterable[str]) -> None:
    """Make the pictures with these names."""
    with mpl.rc_context(STYLE):
        for name in names:
            PICTURES[name]()


if __name__ == '__main__':
    main(sys.argv[1:] or PICTURES)
