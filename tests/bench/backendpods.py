"""Thousands of serving pods as one process: `backendpods.py PORT` answers on every 127.x.y.z.

Even addresses answer as a llama.cpp server at rest, odd ones as an Ollama with a model in memory, with
answers that were recorded from the real ones (tests/data/backends). Ends with its stdin.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

RECORDED = Path(__file__).resolve().parents[1] / "data" / "backends"
KINDS = (("llamacpp-b11549", "idle-"), ("ollama-0.32.15", "loaded-"))
MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def answers(folder: str, prefix: str) -> dict[bytes, bytes]:
    """Returns whole answers by request line without the version."""
    place = RECORDED / folder
    found = {}
    for name, entry in json.loads((place / "index.json").read_text()).items():
        if name.startswith(prefix):
            body = (place / name).read_bytes()
            kind = entry["headers"].get("content-type", "application/json")
            more = "".join(
                f"{key}: {value}\r\n"
                for key, value in entry["headers"].items()
                if key not in {"content-type", "content-length"}
            )
            head = (
                f"HTTP/1.1 {entry['status']} OK\r\nContent-Type: {kind}\r\n{more}"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            found[entry["request"].encode()] = head.encode() + body
    return found


class Pod(asyncio.Protocol):
    """One connection."""

    def __init__(self, kinds: list[dict[bytes, bytes]]) -> None:
        self._kinds = kinds
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        address = transport.get_extra_info("sockname")[0]
        self._answers = self._kinds[int(address.rpartition(".")[2]) % len(self._kinds)]

    def data_received(self, data: bytes) -> None:
        self._held += data
        while b"\r\n\r\n" in self._held:
            head, _, self._held = self._held.partition(b"\r\n\r\n")
            line = head.partition(b" HTTP/1.1")[0]
            self._transport.write(self._answers.get(line, MISSING))  # type: ignore[attr-defined]


async def serve(port: int) -> None:
    """Answers until stdin ends."""
    kinds = [answers(folder, prefix) for folder, prefix in KINDS]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Pod(kinds), "0.0.0.0", port, backlog=4096)
    print("ready", flush=True)
    async with server:
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
