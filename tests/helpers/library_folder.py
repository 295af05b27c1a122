"""A folder in which the examples of the documentation run."""

import functools
import pathlib
import shutil
import tempfile

import torch

from jaxgen.models.published import inception_weights
from tests.helpers import random_inception

KEPT = tempfile.TemporaryDirectory(prefix='jaxgen-tests-')
TRAINED = pathlib.Path(__file__).parents[1] / 'old_runs/ddpm'


def furnish(folder, monkeypatch):
    """Work in ``folder`` with a small trained model, and with a random Inception where the published one is kept."""
    (folder / inception_weights.PUBLISHED.name).symlink_to(_inception())
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(folder))
    shutil.copytree(TRAINED, folder / 'pretrained/ddpm_cifar')
    monkeypatch.chdir(folder)


@functools.cache
def _inception():
    path = pathlib.Path(KEPT.name) / 'inception.pth'
    torch.save(random_inception.state(), path)
    return path
