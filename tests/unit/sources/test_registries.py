"""OCI and Ollama registries: digests, tokens, and manifests that lie (T01 to T03, T08, T30, T39 to T43)."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import NetworkPolicy, Repository, RepositoryKind
from model_gallery.sources import registry
from model_gallery.sources.base import Packing, Resolution
from model_gallery.sources.oci import OciSource
from model_gallery.sources.ollama import OllamaSource
from model_gallery.transport.client import HttpClient
from model_gallery.transport.credentials import NO_CREDENTIALS, Credentials
from support.scripted import SECRET, Answer, Asked, Scripted, content

LOOPBACK = NetworkPolicy(allowed_networks=("127.0.0.0/8", "::1/128"))
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
WEIGHTS = b"weights" * 40
HEX = hashlib.sha256(WEIGHTS).hexdigest()
TITLE = "org.opencontainers.image.title"
IMAGE_LAYER = "application/vnd.oci.image.layer.v1.tar"
USER = Credentials(True, frozenset({"127.0.0.1"}), {"username": "me", "password": SECRET})
BASIC = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()


def layer(title: str = "m.gguf", *, unpack: bool = False, **more: Any) -> dict[str, Any]:
    media_type = "application/octet-stream"
    annotations = {TITLE: title} if title else {}
    if unpack:
        annotations["io.deis.oras.content.unpack"] = "true"
    start = {"mediaType": media_type, "digest": f"sha256:{HEX}", "size": len(WEIGHTS)}
    return {**start, "annotations": annotations, **more}


def manifest(*layers: Any, **more: Any) -> bytes:
    return json.dumps(
        {"schemaVersion": 2, "mediaType": MANIFEST, "layers": layers, **more}
    ).encode()


def put(server: Scripted, body: bytes, *references: str, kind: str = MANIFEST) -> str:
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    for reference in (digest, *references):
        answer = Answer(body, headers={"Content-Type": kind})
        server.routes[f"/v2/me/model/manifests/{reference}"] = answer
    server.routes[f"/v2/me/model/blobs/sha256:{HEX}"] = Answer(WEIGHTS)
    return digest


def resolve(
    server: Scripted,
    client: HttpClient,
    credentials: Credentials = NO_CREDENTIALS,
    *,
    ollama: bool = False,
    **more: Any,
) -> Resolution:
    kind = RepositoryKind.OLLAMA if ollama else RepositoryKind.OCI
    wanted = Repository(kind=kind, url=f"{server.url}/me/model", **more)
    source = OllamaSource if ollama else OciSource
    return source(client, credentials).resolve(wanted)


def test_an_artifact_is_pinned_to_its_digest(server: Scripted, client: HttpClient) -> None:
    digest = put(server, manifest(layer()), "v1")

    found = resolve(server, client, revision="v1")

    assert found.revision == digest
    assert [(file.name, file.sha256, file.size_bytes) for file in found.files] == [
        ("m.gguf", HEX, len(WEIGHTS))
    ]
    assert content(client, found.files[0]) == WEIGHTS


def test_an_index_leads_to_the_manifest_without_a_platform(
    server: Scripted, client: HttpClient
) -> None:
    inner = put(server, manifest(layer()))
    entries = [
        {"digest": f"sha256:{'0' * 64}", "size": 1, "platform": {"os": "windows"}},
        {"digest": inner, "size": 1},
    ]
    body = json.dumps({"mediaType": INDEX, "manifests": entries}).encode()
    digest = put(server, body, "latest", kind=INDEX)

    found = resolve(server, client)

    assert found.revision == digest
    assert found.files[0].name == "m.gguf"


def test_a_modelpack_names_its_files_itself(server: Scripted, client: HttpClient) -> None:
    weights = layer("", mediaType="application/vnd.cncf.model.weight.v1.raw")
    weights["annotations"] = {"org.cncf.model.filepath": "weights/m.safetensors"}
    put(server, manifest(weights), "latest")

    assert resolve(server, client).files[0].name == "weights/m.safetensors"


def test_other_bytes_than_the_digest_that_was_asked_for(
    server: Scripted, client: HttpClient
) -> None:
    """T39: what the registry says of its own answer counts for nothing."""
    digest = "sha256:" + "9" * 64
    answer = Answer(manifest(layer()), headers={"Docker-Content-Digest": digest})
    server.routes[f"/v2/me/model/manifests/{digest}"] = answer

    with pytest.raises(StalledError) as caught:
        resolve(server, client, revision=digest)

    assert caught.value.reason is Reason.CHECKSUM_MISMATCH


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:../../../../../../tmp/pwn",
        "sha256:../../../../home/app/.ssh/authorized_keys",
        "",
        "sha256:",
        None,
        f"md5:{'a' * 32}",
        f"sha256:{'A' * 64}",
        f"sha256:{'a' * 63}",
        f"sha256:{'a' * 65}",
        f"sha256:{'a' * 64}/..",
        f"sha256-{'a' * 64}",
    ],
)
@pytest.mark.parametrize("ollama", [False, True])
def test_what_is_no_digest_is_refused(
    server: Scripted, client: HttpClient, digest: Any, ollama: bool
) -> None:
    """T01 to T03."""
    kind = "application/vnd.ollama.image.model" if ollama else "application/octet-stream"
    put(server, manifest(layer(digest=digest, mediaType=kind)), "latest")

    with pytest.raises(StalledError) as caught:
        resolve(server, client, ollama=ollama)

    assert caught.value.reason is Reason.SOURCE_INVALID


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([layer("../x")], Reason.UNSAFE_PATH),
        ([layer("/x")], Reason.UNSAFE_PATH),
        ([layer("a/../../x")], Reason.UNSAFE_PATH),
        ([layer("x"), layer("x")], Reason.UNSAFE_PATH),
        ([layer("x"), layer("X")], Reason.UNSAFE_PATH),
        ([layer(""), layer("x")], Reason.SOURCE_INVALID),
        ([layer(size=-1)], Reason.SOURCE_INVALID),
        ([layer(size=2**63)], Reason.SOURCE_INVALID),
        ([layer(size="1")], Reason.SOURCE_INVALID),
        ([layer("a"), layer("b", size=1)], Reason.SOURCE_INVALID),
        ([layer() for _ in range(1001)], Reason.SOURCE_INVALID),
        ([None], Reason.SOURCE_INVALID),
        ([layer(mediaType="application/vnd.other.v1.tar+gzip")], Reason.ENTRY_UNSUPPORTED),
        ([layer("../x", mediaType=IMAGE_LAYER, unpack=True)], Reason.UNSAFE_PATH),
        ([layer("/x", mediaType=IMAGE_LAYER, unpack=True)], Reason.UNSAFE_PATH),
    ],
)
def test_layers_that_cannot_be_files(
    server: Scripted, client: HttpClient, layers: list[Any], reason: Reason
) -> None:
    """T08, T42, T43."""
    put(server, manifest(*layers), "latest")

    with pytest.raises(StalledError) as caught:
        resolve(server, client)

    assert caught.value.reason is reason


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 100_000,
        json.dumps({"layers": None}).encode(),
        json.dumps({"layers": [], "manifests": []}).encode(),
        json.dumps({"mediaType": 1, "layers": []}).encode(),
        json.dumps({"mediaType": INDEX, "layers": []}).encode(),
        b" " * (4 * 1024 * 1024 + 1),
    ],
)
def test_manifests_that_are_none(server: Scripted, client: HttpClient, body: bytes) -> None:
    """T40, T42."""
    put(server, body, "latest")

    with pytest.raises(StalledError) as caught:
        resolve(server, client)

    assert caught.value.reason is Reason.SOURCE_INVALID


def test_an_index_of_indexes_ends(server: Scripted, client: HttpClient) -> None:
    """T40."""
    digest = put(server, manifest(layer()))
    for _ in range(20):
        body = json.dumps({"manifests": [{"digest": digest, "size": 1}]}).encode()
        digest = put(server, body, "latest", kind=INDEX)

    with pytest.raises(StalledError) as caught:
        resolve(server, client)

    assert caught.value.reason is Reason.SOURCE_INVALID
    assert len(server.asked) < 10


def test_urls_of_foreign_layers_are_not_followed(
    server: Scripted, elsewhere: Scripted, client: HttpClient
) -> None:
    """T41."""
    put(server, manifest(layer(urls=[f"{elsewhere.url}/x"])), "latest")

    found = resolve(server, client)

    assert content(client, found.files[0]) == WEIGHTS
    assert elsewhere.asked == []


def guarded(server: Scripted, challenge: str, good: str) -> None:
    """Has every route of the registry ask for that Authorization."""
    for path, route in list(server.routes.items()):

        def answer(asked: Asked, inner: Any = route) -> Answer:
            if asked.headers.get("authorization") != good:
                return Answer(status=401, headers={"WWW-Authenticate": challenge})
            return inner

        server.routes[path] = answer


def test_a_token_of_the_registrys_own_service(server: Scripted, client: HttpClient) -> None:
    put(server, manifest(layer()), "latest")
    guarded(server, f'Bearer realm="{server.url}/token",service="reg"', "Bearer t0")
    server.routes["/token*"] = lambda asked: Answer(
        json.dumps(
            {"token": "t0" if asked.headers.get("authorization") == BASIC else "no"}
        ).encode()
    )

    found = resolve(server, client, USER)

    assert content(client, found.files[0]) == WEIGHTS
    token = next(one.path for one in server.asked if one.path.startswith("/token"))
    assert "scope=repository%3Ame%2Fmodel%3Apull" in token
    assert "service=reg" in token


def test_the_password_does_not_go_to_a_foreign_token_service(
    server: Scripted, elsewhere: Scripted, client: HttpClient
) -> None:
    """T30: the token service is asked, but with nothing in hand."""
    put(server, manifest(layer()), "latest")
    guarded(server, f'Bearer realm="{elsewhere.url}/a,b",service="x,y"', "Bearer anonymous")
    elsewhere.routes["/a,b*"] = Answer(json.dumps({"access_token": "anonymous"}).encode())

    found = resolve(server, client, USER)

    assert content(client, found.files[0]) == WEIGHTS
    assert elsewhere.asked
    assert all("authorization" not in one.headers for one in elsewhere.asked)


def test_the_token_stays_with_the_registry(
    server: Scripted, elsewhere: Scripted, client: HttpClient
) -> None:
    """T31: blobs are often redirected to a store."""
    put(server, manifest(layer()), "latest")
    store = Answer(status=307, headers={"Location": f"{elsewhere.url}/store"})
    server.routes[f"/v2/me/model/blobs/sha256:{HEX}"] = store
    guarded(server, f'Bearer realm="{server.url}/token"', f"Bearer {SECRET}")
    server.routes["/token*"] = Answer(json.dumps({"token": SECRET}).encode())
    elsewhere.routes["/store"] = Answer(WEIGHTS)

    found = resolve(server, client, USER)

    assert content(client, found.files[0]) == WEIGHTS
    assert elsewhere.asked
    assert elsewhere.seen(SECRET) == []


@pytest.mark.parametrize("text", ["[" * 60_000, '{"auths": []}', '{"auths": {"r": 3}}', "{"])
def test_a_docker_configuration_that_is_none(text: str) -> None:
    with pytest.raises(StalledError) as caught:
        Credentials(True, frozenset({"r"}), {".dockerconfigjson": text}).docker_basic("r")

    assert caught.value.reason is Reason.SECRET_NOT_ALLOWED


def test_basic_authentication_from_a_docker_configuration(
    server: Scripted, client: HttpClient
) -> None:
    put(server, manifest(layer()), "latest")
    guarded(server, 'Basic realm="x"', BASIC)
    host = server.url.removeprefix("http://")
    auth = base64.b64encode(f"me:{SECRET}".encode()).decode()
    config = json.dumps({"auths": {host: {"auth": auth}, "other": {"auth": "x"}}})
    docker = Credentials(True, frozenset({"127.0.0.1"}), {".dockerconfigjson": config})

    assert content(client, resolve(server, client, docker).files[0]) == WEIGHTS


@pytest.mark.parametrize("token", [{}, [], {"token": 1}, {"token": "a\r\nX: y"}])
def test_a_token_service_that_answers_nonsense(
    server: Scripted, client: HttpClient, token: Any
) -> None:
    put(server, manifest(layer()), "latest")
    guarded(server, f'Bearer realm="{server.url}/token"', "Bearer never")
    server.routes["/token*"] = Answer(json.dumps(token).encode())

    with pytest.raises(StalledError) as caught:
        resolve(server, client)

    assert caught.value.reason is Reason.SOURCE_INVALID


@pytest.mark.parametrize("realm", ["https://x:99999/t", "http://[::1/t", "https://", "ftp://x/t"])
def test_a_token_service_that_is_no_url(server: Scripted, client: HttpClient, realm: str) -> None:
    """T30."""
    put(server, manifest(layer()), "latest")
    guarded(server, f'Bearer realm="{realm}"', "Bearer never")

    with pytest.raises(StalledError) as caught:
        resolve(server, client)

    assert caught.value.reason is Reason.SOURCE_INVALID


def test_a_token_is_preferred_to_the_password(server: Scripted, client: HttpClient) -> None:
    put(server, manifest(layer()), "latest")
    guarded(server, f'Basic realm="y", Bearer realm="{server.url}/token"', "Bearer t")
    server.routes["/token*"] = Answer(b'{"token": "t"}')

    assert content(client, resolve(server, client, USER).files[0]) == WEIGHTS


def test_an_old_token_is_replaced_while_files_are_fetched(
    server: Scripted, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registries give tokens for five minutes; a large model takes longer."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(registry, "time", clock)
    put(server, manifest(layer()), "latest")
    for path, route in list(server.routes.items()):

        def answer(asked: Asked, inner: Any = route) -> Answer:
            if asked.headers.get("authorization") == f"Bearer t{clock.now // 300}":
                return inner
            challenge = f'Bearer realm="{server.url}/token"'
            return Answer(status=401, headers={"WWW-Authenticate": challenge})

        server.routes[path] = answer
    server.routes["/token*"] = lambda _: Answer(
        json.dumps({"token": f"t{clock.now // 300}", "expires_in": 300}).encode()
    )

    found = resolve(server, client)
    assert content(client, found.files[0]) == WEIGHTS
    assert sum(one.path.startswith("/token") for one in server.asked) == 1
    clock.now = 301.0

    assert content(client, found.files[0]) == WEIGHTS


@pytest.mark.parametrize("seconds", [-1, 0, 10**400, -(10**400), "300", None, 1.5, True])
def test_a_token_with_an_odd_life(server: Scripted, client: HttpClient, seconds: Any) -> None:
    put(server, manifest(layer()), "latest")
    guarded(server, f'Bearer realm="{server.url}/token"', "Bearer t")
    answer = {"token": "t", "expires_in": seconds}
    server.routes["/token*"] = Answer(json.dumps(answer).encode())

    assert content(client, resolve(server, client).files[0]) == WEIGHTS


def test_a_manifest_is_asked_for_once(server: Scripted, client: HttpClient) -> None:
    """Registries count and limit such requests."""
    put(server, manifest(layer()), "latest")

    resolve(server, client)

    assert len(server.asked) == 1


def test_the_refusal_names_the_token_service_that_got_nothing(
    server: Scripted, elsewhere: Scripted, client: HttpClient
) -> None:
    put(server, manifest(layer()), "latest")
    realm = elsewhere.url.replace("127.0.0.1", "localhost")
    guarded(server, f'Bearer realm="{realm}/token"', "Bearer never")
    elsewhere.routes["/token*"] = Answer(b'{"token": "anonymous"}')

    with pytest.raises(StalledError) as caught:
        resolve(server, HttpClient(LOOPBACK), USER)

    assert caught.value.reason is Reason.UNAUTHORIZED
    assert "localhost" in caught.value.message
    assert elsewhere.seen(BASIC) == []


def test_a_docker_configuration_may_leave_the_port_out(
    server: Scripted, client: HttpClient
) -> None:
    put(server, manifest(layer()), "latest")
    guarded(server, 'Basic realm="x"', BASIC)
    auth = base64.b64encode(f"me:{SECRET}".encode()).decode()
    config = json.dumps({"auths": {"127.0.0.1": {"auth": auth}}})
    docker = Credentials(True, frozenset({"127.0.0.1"}), {".dockerconfigjson": config})

    assert content(client, resolve(server, client, docker).files[0]) == WEIGHTS


@pytest.mark.parametrize("revision", ["sha256:" + "A" * 64, "../manifests/latest", "a?b", "a/b"])
def test_what_is_no_reference(server: Scripted, client: HttpClient, revision: str) -> None:
    """A digest in another form would be asked for and compared with nothing."""
    with pytest.raises(StalledError) as caught:
        resolve(server, client, revision=revision)

    assert caught.value.reason is Reason.INVALID_SPEC
    assert server.asked == []


ONE = {"digest": f"sha256:{HEX}", "size": 1}


@pytest.mark.parametrize(
    ("document", "content_type"),
    [
        ({"layers": []}, INDEX),
        ({"manifests": []}, MANIFEST),
        ({"mediaType": INDEX, "layers": []}, INDEX),
        ({"mediaType": MANIFEST, "manifests": [ONE]}, MANIFEST),
        ({"mediaType": MANIFEST, "manifests": [ONE]}, "text/plain"),
        ({"mediaType": MANIFEST, "layers": []}, INDEX.upper()),
        ({"mediaType": MANIFEST, "layers": []}, "text/html"),
        ({"manifests": [ONE, {**ONE, "size": 2}]}, INDEX),
    ],
)
def test_documents_that_are_two_things(document: dict[str, Any], content_type: str) -> None:
    """T40, T43."""
    with pytest.raises(StalledError) as caught:
        registry.parse_manifest(json.dumps(document).encode(), "sha256:x", content_type)

    assert caught.value.reason is Reason.SOURCE_INVALID


MODEL_PACK = "application/vnd.cncf.model.weight.v1."
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
TREE, FOLDER, IMAGE = Packing.TREE, Packing.FOLDER, Packing.IMAGE
LAYERS: dict[str, tuple[dict[str, Any], Packing | None]] = {
    "a file of ORAS": (layer(mediaType=IMAGE_LAYER), None),
    "an archive that ORAS took for a file": (layer("m.tgz", mediaType=f"{IMAGE_LAYER}+gzip"), None),
    "a folder of ORAS": (layer("d", mediaType=f"{IMAGE_LAYER}+gzip", unpack=True), FOLDER),
    "a folder of ORAS, of a type of its own": (layer("d/", mediaType="a/b", unpack=True), FOLDER),
    "the folder that ORAS ran in": (
        layer(".", mediaType=f"{IMAGE_LAYER}+gzip", unpack=True),
        FOLDER,
    ),
    "raw": (layer(mediaType=f"{MODEL_PACK}raw"), None),
    "a tar of ModelPack": (layer(mediaType=f"{MODEL_PACK}tar"), TREE),
    "a tar of ModelPack, compressed": (layer("", mediaType=f"{MODEL_PACK}tar+gzip"), TREE),
    "documents": (layer("d", mediaType="application/vnd.cncf.model.doc.v1.tar; x=y"), TREE),
    "an image's layer": (layer("", mediaType=IMAGE_LAYER), IMAGE),
    "compressed": (layer("", mediaType=f"{IMAGE_LAYER}+gzip"), IMAGE),
    "docker's": (layer("", mediaType=f"{DOCKER_LAYER}.gzip"), IMAGE),
    "docker's, uncompressed": (layer("", mediaType=DOCKER_LAYER), IMAGE),
}


@pytest.mark.parametrize("case", LAYERS)
def test_what_a_layer_is_stands_in_the_manifest(
    server: Scripted, client: HttpClient, case: str
) -> None:
    """Packed layers have names that are nobody's, and no pattern leaves out what is not known yet."""
    one, packing = LAYERS[case]
    put(server, manifest(one), "latest")

    found = resolve(server, client, include=("m.*",))

    (file,) = found.files
    assert (file.packed.packing if file.packed else None) is packing
    assert file.name == (f"0000-{HEX[:12]}.layer" if packing else one["annotations"][TITLE])
    assert (file.sha256, content(client, file)) == (HEX, WEIGHTS)


@pytest.mark.parametrize(
    ("one", "shown"),
    [
        (layer("", mediaType=f"{IMAGE_LAYER}+zstd"), "tar+zstd"),
        (layer("", mediaType=f"{DOCKER_LAYER}.zstd"), "tar.zstd"),
        (layer("w", mediaType=f"{MODEL_PACK}tar+zstd"), "layer 'w' is packed"),
        (layer("w", mediaType=f"{IMAGE_LAYER}+zstd", unpack=True), "tar+zstd"),
        (layer("", mediaType=f"{IMAGE_LAYER}+gzip+encrypted"), "+encrypted"),
    ],
)
def test_what_cannot_be_unpacked_is_told_before_it_is_fetched(
    server: Scripted, client: HttpClient, one: dict[str, Any], shown: str
) -> None:
    put(server, manifest(one), "latest")

    with pytest.raises(StalledError, match="push it as tar") as caught:
        resolve(server, client)

    assert caught.value.reason is Reason.ENTRY_UNSUPPORTED
    assert shown in caught.value.message
    assert len(server.asked) == 1


def test_a_layer_that_is_left_out_by_its_own_name_is_not_judged(
    server: Scripted, client: HttpClient
) -> None:
    bad = layer("docs", mediaType=f"{MODEL_PACK}tar+zstd", digest=f"sha256:{'a' * 64}", size=1)
    put(server, manifest(bad, layer()), "latest")

    assert [file.name for file in resolve(server, client, exclude=("docs",)).files] == ["m.gguf"]


def test_a_layer_that_an_image_applies_twice_is_fetched_once(
    server: Scripted, client: HttpClient
) -> None:
    """And counts where it is applied last."""
    other = layer("", mediaType=IMAGE_LAYER, digest=f"sha256:{'a' * 64}", size=1)
    twice = layer("", mediaType=IMAGE_LAYER)
    put(server, manifest(twice, other, twice), "latest")

    first, second = resolve(server, client).files

    assert [first.name, second.name] == ["0001-aaaaaaaaaaaa.layer", f"0002-{HEX[:12]}.layer"]


def test_a_message_can_be_written_whatever_the_manifest_says(
    server: Scripted, client: HttpClient
) -> None:
    put(server, manifest(layer(mediaType="x\ud800\n.tar")), "latest")

    with pytest.raises(StalledError) as caught:
        resolve(server, client)

    assert caught.value.message.encode().isascii()
    assert "\n" not in caught.value.message


def test_without_credentials_the_refusal_says_so(server: Scripted, client: HttpClient) -> None:
    put(server, manifest(layer()), "latest")
    guarded(server, 'Basic realm="x"', BASIC)

    with pytest.raises(StalledError) as caught:
        resolve(server, client)

    assert caught.value.reason is Reason.UNAUTHORIZED
    assert "spec.credentials" in caught.value.message


def test_an_ollama_model_keeps_its_small_layers_beside(
    server: Scripted, client: HttpClient
) -> None:
    kinds = ["model", "template", "license", "license", "params"]
    layers = [layer("", mediaType=f"application/vnd.ollama.image.{kind}") for kind in kinds]
    put(server, manifest(*layers), "1b")

    found = resolve(server, client, ollama=True, revision="1b")

    assert {file.name for file in found.files} == {
        "model-1b.gguf",
        "model-1b.license",
        "model-1b.2.license",
        "model-1b.params.json",
        "model-1b.template",
    }


@pytest.mark.parametrize("kind", ["tensor", "evil"])
def test_an_ollama_layer_that_is_no_file(server: Scripted, client: HttpClient, kind: str) -> None:
    put(server, manifest(layer("", mediaType=f"application/vnd.ollama.image.{kind}")), "latest")

    with pytest.raises(StalledError) as caught:
        resolve(server, client, ollama=True)

    assert caught.value.reason is Reason.ENTRY_UNSUPPORTED


def test_an_ollama_manifest_without_a_model(server: Scripted, client: HttpClient) -> None:
    put(server, manifest(layer("", mediaType="application/vnd.ollama.image.template")), "latest")

    with pytest.raises(StalledError) as caught:
        resolve(server, client, ollama=True)

    assert caught.value.reason is Reason.SOURCE_INVALID


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,layersmanifests0123digesz', max_size=200))
def test_any_bytes_are_a_manifest_or_refused(body: bytes | str) -> None:
    data = body.encode() if isinstance(body, str) else body
    with contextlib.suppress(StalledError):
        found = registry.parse_manifest(data, "sha256:x", "")
        assert all(len(one.sha256) == 64 for one in (*found.layers, *found.manifests))
