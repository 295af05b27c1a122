"""What PyTorch does in a benchmark. Nothing here needs JAX: it may run in an environment without."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from jaxgen.apps.benchmark.measure import MATRIX, Subject, attention_shape, examples, measure
from jaxgen.apps.benchmark.twins import TWINS, Way

Spec = Mapping[str, Any]

FEATURES_BATCH_SIZE = 50  # pytorch-fid's own
GRAPH_WARM_UP = 3  # steps before one is captured


def run(spec: Spec, start: float) -> dict[str, Any]:
    """The result of a spec of ``benchmark.py``; ``{'refused': ...}`` where PyTorch cannot do this.

    Args:
      start: when the process began, as ``time.perf_counter`` has it.
    """
    config = json.loads(pathlib.Path(spec['config']).read_text())
    device = {'cpu': 'cpu', 'gpu': 'cuda'}[spec['platform']]
    if device == 'cuda' and not torch.cuda.is_available():
        return {'refused': 'this PyTorch has no backend for the GPU'}
    exact = config['benchmark']['precision'] == 'highest'
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not exact
    torch.backends.cudnn.benchmark = True
    if spec['case'] == 'check':
        return check(config, spec, Way(device))
    if spec['case'] == 'attention':
        return measure(attention(config, spec, device), config['benchmark']['seconds'], start)
    way = Way(device, bfloat16=spec['precision'] == 'bfloat16', **spec['options'])
    if way.cuda_graph and device != 'cuda':
        return {'refused': 'CUDA graphs need a GPU'}
    facts = {'versions': {'torch': torch.__version__}}
    subject = CASES[spec['case']](config, spec, way)
    return facts | measure(subject, config['benchmark']['seconds'], start)


def _synchronize(way: Way) -> None:
    if way.device == 'cuda':
        torch.cuda.synchronize()


def _subject(way: Way, do, facts: dict[str, Any]) -> Subject:
    """Of a function that does one unit of work."""

    def run(units: int) -> None:
        for _ in range(units):
            do()
        _synchronize(way)

    return Subject(run, facts, lambda: torch.cuda.max_memory_allocated() if way.device == 'cuda' else None)


def matmul(config: Mapping[str, Any], spec: Spec, way: Way) -> Subject:
    """Products of square matrices, one after the other."""
    side = MATRIX['cpu' if way.device == 'cpu' else 'accelerator']
    dtype = torch.bfloat16 if way.bfloat16 else torch.float32
    x = torch.randn(side, side, device=way.device).to(dtype) / side**0.5
    y = x.clone()
    return _subject(way, lambda: torch.matmul(x, y), {'flops': 2 * side**3})


def train(config: Mapping[str, Any], spec: Spec, way: Way) -> Subject:
    """Training steps on images that lie on the device."""
    twin, images, labels = _twin(config, spec, way)
    size, flip = config['data']['batch_size'], config['data']['random_flip']

    def step() -> None:
        rows = torch.randint(len(images), (size,), device=way.device)
        batch = images[rows].to(torch.float32) / 127.5 - 1
        if flip:
            mirrored = torch.rand(size, 1, 1, 1, device=way.device) < 0.5
            batch = torch.where(mirrored, batch.flip(-1), batch)
        twin.step(batch, labels[rows], **twin.draw(size))

    return _subject(way, _captured(step) if way.cuda_graph else step, {'images': size, 'steps': 1})


def _captured(step: Callable[[], None]) -> Callable[[], None]:
    """Return the replay of a step that was captured as a CUDA graph, after a few steps that warm up its libraries."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(GRAPH_WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def attention(config: Mapping[str, Any], spec: Spec, device: str) -> Subject:
    """Attention and its gradients by torch's scaled_dot_product_attention, in bfloat16."""
    shape = attention_shape(config['data']['batch_size'], spec['options']['tokens'])
    n, t, heads, d = shape
    query, key, value, weights = (torch.randn(n, heads, t, d, device=device, dtype=torch.bfloat16) for _ in range(4))
    inputs = [x.requires_grad_() for x in (query, key, value)]

    def step() -> None:
        torch.autograd.grad(functional.scaled_dot_product_attention(*inputs), inputs, weights)

    return _subject(Way(device), step, {'images': n, 'versions': {'torch': torch.__version__}})


def check(config: Mapping[str, Any], spec: Spec, way: Way) -> dict[str, Any]:
    """How many ``parameters`` the twin has, and the ``losses`` of its first step on the example, without dropout."""
    twin, _, _ = _twin(config, spec, way)
    twin.without_dropout()
    with np.load(pathlib.Path(spec['folder'], 'example.npz')) as example:
        losses = twin.step(**from_example(example, way))
    return {'parameters': twin.parameters(), 'losses': {name: float(loss) for name, loss in losses.items()}}


def from_example(example: Mapping[str, np.ndarray], way: Way) -> dict[str, torch.Tensor]:
    """The arguments of a twin's step, of arrays whose images are ``[N, H, W, C]``."""
    tensors = {name: torch.from_numpy(np.array(example[name])) for name in example}
    tensors = {name: x.permute(0, 3, 1, 2) if x.ndim == 4 else x for name, x in tensors.items()}
    return {
        name: x.contiguous().to(way.device, x.dtype if x.is_floating_point() else torch.long)
        for name, x in tensors.items()
    }


def sample(config: Mapping[str, Any], spec: Spec, way: Way) -> Subject:
    """Batches of ``config.sample.batch_size`` images, brought to the host as bytes."""
    twin, _, labels = _twin(config, spec, way)
    size = config['sample']['batch_size']

    def draw() -> None:
        images = twin.sample(size, labels[:size])
        ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu()

    return _subject(way, draw, {'images': size})


def features(config: Mapping[str, Any], spec: Spec, way: Way) -> Subject:
    """pytorch-fid's network on batches of images in memory, with its own resize."""
    from pytorch_fid import inception

    if path := config['evaluation']['inception_weights']:
        inception.load_state_dict_from_url = lambda *args, **kwargs: torch.load(path, weights_only=True)
    network = way.ready(inception.InceptionV3([3]).eval())
    stored = torch.from_numpy(_examples(spec)[0][:FEATURES_BATCH_SIZE])

    @torch.inference_mode()
    def look() -> None:
        images = stored.to(way.device).permute(0, 3, 1, 2).to(torch.float32) / 255
        network(images.expand(-1, 3, -1, -1).contiguous(memory_format=way.layout))[0].flatten(1).cpu()

    return _subject(way, look, {'images': len(stored)})


class _Examples(Dataset):
    """One image at a time, as ``ToTensor``, ``Normalize`` and ``RandomHorizontalFlip`` make it."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, flip: bool):
        self._images, self._labels, self._flip = images, labels, flip

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        image = torch.from_numpy(self._images[i]).permute(2, 0, 1).to(torch.float32) / 127.5 - 1
        if self._flip and torch.rand(()) < 0.5:
            image = image.flip(-1)
        return image, int(self._labels[i])


def data(config: Mapping[str, Any], spec: Spec, way: Way) -> Subject:
    """Batches of a ``DataLoader`` with a worker a core, put on the device."""
    size = config['data']['batch_size']
    dataset = _Examples(*_examples(spec), config['data']['random_flip'])
    loader = DataLoader(
        dataset, size, shuffle=True, drop_last=True, num_workers=os.cpu_count() or 1, persistent_workers=True
    )
    batches = _for_ever(loader)

    def load() -> None:
        for x in next(batches):
            x.to(way.device)

    return _subject(way, load, {'images': size})


def _for_ever(loader: DataLoader) -> Iterator[list[torch.Tensor]]:
    while True:
        yield from loader


def _twin(config: Mapping[str, Any], spec: Spec, way: Way) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """The twin, and resident images ``[N, C, H, W]`` and labels."""
    images, labels = (torch.from_numpy(x).to(way.device) for x in _examples(spec))
    images = images.permute(0, 3, 1, 2).contiguous(memory_format=way.layout)
    return TWINS[config['family']](pathlib.Path(spec['folder']), config, way), images, labels.long()


def _examples(spec: Spec) -> tuple[np.ndarray, np.ndarray]:
    return examples(tuple(spec['image_shape']), spec['num_classes'])


CASES = {'matmul': matmul, 'train': train, 'sample': sample, 'features': features, 'data': data}
