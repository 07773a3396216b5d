"""The monitor with real backends on the real cluster: states seen changing, figures, unloading."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support import backends as serving
from support.kube import condition, wait_until
from support.origin import URL, body

pytestmark = pytest.mark.timeout(600)

SIDECAR = {
    "name": "model-gallery-sidecar",
    "args": ["sidecar"],
    "restartPolicy": "Always",
    "ports": [{"name": "mg-usage", "containerPort": 9464}],
    "resources": {"requests": {"cpu": "10m", "memory": "48Mi"}},
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    },
    "volumeMounts": [{"name": "models", "mountPath": "/models", "readOnly": True}],
}


PAGE = Path(__file__).resolve().parents[2] / "docs" / "monitoring.md"
BEGIN, END = "<!-- begin -->", "<!-- end -->"


@pytest.fixture(scope="module")
def journal():
    """What was asked and seen; with MODEL_GALLERY_RECORD=1 it becomes the table of the docs."""
    rows = []
    yield lambda backend, asked, found, told="": rows.append((backend, asked, found, told))
    if os.environ.get("MODEL_GALLERY_RECORD") != "1" or not rows:
        return
    lines = [
        "| backend | what happened | state | memory | further | beside it |",
        "| --- | --- | --- | --- | --- | --- |",
        *(_row(*row) for row in rows),
    ]
    head, _, rest = PAGE.read_text().partition(BEGIN)
    tail = rest.partition(END)[2]
    PAGE.write_text("\n".join([head + BEGIN, *lines, END]) + tail)


def _row(backend, asked, found, told):
    memory = found.get("memoryBytes")
    pods = found.get("pods") or [{}]
    kept = ("running", "waiting", "contextLength", "cpuMilli", "expiresTime")
    more = [f"{key} {pods[0][key]}" for key in kept if key in pods[0]]
    if "unload" in found:
        more.append(f"unload {found['unload']['reason']}: {found['unload']['result']}")
    shown = f"{memory:,}" if memory else "absent"
    return f"| {backend} | {asked} | {found['state']} | {shown} | {'; '.join(more)} | {told} |"


def install(stage, *names, **spec):
    for name in names:
        path = f"/real/{name}.gguf"
        file = {"path": f"{name}.gguf", "uri": URL + path, "sha256": body(path).sha256()}
        stage.create(name, source={"files": [file]}, **spec)
    for name in names:
        stage.ready(name)


def replaced(stage, name, wait):
    """Asks for another file at the path of the first."""
    path = "/real/large.gguf"
    file = {"path": f"{name}.gguf", "uri": URL + path, "sha256": body(path).sha256()}
    stage.create(name, source={"files": [file]}, updatePolicy={"waitSeconds": wait})


def waits(stage, name):
    """Returns the message of a Model that waits for its users; empty: it does not."""
    found = condition(stage.kube.get("model", name, stage.namespace), "Reconciling")
    return found["message"] if found.get("reason") == "InUse" else ""


def seen(stage, name):
    found = stage.kube.get("model", name, stage.namespace) or {}
    return found.get("status", {}).get("serving", {})


def until_state(stage, name, *states, timeout=60):
    def reached():
        found = seen(stage, name)
        return found if found.get("state") in states else None

    return wait_until(
        f"{name} is {' or '.join(states)}",
        reached,
        timeout,
        lambda: stage.kube.run("get", "models,galleries,pods", "-o", "yaml", "-n", stage.namespace),
    )


def quick(kind, **more):
    """The Gallery's backend: asked every two seconds, so that states are seen while they last."""
    return [
        {
            "name": "real",
            "selector": {"matchLabels": {serving.KIND_LABEL: kind}},
            "probePeriodSeconds": 2,
            **more,
        }
    ]


def scrape(stage):
    path = (
        "/api/v1/namespaces/model-gallery-system/services/"
        "model-gallery-model-gallery-operator:8080/proxy/metrics"
    )
    return stage.kube.run("get", "--raw", path).splitlines()


def value(stage, metric, **labels):
    wanted = [f'{key}="{text}"' for key, text in labels.items()]
    for line in scrape(stage):
        name, _, rest = line.partition("{")
        if name == metric and all(label in rest for label in wanted):
            return float(rest.rpartition(" ")[2])
    return None


def test_llamacpp_is_found_by_its_mount_and_seen_at_work(stage, backends, journal):
    """Loaded, Busy, Loaded; memory as the kernel has it; the sidecar knows which process it is."""
    image = backends.image("llamacpp")
    stage.set_up(backends=quick("llamacpp"))
    install(stage, "busy", "tiny")
    pod = serving.llamacpp(image, stage.namespace, "busy.gguf", context=4096)
    pod["spec"]["shareProcessNamespace"] = True
    pod["spec"]["initContainers"] = [{**SIDECAR, "image": stage._image()}]
    server = backends.start(pod)

    loaded = until_state(stage, "busy", "Loaded")
    journal("llama.cpp, one model", "the pod became ready", loaded)
    (where,) = loaded["pods"]
    assert (where["name"], where["backend"], loaded["podsTotal"]) == (server.name, "LlamaCpp", 1)
    assert where["contextLength"] > 0
    assert seen(stage, "tiny")["state"] == "Unloaded"
    use = condition(stage.kube.get("model", "busy", stage.namespace), "InUse")
    assert (use["status"], server.name in use["message"]) == ("True", True)

    with serving.busy(server, requests=2):
        working = until_state(stage, "busy", "Busy")
        assert working["pods"][0]["running"] >= 1
        journal("llama.cpp, one model", "two requests", working, "`/slots`: 2 of 2 work")
    until_state(stage, "busy", "Loaded")

    def measured():
        found = seen(stage, "busy").get("memoryBytes")
        return found if found and found > 64 << 20 else None

    memory = wait_until("memory of the model", measured, 90)
    resident = stage.kube.run(
        *("exec", server.name, "-n", stage.namespace, "-c", "backend", "--", "sh", "-c"),
        "for p in /proc/[0-9]*; do grep -q busy.gguf $p/maps 2>/dev/null"
        " && grep VmRSS $p/status; done; true",
    )
    kilobytes = [int(line.split()[1]) for line in resident.splitlines()]
    kernel = f"VmRSS of its process: {max(kilobytes) * 1024:,}" if kilobytes else ""
    journal("llama.cpp, one model", "idle again, with the sidecar", seen(stage, "busy"), kernel)
    if kilobytes:
        assert abs(memory - max(kilobytes) * 1024) < 0.2 * memory
    assert seen(stage, "busy")["lastUsedTime"]

    groups = stage.gallery()["status"]["backends"]
    (real,) = [group for group in groups if group["name"] == "real"]
    assert (real["type"], real["pods"], real["ready"], real["loaded"]) == ("LlamaCpp", 1, 1, 1)
    place = {"namespace": stage.namespace, "name": "busy"}
    assert value(stage, "model_gallery_model_serving_pods", **place, state="Loaded") == 1
    assert value(stage, "model_gallery_model_memory_bytes", **place) > 64 << 20
    stage.kube.delete("pod", server.name, stage.namespace)
    stage.kube.wait_gone("pod", server.name, stage.namespace)
    until_state(stage, "busy", "Unloaded")


def test_ollama_unloads_what_shall_not_be_loaded(stage, backends, journal):
    """DesiredState Unloaded: gone from memory, with an event and a count; a request loads it again."""
    image = backends.image("ollama")
    stage.set_up(backends=quick("ollama"))
    install(stage, "tiny")
    server = backends.start(
        serving.ollama(image, stage.namespace, "tiny.gguf", keep_alive="10m"), timeout=120
    )
    until_state(stage, "tiny", "Unloaded")
    assert serving.generate(server, "tiny").status == 200
    loaded = until_state(stage, "tiny", "Loaded", "Busy")
    assert loaded["pods"][0]["backend"] == "Ollama"
    running = server.get("/api/ps").json["models"][0]
    journal("Ollama", "one request", loaded, f"`/api/ps` size: {running['size']:,}")
    assert loaded["memoryBytes"] > 0

    install(stage, "tiny", serving={"desiredState": "Unloaded"})
    unloaded = until_state(stage, "tiny", "Unloaded")
    assert (unloaded["unload"]["reason"], unloaded["unload"]["result"]) == ("Desired", "Done")
    journal("Ollama", "`desiredState: Unloaded`", unloaded, "`/api/ps`: empty")
    assert serving.loaded(server) == set()
    events = json.loads(stage.kube.run("get", "events", "-n", stage.namespace, "-o", "json"))
    assert "Unloaded" in {event["reason"] for event in events["items"]}
    assert value(stage, "model_gallery_unloads_total", reason="Desired", result="Done") >= 1

    assert serving.generate(server, "tiny").status == 200
    until_state(stage, "tiny", "Loaded", "Busy")
    assert serving.loaded(server) == {"tiny"}, "who uses it again is not fought with"


def test_an_idle_model_goes_and_a_deletion_unloads_first(stage, backends, journal):
    """P55: idleTimeoutSeconds, then the deletion of a loaded Model, both with Ollama."""
    image = backends.image("ollama")
    stage.set_up(backends=quick("ollama"))
    install(stage, "tiny", serving={"idleTimeoutSeconds": 6})
    server = backends.start(
        serving.ollama(image, stage.namespace, "tiny.gguf", keep_alive="10m"), timeout=120
    )
    assert serving.generate(server, "tiny").status == 200
    until_state(stage, "tiny", "Loaded", "Busy")
    gone = until_state(stage, "tiny", "Unloaded")
    assert gone["unload"]["reason"] == "Idle"
    journal("Ollama", "`idleTimeoutSeconds: 6` and no request", gone)

    install(stage, "tiny", serving={})
    assert serving.generate(server, "tiny").status == 200
    until_state(stage, "tiny", "Loaded", "Busy")
    stage.kube.delete("model", "tiny", stage.namespace)
    stage.kube.wait_gone("model", "tiny", stage.namespace)
    assert serving.loaded(server) == set()
    assert "./tiny.gguf" not in stage.published()


def test_a_router_keeps_to_its_limit(stage, backends, journal):
    """MaxLoaded 1 with a router that would hold two: the longest unused goes."""
    image = backends.image("ollama")
    stage.set_up(backends=quick("router", maxLoaded=1))
    install(stage, "tiny", "large")
    server = backends.start(serving.router(image, stage.namespace))
    assert serving.generate(server, "tiny").status == 200
    until_state(stage, "tiny", "Loaded", "Busy")
    assert serving.generate(server, "large").status == 200
    gone = until_state(stage, "tiny", "Unloaded")
    assert gone["unload"]["reason"] == "MaxLoaded"
    journal("llama.cpp router", "`maxLoaded: 1`, another model was asked for", gone)
    assert serving.loaded(server) == {"large"}


def test_a_backend_that_cannot_unload_says_so(stage, backends, journal):
    """One llama.cpp server for one model: UnloadUnsupported, and the model stays."""
    image = backends.image("llamacpp")
    stage.set_up(backends=quick("llamacpp"))
    install(stage, "tiny", serving={"desiredState": "Unloaded"})
    backends.start(serving.llamacpp(image, stage.namespace, "tiny.gguf", context=1024))
    found = wait_until("a word on it", lambda: seen(stage, "tiny").get("unload"), 60)
    assert found["result"] == "Unsupported"
    journal("llama.cpp, one model", "`desiredState: Unloaded`", seen(stage, "tiny"))
    assert seen(stage, "tiny")["state"] == "Loaded"
    events = json.loads(stage.kube.run("get", "events", "-n", stage.namespace, "-o", "json"))
    assert "UnloadUnsupported" in {event["reason"] for event in events["items"]}


def test_a_switch_waits_for_those_who_cannot_unload_and_not_for_ever(stage, backends):
    """The other file is fetched, the old one stays until nobody waits any longer."""
    image = backends.image("llamacpp")
    stage.set_up(backends=quick("llamacpp"))
    install(stage, "tiny")
    pod = serving.llamacpp(image, stage.namespace, "tiny.gguf", context=1024)
    backends.start(pod)
    until_state(stage, "tiny", "Loaded")
    replaced(stage, "tiny", wait=20)
    message = wait_until("it waits", lambda: waits(stage, "tiny"), 60)
    assert pod["metadata"]["name"] in message
    assert stage.sha256("tiny.gguf") == body("/real/tiny.gguf").sha256()
    stage.ready("tiny")
    assert stage.sha256("tiny.gguf") == body("/real/large.gguf").sha256()
    assert seen(stage, "tiny")["state"] == "Loaded", "what it has opened stays"


def test_what_is_replaced_is_unloaded_first(stage, backends, journal):
    """A router gives the old file back when it is asked to, and takes the new one with the next request."""
    image = backends.image("ollama")
    stage.set_up(backends=quick("router"))
    install(stage, "tiny")
    server = backends.start(serving.router(image, stage.namespace))
    assert serving.generate(server, "tiny").status == 200
    until_state(stage, "tiny", "Loaded", "Busy")
    replaced(stage, "tiny", wait=1800)
    stage.ready("tiny")
    gone = seen(stage, "tiny")
    assert (gone["state"], gone["unload"]["reason"]) == ("Unloaded", "Replaced")
    journal("llama.cpp router", "another file at the same path", gone)
    assert stage.sha256("tiny.gguf") == body("/real/large.gguf").sha256()
    assert serving.generate(server, "tiny").status == 200
    until_state(stage, "tiny", "Loaded", "Busy")


def test_triton_is_recognised_and_gives_a_model_back(stage, backends, journal):
    """Its models are known by their names; what is loaded there by hand is unloaded as the Model says."""
    image = backends.image("triton")
    stage.set_up(backends=quick("triton"))
    file = {"path": "echo.dat", "uri": f"{URL}/gen/1Mi/triton/echo.dat"}
    stage.create("echo", source={"files": [file]})
    stage.ready("echo")
    server = backends.start(serving.triton(image, stage.namespace))
    until_state(stage, "echo", "Unloaded")
    assert server.post("/v2/repository/models/echo/load", {}).status == 200
    loaded = until_state(stage, "echo", "Loaded")
    assert loaded["pods"][0]["backend"] == "KServeV2"
    journal("Triton", "a client loaded it", loaded, f"`/v2/repository/index`: {triton(server)}")
    stage.create("echo", source={"files": [file]}, serving={"desiredState": "Unloaded"})
    gone = until_state(stage, "echo", "Unloaded")
    assert gone["unload"]["result"] == "Done"
    journal("Triton", "`desiredState: Unloaded`", gone, f"`/v2/repository/index`: {triton(server)}")
    assert triton(server) == "UNAVAILABLE"


def triton(server):
    """The state that Triton itself tells."""
    index = server.post("/v2/repository/index", {}).json
    return next(one.get("state") for one in index if one["name"] == "echo")


def test_kserve_is_recognised_and_tells_when_a_model_was_used(stage, backends, journal):
    """It lists ready models only, and counts what was predicted; a model works on the published file."""
    image = backends.image("kserve")
    stage.set_up(backends=quick("kserve"))
    path = "/gen/1Mi/kserve/echo.dat"
    file = {"path": "echo.dat", "uri": URL + path}
    stage.create("echo", source={"files": [file]})
    stage.ready("echo")
    server = backends.start(serving.kserve(image, stage.namespace, "echo.dat"), timeout=120)
    until_state(stage, "echo", "Unloaded")
    assert server.post("/v2/repository/models/echo/load").status == 200
    loaded = until_state(stage, "echo", "Loaded")
    assert loaded["pods"][0]["backend"] == "KServeV2"
    journal("KServe, Python", "a client loaded it", loaded, f"`/v2/models`: {kserve(server)}")
    answer = serving.generate(server, "echo").json
    assert answer["predictions"] == [body(path).sha256()]
    wait_until(
        "its use is seen",
        lambda: seen(stage, "echo").get("lastUsedTime", "") > loaded.get("lastUsedTime", ""),
        60,
    )
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(server.post, "/v1/models/echo:predict", {"seconds": 20}, timeout=60)
        mute = until_state(stage, "echo", "Unknown")
        journal("KServe, Python", "one prediction of 20 s, which blocks the server", mute)
        assert working.result().status == 200
    until_state(stage, "echo", "Loaded")
    stage.create("echo", source={"files": [file]}, serving={"desiredState": "Unloaded"})
    gone = until_state(stage, "echo", "Unloaded")
    assert gone["unload"]["result"] == "Done"
    journal("KServe, Python", "`desiredState: Unloaded`", gone, f"`/v2/models`: {kserve(server)}")
    assert serving.loaded(server) == set()


def kserve(server):
    """The models that KServe itself tells."""
    return ", ".join(serving.loaded(server)) or "none"
