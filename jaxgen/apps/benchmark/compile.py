"""``--mode=compile``: the train step and the sampler compiled for a TPU slice that is not there, and what that tells.

All of it is an estimate: of the compiler, for memory and work, and of the data sheets, for time.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxgen.apps import from_config
from jaxgen.apps.benchmark import hlo
from jaxgen.apps.benchmark.describe import build
from jaxgen.apps.config import validate_devices
from jaxgen.errors import UserError, check
from jaxgen.runtime.mesh import batch_sharding, make_mesh
from jaxgen.runtime.random import root_key
from jaxgen.training.state import initializer, state_template
from jaxgen.training.step import make_dispatch


@dataclasses.dataclass(frozen=True)
class Chip:
    """What a device can do at most: products of bfloat16 in FLOP/s, bytes of HBM, bytes a second of HBM and to other chips.

    From cloud.google.com/tpu/docs/v5e, /v5p and /v6e, where the interconnect is given in bits, one way.
    """

    flops: float
    memory: float
    bandwidth: float
    interconnect: float


CHIPS = {
    'v5e': Chip(197e12, 16e9, 819e9, 1600e9 / 8),
    'v5p': Chip(459e12, 95e9, 2765e9, 4800e9 / 8),
    'v6e': Chip(918e12, 32e9, 1600e9, 3200e9 / 8),
}
QUIET = {'TPU_ACCELERATOR_TYPE': 'none', 'TPU_WORKER_HOSTNAMES': 'localhost', 'TPU_SKIP_MDS_QUERY': '1'}


def compile_for(config: ConfigDict) -> dict[str, Any]:
    """The report on ``config.compile.topology``: ``describe`` of the train step and of the sampler, and the largest batch.

    Raises:
      UserError: if libtpu is missing or in use, there is no such topology, or the batches do not divide over it.
    """
    jax.config.update('jax_platforms', 'cpu')
    topology = config.compile.topology
    devices = _devices(topology)
    validate_devices(config, len(devices))
    mesh = make_mesh(config.mesh.fsdp, devices)
    chip = CHIPS[topology.partition(':')[0]]
    report: dict[str, Any] = {'topology': topology, 'devices': len(devices), 'estimate': True, 'programs': {}}
    for name, lower in PROGRAMS.items():
        if name == 'sample' and not build(config)[0].draws:
            continue
        print(f'compiling {name} for {topology} ...', flush=True)
        report['programs'][name] = _described(lower(config, mesh), chip, len(devices))
    if config.compile.largest_batch:
        report['largest_batch'] = _largest_batch(config, mesh, chip, report['programs']['train'])
    return report


def _devices(topology: str) -> list[Any]:
    generation, _, shape = topology.partition(':')
    known = ', '.join(CHIPS)
    check(
        generation in CHIPS and re.fullmatch(r'\d+x\d+(x\d+)?', shape),
        f'config.compile.topology={topology!r} is not a slice of {known}: write it as in v5e:2x4 or v5p:2x2x1',
    )
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
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


def lower_train(config: ConfigDict, mesh: Mesh) -> jax.stages.Lowered:
    """One step a dispatch."""
    family, _ = build(config)
    key, size = root_key(config.seed, config.train.prng), config.data.batch_size
    template = state_template(initializer(family, key), mesh)
    where = batch_sharding(mesh, axis=1)
    batches = {
        'image': jax.ShapeDtypeStruct((1, size, *family.image_shape), jnp.uint8, sharding=where),
        'label': jax.ShapeDtypeStruct((1, size), jnp.int32, sharding=where),
    }
    dispatch = make_dispatch(family, key, mesh, template, random_flip=config.data.random_flip)
    return dispatch.lower(template, batches)


def _sample(config: ConfigDict, mesh: Mesh) -> jax.stages.Lowered:
    """One batch."""
    family, labelled = build(config)
    template = state_template(initializer(family, root_key(config.seed, config.train.prng)), mesh)
    return from_config.sample_pipeline(config, family, mesh, template.model, labelled).lower(template.model)


PROGRAMS: dict[str, Callable[[ConfigDict, Mesh], jax.stages.Lowered]] = {'train': lower_train, 'sample': _sample}


def _compiled(lowered: jax.stages.Lowered) -> tuple[jax.stages.Compiled | None, str]:
    """The program; or None, and the compiler's words, if it does not fit."""
    try:
        return lowered.compile(), ''
    except jax.errors.JaxRuntimeError as e:
        if 'RESOURCE_EXHAUSTED' not in str(e):
            raise
        return None, ' '.join(str(e).split())[:300]


def _described(lowered: jax.stages.Lowered, chip: Chip, devices: int) -> dict[str, Any]:
    """Figures of each device; of a program that does not fit, the ``reason``."""
    program, reason = _compiled(lowered)
    if program is None:
        return {'fits': False, 'reason': reason}
    memory, cost = program.memory_analysis(), program.cost_analysis()
    found = hlo.read(program.as_text())
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
    """Seconds that a step takes at least, by what could hold it up: the roofline of each resource by itself.

    A collective of n devices in a ring sends (n - 1) / n of its bytes, an all-reduce twice that.
    """
    ring = (devices - 1) / devices
    sent = sum(volume * ring * (2 if kind == 'all-reduce' else 1) for kind, (_, volume) in collectives.items())
    return {
        'arithmetic': flops / chip.flops,
        'memory': accessed / chip.bandwidth,
        'interconnect': sent / chip.interconnect,
    }


def _largest_batch(config: ConfigDict, mesh: Mesh, chip: Chip, train: Mapping[str, Any]) -> int | None:
    """That the train step fits with, of those a power of two larger or smaller than the config's; None if it is none."""
    config, size = config.copy_and_resolve_references(), config.data.batch_size
    fits = {size: train['fits']}
    size = size * 2 ** max(1, doublings(train['memory'], chip.memory)) if train['fits'] else size // 2
    while size >= mesh.size and size % mesh.size == 0 and size not in fits:
        config.data.batch_size = size
        print(f'compiling train with batches of {size} ...', flush=True)
        fits[size] = _compiled(lower_train(config, mesh))[0] is not None
        size = size * 2 if fits[size] else size // 2
    return max((size for size, does in fits.items() if does), default=None)


def doublings(held: Mapping[str, float], memory: float) -> int:
    """How often a batch can be doubled, as far as can be told: what grows with it are a program's temporaries."""
    free = memory - sum(size for kind, size in held.items() if kind != 'temporaries')
    return max(0, math.floor(math.log2(max(free, 1) / max(held['temporaries'], 1))))


def markdown(report: Mapping[str, Any]) -> str:
    """For people."""
    lines = [
        f'An estimate for {report["devices"]} chips of {report["topology"]}, from the TPU compiler and data sheets.',
        "A loop counts as one turn, so that the sampler's work is that of one network call.",
    ]
    for name, p in report['programs'].items():
        if not p['fits']:
            lines += ['', f'{name}: does not fit: {p["reason"]}']
            continue
        total = sum(p['memory'].values())
        parts = ', '.join(f'{kind} {_size(size)}' for kind, size in p['memory'].items())
        slowest = max(p['seconds'], key=p['seconds'].get)
        times = ', '.join(f'{kind} {1e3 * s:.3g}' for kind, s in p['seconds'].items())
        lines += [
            '',
            f'{name}: fits, {_size(total)} of {_size(p["memory_of_chip"])} on each chip ({parts})',
            f'  work: {p["flops"] / 1e9:.4g} GFLOP, {_size(p["bytes"])} of memory traffic',
            f'  at least, in ms: {times}; {slowest} holds it',
            *(f'  {kind}: {count}, {_size(volume)}' for kind, (count, volume) in p['collectives'].items()),
            f'  copies: {_size(p["copies"])}; padding: {_size(p["padding"])} beside {_size(p["arrays"])} of arrays',
            f'  float32 products: {len(p["float32_products"])}',
        ]
    if 'largest_batch' in report:
        lines += ['', f'largest batch in powers of two that fits: {report["largest_batch"] or "none"}']
    return '\n'.join(lines) + '\n'


def _size(count: float) -> str:
    power = min(int(math.log(max(count, 1), 1024)), 3)
    return f'{count / 1024**power:.4g} {("B", "KiB", "MiB", "GiB")[power]}'
