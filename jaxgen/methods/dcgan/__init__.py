"""DCGAN as a method: a generator and a discriminator, trained against each other."""

from jaxgen.methods.adversarial.state import GANState, NetworkState
from jaxgen.methods.dcgan.method import DCGAN

__all__ = ['DCGAN', 'GANState', 'NetworkState']
