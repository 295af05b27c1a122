"""What the methods that train a generator against a discriminator share."""

from jaxgen.methods.adversarial.method import AdversarialMethod
from jaxgen.methods.adversarial.state import GANState, NetworkState

__all__ = ['AdversarialMethod', 'GANState', 'NetworkState']
