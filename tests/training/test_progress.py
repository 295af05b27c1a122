"""What the terminal shows while something compiles."""

import pytest

from jaxgen.training.log import Progress


def test_a_wait_is_announced_before_it_begins(capsys):
    progress = Progress(0, 10)
    with progress.waiting('compiling the training step'):
        assert capsys.readouterr().out == 'compiling the training step ...\n'


def test_a_terminal_shows_what_it_waits_for_and_then_no_more(monkeypatch):
    progress = Progress(0, 10)
    shown = []
    monkeypatch.setattr(progress._bar, 'disable', False)
    monkeypatch.setattr(progress._bar, 'set_postfix_str', shown.append)
    with progress.waiting('compiling'):
        assert shown == ['compiling ...']
    assert shown[-1] == ''


def test_a_wait_that_fails_ends_its_announcement():
    progress = Progress(0, 10)
    with pytest.raises(ZeroDivisionError), progress.waiting('compiling'):
        raise ZeroDivisionError
