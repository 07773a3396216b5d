"""Servers' certificates of the tests' own making."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


def context(
    tmp_path: Path, *, ended: bool = False, begins: int = 2020, name: str = "127.0.0.1"
) -> ssl.SSLContext:
    """A server's context with a certificate of its own making.

    Args:
        begins: the year from which it holds.
    """
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    year = 2020 if ended else 2099
    (tmp_path / "index").touch()
    settings = tmp_path / "ca.cnf"
    settings.write_text(
        "[ca]\ndefault_ca=own\n[own]\ndefault_md=sha256\npolicy=any\nrand_serial=yes\n"
        f"database={tmp_path}/index\nnew_certs_dir={tmp_path}\nx509_extensions=names\n"
        f"[any]\ncommonName=supplied\n[names]\nsubjectAltName=IP:{name}\n"
    )
    curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    for command in (
        f"openssl req -new {curve} -keyout {key} -out {tmp_path}/request -subj /CN=test",
        (
            f"openssl ca -batch -selfsign -notext -config {settings} -keyfile {key} -in {tmp_path}/request"
            f" -out {certificate} -startdate {begins}0101000000Z -enddate {year}0102000000Z"
        ),
    ):
        subprocess.run(command.split(), check=True, capture_output=True)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate, key)
    return made
