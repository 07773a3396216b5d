"""From the cache to what a decision may look at. Reads memory only: no call, no await."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from model_gallery.api import labels
from model_gallery.api.v1alpha1.gallery import BackendStatus, GallerySpec, GalleryStatus
from model_gallery.api.v1alpha1.model import ModelSpec, ModelStatus
from model_gallery.api.v1alpha1.serving import UnloadStatus
from model_gallery.catalog import selection
from model_gallery.catalog.entry import InstallRequest
from model_gallery.catalog.listing import Configured, Loose
from model_gallery.catalog.selection import Selection
from model_gallery.controller import clock, kinds, room
from model_gallery.controller.follow import Follower
from model_gallery.controller.index import IndexStore
from model_gallery.controller.inventory import Inventories, Inventory
from model_gallery.controller.pauses import Pauses
from model_gallery.errors import GalleryError
from model_gallery.protocol import report
from model_gallery.reconcile import resolution, sizes, times, workers
from model_gallery.reconcile.gallery import claim_name_of
from model_gallery.reconcile.observed import (
    ClaimView,
    GalleryView,
    Meta,
    ObservedGallery,
    ObservedModel,
    OwnedModel,
    RoomView,
    ScanView,
    WorkerPhase,
    WorkerSettings,
    WorkerView,
)
from model_gallery.reconcile.resolution import Catalogue
from model_gallery.reconcile.serving import PodView
from model_gallery.runtime.cache import Cache
from model_gallery.runtime.workqueue import Key

__all__ = ["Observer", "loose_of"]

Body = dict[str, Any]
_Type = TypeVar("_Type", bound=BaseModel)
_MAX_WISH = 128


class Seen(Protocol):
    """What is known of the pods that serve: the monitor, or nobody where it is switched off."""

    def pods_for(
        self, place: str, names: Collection[str], shown: Collection[str]
    ) -> tuple[PodView, ...] | None:
        """Returns the pods of a Gallery that may matter to a Model.

        Args:
            place: namespace and name of the Gallery.
            names: all that pods may call the Model.
            shown: names of the pods that its status shows.

        Returns:
            Those that speak of it, that its status shows, and one that was not asked yet; where there
            are none of them, any other; empty where the Gallery has no pods; None while that is not
            known.
        """

    def backends(self, namespace: str, gallery: str) -> tuple[BackendStatus, ...] | None:
        """Returns them by backend; None while that is not known."""

    def unload_of(self, uid: str) -> UnloadStatus | None:
        """Returns the last wish to unload a Model; None: none since the operator started."""


@dataclass(slots=True)
class Observer:
    """Puts together what is known of an object.

    Attributes:
        serving: what the monitor knows.
        reserved: uids of Models whose worker is being created at this moment, by Gallery; they
            count against its limit although their Job is not in the cache yet.
        ending: namespaces of which the API server said that they are being deleted.
    """

    cache: Cache
    indexes: IndexStore
    follower: Follower
    settings: WorkerSettings
    inventories: Inventories
    serving: Seen
    pauses: Pauses = field(default_factory=Pauses)
    reserved: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    ending: set[str] = field(default_factory=set)
    _requests: dict[str, tuple[object, InstallRequest | GalleryError]] = field(default_factory=dict)

    def model(self, key: Key) -> ObservedModel | None:
        """Returns the Model of the key and its surroundings; None where it is gone."""
        body = self.cache.get(kinds.MODEL, key.namespace, key.name)
        if body is None:
            return None
        meta = _meta(body)
        spec, spec_error = _parsed(ModelSpec, body.get("spec"))
        status, _ = _parsed(ModelStatus, body.get("status") or {})
        status = status or ModelStatus()
        gallery = self._gallery(key.namespace, spec.gallery_name, key.name) if spec else None
        claim_name = gallery.claim_name if gallery else ""
        if status.storage is not None and (gallery is None or meta.deleting is not None):
            claim_name = status.storage.claim_name
        progress = self.follower.progress(meta.uid)
        request = self._request(meta, spec, gallery)
        hosts = request.hosts if isinstance(request, InstallRequest) else ()
        known_as = frozenset(kinds.known_as(body))
        return ObservedModel(
            meta=meta,
            spec=spec,
            status=status,
            settings=self.settings,
            spec_error=spec_error,
            gallery=gallery,
            request=request,
            claim=self._claim(key.namespace, claim_name),
            missing_source=self._missing_source(key.namespace, request),
            workers=self._workers(meta.uid),
            strays=self._strays(meta.uid),
            rival=self._rival(body, spec),
            busy_workers=self._busy(key.namespace, gallery, meta.uid),
            busy_readers=self._readers(key.namespace, gallery, meta.uid),
            scan=self._scan(key.namespace, gallery, meta.uid),
            room=self._room(key.namespace, spec) if spec else None,
            room_made=self.inventories.room_made(key.namespace, gallery.name) if gallery else None,
            pods=self._pods(key, spec, status, known_as) if spec else None,
            known_as=known_as,
            unload=self.serving.unload_of(meta.uid),
            progress=progress,
            host_paused_until=self.pauses.until(key.namespace, hosts, clock.now()),
            namespace_ending=key.namespace in self.ending,
        )

    def gallery(self, key: Key) -> ObservedGallery | None:
        """Returns the Gallery of the key and its surroundings; None where it is gone."""
        body = self.cache.get(kinds.GALLERY, key.namespace, key.name)
        if body is None:
            return None
        spec, spec_error = _parsed(GallerySpec, body.get("spec"))
        status, _ = _parsed(GalleryStatus, body.get("status") or {})
        meta = _meta(body)
        claim_name = claim_name_of(key.name, spec) if spec else ""
        models = self.cache.by_index(kinds.MODEL, "gallery", f"{key.namespace}/{key.name}")
        found = self.inventories.get(key.namespace, key.name)
        catalogue = self.indexes.catalogue(key.namespace, key.name)
        owned = tuple(_owned(model) for model in models if meta.uid in model["metadata"]["owners"])
        there = set(catalogue.index.names()) if catalogue else set()
        return ObservedGallery(
            meta=meta,
            spec=spec,
            status=status or GalleryStatus(),
            index=self.indexes.view(meta, spec),
            spec_error=spec_error,
            claim=self._claim(key.namespace, claim_name),
            settings=self.settings,
            scans=self._scans(meta),
            changed=self.inventories.changed(key.namespace, key.name),
            models=tuple(map(self.configured, models)),
            loose=loose_of(found),
            living=self._living(key, claim_name),
            selection=self._selection(spec, catalogue),
            owned=owned,
            foreign_entries=frozenset(
                _entry_of(model) for model in models if meta.uid not in model["metadata"]["owners"]
            ),
            vanished_entries=frozenset(model.entry for model in owned) - there,
            backends=self.serving.backends(key.namespace, key.name),
        )

    def _pods(
        self, key: Key, spec: ModelSpec, status: ModelStatus, known_as: frozenset[str]
    ) -> tuple[PodView, ...] | None:
        identity = f"{key.namespace}/{key.name}"
        shown = [pod.name for pod in status.serving.pods] if status.serving else []
        place = f"{key.namespace}/{spec.gallery_name}"
        return self.serving.pods_for(place, known_as | {identity}, shown)

    def _living(self, key: Key, claim_name: str) -> tuple[str, ...]:
        """Returns the uids of all Models on the claim: another Gallery may share it."""
        place = f"{key.namespace}/{claim_name}"
        sharing = {
            gallery["metadata"]["name"]
            for gallery in self.cache.by_index(kinds.GALLERY, "claim", place)
        }
        living = set(self.cache.uids_by_index(kinds.MODEL, "claim", place))
        for name in sharing | {key.name}:
            living |= self.cache.uids_by_index(kinds.MODEL, "gallery", f"{key.namespace}/{name}")
        return tuple(sorted(living))

    def configured(self, body: Body) -> Configured:
        """Returns a Model as listings see it."""
        status = body.get("status") or {}
        known = self._requests.get(body["metadata"]["uid"])
        request = known[1] if known and isinstance(known[1], InstallRequest) else None
        return Configured(
            name=str(status.get("servedName") or kinds.install_name(body)),
            weights=request.weights if request else "",
            backend=request.backend if request else "",
            tags=request.tags if request else (),
            use_cases=request.use_cases if request else (),
            ready=_is_ready(body),
            size_bytes=status.get("sizeBytes"),
        )

    def _selection(self, spec: GallerySpec | None, catalogue: Catalogue | None) -> Selection | None:
        if spec is None or catalogue is None:
            return None
        try:
            return selection.select(spec.install, catalogue.index)
        except GalleryError:
            # The schema refuses such an expression; an object from before it keeps what it has.
            return None

    def _scans(self, meta: Meta) -> tuple[WorkerView, ...]:
        place = f"{meta.namespace}/{meta.name}"
        pods = self.cache.by_index(kinds.POD, "scan", place)
        return tuple(_worker(job, pods) for job in self.cache.by_index(kinds.JOB, "scan", place))

    def forget(self, uid: str) -> None:
        """Drops what was remembered of a Model that is gone."""
        self._requests.pop(uid, None)

    def _gallery(self, namespace: str, name: str, model: str) -> GalleryView | None:
        body = self.cache.get(kinds.GALLERY, namespace, name)
        if body is None or body["metadata"].get("deletionTimestamp"):
            return None
        spec, _ = _parsed(GallerySpec, body.get("spec"))
        if spec is None:
            return None
        limited = bool(spec.storage.max_bytes)
        taken, unmeasured = self._taken(namespace, name, but=model) if limited else (0, "")
        return GalleryView(
            name=name,
            claim_name=claim_name_of(name, spec),
            spec=spec,
            index_digest=self.indexes.digest(namespace, name),
            models_bytes=taken,
            unmeasured=unmeasured,
        )

    def _request(
        self, meta: Meta, spec: ModelSpec | None, gallery: GalleryView | None
    ) -> InstallRequest | GalleryError | None:
        """Resolves once for each generation of the Model and each state of the index."""
        if spec is None or gallery is None:
            return None
        catalogue = self.indexes.catalogue(meta.namespace, gallery.name)
        version = (meta.generation, id(catalogue), gallery.spec.rewrites)
        known = self._requests.get(meta.uid)
        if known is not None and known[0] == version:
            return known[1]
        found: InstallRequest | GalleryError
        try:
            found = resolution.resolve(spec, meta.name, catalogue, gallery.spec.rewrites)
        except GalleryError as error:
            found = error
        self._requests[meta.uid] = (version, found)
        return found

    def _missing_source(self, namespace: str, request: InstallRequest | GalleryError | None) -> str:
        name = workers.source_claim(request) if isinstance(request, InstallRequest) else ""
        return name if name and self._claim(namespace, name) is None else ""

    def _claim(self, namespace: str, name: str) -> ClaimView | None:
        body = self.cache.get(kinds.CLAIM, namespace, name) if name else None
        if body is None:
            return None
        metadata = body["metadata"]
        return ClaimView(
            name=metadata["name"],
            uid=metadata["uid"],
            phase=body["phase"],
            deleting="deletionTimestamp" in metadata,
            capacity_bytes=sizes.from_quantity(body["capacity"]),
        )

    def _workers(self, uid: str) -> tuple[WorkerView, ...]:
        pods = self.cache.by_index(kinds.POD, "model-uid", uid)
        jobs = self.cache.by_index(kinds.JOB, "model-uid", uid)
        return tuple(_worker(job, pods) for job in jobs)

    def _strays(self, uid: str) -> tuple[str, ...]:
        known = {job["metadata"]["uid"] for job in self.cache.by_index(kinds.JOB, "model-uid", uid)}
        return tuple(
            sorted(
                pod["metadata"]["name"]
                for pod in self.cache.by_index(kinds.POD, "model-uid", uid)
                if pod["phase"] not in _ENDED and known.isdisjoint(pod["metadata"]["owners"])
            )
        )

    def _rival(self, body: Body, spec: ModelSpec | None) -> str:
        """Returns the oldest other Model of the Gallery with the same name, if it is older."""
        if spec is None:
            return ""
        namespace = body["metadata"]["namespace"]
        wanted = f"{namespace}/{spec.gallery_name}/{kinds.install_name(body)}"
        others = [
            other
            for other in self.cache.by_index(kinds.MODEL, "name", wanted)
            if other["metadata"]["uid"] != body["metadata"]["uid"]
            and not other["metadata"].get("deletionTimestamp")
        ]
        older = [other for other in others if _seniority(other) < _seniority(body)]
        return str(min(older, key=_seniority)["metadata"]["name"]) if older else ""

    def _busy(self, namespace: str, gallery: GalleryView | None, uid: str) -> int:
        if gallery is None:
            return 0
        running = self._active(namespace, gallery.name, _FETCHING)
        return len((running | self.reserved.get((namespace, gallery.name), set())) - {uid})

    def _active(self, namespace: str, gallery: str, operations: frozenset[str]) -> set[str]:
        """Returns the uids of the Models for which such workers run."""
        jobs = self.cache.by_index(kinds.JOB, "active", f"{namespace}/{gallery}")
        return {
            job["metadata"]["labels"].get(labels.LABEL_MODEL_UID, "")
            for job in jobs
            if job["metadata"]["labels"].get(labels.LABEL_OPERATION) in operations
        }

    def _readers(self, namespace: str, gallery: GalleryView | None, uid: str) -> int:
        if gallery is None:
            return 0
        reading = self._active(namespace, gallery.name, _READING)
        # Of a Job that is being created it is not known what for; waiting costs little.
        starting = self.reserved.get((namespace, gallery.name), set())
        return len((reading | starting) - {uid})

    def _scan(self, namespace: str, gallery: GalleryView | None, uid: str) -> ScanView | None:
        found = self.inventories.get(namespace, gallery.name) if gallery else None
        model = found.models.get(uid) if found else None
        if found is None or model is None:
            return None
        return ScanView(found.begun, model.problems, model.problems_total)

    def _room(self, namespace: str, spec: ModelSpec) -> RoomView | None:
        place = f"{namespace}/{spec.gallery_name}"
        starving = self.cache.by_index(kinds.MODEL, "starving", place) if spec.evictable else []
        return room.view(starving, self.cache.by_index(kinds.MODEL, "evictable", place))

    def _taken(self, namespace: str, gallery: str, *, but: str) -> tuple[int, str]:
        """Returns what the other Models of a Gallery take of its quota, and one that cannot say yet."""
        starting = self.reserved.get((namespace, gallery), set())
        total, unmeasured = 0, ""
        for model in self.cache.by_index(kinds.MODEL, "gallery", f"{namespace}/{gallery}"):
            metadata = model["metadata"]
            if metadata["name"] == but:
                continue
            status = model.get("status") or {}
            published = status.get("sizeBytes") or 0
            coming = None if metadata["uid"] in starting else self._coming(metadata["uid"], status)
            if coming is None:
                unmeasured = metadata["name"]
            total += max(published, coming or 0)
        return total, unmeasured

    def _coming(self, uid: str, status: Body) -> int | None:
        """Returns what a Model's worker plans to publish; 0 without one, None while it has not said.

        One that has succeeded counts too: the status may not show it yet. One that says nothing for
        long, since its pod cannot start, holds nobody else back.
        """
        coming = 0
        for job in self.cache.by_index(kinds.JOB, "model-uid", uid):
            metadata = job["metadata"]
            failed = any(condition["type"] == "Failed" for condition in job["ended"])
            if failed or metadata["labels"].get(labels.LABEL_OPERATION) not in _PUBLISHING:
                continue
            if job["ended"] and metadata["creationTimestamp"] <= _settled(status):
                continue
            pods = self.cache.by_index(kinds.POD, "job", metadata["uid"])
            plans = [self.follower.planned(pod["metadata"]["uid"]) for pod in pods]
            known = [plan for plan in plans if plan is not None]
            if not known and not job["ended"] and _age(job) < _MEASURING:
                return None
            coming = max([coming, *known])
        return coming


_MEASURING = timedelta(minutes=5)
_PUBLISHING = frozenset({"install", "fetch"})


def _settled(status: Body) -> str:
    """Returns when a Model's files were last published or taken away, as its status tells."""
    gone = (status.get("eviction") or {}).get("time") or ""
    return max(str(status.get("installedTime") or ""), str(gone))


def _age(job: Body) -> timedelta:
    return clock.now() - times.from_text(job["metadata"]["creationTimestamp"])


_FETCHING = frozenset({"install", "fetch", "repair", "ask", "plan"})
_READING = frozenset({"verify"})


def _meta(body: Body) -> Meta:
    metadata = body["metadata"]
    deleting = metadata.get("deletionTimestamp")
    annotations = metadata.get("annotations") or {}
    return Meta(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        created=times.from_text(metadata["creationTimestamp"]),
        deleting=times.from_text(deleting) if deleting else None,
        has_finalizer=labels.FINALIZER in (metadata.get("finalizers") or ()),
        # As much as the status holds of them: else a longer one would never count as handled.
        reconcile_at=annotations.get(labels.ANNOTATION_RECONCILE_AT, "")[:_MAX_WISH],
        verify_at=annotations.get(labels.ANNOTATION_VERIFY_AT, "")[:_MAX_WISH],
        collect_at=annotations.get(labels.ANNOTATION_COLLECT_AT, "")[:_MAX_WISH],
    )


def _parsed(type_: type[_Type], value: Any) -> tuple[_Type | None, str]:
    """Returns the typed value, or None and a sentence that names the field at fault."""
    try:
        return type_.model_validate(value), ""
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return None, f"the object does not fit the schema at {where or 'its root'}: {first['msg']}"


def _owned(body: Body) -> OwnedModel:
    metadata = body["metadata"]
    annotations = metadata.get("annotations") or {}
    return OwnedModel(
        name=metadata["name"],
        uid=metadata["uid"],
        entry=_entry_of(body),
        by=annotations.get(labels.ANNOTATION_INSTALLED_BY, ""),
        defaults=annotations.get(labels.ANNOTATION_DEFAULTS, ""),
        ready=_is_ready(body),
        deleting="deletionTimestamp" in metadata,
    )


def _entry_of(body: Body) -> str:
    source = (body.get("spec") or {}).get("source") or {}
    return str((source.get("entry") or {}).get("name", ""))


def _is_ready(body: Body) -> bool:
    conditions = (body.get("status") or {}).get("conditions") or []
    return any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions
    )


def loose_of(found: Inventory | None) -> tuple[Loose, ...] | None:
    """Returns the loose files of an inventory as listings see them; None without one."""
    if found is None:
        return None
    return tuple(Loose(file.path, file.size_bytes) for file in found.loose)


def _seniority(body: Body) -> tuple[str, str]:
    metadata = body["metadata"]
    return metadata["creationTimestamp"], metadata["name"]


def _worker(job: Body, pods: list[Body]) -> WorkerView:
    metadata = job["metadata"]
    ended = {condition["type"]: condition["message"] for condition in job["ended"]}
    own = [pod for pod in pods if metadata["uid"] in pod["metadata"]["owners"]]
    own.sort(key=lambda pod: pod["metadata"]["creationTimestamp"])
    terminated = [pod["state"]["terminated"] for pod in own if "terminated" in pod["state"]]
    newest: Mapping[str, Any] = terminated[-1] if terminated else {}
    line = report.parse_line(newest.get("message") or "")
    return WorkerView(
        name=metadata["name"],
        uid=metadata["uid"],
        operation=metadata["labels"].get(labels.LABEL_OPERATION, ""),
        plan_digest=(metadata.get("annotations") or {}).get(labels.ANNOTATION_PLAN_DIGEST, ""),
        shape=(metadata.get("annotations") or {}).get(labels.ANNOTATION_SHAPE, ""),
        phase=_phase(ended),
        created=times.from_text(metadata["creationTimestamp"]),
        deleting="deletionTimestamp" in metadata,
        result=line if isinstance(line, report.ResultLine) else None,
        exit_code=newest.get("exitCode"),
        killed_by=newest.get("reason", ""),
        waiting=_waiting(own[-1]) if own else "",
        preparing=_preparing(job, own),
        failure=ended.get("Failed", ""),
    )


def _phase(ended: Mapping[str, str]) -> WorkerPhase:
    if "Complete" in ended:
        return WorkerPhase.SUCCEEDED
    return WorkerPhase.FAILED if "Failed" in ended else WorkerPhase.ACTIVE


_ENDED = frozenset({"Succeeded", "Failed"})


def _preparing(job: Body, pods: list[Body]) -> tuple[str, datetime] | None:
    kind, body = ("pod", pods[-1]) if pods else ("job", job)
    # Between a pod that is gone and the next one the Job has none, and lacks nothing.
    if body["phase"] != "Pending" if pods else job["retried"]:
        return None
    metadata = body["metadata"]
    return f"{kind} {metadata['name']}", times.from_text(metadata["creationTimestamp"])


_USUAL_WAITS = frozenset({"ContainerCreating", "PodInitializing"})


def _waiting(pod: Body) -> str:
    if pod["unscheduled"]:
        return f"Unschedulable: {pod['unscheduled']}"[:512]
    waiting = pod["state"].get("waiting") or {}
    reason = waiting.get("reason", "")
    if not reason or reason in _USUAL_WAITS:
        return ""
    return f"{reason}: {waiting.get('message', '')}"[:512]
