"""`GET /v1/models`: what Galleries offer, in the form of the OpenAI API, with LocalAI's filters.

| parameter | means |
| --- | --- |
| `namespace`, `gallery` | only this one; a gallery needs its namespace |
| `filter` | RE2 expression that is found anywhere in the name |
| `loose` | LooseOnly, SkipIfConfigured (default), SkipAlways, AlwaysInclude |
| `backend`, `usecase`, `tag` | what a Model must name; `tag` may stand several times |
| `name` | exactly this name; with `regex=true` as LocalAI takes it |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.gallery import LooseFilePolicy
from model_gallery.catalog import listing, matching
from model_gallery.catalog.listing import Listed
from model_gallery.controller import kinds
from model_gallery.controller.observe import Observer, loose_of
from model_gallery.errors import StalledError
from model_gallery.telemetry.server import Query

__all__ = ["Offers"]

_KNOWN = frozenset(
    {"namespace", "gallery", "filter", "loose", "backend", "usecase", "tag", "name", "regex"}
)


@dataclass(frozen=True, slots=True)
class Offers:
    """Answers for all Galleries."""

    observer: Observer

    def models(self, query: Query) -> dict[str, Any]:
        """Returns the answer.

        Raises:
            StalledError: InvalidSpec, naming the parameter; NotFound, where the Gallery does not exist.
        """
        _check(query)
        wanted = listing.Filter(
            query.one("filter"), tuple(query.all("tag")), query.one("backend"), query.one("usecase")
        )
        policy = _policy(query.one("loose"))
        data = [
            _shown(item, namespace, gallery)
            for namespace, gallery in self._galleries(query)
            for item in self._listed(namespace, gallery, wanted, policy)
            if _is_named(item, query)
        ]
        return {"object": "list", "data": data}

    def _galleries(self, query: Query) -> Iterator[tuple[str, str]]:
        namespace, gallery = query.one("namespace"), query.one("gallery")
        if gallery and self.observer.cache.get(kinds.GALLERY, namespace, gallery) is None:
            raise StalledError(Reason.NOT_FOUND, f"there is no Gallery {namespace}/{gallery}")
        for place in sorted(self.observer.cache.keys(kinds.GALLERY)):
            if namespace in {"", place[0]} and gallery in {"", place[1]}:
                yield place

    def _listed(
        self, namespace: str, gallery: str, wanted: listing.Filter, policy: LooseFilePolicy
    ) -> list[Listed]:
        cache, found = self.observer.cache, self.observer.inventories.get(namespace, gallery)
        bodies = cache.by_index(kinds.MODEL, "gallery", f"{namespace}/{gallery}")
        models = [self.observer.configured(body) for body in bodies]
        return listing.list_models(models, loose_of(found) or (), wanted, policy)


def _check(query: Query) -> None:
    for name in query.names():
        if name not in _KNOWN:
            raise StalledError(
                Reason.INVALID_SPEC, f"there is no parameter {name[:64]!r}; known: {sorted(_KNOWN)}"
            )
    if query.one("gallery") and not query.one("namespace"):
        raise StalledError(Reason.INVALID_SPEC, "gallery needs namespace")
    if query.one("regex") not in {"", "true", "false"}:
        raise StalledError(Reason.INVALID_SPEC, "regex must be true or false")


def _policy(text: str) -> LooseFilePolicy:
    try:
        return LooseFilePolicy(text) if text else LooseFilePolicy.SKIP_IF_CONFIGURED
    except ValueError as error:
        known = ", ".join(policy.value for policy in LooseFilePolicy)
        raise StalledError(Reason.INVALID_SPEC, f"loose must be one of {known}") from error


def _is_named(item: Listed, query: Query) -> bool:
    name = query.one("name")
    if not name:
        return True
    if query.one("regex") == "true":
        return matching.found_in(name, field="name")(item.name)
    return item.name == name


def _shown(item: Listed, namespace: str, gallery: str) -> dict[str, Any]:
    return {
        "id": item.name,
        "object": "model",
        "owned_by": f"{namespace}/{gallery}",
        "kind": item.kind.value,
        "ready": item.ready,
        "size_bytes": item.size_bytes,
    }
