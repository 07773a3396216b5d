"""`wait`, and `--wait` of other commands: follows Models until they are settled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from model_gallery.api import labels
from model_gallery.plugin import facts, progress
from model_gallery.plugin.facts import Verdict
from model_gallery.plugin.problem import Exit, Problem
from model_gallery.plugin.session import Session

__all__ = ["until_gone", "until_settled", "verdicts"]

Objects = Mapping[str, Mapping[str, Any]]


def until_settled(session: Session, names: Sequence[str], seconds: float) -> int:
    """Waits until each Model is Ready or cannot become so by itself; returns the exit code.

    Raises:
        Problem: time is up.
    """
    wanted = list(dict.fromkeys(names))
    found: dict[str, tuple[Verdict, str]] = {}
    with progress.display(wanted) as display:
        for models in session.cluster.follow(labels.MODEL, session.namespace, seconds):
            found = verdicts(models, wanted)
            for name in wanted:
                display.show(name, models.get(name))
            if all(verdict is not Verdict.PENDING for verdict, _ in found.values()):
                break
    if not found:
        raise Problem(f"the API server told nothing within {seconds:.0f} s: raise --timeout")
    return _concluded(session, found, seconds)


def verdicts(models: Objects, names: Sequence[str]) -> dict[str, tuple[Verdict, str]]:
    """Returns what each of the Models came to."""
    return {name: facts.verdict(models.get(name)) for name in names}


def until_gone(session: Session, name: str, uid: str, seconds: float) -> None:
    """Waits until the Model is gone, or another one has its name.

    Raises:
        Problem: time is up.
    """
    for models in session.cluster.follow(labels.MODEL, session.namespace, seconds):
        if models.get(name, {}).get("metadata", {}).get("uid") != uid:
            return
    raise Problem(
        f"Model {session.namespace}/{name} is still there after {seconds:.0f} s:"
        f" `kubectl model describe {name} -n {session.namespace}` says why"
    )


def _concluded(session: Session, found: Mapping[str, tuple[Verdict, str]], seconds: float) -> int:
    failed = 0
    for name, (verdict, why) in found.items():
        if verdict is Verdict.READY:
            session.output.text(f"model.{labels.GROUP}/{name} ready")
            continue
        failed += 1
        waited = f"not ready after {seconds:.0f} s: " if verdict is Verdict.PENDING else ""
        session.output.note(f"kubectl model: Model {session.namespace}/{name}: {waited}{why}")
    return Exit.FAILED if failed else Exit.DONE
