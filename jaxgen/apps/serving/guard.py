"""The guard in front of Gradio: it decides which requests pass, and ends jobs that nobody listens to.

Gradio accepts every well-formed request: under any name of the machine, of any size and to any of its endpoints, and it queues
jobs whether or not somebody waits for the answer. The guard is an ASGI application around it.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import pathlib
import tempfile
import time
import traceback
import urllib.parse
from collections.abc import AsyncIterator, Iterator
from typing import IO

import gradio as gr
from gradio.server_messages import ProcessCompletedMessage

from jaxgen.apps.demo.options import DemoOptions
from jaxgen.apps.serving import requests
from jaxgen.apps.serving.jobs import REPLACED, Budget, Clock, Job, Jobs, Refused
from jaxgen.apps.serving.requests import App, Receive, Send
from jaxgen.types import JsonObject

JOB = 'jaxgen.job'  # key of the job in the scope of a request that joins the queue
DEVICE = 'device'  # concurrency_id of the events that sample
MAX_OPEN = {'request': 128, 'upload': 4}  # requests and uploads that an address may have open at once
PER_MINUTE = {'request': 1200, 'upload': 20}  # POST requests and uploads that an address may send in a minute
INTERVAL = 1.0  # seconds between two checks for jobs that nobody listens to
KEPT = 60.0  # seconds after which an uploaded file that nobody used is deleted


class Guard:
    """An application that a server runs in place of the page's own.

    Args:
      page: the page; the guard takes its place when the server starts, through ``lifespan``.
      options: the names of the page, and how much an address may ask for.
      files: the folder in which uploads arrive.
      clock: returns the time in seconds, for the limits per minute.
      patience: seconds within which the body of a request must arrive.
    """

    def __init__(
        self,
        page: gr.Blocks,
        options: DemoOptions,
        files: str,
        *,
        clock: Clock = time.monotonic,
        patience: float = 60.0,
    ):
        self._page, self._files, self._patience = page, files, patience
        self._names = requests.Names(options)
        self._open: collections.Counter[tuple[str, str]] = collections.Counter()
        self._budgets = {kind: Budget(most, f'{kind}s', clock) for kind, most in PER_MINUTE.items()}
        self.jobs = Jobs(options, self._is_queued, clock)
        self.app: App | None = None

    @contextlib.asynccontextmanager
    async def lifespan(self, app) -> AsyncIterator[None]:
        """Take the place of the middleware of an application, and look after its jobs while it runs."""
        self.app, app.middleware_stack = app.middleware_stack, self
        watch = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watch.cancel()

    async def __call__(self, scope: JsonObject, receive: Receive, send: Send) -> None:
        """Serve a request, or answer with a sentence that says why it is refused."""
        if scope['type'] != 'http':
            await send({'type': 'websocket.close', 'code': 1008})  # the page uses none
            return
        try:
            await self._serve(scope, receive, send)
        except Refused as e:
            await requests.answer(scope, send, e)

    async def tend(self) -> None:
        """End the jobs that nobody listens to, and delete the uploads that nobody used."""
        queue = self._page._queue
        for tab in self.jobs.give_up_unheard():
            await queue.clean_events(session_hash=tab)
            queue.pending_messages_per_session.pop(tab, None)
            queue.pending_event_ids_session.pop(tab, None)
        with contextlib.suppress(FileNotFoundError):  # the page deletes files as well
            for path in pathlib.Path(self._files).rglob('*'):
                if path.is_file() and time.time() - path.stat().st_mtime > KEPT:
                    path.unlink()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await self.tend()
            except Exception:  # the next check may succeed; without any, jobs that nobody listens to would run on
                traceback.print_exc()

    async def _serve(self, scope: JsonObject, receive: Receive, send: Send) -> None:
        assert self.app is not None
        self._names.check(scope)
        name, address = requests.endpoint(scope), requests.address_of(scope)
        with self._counted('request', address), contextlib.ExitStack() as stack:
            if name is None:
                stack.enter_context(self._listening(scope))
                await self.app(scope, receive, send)
                return
            self._spend('request', address)
            if name == 'upload':
                stack.enter_context(self._counted('upload', address))
                self._spend('upload', address)
            body = stack.enter_context(tempfile.SpooledTemporaryFile(requests.CHUNK))
            most = requests.POST[name]
            await requests.receive_body(scope, receive, body, most=most, patience=self._patience)
            if name == 'queue/join':
                stack.enter_context(await self._joining(scope, address, body))
            await self.app(scope, requests.replay(body, receive), send)

    @contextlib.contextmanager
    def _counted(self, kind: str, address: str) -> Iterator[None]:
        """Count a request that an address has open, and refuse it if the address has too many."""
        if self._open[kind, address] >= MAX_OPEN[kind]:
            raise Refused(429, f'Your address has {MAX_OPEN[kind]} {kind}s open already: wait until one is done.')
        self._open[kind, address] += 1
        try:
            yield
        finally:
            self._open[kind, address] -= 1
            self._open += collections.Counter()  # drops the counts that are 0

    def _spend(self, kind: str, address: str) -> None:
        self._budgets[kind].require(address, 1)
        self._budgets[kind].spend(address, 1)

    def _listening(self, scope: JsonObject) -> contextlib.AbstractContextManager[None]:
        """Record that somebody listens to a browser tab, if the request does so."""
        tabs = urllib.parse.parse_qs(scope['query_string'].decode('latin-1')).get('session_hash', [])
        if scope['path'] != f'{requests.API}queue/data' or len(tabs) != 1:
            return contextlib.nullcontext()
        return self.jobs.listening(tabs[0])

    async def _joining(
        self, scope: JsonObject, address: str, body: IO[bytes]
    ) -> contextlib.AbstractContextManager[None]:
        """Admit a job to the queue, end the jobs that it replaces, and return a context that records its queue identifier."""
        asked = requests.read_join(body, self._files)
        function = self._page.fns.get(asked['fn_index'])
        if function is None:
            raise Refused(400, 'The page has no such function: load the page again.')
        job, ending = self.jobs.admit(asked['session_hash'], address, function.concurrency_id == DEVICE)
        scope[JOB] = job
        for other in ending:
            await self._end(other)
        return self._noted(job)

    @contextlib.contextmanager
    def _noted(self, job: Job) -> Iterator[None]:
        """Record the identifier of a job in the queue when the block ends."""
        try:
            yield
        finally:
            events = self._page._queue.event_ids_to_events.items()
            job.event = next((name for name, event in events if event.request.scope.get(JOB) is job), '')

    async def _end(self, job: Job) -> None:
        """End a job that a newer one replaces: at once if it waits, at its next step if it runs."""
        job.ended = REPLACED
        queue = self._page._queue
        if job.event not in queue.event_ids_to_events:
            return
        await queue.remove_from_queue(job.event)
        messages = queue.pending_messages_per_session.get(job.tab)
        if job.event not in queue.event_ids_to_events and messages is not None:
            messages.put_nowait(ProcessCompletedMessage(output={}, success=True, event_id=job.event))

    def _is_queued(self, event: str) -> bool:
        found = self._page._queue.event_ids_to_events.get(event)
        return found is not None and found.alive
