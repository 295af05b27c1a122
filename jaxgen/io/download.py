"""Check that a server can be reached before something is downloaded from it."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request


def reachable(url: str, timeout: float = 5.0) -> bool:
    """Return whether a server answers at ``url``, through the proxies of the environment, within ``timeout`` seconds."""
    answers = []

    def ask():
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method='HEAD'), timeout=timeout):
                answers.append(True)
        except urllib.error.HTTPError:
            answers.append(True)
        except OSError:
            answers.append(False)

    # A name server that does not answer outlasts the timeout of urlopen, so the request runs in a thread of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    return any(answers)
