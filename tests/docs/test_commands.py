"""Check that the command line accepts every command of the README and of the pages under docs/."""

import re
import sys

import pytest

from jaxgen.errors import UserError
from tests.helpers import commands, registries

PAGES = {
    path.relative_to(commands.ROOT).as_posix(): path
    for path in [*commands.ROOT.glob('*.md'), *sorted((commands.ROOT / 'docs').rglob('*.md'))]
    if commands.bash_blocks(path.read_text())
}
CHECKED = {'make', 'pip', 'python'}
NOT_OURS = {'cd', 'cp', 'export', 'gcloud', 'git', 'mkdir', 'pkill', 'pre-commit', 'python3', '.', '.venv/bin/pip'}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Work in a folder with the configs and the pretrained models, to which the test may write files of a page."""
    for name in ('configs', 'pretrained'):
        (tmp_path / name).symlink_to(commands.ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop('my_pieces', None)


@pytest.mark.parametrize('page', PAGES)
def test_the_command_line_accepts_the_commands_of_a_page(page, folder):
    text, runs = PAGES[page].read_text(), {}
    for code in re.findall(r'^```python\n(.*?)^```', text, flags=re.DOTALL | re.MULTILINE):
        for name in set(re.findall(r'`(\w+\.py)`', text)):  # code with get_config is a config, other code a plug-in
            is_config = 'def get_config' in code
            if not (folder / name).exists() and is_config == (name != 'my_pieces.py'):
                (folder / name).write_text(code)
    with registries.restored():
        for words in commands.commands_of('\n'.join(commands.bash_blocks(text))):
            is_own = commands.own_arguments(words) is not None
            assert is_own or words[0] in CHECKED | NOT_OURS, f'nothing checks {words[0]}: {" ".join(words)}'
            try:
                commands.check(words, runs)
            except UserError as e:
                if 'needs the package wandb' not in str(e):
                    raise


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('python main.py --config=configs/ddpm_digits.py --config.train.step=4', 'step'),
        ('ssh a --command="cd b && .venv/bin/python main.py --config=configs/ddpm_digit.py"', 'did you mean'),
        ('timeout 8h python main.py --config=configs/dcgan_cifar.py --config.gan.loss=no', 'gan.loss'),
        ('make runs', 'no target runs'),
        ('pip install -e ".[cuda11]"', 'no extra'),
        ('python -m jaxgen.apps.nothing', 'no module'),
    ],
)
def test_wrong_commands_are_found(line, message, folder):
    with pytest.raises((AssertionError, ValueError), match=message):
        for words in commands.commands_of(line):
            commands.check(words)
