"""Compute features of any number of images on all devices, and cache the features of stored sets."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32, UInt8

from jaxgen.data.pipeline import Prefetcher
from jaxgen.errors import check, pick
from jaxgen.io.files import cache_dir, read_npz, replacing
from jaxgen.metrics.sets.image_sets import PIECE, ImageSet
from jaxgen.models.published import dinov2, inception
from jaxgen.models.published.dinov2_weights import dinov2_variables, network_of
from jaxgen.models.published.inception_weights import inception_variables
from jaxgen.runtime.compilation import compiled
from jaxgen.runtime.mesh import batch_sharding, replicated
from jaxgen.runtime.progress import Stage
from jaxgen.types import Array, Fields, JsonObject, PyTree

DINOV2_SIZES = {'dinov2': 'large', 'dinov2_base': 'base'}  # size of the network by name of the extractor
EXTRACTORS = ('inception', *DINOV2_SIZES)  # the networks that accept images of any data set
# The Frechet distance of these extractors is not called FID, but has the name given here.
DISTANCES = {'dinov2-vit-l14': 'FD-DINOv2', 'dinov2-vit-b14': 'FD-DINOv2 (ViT-B/14)'}
PIECES_PER_PART = 20  # pieces of an image set whose features are stored together until all are there
CPU_BATCH_SIZE, ACCELERATOR_BATCH_SIZE = 8, 64  # default number of images per device in a batch


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A network that computes features of images.

    Attributes:
      apply: the function ``(variables, images uint8 [N, H, W, C]) -> (features [N, D], logits [N, K] or None)``.
      variables: the first argument of ``apply``.
      channels: number of channels of the images, C.
      image_size: H and W in pixels; None if the network accepts images of any size.
      description: the name of the network, the hash of its weights, and everything else that the features depend on, as JSON
        values for the protocol.
    """

    apply: Callable[[PyTree, Array], tuple[Array, Array | None]]
    variables: PyTree
    channels: int
    image_size: int | None
    description: JsonObject


@dataclasses.dataclass(frozen=True)
class Features:
    """An output of an extractor.

    Attributes:
      features: the features, one row for each image.
      logits: the logits of all classes, one row for each image; None if the extractor has no classifier.
    """

    features: Float32[np.ndarray, 'n d']
    logits: Float32[np.ndarray, 'n k'] | None


def inception_extractor(weights_path: str | os.PathLike | None = None, resize: str = 'tf1') -> Extractor:
    """Return the Inception network of FID; grey images are repeated to three channels.

    Args:
      weights_path: a ``.pth`` file with the weights. If not set, the published file is downloaded once.
      resize: how images are resized to 299x299: ``tf1`` as in published FIDs, or ``clean``, antialiased, as in clean-FID.

    Raises:
      UserError: if the file of weights cannot be read or downloaded, or there is no such resize.
    """
    variables, weights_hash = inception_variables(weights_path)
    apply = inception.feature_function(resize, classifier='fc' in variables['params'])
    description = {'name': 'inception-2015-12-05', 'weights': weights_hash, 'resize': resize}
    return Extractor(apply, variables, 3, None, description)


def dinov2_extractor(weights_path: str | os.PathLike | None = None, size: str = 'large') -> Extractor:
    """Return the DINOv2 network of FD-DINOv2; grey images are repeated to three channels.

    Args:
      weights_path: a ``.safetensors`` file with the weights. If not set, the published file is downloaded once.
      size: ``large``, the ViT-L/14 of Stein et al. 2023, or ``base``, the ViT-B/14, which needs a quarter of the computation.

    Raises:
      UserError: if the file of weights cannot be read or downloaded, or there is no such size.
    """
    network = network_of(size)
    variables, weights_hash = dinov2_variables(weights_path, size)
    description = {
        'name': f'dinov2-vit-{size[0]}14',
        'weights': weights_hash,
        'resize': f'pil-bicubic-{dinov2.IMAGE_SIZE}',
        'position_offset': network.position_offset,
    }
    return Extractor(dinov2.feature_function(network), variables, 3, None, description)


def make_extractor(
    name: str,
    inception_weights: str | os.PathLike | None = None,
    dinov2_weights: str | os.PathLike | None = None,
    resize: str = 'tf1',
) -> Extractor:
    """Return an extractor by its name.

    Args:
      name: one of ``EXTRACTORS``.
      inception_weights: file of weights for ``inception_extractor``; other extractors ignore it.
      dinov2_weights: file of weights for ``dinov2_extractor``; other extractors ignore it.
      resize: kind of resize for ``inception_extractor``; other extractors ignore it.

    Raises:
      UserError: if there is no such extractor, or its weights cannot be read or downloaded.
    """
    if pick(name, EXTRACTORS, 'the extractor') in DINOV2_SIZES:
        return dinov2_extractor(dinov2_weights, DINOV2_SIZES[name])
    return inception_extractor(inception_weights, resize)


def distance_name(extractor: Fields) -> str:
    """Return the name of the Frechet distance for an extractor, given its description in a protocol."""
    return DISTANCES.get(str(extractor.get('name')), 'FID')


class Extraction:
    """A function that runs extractors over any number of images, in batches of one compiled shape.

    Args:
      extractors: the networks.
      mesh: the devices over which the images of a batch are spread; the default device if not set.
      batch_size: images per batch, a multiple of the number of devices. If not set, 8 per device on CPUs and 64 per device on
        GPUs and TPUs.
    """

    def __init__(self, extractors: Sequence[Extractor], mesh: Mesh | None = None, batch_size: int | None = None):
        self._batch_size = batch_size or default_batch_size(mesh)
        self._mesh = mesh
        self._sharding = None if mesh is None else batch_sharding(mesh)
        self._names = [f'the network {extractor.description.get("name", "")}'.strip() for extractor in extractors]
        self._runs = [self._jitted(extractor.apply) for extractor in extractors]
        # The compiled programs, by the index of the extractor and the shape of the images.
        self._programs: dict[tuple[int, tuple[int, ...]], jax.stages.Compiled] = {}
        variables = [extractor.variables for extractor in extractors]
        self._variables = jax.device_put(variables, None if mesh is None else replicated(mesh))

    def _jitted(self, apply: Callable) -> jax.stages.Wrapped:
        if self._mesh is None:
            return jax.jit(apply)
        copies = replicated(self._mesh)
        return jax.jit(apply, in_shardings=(copies, self._sharding), out_shardings=copies)

    def __call__(
        self,
        pieces: Iterable[UInt8[np.ndarray, '_ h w c']],
        stage: Stage | None = None,
        which: Sequence[int] = (0,),
        *,
        tick: Callable[[], None] = lambda: None,
    ) -> list[Features]:
        """Compute the features of images with each extractor, in the order of the images.

        Args:
          pieces: the images in pieces of any length; threads read them while the devices compute.
          stage: the stage of the progress display that counts the images.
          which: indices of the extractors to run; the others are not compiled.
          tick: function that is called after each batch.

        Raises:
          UserError: if a feature is not finite.
        """

        def put(item):
            return item[0], jax.device_put(item[1], self._sharding)

        batches = Prefetcher(_batches(pieces, self._batch_size), put)
        results: list[list[Any]] = []
        stage = stage or Stage('features', sums_up=False)
        try:
            for kept, images in batches:
                programs = [self._compiled(i, images) for i in which]
                with stage:
                    inputs = [(self._variables[i], images) for i in which]
                    found = jax.block_until_ready([run(*x) for run, x in zip(programs, inputs, strict=True)])
                    stage.advance(kept)
                results.append([tuple(x if x is None else np.asarray(x)[:kept] for x in pair) for pair in found])
                tick()
        finally:
            batches.close()
        joined = [_joined([Features(*pair) for pair in pairs]) for pairs in zip(*results, strict=True)]
        check(all(np.isfinite(f.features).all() for f in joined), 'the features of the images are not finite')
        return joined

    def _compiled(self, i: int, images: Array) -> jax.stages.Compiled:
        """Return the program of an extractor for a batch of images, compiled at the first call."""
        key = (i, images.shape)
        if key not in self._programs:
            run = self._runs[i]
            self._programs[key] = compiled(self._names[i], lambda: run.lower(self._variables[i], images))
        return self._programs[key]


def default_batch_size(mesh: Mesh | None = None) -> int:
    """Return the number of images in a batch: 8 a device on CPUs, 64 a device on GPUs and TPUs."""
    platform = jax.default_backend() if mesh is None else mesh.devices.flat[0].platform
    devices = 1 if mesh is None else mesh.size
    return devices * (CPU_BATCH_SIZE if platform == 'cpu' else ACCELERATOR_BATCH_SIZE)


def _batches(pieces: Iterable[np.ndarray], size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield batches of one size with the number of images in each; the last batch is filled up with zeros."""
    waiting: list[np.ndarray] = []
    for piece in pieces:
        waiting.append(piece)
        if sum(map(len, waiting)) >= size:
            images = np.concatenate(waiting)
            whole = len(images) // size * size
            for start in range(0, whole, size):
                yield size, images[start : start + size]
            waiting = [images[whole:]]
    rest = np.concatenate(waiting) if waiting else np.empty(0)
    if len(rest):
        yield len(rest), np.concatenate([rest, np.zeros((size - len(rest), *rest.shape[1:]), rest.dtype)])


def _joined(parts: Sequence[Features]) -> Features:
    """Return the features of consecutive images as one."""
    logits = [part.logits for part in parts if part.logits is not None]
    return Features(np.concatenate([part.features for part in parts]), np.concatenate(logits) if logits else None)


def environment() -> JsonObject:
    """Return the device, the precision and the versions, on which metrics may depend in addition to images and weights.

    The precision is that of the extractors and of the classifier, not that of a network that generates images.
    """
    import jaxlib

    versions = {'jax': jax.__version__, 'jaxlib': jaxlib.__version__, 'numpy': np.__version__}
    return {'device': jax.devices()[0].device_kind, 'feature_precision': 'float32, highest', 'versions': versions}


def stored_features(
    extraction: Extraction,
    description: JsonObject,
    images: ImageSet,
    stage: Stage | None = None,
) -> Features:
    """Return the features of a stored set, from the cache (``JAXGEN_CACHE_DIR``) if they were computed before.

    While they are computed, each 5,120 images are stored, and a computation that was stopped resumes after them. The name of the
    cached file contains a hash of the images, of the description of the extractor and of the environment.

    Args:
      extraction: computes the features, with its first extractor.
      description: the description of that extractor.
      images: the image set; its description must contain a hash of all images.
      stage: the stage of the progress display that counts the images.
    """
    determined_by = {'images': images.description, 'extractor': description, **environment()}
    fingerprint = hashlib.sha256(json.dumps(determined_by, sort_keys=True).encode()).hexdigest()
    cached = cache_dir() / f'features-{fingerprint[:16]}.npz'
    found = _read(cached, images.count)
    if found is None:
        files, parts = zip(*_parts(extraction, images, cached, stage), strict=True)
        found = _joined(parts)
        _write(cached, found)
        for file in files:
            file.unlink(missing_ok=True)
    return found


def _parts(
    extraction: Extraction, images: ImageSet, cached: pathlib.Path, stage: Stage | None
) -> Iterator[tuple[pathlib.Path, Features]]:
    """Yield the features of consecutive parts of a set, each with the file from which it can be read until all are there."""
    pieces, size = images.pieces(), PIECES_PER_PART * PIECE
    for start in range(0, images.count, size):
        part, file = itertools.islice(pieces, PIECES_PER_PART), cached.with_name(f'{cached.stem}-{start}.npz')
        found = _read(file, size)
        if found is None:
            (found,) = extraction(part, stage)
            if start + size < images.count:  # the last part is stored with all the others
                _write(file, found)
        else:
            collections.deque(part, maxlen=0)
            if stage is not None:
                stage.skip(size)
        yield file, found


def _read(file: pathlib.Path, count: int) -> Features | None:
    """Return stored features; None if there are none of so many images."""
    arrays = read_npz(file)
    if arrays is None or len(arrays['features']) != count:
        return None
    return Features(arrays['features'], arrays.get('logits'))


def _write(file: pathlib.Path, found: Features) -> None:
    with replacing(file) as temporary:
        np.savez(temporary, **{k: v for k, v in dataclasses.asdict(found).items() if v is not None})
