"""A namespace that ends, and another one that comes by its name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from model_gallery.controller.model import ModelReconciler
from model_gallery.runtime.client import Refused
from model_gallery.runtime.workqueue import Key
from support import builders as b

KEY = Key("Model", "ns", "a")


class Applier:
    """Starts workers, unless the namespace ends."""

    def __init__(self) -> None:
        self.ends = False

    async def carry_out(self, *_: Any) -> None:
        if self.ends:
            raise Refused(403, "is being terminated", namespace_terminating=True)

    async def write_status(self, *_: Any) -> bool:
        return False


@pytest.fixture
def observer() -> SimpleNamespace:
    return SimpleNamespace(
        model=lambda _: b.observed(),
        cache=SimpleNamespace(get=lambda *_: {}),
        pauses=SimpleNamespace(learn=lambda *_: None),
        reserved={},
        ending=set(),
    )


async def test_a_namespace_that_takes_workers_again_is_another_one(
    observer: SimpleNamespace,
) -> None:
    """Else files of its Models would stay on their volume when these are deleted."""
    applier = Applier()
    reconciler = ModelReconciler(observer, applier, *[None] * 3)  # type: ignore[arg-type]

    applier.ends = True
    await reconciler.reconcile(KEY)
    assert observer.ending == {"ns"}

    applier.ends = False
    await reconciler.reconcile(KEY)
    assert observer.ending == set()
