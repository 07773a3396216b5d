"""What goes wrong at a shell, as one sentence that names what to change.

Answers of the API server are put into words here and nowhere else; `cluster.py` only asks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

__all__ = [
    "Absent",
    "Exit",
    "Forbidden",
    "Problem",
    "Refusal",
    "Unreachable",
    "absent",
    "explained",
    "unreachable",
]

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT = 401, 403, 404, 409
_MAX_MESSAGE = 1024


class Exit(IntEnum):
    """Exit codes."""

    DONE = 0
    FAILED = 1
    """An error, a Stalled Model, or a wait that took too long."""
    USAGE = 2
    INTERRUPTED = 130
    """As shells have it for Ctrl-C."""


class Problem(Exception):  # noqa: N818 - shown to people, who need not call it an error
    """A command cannot go on.

    Attributes:
        message: one line for stderr.
        exit_code: how the process ends.
    """

    def __init__(self, message: str, exit_code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


class Absent(Problem):
    """The object is not there."""


class Unreachable(Problem):
    """No answer came; the next try may get one."""


class Forbidden(Problem):
    """The user lacks a right."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of the API server that is no success.

    Attributes:
        kind: of the object that was asked for, such as Model.
        name: empty where a list was asked for.
        custom: whether the kind is one of ours, which a cluster may not know.
    """

    status: int
    body: str
    kind: str
    namespace: str
    name: str = ""
    custom: bool = False


def explained(refusal: Refusal) -> Problem:
    """Returns the problem behind a refusal."""
    status = _status(refusal.body)
    message = " ".join(str(status.get("message") or refusal.body).split())[:_MAX_MESSAGE]
    if refusal.status == _UNAUTHORIZED:
        return Problem(
            "the cluster does not accept your credentials: log in again, or choose others with --context"
        )
    if refusal.status == _FORBIDDEN:
        return Forbidden(f"{message}; ask an administrator of the cluster for this right")
    if refusal.status == _NOT_FOUND:
        return _not_found(refusal, status)
    if refusal.status == _CONFLICT and status.get("reason") == "AlreadyExists":
        return Problem(
            f"{refusal.kind} {refusal.namespace}/{refusal.name} exists already:"
            " choose another name with --name"
        )
    return Problem(f"the API server refused with {refusal.status}: {message}")


def absent(kind: str, namespace: str, name: str) -> Absent:
    """Returns the problem of an object that is not there."""
    hint = {
        "Model": f"`kubectl model list -n {namespace}` shows the Models there",
        "Gallery": f"`kubectl get galleries -n {namespace}` shows the Galleries there",
    }.get(kind, "look for it with kubectl get")
    return Absent(f"{kind} {namespace}/{name} is not there: {hint}")


def unreachable(address: str, reason: str) -> Unreachable:
    """Returns the problem of a cluster that does not answer."""
    return Unreachable(
        f"cannot reach the cluster at {address} ({reason}):"
        " check that it runs, or choose another with --context or --kubeconfig"
    )


def _not_found(refusal: Refusal, status: Mapping[str, Any]) -> Problem:
    # For a group that it does not serve, the API server answers in plain text, without a Status.
    named = (status.get("details") or {}).get("name")
    if refusal.custom and not named:
        return Problem(
            "the cluster has no Models or Galleries (modelgallery.dev/v1alpha1):"
            " install the operator's chart there, or choose another cluster with --context"
        )
    return absent(refusal.kind, refusal.namespace, refusal.name or str(named or ""))


def _status(body: str) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
