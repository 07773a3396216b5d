"""What a Gallery offers: its Models, and files on the volume that no Model owns.

The four policies and the three filters are LocalAI's (`ListModels`); what differs, and why, stands in
docs/decisions/0010.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from model_gallery.api.v1alpha1.gallery import LooseFilePolicy, ModelKind
from model_gallery.catalog import matching

__all__ = [
    "Configured",
    "Filter",
    "Listed",
    "Loose",
    "is_model_file",
    "list_models",
    "model_exists",
]

_NO_MODELS = frozenset({"model_card", "readme"})
_OTHER_SUFFIXES = (
    ".tmpl",
    ".keep",
    ".yaml",
    ".yml",
    ".json",
    ".jsonl",
    ".txt",
    ".pt",
    ".pth",
    ".onnx",
    ".md",
    ".ds_store",
    ".bin",
    ".ckpt",
    ".zip",
    ".tar",
    ".tar.gz",
    ".tar.bz2",
    ".tar.xz",
    ".tgz",
    ".tag",
    ".bak",
    ".partial",
    ".part",
    ".lock",
    ".npz",
    ".nemo",
    ".py",
    ".log",
    ".pdf",
    ".png",
    ".jpg",
    ".html",
    ".model",
    ".vocab",
    ".msgpack",
    ".h5",
    ".sha256",
    ".",
)
"""Files that stand beside models, or that no backend can load by their own name."""


@dataclass(frozen=True, slots=True)
class Configured:
    """A Model.

    Attributes:
        weights: the file that its configuration names.
    """

    name: str
    weights: str = ""
    backend: str = ""
    tags: tuple[str, ...] = ()
    use_cases: tuple[str, ...] = ()
    ready: bool = False
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Loose:
    """A file that no Model owns."""

    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Listed:
    """One name of a listing."""

    name: str
    kind: ModelKind
    ready: bool
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Filter:
    """What a listing shows. An empty field lets everything through.

    Attributes:
        name: RE2 expression, found anywhere in the name.
        tags: a Model must have all of them; loose files have none.
        backend: a Model must name it; loose files name none.
        use_case: a Model must know it; loose files know none.
    """

    name: str = ""
    tags: tuple[str, ...] = ()
    backend: str = ""
    use_case: str = ""

    @property
    def models_only(self) -> bool:
        """Whether it asks for what only a Model has."""
        return bool(self.tags or self.backend or self.use_case)

    @property
    def _use_case(self) -> str:
        return self.use_case.lower().removeprefix("flag_")

    def passes(self, model: Configured) -> bool:
        """Whether a Model has what is asked for, its name aside."""
        return (
            set(self.tags) <= set(model.tags)
            and self.backend in {"", model.backend}
            and (not self.use_case or self._use_case in model.use_cases)
        )


def list_models(
    configured: Iterable[Configured],
    loose: Iterable[Loose],
    wanted: Filter,
    policy: LooseFilePolicy,
) -> list[Listed]:
    """Returns the names, sorted; of equal ones the Model stands first.

    Raises:
        StalledError: InvalidSpec, where the name filter is no regular expression.
    """
    fits = matching.found_in(wanted.name, field="filter")
    models = [model for model in configured if fits(model.name) and wanted.passes(model)]
    hidden = {model.weights for model in models} if _hides(policy) else set()
    listed = []
    if policy is not LooseFilePolicy.LOOSE_ONLY:
        listed += [
            Listed(model.name, ModelKind.CONFIGURED, model.ready, model.size_bytes)
            for model in models
        ]
    if policy is not LooseFilePolicy.SKIP_ALWAYS and not wanted.models_only:
        listed += [
            Listed(file.path, ModelKind.LOOSE, True, file.size_bytes)
            for file in loose
            if is_model_file(file.path) and file.path not in hidden and fits(file.path)
        ]
    return sorted(listed, key=lambda item: (item.name, item.kind is ModelKind.LOOSE))


def _hides(policy: LooseFilePolicy) -> bool:
    return policy in {LooseFilePolicy.LOOSE_ONLY, LooseFilePolicy.SKIP_IF_CONFIGURED}


def is_model_file(path: str) -> bool:
    """Whether a loose file may be a model: GGUF, safetensors, or of a kind that nobody knows."""
    *folders, name = path.lower().split("/")
    # LocalAI and the Hub's client keep their caches in hidden folders.
    if any(part.startswith(".") for part in (*folders, name)):
        return False
    if name in _NO_MODELS or ".bak" in name:
        return False
    return not name.endswith(_OTHER_SUFFIXES)


def model_exists(
    name: str, configured: Iterable[Configured], loose: Iterable[Loose], *, regex: bool = False
) -> bool:
    """Whether a name is offered, whatever the policy.

    Args:
        regex: take the name as an expression that is found anywhere in a name, as LocalAI does.

    Raises:
        StalledError: InvalidSpec, where it is no regular expression.
    """
    fits = matching.found_in(name, field="name") if regex else name.__eq__
    return any(fits(model.name) for model in configured) or any(
        fits(file.path) for file in loose if is_model_file(file.path)
    )
