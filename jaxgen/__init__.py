"""jaxgen: diffusion models and GANs for images, in JAX."""

from jaxgen.runtime import xla_flags

xla_flags.set_defaults()
