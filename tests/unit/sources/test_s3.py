"""S3: versions, prefixes, keys that are no paths, and stores that answer nonsense (T11)."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_gallery.api.conditions import Reason
from model_gallery.errors import GalleryError, StalledError
from model_gallery.protocol.operation import Repository, RepositoryKind
from model_gallery.sources import s3, sigv4
from model_gallery.sources.base import Resolution
from model_gallery.transport.client import HttpClient
from model_gallery.transport.credentials import NO_CREDENTIALS, Credentials
from support.scripted import SECRET, Answer, Scripted, content

DATA = b"weights" * 20
KEYS = Credentials(
    True, frozenset({"127.0.0.1"}), {"accessKeyId": "AKIA", "secretAccessKey": SECRET}
)


def resolve(
    server: Scripted,
    client: HttpClient,
    key: str,
    credentials: Credentials = NO_CREDENTIALS,
    **more: Any,
) -> Resolution:
    url = f"{server.url}/bucket/{key}"
    wanted = Repository(kind=RepositoryKind.S3, url=url, **more)
    return s3.S3Source(client, credentials).resolve(wanted)


def page(*keys: str, size: str = "140", following: str = "") -> Answer:
    items = "".join(
        f'<Contents><Key>{escape(key)}</Key><Size>{size}</Size><ETag>"e"</ETag></Contents>'
        for key in keys
    )
    more = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
    cut = "true" if following else "false"
    text = (
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>{cut}</IsTruncated>{more}{items}</ListBucketResult>"
    )
    return Answer(text.encode())


def refusal(code: str, status: int, extra: str = "") -> Answer:
    return Answer(f"<Error><Code>{code}</Code>{extra}</Error>".encode(), status)


def test_the_signature_of_the_published_example() -> None:
    """The GET of AWS's own documentation of Signature Version 4 for S3."""
    headers = sigv4.sign(
        "GET",
        "https://examplebucket.s3.amazonaws.com/test.txt",
        sigv4.Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        "us-east-1",
        datetime(2013, 5, 24, tzinfo=UTC),
        headers={"Range": "bytes=0-9"},
        payload_hash=hashlib.sha256(b"").hexdigest(),
    )

    assert headers["Authorization"].endswith(
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


def test_an_object_is_pinned_to_its_version(server: Scripted, client: HttpClient) -> None:
    digest = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    headers = {"ETag": '"e"', "x-amz-version-id": "v1", "x-amz-checksum-sha256": digest}
    server.routes = {"/bucket/a/m.gguf*": Answer(DATA, headers=headers)}

    found = resolve(server, client, "a/m.gguf")

    assert found.revision == "v1"
    file = found.files[0]
    assert (file.name, file.size_bytes, file.sha256) == (
        "m.gguf",
        len(DATA),
        hashlib.sha256(DATA).hexdigest(),
    )
    assert file.url.endswith("/bucket/a/m.gguf?versionId=v1")
    assert server.asked[0].headers["x-amz-checksum-mode"] == "ENABLED"
    assert "range" not in server.asked[0].headers
    assert content(client, file) == DATA


@pytest.mark.parametrize("checksum", ["abc=-3", "\xb0\xa2"], ids=["of parts", "no text"])
def test_what_is_no_checksum_of_the_whole_is_no_promise(
    server: Scripted, client: HttpClient, checksum: str
) -> None:
    headers = {"x-amz-checksum-sha256": checksum}
    server.routes = {"/bucket/m.gguf": Answer(DATA, headers=headers)}

    assert resolve(server, client, "m.gguf").files[0].sha256 is None


def test_a_prefix_is_listed_page_by_page(server: Scripted, client: HttpClient) -> None:
    listed = "/bucket/?list-type=2&max-keys=1000&prefix=models%2F"
    again = "/bucket/?continuation-token=t%3D1&list-type=2&max-keys=1000&prefix=models%2F"
    server.routes = {
        listed: page("models/", "models/a b.json", following="t=1"),
        again: page("models/sub/c.gguf"),
        "/bucket/models/a%20b.json": Answer(DATA),
    }

    found = resolve(server, client, "models/")

    assert [file.name for file in found.files] == ["a b.json", "sub/c.gguf"]
    assert content(client, found.files[0]) == DATA


def test_requests_are_signed_for_the_store_alone(
    server: Scripted, elsewhere: Scripted, client: HttpClient
) -> None:
    """T31."""
    server.routes = {
        "/bucket/m.gguf": Answer(status=307, headers={"Location": f"{elsewhere.url}/m"})
    }
    elsewhere.routes = {"/m": Answer(DATA)}

    file = resolve(server, client, "m.gguf", KEYS).files[0]

    assert content(client, file) == DATA
    assert all("authorization" in one.headers for one in server.asked)
    assert all("authorization" not in one.headers for one in elsewhere.asked)
    assert server.seen(SECRET) == []


def test_keys_for_another_host_are_not_used(server: Scripted, client: HttpClient) -> None:
    keys = Credentials(True, frozenset({"s3.corp"}), KEYS.values)

    with pytest.raises(StalledError) as caught:
        resolve(server, client, "m.gguf", keys)

    assert caught.value.reason is Reason.SECRET_NOT_ALLOWED
    assert server.asked == []


@pytest.mark.parametrize(
    "keys",
    [
        ["a/../../b"],
        ["/x"],
        ["a//x"],
        ["x", "x/y"],
        ["a" * 1025],
        ["a\nb"],
        ["A.gguf", "a.gguf"],
        ["\u00e9", "e\u0301"],
        [".modelgallery/x"],
    ],
)
def test_keys_that_are_no_paths(server: Scripted, client: HttpClient, keys: list[str]) -> None:
    """T11."""
    server.routes = {"/bucket/?*": page(*keys)}

    with pytest.raises(StalledError) as caught:
        resolve(server, client, "")

    assert caught.value.reason is Reason.UNSAFE_PATH


@pytest.mark.parametrize(
    "case",
    [
        (refusal("NoSuchKey", 404), Reason.NOT_FOUND, "NoSuchKey"),
        (refusal("NoSuchBucket", 404), Reason.NOT_FOUND, "bucket"),
        (refusal("AccessDenied", 403), Reason.UNAUTHORIZED, "AccessDenied"),
        (refusal("SignatureDoesNotMatch", 403), Reason.UNAUTHORIZED, "spec.credentials"),
        (refusal("SlowDown", 503), Reason.RATE_LIMITED, "SlowDown"),
        (
            refusal("AuthorizationHeaderMalformed", 400, "<Region>eu-west-1</Region>"),
            Reason.SOURCE_INVALID,
            "eu-west-1",
        ),
        (refusal("PermanentRedirect", 301), Reason.SOURCE_INVALID, "region"),
        (Answer(b"no xml", 403), Reason.UNAUTHORIZED, "403"),
    ],
)
@pytest.mark.parametrize("key", ["m.gguf", "p/"])
def test_refusals_say_what_to_change(
    server: Scripted, client: HttpClient, case: tuple[Answer, Reason, str], key: str
) -> None:
    answer, reason, words = case
    server.routes = {"/*": answer}

    with pytest.raises(GalleryError) as caught:
        resolve(server, client, key)

    assert caught.value.reason is reason
    assert words in caught.value.message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<a>",
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><ListBucketResult>&a;</ListBucketResult>',
        b"<!doctype x><ListBucketResult/>",
        page("x", size="-1").body,
        page("x", size="1e9").body,
        page("x", size=str(2**60)).body,
        page("").body,
        page("x", size="0" * 5000).body,
        page("x", size="0" * 20 + "9" * 30).body,
        page("x", following="t").body.replace(
            b"<NextContinuationToken>t</NextContinuationToken>", b""
        ),
        "<!DOCTYPE x [<!ENTITY a 'b'>]><ListBucketResult>&a;</ListBucketResult>".encode("utf-16"),
        b"<html><body/></html>",
        page("elsewhere/x").body,
    ],
)
def test_listings_that_are_none(server: Scripted, client: HttpClient, body: bytes) -> None:
    server.routes = {"/bucket/?*": Answer(body)}

    with pytest.raises(StalledError) as caught:
        resolve(server, client, "x/")

    assert caught.value.reason is Reason.SOURCE_INVALID


def test_an_empty_prefix_is_not_found(server: Scripted, client: HttpClient) -> None:
    server.routes = {"/bucket/?*": page()}

    with pytest.raises(StalledError) as caught:
        resolve(server, client, "nothing/")

    assert caught.value.reason is Reason.NOT_FOUND


@given(
    st.binary(max_size=200)
    | st.text(alphabet="<>/ListBucketResultContentsKeySize0&;", max_size=200)
)
def test_any_bytes_are_a_listing_or_refused(body: bytes | str) -> None:
    data = body.encode() if isinstance(body, str) else body
    with contextlib.suppress(StalledError):
        assert all(size >= 0 for _, size, _ in s3.parse_listing(data).objects)
