"""What is shown of the work of a program: nothing by default, a bar on a terminal, and few lines elsewhere."""

import io
import re
import sys

import pytest

from jaxgen.runtime import progress, terminal
from jaxgen.runtime.compilation import expected_time
from jaxgen.runtime.progress import Stage

ERASE = '\x1b[2K'


class Terminal(io.StringIO):
    encoding = 'utf-8'

    def isatty(self):
        return True

    def lines(self):
        """Draw again, and return all lines that were written so far."""
        progress._DISPLAY._live.refresh()
        lines = re.split(r'[\r\n]+', without_codes(self.getvalue()))
        return [line.strip() for line in lines if line.strip()]


def without_codes(text):
    return re.sub(r'\x1b\[[0-9?]*[a-zA-Z]', '', text)


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until a test moves it."""
    now = [100.0]
    monkeypatch.setattr(progress.time, 'perf_counter', lambda: now[0])

    def pass_time(seconds):
        now[0] += seconds

    return pass_time


@pytest.fixture
def screen(monkeypatch):
    """Replaces the output by a terminal of 80 columns; the thread that draws again and again is left out."""
    monkeypatch.setattr(terminal, 'TICK_SECONDS', 1000)
    for name, value in {'COLUMNS': '80', 'TERM': 'xterm', 'NO_COLOR': '1'}.items():
        monkeypatch.setenv(name, value)

    def replace_output():  # in the test itself: pytest replaces the output when the test begins
        fake = Terminal()
        monkeypatch.setattr('sys.stdout', fake)
        monkeypatch.setattr('sys.stderr', fake)
        return fake

    return replace_output


def test_nothing_is_shown_by_default(capsys, monkeypatch):
    monkeypatch.setattr(progress, '_DISPLAY', terminal.Display())
    with Stage('sampling', 10, note='a minute') as stage:
        stage.advance(10)
    progress.say('done')
    assert capsys.readouterr() == ('', '')


def test_the_time_left_is_that_of_the_present_rate_without_pauses(clock):
    with Stage('training', 100, 'steps', done=40) as stage:
        with stage.paused():
            clock(60)
        assert stage.status() == '40/100 steps, 0 s'
        clock(4)
        stage.advance(2)
    assert stage.seconds == 4 and stage.mean_rate == 0.5
    assert stage.status() == '42/100 steps, 0.5 steps/s, 1:56 min left'


def test_a_stage_that_is_entered_again_goes_on(clock):
    stage = Stage('sampling', 4)
    for _ in range(2):
        with stage:
            clock(1)
            stage.advance(2)
        clock(50)
    assert stage.summary() == 'sampling: 4 images in 2 s, 2 images/s'


def test_what_was_done_before_does_not_change_the_rate(clock):
    stage = Stage('features', 100)
    with stage:
        clock(4)
        stage.advance(8)
    stage.skip(60)
    assert stage.rate == stage.mean_rate == 2
    with stage:
        clock(4)
        stage.advance(8)
    assert stage.status() == '76/100 images, 2 images/s, 12 s left'
    assert stage.summary() == 'features: 16 images in 8 s, 2 images/s'


def test_text_appears_above_the_bar_and_the_bar_after_it(clock, screen):
    shown, long = screen(), f'a [warning] of {90 * "x"}'
    with progress.shown(), Stage('sampling', 2) as stage:
        print(long)
        clock(1)
        stage.advance(1)
        first, warning, *_, last = shown.lines()
    assert first.startswith('sampling ') and first.endswith(' 0/2 images, 0 s')
    assert warning == long
    assert last.endswith(' 1/2 images, 1 images/s, 1 s left') and last.count('━') > first.count('━')
    assert without_codes(shown.getvalue().rpartition(ERASE)[2]).strip() == ''


@pytest.mark.parametrize(('columns', 'line'), [(30, r'sampling \s* 0/8 images, 0 s'), (16, r'sam… 0/8 images…')])
def test_a_narrow_terminal_has_a_short_bar(clock, screen, monkeypatch, columns, line):
    shown = screen()
    monkeypatch.setenv('COLUMNS', str(columns))
    with progress.shown(), Stage('sampling', 8):
        (found,) = shown.lines()[-1:]
        assert len(found) <= columns and re.fullmatch(line, found)


def test_a_stage_within_another_says_where_it_belongs(clock, screen):
    shown = screen()
    within = Stage('compiling the sampler', note='a minute')
    with progress.shown(), Stage('interpret'), Stage('ablation', 3, 'runs'), within:
        outer, inner = shown.lines()[-2:]
    assert outer.startswith('ablation ') and outer.endswith('0/3 runs, 0 s')
    assert inner == 'compiling the sampler: 0 s (a minute)'


def test_output_is_as_before_when_nothing_is_shown_any_more(screen):
    shown = screen()
    with progress.shown(), pytest.raises(ZeroDivisionError), Stage('sampling'):
        raise ZeroDivisionError
    assert sys.stdout is shown and sys.stderr is shown


def test_where_there_is_no_terminal_lines_are_ten_seconds_apart(clock, capsys, monkeypatch):
    monkeypatch.setattr(terminal, 'TICK_SECONDS', 1000)
    with progress.shown():
        with Stage('compiling the sampler', note='a minute'):
            clock(5)
        with Stage('sampling', 2):  # a line about it would come from the thread
            clock(4)
        for step in range(3):
            progress.say(f'step {step}', always=False)
            clock(6)
    assert capsys.readouterr().out.splitlines() == ['compiling the sampler: 0 s (a minute) ...', 'step 1']


def test_hidden_stages_are_not_shown(screen):
    shown = screen()
    with progress.shown(), progress.hidden(), Stage('sampling'):
        progress.say('no')
    assert shown.getvalue() == ''


def test_ctrl_c_is_answered_with_what_it_cannot_stop():
    with Stage('train'), Stage('compiling the step', can_stop=False), Stage('reading the cache'):
        assert progress.unstoppable() == 'compiling the step'
    assert progress.unstoppable() == ''


def test_the_expected_time_is_that_of_earlier_compilations():
    assert expected_time(90, None) == '1:30 min the first time, less now that it is cached'
    assert expected_time(90, 12) == 'about 12 s, as it is cached'
