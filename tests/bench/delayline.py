"""A long network in user space: `delayline.py LISTEN_PORT TARGET_PORT [--delay SECONDS]`.

Every byte arrives `delay` later, each way. A connection is open for sending one round trip after it was
accepted, as with a real handshake. The server may have a window under way, which begins at ten segments
and grows by what was acknowledged (slow start), up to 4 MiB: 100 MiB/s per connection at 40 ms. Good for
ratios, not for absolute numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections import deque

FIRST_WINDOW = 10 * 1460
MOST_WINDOW = 4 << 20
BLOCK = 256 << 10


class Window:
    """What one direction may have under way."""

    def __init__(self, first: int) -> None:
        self.size = first
        self.used = 0
        self.free = asyncio.Event()
        self.free.set()

    async def room(self) -> int:
        await self.free.wait()
        return min(BLOCK, self.size - self.used)

    def take(self, count: int) -> None:
        self.used += count
        if self.used >= self.size:
            self.free.clear()

    def acknowledge(self, count: int) -> None:
        self.used -= count
        self.size = min(MOST_WINDOW, self.size + count)
        self.free.set()


async def carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float, window: Window
) -> None:
    """Carries one direction until its end."""
    loop = asyncio.get_running_loop()
    under_way: deque[tuple[float, bytes]] = deque()
    arrived = asyncio.Event()

    async def deliver() -> None:
        while True:
            while not under_way:
                arrived.clear()
                await arrived.wait()
            due, data = under_way.popleft()
            if (pause := due - loop.time()) > 0:
                await asyncio.sleep(pause)
            if not data:
                with contextlib.suppress(OSError):
                    writer.write_eof()
                return
            writer.write(data)
            await writer.drain()
            # The acknowledgement takes the way back.
            loop.call_later(delay, window.acknowledge, len(data))

    async def accept() -> None:
        while True:
            data = await reader.read(await window.room())
            window.take(len(data))
            under_way.append((loop.time() + delay, data))
            arrived.set()
            if not data:
                return

    async with asyncio.TaskGroup() as group:
        group.create_task(deliver())
        group.create_task(accept())


async def serve(listen: int, target: int, delay: float) -> None:
    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * delay)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target, limit=BLOCK)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(carry(reader, far_writer, delay, Window(MOST_WINDOW)))
                group.create_task(carry(far_reader, writer, delay, Window(FIRST_WINDOW)))
        except* OSError:
            pass  # one side broke off: both end
        finally:
            for end in (writer, far_writer):
                end.close()

    server = await asyncio.start_server(connection, "127.0.0.1", listen, limit=BLOCK, backlog=128)
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="A long network in user space.")
    parser.add_argument("listen", type=int)
    parser.add_argument("target", type=int)
    parser.add_argument("--delay", type=float, default=0.02, help="seconds each way")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.listen, options.target, options.delay))


if __name__ == "__main__":
    main()
