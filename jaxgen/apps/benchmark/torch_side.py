"""The cases of a benchmark in PyTorch. Nothing here needs JAX, so they can run in an environment without it."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from jaxgen.apps.benchmark.measure import MATRIX, Subject, attention_shape, examples, measure
from jaxgen.apps.twins import TWINS, AnyTwin, ConfigTree, Execution, torchvision_operators
from jaxgen.types import Fields, JsonObject

Spec = Fields  # the description of a measurement, written by processes.py

FEATURES_BATCH_SIZE = 50  # the default of pytorch-fid
GRAPH_WARM_UP = 3  # steps before a step is captured as a CUDA graph


def run(spec: Spec, start: float) -> JsonObject:
    """Run the measurement that a spec of ``processes.py`` describes.

    Args:
      spec: the variant, and the files of the config and of the twin.
      start: the value of ``time.perf_counter`` when the process began.

    Returns:
      The result of ``measure`` or ``check``; ``{'refused': ...}`` if PyTorch cannot do this.
    """
    config = json.loads(pathlib.Path(spec['config']).read_text())
    device = {'cpu': 'cpu', 'gpu': 'cuda'}[spec['platform']]
    if device == 'cuda' and not torch.cuda.is_available():
        return {'refused': 'this PyTorch has no backend for the GPU'}
    exact = config['benchmark']['precision'] == 'highest'
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not exact
    torch.backends.cudnn.benchmark = True
    if spec['case'] == 'check':
        return check(config, spec, Execution(device))
    if spec['case'] == 'attention':
        return measure(attention(config, spec, device), config['benchmark']['seconds'], start)
    execution = Execution(device, bfloat16=spec['precision'] == 'bfloat16', **spec['options'])
    if execution.cuda_graph and device != 'cuda':
        return {'refused': 'CUDA graphs need a GPU'}
    facts = {'versions': {'torch': torch.__version__}}
    subject = CASES[spec['case']](config, spec, execution)
    return facts | measure(subject, config['benchmark']['seconds'], start)


def _synchronize(execution: Execution) -> None:
    if execution.device == 'cuda':
        torch.cuda.synchronize()


def _subject(execution: Execution, do: Callable[[], object], facts: JsonObject) -> Subject:
    """Return the subject for a function that does one unit of work."""

    def run(units: int) -> None:
        for _ in range(units):
            do()
        _synchronize(execution)

    return Subject(run, facts, lambda: torch.cuda.max_memory_allocated() if execution.device == 'cuda' else None)


def matmul(config: ConfigTree, spec: Spec, execution: Execution) -> Subject:
    """Prepare products of square matrices, one after the other."""
    side = MATRIX['cpu' if execution.device == 'cpu' else 'accelerator']
    dtype = torch.bfloat16 if execution.bfloat16 else torch.float32
    x = torch.randn(side, side, device=execution.device).to(dtype) / side**0.5
    y = x.clone()
    return _subject(execution, lambda: torch.matmul(x, y), {'flops': 2 * side**3})


def train(config: ConfigTree, spec: Spec, execution: Execution) -> Subject:
    """Prepare training steps on images that are kept on the device."""
    twin, images, labels = _twin(config, spec, execution)
    size, flip = config['data']['batch_size'], config['data']['random_flip']

    def step() -> None:
        rows = torch.randint(len(images), (size,), device=execution.device)
        batch = images[rows].to(torch.float32) / 127.5 - 1
        if flip:
            mirrored = torch.rand(size, 1, 1, 1, device=execution.device) < 0.5
            batch = torch.where(mirrored, batch.flip(-1), batch)
        twin.step(batch, labels[rows], **twin.random_inputs(size))

    return _subject(execution, _captured(step) if execution.cuda_graph else step, {'images': size, 'steps': 1})


def _captured(step: Callable[[], None]) -> Callable[[], None]:
    """Capture a step as a CUDA graph, after a few steps that warm up its libraries, and return the replay of the graph."""
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


def attention(config: ConfigTree, spec: Spec, device: str) -> Subject:
    """Prepare attention and its gradients in bfloat16, by torch's scaled_dot_product_attention."""
    shape = attention_shape(config['data']['batch_size'], spec['options']['tokens'])
    n, t, heads, d = shape
    query, key, value, weights = (torch.randn(n, heads, t, d, device=device, dtype=torch.bfloat16) for _ in range(4))
    inputs = [x.requires_grad_() for x in (query, key, value)]

    def step() -> None:
        torch.autograd.grad(functional.scaled_dot_product_attention(query, key, value), inputs, weights)

    return _subject(Execution(device), step, {'images': n, 'versions': {'torch': torch.__version__}})


def check(config: ConfigTree, spec: Spec, execution: Execution) -> JsonObject:
    """Return the number of ``parameters`` of the twin, and the ``losses`` of its first step on the example without dropout."""
    twin, _, _ = _twin(config, spec, execution)
    twin.without_dropout()
    with np.load(pathlib.Path(spec['folder'], 'example.npz')) as example:
        losses = twin.step(**from_example(example, execution))
    return {'parameters': twin.parameters(), 'losses': {name: float(loss) for name, loss in losses.items()}}


def from_example(example: Mapping[str, np.ndarray], execution: Execution) -> dict[str, torch.Tensor]:
    """Return the arguments of a twin's step.

    Args:
      example: arrays by the names of the arguments, images as ``[N, H, W, C]``.
      execution: how PyTorch runs the twin.
    """
    tensors = {name: torch.from_numpy(np.array(example[name])) for name in example}
    tensors = {name: x.permute(0, 3, 1, 2) if x.ndim == 4 else x for name, x in tensors.items()}
    return {
        name: x.contiguous().to(execution.device, x.dtype if x.is_floating_point() else torch.long)
        for name, x in tensors.items()
    }


def sample(config: ConfigTree, spec: Spec, execution: Execution) -> Subject:
    """Prepare batches of ``config.sample.batch_size`` samples, copied to the host as bytes."""
    twin, _, labels = _twin(config, spec, execution)
    size = config['sample']['batch_size']

    def sample_batch() -> None:
        images = twin.sample(size, labels[:size])
        ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu()

    return _subject(execution, sample_batch, {'images': size})


def features(config: ConfigTree, spec: Spec, execution: Execution) -> Subject:
    """Prepare features of pytorch-fid's network for batches of images in memory, with its own resize."""
    torchvision_operators.declare()
    from pytorch_fid import inception

    if path := config['evaluation']['inception_weights']:
        inception.load_state_dict_from_url = lambda *args, **kwargs: torch.load(path, weights_only=True)
    network = execution.ready(inception.InceptionV3([3]).eval())
    stored = torch.from_numpy(_examples(spec)[0][:FEATURES_BATCH_SIZE])

    @torch.inference_mode()
    def compute_features() -> None:
        images = stored.to(execution.device).permute(0, 3, 1, 2).to(torch.float32) / 255
        network(images.expand(-1, 3, -1, -1).contiguous(memory_format=execution.layout))[0].flatten(1).cpu()

    return _subject(execution, compute_features, {'images': len(stored)})


class _Examples(Dataset):
    """A data set of single examples, transformed as by ``ToTensor``, ``Normalize`` and ``RandomHorizontalFlip``."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, flip: bool):
        self._images, self._labels, self._flip = images, labels, flip

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        image = torch.from_numpy(self._images[i]).permute(2, 0, 1).to(torch.float32) / 127.5 - 1
        if self._flip and torch.rand(()) < 0.5:
            image = image.flip(-1)
        return image, int(self._labels[i])


def data(config: ConfigTree, spec: Spec, execution: Execution) -> Subject:
    """Prepare batches of a ``DataLoader`` with one worker per core: in [-1, 1], mirrored at random, on the device."""
    batches = prepared_batches(config, spec, execution, workers=os.cpu_count() or 1)
    return _subject(execution, lambda: next(batches), {'images': config['data']['batch_size']})


def prepared_batches(
    config: ConfigTree, spec: Spec, execution: Execution, workers: int
) -> Iterator[list[torch.Tensor]]:
    """Yield batches of images and labels with the same work as ``jax_side.prepared_batches``."""
    dataset = _Examples(*_examples(spec), config['data']['random_flip'])
    loader = DataLoader(
        dataset,
        config['data']['batch_size'],
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    while True:
        for batch in loader:
            yield [x.to(execution.device) for x in batch]


def _twin(config: ConfigTree, spec: Spec, execution: Execution) -> tuple[AnyTwin, torch.Tensor, torch.Tensor]:
    """Return the twin, and images ``[N, C, H, W]`` and labels on the device."""
    images, labels = (torch.from_numpy(x).to(execution.device) for x in _examples(spec))
    images = images.permute(0, 3, 1, 2).contiguous(memory_format=execution.layout)
    return TWINS[config['family']](pathlib.Path(spec['folder']), config, execution), images, labels.long()


def _examples(spec: Spec) -> tuple[np.ndarray, np.ndarray]:
    return examples(tuple(spec['image_shape']), spec['num_classes'])


CASES = {'matmul': matmul, 'train': train, 'sample': sample, 'features': features, 'data': data}
