"""Files with results of evaluations: ``evaluation/*.json`` of a run directory, and those of training and of sweeps."""

from __future__ import annotations

import hashlib
import json

from etils import epath

from jaxgen.io.files import parse_object, write_json
from jaxgen.io.run_directory import EVALUATION, warn_once
from jaxgen.metrics.features import distance_name
from jaxgen.types import Fields, JsonObject

# Names of metrics that are computed with a classifier of jaxgen in the place of Inception
OF_CLASSIFIER = {
    'FID': 'FID of classifier features',
    'KID': 'KID of classifier features',
    'Inception Score': 'Inception Score of the classifier',
}
# The entries of a result by their types; all others are numbers, or objects and lists of numbers.
SCALARS = (
    *('fid', 'kid', 'kid_std', 'inception_score', 'inception_score_std'),
    *('precision', 'recall', 'density', 'coverage', 'images_per_sec'),
)
OF_CLASSES = ('fid_per_class', 'parameters')
TEXTS = ('metrics', 'warnings')
OBJECTS = ('protocol', 'config')


def protocol_hash(protocol: Fields) -> str:
    """Return eight hexadecimal digits that identify a protocol."""
    return hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()[:8]


def read(path: epath.Path) -> JsonObject | None:
    """Return the result in a file; None, with a warning, if the file holds no complete one."""
    try:
        result = parse_object(path.read_bytes())
    except (OSError, ValueError):
        result = {}
    if _is_result(result):
        return result
    warn_once(f'{path} holds no complete result of an evaluation, and is left out')
    return None


def stored_results(workdir: epath.Path) -> dict[str, JsonObject]:
    """Return the results that ``evaluate`` and ``compare`` wrote to ``evaluation/``, by the stem of the file's name."""
    files = (path for path in sorted((workdir / EVALUATION).glob('*.json')) if not path.stem.endswith('_ema_lengths'))
    found = ((path.stem, read(path)) for path in files)
    return {stem: result for stem, result in found if result is not None}


def write(result: JsonObject, path: epath.Path) -> None:
    """Write a result; an older result of another protocol or a damaged file is renamed first."""
    if path.exists():
        before = read(path)
        if before is None:
            path.replace(path.parent / f'{path.name}.damaged')
        elif before['protocol'] != json.loads(json.dumps(result['protocol'])):
            path.replace(path.parent / f'{path.stem}-{protocol_hash(before["protocol"])}.json')
    write_json(path, result)


def titled(title: str, protocol: Fields) -> str:
    """Return the title of a metric under a protocol: metrics of other features than Inception's have other names.

    Args:
      title: the title for Inception's features, as in ``FID by class``.
      protocol: the protocol of the result.
    """
    names = {'FID': distance_name(protocol.get('extractor', {}))}
    for name, other in (OF_CLASSIFIER if uses_classifier(protocol) else names).items():
        title = title.replace(name, other)
    return title


def uses_classifier(protocol: Fields) -> bool:
    """Return whether the features of a protocol are those of a classifier that was trained with jaxgen."""
    return str(protocol.get('extractor', {}).get('name', '')).startswith('judge')


def _is_result(tree: JsonObject) -> bool:
    protocol, judge = tree.get('protocol'), tree.get('judge', {})
    if not isinstance(protocol, dict) or not isinstance(protocol.get('generated'), dict) or not isinstance(judge, dict):
        return False
    parts = [protocol.get(part, {}) for part in ('reference', 'extractor')]
    numbers = {name: value for name, value in tree.items() if name not in (*OBJECTS, *TEXTS)}
    texts = [tree.get(name, []) for name in TEXTS]
    return (
        type(protocol['generated'].get('count')) is int
        and all(isinstance(part, dict) for part in parts)
        and all(isinstance(text, list) and all(isinstance(line, str) for line in text) for text in texts)
        and all(_is_number(tree.get(name)) for name in SCALARS)
        and all(_is_numbers(tree.get(name, {}), dict) for name in OF_CLASSES)
        and _is_judgement(judge)
        and all(map(_holds_numbers, numbers.values()))
    )


def _is_judgement(judge: Fields) -> bool:
    """Return whether an object can be the metrics of a classifier."""
    confusion = judge.get('confusion', [])
    return (
        all(_is_number(judge.get(name)) for name in ('accuracy', 'mean_confidence', 'confident'))
        and all(_is_numbers(judge.get(name, {}), dict) for name in ('accuracy_per_class', 'seen'))
        and isinstance(confusion, list)
        and all(_is_numbers(row, list) and len(row) == len(confusion) for row in confusion)
    )


def _is_number(value: object) -> bool:
    """Return whether a value is a number, finite or not, or None."""
    return value is None or type(value) in (int, float)


def _is_numbers(value: object, kind: type) -> bool:
    if not isinstance(value, kind):
        return False
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, list) and all(type(x) in (int, float) for x in value)


def _holds_numbers(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_holds_numbers, value.values()))
    if isinstance(value, list):
        return all(map(_holds_numbers, value))
    return _is_number(value)
