"""``--mode=doctor``: show what is installed, how fast the devices are, where files are, and what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import platform
import shutil
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from jaxgen import __version__
from jaxgen.data import tfds_source
from jaxgen.io.files import cache_dir
from jaxgen.io.run_directory import CONFIG, PUBLISHED
from jaxgen.models.published.inception_weights import PUBLISHED as INCEPTION
from jaxgen.runtime import hardware
from jaxgen.runtime.progress import Stage

PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
# Packages that some modes need: alternative distributions, what they are used for, and the command that installs one.
OPTIONAL = (
    (('tensorflow-cpu', 'tensorflow'), 'downloads data sets and writes curves', 'pip install tensorflow-cpu'),
    (('gradio',), 'serves --mode=demo', 'pip install -r requirements-demo.txt'),
    (('datasets',), 'reads data sets of the Hugging Face Hub', "pip install 'datasets' 'huggingface_hub'"),
    (('huggingface_hub',), 'reads and uploads models of the Hugging Face Hub', 'pip install huggingface_hub'),
    (('wandb',), 'logs training to Weights & Biases', 'pip install wandb'),
    (('torch',), 'is what --mode=benchmark compares with', 'pip install -r requirements-test.txt'),
)
SIDE = 2048  # side of the matrices to multiply
SECONDS = 1.0  # minimum time to measure, in seconds
CONFIGS = {'cifar10': 'configs/ddpm_cifar.py', 'stanford_dogs': 'configs/ddpm_dogs.py'}  # a config for each data set


def run() -> None:
    """Print the report; nothing is written or downloaded."""
    for title, lines in (
        ('Versions', _versions()),
        ('Devices', _devices()),
        ('Data and weights', _files()),
        ('Disk', _disk()),
        ('Missing', _missing()),
    ):
        print(title)
        for line in lines:
            print(f'  {line}', flush=True)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions() -> Iterator[str]:
    yield f'jaxgen {__version__}, Python {platform.python_version()}, {platform.platform()}'
    yield ', '.join(f'{package} {_version(package) or "not installed"}' for package in PACKAGES)
    found = [f'{name} {_version(name)}' for names, _, _ in OPTIONAL for name in names if _version(name)]
    if found:
        yield ', '.join(found)


def _devices() -> Iterator[str]:
    devices = jax.devices()
    yield f'{hardware.described(devices)}, {os.cpu_count()} cores'
    dtypes = [jnp.float32] if devices[0].platform == 'cpu' else [jnp.float32, jnp.bfloat16]
    for dtype in dtypes:
        rate = matrix_product_rate(devices[0], dtype)
        yield f'products of {SIDE}x{SIDE} matrices, {jnp.dtype(dtype).name}, on one device: {rate / 1e9:,.0f} GFLOP/s'


def matrix_product_rate(
    device: jax.Device, dtype: jnp.dtype | type, side: int = SIDE, seconds: float = SECONDS
) -> float:
    """Measure the floating-point operations per second of products of square matrices.

    Args:
      device: the device to measure.
      dtype: dtype of the matrices.
      side: side of the matrices.
      seconds: minimum time to measure.
    """
    x = jax.device_put(jnp.ones((side, side), dtype), device)
    product = jax.jit(jnp.matmul)
    with Stage(f'measuring products of {jnp.dtype(dtype).name} matrices', sums_up=False):
        product(x, x).block_until_ready()
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            product(x, x).block_until_ready()
            count += 1
        return 2 * side**3 * count / (time.perf_counter() - start)


def _is_prepared(name: str) -> bool:
    return (_data_folder(name) / 'dataset_info.json').is_file()


def _data_folder(name: str) -> pathlib.Path:
    return tfds_source.data_dir() / name / tfds_source.VERSIONS[name]


def _files() -> Iterator[str]:
    for name in tfds_source.VERSIONS:
        yield f'{name}: {_data_folder(name)}{"" if _is_prepared(name) else " (not there)"}'
    weights = cache_dir() / INCEPTION.name
    yield f'{INCEPTION.what}: {weights}{"" if weights.exists() else " (not there)"}'
    models = sorted(path.parent for path in pathlib.Path(PUBLISHED).glob(f'*/{CONFIG}'))
    runs = sorted(path.parent for path in pathlib.Path('runs').glob(f'*/{CONFIG}'))
    yield f'models: {", ".join(map(str, [*models, *runs])) or "none in pretrained/ and runs/"}'


def _disk() -> Iterator[str]:
    compiled = pathlib.Path(os.environ.get('JAX_COMPILATION_CACHE_DIR') or cache_dir() / 'compiled')
    places = {'this folder': pathlib.Path.cwd(), 'cache': cache_dir(), 'compiled programs': compiled}
    for what, folder in {**places, 'data': tfds_source.data_dir()}.items():
        there = next(path for path in (folder, *folder.parents) if path.exists())
        yield f'{what}: {folder}, {shutil.disk_usage(there).free / 2**30:,.1f} GiB free'


def _missing() -> Iterator[str]:
    unused, is_complete = hardware.unused_accelerator(), True
    for line in _remedies() if unused is None else [unused, *_remedies()]:
        is_complete = False
        yield line
    if is_complete:
        yield 'nothing'


def _remedies() -> Iterator[str]:
    for names, use, command in OPTIONAL:
        if not any(map(_version, names)):
            yield f'{names[0]}, which {use}: {command}'
    for name in tfds_source.VERSIONS:
        if not _is_prepared(name):
            yield (
                f'{name}: python main.py --config={CONFIGS[name]} --mode=data downloads it, or set TFDS_DATA_DIR to the '
                f'folder that has it'
            )
    if not (cache_dir() / INCEPTION.name).exists():
        yield (
            f'{INCEPTION.what}: the first evaluation downloads them; without a network, put {INCEPTION.url} at '
            f'{cache_dir() / INCEPTION.name}'
        )
