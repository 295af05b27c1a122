"""Training with any method: the state and the compiled step of a run, its loop, checkpoints, samples and log.

Example::

    trainer = Trainer(method, dataset, 'runs/mine', steps=1000, batch_size=64)
    trainer.train()
    images = trainer.sample(16)
"""

from jaxgen.training.evaluation import Evaluation, SaveHook
from jaxgen.training.loop import DivergedError
from jaxgen.training.options import CheckpointOptions, MeshOptions, TrainOptions
from jaxgen.training.sampling import SamplePipeline
from jaxgen.training.trainer import Trainer
from jaxgen.training.writers import LogOptions

__all__ = [
    'CheckpointOptions',
    'DivergedError',
    'Evaluation',
    'LogOptions',
    'MeshOptions',
    'SamplePipeline',
    'SaveHook',
    'TrainOptions',
    'Trainer',
]
