"""The mathematics of adversarial training, each formula against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from jaxgen.gan import augment, losses, noise, penalties

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_non_saturating_is_binary_cross_entropy():
    logits = np.array([-40.0, -2.0, 0.0, 0.3, 5.0, 40.0])
    theirs = torch.from_numpy(logits)
    one, zero = torch.ones(6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    np.testing.assert_allclose(losses.NON_SATURATING.real(logits), bce(theirs, one), rtol=1e-12)
    np.testing.assert_allclose(losses.NON_SATURATING.fake(logits), bce(theirs, zero), rtol=1e-12)
    np.testing.assert_allclose(losses.NON_SATURATING.generator(logits), bce(theirs, one), rtol=1e-12)


def test_hinge():
    logits = np.array([-3.0, -1.0, -0.5, 0.0, 0.5, 2.0])
    assert losses.HINGE.real(logits) == np.mean([4, 2, 1.5, 1, 0.5, 0])
    assert losses.HINGE.fake(logits) == np.mean([0, 0, 0.5, 1, 1.5, 3])
    assert losses.HINGE.generator(logits) == -np.mean(logits)


def test_r1_of_a_quadratic_critic():
    """D(x) = sum a x^2 has the gradient 2 a x."""
    images, a = RNG.normal(size=(5, 4, 4, 3)), RNG.normal(size=(4, 4, 3))
    penalty = penalties.r1(lambda x: jnp.sum(a * x**2, axis=(1, 2, 3)), images, gamma=3.0)
    np.testing.assert_allclose(penalty, 1.5 * np.mean(np.sum((2 * a * images) ** 2, axis=(1, 2, 3))), rtol=1e-12)


class TorchCritic(torch.nn.Module):
    """A small network whose logit is a smooth function of the image, with a transcription in ``critic``."""

    def __init__(self, rng):
        super().__init__()
        self.inner = torch.nn.Parameter(torch.from_numpy(rng.normal(size=(48, 5))))
        self.outer = torch.nn.Parameter(torch.from_numpy(rng.normal(size=5)))

    def forward(self, images):
        return torch.tanh(images.flatten(1) @ self.inner) @ self.outer


def critic(params, images):
    inner, outer = params
    return jnp.tanh(images.reshape(len(images), -1) @ inner) @ outer


def test_relativistic_pairing_with_r1_and_r2_is_pytorchs():
    """Compare losses, penalties, and the gradient of the discriminator's loss, which contains the gradient of the images."""
    rng, gamma = np.random.default_rng(3), 0.7
    network, (x, y) = TorchCritic(rng), rng.normal(size=(2, 6, 4, 4, 3))
    real, fake = (torch.from_numpy(images).requires_grad_(True) for images in (x, y))
    real_logits, fake_logits = network(real), network(fake)

    def penalty(images, logits):
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        return gamma / 2 * gradient.square().sum((1, 2, 3)).mean()

    r1, r2 = penalty(real, real_logits), penalty(fake, fake_logits)
    adversarial = torch.nn.functional.softplus(fake_logits - real_logits).mean()
    generator = torch.nn.functional.softplus(real_logits - fake_logits).mean()
    (adversarial + r1 + r2).backward()

    def total(params):
        def discriminator(images):
            return critic(params, images)

        loss = losses.RELATIVISTIC.discriminator(discriminator(x), discriminator(y))
        parts = loss, penalties.r1(discriminator, x, gamma), penalties.gradient_penalty(discriminator, y, gamma)
        return sum(parts), (*parts, losses.RELATIVISTIC.generator(discriminator(x), discriminator(y)))

    params = network.inner.detach().numpy(), network.outer.detach().numpy()
    (_, values), gradients = jax.value_and_grad(total, has_aux=True)(params)
    for value, expected in zip(values, (adversarial, r1, r2, generator), strict=True):
        np.testing.assert_allclose(value, expected.item(), rtol=1e-12)
    for gradient, p in zip(gradients, network.parameters(), strict=True):
        np.testing.assert_allclose(gradient, p.grad.numpy(), rtol=1e-9, atol=1e-12)
    logits, _ = penalties.logits_and_squared_gradients(lambda images: critic(params, images), x)
    np.testing.assert_allclose(logits, real_logits.detach().numpy(), rtol=1e-12)


def test_a_pairing_loss_compares_only_pairs():
    """A constant added to all logits changes nothing; at equal logits both losses are log 2."""
    real, fake = RNG.normal(size=(2, 9))
    for loss in losses.RELATIVISTIC:
        np.testing.assert_allclose(loss(real + 100, fake + 100), loss(real, fake), rtol=1e-12)
        np.testing.assert_allclose(loss(real, real), np.log(2), rtol=1e-12)


IMAGES = RNG.uniform(-1, 1, (3, 7, 9, 3))


def test_color():
    numbers = np.array([-0.5, 0.1, 0.4])
    for i, (image, r) in enumerate(zip(IMAGES, numbers, strict=True)):
        np.testing.assert_allclose(augment.brightness(IMAGES, numbers)[i], image + r)
        grey = image.mean(2, keepdims=True)
        np.testing.assert_allclose(augment.saturation(IMAGES, numbers)[i], grey + r * (image - grey))
        np.testing.assert_allclose(augment.contrast(IMAGES, numbers)[i], image.mean() + r * (image - image.mean()))


def test_translation_moves_pixels_and_fills_with_zeros():
    shifts = np.array([[0, 0], [2, -1], [-7, 3]])
    got = augment.translation(IMAGES, shifts)
    for image, moved, (dy, dx) in zip(IMAGES, got, shifts, strict=True):
        expected = np.zeros_like(image)
        for y in range(7):
            for x in range(9):
                if 0 <= y + dy < 7 and 0 <= x + dx < 9:
                    expected[y + dy, x + dx] = image[y, x]
        np.testing.assert_array_equal(moved, expected)


def test_cutout_is_the_authors():
    """In the authors' code, indices beyond the border are clipped to it before the square is cut out."""
    centres = np.array([[0, 0], [3, 8], [6, 4]])
    got = augment.cutout(IMAGES, centres)
    for image, cut, centre in zip(IMAGES, got, centres, strict=True):
        rows, columns = (
            np.clip(np.arange(side) + c - side // 2, 0, n - 1)
            for n, side, c in zip((7, 9), (4, 5), centre, strict=True)
        )
        expected = image.copy()
        expected[np.ix_(rows, columns)] = 0
        np.testing.assert_array_equal(cut, expected)


def test_random_numbers_have_the_ranges_of_the_authors():
    n = 4000
    points = np.zeros((n, 16, 16, 1))
    points[:, 8, 8] = 1  # this pixel moves by the shift
    moved = np.argwhere(np.asarray(augment.augment(KEY, points, ['translation'])))[:, 1:3] - 8
    assert {tuple(m) for m in moved} == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}

    holes = np.argwhere(np.asarray(augment.augment(KEY, np.ones((n, 8, 8, 1)), ['cutout'])) == 0)
    first = np.flatnonzero(np.diff(holes[:, 0], prepend=-1))  # of each image
    assert len(first) == n
    ends = np.concatenate([extreme.reduceat(holes[:, 1:3], first) for extreme in (np.minimum, np.maximum)], 1)
    corners = {tuple(corner) for corner in ends.tolist()}
    spans = {(max(c - 2, 0), min(c + 1, 7)) for c in range(9)}  # centre 0 .. 8, 4 wide
    assert corners == {(y0, x0, y1, x1) for y0, y1 in spans for x0, x1 in spans}

    two = np.stack([np.full((n, 2, 2), v) for v in (0.0, 1.0, 0.2)], axis=-1)
    seen = np.asarray(augment.augment(KEY, two, ['color']))
    shift = seen.mean((1, 2, 3)) - two.mean((1, 2, 3))
    width = (seen.max(3) - seen.min(3))[:, 0, 0]  # saturation (0 .. 2) times contrast (1/2 .. 3/2)
    assert -0.5 <= shift.min() < -0.49 and 0.49 < shift.max() <= 0.5
    assert 0 <= width.min() < 0.01 and 2.7 < width.max() <= 3
    np.testing.assert_allclose(width.mean(), 1, atol=0.05)


def test_augmentations_compose_in_order_with_separate_keys():
    images = RNG.uniform(-1, 1, (4, 8, 8, 3))
    both = augment.augment(KEY, images, ['translation', 'cutout'])
    first = augment.augment(KEY, images, ['translation'])
    np.testing.assert_array_equal(both, augment.AUGMENTATIONS['cutout'](jax.random.fold_in(KEY, 1), first))
    np.testing.assert_array_equal(augment.augment(KEY, images, []), images)


@pytest.mark.parametrize('timesteps', [10, 57, 1000])
def test_noise_of_diffusion_gan(timesteps):
    betas = np.linspace(1e-4, 0.02, timesteps)
    expected = np.concatenate([[1], np.cumprod(1 - betas)])
    np.testing.assert_allclose(noise.alphas_cumprod(timesteps)[: timesteps + 1], expected, rtol=1e-12)

    normal, t = RNG.normal(size=IMAGES.shape), np.array([0, 3, timesteps])
    got = noise.add_noise(IMAGES, normal, t, timesteps, std=0.05)
    for i in range(3):
        a = expected[t[i]]
        np.testing.assert_allclose(got[i], np.sqrt(a) * IMAGES[i] + np.sqrt(1 - a) * 0.05 * normal[i], atol=1e-14)


def test_times_follow_the_priority_distribution():
    """Half are at 0 and t in 1 .. T is in proportion to t - 1; every frequency is within five standard errors."""
    n, timesteps = 200_000, 10
    t = np.asarray(noise.sample_times(KEY, n, jnp.int32(timesteps)))
    expected = np.concatenate([[0.5], 0.5 * np.arange(timesteps) / np.arange(timesteps).sum()])
    counts = np.bincount(t, minlength=timesteps + 1)
    assert len(counts) == timesteps + 1
    assert (abs(counts / n - expected) <= 5 * np.sqrt(expected * (1 - expected) / n)).all()
    assert 990 < noise.sample_times(KEY, n, jnp.int32(1000)).max() <= 1000


def test_the_length_of_the_noise_follows_the_signs():
    assert noise.num_timesteps(0.0) == 10 and noise.num_timesteps(1.0) == 1000 and noise.num_timesteps(0.5) == 505

    def adapt(strength, signs):
        return noise.adapt(strength, signs, 0.6, num_images=256, images_to_full=1000)

    np.testing.assert_allclose(adapt(0.2, 0.9), 0.456)
    np.testing.assert_allclose(adapt(0.3, 0.5), 0.044)
    assert adapt(0.2, 0.5) == 0 and adapt(0.9, 0.7) == 1
    assert adapt(0.4, 0.6) == 0.4
