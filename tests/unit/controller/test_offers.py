"""What /v1/models answers: which Galleries, which Models, and which questions are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from multidict import MultiDict

from model_gallery.api.conditions import Reason
from model_gallery.controller import kinds
from model_gallery.controller.inventory import Inventory
from model_gallery.controller.observe import Observer
from model_gallery.controller.offers import Offers
from model_gallery.errors import StalledError
from model_gallery.protocol.report import LooseFile
from model_gallery.reconcile.observed import WorkerSettings
from model_gallery.telemetry.server import Query

LOOSE = Inventory(
    datetime(2026, 11, 1, tzinfo=UTC), loose=(LooseFile(path="x.gguf", size_bytes=9),)
)


def put(observer: Observer, kind: str, name: str, namespace: str, **parts: Any) -> None:
    metadata = {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{namespace}-{name}",
        "resourceVersion": "1",
        "creationTimestamp": "2026-11-01T12:00:00Z",
    }
    observer.cache.upsert(kind, {"metadata": metadata, **parts})


def model(observer: Observer, name: str, gallery: str, namespace: str, **status: Any) -> None:
    spec = {"galleryName": gallery, "source": {"entry": {"name": name}}}
    put(observer, kinds.MODEL, f"{gallery}-{name}", namespace, spec=spec, status=status)


@pytest.fixture
def offers() -> Offers:
    nothing: Any = SimpleNamespace()
    inventories: Any = SimpleNamespace(get=lambda _, gallery: LOOSE if gallery == "g" else None)
    settings = WorkerSettings(image="worker:1")
    observer = Observer(kinds.new_cache(), nothing, nothing, settings, inventories, nothing)
    for namespace, gallery in (("a", "g"), ("a", "h"), ("b", "g")):
        put(observer, kinds.GALLERY, gallery, namespace)
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "sizeBytes": 7}
    model(observer, "one", "g", "a", **ready)
    model(observer, "two", "g", "a")
    model(observer, "one", "h", "a")
    model(observer, "three", "g", "b", servedName="third")
    return Offers(observer)


def asked(offers: Offers, **query: str) -> list[str]:
    data = offers.models(Query(MultiDict(query)))["data"]
    return [f"{item['owned_by']}/{item['id']}" for item in data]


ONE, TWO, OTHER, ABROAD = "a/g/one", "a/g/two", "a/h/one", "b/g/third"


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"loose": "SkipAlways"}, [ONE, TWO, OTHER, ABROAD]),
        ({"loose": "LooseOnly"}, ["a/g/x.gguf", "b/g/x.gguf"]),
        ({"loose": "SkipAlways", "namespace": "a"}, [ONE, TWO, OTHER]),
        ({"loose": "SkipAlways", "namespace": "a", "gallery": "h"}, [OTHER]),
        ({"loose": "SkipAlways", "name": "one"}, [ONE, OTHER]),
        ({"loose": "SkipAlways", "name": "t.*", "regex": "true"}, [TWO, ABROAD]),
        ({"loose": "SkipAlways", "name": "t.*"}, []),
        ({"loose": "SkipAlways", "filter": "w"}, [TWO]),
        ({"loose": "SkipAlways", "tag": "chat"}, []),
    ],
)
def test_what_is_offered(offers: Offers, query: dict[str, str], names: list[str]) -> None:
    assert sorted(asked(offers, **query)) == sorted(names)


def test_a_model_is_shown_as_it_is(offers: Offers) -> None:
    answer = offers.models(Query(MultiDict({"namespace": "a", "gallery": "g", "name": "one"})))
    shown = {"id": "one", "object": "model", "owned_by": "a/g", "kind": "Configured"}
    assert answer == {"object": "list", "data": [shown | {"ready": True, "size_bytes": 7}]}


@pytest.mark.parametrize(
    ("query", "reason", "message"),
    [
        ({"namespace": "a", "gallery": "gone"}, Reason.NOT_FOUND, "a/gone"),
        ({"gallery": "g"}, Reason.INVALID_SPEC, "gallery needs namespace"),
        ({"loose": "some"}, Reason.INVALID_SPEC, "SkipIfConfigured"),
        ({"regex": "yes"}, Reason.INVALID_SPEC, "regex must be"),
        ({"tags": "chat"}, Reason.INVALID_SPEC, "'tags'"),
        ({"filter": "("}, Reason.INVALID_SPEC, "filter is no regular expression: missing )"),
        ({"name": "(", "regex": "true"}, Reason.INVALID_SPEC, "name"),
    ],
)
def test_what_is_refused(
    offers: Offers, query: dict[str, str], reason: Reason, message: str
) -> None:
    with pytest.raises(StalledError) as refusal:
        offers.models(Query(MultiDict(query)))
    assert refusal.value.reason is reason
    assert message in refusal.value.message
