"""`list`, `available`, `describe`, `logs`: every output format, over real HTTP."""

from __future__ import annotations

import json

import pytest
import yaml

from model_gallery.plugin.commands import available, logs
from support.asread import READY, STALLED, WORKING, condition, gallery, index_copy, model

PROGRESS = {
    "completedBytes": 512 << 20,
    "totalBytes": 2 << 30,
    "bytesPerSecond": 64 << 20,
    "etaSeconds": 24,
    "file": "big.gguf",
}
TINY = model(
    "tiny-llama",
    READY,
    condition("Verified", "True", "Succeeded"),
    status={
        "sizeBytes": 487008,
        "files": [{"path": "tiny-llama.gguf", "sizeBytes": 487008, "sha256": "4f" * 32}],
        "filesTotal": 3,
        "model": {"format": "GGUF", "architecture": "llama", "parameters": 119360},
        "serving": {"state": "Loaded", "pods": [{"name": "p-0", "state": "Loaded"}]},
        "resolved": {"revision": "3e90", "digest": "sha256:b6"},
        "storage": {"claimName": "demo-models", "subPath": "m"},
    },
)
BIG = model("big", WORKING, status={"progress": PROGRESS})
ELSEWHERE = model("broken", *STALLED, namespace="other", spec={"source": {"uri": "https://e.x/m"}})
ENTRIES = [
    {"name": "phi", "description": "About\nllama.", "tags": ["llm", "cpu"], "overrides": {"a": 1}},
    {"name": "tiny-llama", "license": "mit", "description": "Small. " * 20, "overrides": {"a": 1}},
    {"name": "whisper", "tags": ["audio", "Llama"], "overrides": {"a": 1}},
    {"name": "odd", "tags": {"no": "list"}, "description": ["no text"], "overrides": {"a": 1}},
]


@pytest.fixture
def filled(stub):
    stub.add("models", TINY, BIG, ELSEWHERE)
    stub.add("galleries", gallery())
    stub.add("configmaps", *index_copy(ENTRIES))
    return stub


def test_list(filled, run) -> None:
    ran = run("list")

    assert ran.code == 0
    assert ran.out == (
        "NAME         SERVED-NAME   GALLERY   READY     REASON        SIZE        PROGRESS   LOADED"
        "   AGE\n"
        "big          big           demo      Unknown   Progressing               25%              "
        "   5m\n"
        "tiny-llama   tiny-llama    demo      True      Succeeded     475.6 KiB              Loaded"
        "   5m\n"
    )


def test_list_of_all_namespaces_reads_all_pages(filled, run) -> None:
    filled.page = 1

    ran = run("list", "-A", "-o", "wide")

    assert [line.split()[:2] for line in ran.lines] == [
        ["NAMESPACE", "NAME"],
        ["models", "big"],
        ["models", "tiny-llama"],
        ["other", "broken"],
    ]
    assert "https://e.x/m" in ran.lines[3]
    assert "sha256 of a is b" in ran.lines[3]
    assert "entry tiny-llama" in ran.lines[2]


@pytest.mark.parametrize("chosen", [("-n", "other"), ("--context", "other")])
def test_the_namespace_may_stand_before_or_behind_the_command(filled, run, chosen) -> None:
    for arguments in ((*chosen, "list", "-o", "name"), ("list", "-o", "name", *chosen)):
        assert run(*arguments).out == "model.modelgallery.dev/broken\n"


def test_list_for_programs(filled, run) -> None:
    as_json, as_yaml = run("list", "-o", "json"), run("list", "-o", "yaml")

    found = json.loads(as_json.out)
    assert found == yaml.safe_load(as_yaml.out)
    assert found["kind"] == "List"
    assert [item["kind"] for item in found["items"]] == ["Model", "Model"]
    assert found["items"][1]["status"]["sizeBytes"] == 487008
    assert "managedFields" not in as_json.out


def test_list_of_nothing(stub, run) -> None:
    ran = run("list")

    assert (ran.code, ran.out, ran.err) == (0, "", "No Models in namespace models.\n")
    assert json.loads(run("list", "-o", "json").out)["items"] == []


def test_available(filled, run) -> None:
    ran = run("available", "--gallery", "demo")

    assert [line.split()[0] for line in ran.lines] == [
        "NAME",
        "phi",
        "tiny-llama",
        "whisper",
        "odd",
    ]
    assert ran.lines[1].split(maxsplit=2) == ["phi", "llm,cpu", "About llama."]
    assert ran.lines[2].split()[:3] == ["tiny-llama", "tiny-llama", "mit"]
    assert ran.lines[2].endswith("…")
    assert "Cannot be installed: entry 'odd': description" in ran.lines[4]


def test_available_finds_names_first_then_tags_then_descriptions(filled, run) -> None:
    ran = run("available", "LLAMA", "-o", "name")

    assert ran.lines == ["tiny-llama", "whisper", "phi"]


def test_available_takes_whole_names_with_wildcards(filled, run) -> None:
    assert run("available", "*iny*", "-o", "name").lines == ["tiny-llama"]


def test_available_for_programs(filled, run) -> None:
    found = json.loads(run("available", "phi", "-o", "json").out)

    assert found == yaml.safe_load(run("available", "phi", "-o", "yaml").out)
    assert found == [
        {
            "name": "phi",
            "description": "About\nllama.",
            "tags": ["llm", "cpu"],
            "license": "",
            "models": [],
        }
    ]


def test_available_wide_shows_more(filled, run) -> None:
    narrow, wide = run("available", "tiny"), run("available", "tiny", "-o", "wide")

    assert len(wide.lines[1]) > len(narrow.lines[1])


def test_available_without_a_match(filled, run) -> None:
    ran = run("available", "nothing-like-it")

    assert (ran.code, ran.out) == (0, "")
    assert ran.err == "None of the 4 entries of Gallery demo that match 'nothing-like-it'.\n"


def test_available_before_there_is_an_index(stub, run) -> None:
    stub.add("galleries", gallery())

    ran = run("available")

    assert ran.code == 1
    assert "Gallery models/demo has no index yet" in ran.err


def test_available_of_a_gallery_that_is_not_there(stub, run) -> None:
    ran = run("available", "--gallery", "nope")

    assert ran.code == 1
    assert "Gallery models/nope is not there" in ran.err


@pytest.mark.parametrize("there", [(), ("a", "b")])
def test_a_gallery_must_be_named_unless_there_is_one(stub, run, there) -> None:
    stub.add("galleries", *map(gallery, there))

    ran = run("available")

    assert ran.code == 2
    assert ("one of a, b" if there else "none is there yet") in ran.err


def test_a_copy_of_another_version_is_no_copy(filled, run) -> None:
    filled.get("configmaps", "models", "demo-index-0")["data"]["format"] = "9"

    assert "has no index yet" in run("available").err


def test_a_damaged_copy_is_no_copy(filled, run) -> None:
    filled.get("configmaps", "models", "demo-index-0")["binaryData"]["index"] = "AAAA"

    assert "has no index yet" in run("available").err


def test_models_of_other_galleries_are_not_of_this_one() -> None:
    assert available.installed([model("a", spec={"galleryName": "other"})], "demo") == {}


def test_describe(filled, run) -> None:
    event = {
        "metadata": {"name": "e", "namespace": "models"},
        "involvedObject": {"uid": "uid-tiny-llama"},
        "type": "Normal",
        "reason": "Succeeded",
        "message": "published",
        "eventTime": "2026-01-01T00:03:00.000000Z",
        "lastTimestamp": None,
    }
    filled.add("events", event)

    ran = run("describe", "tiny-llama")

    assert ran.code == 0
    text = "\n".join(" ".join(line.split()) for line in ran.lines)
    assert "Name: tiny-llama" in text
    assert "Claim: demo-models/m" in text
    assert "Source: entry tiny-llama" in text
    assert "TYPE STATUS REASON SINCE MESSAGE" in text
    assert "Ready True Succeeded 30s 1 file, 475.6 KiB" in text
    assert f"tiny-llama.gguf 475.6 KiB {'4f' * 32}" in text
    assert "(2 more)" in text
    assert "Architecture: llama" in text
    assert "State: Loaded" in text
    assert "Normal Succeeded 2m published" in text
    assert "Last failure" not in text
    query = next(path for _, path, _ in filled.requests if "/events" in path)
    assert "involvedObject.uid%3Duid-tiny-llama" in query


def test_describe_a_transfer_and_a_failure(filled, run) -> None:
    failure = {"reason": "Unreachable", "message": "no route", "failedTime": "t"}
    filled.add("models", model("x", WORKING, status={"progress": PROGRESS, "lastFailure": failure}))

    text = "\n".join(" ".join(line.split()) for line in run("describe", "x").lines)

    assert "Progress: 512.0 MiB of 2.0 GiB (25%), 64.0 MiB/s" in text
    assert "Time left: 24s" in text
    assert "Reason: Unreachable" in text
    assert "Events: none" in text


LIFE = {
    "checkedTime": "2026-01-01T00:02:00Z",
    "updateAvailable": {"revision": "newer"},
    "eviction": {"madeRoomFor": "large"},
    "damage": {"problems": [{"path": "a.gguf", "problem": "Damaged"}]},
    "plan": {
        "revision": "abc",
        "files": [{"path": "p.gguf", "sizeBytes": 1048576}],
        "filesTotal": 1,
        "sizeBytes": 1048576,
        "fetchBytes": 524288,
        "license": "mit",
    },
    "serving": {
        "state": "Busy",
        "pods": [
            {
                "name": "p-0",
                "backend": "LlamaCpp",
                "state": "Busy",
                "memoryBytes": 2097152,
                "cpuMilli": 900,
                "running": 2,
                "waiting": 1,
                "lastUsedTime": "2026-01-01T00:03:00Z",
            }
        ],
        "unload": {"time": "t", "reason": "Idle", "result": "Done"},
    },
}


@pytest.mark.parametrize(
    "line",
    [
        "Checked: 2026-01-01T00:02:00Z",
        "Update: newer",
        "Made room for: large",
        "a.gguf Damaged",
        "To fetch: 512.0 KiB",
        "License: mit",
        "p.gguf 1.0 MiB",
        "p-0 LlamaCpp Busy 2.0 MiB 900m 2 (1 wait) 2026-01-01T00:03:00Z",
        "Last unload: t Idle Done",
    ],
)
def test_describe_the_life_after_the_install(filled, run, line: str) -> None:
    filled.add("models", model("x", status=LIFE))
    assert line in [" ".join(text.split()) for text in run("describe", "x").lines]


def test_describe_without_the_right_to_read_events(filled, run) -> None:
    filled.refusals["GET", "events"] = (403, '{"message": "events is forbidden"}')

    ran = run("describe", "big")

    assert ran.code == 0
    assert "(you may not read events here)" in ran.out


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_describe_for_programs(filled, run, form: str) -> None:
    found = yaml.safe_load(run("describe", "big", "-o", form).out)

    assert found["metadata"]["name"] == "big"
    assert run("describe", "big", "-o", "name").out == "model.modelgallery.dev/big\n"


def test_describe_what_is_not_there(stub, run) -> None:
    ran = run("describe", "nope")

    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        "kubectl model: Model models/nope is not there:"
        " `kubectl model list -n models` shows the Models there\n"
    )


def pod(name: str, created: str) -> dict:
    return {"metadata": {"name": name, "namespace": "models", "creationTimestamp": created}}


@pytest.mark.parametrize("flags", [(), ("-f",)])
def test_logs_are_those_of_the_newest_worker(filled, run, flags) -> None:
    filled.add("pods", pod("z", "2026-01-01T00:00:00Z"), pod("a", "2026-01-01T00:00:09Z"))
    filled.logs = {"a": b'{"msg": "Published"}\n', "z": b"old\n"}

    ran = run("logs", "big", *flags)

    assert (ran.code, ran.out) == (0, '{"msg": "Published"}\n')
    asked = [path for _, path, _ in filled.requests]
    assert any("modelgallery.dev/model-uid%3Duid-big" in path for path in asked)
    assert ("follow=true" in asked[-1].lower()) is bool(flags)


def test_logs_without_a_worker(filled, run) -> None:
    ran = run("logs", "tiny-llama")

    assert ran.code == 1
    assert "has no worker now (Succeeded)" in ran.err


def test_logs_of_a_pod_that_has_none_yet(filled, run) -> None:
    filled.add("pods", pod("a", "2026-01-01T00:00:00Z"))
    filled.refusals["GET", "pods"] = (400, '{"message": "container is waiting to start"}')

    assert "waiting to start" in run("logs", "big").err


def test_the_newest_pod() -> None:
    assert logs.newest([]) is None
