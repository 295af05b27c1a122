"""Features of images: networks that give them, by name, and running one over any number of images on all devices."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxgen.data.pipeline import Prefetcher
from jaxgen.errors import check
from jaxgen.io.files import cache_dir, read_npz, replacing
from jaxgen.metrics.image_sets import ImageSet
from jaxgen.models import inception
from jaxgen.models.inception_weights import inception_variables
from jaxgen.runtime import memory
from jaxgen.runtime.mesh import batch_sharding, replicated

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A network that looks at images.

    Attributes:
      apply: ``(variables, images uint8 [N, H, W, C]) -> (features [N, D], logits [N, K] or None)``.
      variables: of ``apply``.
      channels: C.
      image_size: H and W; 0 where any will do.
      description: its name, the hash of its tensors, and all else that decides its features, for the protocol.
    """

    apply: Callable[[Any, Array], tuple[Array, Array | None]]
    variables: Any
    channels: int
    image_size: int
    description: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Features:
    """Float32 ``[N, D]`` and, where the extractor has a classifier, ``[N, K]``."""

    features: np.ndarray
    logits: np.ndarray | None


def inception_extractor(config: ConfigDict) -> Extractor:
    """The network of FID, with the resize that ``config.resize`` names; images of one channel are shown as grey."""
    variables, weights_hash = inception_variables(config.inception_weights)
    network = inception.Inception(classifier='fc' in variables['params'])
    preprocess = inception.RESIZES[config.resize]

    def apply(variables: Any, images: Array) -> tuple[Array, Array | None]:
        return network.apply(variables, preprocess(jnp.broadcast_to(images, (*images.shape[:3], 3))))

    description = {'name': 'inception-2015-12-05', 'weights': weights_hash, 'resize': config.resize}
    return Extractor(apply, variables, 3, 0, description)


class Extraction:
    """Runs extractors over any number of images, each in one compiled shape, its rows spread over the devices.

    Args:
      batch_size: of the compiled functions; the last batch is filled up and cut.
    """

    def __init__(self, extractors: Sequence[Extractor], mesh: Mesh, batch_size: int):
        self._batch_size, self._sharding = batch_size, batch_sharding(mesh)
        shardings = {'in_shardings': (replicated(mesh), self._sharding), 'out_shardings': replicated(mesh)}
        self._runs = [jax.jit(e.apply, **shardings) for e in extractors]
        self._variables = jax.device_put([e.variables for e in extractors], replicated(mesh))

    def __call__(
        self,
        pieces: Iterable[np.ndarray],
        progress: Callable[[int], None] = lambda count: None,
        which: Sequence[int] = (0,),
    ) -> list[Features]:
        """What extractors see in the images, in their order.

        Args:
          pieces: uint8 ``[n, H, W, C]`` each, of any lengths; read in a thread of its own.
          progress: called with the number of images done.
          which: places of the extractors to run; the others are not compiled for it.

        Raises:
          UserError: if the features are not finite.
        """

        def put(item):
            return item[0], jax.device_put(item[1], self._sharding)

        batches = Prefetcher(_batches(pieces, self._batch_size), put)
        results, done = [], 0
        try:
            for kept, images in batches:
                with contextlib.nullcontext() if results else memory.compiling():
                    seen = jax.block_until_ready([self._runs[i](self._variables[i], images) for i in which])
                results.append([tuple(x if x is None else np.asarray(x)[:kept] for x in pair) for pair in seen])
                done += kept
                progress(done)
        finally:
            batches.close()
        joined = [Features(*map(_joined, zip(*pairs, strict=True))) for pairs in zip(*results, strict=True)]
        check(all(np.isfinite(f.features).all() for f in joined), 'the features of the images are not finite')
        return joined


def _joined(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    return None if parts[0] is None else np.concatenate(parts)


def _batches(pieces: Iterable[np.ndarray], size: int) -> Iterator[tuple[int, np.ndarray]]:
    """The same images in batches of one size; the last one is filled up with zeros: (how many count, the batch)."""
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


def environment() -> dict[str, Any]:
    """What a figure may depend on beside images and weights: the device, the precision of products, the versions."""
    import jaxlib

    versions = {'jax': jax.__version__, 'jaxlib': jaxlib.__version__, 'numpy': np.__version__}
    return {'device': jax.devices()[0].device_kind, 'precision': 'float32, highest', 'versions': versions}


def of_stored(
    extraction: Extraction, about: dict[str, Any], images: ImageSet, progress: Callable[[int], None]
) -> Features:
    """The features of a stored set, as the first extractor of ``extraction`` sees them.

    They are cached (``JAXGEN_CACHE_DIR``) under a fingerprint of the images, the extractor, that ``about`` describes,
    and the environment.
    """
    decisive = {'images': images.description, 'extractor': about, **environment()}
    fingerprint = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    cached = cache_dir() / f'features-{fingerprint[:16]}.npz'
    arrays = read_npz(cached)
    if arrays is not None and len(arrays['features']) == images.count:
        return Features(arrays['features'], arrays.get('logits'))
    (found,) = extraction(images.pieces(), progress)
    with replacing(cached) as temporary:
        np.savez(temporary, **{k: v for k, v in dataclasses.asdict(found).items() if v is not None})
    return found


class Meter:
    """Prints how many images are done, and how many a second after the first batch, at most every so many seconds."""

    def __init__(self, what: str, total: int, every: float = 10.0):
        self._what, self._total, self._every = what, total, every
        self._start = self._said = time.perf_counter()
        self._before = 0
        self.rate: float | None = None

    def __call__(self, count: int) -> None:
        now = time.perf_counter()
        if self._before:
            self.rate = (count - self._before) / (now - self._start)
        else:  # the first batch took the compilation along
            self._start, self._before = now, count
        if now - self._said > self._every or count == self._total:
            self._said = now
            rate = '' if self.rate is None else f', {self.rate:.1f} images/s'
            print(f'{self._what}: {count}/{self._total} images{rate}', flush=True)
