"""A folder in which the examples of the documentation run."""

import pathlib
import shutil

import torch

from jaxgen.models.published import inception_weights
from tests.helpers import random_inception

TRAINED = pathlib.Path(__file__).parents[1] / 'old_runs/ddpm'


def furnish(folder, monkeypatch):
    """Work in ``folder`` with a small trained model, and with a random Inception where the published one is kept."""
    torch.save(random_inception.state(), folder / inception_weights.PUBLISHED.name)
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(folder))
    shutil.copytree(TRAINED, folder / 'pretrained/ddpm_cifar')
    monkeypatch.chdir(folder)
