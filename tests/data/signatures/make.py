"""Makes this folder anew: a small model, and what model-signing itself signs of it.

    python -m venv V && V/bin/pip install model-signing==1.1.1 pyopenssl && V/bin/python make.py

(1.1.1 imports OpenSSL and does not declare it.) The private keys are not kept, so every key and signature
changes. `index.json` says what each signature is.
"""

from __future__ import annotations

import importlib.metadata
import json
import random
import shutil
import tempfile
from pathlib import Path

import model_signing
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

HERE = Path(__file__).parent
FILES = {
    "config.json": b'{"model_type": "llama"}\n',
    "weights/part-1.txt": random.Random(1).randbytes(1500).hex().encode(),  # noqa: S311 - content
    "weights/größe 2.txt": b"a name that JSON may escape\n",
    ".gitattributes": b"# of git\n",
    "notes/todo.txt": b"left out by the signer\n",
}
CURVES = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}


def key_pair(folder: Path, name: str, curve: ec.EllipticCurve) -> Path:
    """Writes the public key beside this file and returns where the private one is."""
    key = ec.generate_private_key(curve)
    private = folder / f"{name}.pem"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (HERE / f"{name}.pub").write_bytes(public)
    return private


def hashing(model: Path) -> model_signing.hashing.Config:
    """Returns what the command line does with `--ignore-paths notes`."""
    ignored = [model / "notes", model / "model.sig"]
    return model_signing.hashing.Config().set_ignored_paths(paths=ignored, ignore_git_paths=True)


def main() -> None:
    """Writes the model, the keys and the signatures."""
    model = HERE / "model"
    shutil.rmtree(model, ignore_errors=True)
    for name, content in FILES.items():
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_bytes(content)
    wanted = {f"{name}.sig": (name, hashing(model)) for name in CURVES}
    wanted["other.sig"] = ("other", hashing(model))
    wanted["all.sig"] = ("p256", hashing(model).set_ignored_paths(paths=[], ignore_git_paths=False))
    wanted["shards.sig"] = ("p256", hashing(model).use_shard_serialization())
    wanted["blake3.sig"] = (
        "p256",
        hashing(model).use_file_serialization(hashing_algorithm="blake3"),
    )
    with tempfile.TemporaryDirectory() as folder:
        curves = {**CURVES, "other": ec.SECP256R1()}
        keys = {name: key_pair(Path(folder), name, curve) for name, curve in curves.items()}
        for file, (key, config) in wanted.items():
            signer = model_signing.signing.Config().use_elliptic_key_signer(private_key=keys[key])
            signer.set_hashing_config(config).sign(model, HERE / file)
    made = f"model-signing {importlib.metadata.version('model-signing')}"
    index = {"made_by": made, "keys": {file: key for file, (key, _) in wanted.items()}}
    (HERE / "index.json").write_text(json.dumps(index, indent=2) + "\n")


main()
