"""A small HTTP origin for the quickstart and the tests: ranges, validators, counters and faults.

    python server.py --port 8080 --folder /srv

    GET  /-/stats            what was served: per path requests, connections, bytes, 304s
    POST /-/faults           {"<path>": {"rate": bytes per second over all connections,
                                         "corrupt": true, "cutAfter": n, "stallAfter": n,
                                         "status": 503, "token": "asked for"}};
                             replaces that path's faults
    POST /-/upload?path=/x   the body is served as /x from now on
    POST /-/reset            forgets counters, faults and uploads

Everything else is content (content.py) or a file of the folder. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import re
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import content

STARTED = formatdate(usegmt=True)
STALL_SECONDS = 600
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass
class Counters:
    """What was served for one path."""

    requests: int = 0
    not_modified: int = 0
    bytes: int = 0
    connections: set[tuple[str, int]] = field(default_factory=set)

    def as_json(self) -> dict[str, int]:
        return {
            "requests": self.requests,
            "notModified": self.not_modified,
            "bytes": self.bytes,
            "connections": len(self.connections),
        }


class Origin:
    """What all connections share."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        with self.lock:
            self.counters: dict[str, Counters] = {}
            self.faults: dict[str, dict[str, Any]] = {}
            self.uploads: dict[str, bytes] = {}
            self.next_free: dict[str, float] = {}

    def body(self, path: str) -> content.Body | None:
        uploaded = self.uploads.get(path)
        if uploaded is not None:
            return content.Stored(uploaded)
        found = content.for_path(path)
        if found or self.folder is None:
            return found
        file = (self.folder / path.lstrip("/")).resolve()
        inside = file.is_relative_to(self.folder.resolve())
        return content.Stored(file.read_bytes()) if inside and file.is_file() else None

    def begin(self, path: str, address: tuple[str, int]) -> Counters:
        """Counts a request; what it adds after a reset is forgotten with what it added before."""
        with self.lock:
            counters = self.counters.setdefault(path, Counters())
            counters.requests += 1
            counters.connections.add(address)
            return counters

    def count(self, counters: Counters, **amounts: int) -> None:
        with self.lock:
            for name, amount in amounts.items():
                setattr(counters, name, getattr(counters, name) + amount)

    def pace(self, path: str, rate: int, amount: int) -> None:
        """Waits until all connections of the path together stay below the rate."""
        with self.lock:
            due = max(time.monotonic(), self.next_free.get(path, 0.0)) + amount / rate
            self.next_free[path] = due
        time.sleep(max(0.0, due - time.monotonic()))

    def stats(self) -> dict[str, dict[str, int]]:
        with self.lock:
            return {path: counters.as_json() for path, counters in self.counters.items()}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    origin: Origin
    counters: Counters

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path == "/-/stats":
            self._answer_json(self.origin.stats())
        elif path == "/-/healthz":
            self._answer_json({})
        else:
            self._serve(path)

    do_HEAD = do_GET  # noqa: N815 - the base class looks for this name

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        data = self._request_body()
        if url.path == "/-/faults":
            self.origin.faults.update(json.loads(data))
        elif url.path == "/-/upload":
            self.origin.uploads[parse_qs(url.query)["path"][0]] = data
        elif url.path == "/-/reset":
            self.origin.reset()
        else:
            self._answer_status(HTTPStatus.NOT_FOUND)
            return
        self._answer_json({"kind": "Status", "status": "Success"})

    def _request_body(self) -> bytes:
        """What comes through the API server's proxy comes in chunks."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _serve(self, path: str) -> None:
        self.counters = self.origin.begin(path, self.client_address)
        faults = self.origin.faults.get(path, {})
        body = self.origin.body(path)
        if body is not None and faults.get("corrupt"):
            body = content.Flipped(body)
        token = faults.get("token")
        if token and self.headers.get("Authorization") != f"Bearer {token}":
            self._answer_status(HTTPStatus.UNAUTHORIZED)
        elif "status" in faults or body is None:
            self._answer_status(HTTPStatus(faults.get("status", HTTPStatus.NOT_FOUND)))
        elif self._unchanged(body.etag):
            self.origin.count(self.counters, not_modified=1)
            self.send_response(HTTPStatus.NOT_MODIFIED)
            self.send_header("ETag", body.etag)
            self.end_headers()
        else:
            self._send(path, body, faults)

    def _unchanged(self, etag: str) -> bool:
        wanted = self.headers.get("If-None-Match")
        if wanted is not None:
            return etag in (tag.strip() for tag in wanted.split(","))
        since = self.headers.get("If-Modified-Since")
        return since is not None and parsedate_to_datetime(STARTED) <= parsedate_to_datetime(since)

    def _send(self, path: str, body: content.Body, faults: dict[str, Any]) -> None:
        span = self._span(body)
        if span is None:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{body.size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start, end, partial = span
        self.send_response(HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(end - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", body.etag)
        self.send_header("Last-Modified", STARTED)
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{body.size}")
        self.end_headers()
        if self.command != "HEAD":
            self._stream(path, body, start, end, faults)

    def _span(self, body: content.Body) -> tuple[int, int, bool] | None:
        """Returns start, end and whether it is a part; None for a range that cannot be met."""
        header = self.headers.get("Range")
        validator = self.headers.get("If-Range")
        match = _RANGE.fullmatch(header or "")
        if match is None or (validator is not None and validator not in {body.etag, STARTED}):
            return 0, body.size, False
        first, last = match.groups()
        if first:
            start, end = int(first), min(int(last) + 1 if last else body.size, body.size)
        else:
            start, end = max(0, body.size - int(last or 0)), body.size
        return (start, end, True) if start < end else None

    def _stream(
        self,
        path: str,
        body: content.Body,
        start: int,
        end: int,
        faults: dict[str, Any],
    ) -> None:
        sent = 0
        rate, cut, stall = (faults.get(key) for key in ("rate", "cutAfter", "stallAfter"))
        step = content.BLOCK if rate is None else max(4096, min(content.BLOCK, rate // 10))
        while start + sent < end:
            if cut is not None and sent >= cut:
                self.close_connection = True
                return
            if stall is not None and sent >= stall:
                time.sleep(STALL_SECONDS)
            piece = body.read(start + sent, min(step, end - start - sent))
            if rate:
                self.origin.pace(path, rate, len(piece))
            # Before they go: whoever has them all asks for the figures at once.
            self.origin.count(self.counters, bytes=len(piece))
            try:
                self.wfile.write(piece)
            except OSError:  # the client went away, which tests do on purpose
                self.origin.count(self.counters, bytes=-len(piece))
                self.close_connection = True
                return
            sent += len(piece)

    def _answer_json(self, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer_status(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stays silent: the counters say more than a line per range."""


class Server(ThreadingHTTPServer):
    """Threads that end with the process; a queue that holds every range of a fast worker."""

    daemon_threads = True
    request_queue_size = 128


def serve(host: str, port: int, folder: Path | None) -> Server:
    """Returns a bound server; the caller runs `serve_forever`."""
    handler = type("BoundHandler", (Handler,), {"origin": Origin(folder)})
    return Server((host, port), handler)


def main() -> None:
    parser = argparse.ArgumentParser(description="HTTP origin for the quickstart and the tests")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    serve(arguments.host, arguments.port, arguments.folder).serve_forever()


if __name__ == "__main__":
    main()
