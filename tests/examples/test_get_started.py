"""The pages of docs/get_started: every command in them is one that works here."""

import pytest

from tests.helpers import commands

PAGES = sorted((commands.ROOT / 'docs/get_started').glob('*.md'))
CHECKED = {'make', 'pip', 'python'}
NOT_OURS = {'cd', 'cp', 'export', 'gcloud', 'git', 'mkdir', 'pkill', 'python3', '.', '.venv/bin/pip'}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_commands_of_the_pages_are_right(page, monkeypatch):
    monkeypatch.chdir(commands.ROOT)
    lines = commands.in_bash_blocks(page.read_text())
    assert lines
    for words in (words for line in lines for words in commands.parts(line)):
        is_own = commands.own_arguments(words) is not None
        assert is_own or words[0] in CHECKED | NOT_OURS, f'nothing checks {words[0]}: {" ".join(words)}'
        commands.check(words)


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
def test_wrong_commands_are_found(line, message, monkeypatch):
    monkeypatch.chdir(commands.ROOT)
    with pytest.raises((AssertionError, ValueError), match=message):
        for words in commands.parts(line):
            commands.check(words)
