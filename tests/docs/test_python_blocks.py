"""Run the Python blocks of the README and of every page under docs/, those of a page in order and in a new folder."""

import pathlib
import re
import sys
import types

import pytest

from tests.helpers import registries
from tests.helpers.library_folder import furnish

ROOT = pathlib.Path(__file__).parents[2]
# A comment on the line before the fence says why a block is not run.
BLOCK = re.compile(r'(?:^<!-- not run: (?P<reason>[^\n]*) -->\n)?^ *```python[^\n]*\n(?P<code>.*?)^ *```$', re.M | re.S)
REASONS = ('needs the network', 'needs a GPU', 'needs a TPU', 'takes hours', 'needs files of yours')
# Replacements in the code of the pages, so that it runs quickly: a small model with other classes, few images and few steps.
SHORTENED = {
    "classes=['ship', 'horse'], ": '',
    "'cifar10:train'": "'digits:test', reference_num=16",
    'base_channels=32, channel_multipliers=(1, 2)': 'base_channels=8, channel_multipliers=(1,)',
    'steps=1000': 'steps=2',
    'model.noise_levels(10)': 'jaxgen.diffusion.EDMSchedule().levels(10)',  # levels whose noise is not of unit size
    'warmup_steps=100': 'warmup_steps=1',
}


def blocks(text):
    """Return the Python blocks of a page: (number of lines before the code, code, reason not to run it or None)."""
    return [(text[: m.start('code')].count('\n'), m['code'], m['reason']) for m in BLOCK.finditer(text)]


PAGES = {
    path.relative_to(ROOT).as_posix(): path for path in [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
}
WITH_PYTHON = [name for name, path in PAGES.items() if blocks(path.read_text())]


def run(name, text, monkeypatch):
    """Run the blocks of a page in one module; an error names the line of the page."""
    page = types.ModuleType(f'page_{re.sub(r"[^a-z]+", "_", name.lower())}')
    monkeypatch.setitem(sys.modules, page.__name__, page)  # dataclasses look here for the types of their fields
    for line, code, reason in blocks(text):
        if reason is not None:
            continue
        for long, short in SHORTENED.items():
            code = code.replace(long, short)
        exec(compile('\n' * line + code, name, 'exec'), page.__dict__)
    return page


@pytest.mark.parametrize('name', WITH_PYTHON)
def test_the_python_of_a_page_runs(name, tmp_path, monkeypatch):
    text = PAGES[name].read_text()
    if 'pretrained/' in text:
        furnish(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    with registries.restored():
        page = run(name, text, monkeypatch)
    if name == 'README.md':  # the noise has the scale of the noisiest level
        assert page.noise.std() == pytest.approx(page.levels.sigma[0], rel=0.2)
        assert page.x0.shape == page.noise.shape and page.images.dtype == 'uint8'


@pytest.mark.parametrize('name', WITH_PYTHON)
def test_a_block_that_is_not_run_has_a_known_reason(name):
    text = PAGES[name].read_text()
    given = [reason for _, _, reason in blocks(text) if reason is not None]
    assert set(given) <= {*REASONS}, f'{name}: write one of {REASONS}'
    assert text.count('<!-- not run') == len(given), f'{name}: a comment is not on the line before ```python'


def test_blocks_share_names_and_errors_name_the_line(tmp_path, monkeypatch):
    text = '# A page\n```python\na = 1\n```\n<!-- not run: needs a GPU -->\n```python\na = 2\n```\n```\nb\n```\n'
    assert run('one.md', text, monkeypatch).a == 1
    with pytest.raises(ZeroDivisionError) as e:
        run('two.md', f'{text}```python\na / 0\n```\n', monkeypatch)
    assert (e.traceback[-1].frame.code.raw.co_filename, e.tb.tb_next.tb_next.tb_lineno) == ('two.md', 13)
