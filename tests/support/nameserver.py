"""A DNS server that does what a test says, and how a worker is made to ask it.

The resolver of the worker is under test, so nothing in it is replaced: it runs where /etc/resolv.conf is
another file. That takes a mount namespace, and port 53 of loopback, so it takes root.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from support.worker import Worker

__all__ = ["GARBAGE", "NXDOMAIN", "SERVFAIL", "SILENCE", "NameServer", "Reply", "serve"]

SERVFAIL, NXDOMAIN = 2, 3
SILENCE, GARBAGE = "silence", "garbage"
Reply = int | str | tuple[str, ...]
"""A code, SILENCE or GARBAGE, or IPv4 addresses."""

_HEADER = struct.Struct("!6H")
_ADDRESS, _INTERNET = 1, 1
_ANSWER = 0x8180


@dataclass
class NameServer:
    """What is answered, and how often was asked.

    Attributes:
        reply: given the number of the question for IPv4 addresses, from 1.
        seconds: before each answer.
    """

    address: str
    reply: Callable[[int], Reply] = lambda _: NXDOMAIN
    seconds: float = 0.0
    asked: list[str] = field(default_factory=list)
    _last: Reply = NXDOMAIN

    def used_by(self, worker: Worker, options: str = "timeout:5 attempts:2") -> None:
        """Lets the worker's next processes ask this server, with these options of their resolver."""
        file = worker.root.parent / "resolv.conf"
        file.write_text(f"nameserver {self.address}\noptions {options}\n")
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        worker.inside = ("unshare", "--mount", "sh", "-c", script, str(file))

    def answer(self, question: bytes) -> bytes | None:
        """Returns the datagram for a question; None for none."""
        name, end = _name(question)
        (kind,) = struct.unpack_from("!H", question, end)
        if kind == _ADDRESS:
            self.asked.append(name)
            self._last = self.reply(len(self.asked))
        match self._last:
            case "silence":
                return None
            case "garbage":
                return question[:2] + os.urandom(40)
            case int(code):
                return _message(question, end, code, [])
            case addresses:
                # There are no IPv6 addresses, which is no failure.
                found = [socket.inet_aton(text) for text in addresses if kind == _ADDRESS]
                return _message(question, end, 0, found)


@contextlib.contextmanager
def serve() -> Iterator[NameServer]:
    """Answers on port 53 of an address of loopback that belongs to this process."""
    number = os.getpid()
    address = f"127.{53 + (number >> 16) % 100}.{number >> 8 & 255}.{number & 255}"
    server = NameServer(address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind((address, 53))
        thread = threading.Thread(target=_converse, args=(server, listener), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listener.sendto(b"", (address, 53))
            thread.join()


def _converse(server: NameServer, listener: socket.socket) -> None:
    while True:
        question, asker = listener.recvfrom(4096)
        if not question:
            return
        datagram = server.answer(question)
        time.sleep(server.seconds)
        if datagram is not None:
            listener.sendto(datagram, asker)


def _name(question: bytes) -> tuple[str, int]:
    labels, place = [], _HEADER.size
    while length := question[place]:
        labels.append(question[place + 1 : place + 1 + length].decode())
        place += 1 + length
    return ".".join(labels), place + 1


def _message(question: bytes, end: int, code: int, addresses: list[bytes]) -> bytes:
    (number,) = struct.unpack_from("!H", question)
    head = _HEADER.pack(number, _ANSWER | code, 1, len(addresses), 0, 0)
    # Each record names its owner by a pointer to the question; nobody may keep it.
    record = struct.pack("!HHHIH", 0xC000 | _HEADER.size, _ADDRESS, _INTERNET, 0, 4)
    return head + question[_HEADER.size : end + 4] + b"".join(record + one for one in addresses)
