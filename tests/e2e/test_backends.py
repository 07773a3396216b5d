"""Real backends load what the operator installed, from the claim, and say what they do.

With MODEL_GALLERY_RECORD=1 the answers are kept in tests/data/backends, for the contract tests of the
monitor. `hack/backends` makes the images; a test whose image is missing is skipped.
"""

import pytest

from support import backends as serving
from support.kube import wait_until
from support.origin import URL, body

pytestmark = pytest.mark.timeout(600)

LLAMACPP = "llamacpp-b11549"


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
