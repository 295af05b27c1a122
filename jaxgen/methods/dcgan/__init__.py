"""DCGAN as a method: a generator and a discriminator, trained against each other."""

from jaxgen.methods.dcgan.method import DCGAN
from jaxgen.methods.dcgan.state import GANState, NetworkState

__all__ = ['DCGAN', 'GANState', 'NetworkState']
