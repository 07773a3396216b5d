"""OCI sources against a registry that others wrote, and what a tag or a redirect must not change."""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import NetworkPolicy, Repository, RepositoryKind
from model_gallery.sources import http as http_source
from model_gallery.sources.base import RemoteFile, Resolution
from model_gallery.sources.oci import OciSource
from model_gallery.sources.ollama import OllamaSource
from model_gallery.transport.client import HttpClient
from model_gallery.transport.credentials import NO_CREDENTIALS, Credentials
from support.scripted import SECRET, Answer, Scripted, content

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
TITLE = "org.opencontainers.image.title"
PROGRAM = shutil.which("docker-registry")
EMPTY = b"{}"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def described(data: bytes, media_type: str = "application/octet-stream", title: str = "") -> dict:
    notes = {"annotations": {TITLE: title}} if title else {}
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **notes}


def artifact(files: dict[str, bytes]) -> bytes:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described(EMPTY, "application/vnd.oci.empty.v1+json"),
            "layers": [described(data, title=title) for title, data in files.items()],
        }
    ).encode()


def resolve(
    url: str, client: HttpClient, revision: str, credentials: Credentials = NO_CREDENTIALS
) -> Resolution:
    wanted = Repository(kind=RepositoryKind.OCI, url=f"{url}/me/model", revision=revision)
    return OciSource(client, credentials).resolve(wanted)


def put(server: Scripted, files: dict[str, bytes], tag: str) -> str:
    body = artifact(files)
    for reference in (tag, digest_of(body)):
        answer = Answer(body, headers={"Content-Type": MANIFEST})
        server.routes[f"/v2/me/model/manifests/{reference}"] = answer
    for data in files.values():
        server.routes[f"/v2/me/model/blobs/{digest_of(data)}"] = Answer(data)
    return digest_of(body)


def test_a_tag_that_moves_changes_nothing_that_was_resolved(
    server: Scripted, client: HttpClient
) -> None:
    """T44: blobs are named by digest, and the revision asks for the same manifest again."""
    first = put(server, {"m.gguf": b"first"}, "v1")
    found = resolve(server.url, client, "v1")
    put(server, {"m.gguf": b"second"}, "v1")

    assert content(client, found.files[0]) == b"first"
    assert found.revision == first
    again = resolve(server.url, client, found.revision)
    assert [file.sha256 for file in again.files] == [file.sha256 for file in found.files]


@pytest.mark.parametrize("hop", ["{other}/x", "{other_name}/x", "{own_name}/x"])
def test_the_password_stays_with_its_origin(
    server: Scripted, elsewhere: Scripted, client: HttpClient, hop: str
) -> None:
    """T31: another port, another host, and our own server under another name are other origins."""
    put(server, {"m.gguf": b"weights"}, "v1")
    challenge = {"WWW-Authenticate": 'Basic realm="x"'}
    place = f"/v2/me/model/blobs/{digest_of(b'weights')}"
    target = hop.format(
        other=elsewhere.url,
        other_name=elsewhere.url.replace("127.0.0.1", "localhost"),
        own_name=server.url.replace("127.0.0.1", "localhost"),
    )
    for path, route in list(server.routes.items()):
        server.routes[path] = lambda asked, inner=route: (
            inner if "authorization" in asked.headers else Answer(b"", 401, challenge)
        )
    server.routes[place] = Answer(status=307, headers={"Location": target})
    server.routes["/x"] = elsewhere.routes["/x"] = Answer(b"weights")
    loopback = HttpClient(NetworkPolicy(allowed_networks=("127.0.0.0/8", "::1/128")))
    user = Credentials(True, frozenset({"127.0.0.1"}), {"username": "me", "password": SECRET})

    found = resolve(server.url, loopback, "v1", user)

    assert content(loopback, found.files[0]) == b"weights"
    carriers = {one.path for one in (*server.asked, *elsewhere.asked) if carries(one.headers)}
    assert carriers == {"/v2/me/model/manifests/v1", place}


def carries(headers: dict[str, str]) -> bool:
    return bool(headers.keys() & {"authorization", "cookie", "proxy-authorization"})


@pytest.mark.parametrize(
    ("url", "policy"),
    [
        ("http://169.254.169.254/library/x", NetworkPolicy()),
        ("https://169.254.169.254/library/x", NetworkPolicy()),
        ("http://localhost:11434/library/x", NetworkPolicy()),
        ("http://registry.example/library/x", NetworkPolicy(allow_plain_http=False)),
    ],
)
@pytest.mark.parametrize("kind", [RepositoryKind.OCI, RepositoryKind.OLLAMA])
def test_registries_are_under_the_same_policy_as_urls(
    url: str, policy: NetworkPolicy, kind: RepositoryKind
) -> None:
    """T29."""
    source = OllamaSource if kind is RepositoryKind.OLLAMA else OciSource

    with pytest.raises(StalledError) as caught:
        source(HttpClient(policy), NO_CREDENTIALS).resolve(Repository(kind=kind, url=url))

    assert caught.value.reason is Reason.TARGET_NOT_ALLOWED


def test_a_registry_that_the_secret_does_not_allow_is_not_asked(
    server: Scripted, client: HttpClient
) -> None:
    put(server, {"m.gguf": b"weights"}, "v1")
    user = Credentials(True, frozenset({"other.example"}), {"username": "me", "password": SECRET})

    with pytest.raises(StalledError) as caught:
        resolve(server.url, client, "v1", user)

    assert caught.value.reason is Reason.SECRET_NOT_ALLOWED
    assert server.asked == []


# A real registry


@pytest.fixture
def distribution(tmp_path: Path) -> Iterator[str]:
    """Debian's docker-registry with an empty store; its URL."""
    if PROGRAM is None:
        pytest.skip("docker-registry is not installed (apt-get install docker-registry)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = tmp_path / "config.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {tmp_path / 'store'}}}}}\n"
        f"http: {{addr: '{address}', secret: x}}\n"
    )
    with subprocess.Popen(
        [PROGRAM, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_for(f"http://{address}", process)
            yield f"http://{address}"
        finally:
            process.terminate()


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        try:
            call("GET", f"{url}/v2/")
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("docker-registry does not answer")


def call(method: str, url: str, body: bytes = b"", kind: str = "") -> str:
    """Returns the Location that the registry answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        headers = {"Content-Type": kind or "application/octet-stream"}
        connection.request(method, f"{parts.path}?{parts.query}", body, headers)
        response = connection.getresponse()
        assert response.status < 300, (response.status, response.read())
        return response.headers.get("Location", "")
    finally:
        connection.close()


def push(url: str, files: dict[str, bytes], tag: str) -> str:
    for data in (EMPTY, *files.values()):
        place = call("POST", f"{url}/v2/me/model/blobs/uploads/")
        call("PUT", f"{place}&digest={digest_of(data)}", data)
    body = artifact(files)
    call("PUT", f"{url}/v2/me/model/manifests/{tag}", body, MANIFEST)
    return digest_of(body)


def part(client: HttpClient, file: RemoteFile, start: int, end: int) -> bytes:
    """Reads to the end: one call may give less than there is."""
    buffer, got = memoryview(bytearray(end - start + 1)), 0
    with http_source.read(client, file, start, end) as response:
        while count := response.readinto(buffer[got:]):
            got += count
    return bytes(buffer[:got])


def test_a_real_registry(distribution: str, client: HttpClient) -> None:
    weights = bytes(range(256)) * 4096
    files = {"weights/m.gguf": weights, "config.json": b'{"a": 1}'}
    digest = push(distribution, files, "v1")

    found = resolve(distribution, client, "v1")

    assert found.revision == digest
    assert {file.name: (file.sha256, file.size_bytes) for file in found.files} == {
        name: (hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()
    }
    by_name = {file.name: file for file in found.files}
    assert part(client, by_name["weights/m.gguf"], 700_001, 900_000) == weights[700_001:900_000]
    assert part(client, by_name["config.json"], 0, 8) == files["config.json"]
    assert resolve(distribution, client, digest).files[0].sha256 == found.files[0].sha256


def test_a_real_registry_without_such_a_tag(distribution: str, client: HttpClient) -> None:
    with pytest.raises(StalledError) as caught:
        resolve(distribution, client, "v1")

    assert caught.value.reason is Reason.NOT_FOUND
