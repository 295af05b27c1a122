"""A page with a model that takes a step whenever a test lets it, and visitors of that page without a browser."""

import contextlib
import http.client
import json
import socket
import threading
import types

import numpy as np
import pytest
from etils import epath

from jaxgen.apps.demo import page
from jaxgen.apps.demo.engine import Progress
from jaxgen.apps.demo.workdirs import Workdirs
from jaxgen.apps.serving import guard, jobs
from tests.tiny import tiny_config

PATIENCE = 30  # seconds after which something that should happen has failed


class SteppedModel:
    """A model of one image whose steps a test lets through, and that counts what it was asked for."""

    denoises = True

    def __init__(self, config):
        self.config, self.trained = config, types.SimpleNamespace(step=4)
        self.generations, self.steps = 0, 0
        self.lets_through = threading.Semaphore(0)
        self.running, self.stopped = threading.Event(), threading.Event()

    def network_calls(self, fields, num=None, share=1.0):
        return fields['sample.num'] * fields['sample.num_steps']

    def generate(self, fields):
        self.generations += 1
        self.stopped.clear()
        try:
            total = fields['sample.num_steps']
            for done in range(total):
                yield Progress(done, total, np.zeros((1, 8, 8, 1), np.uint8))
                self.running.set()
                assert self.lets_through.acquire(timeout=PATIENCE)
                self.steps += 1
            yield Progress(total, total, np.zeros((1, 8, 8, 1), np.uint8))
        finally:
            self.running.clear()
            self.stopped.set()


class Served:
    """The address of a page, its model, its guard's limits and the folder of its uploads."""

    def __init__(self, blocks, model, port, files):
        self.blocks, self.model, self.port, self.files = blocks, model, port, files

    def function(self, name):
        """Return the number that a handler of the page has for Gradio."""
        return next(number for number, fn in self.blocks.fns.items() if fn.name == name)

    def request(self, method, path, body=b'', **headers):
        """Return the status of an answer, and what it says."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path, body, {name.replace('_', '-'): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def join(self, tab, handler, values, **other):
        """Ask for something as a browser tab does, and return the status of the answer and what it says."""
        asked = {'session_hash': tab, 'fn_index': self.function(handler), 'data': values, **other}
        body = json.dumps(asked).encode()
        return self.request('POST', '/gradio_api/queue/join', body, Content_Type='application/json')

    @contextlib.contextmanager
    def listening(self, tab):
        """Listen to a tab, and return an iterator over its messages."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request('GET', f'/gradio_api/queue/data?session_hash={tab}')
            answer = connection.getresponse()
            yield (json.loads(line[5:]) for line in answer if line.startswith(b'data:'))
            connection.sock and connection.sock.shutdown(socket.SHUT_RDWR)

    def outcome(self, tab, handler, values, **other):
        """Return how a request to the page ends: the sentence of a refusal, or the last outputs as text."""
        status, said = self.join(tab, handler, values, **other)
        if status != 200:
            return json.loads(said)['detail']
        with self.listening(tab) as messages:
            outputs = [m['output'] for m in messages if m['msg'] in ('process_generating', 'process_completed')]
        return ' '.join(map(str, outputs))


def lose_patience(patch):
    """Let jobs that nobody listens to end at once."""
    patch.setattr(jobs, 'GRACE', 0.2)


@contextlib.contextmanager
def serve(folder, **fields):
    """Serve a page over one stepped model; jobs that nobody listens to go on until a test calls ``lose_patience``."""
    (folder / 'one' / 'checkpoints' / '4').mkdir(parents=True)
    (folder / 'files').mkdir()
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        port = taken.getsockname()[1]
    c = tiny_config(**{'diffusion.timesteps': 1000})
    (folder / 'one' / 'config.json').write_text(json.dumps(c.to_tree()))
    c = c.replace({'demo.workdirs': (str(folder / 'one'),), 'demo.port': port, **fields})
    model = SteppedModel(c)
    with pytest.MonkeyPatch.context() as patch:
        for name in ('GRADIO_TEMP_DIR', 'FORWARDED_ALLOW_IPS'):
            patch.setenv(name, '')
        patch.setattr(Workdirs, 'model', lambda workdirs, name: workdirs.path(name) and model)
        patch.setattr(guard, 'INTERVAL', 0.02)
        patch.setattr(jobs, 'GRACE', 2 * PATIENCE)
        patch.setattr(jobs, 'SHORT_GRACE', 0.1)
        blocks = page.start(c, epath.Path(folder / 'one'), str(folder / 'files'))
        yield Served(blocks, model, port, folder / 'files')
        blocks.close(verbose=False)
