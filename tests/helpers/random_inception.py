"""Random weights for the FID Inception network, and torch-fidelity's metrics with them.

``python -m tests.helpers.random_inception``, where torch-fidelity is installed, prints ``TORCH_FIDELITY``.
"""

import functools
import tempfile
import zlib

import jax
import numpy as np
import torch

from jaxgen.apps.twins import torchvision_operators
from jaxgen.data import load
from jaxgen.models.published import inception

COUNT = 40  # images in each set
# What running this file printed with torch-fidelity 0.4.0 and PyTorch 2.13.0, for the two sets.
TORCH_FIDELITY = {
    'fid': 625.7066801134066,
    'kid': 1826.0553125,
    'inception_score': 1.0113182939919918,
    'inception_score_std': 0.006835130451673626,
    'precision': 0.475,
    'recall': 0.05,
}


def state() -> dict[str, torch.Tensor]:
    """Return fixed tensors with the published names, scaled such that activations stay near one in all layers."""
    return dict(_tensors())


@functools.cache
def _tensors() -> dict[str, torch.Tensor]:
    image = np.zeros((1, inception.IMAGE_SIZE, inception.IMAGE_SIZE, 3), np.float32)
    params = jax.eval_shape(inception.Inception().init, jax.random.key(0), image)['params']
    tensors = {}
    for layer, shapes in params.items():
        shape = shapes['kernel'].shape
        rng = np.random.default_rng(zlib.crc32(layer.encode()))
        weight = rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
        if layer == 'fc':
            tensors['fc.weight'] = weight.T
            tensors['fc.bias'] = np.zeros(inception.CLASSES)  # not used: the logits of FID's network have none
            continue
        weight = weight.reshape((1,) * (4 - weight.ndim) + weight.shape)
        tensors[f'{layer}.conv.weight'] = weight.transpose(3, 2, 0, 1)
        for part, low, high in (
            ('weight', 0.7, 1.4),
            ('bias', -0.2, 0.2),
            ('running_mean', -0.2, 0.2),
            ('running_var', 0.7, 1.4),
        ):
            tensors[f'{layer}.bn.{part}'] = rng.uniform(low, high, shape[-1])
    return {name: torch.from_numpy(np.ascontiguousarray(value, np.float32)) for name, value in tensors.items()}


def two_sets() -> tuple[np.ndarray, np.ndarray]:
    """Return two sets of real digits in different colours, uint8 ``[COUNT, 8, 8, 3]`` each."""
    train, test = (load('digits', split).images[:COUNT] for split in ('train', 'test'))
    tint = np.array([1.0, 0.8, 0.6])
    return (train * tint).astype(np.uint8), (test * tint[::-1]).astype(np.uint8)


class Images(torch.utils.data.Dataset):
    """Images in the form that torch-fidelity takes, uint8 ``[C, H, W]`` each."""

    def __init__(self, images: np.ndarray):
        self.images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.images[i]


if __name__ == '__main__':
    torchvision_operators.declare()
    import torch_fidelity

    fake, real = map(Images, two_sets())
    with tempfile.NamedTemporaryFile(suffix='.pth') as file:
        torch.save(state(), file.name)
        options = {
            'feature_extractor': 'inception-v3-compat',
            'feature_extractor_weights_path': file.name,
            'cuda': False,
            'cache': False,
            'verbose': False,
        }
        wanted = {
            'fid': True,
            'kid': True,
            'kid_subset_size': COUNT,
            'isc': True,
            'prc': True,
            'feature_layer_prc': '2048',
        }
        print(torch_fidelity.calculate_metrics(input1=fake, input2=real, **options, **wanted))
