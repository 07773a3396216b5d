"""A line with a delay: forwards to a port of loopback, every byte some milliseconds late, both ways.

    python delayline.py LISTEN TARGET MILLISECONDS

Each direction holds at most 4 MiB, as a connection's window would. Good for ratios, not for absolutes.
"""

from __future__ import annotations

import asyncio
import sys

WINDOW = 4 * 1024 * 1024
BLOCK = 256 * 1024


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(WINDOW // BLOCK)

    async def deliver() -> None:
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()

    delivering = asyncio.create_task(deliver())
    try:
        while data := await reader.read(BLOCK):
            await queue.put((loop.time() + delay, data))
    except OSError:
        pass
    await queue.put((loop.time() + delay, b""))
    await asyncio.gather(delivering, return_exceptions=True)


async def main(listen: int, target: int, delay: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * delay)  # the handshake
        up, down = await asyncio.open_connection("127.0.0.1", target, limit=BLOCK)
        await asyncio.gather(
            pump(reader, down, delay), pump(up, writer, delay), return_exceptions=True
        )

    server = await asyncio.start_server(connected, "127.0.0.1", listen, limit=BLOCK)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000))
