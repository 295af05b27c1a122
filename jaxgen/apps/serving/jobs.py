"""The jobs of all visitors, and the budget of each address.

A visitor is a browser tab, whose identifier the client chooses, at an address, which it cannot choose. So what a tab may do is a
courtesy to its visitor, and what an address may do is what protects the others.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, TypeVar

from jaxgen.apps.demo.options import DemoOptions
from jaxgen.errors import UserError

GRACE = 5.0  # seconds after which a job that nobody listens to ends
SHORT_GRACE = 1.0  # the same if another job of its address needs the place
MAX_QUICK = 64  # largest number of jobs of an address that do not sample and are not done yet
MINUTE = 60.0
REPLACED = 'This job was stopped, because a newer one of this browser tab took its place.'
UNHEARD = 'This job was stopped, because the browser tab that asked for it is gone.'
Clock = Callable[[], float]
S = TypeVar('S', bound='Step')


class Step(Protocol):
    """How far a job is: ``done`` of ``total`` steps."""

    @property
    def done(self) -> int:
        """The number of steps done."""

    @property
    def total(self) -> int:
        """The number of all steps."""


class Refused(UserError):
    """A request that is not served.

    Attributes:
      status: the status of the answer in HTTP.
    """

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


class Budget:
    """An amount that each address may spend in a minute; what is spent comes back evenly over the minute.

    Args:
      per_minute: the amount.
      unit: what is counted, for messages.
      clock: the time in seconds.
    """

    def __init__(self, per_minute: int, unit: str, clock: Clock = time.monotonic):
        self._per_minute, self._unit, self._clock = per_minute, unit, clock
        self._spent: dict[str, tuple[float, float]] = {}  # the amount, and the time at which it was that

    def left(self, address: str) -> float:
        """Return what an address may spend now."""
        spent, then = self._spent.get(address, (0.0, 0.0))
        back = (self._clock() - then) / MINUTE * self._per_minute
        return self._per_minute - max(0.0, spent - back)

    def require(self, address: str, amount: float) -> None:
        """Refuse an amount that is more than what is left.

        Raises:
          Refused: saying what is left, and how long to wait.
        """
        left = self.left(address)
        if amount <= left:
            return
        wait = math.ceil((amount - left) * MINUTE / self._per_minute)
        raise Refused(
            429,
            f'This takes {amount:,.0f} {self._unit}, but {max(left, 0):,.0f} of the {self._per_minute:,} that your address '
            f'has for a minute are left: wait {wait} seconds, or ask for less.',
        )

    def spend(self, address: str, amount: float) -> None:
        """Take an amount off what is left."""
        now = self._clock()
        self._spent = {one: (spent, then) for one, (spent, then) in self._spent.items() if now - then < MINUTE}
        self._spent[address] = self._per_minute - self.left(address) + amount, now


class Turn(NamedTuple):
    """Whose turn it is, as a browser tab sees it.

    Attributes:
      running: what the job of another tab computes and how far it is; None if no other tab has its turn.
      ahead: number of jobs whose turn comes before that of this tab; None if this tab does not wait.
    """

    running: str | None
    ahead: int | None


@dataclasses.dataclass(eq=False)
class Job:
    """A request of a visitor to compute something, from the moment it joins the queue.

    Attributes:
      tab: identifier of the browser tab.
      address: address of the visitor.
      samples: whether it uses the device.
      joined: the time at which it was admitted.
      jobs: all jobs.
      event: the identifier that the queue gave it; None before, and empty if the queue took it no longer.
      ended: why it must stop; None while it may go on.
      state: what it computes and how far it is, in words; empty before its turn.
    """

    tab: str
    address: str
    samples: bool
    joined: float
    jobs: Jobs
    event: str | None = None
    ended: str | None = None
    state: str = ''

    @property
    def is_live(self) -> bool:
        """Whether it waits or runs, and somebody may still want it."""
        return self.ended is None and (self.event is None or self.jobs.is_queued(self.event))

    def require_live(self) -> None:
        """Stop a job that nobody wants any more.

        Raises:
          UserError: saying why it was stopped.
        """
        if not self.is_live:
            raise UserError(self.ended or UNHEARD)

    def start(self, calls: int, what: str) -> None:
        """Refuse to start if the budget does not suffice.

        Args:
          calls: number of calls of the network on one image.
          what: what the job computes, for the visitors who wait.

        Raises:
          UserError: saying how much is left and when, or why the job was stopped.
        """
        self.require_live()
        most = self.jobs.options.calls_per_job
        if calls > most:
            raise Refused(
                429,
                f'This takes {calls:,} network calls (images x steps), but a job may take at most {most:,}: '
                f'ask for fewer images or steps.',
            )
        self.jobs.budget.require(self.address, calls)
        self.state = what

    def paid(self, steps: Iterator[S], calls: float) -> Iterator[S]:
        """Yield the steps for as long as somebody wants them, and take each off the budget.

        Args:
          steps: all steps, or those of one of the models that the job samples.
          calls: number of network calls of these steps.

        Raises:
          UserError: if nobody wants the next step, saying why.
        """
        what = self.state.partition(':')[0]
        for step in steps:
            self.state = f'{what}: step {step.done} of {step.total}'
            if step.done:
                self.jobs.budget.spend(self.address, calls / step.total)
                self.require_live()
            yield step


class Jobs:
    """The jobs that wait or run, and who listens to them.

    Args:
      options: how much an address may ask for.
      is_queued: whether the queue still holds the job of an identifier, and has not given it up.
      clock: the time in seconds.
    """

    def __init__(self, options: DemoOptions, is_queued: Callable[[str], bool], clock: Clock = time.monotonic):
        self.options, self.is_queued = options, is_queued
        self.budget = Budget(options.calls_per_minute, 'network calls (images x steps)', clock)
        self._clock = clock
        self._jobs: list[Job] = []
        self._listeners: collections.Counter[str] = collections.Counter()
        self._heard: dict[str, float] = {}  # when somebody last listened to a tab, or it last asked for something

    def admit(self, tab: str, address: str, samples: bool) -> tuple[Job, list[Job]]:
        """Return a new job, and those that have to end for it.

        A tab has one job that samples: the newest one. An address that has as many as it may gets another in the place of one
        that nobody listens to.

        Raises:
          Refused: if the address has too many.
        """
        self._jobs = [job for job in self._jobs if job.is_live]
        alike = [job for job in self._jobs if job.address == address and job.samples == samples]
        ending = [job for job in alike if samples and job.tab == tab]
        most = self.options.jobs_per_address if samples else MAX_QUICK
        if len(alike) - len(ending) >= most:
            unheard = [job for job in alike if self._silence(job) > SHORT_GRACE]
            if not unheard:
                raise Refused(
                    429, f'{most} jobs of your address wait or run already: wait until one is done, or stop one.'
                )
            ending.append(unheard[0])
        now = self._clock()
        job = Job(tab, address, samples, now, self)
        self._jobs.append(job)
        self._heard[tab] = now
        return job, ending

    @property
    def is_busy(self) -> bool:
        """Whether a job that samples waits or runs."""
        return any(job.samples and job.is_live for job in self._jobs)

    def turn(self, tab: str) -> Turn:
        """Return whose turn it is, as a browser tab sees it; jobs have their turn in the order in which they were admitted."""
        live = [job for job in self._jobs if job.samples and job.is_live]
        running = next((job for job in live if job.state), None)
        mine = next((i for i, job in enumerate(live) if job.tab == tab and not job.state), None)
        others = running is not None and running.tab != tab
        return Turn(running.state if running and others else None, mine)

    @contextlib.contextmanager
    def listening(self, tab: str) -> Iterator[None]:
        """Note that somebody listens to a tab."""
        self._listeners[tab] += 1
        try:
            yield
        finally:
            self._listeners[tab] -= 1
            self._listeners += collections.Counter()  # without those that are 0
            if tab in self._heard:
                self._heard[tab] = self._clock()

    def give_up_unheard(self) -> list[str]:
        """End the jobs of all tabs that nobody has listened to for a while, and return these tabs."""
        now = self._clock()
        for tab in self._listeners.keys() & self._heard.keys():
            self._heard[tab] = now
        silent = [tab for tab, heard in self._heard.items() if now - heard > GRACE]
        for tab in silent:
            del self._heard[tab]
        for job in self._jobs:
            if job.tab in silent and job.is_live:
                job.ended = UNHEARD
        return silent

    def _silence(self, job: Job) -> float:
        """Return for how many seconds nobody has listened to a job."""
        return 0.0 if self._listeners[job.tab] else self._clock() - max(job.joined, self._heard.get(job.tab, 0.0))
