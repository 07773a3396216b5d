"""What the cache keeps, refuses and finds."""

import json

import pytest

from model_gallery.runtime.cache import Cache


def slim(body):
    return {"metadata": body["metadata"], "spec": body.get("spec")}


@pytest.fixture
def cache():
    return Cache({"Model": slim})


def model(name="a", *, version=1, uid="u1", namespace="ns", spec=None, status=None, **metadata):
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid,
            "resourceVersion": str(version),
            **metadata,
        },
        "spec": spec or {"gallery": "g"},
        "status": status or {},
    }


def test_an_object_comes_back_slim_and_with_its_version(cache):
    assert cache.upsert("Model", model(version=7, status={"long": "story"}))
    body = cache.get("Model", "ns", "a")
    assert body["metadata"]["resourceVersion"] == "7"
    assert body["spec"] == {"gallery": "g"}
    assert "status" not in body


def test_managed_fields_and_last_applied_are_dropped(cache):
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "x"}
    body = model(managedFields=[{"manager": "x"}], annotations=annotations)
    cache.upsert("Model", body)
    metadata = cache.get("Model", "ns", "a")["metadata"]
    assert "managedFields" not in metadata
    assert metadata["annotations"] == {"mine": "x"}
    assert body["metadata"]["annotations"] == annotations


def test_only_what_is_kept_counts_as_a_change(cache):
    cache.upsert("Model", model(version=1))
    assert not cache.upsert("Model", model(version=2, status={"other": 1}))
    assert cache.get("Model", "ns", "a")["metadata"]["resourceVersion"] == "2"
    assert cache.upsert("Model", model(version=3, spec={"gallery": "h"}))


def test_an_older_state_never_replaces_a_newer_one(cache):
    cache.upsert("Model", model(version=10, spec={"gallery": "written by us"}))
    assert not cache.upsert("Model", model(version=9, spec={"gallery": "late event"}))
    assert cache.get("Model", "ns", "a")["spec"] == {"gallery": "written by us"}


def test_versions_are_compared_as_numbers(cache):
    cache.upsert("Model", model(version=99))
    assert cache.upsert("Model", model(version=100, spec={"gallery": "h"}))


def test_another_object_of_the_same_name_replaces_the_first(cache):
    cache.add_index("Model", "uid", lambda body: [body["metadata"]["uid"]])
    cache.upsert("Model", model(uid="u1", version=1))
    assert cache.upsert("Model", model(uid="u2", version=5))
    assert cache.by_index("Model", "uid", "u1") == []
    assert len(cache.by_index("Model", "uid", "u2")) == 1
    assert not cache.upsert("Model", model(uid="u1", version=2))


def test_the_late_answer_to_a_write_does_not_revive_a_removed_object(cache):
    cache.upsert("Model", model(version=10))
    assert cache.remove("Model", "ns", "a")
    assert not cache.remove("Model", "ns", "a")
    assert not cache.upsert("Model", model(version=10))
    assert cache.get("Model", "ns", "a") is None
    assert cache.upsert("Model", model(version=11)), "its labels match the selector again"


def test_removals_are_not_remembered_for_ever(cache):
    for number in range(3000):
        cache.upsert("Model", model(uid=f"u{number}", version=number + 1))
        cache.remove("Model", "ns", "a")
    assert len(cache._stores["Model"].removed) == 1024


def test_lists_by_namespace(cache):
    cache.upsert("Model", model("a"))
    cache.upsert("Model", model("b", uid="u2", namespace="other"))
    assert len(cache.list("Model")) == 2
    assert [body["metadata"]["name"] for body in cache.list("Model", "other")] == ["b"]
    assert set(cache.keys("Model")) == {("ns", "a"), ("other", "b")}
    assert cache.uids("Model") == {("ns", "a"): "u1", ("other", "b"): "u2"}


def test_indexes_follow_changes_and_removals(cache):
    cache.upsert("Model", model("b", uid="u2"))
    cache.add_index("Model", "gallery", lambda body: [body["spec"]["gallery"]])
    cache.upsert("Model", model("a"))
    assert [body["metadata"]["name"] for body in cache.by_index("Model", "gallery", "g")] == [
        "a",
        "b",
    ]
    cache.upsert("Model", model("a", version=2, spec={"gallery": "h"}))
    assert [body["metadata"]["name"] for body in cache.by_index("Model", "gallery", "g")] == ["b"]
    cache.remove("Model", "ns", "b")
    assert cache.by_index("Model", "gallery", "g") == []
    assert "g" not in cache._stores["Model"].indexes["gallery"].names


def test_what_is_handed_out_can_be_changed_without_harm(cache):
    cache.upsert("Model", model())
    cache.get("Model", "ns", "a")["spec"]["gallery"] = "vandal"
    assert cache.get("Model", "ns", "a")["spec"] == {"gallery": "g"}


def test_objects_are_kept_as_bytes(cache):
    cache.upsert("Model", model())
    assert json.loads(cache._stores["Model"].entries["ns", "a"].data)["spec"] == {"gallery": "g"}
