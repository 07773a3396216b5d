"""The verbs against an API server that misbehaves on request."""

import asyncio
import email.utils
import json
import time
from pathlib import Path

import pytest
from aiohttp import web

from model_gallery.api.conditions import Reason
from model_gallery.errors import TransientError
from model_gallery.runtime import client as client_module
from model_gallery.runtime.client import ApiClient, Refused
from model_gallery.runtime.resources import CLAIMS, JOBS, PODS


def status(code, reason="", message="no", **details):
    return {
        "kind": "Status",
        "code": code,
        "reason": reason,
        "message": message,
        "details": details,
    }


async def test_get_returns_the_object_and_sends_the_token(api, client):
    api.says(body={"metadata": {"name": "a"}})
    assert await client.get(JOBS, "ns", "a") == {"metadata": {"name": "a"}}
    seen = api.seen[0]
    assert (seen.method, seen.path) == ("GET", "/apis/batch/v1/namespaces/ns/jobs/a")
    assert seen.headers["Authorization"] == "Bearer canary-token"


async def test_get_of_nothing_is_none(api, client):
    api.says(404, status(404, "NotFound"))
    assert await client.get(CLAIMS, "ns", "a") is None
    assert api.seen[0].path == "/api/v1/namespaces/ns/persistentvolumeclaims/a"


async def test_names_are_quoted_in_paths(api, client):
    api.says(404, status(404))
    await client.get(JOBS, "ns", "../x?y")
    assert JOBS.path("ns", "../x?y") == "/apis/batch/v1/namespaces/ns/jobs/..%2Fx%3Fy"


async def test_list_follows_the_pages_and_types_the_items(api, client):
    first = {"metadata": {"continue": "t1"}, "items": [{"metadata": {"name": "a"}}]}
    second = {"metadata": {"continue": ""}, "items": [{"metadata": {"name": "b"}}]}
    api.says(body=first)
    api.says(body=second)
    items = await client.list(JOBS, None, label_selector="x=y", metadata_only=True)
    assert [item["metadata"]["name"] for item in items] == ["a", "b"]
    assert (items[0]["apiVersion"], items[0]["kind"]) == ("batch/v1", "Job")
    assert api.seen[0].path == "/apis/batch/v1/jobs"
    assert api.seen[0].query == {"limit": "500", "labelSelector": "x=y"}
    assert api.seen[1].query == {"limit": "500", "labelSelector": "x=y", "continue": "t1"}
    assert "PartialObjectMetadataList" in api.seen[0].headers["Accept"]


async def test_list_begins_anew_once_where_its_state_is_gone(api, client):
    api.says(body={"metadata": {"continue": "t1"}, "items": [{"metadata": {"name": "a"}}]})
    api.says(410, status(410, "Expired"))
    api.says(body={"metadata": {}, "items": [{"metadata": {"name": "b"}}]})
    assert [item["metadata"]["name"] for item in await client.list(JOBS)] == ["b"]
    assert "continue" not in api.seen[2].query


async def test_list_gives_up_where_its_state_is_gone_twice(api, client):
    api.says(410, status(410, "Expired"))
    api.says(410, status(410, "Expired"))
    with pytest.raises(Refused) as caught:
        await client.list(JOBS)
    assert caught.value.code == 410


async def test_apply_is_a_forced_server_side_apply(api, client):
    api.says(body={"metadata": {"name": "a", "resourceVersion": "5"}})
    obj = {"metadata": {"name": "a", "namespace": "ns"}, "status": {}}
    applied = await client.apply(JOBS, obj, manager="us", subresource="status")
    assert applied["metadata"]["resourceVersion"] == "5"
    seen = api.seen[0]
    assert (seen.method, seen.path) == ("PATCH", "/apis/batch/v1/namespaces/ns/jobs/a/status")
    assert seen.query == {"fieldManager": "us", "force": "true"}
    assert seen.headers["Content-Type"] == "application/apply-patch+yaml"
    assert seen.body == {"apiVersion": "batch/v1", "kind": "Job", **obj}


async def test_create_and_merge(api, client):
    api.says(201)
    api.says()
    await client.create(JOBS, {"metadata": {"name": "a", "namespace": "ns"}})
    await client.patch_merge(JOBS, "ns", "a", {"spec": {"suspend": True}})
    assert (api.seen[0].method, api.seen[0].path) == ("POST", "/apis/batch/v1/namespaces/ns/jobs")
    assert api.seen[1].headers["Content-Type"] == "application/merge-patch+json"
    assert api.seen[1].body == {"spec": {"suspend": True}}


@pytest.mark.parametrize("code", [200, 404, 409])
async def test_delete_wants_that_very_object_and_is_content_where_it_is_gone(api, client, code):
    api.says(code, status(code, "Conflict"))
    await client.delete(JOBS, "ns", "a", uid="u1", propagation="Foreground")
    assert api.seen[0].body["preconditions"] == {"uid": "u1"}
    assert api.seen[0].body["propagationPolicy"] == "Foreground"


@pytest.mark.parametrize("code", [429, 500, 503, 504])
async def test_a_server_in_trouble_is_transient(api, client, code):
    api.says(code, status(code, message="busy"), Retry_After="7")
    with pytest.raises(TransientError) as caught:
        await client.get(JOBS, "ns", "a")
    assert not isinstance(caught.value, Refused)
    assert caught.value.reason is Reason.API_UNAVAILABLE
    assert caught.value.retry_after == 7
    assert "busy" in caught.value.message


async def test_retry_after_may_be_a_date_or_nonsense(api, client):
    api.says(503, "<html>", Retry_After=email.utils.formatdate(time.time() + 60, usegmt=True))
    api.says(503, "<html>", Retry_After="soon")
    with pytest.raises(TransientError) as caught:
        await client.get(JOBS, "ns", "a")
    assert 55 < caught.value.retry_after <= 60
    with pytest.raises(TransientError) as caught:
        await client.get(JOBS, "ns", "a")
    assert caught.value.retry_after is None


@pytest.mark.parametrize("code", [400, 401, 403, 409, 422])
async def test_a_refusal_quotes_the_server_within_bounds(api, client, code):
    api.says(code, status(code, message="x" * 1000))
    with pytest.raises(Refused) as caught:
        await client.apply(JOBS, {"metadata": {"name": "a", "namespace": "ns"}}, manager="us")
    assert caught.value.code == code
    assert caught.value.reason is Reason.API_REFUSED
    assert len(caught.value.message) == 256
    assert not caught.value.namespace_terminating


async def test_a_namespace_that_ends_is_told_apart(api, client):
    causes = [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]
    api.says(403, status(403, "Forbidden", causes=causes))
    with pytest.raises(Refused) as caught:
        await client.create(JOBS, {"metadata": {"name": "a", "namespace": "ns"}})
    assert caught.value.namespace_terminating


async def test_what_is_no_json_is_transient(api, client):
    api.says(body="<html>")
    with pytest.raises(TransientError, match="ApiUnavailable"):
        await client.get(JOBS, "ns", "a")


async def test_no_server_is_transient_and_no_address_or_token_is_told(api, tmp_path):
    nowhere = tmp_path / "nowhere"
    config = json.loads(Path(api.kubeconfig).read_text())  # noqa: ASYNC240 - a test file
    config["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:9"
    nowhere.write_text(json.dumps(config))
    client = ApiClient(kubeconfig=str(nowhere), on_call=lambda *call: api.calls.append(call))
    try:
        with pytest.raises(TransientError) as caught:
            await client.get(JOBS, "ns", "a")
    finally:
        await client.close()
    assert caught.value.reason is Reason.API_UNAVAILABLE
    assert "127.0.0.1" not in str(caught.value)
    assert "canary" not in str(caught.value)


async def test_a_missing_configuration_is_transient(tmp_path):
    client = ApiClient(kubeconfig=str(tmp_path / "none"))
    with pytest.raises(TransientError, match="KUBECONFIG"):
        await client.get(JOBS, "ns", "a")


async def test_a_server_that_hangs_is_transient(api, client, monkeypatch):
    async def hang(_request):
        await asyncio.sleep(60)

    monkeypatch.setattr(
        client_module, "_CALL_TIMEOUT", client_module.aiohttp.ClientTimeout(total=0.1)
    )
    api.answers.append(hang)
    with pytest.raises(TransientError, match="timed out"):
        await client.get(JOBS, "ns", "a")
    assert api.calls[0][:3] == ("get", "jobs", 0)


async def test_calls_are_told(api, client):
    api.says(body={"metadata": {}, "items": []})
    api.says(404, status(404))
    await client.list(JOBS)
    await client.get(PODS, "ns", "a")
    assert [call[:3] for call in api.calls] == [("list", "jobs", 200), ("get", "pods", 404)]
    assert all(seconds >= 0 for *_, seconds in api.calls)


async def test_follow_log_yields_lines_of_bounded_length_until_the_end(api, client):
    async def log(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in (b'{"a"', b":1}\n\n", b"x" * 100_000, b"x\nlast"):
            await response.write(chunk)
        await response.write_eof()
        return response

    api.answers.append(log)
    lines = [line async for line in client.follow_log("ns", "p", container="c", since_seconds=5)]
    assert lines == [b'{"a":1}', b"", b"x" * 65536, b"last"]
    assert api.seen[0].path == "/api/v1/namespaces/ns/pods/p/log"
    assert api.seen[0].query == {"container": "c", "follow": "true", "sinceSeconds": "5"}


async def test_follow_log_of_a_pod_that_has_not_begun_is_refused(api, client):
    api.says(400, status(400, message="container is waiting to start"))
    with pytest.raises(Refused) as caught:
        _ = [line async for line in client.follow_log("ns", "p", container="c")]
    assert caught.value.code == 400


async def test_follow_log_that_breaks_off_is_transient(api, client):
    async def broken(request):
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"one\n")
        request.transport.close()
        return response

    api.answers.append(broken)
    stream = client.follow_log("ns", "p", container="c")
    assert await anext(stream) == b"one"
    with pytest.raises(TransientError):
        await anext(stream)


async def test_log_streams_do_not_keep_calls_from_getting_through(api, client):
    async def silent(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begun\n")
        await asyncio.sleep(60)

    streams = [client.follow_log("ns", "p", container="c") for _ in range(20)]
    api.answers += [silent] * 20
    for stream in streams:
        assert await anext(stream) == b"begun"
    api.says(body={"metadata": {}})
    await asyncio.wait_for(client.get(JOBS, "ns", "a"), 5)
    for stream in streams:
        await stream.aclose()
