"""Visitors who misuse the page: one server, and a model that takes a step whenever a test lets it."""

import contextlib
import http.client
import json
import re
import threading
import uuid

import pytest

visitors = pytest.importorskip('tests.helpers.visitors', reason='the demo needs Gradio', exc_type=ModuleNotFoundError)
PNG = b'\x89PNG\r\n\x1a\n'


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    limits = {'demo.calls_per_job': 2000, 'demo.calls_per_minute': 1_000_000}
    with visitors.serve(tmp_path_factory.mktemp('page'), **limits) as served:
        yield served


@pytest.fixture
def model(page):
    """Return the model of the page once the jobs of the tests before are gone."""
    page.model.lets_through = threading.Semaphore(0)
    page.model.generations = page.model.steps = 0
    yield page.model
    page.model.lets_through.release(10_000)
    until(lambda: not page.blocks._queue.event_ids_to_events)


def until(holds):
    waiting = threading.Event()
    for _ in range(100 * visitors.PATIENCE):
        if holds():
            return
        waiting.wait(0.01)
    raise AssertionError


def tab():
    return uuid.uuid4().hex


def samples(page, **changes):
    """Return the values of the inputs of the tab Generate."""
    values = {'model': str(page.files.parent / 'one'), 'classes': [], 'sampler': 'ddim', 'steps': 5, 'own_steps': 5}
    return [*{**values, 'guidance': 1, 'eta': 0, 'seed': 3, 'images': 2, **changes}.values()]


def upload(page, data, name='photograph.png'):
    """Upload a file, and return the status of the answer and the path of the file."""
    head = f'--edge\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = head.encode() + data + b'\r\n--edge--\r\n'
    status, said = page.request('POST', '/gradio_api/upload', body, Content_Type='multipart/form-data; boundary=edge')
    return status, json.loads(said)


def files(page):
    return [path for path in page.files.rglob('*') if path.is_file()]


def test_silent_jobs_leave_room_for_visitors(page, model, monkeypatch):
    visitors.lose_patience(monkeypatch)
    model.lets_through.release(10_000)
    statuses = [page.join(tab(), 'sample', samples(page, steps=1000))[0] for _ in range(100)]
    assert set(statuses) <= {200, 429}  # most jobs of a quick visitor are refused, see serving/test_jobs.py
    queue = page.blocks._queue
    until(lambda: not queue.event_ids_to_events)
    until(lambda: not queue.pending_event_ids_session and not queue.pending_messages_per_session)
    monkeypatch.undo()
    assert ': done' in page.outcome(tab(), 'sample', samples(page))


def test_a_silent_job_stops_at_its_next_step(page, model, monkeypatch):
    page.join(tab(), 'sample', samples(page, steps=1000))
    assert model.running.wait(visitors.PATIENCE)
    visitors.lose_patience(monkeypatch)
    until(lambda: not any(event.alive for event in page.blocks._queue.event_ids_to_events.values()))
    model.lets_through.release(1)
    assert model.stopped.wait(visitors.PATIENCE) and model.steps == 1


def test_a_visitor_who_leaves_stops_the_job(page, model, monkeypatch):
    mine = tab()
    page.join(mine, 'sample', samples(page, steps=1000))
    with page.listening(mine) as messages:
        next(message for message in messages if message['msg'] == 'process_generating')
        assert model.running.wait(visitors.PATIENCE)
    visitors.lose_patience(monkeypatch)
    until(lambda: not any(event.alive for event in page.blocks._queue.event_ids_to_events.values()))
    model.lets_through.release(1)
    assert model.stopped.wait(visitors.PATIENCE) and model.steps == 1


def test_visitors_see_their_place_in_the_queue(page, model):
    first, second = tab(), tab()
    page.join(first, 'sample', samples(page, steps=999))
    assert model.running.wait(visitors.PATIENCE)
    page.join(second, 'sample', samples(page))
    assert 'at work for another visitor: 2 images of one: step 0 of 999.' in page.outcome(tab(), 'look', [])
    page.join(second, 'look', [])
    with page.listening(second) as messages:
        said = next(str(m['output']) for m in messages if 'Timer' in str(m.get('output')) or 'at work' in str(m))
    assert 'step 0 of 999. Your turn comes after one job.' in said


def test_a_newer_job_of_a_tab_replaces_the_older(page, model):
    mine = tab()
    page.join(mine, 'sample', samples(page, steps=1000))
    assert model.running.wait(visitors.PATIENCE)
    with page.listening(mine) as messages:
        waits = json.loads(page.join(mine, 'sample', samples(page, steps=999))[1])['event_id']
        page.join(mine, 'sample', samples(page))
        model.lets_through.release(10_000)
        ends = [m for m in messages if m['msg'] == 'process_completed']
    assert ends[0]['event_id'] == waits and ends[0]['output'] == {}
    assert 'a newer one of this browser tab' in str(ends[1]) or model.steps < 20
    assert model.generations == 2 and len(ends) == 3


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'images': 10**9}, 'images=1000000000 must be at most 64'),
        ({'steps': -1}, 'steps=-1 must be at least 1'),
        ({'steps': 5.5}, 'steps=5.5 must be a whole number'),
        ({'steps': '5'}, 'must be a whole number'),
        ({'steps': True}, 'must be a whole number'),
        ({'steps': [5]}, 'must be a whole number'),
        ({'seed': 2**70}, 'is too large'),
        ({'seed': -1}, 'seed=-1 must be at least 0'),
        ({'guidance': float('nan')}, 'guidance=nan must be finite'),
        ({'guidance': float('inf')}, 'must be finite'),
        ({'eta': 2}, 'eta=2 must be at most 1'),
        ({'sampler': 'none'}, 'does not exist'),
        ({'sampler': {}}, 'sampler={} must be one of'),
        ({'classes': 'all'}, 'classes'),
        ({'classes': [3]}, 'must be names'),
        ({'model': '../../x'}, 'does not exist'),
        ({'model': {'path': 1}}, 'load the page again'),
        ({'model': 'x' * 20_000}, 'more than 10,000 characters'),
        ({'steps': 1000, 'images': 3}, '3,000 network calls .images x steps., but a job may take at most 2,000'),
    ],
)
def test_a_bad_value_is_a_note_and_nothing_is_computed(page, model, changes, words):
    assert re.search(words, page.outcome(tab(), 'sample', samples(page, **changes)))
    assert model.generations == 0


@pytest.mark.parametrize(
    ('handler', 'values'),
    [
        ('choose', ['../../x']),
        ('preset', ['a spiral', None]),
        ('_after_step', [-1]),
        ('_after_step', [float('nan')]),
        ('take_from_data_set', ['one', 'validation', 3]),
        ('take_from_data_set', ['../../x', 'test', 3]),
        ('take_from_data_set', [None, 'test', 1e300]),
        ('show', ['../../x', 'loss']),
        ('show', [[], 'loss']),
        ('grid', ['../../x', 0]),
        ('forward', ['../../x', 3, 10]),
        ('forward', [None, -3, 10]),
    ],
)
def test_a_bad_value_of_any_input_is_one_note(page, capfd, handler, values):
    said = page.outcome(tab(), handler, values)
    assert 'Error' in said or 'role="alert"' in said
    assert 'Traceback' not in capfd.readouterr().err


@pytest.mark.parametrize('strength', [0, -1, 2, float('nan')])
def test_a_bad_strength_is_refused_before_the_picture(page, model, strength):
    values = samples(page)
    said = page.outcome(tab(), 'make', [values[0], [], strength, 5, 5, 0, 1, '{}'])
    assert 'strength=' in said and model.generations == 0


def test_an_upload_is_shown_and_gone(page):
    status, (path,) = upload(page, PNG)
    assert status == 200 and path.startswith(str(page.files))
    given = {'path': path, 'meta': {'_type': 'gradio.FileData'}}
    assert 'is not an image that can be read' in page.outcome(tab(), 'upload', [given, samples(page)[0]])
    assert not files(page)


@pytest.mark.parametrize('path', ['/etc/passwd', 'http://127.0.0.1:1/x.png', '/etc/../etc/passwd'])
def test_an_upload_names_no_other_file(page, path):
    given = {'path': path, 'meta': {'_type': 'gradio.FileData'}}
    assert 'load the page again' in page.outcome(tab(), 'upload', [given, samples(page)[0]])


def test_an_upload_that_is_broken_off_leaves_no_file(page):
    connection = http.client.HTTPConnection('127.0.0.1', page.port)
    with contextlib.closing(connection):
        connection.putrequest('POST', '/gradio_api/upload')
        connection.putheader('Content-Type', 'multipart/form-data; boundary=edge')
        connection.putheader('Content-Length', '1000')
        connection.endheaders(b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nxx')
    assert not files(page)


def test_slow_uploads_keep_nobody_waiting(page, model):
    model.lets_through.release(10_000)
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            slow = http.client.HTTPConnection('127.0.0.1', page.port)
            stack.enter_context(contextlib.closing(slow))
            slow.putrequest('POST', '/gradio_api/upload')
            slow.putheader('Content-Length', '1000')
            slow.endheaders(b'x')
        assert page.request('GET', '/')[0] == 200
        assert ': done' in page.outcome(tab(), 'sample', samples(page))
