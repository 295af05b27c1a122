"""What jaxgen does in a benchmark: the very functions that train, sample and evaluate."""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxgen.apps import from_config
from jaxgen.apps.benchmark.describe import build, describe, flops
from jaxgen.apps.benchmark.measure import MATRIX, Subject, attention_shape, examples, measure
from jaxgen.apps.config import validate
from jaxgen.apps.devices import set_up
from jaxgen.apps.evaluate.evaluator import batch_size
from jaxgen.apps.stored_config import get_config
from jaxgen.data import Dataset, pipeline
from jaxgen.errors import UserError
from jaxgen.metrics.features import Extraction, inception_extractor
from jaxgen.models import layers
from jaxgen.runtime import memory
from jaxgen.runtime.mesh import batch_sharding, make_mesh
from jaxgen.runtime.random import root_key
from jaxgen.training.batches import stacked_batches
from jaxgen.training.state import start_on_mesh
from jaxgen.training.step import make_dispatch

RESIDENT = 4  # batches that lie on the device, taken in turn


def run(spec: Mapping[str, Any], start: float) -> dict[str, Any]:
    """The result of a spec of ``benchmark.py``; ``{'refused': ...}`` for what the user can mend.

    Args:
      start: when the process began, as ``time.perf_counter`` has it.
    """
    config = get_config(spec['config'])
    if spec['case'] != 'attention':
        config.update_from_flattened_dict(spec['options'])
    jax.config.update('jax_default_matmul_precision', config.benchmark.precision)
    try:
        validate(config)
        set_up(config)
        if spec['case'] == 'describe':
            return describe(config, pathlib.Path(spec['folder']))
        with jax.profiler.trace(spec['trace']) if spec['trace'] else contextlib.nullcontext():
            return measure(CASES[spec['case']](config, {**spec, 'start': start}), config.benchmark.seconds, start)
    except UserError as e:
        return {'refused': str(e)}
    except RuntimeError as e:  # jax.nn.dot_product_attention raises it where cuDNN is missing
        if spec['case'] != 'attention':
            raise
        return {'refused': ' '.join(str(e).split())[:200]}


def peak_memory() -> int | None:
    """Bytes on the first device; None where it does not say."""
    statistics = jax.devices()[0].memory_stats()
    return statistics.get('peak_bytes_in_use') if statistics else None


def matmul(config: ConfigDict, spec: Mapping[str, Any]) -> Subject:
    """Products of square matrices, one after the other."""
    side = MATRIX['cpu' if jax.default_backend() == 'cpu' else 'accelerator']
    x = jax.random.normal(jax.random.key(0), (side, side), spec['precision']) / side**0.5
    product = jax.jit(jnp.matmul)

    def run(units: int) -> None:
        y = x
        for _ in range(units):
            y = product(x, y)
        y.block_until_ready()

    return Subject(run, {'flops': 2 * side**3}, peak_memory)


class Stages:
    """The seconds that each stage of a start took, in order.

    Args:
      start: when the process began, as ``time.perf_counter`` has it.
    """

    def __init__(self, start: float):
        self.seconds: dict[str, float] = {}
        self._last = start

    def end(self, name: str) -> None:
        """End a stage; the next one begins."""
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def train(config: ConfigDict, spec: Mapping[str, Any]) -> Subject:
    """Dispatches of the training loop on resident batches; each is ``config.train.steps_per_dispatch`` steps."""
    stages = Stages(spec.get('start', time.perf_counter()))
    stages.end('imports')
    family, labelled = build(config)
    mesh, key = make_mesh(config.mesh.fsdp), root_key(config.seed, config.train.prng)
    size, k = config.data.batch_size, config.train.steps_per_dispatch
    template, state = start_on_mesh(family, key, mesh)
    jax.block_until_ready(state)
    stages.end('initial state')
    dataset = Dataset(*examples(family.image_shape, len(labelled)), labelled)
    resident = [
        jax.device_put(stacked_batches(dataset, 0, range(i * k, (i + 1) * k), size), batch_sharding(mesh, axis=1))
        for i in range(RESIDENT)
    ]
    batches = itertools.cycle(resident)
    stages.end('data')
    dispatch = make_dispatch(family, key, mesh, template, random_flip=config.data.random_flip)
    lowered = dispatch.lower(template, resident[0])
    stages.end('tracing and lowering')
    with memory.compiling():
        compiled = lowered.compile()
    stages.end('compiling, or loading what was compiled')

    def run(units: int) -> None:
        nonlocal state
        for _ in range(units):
            state, done = compiled(state, next(batches))
        done.block_until_ready()

    run(1)
    stages.end('first step')
    return Subject(run, {'images': size * k, 'steps': k, 'stages': stages.seconds}, peak_memory)


def sample(config: ConfigDict, spec: Mapping[str, Any]) -> Subject:
    """Batches of ``config.sample.batch_size`` images, brought to the host."""
    family, labelled = build(config)
    model = jax.jit(family.init)(root_key(config.seed, config.train.prng))
    config.sample.ema = False
    sampler = from_config.sample_pipeline(config, family, make_mesh(config.mesh.fsdp), model, labelled)
    size = config.sample.batch_size

    def run(units: int) -> None:
        for _ in sampler.batches(model, units * size):
            pass

    return Subject(run, {'images': size, 'network_calls': family.sampling_protocol()['network_calls']}, peak_memory)


def features(config: ConfigDict, spec: Mapping[str, Any]) -> Subject:
    """Features of batches of ``evaluation.batch_size`` uint8 images, resized on the device, brought to the host."""
    family, _ = build(config)
    extractor = inception_extractor(config.evaluation)
    size = batch_size(config.evaluation)
    extraction = Extraction([extractor], make_mesh(config.mesh.fsdp), size)
    images = examples((*family.image_shape[:2], 3), 1)[0][:size]

    def run(units: int) -> None:
        extraction([images] * units)

    work = flops(extractor.apply, extractor.variables, images)
    return Subject(run, {'images': size, 'flops': work}, peak_memory)


def attention(config: ConfigDict, spec: Mapping[str, Any]) -> Subject:
    """Attention and its gradients in bfloat16: that of the networks, or jax.nn.dot_product_attention by cuDNN."""
    shape = attention_shape(config.data.batch_size, spec['options']['tokens'])
    n, t, heads, d = shape
    *inputs, weights = (jax.random.normal(key, shape, jnp.bfloat16) for key in jax.random.split(jax.random.key(0), 4))

    def own(query, key, value):
        flat = (x.reshape(n, t, heads * d) for x in (query, key, value))
        return layers.attention(*flat, heads).reshape(shape)

    def by_cudnn(query, key, value):
        return jax.nn.dot_product_attention(query, key, value, implementation='cudnn')

    attend = {'own': own, 'cudnn': by_cudnn}[spec['options']['attention']]

    @jax.jit
    def step(*inputs):
        return jax.vjp(attend, *inputs)[1](weights)

    def run(units: int) -> None:
        for _ in range(units):
            done = step(*inputs)
        jax.block_until_ready(done)

    return Subject(run, {'images': n}, peak_memory)


def data(config: ConfigDict, spec: Mapping[str, Any]) -> Subject:
    """Batches as training has them from memory, put on the devices."""
    family, labelled = build(config)
    size, sharding = config.data.batch_size, batch_sharding(make_mesh(config.mesh.fsdp))
    dataset = Dataset(*examples(family.image_shape, len(labelled)), labelled)
    batches = pipeline.Prefetcher(
        itertools.count(), lambda step: jax.device_put(pipeline.batch(dataset, 0, step, size), sharding)
    )

    def run(units: int) -> None:
        for _ in range(units):
            batch = next(batches)
        jax.block_until_ready(batch)

    return Subject(run, {'images': size}, peak_memory)


CASES = {
    'matmul': matmul,
    'train': train,
    'sample': sample,
    'features': features,
    'data': data,
    'attention': attention,
}
