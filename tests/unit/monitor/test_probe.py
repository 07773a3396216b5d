"""Whatever answers, a probe ends with facts: recognised by its fingerprint, bounded, and never an error."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.monitor import probe as probing
from model_gallery.monitor.asking import Answer, Asker, Limits, Route
from model_gallery.protocol.backend import BackendFacts, UnloadOutcome

AUTO = BackendType.AUTO
KINDS = [kind for kind in BackendType if kind not in {AUTO, BackendType.LOCALAI_BACKEND}]
"""Those that are asked over HTTP/1."""
OWNED = {"data": [{"id": "m"}]}
HARMLESS = """
GET /
GET /.well-known/localai.json
GET /api/ps
GET /api/version
GET /backend/monitor?model={model}
GET /health
GET /info
GET /is_sleeping
GET /metrics
GET /metrics?model={model}&autoload=false
GET /models
GET /props
GET /ready
GET /readyz
GET /slots
GET /system
GET /v1/loads?include=core,memory
GET /v1/models
GET /v2
GET /v2/health/live
GET /v2/models
GET /v2/models/{model}/stats
GET /version
POST /v2/repository/index
"""
UNLOADING = """
POST /api/embed
POST /api/generate
POST /backend/shutdown
POST /models/unload
POST /sleep?level=1&mode=wait
POST /v2/repository/models/{model}/unload
"""


def owned(by: str) -> dict[str, object]:
    return {"object": "list", "data": [{"id": "m", "owned_by": by}]}


FINGERPRINTS = {
    BackendType.KSERVE_V2: [("GET /v2", {"name": "triton", "version": "2.51.0"}, {})],
    BackendType.LOCALAI: [
        ("GET /.well-known/localai.json", {"version": "v4.9.0", "endpoints": {}}, {}),
        ("GET /v1/models", OWNED, {}),
    ],
    BackendType.LLAMA_CPP: [
        ("GET /props", {}, {"Server": "llama.cpp"}),
        ("GET /v1/models", owned("llamacpp"), {}),
    ],
    BackendType.VLLM: [("GET /v1/models", owned("vllm"), {})],
    BackendType.SGLANG: [("GET /v1/models", owned("sglang"), {})],
    BackendType.TGI: [
        ("GET /info", {"router": "text-generation-router", "model_id": "m"}, {}),
        ("GET /v1/models", OWNED, {}),
    ],
    BackendType.TEI: [("GET /info", {"model_type": {}, "max_batch_tokens": 1}, {})],
    BackendType.OLLAMA: [
        ("GET /", b"Ollama is running", {}),
        ("GET /v1/models", owned("library"), {}),
    ],
    BackendType.OPENAI: [("GET /v1/models", {"data": []}, {})],
}


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_is_recognised(backend, asker, now, kind: BackendType) -> None:
    for route, body, headers in FINGERPRINTS[kind]:
        backend.on(route, body, **headers)

    assert (await probing.probe(asker, AUTO, None, now)).type is kind


@pytest.mark.parametrize(
    ("series", "kind"),
    [
        (b'vllm:num_requests_running{model_name="m"} 0\n', BackendType.VLLM),
        (b"sglang:num_running_reqs 0\n", BackendType.SGLANG),
        (b"other 0\n", None),
    ],
)
async def test_behind_a_key_the_metrics_tell(backend, asker, now, *, series: bytes, kind) -> None:
    backend.on("GET /v1/models", b"", 401)
    backend.on("GET /health")
    backend.on("GET /metrics", series)

    facts = await probing.probe(asker, AUTO, None, now)

    assert facts.type is kind
    assert "the backend wants an API key" in facts.message


async def test_a_refusal_of_llama_cpp_is_recognised(backend, asker, now) -> None:
    backend.on("GET /props", b"", 401, Server="llama.cpp")

    assert (await probing.probe(asker, AUTO, None, now)).type is BackendType.LLAMA_CPP


async def test_it_is_recognised_once(backend, asker, now) -> None:
    backend.on("GET /info", {"model_id": "m"})

    facts = await probing.probe(asker, AUTO, BackendType.TGI, now)

    assert (facts.type, facts.ready) == (BackendType.TGI, True)
    assert backend.asked == ["GET /info", "GET /metrics"]


async def test_what_the_user_says_is_believed(backend, asker, now) -> None:
    backend.on("GET /info", {"router": "text-generation-router", "model_id": "m"})

    facts = await probing.probe(asker, BackendType.TEI, BackendType.TGI, now)

    assert facts.type is BackendType.TEI


async def test_a_stranger_is_not_remembered(backend, asker, now) -> None:
    facts = await probing.probe(asker, AUTO, None, now)

    assert facts == BackendFacts(
        None, live=True, ready=False, message="GET /v1/models answered 404"
    )


async def test_a_stranger_that_lists_nothing(backend, asker, now) -> None:
    backend.on("GET /v1/models", {"data": 5})

    assert "set its type" in (await probing.probe(asker, AUTO, None, now)).message


@pytest.mark.parametrize("wanted", [AUTO, *KINDS])
async def test_nothing_listens(session, now, wanted: BackendType) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"

    facts = await probing.probe(Asker(session, url), wanted, None, now)

    assert facts.type is (None if wanted is AUTO else wanted)
    assert (facts.live, facts.ready) == (False, False)
    assert facts.message.endswith(": the connection was refused")


@pytest.mark.parametrize("wanted", [AUTO, *KINDS])
async def test_everything_hangs(backend, asker, now, wanted: BackendType) -> None:
    """Busy or hung: it is not said to be unloaded."""
    backend.hanging |= _looks()

    facts = await probing.probe(asker, wanted, None, now)

    assert (facts.live, facts.ready, facts.models) == (False, False, ())
    assert facts.message.endswith("no answer in time")


def _looks() -> set[str]:
    return {line for line in HARMLESS.split("\n") if line}


@pytest.mark.parametrize("kind", KINDS)
async def test_all_requests_together_are_bounded(backend, session, now, kind: BackendType) -> None:
    asker = Asker(session, backend.url, limits=Limits(total_seconds=5.0, round_seconds=0.2))
    backend.hanging |= _looks()
    began = time.monotonic()

    facts = await probing.probe(asker, kind, None, now)

    assert time.monotonic() - began < 1.5
    assert "all requests together took too long" in facts.message
    assert not facts.live


BODIES = {
    "garbage": b"\x00\xff\xfe garbage",
    "html": b"<!doctype html>",
    "empty": b"",
    "10 MB": b"x" * 10_000_000,
    "deep": b"[" * 500_000,
    "deep objects": b'{"models":' * 50_000,
    "huge number": b'{"models":[{"name":"a","size":' + b"9" * 4000 + b"}]}",
}


@pytest.mark.parametrize("kind", [AUTO, *KINDS])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_hostile_bodies(backend, asker, now, *, kind: BackendType, body: bytes) -> None:
    for route in _looks():
        backend.on(route, body)

    facts = await probing.probe(asker, kind, None, now)
    result = await probing.unload(asker, kind, "m", force=True)

    assert facts.models == () or facts.models[0].memory_bytes is None
    assert result.outcome is not UnloadOutcome.DONE
    assert len(facts.message) < 256


@pytest.mark.parametrize("kind", [AUTO, *KINDS])
async def test_redirects_to_the_cloud(backend, asker, now, kind: BackendType) -> None:
    for route in _looks():
        backend.on(route, b"", 307, Location="http://169.254.169.254/latest/meta-data/")

    facts = await probing.probe(asker, kind, None, now)

    assert not facts.ready
    assert "redirect" in facts.message


@pytest.mark.parametrize("kind", [BackendType.OLLAMA, BackendType.OPENAI, BackendType.KSERVE_V2])
async def test_fifty_thousand_models(backend, asker, now, kind: BackendType) -> None:
    names = [f"m{n}" for n in range(50_000)]
    bodies = {
        "GET /api/ps": {"models": [{"name": name} for name in names]},
        "GET /v1/models": {"data": [{"id": name} for name in names]},
        "POST /v2/repository/index": [{"name": name} for name in names],
        "GET /v2/health/live": b"",
    }
    for route, body in bodies.items():
        packed = (
            body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
        )
        backend.on(route, packed)
    asker.limits = Limits(body_bytes=2**21)

    facts = await probing.probe(asker, kind, None, now)

    assert facts.ready
    assert len(facts.models) == 512


async def test_unloading_before_the_kind_is_known(asker) -> None:
    for kind in (None, AUTO):
        result = await probing.unload(asker, kind, "m", force=True)
        assert result.outcome is UnloadOutcome.UNSUPPORTED


async def test_unloading_from_what_does_not_answer(backend, asker) -> None:
    backend.hang("GET /api/ps")

    result = await probing.unload(asker, BackendType.OLLAMA, "m", force=True)

    assert result.outcome is UnloadOutcome.FAILED
    assert result.message == "GET /api/ps: no answer in time"


async def test_unloading_that_the_backend_takes(backend, asker) -> None:
    backend.on("GET /system", {"loaded_models": [{"id": "m"}]})
    backend.on("POST /backend/shutdown", {})

    result = await probing.unload(asker, BackendType.LOCALAI, "m", force=False)

    assert result.outcome is UnloadOutcome.DONE


def _routes(module: ModuleType) -> list[Route]:
    return [value for value in vars(module).values() if isinstance(value, Route)]


def test_nothing_else_can_be_asked() -> None:
    """A new request must be added here by someone who knows that it loads, wakes and generates nothing."""
    routes = {str(route) for module in probing._BACKENDS.values() for route in _routes(module)}

    assert routes == set((HARMLESS + UNLOADING).split("\n")) - {""}


class Babbler(Asker):
    """Answers each request with the next of some documents."""

    def __init__(self, documents: list[object], headers: str) -> None:
        self.limits = Limits()
        self._headers = {}
        self._on_call = lambda *_call: None
        self.documents, self.server, self.sent = documents, headers, []

    async def _answer(self, route: Route, model: str, body: object) -> Answer:
        self.sent.append((route, model, body))
        document = self.documents[len(self.sent) % len(self.documents)]
        status = document if isinstance(document, int) and 100 <= document < 600 else 200
        text = document if isinstance(document, bytes) else json.dumps(document).encode()
        return Answer(route, status, text, self.server)


KEYS = st.sampled_from(
    [
        "id",
        "name",
        "model",
        "data",
        "models",
        "loaded_models",
        "status",
        "value",
        "state",
        "reason",
        "version",
        "meta",
        "n_ctx",
        "role",
        "size",
        "size_vram",
        "expires_at",
        "context_length",
        "root",
        "parent",
        "max_model_len",
        "owned_by",
        "extensions",
        "loads",
        "memory",
        "breakdown",
        "weight_gb",
        "num_running_reqs",
        "model_stats",
        "last_inference",
        "memory_usage",
        "byte_size",
        "model_id",
        "served_model_name",
        "model_path",
        "model_alias",
        "is_sleeping",
        "is_processing",
        "failed",
        "exit_code",
        "endpoint_slots",
        "endpoint_metrics",
        "build_info",
        "aliases",
        "gopsutil-RSS",
        "inference_count",
        "type",
    ]
)
WORDS = st.sampled_from(
    [
        "router",
        "m",
        "loaded",
        "READY",
        "UNAVAILABLE",
        "unloaded",
        "2026-11-22T12:04:00Z",
        "triton",
        "statistics",
        "\ud800",
        "a\nb",
        "2319-01-01T00:00:00Z",
        "GPU",
        "vllm",
        "sleeping",
        "",
    ]
)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=8),
    max_leaves=25,
)
METRICS = st.sampled_from(
    [
        b'vllm:num_requests_running{model_name="m"} 1\nvllm:engine_sleep_state{sleep_state="x"} 1\n',
        b"llamacpp:requests_processing NaN\nllamacpp:tokens_predicted_total 1e308\n",
        b"tgi_queue_size 1e30\nte_queue_size -1\n",
    ]
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    documents=st.lists(DOCUMENTS | METRICS | st.binary(max_size=20), min_size=1, max_size=4),
    kind=st.sampled_from([AUTO, *KINDS]),
    server=st.sampled_from(["", "llama.cpp"]),
    force=st.booleans(),
)
def test_any_documents_make_facts_that_kubernetes_can_hold(
    now, *, documents, kind, server, force
) -> None:
    async def both() -> tuple[BackendFacts, list[object]]:
        asker = Babbler(documents, server)
        facts = await probing.probe(asker, kind, None, now)
        known = facts.type or kind
        for name in ["m", *(model.name for model in facts.models)]:
            assert (await probing.unload(asker, known, name, force=force)).outcome
        return facts, asker.sent

    facts, sent = asyncio.run(both())

    assert all(isinstance(route, Route) for route, _, _ in sent)
    assert facts.type is not AUTO
    assert len({model.name for model in facts.models}) == len(facts.models)
    for model in facts.models:
        _check(model)


def _check(model) -> None:
    shown = [model.name, *model.aliases, model.message]
    assert model.name
    assert model.name not in model.aliases
    assert all(text.isprintable() for text in shown)
    counts = [
        model.running,
        model.waiting,
        model.memory_bytes,
        model.vram_bytes,
        model.context_length,
    ]
    assert all(count is None or (type(count) is int and 0 <= count < 2**63) for count in counts)
    assert isinstance(model.state, ServingState)
    json.dumps([*shown, model.activity], allow_nan=False, ensure_ascii=False).encode()
    for moment in (model.expires, model.last_used):
        assert moment is None or moment.tzinfo is not None
