"""Download a complete file, or fail."""

from __future__ import annotations

import http.client
import pathlib
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from jaxgen.errors import reason

TIMEOUT = 30.0  # longest wait for the next bytes, in seconds
LONGEST = 3600.0  # longest download, in seconds
CHUNK = 2**20  # bytes


def reachable(url: str, timeout: float = 5.0) -> bool:
    """Return whether a server answers at ``url`` within ``timeout`` seconds; proxies of the environment are used."""
    answers = []

    def ask():
        try:
            with _opener().open(urllib.request.Request(url, method='HEAD'), timeout=timeout):
                answers.append(True)
        except urllib.error.HTTPError:
            answers.append(True)
        except (OSError, http.client.HTTPException):
            answers.append(False)

    # The timeout of urlopen does not cover a name server that does not answer, so the request runs in a separate thread.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    return any(answers)


def download(url: str, path: pathlib.Path, max_bytes: int, seconds: float = LONGEST) -> None:
    """Download a file and write it to ``path``; proxies of the environment are used.

    Args:
      url: an ``https:`` or ``http:`` address; an ``https:`` address may not redirect to an ``http:`` one.
      path: the file to write. It is incomplete if this function fails, so it should be a temporary file.
      max_bytes: largest size of the file.
      seconds: longest time of the download.

    Raises:
      OSError: if the server cannot be reached, sends less than it announced or more than ``max_bytes``, pauses for longer than
        ``TIMEOUT``, takes longer than ``seconds``, or redirects to an address that is not allowed.
    """
    deadline = time.monotonic() + seconds
    try:
        with _opener().open(url, timeout=TIMEOUT) as response, open(path, 'wb') as file:
            announced = response.headers.get('Content-Length')
            if announced is not None and int(announced) > max_bytes:
                raise OSError(f'it has {announced} bytes, but at most {max_bytes} are expected')
            received = 0
            while chunk := response.read1(CHUNK):
                received += len(chunk)
                if received > max_bytes:
                    raise OSError(f'it has more than {max_bytes} bytes, which is the most that is expected')
                if time.monotonic() > deadline:
                    raise TimeoutError(f'it takes longer than {seconds:.0f} seconds')
                file.write(chunk)
            if announced is not None and received != int(announced):
                raise OSError(f'it broke off after {received} of {announced} bytes')
    except (http.client.HTTPException, ValueError) as e:
        raise OSError(reason(e)) from e


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A handler that follows redirects to https, and redirects from http to http, but none from https to http."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        """Return the request for the new address, or raise HTTPError."""
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in ('https', urllib.parse.urlsplit(req.full_url).scheme):
            raise urllib.error.HTTPError(newurl, code, f'redirected to an address of the kind {scheme}', headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener of http and https addresses; unlike ``urllib.request.urlopen``, it opens no local files."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        _Redirects,
    ):
        opener.add_handler(handler())
    return opener
