"""The classifier as a method: it is trained on real images, and afterwards evaluates generated ones."""

from jaxgen.methods.classifier.method import ClassifierMethod, ClassifierState, translation

__all__ = ['ClassifierMethod', 'ClassifierState', 'translation']
