"""Check the loss that a page of results quotes against its closed form for Gaussian images."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np

from docs.results import denoising_loss
from docs.results.denoising_loss import SIGMA_DATA, losses


def test_the_best_denoiser_of_gaussian_images_has_loss_1():
    images = SIGMA_DATA * jax.random.normal(jax.random.key(1), (400, 8, 8, 3))

    def predictor(variables, labels, *, clip):
        share = variables['params'] / (1 + labels[0])  # 1 for the class 0, so that the wrong class would show
        return lambda x, level: types.SimpleNamespace(mean=share * x * SIGMA_DATA**2 / (SIGMA_DATA**2 + level.sigma**2))

    model = types.SimpleNamespace(params=jnp.ones(()), method=types.SimpleNamespace(predictor=predictor))
    np.testing.assert_allclose(losses(model, images, jnp.zeros(400, int)), 1, atol=0.01)
    # E |x0 - D(x) / 2|^2 = sd^2 (1 - 3/4 sd^2 / (sd^2 + sigma^2)), from which the loss at each noise level follows.
    found = losses(model, images, jnp.ones(400, int))
    sigma = np.array([0.3, 1.0, 2.0, 4.0, 8.0, 16.0])
    ratio = SIGMA_DATA**2 / (SIGMA_DATA**2 + sigma**2)
    np.testing.assert_allclose(found, (1 - 0.75 * ratio) / (1 - ratio), rtol=0.01)


def test_the_losses_of_each_run_are_stored(tmp_path, monkeypatch):
    found = {'runs/a': 0.25, 'runs/b': 0.5}
    monkeypatch.setattr(
        denoising_loss,
        'load',
        lambda *_: types.SimpleNamespace(images=np.zeros((2, 8, 8, 3), np.uint8), labels=np.zeros(2)),
    )
    monkeypatch.setattr(denoising_loss.jaxgen, 'load', lambda run: types.SimpleNamespace(step=7, loss=found[run]))
    monkeypatch.setattr(denoising_loss, 'losses', lambda model, *_: np.full(6, model.loss, np.float32))
    denoising_loss.main(str(tmp_path / 'loss.json'), list(found))
    stored = json.loads((tmp_path / 'loss.json').read_text())
    assert [(row['run'], row['step'], set(row['loss'].values())) for row in stored] == [
        ('a', 7, {0.25}),
        ('b', 7, {0.5}),
    ]
