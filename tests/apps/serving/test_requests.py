"""Requests that reach the page and requests that do not: by name, origin, path, and size and speed of the body."""

import asyncio
import json
import os
import types

import pytest

from jaxgen.apps.demo.options import DemoOptions

guard = pytest.importorskip('jaxgen.apps.serving.guard', reason='the demo needs Gradio', exc_type=ModuleNotFoundError)
HERE = [('host', 'localhost:7860')]
UPLOAD = '/gradio_api/upload'


def request(method='GET', path='/', headers=HERE, chunks=(b'',), client='10.0.0.1', query=b''):
    """Return the scope of a request, a function that returns its body and then waits, and the parts still to come."""
    scope = {
        'type': 'http',
        'method': method,
        'path': path,
        'query_string': query,
        'headers': [(name.encode(), value.encode()) for name, value in headers],
        'client': (client, 5000),
        'server': ('192.168.1.5', 7860),
    }
    messages = [
        {'type': 'http.request', 'body': chunk, 'more_body': i < len(chunks)} for i, chunk in enumerate(chunks, 1)
    ]

    async def receive():
        return messages.pop(0) if messages else await asyncio.Event().wait()

    return scope, receive, messages


class Page:
    """A page that remembers the bodies of the requests that reach it, and answers once the test lets it."""

    def __init__(self, files='.', *, patience=60.0, **options):
        self.bodies, self.may_answer = [], asyncio.Event()
        self.may_answer.set()
        blocks = types.SimpleNamespace(fns={}, _queue=None)
        self.guard = guard.Guard(blocks, DemoOptions(**options), files, patience=patience)
        self.guard.app = self.app

    async def app(self, scope, receive, send):
        body = b''
        while scope['method'] == 'POST':
            message = await receive()
            body += message['body']
            if not message['more_body']:
                break
        self.bodies.append(body)
        await self.may_answer.wait()
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        await send({'type': 'http.response.body', 'body': b'the page'})

    async def ask(self, *args, **kwargs):
        """Return the status and the body of the answer to a request."""
        scope, receive, _ = request(*args, **kwargs)
        return await self.serve(scope, receive)

    async def serve(self, scope, receive):
        sent = []

        async def send(message):
            sent.append(message)

        await self.guard(scope, receive, send)
        return sent[0]['status'], sent[1]['body'].decode()


def asked(*args, options=(), **kwargs):
    async def ask():
        page = Page(**dict(options))
        return await page.ask(*args, **kwargs), page.bodies

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ('host', 'options', 'status'),
    [
        ('localhost:7860', {}, 200),
        ('LOCALHOST', {}, 200),
        ('127.0.0.1:7860', {}, 200),
        ('[::1]:7860', {}, 200),
        ('192.168.1.5:7860', {}, 200),
        ('workstation:7860', {'host': 'workstation'}, 200),
        ('[fe80::1]:7860', {'host': 'fe80::1'}, 200),
        ('lab.example.org', {'hosts': ('Lab.example.org',)}, 200),
        ('evil.example.com:7860', {}, 403),
        ('localhost.evil.example.com', {}, 403),
        ('localhost@evil.example.com', {}, 403),
        ('lab.example.org', {}, 403),
        ('192.168.1.6', {'host': '0.0.0.0'}, 403),
        ('', {}, 403),
    ],
)
@pytest.mark.parametrize('method', ['GET', 'HEAD', 'POST', 'OPTIONS'])
def test_only_names_of_the_page_are_answered(host, options, status, method):
    if method != 'GET' and status == 200:
        return
    (got, said), reached = asked(method, headers=[('host', host)], options=options)
    assert got == status and bool(reached) == (status == 200)
    assert status == 200 or '--config.demo.hosts' in said


@pytest.mark.parametrize('headers', [[], [*HERE, *HERE], [*HERE, ('x-forwarded-host', 'evil.example.com')]])
def test_a_request_has_one_name(headers):
    (status, _), reached = asked(headers=headers, options={'proxies': ('10.0.0.1',)})
    assert status == 403 and not reached


def test_headers_of_a_proxy_are_dropped_without_a_proxy():
    scope, receive, _ = request(headers=[*HERE, ('x-forwarded-host', 'evil'), ('x-gradio-server', 'http://evil')])
    assert asyncio.run(Page().serve(scope, receive))[0] == 200
    assert scope['headers'] == [(b'host', b'localhost:7860')]


@pytest.mark.parametrize(
    ('origin', 'options', 'status'),
    [
        ('http://localhost:7860', {}, 200),
        ('https://localhost:7860', {}, 200),
        ('https://lab.example.org', {'hosts': ('lab.example.org',)}, 200),
        ('http://localhost:3000', {}, 403),
        ('http://evil.example.com', {}, 403),
        ('http://evil.example.com/localhost:7860', {}, 403),
        ('null', {}, 403),
        ('', {}, 403),
    ],
)
def test_other_sites_must_not_use_the_page(origin, options, status):
    headers = [*HERE, ('origin', origin)]
    (got, _), reached = asked('POST', '/gradio_api/cancel', headers, [b'{}'], options=options)
    assert got == status and bool(reached) == (status == 200)


@pytest.mark.parametrize(
    ('method', 'path'),
    [
        ('GET', '/gradio_api/file=/etc/passwd'),
        ('GET', '/gradio_api/file/etc/passwd'),
        ('GET', '/file=config.json'),
        ('GET', '/gradio_api/proxy=http://example.com'),
        ('GET', '/monitoring'),
        ('GET', '/monitoring/summary'),
        ('GET', '/openapi.json'),
        ('GET', '/docs'),
        ('GET', '/gradio_api/openapi.json'),
        ('GET', '/gradio_api/deep_link'),
        ('GET', '/gradio_api/runs'),
        ('GET', '/gradio_api/queue/status'),
        ('GET', '/gradio_api/heartbeat/a/b'),
        ('GET', '/gradio_api/custom_component/a/client/b/c'),
        ('GET', '/assets/../../routes.py'),
        ('GET', '/assets/%2e%2e/routes.py'),
        ('GET', '/static/..\\routes.py'),
        ('GET', '/gradio_api/queue/join'),
        ('POST', '/'),
        ('POST', '/login'),
        ('POST', '/gradio_api/component_server'),
        ('POST', '/gradio_api/process_recording'),
        ('POST', '/gradio_api/run/predict'),
        ('POST', '/gradio_api/call/sample'),
        ('POST', '/gradio_api/stream/event'),
        ('POST', '/gradio_api/vibe-edit'),
        ('PUT', '/gradio_api/upload'),
        ('OPTIONS', '/gradio_api/queue/join'),
    ],
)
def test_paths_that_the_page_does_not_need_are_not_found(method, path):
    (status, said), reached = asked(method, path)
    assert (status, reached) == (404, []) and 'nothing at this address' in said


@pytest.mark.parametrize('path', ['/', '/assets/index-a_b.js', '/static/img/logo.svg', '/gradio_api/heartbeat/x1'])
def test_paths_that_the_page_needs_are_served(path):
    assert asked('GET', path)[0] == (200, 'the page')


def test_a_body_arrives_as_it_was_sent():
    chunks = [os.urandom(70_000), b'', os.urandom(70_000)]
    assert asked('POST', UPLOAD, HERE, chunks)[1] == [b''.join(chunks)]
    assert asked('POST', '/gradio_api/cancel', HERE, [b''])[1] == [b'']


@pytest.mark.parametrize('length', ['10100001', '9' * 5000, '-1', 'many'])
def test_a_body_is_refused_by_its_length_before_it_is_read(length):
    async def ask():
        page = Page()
        scope, receive, messages = request('POST', UPLOAD, [*HERE, ('content-length', length)], [b'x'])
        return (await page.serve(scope, receive))[0], len(messages), page.bodies

    assert asyncio.run(ask()) == (413, 1, [])


def test_a_body_without_a_length_is_read_up_to_its_limit():
    async def ask():
        page = Page()
        scope, receive, messages = request('POST', '/gradio_api/cancel', chunks=[bytes(6_000)] * 100)
        return (await page.serve(scope, receive))[0], len(messages), page.bodies

    assert asyncio.run(ask()) == (413, 98, [])


def test_a_slow_body_is_given_up():
    async def ask():
        page = Page(patience=0.01)
        scope, receive, messages = request('POST', UPLOAD, chunks=[b'x'])
        messages[0]['more_body'] = True
        return (await page.serve(scope, receive))[0], page.bodies

    assert asyncio.run(ask()) == (408, [])


def test_slow_uploads_hinder_only_their_own_address():
    async def ask():
        page = Page()
        page.may_answer.clear()
        slow = [asyncio.create_task(page.ask('POST', UPLOAD)) for _ in range(50)]
        other = asyncio.create_task(page.ask('POST', UPLOAD, client='10.0.0.2'))
        while len(page.bodies) < 5:
            await asyncio.sleep(0)
        page.may_answer.set()
        return [(await task)[0] for task in slow], (await other)[0], page.guard._open

    statuses, other, still_open = asyncio.run(ask())
    assert sorted(set(statuses)) == [200, 429] and statuses.count(200) == 4
    assert other == 200 and not still_open


def test_uploads_of_an_address_are_few_in_a_minute():
    async def ask():
        page = Page()
        return [(await page.ask('POST', UPLOAD))[0] for _ in range(30)]

    assert asyncio.run(ask()).count(200) == guard.PER_MINUTE['upload']


def joined(files, **body):
    body = {'data': [], 'fn_index': 0, 'session_hash': 'tab', **body}
    chunks = [body['raw'] if 'raw' in body else json.dumps(body).encode()]
    return asked('POST', '/gradio_api/queue/join', HERE, chunks, options={'files': str(files)})


@pytest.mark.parametrize(
    'body',
    [
        {'raw': b'['},
        {'raw': b'[' * 100_000},
        {'raw': b'[]'},
        {'raw': b'{"data": [], "fn_index": 0, "session_hash": ' + b'9' * 5000 + b'}'},
        {'data': {}},
        {'fn_index': True},
        {'fn_index': '0'},
        {'session_hash': None},
        {'session_hash': '../tab'},
        {'session_hash': 'x' * 100},
        {'event_data': [1]},
        {'data': [{'path': '/etc/passwd'}]},
        {'data': [[{'a': {'path': 'http://127.0.0.1/x'}}]]},
        {'data': [{'path': 'FILES/../x'}]},
        {'data': [{'path': None}]},
    ],
)
def test_a_request_that_the_page_does_not_send_is_refused(tmp_path, body):
    body = json.loads(json.dumps(body).replace('FILES', str(tmp_path))) if 'raw' not in body else body
    (status, said), reached = joined(tmp_path, **body)
    assert (status, reached) == (400, []) and 'load the page again' in said


def test_a_function_that_does_not_exist_is_refused(tmp_path):
    (status, said), _ = joined(tmp_path, fn_index=10**6, data=[{'path': f'{tmp_path}/a/b.png'}])
    assert status == 400 and 'no such function' in said


@pytest.mark.parametrize(
    ('client', 'address'),
    [
        ('10.0.0.1', '10.0.0.1'),
        ('::ffff:10.0.0.1', '10.0.0.1'),
        ('2001:db8::1', '2001:db8::/64'),
        ('2001:db8::ff:2', '2001:db8::/64'),
        ('fe80::1%eth0', 'fe80::/64'),
        ('unix', 'unix'),
    ],
)
def test_a_visitor_is_identified_by_address(client, address):
    assert guard.requests.address_of({'client': (client, 1)}) == address


def test_unused_uploads_are_deleted(tmp_path):
    async def tend():
        page = Page(tmp_path)
        page.guard._page._queue = None
        await page.guard.tend()

    for name in ('old', 'new'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'photograph.png').write_bytes(b'x')
    os.utime(tmp_path / 'old' / 'photograph.png', (0, 0))
    asyncio.run(tend())
    assert [path.parent.name for path in tmp_path.rglob('*.png')] == ['new']
