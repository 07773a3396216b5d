"""SGLang 0.5.23, TGI db931fc, TEI 0d124dc and OpenAI's API, by answers put together from their sources."""

from __future__ import annotations

import pytest

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.monitor.backends import openai, sglang, tei, tgi
from model_gallery.protocol.backend import BackendFacts, LoadedModel, UnloadOutcome

SGLANG = {
    "data": [
        {
            "id": "/models/llama",
            "owned_by": "sglang",
            "root": "/models/llama",
            "max_model_len": 8192,
        },
        {"id": "lora", "owned_by": "sglang", "root": "/l/lora-1", "parent": "/models/llama"},
    ]
}
LOADS = {
    "loads": [
        {
            "dp_rank": 0,
            "num_running_reqs": 1,
            "num_waiting_reqs": 2,
            "memory": {"weight_gb": 1.5, "kv_cache_gb": 0.5, "graph_gb": 0.0, "token_capacity": 9},
        },
        {"dp_rank": 1, "num_running_reqs": 3, "num_waiting_reqs": 0},
    ]
}
SGLANG_METRICS = b"""sglang:num_requests_total{model_name="llama"} 4
sglang:generation_tokens_total{model_name="llama"} 96
"""
TGI = {
    "router": "text-generation-router",
    "model_id": "org/llama",
    "version": "3.3.6",
    "max_total_tokens": 4096,
    "max_input_tokens": 4095,
}
TGI_METRICS = b"tgi_batch_current_size 2\ntgi_queue_size 1\ntgi_request_count 10\n"
TEI = {
    "model_id": "/data/bge",
    "served_model_name": "bge-small",
    "model_type": {"embedding": {"pooling": "cls"}},
    "max_batch_tokens": 16384,
    "max_input_length": 512,
    "version": "1.8.0",
}
TEI_METRICS = (
    b'te_queue_size 0\nte_request_count{method="single"} 3\nte_request_count{method="batch"} 2\n'
)
OPENAI = {
    "data": [
        {"id": "a", "max_model_len": 1},
        {"id": "b", "meta": {"n_ctx": 2}},
        {"id": "c", "context_length": 3, "root": "/m/c-dir"},
        {"id": "d"},
    ]
}


@pytest.mark.parametrize(
    ("loads", "found"),
    [
        (LOADS, sglang.Load(4, 2, 2 * 2**30)),
        ({"loads": [{"num_running_reqs": "1", "memory": {"weight_gb": 1e300}}]}, sglang.Load()),
        ({"loads": [{"memory": {"weight_gb": None}}]}, sglang.Load()),
        ([], sglang.Load()),
    ],
    ids=["0.5.23", "odd", "NaN", "other"],
)
def test_loads_of_sglang(loads: object, found: sglang.Load) -> None:
    assert sglang.load(loads) == found


async def test_all_that_sglang_tells(backend, asker, now) -> None:
    backend.on("GET /ready")
    backend.on("GET /v1/models", SGLANG)
    backend.on("GET /v1/loads?include=core,memory", LOADS)
    backend.on("GET /metrics", SGLANG_METRICS)

    assert await sglang.probe(asker, now) == BackendFacts(
        BackendType.SGLANG,
        live=True,
        ready=True,
        models=(
            LoadedModel(
                "/models/llama",
                ServingState.BUSY,
                aliases=("llama",),
                running=4,
                waiting=2,
                vram_bytes=2 * 2**30,
                context_length=8192,
                activity=100.0,
            ),
            LoadedModel("lora", ServingState.BUSY, aliases=("/l/lora-1", "lora-1")),
        ),
    )


@pytest.mark.parametrize(("status", "ready"), [(200, True), (404, True), (503, False)])
async def test_sglang_takes_requests(backend, asker, now, *, status: int, ready: bool) -> None:
    backend.on("GET /ready", b"", status)
    backend.on("GET /v1/models", SGLANG)

    facts = await sglang.probe(asker, now)

    assert (facts.live, facts.ready, facts.message == "") == (True, ready, ready)
    assert facts.models[0].running is None
    assert facts.models[0].activity is None


async def test_all_that_tgi_tells(backend, asker, now) -> None:
    backend.on("GET /info", TGI)
    backend.on("GET /metrics", TGI_METRICS)

    assert await tgi.probe(asker, now) == BackendFacts(
        BackendType.TGI,
        live=True,
        ready=True,
        version="3.3.6",
        models=(
            LoadedModel(
                "org/llama",
                ServingState.BUSY,
                aliases=("llama",),
                running=2,
                waiting=1,
                context_length=4096,
                activity=10.0,
            ),
        ),
    )


async def test_all_that_tei_tells(backend, asker, now) -> None:
    backend.on("GET /info", TEI)
    backend.on("GET /metrics", TEI_METRICS)

    assert await tei.probe(asker, now) == BackendFacts(
        BackendType.TEI,
        live=True,
        ready=True,
        version="1.8.0",
        models=(
            LoadedModel(
                "bge-small",
                ServingState.LOADED,
                aliases=("/data/bge", "bge"),
                waiting=0,
                context_length=512,
                activity=5.0,
            ),
        ),
    )


def test_tei_without_a_served_name_and_with_a_queue() -> None:
    model = tei.model({"model_id": "org/bge"}, b"te_queue_size 3\n")

    assert (model.name, model.aliases, model.state) == ("org/bge", ("bge",), ServingState.BUSY)


@pytest.mark.parametrize("module", [tgi, tei], ids=["tgi", "tei"])
async def test_without_metrics_work_is_unknown(backend, asker, now, module) -> None:
    backend.on("GET /info", {"model_id": "m"})

    (model,) = (await module.probe(asker, now)).models

    assert (model.state, model.running, model.waiting) == (ServingState.LOADED, None, None)
    assert model.activity is None


@pytest.mark.parametrize("module", [tgi, tei], ids=["tgi", "tei"])
async def test_without_a_name_there_is_no_model(backend, asker, now, module) -> None:
    backend.on("GET /info", {"model_id": 5})

    assert (await module.probe(asker, now)).models == ()


async def test_all_that_an_unknown_server_tells(backend, asker, now) -> None:
    backend.on("GET /v1/models", OPENAI)

    facts = await openai.probe(asker, now)

    assert (facts.type, facts.live, facts.ready) == (BackendType.OPENAI, True, True)
    assert [model.context_length for model in facts.models] == [1, 2, 3, None]
    assert facts.models[2].aliases == ("/m/c-dir", "c-dir")
    assert {model.state for model in facts.models} == {ServingState.LOADED}


@pytest.mark.parametrize(
    "module", [sglang, tgi, tei, openai], ids=["sglang", "tgi", "tei", "openai"]
)
@pytest.mark.parametrize("status", [401, 403])
async def test_the_missing_key_is_named(backend, asker, now, *, module, status: int) -> None:
    for route in ("GET /v1/models", "GET /info"):
        backend.on(route, b"", status)

    facts = await module.probe(asker, now)

    assert (facts.live, facts.ready, facts.models) == (True, False, ())
    assert f"answered {status}: the backend wants an API key, and none is set" in facts.message


@pytest.mark.parametrize(
    "module", [sglang, tgi, tei, openai], ids=["sglang", "tgi", "tei", "openai"]
)
async def test_none_of_them_can_unload(backend, asker, module) -> None:
    result = await module.unload(asker, "m", force=True)

    assert result.outcome is UnloadOutcome.UNSUPPORTED
    assert result.message
    assert backend.asked == []
