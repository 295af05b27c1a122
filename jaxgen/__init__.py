"""jaxgen: diffusion models and GANs for images, in JAX."""

from jaxgen import xla_flags

xla_flags.set_defaults()
