"""Bytes that come in chunks, as lines of bounded length."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator

__all__ = ["split"]


async def split(chunks: AsyncIterable[bytes], limit: int) -> AsyncIterator[bytes]:
    """Yields lines without their ends; what a line has beyond `limit` bytes is dropped.

    The last line counts also where its end is missing.
    """
    rest = b""
    async for chunk in chunks:
        *whole, tail = chunk.split(b"\n")
        for part in whole:
            yield (rest + part)[:limit]
            rest = b""
        rest = (rest + tail)[:limit]
    if rest:
        yield rest
