"""Fetches an index with the base configurations that its entries name, and judges it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.gallery import (
    MAX_STATUS_PROBLEMS,
    GallerySpec,
    IndexProblem,
    IndexStatus,
    Rewrite,
    ServedFrom,
)
from model_gallery.artifact import reference
from model_gallery.artifact.digest import sha256_of_value
from model_gallery.catalog import baseconfig, check, index, rewrites
from model_gallery.controller import clock
from model_gallery.errors import GalleryError, StalledError, TransientError
from model_gallery.protocol.operation import NetworkPolicy
from model_gallery.reconcile import times
from model_gallery.reconcile.resolution import Catalogue
from model_gallery.runtime.client import ApiClient
from model_gallery.runtime.resources import CONFIG_MAPS
from model_gallery.transport.client import HttpClient
from model_gallery.transport.credentials import Credentials

__all__ = ["MAX_BASES", "Document", "Fetcher", "Loaded", "judged"]

MAX_INDEX_BYTES = 16 * 1024 * 1024
MAX_BASE_BYTES = 1024 * 1024
MAX_BASES = 512
_BASE_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Document:
    """One fetched text with what a conditional request needs.

    Attributes:
        url: where it came from; a validator holds for this URL only.
    """

    body: bytes
    url: str = ""
    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """An index in use.

    Attributes:
        wish: fingerprint of the spec that it was fetched for.
        bases: base configurations as fetched, or why not, by the URL that entries write.
        revision: digest over the index, all base configurations and where it came from.
    """

    wish: str
    document: Document
    bases: Mapping[str, Document | GalleryError]
    catalogue: Catalogue = field(repr=False)
    status: IndexStatus
    revision: str


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches indexes over http(s) or from ConfigMaps.

    Attributes:
        policy: which addresses may be reached, and through which proxy.
        proxy_folder: of the Secret for the proxy; None: it is told nothing.
    """

    client: ApiClient
    policy: NetworkPolicy
    proxy_folder: Path | None = None

    async def fetch(
        self, namespace: str, spec: GallerySpec, wish: str, previous: Loaded | None
    ) -> Loaded:
        """Returns the index as it is now.

        Args:
            wish: fingerprint of the spec.
            previous: what is in use; its validators make the requests conditional.

        Raises:
            StalledError: what came is no index, or the wish cannot be fulfilled.
            TransientError: no source answered.
        """
        known = previous if previous and previous.wish == wish else None
        if spec.index.config_map is not None:
            body = await self._config_map(
                namespace, spec.index.config_map.name, spec.index.config_map.key
            )
            given, pem = Document(body), None
        else:
            given, pem = None, await self._ca(namespace, spec)
        http = HttpClient(self.policy, ca_pem=pem, proxy_authorization=self._proxy)
        try:
            if given is not None:
                document, served_from = given, ServedFrom.SOURCE
            else:
                document, served_from = await asyncio.to_thread(_first_good, http, spec, known)
            source = _Source(http, spec.rewrites, wish, served_from)
            return await asyncio.to_thread(_complete, source, document, known)
        finally:
            # A thread cannot be cancelled; without its connections it ends by itself.
            http.close()

    async def _config_map(self, namespace: str, name: str, key: str) -> bytes:
        body = await self.client.get(CONFIG_MAPS, namespace, name)
        if body is None:
            raise TransientError(Reason.INDEX_UNREACHABLE, f"there is no ConfigMap {name}")
        text = (body.get("data") or {}).get(key)
        if text is None:
            raise StalledError(Reason.INDEX_INVALID, f"ConfigMap {name} has no key {key}")
        return str(text).encode()

    def _proxy(self) -> str | None:
        """Read anew for each fetch: the Secret may have been changed."""
        if self.proxy_folder is None or not self.policy.proxy:
            return None
        found = Credentials.read(self.proxy_folder, "the chart's network.proxySecretName")
        return found.for_proxy(self.policy.proxy)

    async def _ca(self, namespace: str, spec: GallerySpec) -> bytes | None:
        bundle = spec.index.http.ca_bundle if spec.index.http else None
        if bundle is None:
            return None
        return await self._config_map(namespace, bundle.config_map_name, "ca.crt")


def _first_good(
    http: HttpClient, spec: GallerySpec, known: Loaded | None
) -> tuple[Document, ServedFrom]:
    """Returns the answer of the first source that gives an index."""
    if spec.index.http is None:
        raise StalledError(Reason.INVALID_SPEC, "spec.index must set http or configMap")
    failures: list[GalleryError] = []
    for place, uri in enumerate((spec.index.http.url, *spec.index.http.mirrors)):
        try:
            before = known.document if known else None
            document = _get(http, reference.parse(uri).url, before, MAX_INDEX_BYTES)
            if document is not before:
                index.parse(document.body)
        except GalleryError as error:
            failures.append(error)
            continue
        return document, ServedFrom.MIRROR if place else ServedFrom.SOURCE
    raise _unreachable(failures)


def _unreachable(failures: list[GalleryError]) -> GalleryError:
    message = "; then ".join(failure.message for failure in failures)[:900]
    if all(isinstance(failure, StalledError) for failure in failures):
        return StalledError(failures[0].reason, message)
    return TransientError(Reason.INDEX_UNREACHABLE, message)


def _get(http: HttpClient, url: str, before: Document | None, max_bytes: int) -> Document:
    """Returns the document; the very same object where the server says it is unchanged."""
    same = before is not None and before.url == url
    fetched = http.fetch(
        url,
        max_bytes=max_bytes,
        etag=before.etag if same and before else None,
        last_modified=before.last_modified if same and before else None,
    )
    if fetched.body is None:
        if before is None:
            raise TransientError(Reason.INDEX_UNREACHABLE, "304 to an unconditional request")
        return before
    return Document(fetched.body, url, fetched.etag, fetched.last_modified)


@dataclass(frozen=True, slots=True)
class _Source:
    """What a fetch goes by."""

    http: HttpClient
    rules: tuple[Rewrite, ...]
    wish: str
    served_from: ServedFrom


def _complete(source: _Source, document: Document, known: Loaded | None) -> Loaded:
    """Adds the base configurations and judges the whole; nothing anew where nothing changed."""
    same = known is not None and known.document.body == document.body
    parsed = known.catalogue.index if known and same else index.parse(document.body)
    before = known.bases if known else {}
    fetch = _base_fetcher(source, before)
    references = sorted(parsed.references())
    with ThreadPoolExecutor(_BASE_CONNECTIONS, thread_name_prefix="bases") as pool:
        bases = dict(zip(references, pool.map(fetch, references[:MAX_BASES]), strict=False))
    fetched = known.status.fetched_time if known and same else times.to_text(clock.now())
    loaded = judged(source.wish, document, bases, source.served_from, fetched)
    return known if known and loaded.revision == known.revision else loaded


def _base_fetcher(
    source: _Source, before: Mapping[str, Document | GalleryError]
) -> Callable[[str], Document | GalleryError]:
    def fetch(uri: str) -> Document | GalleryError:
        old = before.get(uri)
        known = old if isinstance(old, Document) else None
        try:
            url = rewrites.rewrite(reference.parse(uri).url, source.rules)
            return _get(source.http, url, known, MAX_BASE_BYTES)
        except StalledError as error:
            return error
        except GalleryError as error:
            # An upstream that is down for a moment must not take a known configuration away.
            return known or error

    return fetch


def judged(
    wish: str,
    document: Document,
    bases: Mapping[str, Document | GalleryError],
    served_from: ServedFrom,
    fetched_time: str,
) -> Loaded:
    """Returns the index parsed and checked, with the status that it leads to.

    Raises:
        StalledError: the document is no index.
    """
    parsed = index.parse(document.body)
    configs = {uri: _base(uri, base) for uri, base in bases.items()}
    found = check.check(parsed, configs)
    problems = tuple(
        IndexProblem(
            entry=problem.entry[:256], reason=problem.reason, message=problem.message[:512]
        )
        for problem in found.problems[:MAX_STATUS_PROBLEMS]
    )
    status = IndexStatus(
        digest=parsed.digest,
        entries=len(parsed),
        fetched_time=fetched_time,
        served_from=served_from,
        problems=problems,
        problems_total=len(found.problems),
    )
    revision = sha256_of_value(
        [
            wish,
            parsed.digest,
            served_from,
            sorted((uri, _trace(base)) for uri, base in bases.items()),
        ]
    )
    catalogue = Catalogue(parsed, configs)
    return Loaded(wish, document, bases, catalogue, status, revision)


def _base(uri: str, base: Document | GalleryError) -> baseconfig.BaseConfig | GalleryError:
    if isinstance(base, GalleryError):
        return base
    try:
        return baseconfig.parse(base.body, uri)
    except GalleryError as error:
        return error


def _trace(base: Document | GalleryError) -> str:
    return (
        str(base)
        if isinstance(base, GalleryError)
        else sha256_of_value(base.body.decode("latin-1"))
    )
