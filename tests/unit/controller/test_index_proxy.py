"""An index that is reached through a proxy with a password (P70)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.gallery import GallerySpec
from model_gallery.controller.fetch import Fetcher
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import NetworkPolicy
from support import builders as b
from support import proxy as proxies
from support.faultserver import answer, serve

INDEX = b'[{"name": "one", "files": [{"filename": "a.gguf", "uri": "https://example.org/a.gguf"}]}]'
SECRET = {"username": "someone", "password": "s3cret", "allowed-hosts": "127.0.0.1"}


def mounted(folder: Path, keys: dict[str, str]) -> Path:
    """Lays a Secret down as the kubelet does."""
    folder.mkdir()
    for key, value in keys.items():
        (folder / key).write_text(value)
    return folder


async def fetched(folder: Path) -> tuple[Any, list[str], list[bytes]]:
    """Returns the index, what the proxy was told, and what the origin was asked."""
    with proxies.serve("someone", "s3cret") as proxy, serve() as server:
        server.behave = lambda request: answer(INDEX, request)
        policy = NetworkPolicy(allowed_networks=("127.0.0.0/8",), proxy=proxy.url)
        wish = {"http": {"url": f"{server.url}/index.yaml"}}
        spec = GallerySpec.model_validate({**b.GALLERY_SPEC, "index": wish})
        client: Any = None  # an index behind http asks nothing of the API server
        loaded = await Fetcher(client, policy, folder).fetch("ns", spec, "wish", None)
        return loaded, proxy.shown, [request.raw.lower() for request in server.requests]


async def test_the_proxy_is_told_and_the_origin_is_not(tmp_path: Path) -> None:
    loaded, shown, asked = await fetched(mounted(tmp_path / "proxy", SECRET))

    assert loaded is not None
    assert set(shown) == {"Basic c29tZW9uZTpzM2NyZXQ="}
    assert asked
    assert not any(b"authorization" in raw for raw in asked)


async def test_a_secret_that_does_not_opt_in_is_not_sent(tmp_path: Path) -> None:
    without = {key: value for key, value in SECRET.items() if key != "allowed-hosts"}
    with pytest.raises(StalledError, match=r"network\.proxySecretName does not opt in"):
        await fetched(mounted(tmp_path / "proxy", without))


async def test_a_wrong_password_names_the_secret_of_indexes(tmp_path: Path) -> None:
    wrong = SECRET | {"password": "another"}
    with pytest.raises(StalledError, match=r"network\.proxySecretName \(for indexes\)") as caught:
        await fetched(mounted(tmp_path / "proxy", wrong))

    assert caught.value.reason is Reason.UNAUTHORIZED
    assert "another" not in caught.value.message


async def test_a_secret_that_is_not_needed_is_not_asked_for(tmp_path: Path) -> None:
    """An index in a ConfigMap with nothing to fetch needs no proxy, so no Secret holds it up."""

    class Client:
        async def get(self, *_: Any) -> Any:
            return {"data": {"index.yaml": INDEX.decode()}}

    policy = NetworkPolicy(proxy="http://proxy.corp:3128")
    client: Any = Client()
    spec = GallerySpec.model_validate(b.GALLERY_SPEC)

    assert await Fetcher(client, policy, tmp_path / "missing").fetch("ns", spec, "wish", None)
