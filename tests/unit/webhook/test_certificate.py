"""The webhook's certificate: taken, renewed, and what is said of one that cannot be used."""

from __future__ import annotations

import os
import shutil
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


def test_one_that_is_as_before_is_not_read_again(folder: Path) -> None:
    certificate = Certificate(folder)
    assert not certificate.refresh()
    touch(folder / "tls.crt")
    assert certificate.refresh()
    assert not certificate.refresh()


def test_one_that_cannot_be_used_is_said_once_and_the_former_stays(folder: Path) -> None:
    certificate = Certificate(folder)
    (folder / "tls.key").write_text("no key")
    touch(folder / "tls.key")
    with pytest.raises(StalledError, match=r"must hold a certificate in tls\.crt"):
        certificate.refresh()
    assert not certificate.refresh()
    assert certificate.context.get_ca_certs() == []


WRONG: dict[str, tuple[dict[str, str], str]] = {
    "no image": ({"SIDECAR_IMAGE": ""}, "SIDECAR_IMAGE must name the image"),
    "no port": ({"PORT": "x"}, "PORT must be a port, not 'x'"),
    "no JSON": ({"SIDECAR_RESOURCES": "{"}, "SIDECAR_RESOURCES must be JSON"),
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
