"""How many writes a Model costs the API server, counted in its audit log."""

from collections import Counter

import pytest

from support.origin import URL
from support.stage import GALLERY

INSTALL, CHANGE, REMOVAL = 4, 3, 3


@pytest.fixture
def count(stage):
    """Returns a function that lists the operator's writes in the namespace since the last call.

    Events are told apart: they are for people, few, and may be lost. So is the Gallery, which looks at
    its volume after several changes at once, and not for each Model.
    """
    audit = stage.cluster.audit
    if audit is None:
        pytest.skip("only localkube's API server writes an audit log that we can read")
    since = 0

    def counted():
        nonlocal since
        entries = [
            entry["objectRef"] | {"verb": entry["verb"]}
            for entry in audit.writes(since)
            if entry["objectRef"].get("namespace") == stage.namespace
            and entry["objectRef"]["resource"] != "galleries"
            and f"{GALLERY}-scan-" not in entry["objectRef"].get("name", "")
        ]
        since = audit.position()
        writes = Counter(_shown(entry) for entry in entries if entry["resource"] != "events")
        events = sum(entry["resource"] == "events" for entry in entries)
        print(f"{sum(writes.values())} writes {dict(writes)}, {events} events")
        return writes

    return counted


def _shown(entry):
    return "/".join(filter(None, (entry["verb"], entry["resource"], entry.get("subresource"))))


def test_writes_of_a_models_life(stage, count):
    """Created to installed 4, spec change 3, removal 3."""
    stage.set_up()
    stage.create("first", source={"uri": f"{URL}/small/first.gguf"})
    stage.ready("first")
    count()
    stage.create("counted", source={"uri": f"{URL}/small/counted.gguf"})
    stage.ready("counted")
    assert count().total() <= INSTALL
    stage.create("counted", source={"uri": f"{URL}/small/changed.gguf"})
    stage.ready("counted")
    assert count().total() <= CHANGE
    stage.kube.delete("model", "counted", stage.namespace)
    stage.kube.wait_gone("model", "counted", stage.namespace)
    assert count().total() <= REMOVAL
