"""Downloads from a local server: complete, limited in size and time, and never from a local file."""

import contextlib
import http.server
import threading

import pytest

from jaxgen.io import download

WHOLE = bytes(range(256)) * 10


class Server(http.server.BaseHTTPRequestHandler):
    """A server that answers by the name in the address; a test may set ``leads_to`` and ``pause``."""

    leads_to, pause = '', None

    def do_GET(self):
        name = self.path.strip('/')
        if name == 'redirect':
            self.send_response(302)
            self.send_header('Location', self.leads_to)
            self.end_headers()
            return
        if name == 'absent':
            self.send_error(404)
            return
        self.send_response(200)
        if name in ('whole', 'short'):
            self.send_header('Content-Length', str(len(WHOLE) + (name == 'short')))
        if name == 'huge':
            self.send_header('Content-Length', str(2**50))
        if name == 'strange':
            self.send_header('Content-Length', 'many')
        if name == 'broken':
            self.send_header('Transfer-Encoding', 'chunked')
        self.end_headers()
        if name == 'stalled':
            self.pause.wait(10)
        with contextlib.suppress(OSError):
            self.wfile.write(b'20\r\nabc' if name == 'broken' else WHOLE)

    def log_message(self, *args):
        pass


@pytest.fixture(scope='module')
def address():
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv('no_proxy', '*')


@pytest.mark.parametrize('name', ['whole', 'unannounced'])
def test_a_whole_file_is_written(address, tmp_path, name):
    download.download(f'{address}/{name}', tmp_path / 'x', len(WHOLE))
    assert (tmp_path / 'x').read_bytes() == WHOLE


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('absent', '404'),
        ('short', 'broke off after 2560 of 2561 bytes'),
        ('huge', 'has 1125899906842624 bytes, but at most 4096 are expected'),
        ('strange', 'invalid literal'),
        ('broken', 'IncompleteRead'),
    ],
)
def test_an_incomplete_download_is_an_error(address, tmp_path, name, words):
    with pytest.raises(OSError, match=words):
        download.download(f'{address}/{name}', tmp_path / 'x', 4096)


def test_more_bytes_than_expected_are_an_error(address, tmp_path):
    with pytest.raises(OSError, match='more than 2559 bytes'):
        download.download(f'{address}/unannounced', tmp_path / 'x', len(WHOLE) - 1)


def test_a_server_that_pauses_or_is_slow_is_an_error(address, tmp_path, monkeypatch):
    monkeypatch.setattr(Server, 'pause', threading.Event())
    monkeypatch.setattr(download, 'TIMEOUT', 0.05)
    with pytest.raises(TimeoutError):
        download.download(f'{address}/stalled', tmp_path / 'x', 4096)
    Server.pause.set()
    with pytest.raises(TimeoutError, match='takes longer than 0 seconds'):
        download.download(f'{address}/whole', tmp_path / 'x', 4096, seconds=0)


@pytest.mark.parametrize('kind', ['file', 'ftp', 'data'])
def test_a_redirect_leads_to_no_file_of_this_machine(address, tmp_path, monkeypatch, kind):
    (tmp_path / 'secret').write_bytes(b'secret')
    leads_to = (tmp_path / 'secret').as_uri().replace('file', kind, 1)
    monkeypatch.setattr(Server, 'leads_to', leads_to)
    for url in (f'{address}/redirect', leads_to):
        with pytest.raises(OSError, match='unknown url type|not allowed|redirected to an address'):
            download.download(url, tmp_path / 'x', 4096)
    assert not (tmp_path / 'x').exists()


def test_a_redirect_leads_to_another_address_of_the_same_kind(address, tmp_path, monkeypatch):
    monkeypatch.setattr(Server, 'leads_to', f'{address}/whole')
    download.download(f'{address}/redirect', tmp_path / 'x', 4096)
    assert (tmp_path / 'x').read_bytes() == WHOLE


def test_a_redirect_from_https_to_http_is_refused():
    request = download.urllib.request.Request('https://example.org/x')
    with pytest.raises(OSError, match='redirected to an address of the kind http'):
        download._Redirects().redirect_request(request, None, 302, '', {}, 'http://example.org/x')


def test_a_server_is_reachable_or_not(address):
    assert download.reachable(f'{address}/whole')  # it answers, although it does not support HEAD
    assert not download.reachable('http://127.0.0.1:9')
    assert not download.reachable('file:///')
