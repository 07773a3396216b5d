"""What the backends' modules conclude alike."""

from __future__ import annotations

from collections.abc import Iterable

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.monitor import reading
from model_gallery.monitor.asking import Answer, Asker
from model_gallery.protocol.backend import BackendFacts, LoadedModel, UnloadOutcome, UnloadResult

__all__ = [
    "busy",
    "done",
    "failed",
    "find",
    "hindrance",
    "key_missing",
    "not_loaded",
    "refusal",
    "unready",
    "unsupported",
    "working",
]

_MAX_ERROR = 4096


def working(running: int | None, waiting: int | None) -> ServingState:
    """Returns Busy where requests are seen, else Loaded."""
    return ServingState.BUSY if running or waiting else ServingState.LOADED


def find(models: Iterable[LoadedModel], name: str) -> LoadedModel | None:
    """Returns the model of that name, or the one that has it as an alias."""
    listed = tuple(models)
    named = (model for model in listed if model.name == name)
    return next(named, None) or next((model for model in listed if name in model.aliases), None)


def key_missing(answer: Answer, asker: Asker) -> str:
    """Returns what to change where the answer is 401 or 403."""
    if asker.has_token:
        return f"{answer.route} answered {answer.status}: the backend does not accept the API key"
    return f"{answer.route} answered {answer.status}: the backend wants an API key, and none is set"


def unready(kind: BackendType, answer: Answer, asker: Asker) -> BackendFacts:
    """Returns what an answer tells that is not the one hoped for: it lives, and does not serve us."""
    message = (
        key_missing(answer, asker) if answer.locked else f"{answer.route} answered {answer.status}"
    )
    return BackendFacts(kind, live=True, ready=False, message=message)


def done(message: str = "") -> UnloadResult:
    """The backend unloads it, if not at once then when its requests are done."""
    return UnloadResult(UnloadOutcome.DONE, message)


def not_loaded(model: str) -> UnloadResult:
    """There was nothing to do."""
    return UnloadResult(UnloadOutcome.NOT_LOADED, f"the backend has not loaded {model[:100]!r}")


def busy(message: str) -> UnloadResult:
    """It was left alone."""
    return UnloadResult(UnloadOutcome.BUSY, message)


def hindrance(
    found: LoadedModel | None, wanted: str, *, force: bool, working: str = ""
) -> UnloadResult | None:
    """Returns why not to ask for the unloading of a model; None where to go on.

    Args:
        wanted: the name that was looked for.
        working: what unloading would do to a model that works; a sentence.
    """
    if found is None or found.state in {ServingState.UNLOADED, ServingState.ERROR}:
        return not_loaded(wanted)
    if found.state in {ServingState.BUSY, ServingState.LOADING} and not force:
        return busy(working or f"the model is {found.state.lower()}")
    return None


def unsupported(message: str) -> UnloadResult:
    """It cannot be done, now or later."""
    return UnloadResult(UnloadOutcome.UNSUPPORTED, message)


def failed(message: str) -> UnloadResult:
    """It went wrong."""
    return UnloadResult(UnloadOutcome.FAILED, message)


def refusal(answer: Answer, asker: Asker) -> UnloadResult:
    """Returns the failure that an answer is, with what the backend says of it."""
    if answer.locked:
        return failed(key_missing(answer, asker))
    said = reading.sentence(answer.body[:_MAX_ERROR].decode(errors="replace"))
    return failed(f"{answer.route} answered {answer.status}" + (f": {said}" if said else ""))
