"""Types that all parts of jaxgen share."""

from __future__ import annotations

from typing import Any

import jax

Array = jax.Array
Dtype = jax.typing.DTypeLike  # such as jnp.bfloat16, or np.dtype('float32')
PyTree = Any  # nested dicts, tuples and dataclasses of arrays
