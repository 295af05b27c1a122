"""The jobs of all visitors, and the budget of each address.

A visitor is a browser tab at an address. A client chooses the identifier of its tab, but not its address. So the limit of a tab
is a courtesy to its visitor, and the limits of an address protect the other visitors.
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
SHORT_GRACE = 1.0  # the same in seconds, if another job of its address needs the place
MAX_QUICK = 64  # largest number of unfinished jobs of an address that do not sample
MINUTE = 60.0
REPLACED = 'This job was stopped, because a newer one of this browser tab took its place.'
UNHEARD = 'This job was stopped, because the browser tab that asked for it is gone.'
Clock = Callable[[], float]
S = TypeVar('S', bound='Step')


class Step(Protocol):
    """A report on the progress of a job: ``done`` of ``total`` steps."""

    @property
    def done(self) -> int:
        """The number of steps done."""

    @property
    def total(self) -> int:
        """The number of all steps."""

    @property
    def compiling(self) -> float | None:
        """For how many seconds the program of the steps has been compiled; None once it is ready."""


class Refused(UserError):
    """An error for a request that is not served.

    Attributes:
      status: the HTTP status of the answer.
    """

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


class Budget:
    """An amount that each address may spend in a minute; it is refilled evenly over the minute.

    Args:
      per_minute: the amount.
      unit: the unit of the amount, for messages.
      clock: returns the time in seconds.
    """

    def __init__(self, per_minute: int, unit: str, clock: Clock = time.monotonic):
        self._per_minute, self._unit, self._clock = per_minute, unit, clock
        self._spent: dict[str, tuple[float, float]] = {}  # the amount that was spent, and when

    def left(self, address: str) -> float:
        """Return the amount that an address may spend now."""
        spent, then = self._spent.get(address, (0.0, 0.0))
        back = (self._clock() - then) / MINUTE * self._per_minute
        return self._per_minute - max(0.0, spent - back)

    def require(self, address: str, amount: float) -> None:
        """Refuse an amount that is larger than the rest of the budget.

        Raises:
          Refused: if it is; the message says how much is left, and how long to wait.
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
        """Take an amount off the budget of an address."""
        now = self._clock()
        self._spent = {one: (spent, then) for one, (spent, then) in self._spent.items() if now - then < MINUTE}
        self._spent[address] = self._per_minute - self.left(address) + amount, now


class Turn(NamedTuple):
    """A place in the queue, as a browser tab sees it.

    Attributes:
      running: the state of the job of another tab that runs now; None if there is none.
      ahead: number of jobs that come before the job of this tab; None if this tab does not wait.
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
      jobs: the jobs of all visitors.
      event: identifier of the job in the queue; None before it has one, and empty if the queue no longer has the job.
      ended: the reason why it must stop; None while it may go on.
      state: what it computes and its progress, in words; empty before its turn.
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
        """Whether the job waits or runs, and has not been given up."""
        return self.ended is None and (self.event is None or self.jobs.is_queued(self.event))

    def require_live(self) -> None:
        """Stop a job that has been given up.

        Raises:
          UserError: if it has; the message says why.
        """
        if not self.is_live:
            raise UserError(self.ended or UNHEARD)

    def start(self, calls: int, what: str) -> None:
        """Start the job, or refuse it if the budget is too small.

        Args:
          calls: number of calls of the network on one image.
          what: a description of the result, for the visitors who wait.

        Raises:
          UserError: if it is refused, or was stopped before; the message says why.
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
        """Yield steps until the job is given up, and take each of them off the budget.

        Args:
          steps: the steps of one of the models that the job samples.
          calls: number of network calls of all these steps.

        Raises:
          UserError: if the job was given up before the last step; the message says why.
        """
        what = self.state.partition(':')[0]
        for step in steps:
            is_ready = step.compiling is None
            self.state = f'{what}: ' + (f'step {step.done} of {step.total}' if is_ready else 'compiling the program')
            if step.done:
                self.jobs.budget.spend(self.address, calls / step.total)
                self.require_live()
            yield step


class Jobs:
    """A record of the jobs that wait or run, and of the browser tabs that listen to them.

    Args:
      options: how much an address may ask for.
      is_queued: returns whether the queue still has the job with an identifier.
      clock: returns the time in seconds.
    """

    def __init__(self, options: DemoOptions, is_queued: Callable[[str], bool], clock: Clock = time.monotonic):
        self.options, self.is_queued = options, is_queued
        self.budget = Budget(options.calls_per_minute, 'network calls (images x steps)', clock)
        self._clock = clock
        self._jobs: list[Job] = []
        self._listeners: collections.Counter[str] = collections.Counter()
        self._heard: dict[str, float] = {}  # the time of the last listener or request of each tab

    def admit(self, tab: str, address: str, samples: bool) -> tuple[Job, list[Job]]:
        """Return a new job, and the jobs that it replaces.

        A tab has one job that samples: the newest one. If an address has as many jobs as it may have, the new job replaces one
        that nobody listens to.

        Args:
          tab: identifier of the browser tab.
          address: address of the visitor.
          samples: whether the job uses the device.

        Raises:
          Refused: if the address has too many jobs.
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
        """Return the place in the queue of a browser tab; jobs run in the order in which they were admitted."""
        live = [job for job in self._jobs if job.samples and job.is_live]
        running = next((job for job in live if job.state), None)
        mine = next((i for i, job in enumerate(live) if job.tab == tab and not job.state), None)
        others = running is not None and running.tab != tab
        return Turn(running.state if running and others else None, mine)

    @contextlib.contextmanager
    def listening(self, tab: str) -> Iterator[None]:
        """Record that somebody listens to a tab while the block runs."""
        self._listeners[tab] += 1
        try:
            yield
        finally:
            self._listeners[tab] -= 1
            self._listeners += collections.Counter()  # drops the counts that are 0
            if tab in self._heard:
                self._heard[tab] = self._clock()

    def give_up_unheard(self) -> list[str]:
        """End the jobs of all tabs that nobody has listened to for ``GRACE`` seconds, and return these tabs."""
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
