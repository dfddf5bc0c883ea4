"""HTTP to a server that may be gone: one connection a thread, answers as JSON."""

from __future__ import annotations

import json
import threading
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

ANSWER_S = 1800.0
"""That an answer may take: a long response, or weights of a large model on their way."""


class ServerGone(Exception):
    """Nobody answers."""


class Refused(Exception):
    """An answer that is none: its status, and the first of what it says."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"HTTP {status}: {said}")
        self.status = status


class ServerLines:
    """Connections to one server."""

    def __init__(self, url: str) -> None:
        split = urlsplit(url)
        self.host, self.port = split.hostname or "", split.port or 80
        self._own = threading.local()

    def ask(self, method: str, path: str, body: Any = None, *, timeout: float = ANSWER_S) -> Any:
        """The answer to one request: None where it is empty, its text where it is no JSON. ServerGone, Refused."""
        text = None if body is None else json.dumps(body)
        line = getattr(self._own, "line", None)
        if line is not None and line.sock is not None:
            line.sock.settimeout(timeout)
            try:
                return self._ask(line, method, path, text)
            except (OSError, HTTPException):  # a connection that was kept may have been closed meanwhile
                line.close()
        line = self._own.line = HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            return self._ask(line, method, path, text)
        except (OSError, HTTPException) as error:
            line.close()
            raise ServerGone(f"{type(error).__name__}: {error}") from error

    def _ask(self, line: HTTPConnection, method: str, path: str, text: str | None) -> Any:
        line.request(method, path, text, {"Content-Type": "application/json"})
        answer = line.getresponse()
        said = answer.read().decode(errors="replace")
        if answer.status != 200:
            raise Refused(answer.status, said.strip()[:300])
        try:
            return json.loads(said) if said.strip() else None
        except ValueError:
            return said
