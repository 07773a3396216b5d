"""Condition types and the one list of reasons.

A reason says why a condition has its status; conditions, events and the worker's exit codes share
this list (`protocol/exitcodes.py` maps the worker's part of it to codes and error classes).
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ConditionType", "Reason"]


class ConditionType(StrEnum):
    """Types in `status.conditions`. Each carries the generation that it speaks of."""

    READY = "Ready"
    """True: the wish and the files agree, verified, for observedGeneration. Always present."""

    RECONCILING = "Reconciling"
    """True: work is in progress or a retry is planned. Present only while True."""

    STALLED = "Stalled"
    """True: nothing will get better before a person changes something. Present only while True."""

    RESOLVED = "Resolved"
    """True: the source is found and its files are known. Always present on a Model."""

    VERIFIED = "Verified"
    """True: the published bytes had the promised digests. Unknown where no digest was promised."""

    STORAGE_READY = "StorageReady"
    """True: the claim exists and can be mounted. Always present."""

    UPDATE_AVAILABLE = "UpdateAvailable"
    """True: the source holds something newer than what is published. Present only while True."""

    IN_USE = "InUse"
    """True: running pods use the files, as far as they or their backends tell."""

    INDEX_READY = "IndexReady"
    """True: an index is loaded, though it may be the last good copy. Always present on a Gallery."""


class Reason(StrEnum):
    """Why a condition is as it is. CamelCase, stable: dashboards and alerts depend on them."""

    # Well-being and progress
    SUCCEEDED = "Succeeded"
    """The wish is fulfilled."""
    PROGRESSING = "Progressing"
    """Work is under way."""
    PROGRESSING_WITH_RETRY = "ProgressingWithRetry"
    """An attempt failed with an error that may pass; the next one is planned."""
    QUEUED = "Queued"
    """The gallery's `worker.maxConcurrent` is reached; the Model waits for a free place."""
    SUSPENDED = "Suspended"
    """`spec.suspend` is true; nothing is started until it is false."""
    PLANNED = "Planned"
    """`spec.mode` is Plan: `status.plan` says what an install would fetch; nothing was fetched."""
    UP_TO_DATE = "UpToDate"
    """The source holds what is published."""
    UPDATE_AVAILABLE = "UpdateAvailable"
    """The source holds something newer. `spec.updatePolicy.mode: Track` would take it."""
    IN_USE = "InUse"
    """Running pods use the files. The message names them."""
    UNLOAD_UNSUPPORTED = "UnloadUnsupported"
    """The backend cannot unload one model. Stop its pod, or let it sleep by its own settings."""
    NOT_IN_USE = "NotInUse"
    """No running pod is known to use the files."""
    DELETING = "Deleting"
    """The object is being deleted and its files are being removed."""
    FILES_DAMAGED = "FilesDamaged"
    """Published files are missing or hold other bytes than were published. They are being mended."""
    NO_CHECKSUM = "NoChecksum"
    """The source promised no digest; the digest of what came is recorded instead."""
    NOT_INSTALLED = "NotInstalled"
    """Nothing is published yet."""

    # Waiting for something else
    GALLERY_NOT_FOUND = "GalleryNotFound"
    """No Gallery of the name in `spec.galleryName` is in the namespace. Create it."""
    GALLERY_NOT_READY = "GalleryNotReady"
    """The Gallery has no index yet. See the Gallery's conditions."""
    CLAIM_NOT_FOUND = "ClaimNotFound"
    """The PersistentVolumeClaim does not exist. Create it, or use `storage.claimTemplate`."""
    CLAIM_PENDING = "ClaimPending"
    """The claim is not bound yet. `kubectl describe pvc` says why."""
    CLAIM_LOST = "ClaimLost"
    """The claim has lost its volume, or is being deleted."""
    WORKER_PENDING = "WorkerPending"
    """The worker pod cannot start (image, node, quota). The message quotes the cluster's reason."""
    PREVIOUS_WORKER = "PreviousWorker"
    """An older worker of the same Model has not ended yet; two never write at once."""

    # The cluster
    API_UNAVAILABLE = "ApiUnavailable"
    """The API server did not answer, failed, or asked to wait; tried again."""
    API_REFUSED = "ApiRefused"
    """The API server refused a write (quota, permission, admission). The message quotes it."""

    # Index
    INDEX_UNREACHABLE = "IndexUnreachable"
    """No source of the index answered; the last good copy is used where there is one."""
    INDEX_INVALID = "IndexInvalid"
    """What was fetched is no index; the last good copy is used where there is one."""
    LAST_GOOD_COPY = "LastGoodCopy"
    """The index in use is the copy kept from an earlier fetch."""

    # Entries and specs
    ENTRY_NOT_FOUND = "EntryNotFound"
    """The index has no entry of this name. Correct `spec.source.entry.name`."""
    ENTRY_INVALID = "EntryInvalid"
    """The entry cannot be installed as it is written. The message names the field."""
    ENTRY_UNSUPPORTED = "EntryUnsupported"
    """The entry needs something that this version does not do. The message names it."""
    BASE_CONFIG_UNAVAILABLE = "BaseConfigUnavailable"
    """The entry's `url` (its base configuration) could not be fetched."""
    INVALID_SPEC = "InvalidSpec"
    """The spec holds something that the schema could not refuse. The message names the field."""
    NAME_CONFLICT = "NameConflict"
    """An older Model of the same Gallery has the same served name. Change one of them."""

    # Worker: the source
    UNREACHABLE = "Unreachable"
    """DNS, connect or TLS handshake failed."""
    SERVER_ERROR = "ServerError"
    """The server answered 5xx or 408."""
    RATE_LIMITED = "RateLimited"
    """The server asked to wait (429, 403 or 503 that say how long)."""
    INTERRUPTED = "Interrupted"
    """The transfer broke off or stalled; what came is kept."""
    TERMINATED = "Terminated"
    """The worker was told to stop (eviction, drain, deletion)."""
    NOT_FOUND = "NotFound"
    """The server has no such file (404, 410). Correct the URI."""
    UNAUTHORIZED = "Unauthorized"
    """The server refuses access (401, 403)."""
    SECRET_NOT_ALLOWED = "SecretNotAllowed"  # noqa: S105 - a reason
    """The Secret of `spec.credentials` is missing, unusable, or does not allow this host."""
    SOURCE_INVALID = "SourceInvalid"
    """What the source says of itself (manifest, listing, digest) cannot be used."""
    TARGET_NOT_ALLOWED = "TargetNotAllowed"
    """The URL or an address behind it is outside of what the administrator allows."""
    CERTIFICATE_INVALID = "CertificateInvalid"
    """The server's TLS certificate does not hold."""
    TOO_MANY_REDIRECTS = "TooManyRedirects"
    """More than five redirects."""
    CHECKSUM_MISMATCH = "ChecksumMismatch"
    """The bytes have another sha256 than promised, twice from zero."""
    SIZE_MISMATCH = "SizeMismatch"
    """The bytes have another length than promised, twice from zero."""
    INVALID_FORMAT = "InvalidFormat"
    """The content is not what the name says (an HTML page, a git-LFS pointer)."""
    UNSAFE_FORMAT = "UnsafeFormat"
    """`policy.formats` of Gallery or Model is Safe and a file can carry code. The message names it."""
    SOURCE_CHANGED = "SourceChanged"
    """The file changed upstream during the transfer; it is resolved again."""

    # Worker: the volume
    UNSAFE_PATH = "UnsafePath"
    """A path leaves the volume's root or meets a link. Nothing was written."""
    NO_SPACE = "NoSpace"
    """The volume lacks bytes or inodes. The message says how many."""
    READ_ONLY_VOLUME = "ReadOnlyVolume"
    """The volume cannot be written (read-only, or permission denied)."""
    VOLUME_IO_ERROR = "VolumeIOError"
    """The volume failed (EIO, ESTALE)."""
    EVICTED = "Evicted"
    """The files made room for another Model; `spec.evictable` allowed it. The message says how to go on."""
    QUOTA_EXCEEDED = "QuotaExceeded"
    """The Gallery's `storage.maxBytes` would be exceeded. The message says by how much."""
    CHECKSUM_REQUIRED = "ChecksumRequired"
    """`policy.checksums` of Gallery or Model is Required and the source promises no sha256 for a file."""
    SIGNATURE_MISSING = "SignatureMissing"
    """The Gallery's `policy.signatures` is set and the source holds no `model.sig` at its root."""
    SIGNATURE_INVALID = "SignatureInvalid"
    """Nobody whom `policy.signatures` names has signed what came. The message names file or flaw."""
    LICENSE_NOT_ALLOWED = "LicenseNotAllowed"
    """The entry's license is not in `policy.licenses` of Gallery or Model."""
    PATH_CONFLICT = "PathConflict"
    """Another Model publishes other content under the same path."""

    # Worker: itself
    OUT_OF_MEMORY = "OutOfMemory"
    """The worker was killed for memory. Raise `spec.worker.resources` of the Gallery."""
    WORKER_FAILED = "WorkerFailed"
    """The worker ended without a report."""
    INTERNAL_ERROR = "InternalError"
    """A bug of ours. The logs hold the traceback."""
