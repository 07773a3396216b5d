"""What the answers to our writes lead to, where they are not plain success."""

from __future__ import annotations

from typing import Any

import pytest

from model_gallery.api import labels
from model_gallery.controller import kinds
from model_gallery.controller.apply import Applier
from model_gallery.reconcile import actions
from model_gallery.runtime.client import Refused

MODEL: dict[str, Any] = {
    "apiVersion": labels.API_VERSION,
    "kind": kinds.MODEL,
    "metadata": {"name": "m", "namespace": "ns", "uid": "one", "resourceVersion": "1"},
}


class Server:
    """An API server that refuses every apply and knows one object."""

    def __init__(self, code: int, found: dict[str, Any] | None) -> None:
        self.code, self.found = code, found

    async def apply(self, *_: Any, **__: Any) -> dict[str, Any]:
        raise Refused(self.code, "refused")

    async def get(self, *_: Any) -> dict[str, Any] | None:
        return self.found


def applier(server: Server) -> Applier:
    def ignore(_kind: str, _body: dict[str, Any]) -> None:
        pass

    return Applier(server, kinds.new_cache(), ignore, ignore)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", [404, 409])
@pytest.mark.parametrize("found", [None, {"metadata": {"uid": "another"}}])
async def test_a_finalizer_of_what_is_gone_needs_no_removal(
    code: int, found: dict[str, Any] | None
) -> None:
    await applier(Server(code, found)).carry_out(kinds.MODELS, MODEL, actions.RemoveFinalizer())


async def test_a_finalizer_that_is_still_there_is_tried_again() -> None:
    """A conflict of writes is no proof that the object is gone."""
    with pytest.raises(Refused):
        await applier(Server(409, MODEL)).carry_out(kinds.MODELS, MODEL, actions.RemoveFinalizer())
