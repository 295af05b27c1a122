"""Parameters for networks under test, and the operations of their programs."""

import functools

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np


def init(network, size, key=0):
    """Return the parameters that ``network`` starts from, for square images of side ``size``."""
    image = jnp.zeros((1, size, size, network.out_channels))
    zero = jnp.zeros(1, jnp.int32)
    return jax.jit(lambda k: network.init(k, image, zero, zero)['params'])(jax.random.key(key))


def shapes(network, size):
    """Return the shapes and dtypes of the parameters of ``network``, for which nothing is compiled."""
    return jax.eval_shape(functools.partial(init, network, size))


def randomised(params, seed=1):
    """Return normal numbers in the place of every tensor, of a size that keeps activations of order 1."""
    rng = np.random.default_rng(seed)

    def normal(x):
        scale = np.prod(x.shape[:-1]) ** -0.5 if x.ndim > 1 else 0.3
        return (scale * rng.normal(size=x.shape)).astype(x.dtype)

    return jax.tree.map(normal, params)


def random_params(network, size=8):
    """Return random parameters for ``network`` in the place of those that it starts from."""
    return randomised(shapes(network, size))


def equations(jaxpr, seen):
    """Collect in ``seen`` the dtypes of the first input of every primitive by name, in all nested programs."""
    for e in jaxpr.eqns:
        seen.setdefault(e.primitive.name, set()).update(str(v.aval.dtype) for v in e.invars[:1])
        for inner in jax.extend.core.jaxprs_in_params(e.params):
            equations(getattr(inner, 'jaxpr', inner), seen)
