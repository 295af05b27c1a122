"""Checks of the requests that a server hands to an ASGI application: their host names, paths, sizes and senders."""

from __future__ import annotations

import asyncio
import collections
import ipaddress
import json
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import IO

from jaxgen.apps.demo.options import DemoOptions
from jaxgen.apps.serving.jobs import Refused
from jaxgen.types import JsonObject

Receive = Callable[[], Awaitable[JsonObject]]
Send = Callable[[JsonObject], Awaitable[None]]
App = Callable[[JsonObject, Receive, Send], Awaitable[None]]

API = '/gradio_api/'
TAB = re.compile(r'[\w-]{1,64}', re.ASCII)  # identifiers that browser tabs choose for themselves
GET = re.compile(
    rf'/|/(assets|static)/[\w@+./~-]+|/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)'
    rf'|{API}(info|app_id|startup-events|upload_progress|queue/data|heartbeat/{TAB.pattern})'
)
SMALL = 10_000  # bytes
POST = {
    'queue/join': 4_000_000,
    'upload': 10_100_000,
    'cancel': SMALL,
    'reset': SMALL,
}  # largest body of each request, in bytes
CHUNK = 65_536  # bytes of a body that are kept in memory
NOT_SERVED = 'The page is not served under this name: open it as localhost, or start it with --config.demo.hosts=NAME.'
FOREIGN = 'Another site must not use this page: open the page itself.'


class Names:
    """The host names under which a page is served.

    Args:
      options: the address at which it listens, and its further names.
    """

    def __init__(self, options: DemoOptions):
        self._has_proxy = options.proxies is not None
        self._configured = {_bracketed(name.lower()) for name in options.hosts or ()}
        self._own = self._configured | {'localhost', '127.0.0.1', '[::1]', _bracketed(options.host.lower())}

    def check(self, scope: JsonObject) -> None:
        """Refuse a request under the name of another site (DNS rebinding), and a request that another site makes.

        Headers that only a proxy may set are removed if no proxy is configured.

        Raises:
          Refused: if the request is refused, with the status 403.
        """
        dropped = (b'x-gradio-server',) if self._has_proxy else (b'x-gradio-server', b'forwarded', b'x-forwarded-')
        scope['headers'] = [(key, value) for key, value in scope['headers'] if not key.startswith(dropped)]
        headers: dict[bytes, list[str]] = collections.defaultdict(list)
        for key, value in scope['headers']:
            headers[key].append(value.decode('latin-1').strip().lower())
        own = self._own | {_bracketed((scope.get('server') or ('',))[0])}
        names = headers[b'host'] + headers[b'x-forwarded-host']
        if len(headers[b'host']) != 1 or any(_host(name) not in own for name in names):
            raise Refused(403, NOT_SERVED)
        for origin in headers[b'origin']:
            place = origin.partition('://')[2]
            if place not in names and _host(place) not in self._configured:
                raise Refused(403, FOREIGN)


def endpoint(scope: JsonObject) -> str | None:
    """Return the key of ``POST`` that a request is for; None if it is a GET request that the page needs.

    Raises:
      Refused: if it is for anything else, with the status 404.
    """
    path, method = scope['path'], scope['method']
    if method in ('GET', 'HEAD') and GET.fullmatch(path) and '..' not in path:
        return None
    name = path.removeprefix(API) if path.startswith(API) else ''
    if method != 'POST' or name not in POST:
        raise Refused(404, 'The page has nothing at this address.')
    return name


def address_of(scope: JsonObject) -> str:
    """Return the address of a visitor; for IPv6 its network of 64 bits, since one visitor may own a whole network."""
    client = (scope.get('client') or ('',))[0]
    try:
        found = ipaddress.ip_address(client.partition('%')[0])
    except ValueError:
        return client
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))


async def receive_body(scope: JsonObject, receive: Receive, body: IO[bytes], *, most: int, patience: float) -> None:
    """Receive the body of a request into a file.

    Args:
      scope: the request.
      receive: the function that returns the parts of its body.
      body: the file.
      most: largest number of bytes.
      patience: seconds within which the whole body must arrive.

    Raises:
      Refused: if the body is too large, too late or incomplete.
    """
    too_large = Refused(413, f'The request has more than {most:,} bytes: send less.')
    length = dict(scope['headers']).get(b'content-length', b'0')
    if len(length) > 12 or not length.isdigit() or int(length) > most:
        raise too_large
    try:
        async with asyncio.timeout(patience):
            while (message := await receive())['type'] == 'http.request':
                chunk = message.get('body', b'')
                if body.tell() + len(chunk) > most:
                    raise too_large
                body.write(chunk)
                if not message.get('more_body'):
                    return
    except TimeoutError:
        raise Refused(408, f'The request did not arrive within {patience:g} seconds: send it again.') from None
    raise Refused(400, 'The request ended before all of it had arrived.')


def replay(body: IO[bytes], receive: Receive) -> Receive:
    """Return a function that gives an application a body in chunks, and then what ``receive`` returns."""
    size, sent = body.seek(0, os.SEEK_END), False
    body.seek(0)

    async def replayed() -> JsonObject:
        nonlocal sent
        if sent:
            return await receive()
        chunk = body.read(CHUNK)
        sent = body.tell() == size
        return {'type': 'http.request', 'body': chunk, 'more_body': not sent}

    return replayed


def read_join(body: IO[bytes], files: str) -> JsonObject:
    """Parse the body of a request to join the queue.

    Args:
      body: the body.
      files: the folder of uploads; the request may name no other files, and no addresses to fetch files from.

    Raises:
      Refused: if the page would not send this request, with the status 400.
    """
    body.seek(0)
    try:
        asked = json.load(body)
        whole = (
            isinstance(asked['data'], list)
            and type(asked['fn_index']) is int
            and TAB.fullmatch(asked['session_hash']) is not None
            and isinstance(asked.get('event_data') or {}, dict)
            and all(
                os.path.abspath(path).startswith(os.path.join(os.path.abspath(files), '')) for path in _paths(asked)
            )
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise Refused(400, 'This is not what the page sends: load the page again.')
    return asked


async def answer(scope: JsonObject, send: Send, refused: Refused) -> None:
    """Answer a request with the sentence that says why it is refused."""
    is_api = scope['path'].startswith(API)
    body = (json.dumps({'detail': str(refused)}) if is_api else str(refused)).encode()
    kind = b'application/json' if is_api else b'text/plain; charset=utf-8'
    headers = [(b'content-type', kind), (b'content-length', str(len(body)).encode())]
    await send({'type': 'http.response.start', 'status': refused.status, 'headers': headers})
    await send({'type': 'http.response.body', 'body': body})


def _paths(value: object) -> Iterator[str]:
    """Yield the paths of all files that a request names."""
    if isinstance(value, dict):
        if 'path' in value:
            yield value['path']
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _paths(one)


def _bracketed(address: str) -> str:
    """Return an address as it is written in a URL: in brackets if it is an IPv6 address."""
    return f'[{address}]' if ':' in address and '[' not in address else address


def _host(place: str) -> str:
    """Return the host of ``host:port``; an empty text if this is not of that form."""
    match = re.fullmatch(r'(\[[0-9a-f:.]+\]|[\w.-]+)(:\d{1,5})?', place)
    return match[1] if match else ''
