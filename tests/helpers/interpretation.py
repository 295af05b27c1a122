"""Tiny models for interpretation, whose weights are random numbers of a size that keeps activations of order 1."""

import dataclasses

import jax
import numpy as np
from etils import epath

from jaxgen.apps.interpret.ablation import ScaledMethod
from jaxgen.apps.interpret.probes import probes_of
from jaxgen.apps.restore import restore
from jaxgen.training.sampling import SamplePipeline
from tests.tiny import tiny_config, untrained

FEW = {
    'interpret.num': 40,
    'interpret.tested': 30,
    'interpret.levels': 2,
    'interpret.permutations': 20,
    'interpret.classes': ('3', '8'),
    'interpret.top_k': 2,
    'interpret.factors': (0.0, 2.0),
    'interpret.controls': 1,
    'interpret.images_per_class': 2,
    'interpret.ascent_steps': 3,
    'interpret.strengths': (0.5,),
    'interpret.variations': 4,
}
DENOISER = {'diffusion.parameterisation': 'edm', 'model.name': 'cnn', 'model.num_blocks': 1}


def interpret_config(family, /, **fields):
    """Return a config that interprets a tiny model in seconds."""
    return tiny_config(family, **{**FEW, **(DENOISER if family == 'ddpm' else {}), **fields})


def tiny_model(family, folder):
    """Return a model with random weights, those that start at zero among them, and its run directory."""
    c = interpret_config(family)
    workdir = epath.Path(untrained(c, folder / 'run'))
    trained = restore(c, workdir)
    model = trained.model.replace(ema=_random(trained.model.ema))
    if family == 'dcgan':
        model = model.replace(discriminator=model.discriminator.replace(params=_random(model.discriminator.params)))
    return dataclasses.replace(trained, model=model), workdir


def sample_scaled(trained, factors, num=20):
    """Return the images that a model samples with channels multiplied by factors, and their labels."""
    model = trained.model, factors
    method, classes = ScaledMethod(trained.method), range(len(trained.class_names))
    size = trained.config.sample.batch_size
    pipeline = SamplePipeline(method, trained.mesh, model, classes=classes, stream='interpretation', batch_size=size)
    return pipeline(model, num)


def blocks_of(trained):
    """Return the number of channels of each block of the network that samples."""
    variables = trained.sampler().variables(trained.model)
    return probes_of(trained, variables, 2)[0].blocks(trained.method.image_shape)


def _random(params):
    rng = np.random.default_rng(1)

    def normal(x):
        return (np.prod(x.shape[:-1]) ** -0.5 * rng.normal(size=x.shape)).astype(x.dtype)

    return jax.tree.map(lambda x: normal(x) if x.ndim > 1 else np.asarray(x), params)
