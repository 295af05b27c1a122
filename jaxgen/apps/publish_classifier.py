"""Export the classifier of a trained run to a file for ``--config.evaluation.judge``.

python -m jaxgen.apps.publish_classifier runs/judge_cifar OUT.safetensors

The command also prints one JSON object: accuracy on the test images, their confusion matrix, and the temperature.

Label smoothing makes a classifier less confident than its accuracy justifies. Therefore the logits in the file are divided by
the temperature that makes the labels of the test images most likely (Guo et al. 2017). This calibrates the confidence on the test
images and, apart from rounding, changes no predicted class.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence

import jax
import numpy as np
from absl import logging
from etils import epath

from jaxgen.apps import stored_config
from jaxgen.apps.config import Config
from jaxgen.apps.data import load_split
from jaxgen.apps.restore import restore
from jaxgen.errors import check
from jaxgen.io.files import absolute
from jaxgen.io.run_directory import CONFIG
from jaxgen.metrics.class_accuracy import (
    TrainedClassifier,
    calibration_temperature,
    class_metrics,
    rounded,
    save_classifier,
)
from jaxgen.metrics.features import Extraction
from jaxgen.models.classifier import LOGIT_SCALE, Classifier
from jaxgen.runtime import command_line
from jaxgen.schema import expanded
from jaxgen.types import JsonObject

BATCH_SIZE = 50  # test images in a batch, per device


def publish(workdir: epath.Path, path: os.PathLike | str) -> JsonObject:
    """Write the classifier of a run's newest checkpoint, with its averaged weights, to a file.

    Returns:
      The ``class_metrics`` of the stored classifier on the test images, and the ``temperature``.

    Raises:
      UserError: if the run has no checkpoint, or did not train a classifier.
    """
    config = _config(workdir)
    trained = restore(config, workdir)
    variables = trained.method.sampling_variables(trained.model, jax.random.key(0), ema=True)
    classifier = TrainedClassifier(
        Classifier(len(trained.class_names), tuple(config.model.widths)),
        rounded(variables),
        config.data.name,
        trained.class_names,
        trained.method.image_shape,
        config.data.random_flip,
    )
    test = load_split(config, 'test')
    extraction = Extraction([classifier.extractor()], trained.mesh, BATCH_SIZE * trained.mesh.size)
    (found,) = extraction(
        [np.asarray(test.images)]
    )  # the temperature scales the head, which does not change the features
    head = np.asarray(variables['params']['head']['kernel'])
    temperature = calibration_temperature(found.features @ head * LOGIT_SCALE, test.labels)
    params = {**variables['params'], 'head': {'kernel': head / temperature}}
    classifier = dataclasses.replace(classifier, variables=rounded({**variables, 'params': params}))
    logits = found.features @ classifier.variables['params']['head']['kernel'] * LOGIT_SCALE
    result = class_metrics(logits, test.labels, test.class_names)
    save_classifier(path, dataclasses.replace(classifier, test_accuracy=result['accuracy']))
    return result | {'temperature': temperature}


def _config(workdir: epath.Path) -> Config:
    """Return the config of a run that trained a classifier, for the devices of this machine."""
    stored = workdir / CONFIG
    check(stored.exists(), f'{workdir} holds no trained model (no {CONFIG}): train a classifier there')
    config = stored_config.read(stored)
    check(config.method == 'judge', f'{workdir} holds a {config.method} and not a classifier (config.family=judge)')
    return config.replace({'mesh.fsdp': 1})


def main(argv: list[str]) -> int:
    """Run the command line and return its exit code."""
    logging.set_verbosity(logging.FATAL)
    return command_line.run(_run, argv)


def _run(argv: Sequence[str], surroundings: command_line.Surroundings) -> None:
    parser = command_line.Parser(
        prog='python -m jaxgen.apps.publish_classifier',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('workdir')
    parser.add_argument('out')
    args = parser.parse_args(argv)
    print(json.dumps(publish(absolute(args.workdir), expanded(args.out))))


if __name__ == '__main__':
    command_line.leave(main(sys.argv))
