"""The card of a model on the Hugging Face Hub: the ``README.md`` of its repository."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping

from jaxgen.apps.reports import words
from jaxgen.apps.same_run import flatten
from jaxgen.apps.trained import Trained
from jaxgen.models.parameters import count
from jaxgen.types import JsonObject

FILE = 'README.md'
MOST_NAMES = 12  # classes that are listed by name
TAG = re.compile('[a-z0-9][a-z0-9_.-]*')
KINDS = {'ddpm': 'diffusion', 'dcgan': 'gan', 'r3gan': 'gan'}  # the tag of each method


@dataclasses.dataclass(frozen=True)
class Card:
    """A model card.

    Attributes:
      trained: the model.
      repository: its name on the Hub, as in ``owner/name``.
      license: the identifier of its licence on the Hub.
      picture: the file of the grid of samples.
      results: the evaluations of this model by the name of their file.
      is_rounded: whether the metrics were measured before the weights were rounded to bfloat16.
    """

    trained: Trained
    repository: str
    license: str
    picture: str
    results: Mapping[str, JsonObject]
    is_rounded: bool

    def text(self) -> str:
        """Return the card: YAML for the Hub, then Markdown."""
        parts = [self._title(), self._use(), self._training(), self._metrics()]
        return '\n'.join([*self._front_matter(), '', '\n\n'.join(part for part in parts if part), ''])

    @property
    def _name(self) -> str:
        return self.repository.partition('/')[2]

    def _front_matter(self) -> Iterator[str]:
        config = self.trained.config
        method, data = config.method, config.data.name
        tags = dict.fromkeys(['jaxgen', 'jax', KINDS.get(method, method), method, data])
        yield '---'
        yield f'license: {json.dumps(self.license)}'
        yield 'library_name: jaxgen'
        yield 'pipeline_tag: unconditional-image-generation'
        yield 'tags:'
        yield from (f'- {json.dumps(tag)}' for tag in tags if TAG.fullmatch(tag))
        yield '---'

    def _title(self) -> str:
        trained = self.trained
        height, width, channels = trained.method.image_shape
        sizes = {name: count(params) for name, params in trained.method.networks(trained.model).items()}
        networks = ', '.join(f'{name} {size:,}' for name, size in sizes.items())
        kind = 'diffusion model' if trained.method.capabilities.denoises else 'GAN'
        lines = [
            f'# {self._name}',
            '',
            f'![Samples of the model]({self.picture})',
            '',
            f'A {kind} for images of {height}x{width} pixels and {channels} channels, trained with jaxgen for '
            f'{trained.step:,} steps. Parameters: {networks}.',
        ]
        if trained.method.capabilities.knows_classes:
            names = trained.class_names
            listed = ', '.join(names[:MOST_NAMES]) + (f' and others, {len(names)} in all' * (len(names) > MOST_NAMES))
            lines += ['', f'Classes: {listed}.']
        return '\n'.join(lines)

    def _use(self) -> str:
        height, width, channels = self.trained.method.image_shape
        knows_classes = self.trained.method.capabilities.knows_classes
        classes = f', classes={list(self.trained.class_names[:2])!r}' if knows_classes else ''
        return f"""## Use

```python
import jaxgen

model = jaxgen.load('{self.repository}')
images = model.sample(16{classes}, seed=0)  # uint8 [16, {height}, {width}, {channels}]
```

On the command line, in a checkout of jaxgen:

```
hf download {self.repository} --local-dir runs/{self._name}
python main.py --config=runs/{self._name}/config.json --mode=sample
```"""

    def _training(self) -> str:
        return f"""## Training

`config.json` holds all settings of the run. This command trains the model again, in a new run directory:

```
python main.py --config=runs/{self._name}/config.json --workdir=runs/{self._name}_again
```

`weights.safetensors` holds the weights of step {self.trained.step:,}, rounded to bfloat16."""

    def _metrics(self) -> str:
        if not self.results:
            return ''
        note = 'The metrics were measured before the weights were rounded to bfloat16.'
        parts = ['## Metrics', *([note] if self.is_rounded else [])]
        for file, result in self.results.items():
            parts += [_table(result), _protocol(file, result)]
        return '\n\n'.join(parts)


def _table(result: JsonObject) -> str:
    """Return the metrics of an evaluation as a Markdown table."""
    protocol, flat = result['protocol'], flatten(result)
    lines = ['| metric | value |', '|---|---|']
    for path, metric in words.METRICS.items():
        value = flat.get(path)
        if isinstance(value, int | float):
            lines.append(f'| {words.axis(path, protocol)} | {value:{metric.form}} |')
    return '\n'.join(lines)


def _protocol(file: str, result: JsonObject) -> str:
    """Return the protocol of an evaluation in one sentence, followed by the whole protocol in a fold."""
    protocol = result['protocol']
    generated, reference = protocol['generated'], protocol.get('reference', {})
    settings = ('sampler', 'num_steps', 'network_calls', 'guidance_scale', 'seed')
    known = [f'{words.setting(name)} {words.value(name, generated[name])}' for name in settings if name in generated]
    against = ':'.join(str(reference[name]) for name in ('dataset', 'split') if reference.get(name))
    features = protocol.get('extractor', {}).get('name')
    sentence = f'{generated["count"]:,} images ({", ".join(known)})'
    if against:
        sentence += f' against {reference.get("count", 0):,} images of {against}'
    if features:
        sentence += f', features of {features}'
    whole = json.dumps(protocol, indent=2)
    return (
        f'Protocol: {sentence}. All metrics: [{file}]({file}).\n\n<details><summary>The whole protocol</summary>\n\n'
        f'```json\n{whole}\n```\n\n</details>'
    )
