"""`remove`, `suspend`, `resume` and `verify`: what is asked of a Model that is there."""

from __future__ import annotations

from model_gallery.api import labels
from model_gallery.api.conditions import ConditionType
from model_gallery.api.v1alpha1.model import DeletionPolicy
from model_gallery.plugin import facts
from model_gallery.plugin.commands import waiting
from model_gallery.plugin.facts import Fact
from model_gallery.plugin.problem import Exit, Problem
from model_gallery.plugin.session import Session
from model_gallery.reconcile import times

__all__ = ["remove", "resume", "suspend", "verification", "verify"]


def remove(session: Session, name: str, *, retain: bool, wait_seconds: float | None) -> int:
    """Deletes a Model; its files go with it unless they are to be retained."""
    found = session.cluster.get(labels.MODEL, session.namespace, name)
    if retain:
        # First, and by itself: a Model that is being deleted may lose its files at any moment.
        policy = {"spec": {"deletionPolicy": DeletionPolicy.RETAIN.value}}
        found = session.cluster.patch(labels.MODEL, session.namespace, name, policy)
    kept = facts.spec_of(found).get("deletionPolicy") == DeletionPolicy.RETAIN
    session.cluster.delete(labels.MODEL, session.namespace, name)
    if wait_seconds is not None:
        waiting.until_gone(session, name, found["metadata"]["uid"], wait_seconds)
    session.output.done(found, "deleted, its files stay" if kept else "deleted")
    return Exit.DONE


def suspend(session: Session, name: str) -> int:
    """Stops a Model's transfer, and starts none."""
    return _suspended(session, name, wish=True, told="suspended")


def resume(session: Session, name: str, *, wait_seconds: float | None) -> int:
    """Lets a Model go on."""
    done = _suspended(session, name, wish=False, told="resumed")
    if wait_seconds is None:
        return done
    return waiting.until_settled(session, [name], wait_seconds)


def verify(session: Session, name: str, *, wait_seconds: float | None) -> int:
    """Asks for a full check of a Model's files, and shows what came of it."""
    asked = times.to_text(session.now())
    note = {"metadata": {"annotations": {labels.ANNOTATION_VERIFY_AT: asked}}}
    found = session.cluster.patch(labels.MODEL, session.namespace, name, note)
    if wait_seconds is None:
        session.output.done(found, "verification requested")
        return Exit.DONE
    for models in session.cluster.follow(labels.MODEL, session.namespace, wait_seconds):
        verified = verification(models.get(name), asked)
        if verified is not None:
            found = dict(models[name])
            told = f"Verified={verified.status} ({verified.reason}) {verified.message}".rstrip()
            session.output.done({**found, "kind": labels.MODEL}, told)
            return Exit.FAILED if verified.status == "False" else Exit.DONE
    raise Problem(
        f"Model {session.namespace}/{name} was not verified within {wait_seconds:.0f} s:"
        f" `kubectl model describe {name} -n {session.namespace}` says why"
    )


def verification(found: facts.Object | None, asked: str) -> Fact | None:
    """Returns the condition Verified once the check that was asked for is done; None before.

    Raises:
        Problem: the Model is gone.
    """
    if found is None:
        raise Problem("the Model was deleted meanwhile")
    if facts.status_of(found).get("lastHandledVerifyAt") != asked:
        return None
    return facts.condition(found, ConditionType.VERIFIED)


def _suspended(session: Session, name: str, *, wish: bool, told: str) -> int:
    change = {"spec": {"suspend": wish}}
    session.output.done(session.cluster.patch(labels.MODEL, session.namespace, name, change), told)
    return Exit.DONE
