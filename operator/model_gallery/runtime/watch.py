"""kopf as the shell that watches: its settings, its login, its life, and what it does not notice.

kopf lists, watches, reconnects and hands over events in order; nothing else of it is used, and it writes
nothing. See docs/decisions/0001-kopf-as-watch-shell.md for what each setting is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import kopf

from model_gallery.api import labels
from model_gallery.api.conditions import Reason
from model_gallery.errors import TransientError
from model_gallery.runtime import client
from model_gallery.runtime.resources import Resource
from model_gallery.runtime.sweep import Gone, Sweeper

__all__ = ["Gone", "Sweeper", "configure", "run"]

_IDENTITY: Any = "model-gallery-operator"
"""For kopf's peering, which is off; kopf would ask for a user name, and the image's user has none."""
_LOGIN_PAUSE = 5.0
"""Seconds between logins: a token that the server refuses must not become a hot loop."""


class NoDiff(kopf.DiffBaseStorage):
    """Keeps no last state: kopf would otherwise copy and compare every object of every event."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:  # noqa: ARG002
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        pass


class NoProgress(kopf.ProgressStorage):
    """Keeps no progress of handlers: ours have none."""

    def fetch(self, *, key: Any, body: kopf.Body) -> None:
        pass

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        pass

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        pass

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        pass

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


def configure(settings: kopf.OperatorSettings, *, label_selectors: Mapping[Resource, str]) -> None:
    """Sets kopf up as a shell that only watches.

    Args:
        label_selectors: sent to the server in lists and watches of those kinds.
    """
    settings.scanning.disabled = True  # the CRDs come with the chart
    settings.peering.standalone = True
    settings.posting.enabled = False
    _configure_watching(settings.watching, label_selectors)
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = (1, 2, 4, 8, 15, 30, 30, 30, 30, 30, 30, 30)
    settings.queueing.worker_limit = None  # an idle worker holds its place: a limit would strangle
    settings.queueing.idle_timeout = 0.05  # an idle worker holds its object's body
    settings.queueing.exit_timeout = 2.0
    settings.execution.max_workers = 2  # no handler of ours is synchronous
    settings.persistence.finalizer = f"internal.{labels.GROUP}/kopf-unused"  # kopf strips its own
    settings.persistence.diffbase_storage = NoDiff()
    settings.persistence.progress_storage = NoProgress()
    settings.process.ultimate_exiting_timeout = 60
    # It says INFO for each event otherwise.
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)


def _configure_watching(watching: Any, label_selectors: Mapping[Resource, str]) -> None:
    watching.chunk_size = 500
    watching.initial_streaming = False  # 422 from a server that cannot would be fatal
    watching.inactivity_timeout = 70  # None would crash it
    watching.server_timeout = None
    watching.connect_timeout = 10
    watching.reconnect_backoff = 2.0
    for resource, selector in label_selectors.items():
        group = (resource.group,) if resource.group else ()
        watching.label_selectors[(*group, resource.version, resource.plural)] = selector


async def run(
    registry: kopf.OperatorRegistry,
    *,
    namespaces: Sequence[str],
    stop: asyncio.Event,
    ready: asyncio.Event,
    label_selectors: Mapping[Resource, str],
    kubeconfig: str | None = None,
) -> None:
    """Watches until `stop` is set.

    Args:
        registry: holds the handlers; a login is added to it.
        namespaces: exact names; empty for the whole cluster.
        ready: set once kopf has started to watch.

    Raises:
        TransientError: ApiUnavailable, where the watch ended by itself.
        Exception: whatever ended kopf. There is no going on after it: kopf's watchers are dead.
    """
    settings = kopf.OperatorSettings()
    configure(settings, label_selectors=label_selectors)
    _add_login(registry, kubeconfig)
    with _signals_left_alone():
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=settings,
            standalone=True,
            identity=_IDENTITY,
            clusterwide=not namespaces,
            namespaces=namespaces,
            stop_flag=stop,
            ready_flag=ready,
        )
    await kopf.run_tasks(tasks, ignored=_Foreign())
    if not stop.is_set():
        raise TransientError(Reason.API_UNAVAILABLE, "the watch ended by itself")


def _add_login(registry: kopf.OperatorRegistry, kubeconfig: str | None) -> None:
    last = float("-inf")

    async def login(**_: Any) -> kopf.AiohttpSession:
        """Opens a session whose requests always carry the newest token, so that no watch breaks."""
        nonlocal last
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, last + _LOGIN_PAUSE - loop.time()))  # noqa: TID251 - bounds logins
        last = loop.time()
        server, session = await client.open_session(kubeconfig)
        return kopf.AiohttpSession(server=server, aiohttp_session=session)

    # kopf would retry a failed login for ever; its end ends the process, which is then restarted.
    kopf.on.login(registry=registry, errors=kopf.ErrorsMode.PERMANENT)(login)


@contextlib.contextmanager
def _signals_left_alone() -> Iterator[None]:
    """Keeps kopf from taking SIGTERM and SIGINT, which have handlers that drain first.

    kopf has no setting for this, and the loop does not tell whose handlers there were.
    """
    loop: Any = asyncio.get_running_loop()
    loop.add_signal_handler = lambda *_: None
    try:
        yield
    finally:
        del loop.add_signal_handler


class _Foreign(Collection[Any]):
    """The tasks that are none of kopf's: all that do not run code of kopf.

    kopf takes every task that is newer than itself for its own and ends it when it ends.
    """

    _home = str(Path(kopf.__file__).parent)

    def __contains__(self, task: Any) -> bool:
        code = getattr(task.get_coro(), "cr_code", None)
        return code is None or not code.co_filename.startswith(self._home)

    def __iter__(self) -> Iterator[Any]:
        return (task for task in asyncio.all_tasks() if task in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)
