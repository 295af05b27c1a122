"""Classifier-free guidance and autoguidance against their papers' formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.diffusion.guidance import Guidance, rescale_contrast
from jaxgen.diffusion.levels import Level
from jaxgen.diffusion.predictions import Prediction

RNG = np.random.default_rng(0)
X0, NOISE = RNG.normal(size=(2, 5, 2, 2, 1)).astype(np.float32)
LABELS, NULL_LABEL = jnp.array([5, 7]), 10


def level(ratio, alpha=1.0):
    return Level(jnp.asarray(alpha), jnp.asarray(alpha * ratio), 0)


@pytest.mark.parametrize('alpha', [1.0, 0.25])
def test_guidance_adds_what_the_class_adds_within_its_interval(alpha):
    """The interval is one of sigma / alpha: neither end is compared with sigma alone."""

    def conditional(x, level, labels):
        return Prediction(x + labels.reshape(-1, 1).astype(x.dtype))

    predict = Guidance(scale=3.0, low=0.5, high=2.0)(conditional, LABELS, NULL_LABEL)
    guided = 1 + 10 + 3 * (LABELS - 10)
    for ratio, expected in ((0.4, 1 + LABELS), (0.6, guided), (1.0, guided), (1.9, guided), (2.5, 1 + LABELS)):
        got = predict(jnp.ones((2, 4)), level(ratio, alpha))
        np.testing.assert_allclose(got.mean[:, 0], expected)


def test_guidance_calls_the_network_once_for_both_estimates():
    asked = []

    def conditional(x, level, labels):
        asked.append(labels.tolist())
        return Prediction(x, 2 * x)

    predict = Guidance(scale=3.0, low=0.5)(conditional, LABELS, NULL_LABEL)
    with jax.disable_jit():  # only one branch of the condition runs
        for sigma in (1.0, 0.4):
            assert predict(jnp.ones((2, 4)), level(sigma)).variance_fraction.shape == (2, 4)
    assert asked == [[5, 7, 10, 10], [5, 7]]


def test_the_variance_is_that_of_the_conditional_prediction():
    def conditional(x, level, labels):
        return Prediction(x, x * labels.reshape(-1, 1))

    got = Guidance(scale=3.0)(conditional, LABELS, NULL_LABEL)(jnp.ones((2, 4)), level(1.0))
    np.testing.assert_array_equal(got.variance_fraction[:, 0], LABELS)


@pytest.mark.parametrize('phi', [0.0, 0.7, 1.0])
def test_rescaling_is_that_of_its_paper(phi):
    """Lin et al. 2023, equations 15 and 16, image by image."""
    guided, positive = X0 * np.arange(1, 6).reshape(-1, 1, 1, 1) + 0.5, NOISE
    whole = [g * p.std() / g.std() for g, p in zip(guided, positive, strict=True)]
    got = rescale_contrast(jnp.asarray(guided), jnp.asarray(positive), phi)
    np.testing.assert_allclose(got, phi * np.array(whole) + (1 - phi) * guided, rtol=1e-5)

    def conditional(x, level, labels):
        return Prediction(x * labels.reshape(-1, 1))

    x = np.arange(8.0).reshape(2, 4)
    got = Guidance(scale=3.0, rescale=phi)(conditional, LABELS, NULL_LABEL)(jnp.asarray(x), Level(1.0, 1.0, 0))
    with_class, without_class = x * np.array([[5], [7]]), 10 * x
    guided = without_class + 3 * (with_class - without_class)
    share = phi * with_class.std(1, keepdims=True) / guided.std(1, keepdims=True) + 1 - phi
    np.testing.assert_allclose(got.mean, guided * share, rtol=1e-5)


def by_label(x, level, labels):
    return Prediction(x + labels.reshape(-1, 1).astype(x.dtype), 3 * x)


def worse(x, level, labels):
    return Prediction(0.25 * x + 2 * labels.reshape(-1, 1).astype(x.dtype))


@pytest.mark.parametrize('scale', [0.5, 1.0, 2.5])
def test_autoguidance_is_that_of_its_paper(scale):
    """Karras et al. 2024 (autoguidance): D_0 + w (D_1 - D_0)."""
    x = np.arange(8.0, dtype=np.float32).reshape(2, 4)
    got = Guidance(guide_scale=scale)(by_label, LABELS, guide=worse)(jnp.asarray(x), level(1.0))
    model, guide = by_label(x, None, LABELS).mean, worse(x, None, LABELS).mean
    np.testing.assert_allclose(got.mean, guide + scale * (model - guide), rtol=1e-5)
    np.testing.assert_allclose(got.variance_fraction, 3 * x)


def test_both_kinds_of_guidance_add_up_within_the_interval():
    x = jnp.ones((2, 4))
    guidance = Guidance(scale=3.0, guide_scale=1.5, low=0.5, high=2.0)
    predict = guidance(by_label, LABELS, NULL_LABEL, worse)
    own, without_class, guide = 1 + LABELS, 1 + NULL_LABEL, 0.25 + 2 * LABELS
    guided = own + 2 * (own - without_class) + 0.5 * (own - guide)
    for ratio, expected in ((0.4, own), (1.0, guided), (2.5, own)):
        np.testing.assert_allclose(predict(x, level(ratio)).mean[:, 0], expected, rtol=1e-6)


def test_a_guide_that_is_the_model_changes_nothing():
    predict = Guidance(guide_scale=4.0)(by_label, LABELS, guide=by_label)
    np.testing.assert_array_equal(
        predict(jnp.asarray(X0[:2, 0, 0]), level(1.0)).mean, by_label(X0[:2, 0, 0], None, LABELS).mean
    )
