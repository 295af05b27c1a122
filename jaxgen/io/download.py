"""What a download needs to know first: whether its server answers."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request


def reachable(url: str, timeout: float = 5.0) -> bool:
    """Whether a server answers at ``url`` (through the environment's proxies) within ``timeout`` seconds."""
    answers = []

    def ask():
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method='HEAD'), timeout=timeout):
                answers.append(True)
        except urllib.error.HTTPError:
            answers.append(True)
        except OSError:
            answers.append(False)

    asking = threading.Thread(
        target=ask, daemon=True
    )  # a name server that does not answer outlasts any timeout of ours
    asking.start()
    asking.join(timeout)
    return any(answers)
