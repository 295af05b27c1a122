"""The cases of a benchmark in jaxgen, which call the functions that train, sample and evaluate."""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import time

import jax
import jax.numpy as jnp

from jaxgen.apps.benchmark.describe import describe, flops
from jaxgen.apps.benchmark.measure import MATRIX, Subject, attention_shape, examples, measure
from jaxgen.apps.config import Config
from jaxgen.apps.devices import set_up
from jaxgen.apps.rules import validate
from jaxgen.apps.stored_config import read
from jaxgen.apps.trained import Trained
from jaxgen.apps.untrained import build
from jaxgen.data import Dataset, pipeline
from jaxgen.errors import UserError
from jaxgen.metrics.features import Extraction, default_batch_size, inception_extractor
from jaxgen.models import layers
from jaxgen.runtime import memory
from jaxgen.runtime.mesh import batch_sharding, make_mesh
from jaxgen.runtime.random import root_key
from jaxgen.training.batches import stacked_batches
from jaxgen.training.state import start_on_mesh
from jaxgen.training.step import make_dispatch, prepare_batch, step_keys
from jaxgen.types import Array, Fields, JsonObject

RESIDENT = 4  # batches that are kept on the device, and used in turn
SECTIONS = ('benchmark', 'evaluation')  # sections of the config, in addition to those of the model


def run(spec: Fields, start: float) -> JsonObject:
    """Run the measurement that a spec of ``processes.py`` describes.

    Args:
      spec: the variant, and the files of the config and of the twin.
      start: the value of ``time.perf_counter`` when the process began.

    Returns:
      The result of ``measure`` or ``describe``; ``{'refused': ...}`` for an error that the user can fix.
    """
    try:
        config = read(spec['config'], SECTIONS)
        if spec['case'] != 'attention':  # its options are not fields of the config
            config = config.replace(spec['options'])
        jax.config.update('jax_default_matmul_precision', config.benchmark.precision)
        validate(config)
        set_up(config)
        if spec['case'] == 'describe':
            return describe(config, pathlib.Path(spec['folder']))
        with jax.profiler.trace(spec['trace']) if spec['trace'] else contextlib.nullcontext():
            return measure(CASES[spec['case']](config, {**spec, 'start': start}), config.benchmark.seconds, start)
    except UserError as e:
        return {'refused': str(e)}
    except RuntimeError as e:  # jax.nn.dot_product_attention raises it if cuDNN is missing
        if spec['case'] != 'attention':
            raise
        return {'refused': ' '.join(str(e).split())[:200]}


def peak_memory() -> int | None:
    """Return the peak memory of the first device in bytes; None if it does not report it."""
    statistics = jax.devices()[0].memory_stats()
    return statistics.get('peak_bytes_in_use') if statistics else None


def matmul(config: Config, spec: Fields) -> Subject:
    """Prepare products of square matrices, one after the other."""
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
    """The stages of a start in order, with the seconds that each took.

    Args:
      start: the value of ``time.perf_counter`` when the process began.
    """

    def __init__(self, start: float):
        self.seconds: dict[str, float] = {}
        self._last = start

    def end(self, name: str) -> None:
        """End a stage, and begin the next one."""
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def train(config: Config, spec: Fields) -> Subject:
    """Prepare dispatches of the training loop on resident batches, each of ``config.train.steps_per_dispatch`` steps."""
    stages = Stages(spec['start'])
    stages.end('imports')
    method, class_names = build(config)
    mesh, key = make_mesh(config.mesh.fsdp), root_key(config.seed, config.train.prng)
    size, k = config.data.batch_size, config.train.steps_per_dispatch
    template, state = start_on_mesh(method, key, mesh)
    jax.block_until_ready(state)
    stages.end('initial state')
    dataset = Dataset(*examples(method.image_shape, len(class_names)), class_names)
    resident = [
        jax.device_put(stacked_batches(dataset, 0, range(i * k, (i + 1) * k), size), batch_sharding(mesh, axis=1))
        for i in range(RESIDENT)
    ]
    batches = itertools.cycle(resident)
    stages.end('data')
    dispatch = make_dispatch(method, key, mesh, template, random_flip=config.data.random_flip)
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


def sample(config: Config, spec: Fields) -> Subject:
    """Prepare batches of ``config.sample.batch_size`` samples, copied to the host."""
    config = config.replace({'sample.ema': False})
    method, class_names = build(config)
    model = jax.jit(method.init)(root_key(config.seed, config.train.prng))
    sampler = Trained(config, method, make_mesh(config.mesh.fsdp), 0, model, class_names).sampler()
    size = config.sample.batch_size

    def run(units: int) -> None:
        for _ in sampler.batches(model, units * size):
            pass

    return Subject(run, {'images': size, 'network_calls': method.sampling_protocol()['network_calls']}, peak_memory)


def features(config: Config, spec: Fields) -> Subject:
    """Prepare features of batches of ``evaluation.batch_size`` uint8 images, resized on the device and copied to the host."""
    method, _ = build(config)
    extractor = inception_extractor(config.evaluation.inception_weights, config.evaluation.resize)
    mesh = make_mesh(config.mesh.fsdp)
    size = config.evaluation.batch_size or default_batch_size(mesh)
    extraction = Extraction([extractor], mesh, size)
    images = examples((*method.image_shape[:2], 3), 1)[0][:size]

    def run(units: int) -> None:
        extraction([images] * units)

    work = flops(extractor.apply, extractor.variables, images)
    return Subject(run, {'images': size, 'flops': work}, peak_memory)


def attention(config: Config, spec: Fields) -> Subject:
    """Prepare attention and its gradients in bfloat16: jaxgen's own, or jax.nn.dot_product_attention with cuDNN."""
    shape = attention_shape(config.data.batch_size, spec['options']['tokens'])
    n, t, heads, d = shape
    *inputs, weights = (jax.random.normal(key, shape, jnp.bfloat16) for key in jax.random.split(jax.random.key(0), 4))

    def own(query: Array, key: Array, value: Array) -> Array:
        query, key, value = (x.reshape(n, t, heads * d) for x in (query, key, value))
        return layers.attention(query, key, value, heads).reshape(shape)

    def by_cudnn(query: Array, key: Array, value: Array) -> Array:
        return jax.nn.dot_product_attention(query, key, value, implementation='cudnn')

    attend = {'own': own, 'cudnn': by_cudnn}[spec['options']['attention']]

    @jax.jit
    def step(*inputs: Array) -> tuple[Array, ...]:
        return jax.vjp(attend, *inputs)[1](weights)

    def run(units: int) -> None:
        for _ in range(units):
            done = step(*inputs)
        jax.block_until_ready(done)

    return Subject(run, {'images': n}, peak_memory)


def data(config: Config, spec: Fields) -> Subject:
    """Prepare the batches of training: from memory, in [-1, 1], mirrored at random, on the devices."""
    batches = prepared_batches(config)

    def run(units: int) -> None:
        for _ in range(units):
            batch = next(batches)
        jax.block_until_ready(batch)

    return Subject(run, {'images': config.data.batch_size}, peak_memory)


def prepared_batches(config: Config) -> pipeline.Prefetcher:
    """Return an iterator over batches that does the same work as ``torch_side.prepared_batches``."""
    method, class_names = build(config)
    size, key = config.data.batch_size, root_key(config.seed, config.train.prng)
    sharding = batch_sharding(make_mesh(config.mesh.fsdp))
    dataset = Dataset(*examples(method.image_shape, len(class_names)), class_names)

    @jax.jit
    def prepare(batch: dict[str, Array], step: Array) -> dict[str, Array]:
        flip_key, _ = step_keys(key, step)
        return prepare_batch(batch, flip_key, config.data.random_flip)

    def load(step: int) -> dict[str, Array]:
        return prepare(jax.device_put(pipeline.batch(dataset, 0, step, size), sharding), step)

    return pipeline.Prefetcher(itertools.count(), load)


CASES = {
    'matmul': matmul,
    'train': train,
    'sample': sample,
    'features': features,
    'data': data,
    'attention': attention,
}
