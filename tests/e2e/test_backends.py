"""Real backends load what the operator installed, from the claim, and say what they do.

With MODEL_GALLERY_RECORD=1 the answers are kept in tests/data/backends, for the contract tests of the
monitor. `hack/backends` makes the images; a test whose image is missing is skipped.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest

from support import backends as serving
from support.kube import wait_until
from support.origin import URL, body

pytestmark = pytest.mark.timeout(600)

LLAMACPP = "llamacpp-b11549"
ROUTER = "router-b10488"
OLLAMA = "ollama-0.32.15"
TRITON = "triton-2.51.0"


def install(stage, *names):
    """Lets the operator install models of the origin that backends can run."""
    stage.set_up()
    for name in names:
        path = f"/real/{name}.gguf"
        file = {"path": f"{name}.gguf", "uri": URL + path, "sha256": body(path).sha256()}
        stage.create(name, source={"files": [file]})
    for name in names:
        stage.ready(name)


LLAMACPP_REQUESTS = {
    "health": "GET /health",
    "props": "GET /props",
    "models": "GET /v1/models",
    "metrics": "GET /metrics",
}
"""What wakes no sleeping model; `GET /slots` does."""


def working(server, child=""):
    """The number of slots that generate."""
    return sum(slot["is_processing"] for slot in server.get(f"/slots{child}").json)


def is_loading(server):
    """Whether a llama.cpp server listens and has no model yet."""
    answer = server.get("/health")
    return answer.status == 503 and "Loading model" in answer.text


def test_llamacpp_serves_an_installed_model(stage, backends):
    """A server of one model answers, works on two requests of three, and has nothing to do after."""
    image = backends.image("llamacpp")
    install(stage, "tiny", "busy")
    tiny = backends.start(serving.llamacpp(image, stage.namespace, name="tiny", context=1024))
    assert serving.loaded(tiny) == {"/models/tiny.gguf"}
    assert serving.generate(tiny, tokens=8).json["usage"]["completion_tokens"] == 8

    server = backends.start(serving.llamacpp(image, stage.namespace, "busy.gguf", context=4096))
    requests = {**LLAMACPP_REQUESTS, "slots": "GET /slots"}
    server.record(LLAMACPP, "idle", requests)
    with serving.busy(server, requests=3):
        wait_until("both slots work", lambda: working(server) == 2, 30)
        wait_until("one waits", lambda: "requests_deferred 1" in server.get("/metrics").text, 30)
        server.record(LLAMACPP, "busy", requests)
    wait_until("the work ends with the block", lambda: not working(server), 30)


def test_llamacpp_sleeps_and_wakes(stage, backends):
    """A server that is left alone gives its memory back, says so, and serves again when asked."""
    image = backends.image("llamacpp")
    install(stage, "large")
    server = backends.launch(
        serving.llamacpp(image, stage.namespace, "large.gguf", sleep_seconds=5)
    )
    if wait_until("it listens", lambda: is_loading(server) or serving.loaded(server), 90) is True:
        server.record(LLAMACPP, "loading", {**LLAMACPP_REQUESTS, "slots": "GET /slots"})
    wait_until("it sleeps", lambda: server.get("/props").json.get("is_sleeping"), 60)
    server.record(LLAMACPP, "sleeping", LLAMACPP_REQUESTS)
    assert serving.loaded(server) == set()
    assert server.get("/health").status == 200
    assert serving.generate(server, tokens=4).json["usage"]["completion_tokens"] == 4
    assert serving.loaded(server) == {"/models/large.gguf"}


ROUTER_REQUESTS = {"health": "GET /health", "props": "GET /props", "models": "GET /models"}


def router_status(server, model):
    """What the router says of one model."""
    found = {one["id"]: one["status"] for one in server.get("/models").json["data"]}
    return found[model]["value"]


def test_router_loads_installed_models_on_demand(stage, backends):
    """A router is ready without a model; a request loads one, and looking at another loads nothing."""
    image = backends.image("ollama")
    install(stage, "tiny", "large")
    server = backends.start(serving.router(image, stage.namespace))
    assert serving.loaded(server) == set()
    assert router_status(server, "large") == "unloaded"
    server.record(ROUTER, "unloaded", ROUTER_REQUESTS)
    assert server.get("/metrics?model=tiny&autoload=false").status != 200
    assert serving.loaded(server) == set()

    assert serving.generate(server, "tiny").json["usage"]["completion_tokens"] == 8
    assert serving.loaded(server) == {"tiny"}
    assert server.post("/models/load", {"model": "large"}).status == 200
    assert router_status(server, "large") == "loading"
    server.record(ROUTER, "loading", ROUTER_REQUESTS)
    wait_until("both are loaded", lambda: serving.loaded(server) == {"tiny", "large"}, 90)
    child = "?model=large&autoload=false"
    states = {**ROUTER_REQUESTS, "slots": f"GET /slots{child}", "metrics": f"GET /metrics{child}"}
    server.record(ROUTER, "loaded", states)
    with serving.busy(server, "large", requests=1):
        wait_until("a slot works", lambda: working(server, child) == 1, 60)
        server.record(ROUTER, "busy", states)
    assert server.post("/models/unload", {"model": "large"}).status == 200
    wait_until("one is left", lambda: serving.loaded(server) == {"tiny"}, 60)


OLLAMA_REQUESTS = {"ps": "GET /api/ps", "tags": "GET /api/tags", "version": "GET /api/version"}


def test_ollama_serves_an_installed_model(stage, backends):
    """Ollama lists what it holds in memory with sizes and expiry, also at work, and unloads it."""
    image = backends.image("ollama")
    install(stage, "tiny", "busy")
    pod = serving.ollama(image, stage.namespace, "tiny.gguf", "busy.gguf", keep_alive="5m")
    server = backends.start(pod)
    assert serving.loaded(server) == set()
    server.record(OLLAMA, "unloaded", {**OLLAMA_REQUESTS, "root": "GET /"})
    assert serving.generate(server, "tiny").json["eval_count"] == 8
    assert serving.loaded(server) == {"tiny"}
    server.record(OLLAMA, "loaded", OLLAMA_REQUESTS)
    unload = {"model": "busy", "keep_alive": 0, "stream": False}
    with serving.busy(server, "busy"):
        server.record(OLLAMA, "loading", OLLAMA_REQUESTS)
        wait_until("both are loaded", lambda: serving.loaded(server) == {"tiny", "busy"}, 60)
        server.record(OLLAMA, "busy", OLLAMA_REQUESTS)
        # It says that it is done at once, and keeps the model until the requests have ended.
        assert server.post("/api/generate", unload).json["done_reason"] == "unload"
        assert serving.loaded(server) == {"tiny", "busy"}
        server.record(OLLAMA, "stopping", OLLAMA_REQUESTS)
    assert server.post("/api/generate", unload).json["done_reason"] == "unload"
    wait_until("one is left", lambda: serving.loaded(server) == {"tiny"}, 60)


TRITON_REQUESTS = {
    "live": "GET /v2/health/live",
    "ready": "GET /v2/health/ready",
    "server": "GET /v2",
    "index": "POST /v2/repository/index",
    "metrics": "GET /metrics",
}


def triton_states(server):
    """Each model's state; None where it never was loaded."""
    listed = server.post("/v2/repository/index").json
    return {one["name"]: one.get("state") for one in listed}


def test_triton_loads_works_and_unloads(stage, backends):
    """Triton tells each model's state, and stops being ready as a whole when one model is not."""
    image = backends.image("triton")
    install(stage, "tiny")
    server = backends.start(serving.triton(image, stage.namespace, "echo"))
    assert triton_states(server) == {"broken": None, "echo": "READY", "slow": None}
    answer = serving.generate(server, "echo").json
    assert answer["outputs"][0]["data"] == [1.0]
    states = {**TRITON_REQUESTS, "stats": "GET /v2/models/slow/stats"}
    server.record(TRITON, "unloaded", states)

    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(server.post, "/v2/repository/models/slow/load", timeout=60)
        wait_until(
            "slow loads", lambda: triton_states(server)["slow"] == "LOADING" or load.done(), 30
        )
        server.record(TRITON, "loading", states)
        assert load.result().status == 200
    server.record(TRITON, "loaded", states)
    assert serving.loaded(server) == {"echo", "slow"}

    with serving.busy(server, "slow", requests=3):
        waiting = 'nv_inference_pending_request_count{model="slow",version="1"} 2'
        wait_until("two wait", lambda: waiting in server.get("/metrics", port=8002).text, 30)
        server.record(TRITON, "busy", states)
        assert server.post("/v2/repository/models/slow/unload").status == 200
        assert triton_states(server)["slow"] == "UNLOADING"
        assert server.get("/v2/health/ready").status == 400
        server.record(TRITON, "unloading", states)
    assert server.post("/v2/repository/models/broken/load", timeout=60).status >= 400
    assert triton_states(server)["broken"] == "UNAVAILABLE"
    server.record(TRITON, "failed", states)
