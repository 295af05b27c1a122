"""The code that all methods with a generator and a discriminator share."""

from jaxgen.methods.adversarial.method import AdversarialMethod
from jaxgen.methods.adversarial.state import GANState, NetworkState

__all__ = ['AdversarialMethod', 'GANState', 'NetworkState']
