"""``--mode=compile``: compile the training step and the sampler for a TPU slice without having one, and report estimates.

The compiler estimates memory and work. Times follow from these and the data sheets of the chips.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxgen.apps.compile import hlo
from jaxgen.apps.compile.chips import CHIPS, Chip
from jaxgen.apps.config import Config
from jaxgen.apps.rules import validate_devices
from jaxgen.apps.trained import Trained
from jaxgen.apps.untrained import build
from jaxgen.errors import UserError
from jaxgen.runtime.mesh import batch_sharding, make_mesh
from jaxgen.runtime.random import root_key
from jaxgen.training.state import initializer, state_template
from jaxgen.training.step import make_dispatch
from jaxgen.types import Fields, JsonObject

# Environment variables; without them libtpu looks for a TPU on this machine, and waits for a metadata server.
NO_TPU_LOOKUP = {'TPU_ACCELERATOR_TYPE': 'none', 'TPU_WORKER_HOSTNAMES': 'localhost', 'TPU_SKIP_MDS_QUERY': '1'}


def compile_for(config: Config) -> JsonObject:
    """Compile for the chips of ``config.compile.topology``.

    Returns:
      The report: the estimates of the training step and of the sampler under ``programs``, and the ``largest_batch`` if
      ``config.compile.largest_batch`` asks for it.

    Raises:
      UserError: if libtpu is missing or in use, there is no such topology, or a batch size is not a multiple of its chips.
    """
    jax.config.update('jax_platforms', 'cpu')
    topology = config.compile.topology
    devices = _devices(topology)
    validate_devices(config, len(devices))
    mesh = make_mesh(config.mesh.fsdp, devices)
    chip = CHIPS[topology.partition(':')[0]]
    report: JsonObject = {'topology': topology, 'devices': len(devices), 'estimate': True, 'programs': {}}
    for name, lower in PROGRAMS.items():
        if name == 'sample' and not build(config)[0].capabilities.samples:
            continue
        print(f'compiling {name} for {topology} ...', flush=True)
        report['programs'][name] = _described(lower(config, mesh), chip, len(devices))
    if config.compile.largest_batch:
        report['largest_batch'] = _largest_batch(config, mesh, chip, report['programs']['train'])
    return report


def _devices(topology: str) -> list[jax.Device]:
    """Return descriptions of the devices of a TPU slice, for which the TPU compiler can compile."""
    os.environ.update({name: os.environ.get(name, value) for name, value in NO_TPU_LOOKUP.items()})
    from jax.experimental import topologies

    try:
        return topologies.get_topology_desc(topology, platform='tpu').devices
    except Exception as e:
        said = str(e)
        if 'lockfile' in said or 'in use' in said or 'ABORTED' in said:
            raise UserError(f'the TPU compiler is in use by another process; wait for it ({said[:200]})') from e
        if 'topology' in said.lower() and 'INVALID_ARGUMENT' in said:
            raise UserError(
                f'config.compile.topology={topology}: {said.removeprefix("INVALID_ARGUMENT: ")[:200]}'
            ) from e
        raise UserError(f'the TPU compiler is missing: pip install libtpu ({said[:200]})') from e


def lower_train(config: Config, mesh: Mesh) -> jax.stages.Lowered:
    """Return the program of the training step, with one step in a dispatch."""
    method, _ = build(config)
    key, size = root_key(config.seed, config.train.prng), config.data.batch_size
    template = state_template(initializer(method, key), mesh)
    sharding = batch_sharding(mesh, axis=1)
    batches = {
        'image': jax.ShapeDtypeStruct((1, size, *method.image_shape), jnp.uint8, sharding=sharding),
        'label': jax.ShapeDtypeStruct((1, size), jnp.int32, sharding=sharding),
    }
    dispatch = make_dispatch(method, key, mesh, template, random_flip=config.data.random_flip)
    return dispatch.lower(template, batches)


def _lower_sample(config: Config, mesh: Mesh) -> jax.stages.Lowered:
    """Return the program that samples one batch."""
    method, labelled = build(config)
    template = state_template(initializer(method, root_key(config.seed, config.train.prng)), mesh)
    return Trained(config, method, mesh, 0, template.model, labelled).sampler().lower(template.model)


PROGRAMS: dict[str, Callable[[Config, Mesh], jax.stages.Lowered]] = {'train': lower_train, 'sample': _lower_sample}


def _compiled(lowered: jax.stages.Lowered) -> tuple[jax.stages.Compiled | None, str]:
    """Return the compiled program; or None, and the compiler's message, if it does not fit into memory."""
    try:
        return lowered.compile(), ''
    except jax.errors.JaxRuntimeError as e:
        if 'RESOURCE_EXHAUSTED' not in str(e):
            raise
        return None, ' '.join(str(e).split())[:300]


def _described(lowered: jax.stages.Lowered, chip: Chip, devices: int) -> JsonObject:
    """Return the estimates for each device; for a program that does not fit, the ``reason``."""
    program, reason = _compiled(lowered)
    if program is None:
        return {'fits': False, 'reason': reason}
    memory, cost, text = program.memory_analysis(), program.cost_analysis(), program.as_text()
    if memory is None or cost is None or text is None:
        raise RuntimeError('this version of the TPU compiler does not describe its programs')
    found = hlo.read(text)
    held = {
        'arguments': memory.argument_size_in_bytes,
        'outputs': memory.output_size_in_bytes - memory.alias_size_in_bytes,
        'temporaries': memory.temp_size_in_bytes,
        'program': memory.generated_code_size_in_bytes,
    }
    return {
        'fits': True,
        'memory': held,
        'memory_of_chip': chip.memory,
        'flops': cost['flops'],
        'bytes': cost['bytes accessed'],
        'seconds': bounds(cost['flops'], cost['bytes accessed'], found.collectives, chip, devices),
        **dataclasses.asdict(found),
    }


def bounds(
    flops: float, accessed: float, collectives: Mapping[str, tuple[int, int]], chip: Chip, devices: int
) -> dict[str, float]:
    """Return lower bounds on the seconds of a step, one for each resource by itself (the roofline model).

    In a collective of n devices in a ring, each device sends (n - 1) / n of its bytes; in an all-reduce, twice that.

    Args:
      flops: floating-point operations on each device.
      accessed: bytes of memory traffic on each device.
      collectives: the number of collectives of each kind, and their bytes.
      chip: the peak rates of a device.
      devices: the number of devices.
    """
    ring = (devices - 1) / devices
    sent = sum(volume * ring * (2 if kind == 'all-reduce' else 1) for kind, (_, volume) in collectives.items())
    return {
        'arithmetic': flops / chip.flops,
        'memory': accessed / chip.bandwidth,
        'interconnect': sent / chip.interconnect,
    }


def _largest_batch(config: Config, mesh: Mesh, chip: Chip, train: Fields) -> int | None:
    """Return the largest batch with which the training step fits, among powers of two times the config's batch size.

    Args:
      config: the config of the run.
      mesh: the devices.
      chip: the peak rates and the memory of a device.
      train: the estimates of the training step with the batch of the config.

    Returns:
      The number of images; None if no batch fits.
    """
    size = config.data.batch_size
    fits = {size: train['fits']}
    size = size * 2 ** max(1, doublings(train['memory'], chip.memory)) if train['fits'] else size // 2
    while size >= mesh.size and size % mesh.size == 0 and size not in fits:
        print(f'compiling train with batches of {size} ...', flush=True)
        program, _ = _compiled(lower_train(config.replace({'data.batch_size': size}), mesh))
        fits[size] = program is not None
        size = size * 2 if fits[size] else size // 2
    return max((size for size, does in fits.items() if does), default=None)


def doublings(held: Mapping[str, float], memory: float) -> int:
    """Return how often a batch can probably be doubled, assuming that only the temporaries of a program grow with it.

    Args:
      held: the memory of the program by kind, in bytes.
      memory: the memory of a device, in bytes.
    """
    free = memory - sum(size for kind, size in held.items() if kind != 'temporaries')
    return max(0, math.floor(math.log2(max(free, 1) / max(held['temporaries'], 1))))


def markdown(report: Fields) -> str:
    """Return a report as lines of text."""
    lines = [
        f'An estimate for {report["devices"]} chips of {report["topology"]}, from the TPU compiler and data sheets.',
        "The body of a loop is counted once, so the sampler's work is that of one network call.",
    ]
    for name, program in report['programs'].items():
        lines += ['', *_lines(name, program)]
    if 'largest_batch' in report:
        lines += [
            '',
            f'largest batch that fits, doubling or halving data.batch_size: {report["largest_batch"] or "none"}',
        ]
    return '\n'.join(lines) + '\n'


def _lines(name: str, program: Fields) -> list[str]:
    """Return the lines of one program."""
    if not program['fits']:
        return [f'{name}: does not fit: {program["reason"]}']
    memory, seconds = program['memory'], program['seconds']
    parts = ', '.join(f'{kind} {_size(size)}' for kind, size in memory.items())
    times = ', '.join(f'{kind} {1e3 * s:.3g}' for kind, s in seconds.items())
    total, chip = _size(sum(memory.values())), _size(program['memory_of_chip'])
    arrays = f'{_size(program["arrays"])} of arrays'
    return [
        f'{name}: fits, {total} of {chip} on each chip ({parts})',
        f'  work: {program["flops"] / 1e9:.4g} GFLOP, {_size(program["bytes"])} of memory traffic',
        f'  lower bounds of a step, in ms: {times}; the largest is {max(seconds, key=lambda kind: seconds[kind])}',
        *(f'  {kind}: {count}, {_size(volume)}' for kind, (count, volume) in program['collectives'].items()),
        f'  copies write {_size(program["copies"])}; padding adds {_size(program["padding"])} to {arrays}',
        f'  convolutions and products in float32: {len(program["float32_products"])}',
    ]


def _size(count: float) -> str:
    power = min(int(math.log(max(count, 1), 1024)), 3)
    return f'{count / 1024**power:.4g} {("B", "KiB", "MiB", "GiB")[power]}'
