"""All that a decision may look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from model_gallery.api.v1alpha1.gallery import (
    BackendStatus,
    GallerySpec,
    GalleryStatus,
    IndexStatus,
)
from model_gallery.api.v1alpha1.model import ModelSpec, ModelStatus
from model_gallery.api.v1alpha1.serving import UnloadStatus
from model_gallery.catalog.entry import InstallRequest
from model_gallery.catalog.listing import Configured, Loose
from model_gallery.catalog.selection import Selection
from model_gallery.errors import GalleryError
from model_gallery.protocol.operation import NetworkPolicy
from model_gallery.protocol.report import FileProblem, ProgressLine, ResultLine
from model_gallery.reconcile.serving import PodView

__all__ = [
    "Candidate",
    "ClaimView",
    "GalleryView",
    "IndexView",
    "Meta",
    "ObservedGallery",
    "ObservedModel",
    "OwnedModel",
    "RoomView",
    "ScanView",
    "Shortage",
    "WorkerPhase",
    "WorkerSettings",
    "WorkerView",
]


@dataclass(frozen=True, slots=True)
class Meta:
    """The metadata that decisions use.

    Attributes:
        deleting: when deletion was asked for; None while it was not.
        has_finalizer: whether our finalizer stands on the object.
        reconcile_at: value of the annotation that asks for a reconciliation; empty without.
        verify_at: of the one that asks for a verification.
        collect_at: of the one that asks for a collection of what nobody needs.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    created: datetime
    deleting: datetime | None = None
    has_finalizer: bool = False
    reconcile_at: str = ""
    verify_at: str = ""
    collect_at: str = ""


@dataclass(frozen=True, slots=True)
class ClaimView:
    """A PersistentVolumeClaim. Its uid tells a claim from its successor of the same name."""

    name: str
    uid: str
    phase: str
    deleting: bool = False
    capacity_bytes: int | None = None


class WorkerPhase(StrEnum):
    """Where a Job stands."""

    ACTIVE = "Active"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A Job of ours and what its newest ended pod told.

    Attributes:
        shape: digest of its image, resources and node selector; empty for one of an older version.
        result: the result line of the newest ended pod.
        exit_code: of that pod; None while no pod has ended.
        killed_by: the kubelet's word for how it ended (`OOMKilled`), else empty.
        waiting: why the running pod does not start (`ImagePullBackOff: ...`), else empty.
        preparing: what has no container yet, as kubectl names it (`pod a-b`), and since when; None where
            one runs or has ended.
        failure: the Job controller's own word on the failure.
    """

    name: str
    uid: str
    operation: str
    plan_digest: str
    phase: WorkerPhase
    created: datetime
    deleting: bool = False
    result: ResultLine | None = None
    exit_code: int | None = None
    killed_by: str = ""
    waiting: str = ""
    preparing: tuple[str, datetime] | None = None
    failure: str = ""
    shape: str = ""


@dataclass(frozen=True, slots=True)
class ScanView:
    """What the last scan of the volume told of one Model.

    Attributes:
        begun: when the scan began.
        problems: the first ones.
    """

    begun: datetime
    problems: tuple[FileProblem, ...] = ()
    problems_total: int = 0


@dataclass(frozen=True, slots=True)
class GalleryView:
    """What a Model needs of its Gallery.

    Attributes:
        models_bytes: what the other Models of the Gallery have published or are fetching, together;
            counted only where the Gallery has a quota.
        unmeasured: one of them that is being fetched and whose size is not known yet; empty: none.
    """

    name: str
    claim_name: str
    spec: GallerySpec
    index_digest: str = ""
    models_bytes: int = 0
    unmeasured: str = ""


@dataclass(frozen=True, slots=True)
class Shortage:
    """A Model that is stalled for lack of room.

    Attributes:
        missing_bytes: None where it does not know.
    """

    model: str
    failed: datetime
    missing_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A Model whose files may go, and that no pod has in memory.

    Attributes:
        last_used: when a pod was last seen to work with it, else when it was published.
    """

    name: str
    uid: str
    size_bytes: int
    last_used: datetime


@dataclass(frozen=True, slots=True)
class RoomView:
    """Who of a Gallery lacks room, and who could make some.

    Attributes:
        evicting: whether files of a Model are being taken away.
        evicted: when some had last gone; None: none have.
    """

    shortages: tuple[Shortage, ...]
    candidates: tuple[Candidate, ...]
    evicting: bool = False
    evicted: datetime | None = None


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How the administrator lets workers run; the same for all.

    Attributes:
        resources: default resource requirements of the worker container.
        network: what may be reached, and through which proxy.
    """

    image: str
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    run_as_user: int = 65532
    run_as_group: int = 65532
    resources: dict[str, dict[str, str]] = field(default_factory=dict)
    network: NetworkPolicy = field(default_factory=NetworkPolicy)


@dataclass(frozen=True, slots=True)
class ObservedModel:
    """A Model and its surroundings at one moment.

    Attributes:
        spec: None where the stored object does not fit the schema; `spec_error` says why.
        gallery: None where no Gallery of the name exists.
        request: what shall be on the volume, or the error that resolving it met; None without
            a Gallery.
        claim: None where the claim does not exist.
        missing_source: the claim that the source names, where that does not exist; else empty.
        workers: our Jobs for this Model's uid.
        strays: pods of such Jobs that are gone, as long as they have not ended: they may still write.
        rival: name of an older Model of the Gallery with the same name; empty without.
        busy_workers: workers of the Gallery that run for other Models.
        busy_readers: verifications that run for other Models of the Gallery.
        scan: what the last scan told; None where it did not see the Model.
        room: who lacks room; None where nobody does, or the Model is not evictable.
        room_made: when files of the Gallery were last removed; None: none since the operator started.
        pods: those that may serve the Gallery's models; None while that is not known.
        known_as: names by which they may know the Model.
        unload: the last wish to unload it; None: none since the operator started.
        host_paused_until: when a host of the source may be asked again, which told another Model of the
            namespace to wait; None: now.
        progress: the newest progress line of the running worker, and when it came.
        namespace_ending: the API server refused a child because the namespace is being deleted.
    """

    meta: Meta
    spec: ModelSpec | None
    status: ModelStatus
    settings: WorkerSettings
    spec_error: str = ""
    gallery: GalleryView | None = None
    request: InstallRequest | GalleryError | None = None
    claim: ClaimView | None = None
    missing_source: str = ""
    workers: tuple[WorkerView, ...] = ()
    strays: tuple[str, ...] = ()
    rival: str = ""
    busy_workers: int = 0
    busy_readers: int = 0
    scan: ScanView | None = None
    room: RoomView | None = None
    room_made: datetime | None = None
    pods: tuple[PodView, ...] | None = None
    known_as: frozenset[str] = frozenset()
    unload: UnloadStatus | None = None
    host_paused_until: datetime | None = None
    progress: tuple[ProgressLine, datetime] | None = None
    namespace_ending: bool = False

    @property
    def identity(self) -> str:
        """Namespace and name, as sidecars speak of a Model."""
        return f"{self.meta.namespace}/{self.meta.name}"

    def worker(self, name: str) -> WorkerView | None:
        """Returns the Job of a name."""
        return next((job for job in self.workers if job.name == name), None)


@dataclass(frozen=True, slots=True)
class IndexView:
    """What the operator knows of a Gallery's index.

    Attributes:
        status: the loaded index as the status shows it; None before the first load.
        fresh: whether the loaded index came from the wish of the present generation.
        loading: whether a fetch is under way.
        error: what the last fetch met; None after a success.
        due: when the next fetch is due; None: at once.
    """

    status: IndexStatus | None = None
    fresh: bool = False
    loading: bool = False
    error: GalleryError | None = None
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class OwnedModel:
    """A Model that its Gallery made.

    Attributes:
        entry: that it installs.
        by: the field that asked for it, `entries` or `matching`.
        defaults: digest of the defaults that it was made with; empty: none.
    """

    name: str
    uid: str
    entry: str
    by: str
    defaults: str = ""
    ready: bool = False
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class ObservedGallery:
    """A Gallery and its surroundings at one moment.

    Attributes:
        settings: how scans run; None where none shall.
        scans: our scan Jobs for this Gallery.
        changed: when a worker last ended that may have changed the volume; None: none did.
        models: its Models, for the listing.
        loose: files that no Model owns; None: not known since the operator started.
        living: uids of the Models on the volume.
        selection: entries to keep installed; None while the index is not loaded.
        owned: the Models that the Gallery made.
        foreign_entries: entries that Models install which the Gallery did not make.
        backends: who serves the models; None while that is not known.
        vanished_entries: entries of its own Models that the index no longer holds.
    """

    meta: Meta
    spec: GallerySpec | None
    status: GalleryStatus
    index: IndexView
    spec_error: str = ""
    claim: ClaimView | None = None
    settings: WorkerSettings | None = None
    scans: tuple[WorkerView, ...] = ()
    changed: datetime | None = None
    models: tuple[Configured, ...] = ()
    loose: tuple[Loose, ...] | None = None
    living: tuple[str, ...] = ()
    selection: Selection | None = None
    owned: tuple[OwnedModel, ...] = ()
    foreign_entries: frozenset[str] = frozenset()
    vanished_entries: frozenset[str] = frozenset()
    backends: tuple[BackendStatus, ...] | None = None
