"""What ``--mode`` selects: each mode's function, its line of help and an example."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from jaxgen.apps import adapters, data_report, from_config, likelihood, weights
from jaxgen.apps.benchmark import benchmark as benchmarking
from jaxgen.apps.benchmark import compile as compiling
from jaxgen.apps.compare import compare as comparing
from jaxgen.apps.config import validate, validate_fields
from jaxgen.apps.devices import set_up
from jaxgen.apps.edit import edit as editing
from jaxgen.apps.evaluate import during_training
from jaxgen.apps.evaluate.evaluator import Evaluator, data_options, summary, write
from jaxgen.apps.evaluate.generated import STREAM, generated_set
from jaxgen.apps.interop import workdirs
from jaxgen.apps.interpret import interpret as interpreting
from jaxgen.apps.restore import build, restore
from jaxgen.apps.sweep import runs as sweeping
from jaxgen.data import SOURCES, Dataset, load
from jaxgen.diffusion import compatibility as fits
from jaxgen.errors import UserError, check, names, pick
from jaxgen.io import images
from jaxgen.io.files import write_atomically, write_json
from jaxgen.methods.base import Family
from jaxgen.methods.lora import Finetuned
from jaxgen.metrics.image_sets import open_set
from jaxgen.runtime.mesh import make_mesh, on_host
from jaxgen.training.grids import LARGEST_GRID


def run(mode: str, config: ConfigDict, workdir: epath.Path) -> None:
    """Checks the config, sets JAX up for it, and runs the mode.

    Raises:
      UserError: if the config cannot work.
    """
    MODES[mode].validate(config)
    if MODES[mode].starts_devices:
        set_up(config)
    MODES[mode].function(config, workdir)


def train(config: ConfigDict, workdir: epath.Path) -> None:
    check(
        not config.finetune.base,
        f'config.finetune.base={config.finetune.base} is for --mode=finetune: pass that, or leave it out',
    )
    _train(config, workdir)


def finetune(config: ConfigDict, workdir: epath.Path) -> None:
    """Trains as ``train``; with each checkpoint it writes ``adapter.safetensors``, of the averaged factors."""
    check(bool(config.finetune.base), 'config.finetune.base is empty: name the workdir of the model to fine-tune')
    _train(config, workdir)
    print(f'what it learnt, for the model in {config.finetune.base} alone: {workdir / adapters.FILE}')


def _train(config: ConfigDict, workdir: epath.Path) -> None:
    check(
        not config.sample.adapter,
        f'config.sample.adapter={config.sample.adapter} is to draw with: leave it out in training, and name the workdir of a '
        f'fine-tuned model in config.finetune.base to go on from it',
    )
    weights.require_none(workdir)
    family, dataset = _family_and_data(config, workdir)
    mesh, evaluation, on_save = make_mesh(config.mesh.fsdp), None, None
    if isinstance(family, Finetuned):
        config.finetune.base_hash = family.base_hash

        def on_save(model: Any) -> None:
            factors = on_host(mesh, model.learner.ema)
            adapter = adapters.of_config(config, factors, family.base_hash, dataset.class_names)
            adapters.write(workdir / adapters.FILE, adapter)

    if config.evaluation.every:
        evaluation = during_training.DuringTraining(config, family, mesh, dataset.class_names, workdir)
    from_config.trainer(config, family, dataset, workdir, evaluation=evaluation, on_save=on_save).train()


def data(config: ConfigDict, workdir: epath.Path) -> None:
    """Writes ``data/images.png`` and ``data/statistics.json``: see ``data_report``."""
    family, dataset = _family_and_data(config, workdir)
    data_report.report(config, family, dataset, workdir / 'data')


def _family_and_data(config: ConfigDict, workdir: epath.Path) -> tuple[Family, Dataset]:
    family, labelled = build(config, workdir)
    d = config.data
    dataset = load(d.name, 'train', names(d.classes), d.max_examples, d.image_size, d.crop)
    if not len(dataset.images):
        raise UserError('config.data.classes and config.data.max_examples leave no image to train on')
    return family, dataset.relabelled(labelled)


def sample(config: ConfigDict, workdir: epath.Path) -> None:
    """Writes ``samples/<name>.npz``, a grid ``samples/<name>.png`` and a folder ``samples/<name>/`` of single PNGs.

    In the ``.npz`` labels count ``class_names`` beside them; those of a network that knows no classes are -1.
    """
    trained = restore(config, workdir)
    folder, name = workdir / 'samples', config.sample.name
    drawn, labels = [], []
    for batch, batch_labels in trained.sampler().batches(trained.model, config.sample.num):
        for image, label in zip(batch, batch_labels, strict=True):
            asked_for = f'_{trained.class_names[label]}' if config.model.conditional else ''
            write_atomically(folder / name / f'{len(drawn):06}{asked_for}.png', images.png(image))
            drawn.append(image)
            labels.append(label if config.model.conditional else -1)
        print(f'{len(drawn)}/{config.sample.num} images', flush=True)
    named = {'labels': np.array(labels, np.int32), 'class_names': np.array(trained.class_names)}
    write_atomically(folder / f'{name}.npz', images.npz(images=np.stack(drawn), **named))
    write_atomically(folder / f'{name}.png', images.png(images.grid(np.stack(drawn[:LARGEST_GRID]))))
    print(
        f'{len(drawn)} samples of step {trained.step}: {folder / name}.png (grid), {name}.npz, {name}/ (one file each)'
    )


def bits_per_dim(config: ConfigDict, workdir: epath.Path) -> None:
    """Writes ``likelihood/<step>.json``: see ``likelihood.bound``."""
    d = config.data
    pick(config.likelihood.split, SOURCES[d.name].splits, 'config.likelihood.split')
    for name, what in (('num', 'images'), ('terms', 'terms')):
        check(
            config.likelihood[name] != 1, f'config.likelihood.{name}=1 is too few {what}: take 2 or more, or 0 for all'
        )
    trained = restore(config, workdir)
    dataset = load(d.name, config.likelihood.split, names(d.classes), 0, d.image_size, d.crop)
    result = likelihood.bound(config, trained, dataset.relabelled(trained.class_names))
    path = workdir / 'likelihood' / f'{trained.step}.json'
    write_json(path, result)
    print(f'at most {result["bits_per_dim"]:.4f} +- {result["standard_error"]:.4f} bits a dimension; its terms: {path}')


def edit(config: ConfigDict, workdir: epath.Path) -> None:
    """Writes ``edits/<kind>/``: see ``editing.write``."""
    editing.require_fields(config)
    editor = editing.Editor(config, restore(config, workdir))
    edited = editing.KINDS[config.edit.kind](editor)
    folder = editing.write(edited, config.edit.kind, workdir)
    for note in edited.notes:
        print(note)
    print(f'{len(edited.made)} images: {folder}/grid.png, images.npz; the way there: strip.png, strip.webp')


def interpret(config: ConfigDict, workdir: epath.Path) -> None:
    """Writes ``interpretation/``: ``report.html``, and the data behind it as ``.npz``."""
    from jaxgen.apps.interpret import report

    interpreting.require_fields(config)
    found = interpreting.interpret(config, restore(config, workdir), workdir)
    path = workdir / 'interpretation' / 'report.html'
    write_atomically(path, report.page(found).encode())
    print(f'one page, with nothing from elsewhere: {path}; the data behind it: .npz beside it')


def evaluate(config: ConfigDict, workdir: epath.Path) -> None:
    """Writes ``evaluation/<step>.json``, or of a given set ``evaluation/<set>.json``; the last line printed is the same."""
    options = config.evaluation
    if options.get('ema_lengths') and not options.generated:
        _evaluate_ema_lengths(config, workdir)
        return
    if options.generated:
        judged = open_set(options.generated, 'config.evaluation.generated', options.num, **data_options(config))
        name = re.sub(r'\W+', '-', options.generated).strip('-')
    else:
        trained = restore(config, workdir)
        judged, name = generated_set(trained, trained.sampler(options.seed, STREAM), options.num), str(trained.step)
    result = Evaluator(config, make_mesh(config.mesh.fsdp), names(options.metrics))(judged)
    path = workdir / 'evaluation' / f'{name}.json'
    write(result, path)
    print(summary(result))
    print(f'all figures and their protocol: {path}')
    print(json.dumps(result))


def _evaluate_ema_lengths(config: ConfigDict, workdir: epath.Path) -> None:
    """Writes ``evaluation/<step>_ema_lengths.json`` and a plot of it; the last line printed is all of it."""
    from jaxgen.apps.evaluate import ema_lengths

    step, found = ema_lengths.judge(config, workdir)
    path = workdir / 'evaluation' / f'{step}_ema_lengths'
    write_json(f'{path}.json', found)
    write_atomically(f'{path}.png', ema_lengths.plot(found, config.optimizer.ema_decay))
    best = min(found, key=lambda row: row['fid'])
    print(
        f'best: FID {best["fid"]:.4f} with --config.sample.ema_length={best["ema_length"]:g}; all: {path}.json, {path}.png'
    )
    print(json.dumps(found))


def compare(config: ConfigDict, workdir: epath.Path) -> None:
    """Writes ``report.html``, and the figures of each model under ``evaluation/``."""
    from jaxgen.apps.compare import report

    comparison = comparing.compare(config, workdir)
    path = workdir / 'report.html'
    write_atomically(path, report.page(comparison).encode())
    print(f'one page, with nothing from elsewhere: {path}')


def sweep(config: ConfigDict, workdir: epath.Path) -> None:
    """Writes ``sweep/report.html`` and ``sweep/results.json``, and a workdir for each run under ``sweep/``."""
    from jaxgen.apps.sweep import report

    results = sweeping.sweep(config, workdir)
    path = workdir / 'sweep' / 'report.html'
    write_atomically(path, report.page(results).encode())
    print(f'\n{report.lines(results)}\n\none page, with nothing from elsewhere: {path}')
    failed = sorted({outcome.run.folder for outcome in results.failed})
    check(not failed, f'of the runs failed {", ".join(failed)}: the same command tries again')


def benchmark(config: ConfigDict, workdir: epath.Path) -> None:
    """Writes ``benchmark.json``, and from it ``benchmark.md`` and ``benchmark.svg``."""
    from jaxgen.apps.benchmark import table

    report = benchmarking.benchmark(config, workdir)
    text = table.markdown(report)
    write_atomically(workdir / 'benchmark.md', text.encode())
    write_atomically(workdir / 'benchmark.svg', table.chart(report).encode())
    print(text)
    print(f'all of it: {workdir}/benchmark.json; the table: benchmark.md; a chart: benchmark.svg')


def compile_only(config: ConfigDict, workdir: epath.Path) -> None:
    """Writes ``compile/<topology>.json`` and the same for people as ``.md``."""
    report = compiling.compile_for(config)
    text = compiling.markdown(report)
    path = workdir / 'compile' / re.sub(r'\W+', '-', config.compile.topology)
    write_json(f'{path}.json', report)
    write_atomically(f'{path}.md', text.encode())
    print(f'{text}\nall of it: {path}.json')


def demo(config: ConfigDict, workdir: epath.Path) -> None:
    """Serves a page over trained models until it is stopped."""
    try:
        from jaxgen.apps.demo import page
    except ModuleNotFoundError as e:
        if e.name != 'gradio':
            raise
        raise UserError('--mode=demo needs Gradio: pip install -r requirements-demo.txt') from e

    page.serve(config, workdir)


@dataclasses.dataclass(frozen=True)
class Mode:
    """An entry of ``MODES``.

    Attributes:
      starts_devices: whether this process uses the devices itself; if not, its children have them.
      validate: refuses a config, before anything else.
    """

    function: Callable[[ConfigDict, epath.Path], None]
    help: str
    example: str
    starts_devices: bool = True
    validate: Callable[[ConfigDict], None] = validate


MODES = {
    'train': Mode(
        train,
        'train, or go on from the newest checkpoint of the workdir (the default)',
        'python main.py --config=configs/ddpm_digits.py',
    ),
    'finetune': Mode(
        finetune,
        'train low-rank factors beside the frozen weights of another workdir (or, with --config.finetune.method=full, an update '
        'of all of them), and write them to adapter.safetensors; stopped, it goes on as train does',
        'python main.py --config=runs/ddpm_digits/config.json --mode=finetune --config.finetune.base=runs/ddpm_digits '
        '--config.data.classes=3 --workdir=runs/threes',
    ),
    'data': Mode(
        data,
        'show what the network will see: images with their labels before and after augmentation, statistics by channel',
        'python main.py --config=configs/dcgan_dogs.py --mode=data --config.gan.augment=color',
    ),
    'evaluate': Mode(
        evaluate,
        'FID and other figures of the newest checkpoint, or of any two sets: folders, .npz files, splits of a data set',
        'python main.py --config=configs/ddpm_cifar.py --mode=evaluate --config.evaluation.generated=cifar10:test',
    ),
    'compare': Mode(
        compare,
        'judge several trained models under one protocol, and lay it all out in one report.html',
        'python main.py --config=configs/ddpm_cifar.py --mode=compare --config.compare.workdirs=runs/ddpm_cifar,runs/dcgan_cifar',
    ),
    'sweep': Mode(
        sweep,
        'train a grid of settings, or a list of them, each to the same number of images and with several seeds; judge them '
        'and say what won; started again it goes on where it was stopped',
        "python main.py --config=configs/ddpm_digits.py --mode=sweep --config.sweep='timesteps:100,1000;width:16,32' "
        '--config.sweeps.images=20000 --config.sweeps.seeds=3',
        starts_devices=False,
        validate=validate_fields,  # a setting may make work what does not by itself: each is validated whole
    ),
    'sample': Mode(
        sample,
        'draw images from the newest checkpoint: a grid, a folder of PNGs and an .npz under samples/',
        'python main.py --config=configs/ddpm_digits.py --mode=sample --config.sample.num=100',
    ),
    'likelihood': Mode(
        bits_per_dim,
        'bits a dimension of held-out images: the variational bound of a diffusion model, term by term',
        'python main.py --config=configs/ddpm_cifar.py --mode=likelihood --config.likelihood.num=1000',
    ),
    'edit': Mode(
        edit,
        'images from images: a picture changed by --config.edit.strength, painted within a mask, a way between two pictures, '
        'or a picture as another class; --config.edit.kind says which',
        'python main.py --config=configs/ddpm_cifar.py --mode=edit --config.edit.input=dog.jpg --config.edit.strength=0.5',
    ),
    'interpret': Mode(
        interpret,
        'which channels answer to which class, at which level of noise, above chance; what drawing loses without them; pictures '
        'that drive them, denoised',
        'python main.py --config=configs/ddpm_digits.py --mode=interpret --config.interpret.classes=3,8',
    ),
    'demo': Mode(
        demo,
        'a page in the browser over trained models: draw, edit, compare, watch them train; --config.demo.workdirs names them, '
        'else all under runs/ and pretrained/ are there',
        'python main.py --config=configs/ddpm_digits.py --mode=demo',
    ),
    'benchmark': Mode(
        benchmark,
        'steps/s and images/s of training, sampling, Inception features and input pipeline, beside the same in PyTorch',
        'python main.py --config=configs/ddpm_cifar.py --mode=benchmark --config.data.batch_size=8',
        starts_devices=False,
    ),
    'compile': Mode(
        compile_only,
        'what a TPU slice would make of the train step and the sampler: memory, work, communication, the time at least; '
        'needs no TPU, but pip install libtpu',
        'python main.py --config=configs/ddpm_cifar.py --mode=compile --config.compile.topology=v5e:2x4',
        starts_devices=False,
    ),
    'import': Mode(
        workdirs.import_weights,
        'make a workdir of weights from elsewhere: a UNet2DModel or DDPMPipeline of diffusers (a folder, or a name on the '
        "Hugging Face Hub), or the state dicts of the PyTorch tutorial's DCGAN",
        'python main.py --config=configs/ddpm_cifar.py --mode=import --config.interop.path=google/ddpm-cifar10-32 '
        '--workdir=runs/pretrained',
    ),
    'export': Mode(
        workdirs.export_weights,
        'write the newest checkpoint for PyTorch: a folder that DDPMPipeline.from_pretrained loads, or the state dicts of '
        "the tutorial's DCGAN",
        'python main.py --config=runs/pretrained/config.json --mode=export --config.interop.path=exported',
    ),
}


def help_text() -> str:
    """Each mode with its example."""
    lines = [
        'python main.py --config=configs/NAME.py[:VARIANT] [--workdir=runs/NAME] [--mode=MODE] [--config.FIELD=VALUE]'
    ]
    for name, mode in MODES.items():
        lines += ['', f'  --mode={name}: {mode.help}', f'    {mode.example}']
    lines += [
        '',
        '  --mode=help: this text',
        '',
        'Of config.diffusion and config.sample.sampler these go together:',
        '',
        fits.table(),
        '',
        'jaxgen/apps/config.py lists every field that all families share, jaxgen/methods/ those of one; a config file says '
        'what it changes.',
    ]
    return '\n'.join(lines)
