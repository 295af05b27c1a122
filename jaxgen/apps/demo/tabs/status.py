"""The line above the tabs about compilation in the background and the place in the queue."""

from __future__ import annotations

import dataclasses

import gradio as gr

from jaxgen.apps.demo import views
from jaxgen.apps.demo.tabs.parts import QUIET, job_of
from jaxgen.apps.demo.warm_up import WarmUp
from jaxgen.apps.serving.jobs import Turn

SECONDS = 2.0  # time between two updates


@dataclasses.dataclass(frozen=True)
class Status:
    """A line that is refreshed while something is busy.

    Attributes:
      warm_up: the compilation in the background.
      line: the text of the line.
      timer: refreshes the line; it is active while something is busy.
    """

    warm_up: WarmUp
    line: gr.HTML
    timer: gr.Timer

    def on_load(self, page: gr.Blocks) -> None:
        """Show the line when the page is opened."""
        page.load(self.look, None, [self.line, self.timer], **QUIET)
        self.timer.tick(self.look, None, [self.line, self.timer], **QUIET)

    def watch(self, button: gr.Button) -> None:
        """Refresh the line after a button that asks for images was pressed.

        A browser begins the events of a button one after the other, so this one has to come first.
        """
        button.click(lambda: gr.Timer(active=True), None, self.timer, **QUIET)

    def look(self, request: gr.Request) -> tuple[str, gr.Timer]:
        """Return the line as HTML, and the timer, which stops when nothing is busy."""
        jobs = job_of(request).jobs
        turn = turn_in_words(jobs.turn(str(request.session_hash)))
        sentences = [sentence for sentence in (self.warm_up.state, turn) if sentence]
        line = f'<p class="small" role="status">{views.text(" ".join(sentences))}</p>' if sentences else ''
        return views.part(line), gr.Timer(active=bool(sentences) or jobs.is_busy)


def turn_in_words(turn: Turn) -> str:
    """Return a sentence about the place in the queue; empty if nobody waits for anybody."""
    running = f'The model is at work for another visitor: {turn.running}.' if turn.running else ''
    if turn.ahead is None or not (turn.ahead or turn.running):
        return running
    jobs = 'one job' if turn.ahead == 1 else f'{turn.ahead} jobs'
    return f'{running} Your turn comes after {jobs}.'.strip()


def make(warm_up: WarmUp) -> Status:
    """Make the line."""
    return Status(warm_up, gr.HTML('', label='Status'), gr.Timer(SECONDS, active=False))
