"""A small HTTP server on loopback whose answers a test writes down, and which remembers what was asked."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from model_gallery.sources import http as http_source
from model_gallery.sources.base import RemoteFile
from model_gallery.transport.client import HttpClient

SECRET = "canary-4711"
"""What must be seen nowhere but where it belongs."""


@dataclass
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Asked:
    path: str
    headers: dict[str, str]
    body: bytes = b""


Route = Answer | Callable[[Asked], Answer]


@dataclass
class Scripted:
    """Answers by path with query; a route that ends in `*` answers for all that begin so."""

    url: str = ""
    routes: dict[str, Route] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        found = self.routes.get(asked.path)
        if found is None:
            matching = [
                key for key in self.routes if key[-1] == "*" and asked.path.startswith(key[:-1])
            ]
            found = self.routes[max(matching, key=len)] if matching else Answer(status=404)
        answer = found if isinstance(found, Answer) else found(asked)
        return _ranged(answer, asked) if answer.status == 200 else answer

    def seen(self, secret: str) -> list[str]:
        """Returns the paths of the requests that carried the text anywhere."""
        return [one.path for one in self.asked if secret in str(one.headers) or secret in one.path]


def _ranged(answer: Answer, asked: Asked) -> Answer:
    wanted = asked.headers.get("range", "")
    if not wanted or "content-range" in {key.lower() for key in answer.headers}:
        return answer
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    start, end = int(first), min(len(answer.body), int(last or len(answer.body)) + 1)
    place = f"bytes {start}-{end - 1}/{len(answer.body)}"
    return Answer(answer.body[start:end], 206, {**answer.headers, "Content-Range": place})


@contextlib.contextmanager
def serve() -> Iterator[Scripted]:
    """Runs a server on a free port until the end of the block."""
    script = Scripted()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {key.lower(): value for key, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            answer = script.answer(Asked(self.path, headers, body))
            self.send_response(answer.status)
            for key, value in answer.headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_POST = do_GET  # noqa: N815 - the base class looks for this name

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def content(client: HttpClient, file: RemoteFile) -> bytes:
    """Reads a file as the engine does."""
    buffer = memoryview(bytearray(1024))
    with http_source.read(client, file, 0, file.size_bytes) as response:
        return bytes(buffer[: response.readinto(buffer)])
