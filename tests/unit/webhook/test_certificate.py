"""The webhook's certificate: taken, renewed, and what is said of one that cannot be used."""

from __future__ import annotations

import os
import shutil
import ssl
from pathlib import Path

import pytest

from model_gallery.errors import StalledError
from model_gallery.webhook import main as webhook
from model_gallery.webhook.main import Certificate
from support.tls import context


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    context(tmp_path)
    mounted = tmp_path / "tls"
    mounted.mkdir()
    shutil.copy(tmp_path / "key.pem", mounted / "tls.key")
    shutil.copy(tmp_path / "cert.pem", mounted / "tls.crt")
    return mounted


def touch(file: Path) -> None:
    """Makes it newer than any clock's step."""
    later = file.stat().st_mtime_ns + 10**9
    os.utime(file, ns=(later, later))


def shown_by(server: ssl.SSLContext) -> bytes | None:
    """Returns the certificate that a client is shown, DER."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (one, other, one, other):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return one.getpeercert(binary_form=True)


def test_one_that_is_as_before_is_not_read_again(folder: Path) -> None:
    certificate = Certificate(folder)
    assert not certificate.refresh()
    touch(folder / "tls.crt")
    assert certificate.refresh()
    assert not certificate.refresh()


@pytest.mark.parametrize("wrong", ["no key", "another's certificate"])
def test_one_that_cannot_be_used_is_said_once_and_the_former_stays(
    folder: Path, tmp_path: Path, wrong: str
) -> None:
    certificate = Certificate(folder)
    shown = shown_by(certificate.context)
    if wrong == "no key":
        (folder / "tls.key").write_text("no key")
    else:
        other = tmp_path / "other"
        other.mkdir()
        context(other)
        shutil.copy(other / "cert.pem", folder / "tls.crt")
    touch(folder / "tls.crt")
    with pytest.raises(StalledError, match=r"must hold a certificate in tls\.crt"):
        certificate.refresh()
    assert not certificate.refresh()
    assert shown_by(certificate.context) == shown


WRONG: dict[str, tuple[dict[str, str], str]] = {
    "no image": ({"SIDECAR_IMAGE": ""}, "SIDECAR_IMAGE must name the image"),
    "no port": ({"PORT": "x"}, "PORT must be a port, not 'x'"),
    "no JSON": ({"SIDECAR_RESOURCES": "{"}, "SIDECAR_RESOURCES must be JSON"),
    "resources that are null": (
        {"SIDECAR_RESOURCES": "null"},
        "SIDECAR_RESOURCES must be a JSON object",
    ),
    "resources of text": ({"SIDECAR_RESOURCES": '{"limits": "1Gi"}'}, "with requests and limits"),
    "no certificate": ({"CERTIFICATES": "/nowhere"}, "/nowhere must hold a certificate"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    changes, words = WRONG[case]
    wish = {"SIDECAR_IMAGE": "image:1", "CERTIFICATES": str(folder)} | changes
    for name, value in wish.items():
        monkeypatch.setenv(f"MODEL_GALLERY_WEBHOOK_{name}", value)
    assert webhook.main() == 2
    assert words in capsys.readouterr().err
