"""`install`, `adopt`, `remove`, `suspend`, `resume`, `verify`, `gc`, `wait`: what is written, and exits."""

from __future__ import annotations

import json

import pytest
import yaml

from support.asread import READY, STALLED, WORKING, condition, gallery, index_copy, model

ENTRIES = [{"name": "tiny-llama", "overrides": {"a": 1}}, {"name": "Phi:3", "overrides": {"a": 1}}]
SHA = "ab" * 32


@pytest.fixture
def filled(stub):
    stub.add("galleries", gallery())
    stub.add("configmaps", *index_copy(ENTRIES))
    return stub


def test_install_an_entry(filled, run) -> None:
    ran = run("install", "Phi:3", "--gallery", "demo")

    assert (ran.code, ran.out) == (0, "model.modelgallery.dev/phi-3 created\n")
    found = filled.get("models", "models", "phi-3")
    assert found["spec"] == {"galleryName": "demo", "source": {"entry": {"name": "Phi:3"}}}


def test_install_into_another_namespace_under_another_name(filled, run) -> None:
    ran = run(
        *("install", "https://e.x/m.gguf", "--gallery", "g", "-n", "other", "--name", "n"),
        *("--served-name", "S", "--sha256", SHA, "-o", "name"),
    )

    assert ran.out == "model.modelgallery.dev/n\n"
    spec = filled.get("models", "other", "n")["spec"]
    assert spec["servedName"] == "S"
    assert spec["source"]["files"][0]["sha256"] == SHA


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_install_tells_programs_what_was_created(filled, run, form: str) -> None:
    found = yaml.safe_load(run("install", "tiny-llama", "-o", form).out)

    assert found["metadata"]["uid"] == "uid-tiny-llama"
    assert "managedFields" not in found["metadata"]


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_dry_run_of_install_prints_the_manifest_and_asks_no_cluster(stub, run, form: str) -> None:
    ran = run("install", "ollama://qwen3:0.6b", "--gallery", "demo", "--dry-run", "-o", form)

    made = yaml.safe_load(ran.out)
    assert (ran.code, stub.requests) == (0, [])
    assert made["metadata"] == {"name": "qwen3-0.6b", "namespace": "models"}
    assert made["spec"]["source"] == {"uri": "ollama://qwen3:0.6b"}


def test_install_of_no_entry_names_those_that_may_be_meant(filled, run) -> None:
    ran = run("install", "tiny-lama")

    assert ran.code == 1
    assert "has no entry 'tiny-lama': did you mean 'tiny-llama'?" in ran.err
    assert filled.writes() == []
    assert "`available` lists them" in run("install", "zzzzzzz").err


def test_install_without_the_right_to_read_the_index(filled, run) -> None:
    filled.refusals["GET", "configmaps"] = (403, '{"message": "configmaps is forbidden"}')

    assert run("install", "tiny-llama").code == 0


def test_install_what_is_there_already(filled, run) -> None:
    run("install", "tiny-llama")
    ran = run("install", "tiny-llama")

    assert ran.code == 1
    assert ran.err == (
        "kubectl model: Model models/tiny-llama exists already: choose another name with --name\n"
    )


def test_install_and_wait(filled, run) -> None:
    filled.script = [
        ("models", "tiny-llama", model("tiny-llama", WORKING)),
        ("models", "tiny-llama", model("tiny-llama", READY)),
    ]

    ran = run("install", "tiny-llama", "--wait", "--timeout", "10s")

    assert ran.code == 0
    assert ran.lines[-1] == "model.modelgallery.dev/tiny-llama ready"


@pytest.mark.parametrize(
    "arguments",
    [
        ("install", "x", "--gallery", "demo", "--sha256", SHA),
        ("install", "ftp://x/y", "--gallery", "demo"),
        ("install",),
        ("list", "-o", "xml"),
        ("wait",),
        ("wait", "x", "--timeout", "soon"),
        ("wait", "x", "--timeout", "5mm"),
        ("nothing",),
        (),
    ],
)
def test_wrong_usage_ends_with_2(filled, run, arguments) -> None:
    ran = run(*arguments)

    assert (ran.code, ran.out) == (2, "")
    assert ran.err


def test_adopt_prints_a_model_for_a_loose_file(filled, run) -> None:
    loose = {"name": "mistral", "kind": "Loose", "path": "old/mistral.gguf", "sizeBytes": 5}
    filled.add("galleries", gallery(listing={"models": [loose]}))

    by_name, by_path = run("adopt", "mistral"), run("adopt", "/old/mistral.gguf")

    assert by_name.out == by_path.out
    assert yaml.safe_load(by_name.out)["spec"]["source"]["files"] == [
        {"path": "old/mistral.gguf", "uri": "file:///old/mistral.gguf"}
    ]
    assert "without --sha256" in by_name.err
    assert "lists no loose file" not in by_name.err
    assert filled.writes() == []


def test_adopt_and_apply(filled, run) -> None:
    ran = run("adopt", "a.gguf", "--sha256", SHA, "--apply")

    assert (ran.out, ran.err) == ("model.modelgallery.dev/a created\n", "")
    assert filled.get("models", "models", "a")["spec"]["source"]["files"][0]["sha256"] == SHA


def test_adopt_what_the_gallery_does_not_list(filled, run) -> None:
    filled.add("galleries", gallery(listing={"models": []}))

    ran = run("adopt", "a.gguf", "-o", "json")

    assert "lists no loose file 'a.gguf'" in ran.err
    assert json.loads(ran.out)["metadata"]["name"] == "a"


def test_remove(stub, run) -> None:
    stub.add("models", model("a", READY))

    ran = run("remove", "a")

    assert (ran.code, ran.out) == (0, "model.modelgallery.dev/a deleted\n")
    assert [method for method, _ in stub.writes()] == ["DELETE"]


def test_remove_and_retain_says_so_first(stub, run) -> None:
    stub.add("models", model("a", READY))

    ran = run("remove", "a", "--retain")

    assert ran.out == "model.modelgallery.dev/a deleted, its files stay\n"
    assert stub.writes()[0] == ("PATCH", {"spec": {"deletionPolicy": "Retain"}})
    assert stub.writes()[1][0] == "DELETE"


def test_remove_and_wait(stub, run) -> None:
    stub.add("models", model("a", READY))
    stub.patience = False
    stub.script = [("models", "a", model("a", WORKING)), ("models", "a", None)]

    assert run("remove", "a", "--wait", "--timeout", "10s").code == 0
    assert stub.script == []


def test_remove_that_takes_too_long(stub, run) -> None:
    stub.add("models", model("a", READY))
    stub.patience = False

    ran = run("remove", "a", "--wait", "--timeout", "1s")

    assert ran.code == 1
    assert "is still there after 1 s" in ran.err


@pytest.mark.parametrize(("command", "wish"), [("suspend", True), ("resume", False)])
def test_suspend_and_resume(stub, run, command: str, wish: bool) -> None:
    stub.add("models", model("a", READY))

    ran = run(command, "a")

    told = "suspended" if wish else "resumed"
    assert ran.out == f"model.modelgallery.dev/a {told}\n"
    assert stub.writes() == [("PATCH", {"spec": {"suspend": wish}})]
    assert run(command, "a", "-o", "name").out == "model.modelgallery.dev/a\n"
    assert yaml.safe_load(run(command, "a", "-o", "yaml").out)["spec"]["suspend"] is wish
    assert json.loads(run(command, "a", "-o", "json").out)["kind"] == "Model"


def test_resume_and_wait(stub, run) -> None:
    stub.add("models", model("a", READY))

    assert run("resume", "a", "--wait").lines[-1] == "model.modelgallery.dev/a ready"


def test_verify_asks(stub, run) -> None:
    stub.add("models", model("a", READY))

    ran = run("verify", "a")

    assert ran.out == "model.modelgallery.dev/a verification requested\n"
    note = {"modelgallery.dev/verify-requested-at": "2026-01-01T00:05:00Z"}
    assert stub.writes() == [("PATCH", {"metadata": {"annotations": note}})]


@pytest.mark.parametrize(("status", "code"), [("True", 0), ("Unknown", 0), ("False", 1)])
def test_verify_waits_for_the_answer_to_this_question(stub, run, status: str, code: int) -> None:
    verified = condition("Verified", status, "ChecksumMismatch", "a is b")
    earlier = {"lastHandledVerifyAt": "2025-12-31T00:00:00Z"}
    answer = {"lastHandledVerifyAt": "2026-01-01T00:05:00Z"}
    stub.add("models", model("a", READY, status=earlier))
    stub.script = [
        ("models", "a", model("a", WORKING, status=earlier)),
        ("models", "a", model("a", READY, verified, status=answer)),
    ]

    ran = run("verify", "a", "--wait", "--timeout", "10s")

    assert ran.code == code
    assert ran.out == (f"model.modelgallery.dev/a Verified={status} (ChecksumMismatch) a is b\n")


def test_verify_by_an_operator_that_does_not_answer(stub, run) -> None:
    stub.add("models", model("a", READY))

    ran = run("verify", "a", "--wait", "--timeout", "1s")

    assert ran.code == 1
    assert "was not verified within 1 s" in ran.err


def test_verify_of_a_model_that_goes(stub, run) -> None:
    stub.add("models", model("a", READY))
    stub.script = [("models", "a", None)]

    assert "deleted meanwhile" in run("verify", "a", "--wait", "--timeout", "5s").err


@pytest.mark.parametrize(
    ("storage", "told"),
    [({"reclaimableBytes": 3 << 30}, "3.0 GiB"), ({}, "an amount that is not known yet")],
)
def test_gc(stub, run, storage, told: str) -> None:
    stub.add("galleries", gallery(storage=storage))

    dry = run("gc", "--dry-run")
    assert dry.out == f"gallery.modelgallery.dev/demo could give back {told}\n"
    assert stub.writes() == []

    wet = run("gc", "--gallery", "demo")
    assert wet.out == f"gallery.modelgallery.dev/demo collection requested, of {told}\n"
    note = {"modelgallery.dev/collect-requested-at": "2026-01-01T00:05:00Z"}
    assert stub.writes() == [("PATCH", {"metadata": {"annotations": note}})]
    assert run("gc", "--dry-run", "-o", "name").out == "gallery.modelgallery.dev/demo\n"
    assert json.loads(run("gc", "--dry-run", "-o", "json").out)["kind"] == "Gallery"


def test_wait_shows_each_change_once(stub, run) -> None:
    transfer = {"progress": {"completedBytes": 1 << 20, "totalBytes": 4 << 20}}
    stub.add("models", model("a", WORKING), model("b", READY))
    stub.script = [
        ("models", "a", model("a", WORKING)),
        ("models", "a", model("a", WORKING, status=transfer)),
        ("models", "unrelated", model("unrelated", *STALLED)),
        ("models", "a", model("a", READY)),
    ]

    ran = run("wait", "a", "b", "a", "--timeout", "10s")

    assert (ran.code, ran.lines) == (
        0,
        ["model.modelgallery.dev/a ready", "model.modelgallery.dev/b ready"],
    )
    assert ran.err.splitlines() == [
        "a: Progressing",
        "b: ready",
        "a: Progressing, 1.0 MiB of 4.0 MiB (25%)",
        "a: ready",
    ]


def test_wait_ends_where_a_model_stalls(stub, run) -> None:
    stub.add("models", model("a", *STALLED), model("b", READY))

    ran = run("wait", "a", "b")

    assert (ran.code, ran.out) == (1, "model.modelgallery.dev/b ready\n")
    assert "Model models/a: ChecksumMismatch: sha256 of a is b" in ran.err


def test_wait_for_what_is_not_there(stub, run) -> None:
    assert "Model models/a: it is not there" in run("wait", "a").err


def test_wait_that_takes_too_long(stub, run) -> None:
    stub.add("models", model("a", WORKING))

    ran = run("wait", "a", "--timeout", "1s")

    assert ran.code == 1
    assert "Model models/a: not ready after 1 s: Progressing" in ran.err


def test_wait_outlives_a_watch_whose_version_is_too_old(stub, run) -> None:
    stub.add("models", model("a", WORKING))
    stub.script = [
        ("models", "a", {"kind": "Status", "code": 410, "reason": "Expired"}),
        ("models", "a", model("a", READY)),
    ]

    assert run("wait", "a", "--timeout", "10s").code == 0
