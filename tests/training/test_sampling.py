"""The parts of sampling: labels in turn, keys for each image, and conversions of pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.diffusion.samplers.base import step_noise
from jaxgen.errors import UserError
from jaxgen.io.images import from_uint8, to_uint8
from jaxgen.runtime.mesh import make_mesh
from jaxgen.runtime.random import image_keys, normal_of_each
from jaxgen.training.sampling import SamplePipeline, chosen_classes, cycled_labels

NAMES = ('cat', 'dog', 'horse')


def test_labels_go_through_the_classes_in_turn():
    np.testing.assert_array_equal(cycled_labels((2, 0, 1), 0, 7), [2, 0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(cycled_labels((2, 0, 1), 4, 3), [0, 1, 2])
    assert cycled_labels(range(3), 0, 2).dtype == np.int32


def test_the_first_choice_that_names_classes_counts():
    assert chosen_classes(NAMES, ('horse', 'cat'), ('dog',)) == (2, 0)
    assert chosen_classes(NAMES, None, ('dog',)) == (1,)
    assert chosen_classes(NAMES, (), None) == (0, 1, 2)
    with pytest.raises(UserError, match="'hors' does not exist; did you mean horse"):
        chosen_classes(NAMES, ('hors',))


def test_the_key_of_an_image_depends_on_its_index_alone():
    key = jax.random.key(0)
    keys = image_keys(key, jnp.array([5, 2, 9]))
    assert keys[1] == jax.random.fold_in(key, 2) and keys[2] == jax.random.fold_in(key, 9)


@pytest.mark.parametrize('implementation', ['rbg', 'unsafe_rbg'])
def test_keys_whose_numbers_depend_on_the_batch_are_refused(implementation):
    key = jax.random.key(0, impl=implementation)
    with pytest.raises(ValueError, match=f'the generator {implementation} an image depends on the others'):
        image_keys(key, jnp.arange(2))
    for noise in (lambda keys: normal_of_each(keys, (3,)), lambda keys: step_noise(keys, 0, (3,))):
        with pytest.raises(ValueError, match=f'the generator {implementation} an image depends on the others'):
            noise(jax.random.split(key, 2))


def test_every_grey_level_is_found_again():
    grey = np.arange(256, dtype=np.uint8)
    assert from_uint8(grey).dtype == np.float32
    np.testing.assert_array_equal(to_uint8(from_uint8(grey)), grey)
    np.testing.assert_array_equal(jax.jit(lambda x: to_uint8(from_uint8(x)))(grey), grey)


def test_conversions_are_the_same_within_a_program():
    values = np.random.default_rng(0).uniform(-1.3, 1.3, 10_000).astype(np.float32)
    np.testing.assert_array_equal(jax.jit(to_uint8)(values), to_uint8(values))
    assert to_uint8(values).min() == 0 and to_uint8(values).max() == 255


class Noise:
    """A method whose images are noise around a level that its model and the label give."""

    def sampling_variables(self, model, key, ema):
        return model['ema' if ema else 'params']

    def sample(self, variables, keys, labels):
        noise = jax.vmap(lambda key: jax.random.uniform(key, (2, 2, 1), maxval=0.1))(keys)
        return variables + labels[:, None, None, None] / 10 + noise


def pipeline(**arguments):
    model = {'params': jnp.zeros(()), 'ema': jnp.ones(()) / 2}
    made = SamplePipeline(Noise(), make_mesh(), model, **{'classes': (0, 3), 'batch_size': 8, **arguments})
    return lambda num: made(model, num), made, model


def test_images_have_the_classes_in_turn_whatever_the_batch():
    sample, *_ = pipeline()
    images, labels = sample(20)
    np.testing.assert_array_equal(labels, [0, 3] * 10)
    assert (images[1::2].mean() - images[::2].mean()) / 127.5 == pytest.approx(0.3, abs=0.02)
    np.testing.assert_array_equal(pipeline(batch_size=16)[0](20)[0], images)
    np.testing.assert_array_equal(sample(3)[0], images[:3])


def test_the_average_is_sampled_unless_it_is_left_out():
    averaged, last = pipeline()[0](8)[0], pipeline(ema=False)[0](8)[0]
    np.testing.assert_allclose(averaged.astype(int) - last, 0.5 * 127.5, atol=1)


def test_streams_and_seeds_give_different_images():
    sample, made, model = pipeline()
    images = [sample(8)[0], made.reseeded(1)(model, 8)[0], pipeline(stream='evaluation')[0](8)[0]]
    assert all((a != b).mean() > 0.5 for a, b in zip(images, images[1:] + images[:1], strict=True))
    np.testing.assert_array_equal(made.reseeded(1).reseeded(0)(model, 8)[0], images[0])
    assert made.seed == 0


def test_other_classes_keep_the_random_numbers():
    sample, made, model = pipeline()
    images, labels = made.with_classes([3])(model, 4)
    np.testing.assert_array_equal(labels, [3] * 4)
    np.testing.assert_array_equal(images[1::2], sample(4)[0][1::2])
