"""Types that all parts of jaxgen share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import jax

Array = jax.Array
Dtype = jax.typing.DTypeLike  # such as jnp.bfloat16, or np.dtype('float32')
PyTree = Any  # nested dicts, tuples and dataclasses of arrays
JsonObject = dict[str, Any]  # what json.load returns for an object
Fields = Mapping[str, Any]  # values by the names of their fields, to be read


class Struct:
    """Base of the classes that ``flax.struct.dataclass`` makes, which tells type checkers of the method that it adds."""

    if TYPE_CHECKING:

        def replace(self, **changes: Any) -> Self:
            """Return a copy with other values of some fields."""
