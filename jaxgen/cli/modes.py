"""What ``--mode`` selects: each mode's function, the sections of the config that it loads, its help and an example."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from jaxgen.apps import adapters, data_report, likelihood, weights
from jaxgen.apps.benchmark import benchmark as benchmarking
from jaxgen.apps.benchmark import compile as compiling
from jaxgen.apps.compare import compare as comparing
from jaxgen.apps.config import Config
from jaxgen.apps.devices import set_up
from jaxgen.apps.edit import edit as editing
from jaxgen.apps.evaluate import during_training
from jaxgen.apps.evaluate.evaluator import Evaluator, data_options, summary, write
from jaxgen.apps.evaluate.generated import STREAM, generated_set
from jaxgen.apps.interop import workdirs
from jaxgen.apps.interpret import interpret as interpreting
from jaxgen.apps.restore import build, restore
from jaxgen.apps.rules import validate
from jaxgen.apps.sweep import runs as sweeping
from jaxgen.data import Dataset, load
from jaxgen.errors import UserError, check
from jaxgen.io import images
from jaxgen.io.files import write_atomically, write_json
from jaxgen.methods.base import Method
from jaxgen.metrics.image_sets import open_set
from jaxgen.runtime.mesh import make_mesh, on_host
from jaxgen.training import loop


def config_of(mode: Mode, draft: ConfigDict) -> Config:
    """Return the config of a mode: its own sections of a draft.

    Raises:
      UserError: if a value is refused.
    """
    return Config.from_tree(draft.to_dict(), mode.sections)


def run(name: str, config: Config, workdir: epath.Path) -> None:
    """Check the config, set JAX up for it, and run a mode.

    Raises:
      UserError: if the config cannot work.
    """
    mode = MODES[name]
    if mode.validates:
        validate(config)
    if mode.starts_devices:
        set_up(config)
    mode.function(config, workdir)


def train(config: Config, workdir: epath.Path) -> None:
    check(
        config.finetune.base is None,
        f'config.finetune.base={config.finetune.base} is for --mode=finetune: pass that, or leave it out',
    )
    _train(config, workdir)


def finetune(config: Config, workdir: epath.Path) -> None:
    """Trains as ``train``; with each checkpoint it writes ``adapter.safetensors``, of the averaged factors."""
    check(
        config.finetune.base is not None, 'config.finetune.base is not set: name the workdir of the model to fine-tune'
    )
    _train(config, workdir)
    print(f'what it learnt, for the model in {config.finetune.base} alone: {workdir / adapters.FILE}')


def _train(config: Config, workdir: epath.Path) -> None:
    check(
        config.sample.adapter is None,
        f'config.sample.adapter={config.sample.adapter} is to draw with: leave it out in training, and name the workdir of a '
        f'fine-tuned model in config.finetune.base to go on from it',
    )
    weights.require_none(workdir)
    method, dataset = _method_and_data(config, workdir)
    mesh, evaluation, on_save = make_mesh(config.mesh.fsdp), None, None
    if method.base_hash is not None:
        config = config.replace({'finetune.base_hash': method.base_hash})

        def on_save(model: Any) -> None:
            factors = on_host(mesh, model.learner.ema)
            adapter = adapters.of_config(config, factors, method.base_hash, dataset.class_names)
            adapters.write(workdir / adapters.FILE, adapter)

    if config.evaluation.every is not None:
        evaluation = during_training.DuringTraining(config, method, mesh, dataset.class_names, workdir)
    loop.train(config, method, dataset, workdir, evaluation, on_save)


def data(config: Config, workdir: epath.Path) -> None:
    """Writes ``data/images.png`` and ``data/statistics.json``: see ``data_report``."""
    method, dataset = _method_and_data(config, workdir)
    data_report.report(config, method, dataset, workdir / 'data')


def _method_and_data(config: Config, workdir: epath.Path) -> tuple[Method, Dataset]:
    method, labelled = build(config, workdir)
    d = config.data
    dataset = load(d.name, 'train', d.classes or (), d.max_examples, d.image_size, d.crop)
    if not len(dataset.images):
        raise UserError('config.data.classes and config.data.max_examples leave no image to train on')
    return method, dataset.relabelled(labelled)


def sample(config: Config, workdir: epath.Path) -> None:
    """Writes ``samples/<name>.npz``, a grid ``samples/<name>.png`` and a folder ``samples/<name>/`` of single PNGs.

    In the ``.npz`` labels count ``class_names`` beside them; those of a network that knows no classes are -1.
    """
    trained = restore(config, workdir)
    folder, name = workdir / 'samples', config.sample.name
    drawn, labels, conditional = [], [], trained.method.capabilities.knows_classes
    for batch, batch_labels in trained.sampler().batches(trained.model, config.sample.num):
        for image, label in zip(batch, batch_labels, strict=True):
            asked_for = f'_{trained.class_names[label]}' if conditional else ''
            write_atomically(folder / name / f'{len(drawn):06}{asked_for}.png', images.png(image))
            drawn.append(image)
            labels.append(label if conditional else -1)
        print(f'{len(drawn)}/{config.sample.num} images', flush=True)
    named = {'labels': np.array(labels, np.int32), 'class_names': np.array(trained.class_names)}
    write_atomically(folder / f'{name}.npz', images.npz(images=np.stack(drawn), **named))
    write_atomically(folder / f'{name}.png', images.png(images.grid(np.stack(drawn[: loop.LARGEST_GRID]))))
    print(
        f'{len(drawn)} samples of step {trained.step}: {folder / name}.png (grid), {name}.npz, {name}/ (one file each)'
    )


def bits_per_dim(config: Config, workdir: epath.Path) -> None:
    """Write ``likelihood/<step>.json``; see ``likelihood.bound``."""
    d = config.data
    trained = restore(config, workdir)
    dataset = load(d.name, config.likelihood.split, d.classes or (), None, d.image_size, d.crop)
    result = likelihood.bound(trained, dataset.relabelled(trained.class_names))
    path = workdir / 'likelihood' / f'{trained.step}.json'
    write_json(path, result)
    print(f'at most {result["bits_per_dim"]:.4f} +- {result["standard_error"]:.4f} bits a dimension; its terms: {path}')


def edit(config: Config, workdir: epath.Path) -> None:
    """Edit images and write them to ``edits/<kind>/``; see ``editing.write``."""
    edited = editing.edit(restore(config, workdir))
    folder = editing.write(edited, config.edit.kind, workdir)
    for note in edited.notes:
        print(note)
    print(f'{len(edited.made)} images: {folder}/grid.png, images.npz; the way there: strip.png, strip.webp')


def interpret(config: Config, workdir: epath.Path) -> None:
    """Interpret a model and write ``interpretation/``: ``report.html``, and the data behind it as ``.npz``."""
    from jaxgen.apps.interpret import report

    interpreting.require_interpretable(config)
    found = interpreting.interpret(restore(config, workdir), workdir)
    path = workdir / 'interpretation' / 'report.html'
    write_atomically(path, report.page(found).encode())
    print(f'one page, with nothing from elsewhere: {path}; the data behind it: .npz beside it')


def evaluate(config: Config, workdir: epath.Path) -> None:
    """Writes ``evaluation/<step>.json``, or of a given set ``evaluation/<set>.json``; the last line printed is the same."""
    options = config.evaluation
    if options.ema_lengths is not None and options.generated is None:
        _evaluate_ema_lengths(config, workdir)
        return
    if options.generated is not None:
        judged = open_set(options.generated, 'config.evaluation.generated', options.num, **data_options(config))
        name = re.sub(r'\W+', '-', options.generated).strip('-')
    else:
        trained = restore(config, workdir)
        judged, name = generated_set(trained, trained.sampler(options.seed, STREAM), options.num), str(trained.step)
    result = Evaluator(config, make_mesh(config.mesh.fsdp), options.metrics)(judged)
    path = workdir / 'evaluation' / f'{name}.json'
    write(result, path)
    print(summary(result))
    print(f'all figures and their protocol: {path}')
    print(json.dumps(result))


def _evaluate_ema_lengths(config: Config, workdir: epath.Path) -> None:
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


def compare(config: Config, workdir: epath.Path) -> None:
    """Writes ``report.html``, and the figures of each model under ``evaluation/``."""
    from jaxgen.apps.compare import report

    comparison = comparing.compare(config, workdir)
    path = workdir / 'report.html'
    write_atomically(path, report.page(comparison).encode())
    print(f'one page, with nothing from elsewhere: {path}')


def sweep(config: Config, workdir: epath.Path) -> None:
    """Writes ``sweep/report.html`` and ``sweep/results.json``, and a workdir for each run under ``sweep/``."""
    from jaxgen.apps.sweep import report

    results = sweeping.sweep(config, workdir)
    path = workdir / 'sweep' / 'report.html'
    write_atomically(path, report.page(results).encode())
    print(f'\n{report.lines(results)}\n\none page, with nothing from elsewhere: {path}')
    failed = sorted({outcome.run.folder for outcome in results.failed})
    check(not failed, f'of the runs failed {", ".join(failed)}: the same command tries again')


def benchmark(config: Config, workdir: epath.Path) -> None:
    """Writes ``benchmark.json``, and from it ``benchmark.md`` and ``benchmark.svg``."""
    from jaxgen.apps.benchmark import table

    report = benchmarking.benchmark(config, workdir)
    text = table.markdown(report)
    write_atomically(workdir / 'benchmark.md', text.encode())
    write_atomically(workdir / 'benchmark.svg', table.chart(report).encode())
    print(text)
    print(f'all of it: {workdir}/benchmark.json; the table: benchmark.md; a chart: benchmark.svg')


def compile_only(config: Config, workdir: epath.Path) -> None:
    """Writes ``compile/<topology>.json`` and the same for people as ``.md``."""
    report = compiling.compile_for(config)
    text = compiling.markdown(report)
    path = workdir / 'compile' / re.sub(r'\W+', '-', config.compile.topology)
    write_json(f'{path}.json', report)
    write_atomically(f'{path}.md', text.encode())
    print(f'{text}\nall of it: {path}.json')


def demo(config: Config, workdir: epath.Path) -> None:
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
      sections: the sections of the config that it needs besides those of the model.
      starts_devices: whether this process uses the devices itself; if not, its children have them.
      validates: whether the config must work as it is; if not, the mode validates what it makes of it.
    """

    function: Callable[[Config, epath.Path], None]
    help: str
    example: str
    sections: tuple[str, ...] = ()
    starts_devices: bool = True
    validates: bool = True


MODES = {
    'train': Mode(
        train,
        'train a model, or resume from the newest checkpoint of the run directory (the default)',
        'python main.py --config=configs/ddpm_digits.py',
        sections=('evaluation',),
    ),
    'finetune': Mode(
        finetune,
        'fine-tune the diffusion model of another run directory, with low-rank factors or as a whole',
        'python main.py --config=runs/ddpm_digits/config.json --mode=finetune --config.finetune.base=runs/ddpm_digits '
        '--config.data.classes=3 --workdir=runs/threes',
        sections=('evaluation',),
    ),
    'data': Mode(
        data,
        'show the training images with their labels before and after augmentation, and their statistics',
        'python main.py --config=configs/dcgan_dogs.py --mode=data --config.gan.augment=color',
    ),
    'evaluate': Mode(
        evaluate,
        'compute FID and other metrics of the newest checkpoint, or of any folder, .npz file or split of a data set',
        'python main.py --config=configs/ddpm_cifar.py --mode=evaluate --config.evaluation.generated=cifar10:test',
        sections=('evaluation',),
    ),
    'compare': Mode(
        compare,
        'evaluate several trained models under one protocol, and write one report.html about them',
        'python main.py --config=configs/ddpm_cifar.py --mode=compare --config.compare.workdirs=runs/ddpm_cifar,runs/dcgan_cifar',
        sections=('compare', 'evaluation'),
    ),
    'sweep': Mode(
        sweep,
        'train a model with each of several settings and seeds, and report which setting is best; a stopped sweep resumes',
        "python main.py --config=configs/ddpm_digits.py --mode=sweep --config.sweep='timesteps:100,1000;width:16,32' "
        '--config.sweep.images=20000 --config.sweep.seeds=3',
        sections=('sweep', 'evaluation'),
        starts_devices=False,
        validates=False,  # a setting may make work what does not by itself: each is validated with the config
    ),
    'sample': Mode(
        sample,
        'sample images from the newest checkpoint: a grid, a folder of PNGs and an .npz under samples/',
        'python main.py --config=configs/ddpm_digits.py --mode=sample --config.sample.num=100',
    ),
    'likelihood': Mode(
        bits_per_dim,
        'estimate a bound on the bits per dimension of test images under a diffusion model',
        'python main.py --config=configs/ddpm_cifar.py --mode=likelihood --config.likelihood.num=1000',
        sections=('likelihood', 'evaluation'),
    ),
    'edit': Mode(
        edit,
        'edit an image with a diffusion model: --config.edit.kind=image2image, inpaint, interpolate or transfer',
        'python main.py --config=configs/ddpm_cifar.py --mode=edit --config.edit.input=dog.jpg --config.edit.strength=0.5',
        sections=('edit',),
    ),
    'interpret': Mode(
        interpret,
        'find the channels that respond to a class, and show what they do: ablations and synthesised images',
        'python main.py --config=configs/ddpm_digits.py --mode=interpret --config.interpret.classes=3,8',
        sections=('interpret', 'evaluation'),
    ),
    'demo': Mode(
        demo,
        'serve a page in the browser on which trained models sample, edit and are compared',
        'python main.py --config=configs/ddpm_digits.py --mode=demo',
        sections=('demo', 'edit'),
    ),
    'benchmark': Mode(
        benchmark,
        'measure training, sampling, Inception features and input pipeline against the same in PyTorch',
        'python main.py --config=configs/ddpm_cifar.py --mode=benchmark --config.data.batch_size=8',
        sections=('benchmark', 'evaluation'),
        starts_devices=False,
    ),
    'compile': Mode(
        compile_only,
        'compile the training step and the sampler for a TPU slice that is not there, and report memory, work and time',
        'python main.py --config=configs/ddpm_cifar.py --mode=compile --config.compile.topology=v5e:2x4',
        sections=('compile',),
        starts_devices=False,
    ),
    'import': Mode(
        workdirs.import_weights,
        "make a run directory from the weights of a diffusers UNet2DModel or of the PyTorch tutorial's DCGAN",
        'python main.py --config=configs/ddpm_cifar.py --mode=import --config.interop.path=google/ddpm-cifar10-32 '
        '--workdir=runs/pretrained',
        sections=('interop',),
    ),
    'export': Mode(
        workdirs.export_weights,
        'write the newest checkpoint for PyTorch (diffusers or the tutorial), or as a small run directory of jaxgen',
        'python main.py --config=runs/pretrained/config.json --mode=export --config.interop.path=exported',
        sections=('interop',),
    ),
}
