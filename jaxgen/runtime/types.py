"""Types that all parts of jaxgen share."""

from __future__ import annotations

import jax

Array = jax.Array
