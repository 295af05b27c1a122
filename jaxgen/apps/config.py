"""The config of a run: sections of options; each mode loads the sections that it needs."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxgen.apps.benchmark.options import BenchmarkOptions
from jaxgen.apps.compare.options import CompareOptions
from jaxgen.apps.compile.options import CompileOptions
from jaxgen.apps.demo.options import DemoOptions
from jaxgen.apps.edit.options import EditOptions
from jaxgen.apps.evaluate.options import EvaluationOptions
from jaxgen.apps.finetune.options import FinetuneOptions
from jaxgen.apps.interop.options import InteropOptions
from jaxgen.apps.interpret.options import InterpretOptions
from jaxgen.apps.likelihood.options import LikelihoodOptions
from jaxgen.apps.sweep.options import SweepOptions
from jaxgen.data.options import DataOptions
from jaxgen.errors import UserError, pick
from jaxgen.methods import METHODS
from jaxgen.methods.options import SampleOptions
from jaxgen.optim.options import OptimizerOptions
from jaxgen.schema import Options, located, option, specs, to_tree
from jaxgen.training.options import CheckpointOptions, MeshOptions, TrainOptions
from jaxgen.training.writers.options import LogOptions
from jaxgen.types import Fields, JsonObject, PyTree

# The sections that all methods share; a method can replace the class of a section by its own.
SHARED: Mapping[str, type[Options]] = {
    'data': DataOptions,
    'optimizer': OptimizerOptions,
    'train': TrainOptions,
    'mesh': MeshOptions,
    'checkpoint': CheckpointOptions,
    'sample': SampleOptions,
    'log': LogOptions,
    'finetune': FinetuneOptions,
    'evaluation': EvaluationOptions,
    'compare': CompareOptions,
    'sweep': SweepOptions,
    'likelihood': LikelihoodOptions,
    'edit': EditOptions,
    'interpret': InterpretOptions,
    'benchmark': BenchmarkOptions,
    'compile': CompileOptions,
    'interop': InteropOptions,
    'demo': DemoOptions,
}
# The sections that make a model; every mode loads these and the sections of the method.
MODEL = ('data', 'optimizer', 'train', 'mesh', 'checkpoint', 'sample', 'finetune')
# Earlier names of fields, which command lines and stored configs may still have.
RENAMED = {
    'sweep': 'sweep.settings',
    'sweeps.images': 'sweep.images',
    'sweeps.seeds': 'sweep.seeds',
    'sweeps.figure': 'sweep.metric',
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """The method, the seed and the plug-ins of a run."""

    family: str = option('ddpm', 'method that trains the model', choices=lambda: METHODS)
    seed: int = option(
        0, 'seed of parameters, of the order of the images, of noise and of samples', at_least=0, at_most=2**32 - 1
    )
    plugins: tuple[str, ...] | None = option(
        None,
        'Python modules to import first, which add methods, networks, samplers, metrics or data sets; none if not set',
    )


class _Sections:
    """The types of the sections, for type checkers; ``Config.__getattr__`` finds the sections by name."""

    data: DataOptions
    train: TrainOptions
    mesh: MeshOptions
    checkpoint: CheckpointOptions
    log: LogOptions
    finetune: FinetuneOptions
    evaluation: EvaluationOptions
    compare: CompareOptions
    sweep: SweepOptions
    likelihood: LikelihoodOptions
    edit: EditOptions
    interpret: InterpretOptions
    benchmark: BenchmarkOptions
    compile: CompileOptions
    interop: InteropOptions
    demo: DemoOptions
    # The classes of the following sections depend on the method.
    optimizer: Any
    sample: Any
    model: PyTree
    diffusion: Any
    gan: Any


@dataclasses.dataclass(frozen=True)
class Config(_Sections):
    """The options of a run. Each loaded section is an attribute: ``config.sample.num``.

    Attributes:
      run: the options outside of all sections.
      sections: the loaded sections by name.
    """

    run: RunOptions
    sections: Mapping[str, Options]

    @property
    def method(self) -> str:
        """The name of the method."""
        return self.run.family

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.run.seed

    def __getattr__(self, name: str) -> Any:
        sections = self.__dict__.get('sections', {})
        if name in sections:
            return sections[name]
        raise AttributeError(f'the config has no section {name!r} here; this mode loads {", ".join(sections)}')

    @classmethod
    def from_tree(cls, tree: Fields, sections: Iterable[str] = ()) -> Config:
        """Return the config of nested mappings; missing fields get their defaults.

        Args:
          tree: a JSON object, or a draft as a dict.
          sections: the sections to load in addition to ``MODEL`` and those of the method.

        Raises:
          UserError: naming a field that does not exist or refuses its value.
        """
        with located('config.'):
            run = RunOptions(**{name: value for name, value in tree.items() if name in specs(RunOptions)})
        classes, method = section_classes(run.family), METHODS[run.family]
        groups = {name: values for name, values in tree.items() if name not in specs(RunOptions)}
        _require_known(groups, run.family)
        wanted = {*MODEL, *method.sections, *sections}
        loaded = {}
        for name, options in classes.items():
            if name in wanted:
                with located(f'config.{name}.'):
                    loaded[name] = options(**{**method.defaults.get(name, {}), **groups.get(name, {})})
        return cls(run, loaded)

    def to_tree(self) -> JsonObject:
        """Return the config as a JSON object."""
        run = {name: value for name, value in to_tree(self.run).items() if name != 'plugins' or value is not None}
        return {**run, **{name: to_tree(options) for name, options in self.sections.items()}}

    def replace(self, changes: Fields) -> Config:
        """Return the config with other values of some fields, as in ``replace({'sample.num': 4, 'seed': 1})``.

        A whole section can be replaced as well, as in ``replace({'mesh': other.mesh})``.

        Raises:
          OptionError: naming the field that refuses its value.
        """
        run: dict[str, Any] = {}
        fields: dict[str, dict[str, object]] = {}
        sections = dict(self.sections)
        for name, value in changes.items():
            section, dot, field = name.partition('.')
            if dot:
                fields.setdefault(section, {})[field] = value
            elif isinstance(value, Options):
                sections[section] = value
            else:
                run[name] = value
        for section, values in fields.items():
            with located(f'config.{section}.'):
                sections[section] = dataclasses.replace(sections[section], **values)
        with located('config.'):
            return Config(dataclasses.replace(self.run, **run), sections)


def section_classes(family: str) -> dict[str, type[Options]]:
    """Return the classes of all sections that the config of a method has, by name.

    Raises:
      UserError: if there is no such method.
    """
    return {**SHARED, **METHODS[pick(family, METHODS, 'config.family')].sections}


def field_names(family: str) -> tuple[str, ...]:
    """Return the names of all fields of a method's config, as in ``data.batch_size``."""
    fields = [f'{section}.{name}' for section, options in section_classes(family).items() for name in specs(options)]
    return (*specs(RunOptions), *fields)


def nearest_fields(name: str, family: str) -> str:
    """Return the rest of a message about a field that does not exist, with the most similar fields."""
    section, _, field = name.partition('.')
    near = [f'{section}.{n}' for n in difflib.get_close_matches(field, _fields_of(section, family), n=1)]
    near = near or difflib.get_close_matches(name, field_names(family), n=3)
    if not near:
        last_part = name.rpartition('.')[2]
        ends = difflib.get_close_matches(last_part, {field.rpartition('.')[2] for field in field_names(family)}, n=1)
        near = [field for field in field_names(family) if field.rpartition('.')[2] in ends]
    if not near:
        return 'does not exist; --mode=help with this --config lists all fields'
    return f'does not exist; did you mean {" or ".join(f"config.{field}" for field in near)}?'


def _fields_of(section: str, family: str) -> Iterable[str]:
    classes = section_classes(family)
    return specs(classes[section]) if section in classes else ()


def _require_known(groups: Fields, family: str) -> None:
    """Refuse a section or a field that the config of a method does not have."""
    for section, values in groups.items():
        known = _fields_of(section, family)
        if not known:
            raise UserError(f'config.{section} {nearest_fields(section, family)}')
        if not isinstance(values, Mapping):
            raise UserError(f'config.{section}={values} is a section, whose fields are {", ".join(known)}')
        for field in values:
            if field not in known:
                raise UserError(f'config.{section}.{field} {nearest_fields(f"{section}.{field}", family)}')


def base(family: str = 'ddpm') -> ConfigDict:
    """Return a draft of a config that a config file can change: all sections of a method with their defaults.

    Args:
      family: the name of the method.
    """
    defaults = METHODS[pick(family, METHODS, 'config.family')].defaults
    draft = {name: spec.default for name, spec in specs(RunOptions).items()}
    draft['family'] = family
    for section, options in section_classes(family).items():
        values = {name: spec.default for name, spec in specs(options).items()}
        draft[section] = values | dict(defaults.get(section, {}))
    return ConfigDict(draft, type_safe=False).lock()
