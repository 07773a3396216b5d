"""Runs the operator and, when it has ended, tells as the last line of stdout what it left behind.

With the argument `hold` no reconciliation ever ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading

import psutil

from model_gallery.controller import main, settings
from model_gallery.telemetry import logs

__all__ = ["run"]


def run() -> int:
    """Returns the operator's own exit code."""
    left: dict[str, object] = {}
    if sys.argv[1:] == ["hold"]:
        main._reconcile = _held_up
    wish = settings.from_environment(os.environ)
    logs.configure(wish.log_level, json=wish.log_json)

    async def watched() -> int:
        code = await main._run(wish)
        left["tasks"] = sorted(
            task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()}
        )
        return code

    code = asyncio.run(watched())
    left["threads"] = sorted(
        thread.name for thread in threading.enumerate() if thread is not threading.main_thread()
    )
    left["sockets"] = [str(socket) for socket in psutil.Process().net_connections(kind="inet")]
    left["children"] = len(psutil.Process().children())
    print(json.dumps({"left": left}), flush=True)
    return code


async def _held_up(_: object, key: object) -> None:
    print(f"held up: {key}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(run())
