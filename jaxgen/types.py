"""Types that all parts of jaxgen share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import jax

Array = jax.Array
Dtype = jax.typing.DTypeLike  # such as jnp.bfloat16 or np.dtype('float32')
PyTree = Any  # nested dicts, tuples and dataclasses of arrays
JsonObject = dict[str, Any]  # what json.load returns for an object
Fields = Mapping[str, Any]  # read-only mapping from the names of fields to their values


class Struct:
    """A base class for use with ``flax.struct.dataclass``; it tells type checkers about the method that the decorator adds."""

    if TYPE_CHECKING:

        def replace(self, **changes: Any) -> Self:
            """Return a copy with other values of some fields."""
