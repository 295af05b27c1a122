"""Synthesised images on tiny models: what they drive, and what a diffusion model makes of them."""

import jax
import numpy as np

from jaxgen.apps.interpret import synthesis
from jaxgen.apps.interpret.denoising import denoise
from jaxgen.apps.interpret.probes import probes_of
from jaxgen.apps.interpret.selectivity import Channel
from jaxgen.apps.interpret.synthesis import Target
from jaxgen.diffusion.editing import last_levels


def test_a_synthesised_image_drives_its_channel(trained):
    trained, _ = trained
    variables = trained.sampler().variables(trained.model)
    probe = probes_of(trained, variables, 2)[-1]
    shape = trained.method.image_shape
    block = list(probe.blocks(shape))[-1]
    targets = [Target(Channel(block, c), 3, bool(c % 2), len(probe.levels) - 1, 0.0, 0.1) for c in range(4)]
    rough, smooth = (
        synthesis.synthesise(probe, shape, targets, steps=60, smoothness=weight, key=jax.random.key(0))
        for weight in (0.0, 20.0)
    )
    assert np.all(rough.after > rough.before + 0.5), (rough.before, rough.after)
    roughness = [np.mean([synthesis.total_variation(x) for x in made.images]) for made in (rough, smooth)]
    assert roughness[1] < 0.5 * roughness[0] and np.abs(rough.images).max() <= 1


def test_a_jittered_image_moves_and_scales_about_its_middle():
    spot = np.zeros((33, 33, 1), np.float32)
    spot[16, 16] = 1
    for i in range(10):
        seen = np.asarray(synthesis.jittered(spot, jax.random.key(i)))[..., 0]
        centre = (np.indices(seen.shape) * seen).sum((1, 2)) / seen.sum()
        assert np.all(np.abs(centre - 16) < 33 / 16 + 0.6) and 0.5 < seen.sum() < 1.7
    flat = np.asarray(synthesis.jittered(np.ones((33, 33, 1), np.float32), jax.random.key(1)))
    np.testing.assert_allclose(flat[8:-8, 8:-8], 1, atol=1e-5)


def test_denoising_starts_like_an_edit_of_the_same_strength(ddpm):
    """An image and the grey one are denoised as the definition says, with the same noise on both."""
    trained, _ = ddpm
    c, method, key = trained.config, trained.method, jax.random.key(5)
    variables = trained.sampler().variables(trained.model)
    pictures = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 1)).astype(np.float32)
    got = denoise(trained, variables, pictures, c.interpret, key)
    assert got.images.shape == (1, 4, 4, 8, 8, 1) and got.classes.tolist() == [0, 1, 2, 3]
    levels = last_levels(method.levels(variables), 0.5)
    noise = jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, 2), 0), (8, 8, 1))
    for i, start in ((1, pictures[1]), (-1, 0)):
        x = (levels.alpha[0] * start + levels.sigma[0] * noise)[None]
        expected = method.prepare(
            variables, jax.random.split(jax.random.key(0), 1), np.array([2]), levels=levels, x=x
        ).images()[0]
        expected = np.clip(np.round((np.asarray(expected) + 1) * 127.5), 0, 255)
        assert np.max(np.abs(got.images[0, i, 2] - expected)) <= 1
