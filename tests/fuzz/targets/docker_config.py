"""The docker configuration in a Secret, and its list of hosts."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from fuzz.targets.guard import allowed
from model_gallery.transport.credentials import Credentials

_AUTH = {"auths": {"example.org": {"auth": "dTpw"}, "https://b.org": {"username": "u"}}}
SEEDS = (
    json.dumps(_AUTH).encode(),
    json.dumps({"auths": {"example.org": {"auth": "dTpw\n"}}}).encode(),
    json.dumps({"auths": ["example.org"]}).encode(),
    b"example.org, b.org\nc.org",
    b"[" * 60_000,
)


def one(data: bytes) -> None:
    """As either file; what is made of it is fit for a header."""
    values = {".dockerconfigjson": data.decode(errors="surrogateescape")}
    for host in ("example.org", "b.org"):
        with allowed():
            made = Credentials(named=True, values=values).docker_basic(host)
            assert made is None or (made.isascii() and made.isprintable())
    with tempfile.TemporaryDirectory() as folder, allowed():
        (Path(folder) / "allowed-hosts").write_bytes(data)
        (Path(folder) / "token").write_bytes(b"t")
        Credentials.read(Path(folder))
