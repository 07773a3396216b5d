"""Names of children: deterministic, so that applying twice is applying once."""

from __future__ import annotations

from model_gallery.artifact.digest import sha256_of_value

__all__ = ["claim_name", "index_copy_name", "worker_name"]

_MAX_JOB_NAME = 63
_HASH_DIGITS = 8


def worker_name(model: str, operation: str, *seed: str | int) -> str:
    """Returns `<model>-<operation>-<8 hex>`, cut at 63, distinct for each seed."""
    digits = sha256_of_value([model, operation, *seed])[:_HASH_DIGITS]
    tail = f"-{operation}-{digits}"
    head = model.replace(".", "-")[: _MAX_JOB_NAME - len(tail)].rstrip("-")
    return head + tail


def claim_name(gallery: str) -> str:
    """Returns the name of the claim that a Gallery's template makes."""
    return f"{gallery}-models"


def index_copy_name(gallery: str, part: int) -> str:
    """Returns the name of the ConfigMap that keeps a part of the last good index."""
    return f"{gallery}-index-{part}"
