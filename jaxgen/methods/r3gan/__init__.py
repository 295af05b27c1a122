"""R3GAN as a method: a relativistic pairing loss with gradient penalties on real and on generated images."""

from jaxgen.methods.r3gan.method import R3GAN

__all__ = ['R3GAN']
