"""Model: one AI model whose files a Gallery's volume shall hold."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from model_gallery.api.v1alpha1.common import (
    ApiType,
    Condition,
    FreeForm,
    HostPattern,
    ObjectName,
    Time,
    Url,
    exactly_one,
    rules,
)
from model_gallery.api.v1alpha1.serving import ServingSpec, ServingStatus
from model_gallery.api.v1alpha1.signatures import Signatures

__all__ = [
    "Credentials",
    "Damage",
    "DeletionPolicy",
    "EntrySource",
    "Eviction",
    "FileProblem",
    "FileSource",
    "FileStatus",
    "GitHubSource",
    "HuggingFaceSource",
    "LastFailure",
    "Mode",
    "ModelFacts",
    "ModelPolicy",
    "ModelSource",
    "ModelSpec",
    "ModelStatus",
    "OnlyRequired",
    "OnlySafe",
    "PlanStatus",
    "PlannedFile",
    "Progress",
    "Resolved",
    "S3Source",
    "Staged",
    "StoragePlace",
    "UpdateAvailable",
    "UpdateMode",
    "UpdatePolicy",
    "VerifyPeriod",
]

MAX_FILES = 256
MAX_STATUS_FILES = 16

ServedName = Annotated[
    str,
    Field(
        max_length=128,
        json_schema_extra=rules(
            (
                "self == '' || self.matches('^[^/\\\\\\\\\\\\s][^/\\\\\\\\]*$') && !self.startsWith('.')",
                "must not contain slashes, nor begin with a dot or a space",
            ),
        ),
    ),
]


class DeletionPolicy(StrEnum):
    """What becomes of the published files when the Model is deleted."""

    DELETE = "Delete"
    RETAIN = "Retain"


class EntrySource(ApiType):
    """An entry of the Gallery's index."""

    name: str = Field(
        min_length=1, max_length=256, description="Name of the entry, exactly as the index has it."
    )
    overrides: FreeForm = Field(
        default_factory=dict,
        description="Merged over the entry's own overrides; maps merge deeply, this side wins.",
    )


class FileSource(ApiType):
    """One file by URI."""

    path: str = Field(
        min_length=1,
        max_length=1024,
        description="Where the file is published, relative to the volume's root.",
        json_schema_extra=rules(
            (
                (
                    "!self.startsWith('/') && !self.contains('..') && !self.contains('\\\\')"
                    " && !self.startsWith('.modelgallery')"
                ),
                "must be relative, without `..`, backslashes or the folder .modelgallery",
            ),
        ),
    )
    uri: Url = Field(
        description=(
            "http(s) URL, huggingface://owner/repo/path[@rev], github:org/repo/path, or file:///path for"
            " a loose file of the volume itself."
        )
    )
    sha256: str | None = Field(
        default=None,
        max_length=64,
        pattern=r"^[0-9a-f]{64}$",
        description="Expected sha256, 64 lower-case hex digits.",
    )


Pattern = Annotated[str, Field(min_length=1, max_length=256)]


class HuggingFaceSource(ApiType):
    """A repository of the Hub, published as a folder."""

    repo: str = Field(
        min_length=3,
        max_length=256,
        pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$",
        description="owner/repository.",
    )
    revision: str = Field(
        default="",
        max_length=128,
        pattern=r"^[A-Za-z0-9._~+-]*$",
        description="Branch, tag or commit; empty: main. What it was found to be stands in the status.",
    )
    include: tuple[Pattern, ...] = Field(
        default=(),
        max_length=64,
        description="Glob patterns of the files to take; empty: all but Python code.",
    )
    exclude: tuple[Pattern, ...] = Field(
        default=(), max_length=64, description="Glob patterns of files to leave out."
    )


class S3Source(ApiType):
    """An object, or all objects below a prefix, of an S3-compatible store."""

    endpoint: Url = Field(
        default="https://s3.us-east-1.amazonaws.com", description="URL of the store."
    )
    region: str = Field(
        default="us-east-1",
        max_length=64,
        pattern=r"^[a-z0-9-]+$",
        description="Region to sign for.",
    )
    bucket: str = Field(
        min_length=3,
        max_length=63,
        pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$",
        description="Name of the bucket.",
    )
    key: str = Field(
        default="",
        max_length=1024,
        description="Key of an object; a prefix where it ends in a slash; empty: the whole bucket.",
    )
    version_id: str = Field(
        default="", max_length=128, description="Version of the object; empty: the newest."
    )
    path_style: bool = Field(
        default=True, description="Whether the bucket is named in the path and not in the host."
    )
    include: tuple[Pattern, ...] = Field(
        default=(), max_length=64, description="Glob patterns of the files to take; empty: all."
    )
    exclude: tuple[Pattern, ...] = Field(
        default=(), max_length=64, description="Glob patterns of files to leave out."
    )


class GitHubSource(ApiType):
    """Files of a repository of GitHub, or the assets of one of its releases."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                (
                    "!has(self.release) || self.release == '' || ((!has(self.revision) ||"
                    " self.revision == '') && (!has(self.path) || self.path == ''))"
                ),
                "release cannot be set together with revision or path",
            )
        )
    )

    endpoint: Url = Field(
        default="https://github.com",
        description="URL of the GitHub: of another than github.com the API is asked at its /api/v3.",
    )
    repo: str = Field(
        min_length=3,
        max_length=256,
        pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$",
        description="owner/repository.",
    )
    path: str = Field(
        default="",
        max_length=1024,
        description="A file; a folder where it ends in a slash; empty: the whole repository.",
    )
    revision: str = Field(
        default="",
        max_length=255,
        pattern=r"^[A-Za-z0-9._+@/-]*$",
        description="Branch, tag or commit; empty: the default branch.",
    )
    release: str = Field(
        default="",
        max_length=255,
        pattern=r"^[A-Za-z0-9._+@/-]*$",
        description="Take the assets of the release with this tag instead, or of the `latest` one.",
    )
    include: tuple[Pattern, ...] = Field(
        default=(),
        max_length=64,
        description="Glob patterns of the files to take; empty: all but Python code and git's own.",
    )
    exclude: tuple[Pattern, ...] = Field(
        default=(), max_length=64, description="Glob patterns of files to leave out."
    )


class ModelSource(ApiType):
    """Where the model comes from."""

    model_config = ConfigDict(
        json_schema_extra=exactly_one("entry", "uri", "files", "huggingFace", "s3", "gitHub")
    )

    entry: EntrySource | None = Field(default=None, description="An entry of the Gallery's index.")
    uri: Url | None = Field(
        default=None,
        description=(
            "A single file (https, huggingface://owner/repo/path, github:, s3://, pvc://claim/path,"
            " file:///path), or a repository (huggingface://owner/repo, github://owner/repo, ollama://,"
            " oci://)."
        ),
    )
    hugging_face: HuggingFaceSource | None = Field(
        default=None, description="A repository of the Hub, published as the folder <servedName>/."
    )
    s3: S3Source | None = Field(default=None, description="Objects of an S3-compatible store.")
    git_hub: GitHubSource | None = Field(
        default=None, description="Files of a GitHub repository, or the assets of a release."
    )
    files: tuple[FileSource, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_FILES,
        description="Several files, each with its path.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["path"],
        },
    )


class Credentials(ApiType):
    """What a source asks for."""

    secret_name: ObjectName = Field(
        description=(
            "A Secret of the same namespace that opts in by its key allowed-hosts. Keys: token;"
            " username, password; .dockerconfigjson; accessKeyId, secretAccessKey, sessionToken."
        )
    )


class Mode(StrEnum):
    """What is done for a Model."""

    INSTALL = "Install"
    PLAN = "Plan"


class OnlyRequired(StrEnum):
    """What a Model can add to a Gallery's word on digests."""

    REQUIRED = "Required"


class OnlySafe(StrEnum):
    """What a Model can add to a Gallery's word on contents."""

    SAFE = "Safe"


class ModelPolicy(ApiType):
    """What this Model takes, beyond its Gallery's policy: of two words the stricter counts."""

    checksums: OnlyRequired | None = Field(
        default=None, description="Required refuses files for which nobody promises a digest."
    )
    formats: OnlySafe | None = Field(
        default=None, description="Safe refuses files that can carry code."
    )
    allowed_hosts: tuple[HostPattern, ...] = Field(
        default=(),
        max_length=64,
        description="Hosts that files may be asked from, .example.org for all below; empty: any.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    licenses: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = Field(
        default=(),
        max_length=64,
        description="Licenses, as entries name them, that may be installed; empty: any.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    signatures: Signatures | None = Field(
        default=None,
        description=(
            "Refuses models that nobody named here has signed; where the Gallery names signers, only those"
            " whom both name count."
        ),
    )


class UpdateMode(StrEnum):
    """What becomes of an upstream change."""

    PINNED = "Pinned"
    TRACK = "Track"


class UpdatePolicy(ApiType):
    """How upstream changes are met."""

    mode: UpdateMode = Field(
        default=UpdateMode.PINNED,
        description=(
            "Pinned keeps what was installed and shows a change in status.updateAvailable."
            " Track installs it: beside the old files, then all at once."
        ),
    )
    check_period_seconds: int = Field(
        default=86400,
        ge=0,
        le=31536000,
        description=(
            "How often a source other than an index entry is asked for changes; 0: never."
            " Entries are compared whenever their index changes."
        ),
        json_schema_extra=rules(("self == 0 || self >= 60", "must be 0 or at least 60")),
    )
    keep_seconds: int = Field(
        default=86400,
        ge=0,
        le=31536000,
        description=(
            "How long replaced files are kept, so that going back needs no download; they go earlier"
            " where an install lacks the room."
        ),
    )
    wait_seconds: int = Field(
        default=300,
        ge=0,
        le=1800,
        description=(
            "How long fetched files wait to replace those that pods have in memory; idle pods are asked to"
            " give the model back. 0: no wait. What a pod has opened stays as it was in any case."
        ),
    )


VerifyPeriod = Annotated[
    int,
    Field(
        ge=0,
        le=31536000,
        json_schema_extra=rules(("self == 0 || self >= 60", "must be 0 or at least 60")),
    ),
]


class ModelSpec(ApiType):
    """The wish."""

    gallery_name: ObjectName = Field(
        description="The Gallery in the same namespace whose volume and index are used.",
        json_schema_extra=rules(("self == oldSelf", "must not change; create another Model")),
    )
    served_name: ServedName = Field(
        default="",
        description=(
            "The name that backends know. Empty: the entry's name, else metadata.name."
            " Unique within a Gallery; the older Model wins."
        ),
    )
    source: ModelSource = Field(description="Where the model comes from.")
    config: FreeForm = Field(
        default_factory=dict,
        description="Backend configuration, merged over the entry's; written as <servedName>.yaml.",
    )
    credentials: Credentials | None = Field(
        default=None, description="Credentials for the source; only the worker reads the Secret."
    )
    mode: Mode = Field(
        default=Mode.INSTALL,
        description="Plan asks the source, shows the result in status.plan, and fetches nothing.",
    )
    update_policy: UpdatePolicy = Field(
        default_factory=UpdatePolicy, description="How upstream changes are met."
    )
    verify_period_seconds: VerifyPeriod = Field(
        default=86400,
        description="How often all published bytes are read and compared; 0: never by itself.",
    )
    serving: ServingSpec = Field(
        default_factory=ServingSpec, description="What backends shall do with it."
    )
    policy: ModelPolicy | None = Field(
        default=None, description="What it takes, beyond its Gallery's policy."
    )
    evictable: bool = Field(
        default=False,
        description=(
            "Whether its files may go, while no pod has them in memory, where another Model of the"
            " Gallery lacks room; the longest unused go first. They come back when asked for."
        ),
    )
    deletion_policy: DeletionPolicy = Field(
        default=DeletionPolicy.DELETE,
        description="Delete removes the published files with the Model; Retain leaves them.",
    )
    suspend: bool = Field(
        default=False,
        description=(
            "Stops a running transfer and starts nothing until false. Files stay. A Model that is"
            " made so is planned as with mode Plan: status.plan shows what it would bring."
        ),
    )


class Resolved(ApiType):
    """What the source was found to be."""

    revision: str = Field(
        default="",
        max_length=128,
        description="Immutable id: commit, manifest digest, version; for entries the index's digest.",
    )
    digest: str = Field(
        default="", max_length=128, description="sha256 over path and sha256 of all fetched files."
    )
    plan_digest: str = Field(
        default="", max_length=64, description="Digest of the plan that is published."
    )
    resolved_time: Time | None = Field(default=None, description="When it was published.")
    source_digest: str = Field(
        default="",
        max_length=64,
        description="Changes when the source holds something else.",
    )
    wish_digest: str = Field(
        default="",
        max_length=64,
        description="Digest of what the Model and its Gallery say, without what the index adds.",
    )


class FileStatus(ApiType):
    """One published file."""

    path: str = Field(max_length=1024, description="Path relative to the volume's root.")
    size_bytes: int = Field(ge=0, le=2**53, description="Length in bytes.")
    sha256: str = Field(max_length=64, description="sha256 of the bytes.")


class PlannedFile(ApiType):
    """One file of a plan."""

    path: str = Field(max_length=1024, description="Path relative to the volume's root.")
    size_bytes: int | None = Field(
        default=None, ge=0, le=2**53, description="Length in bytes; absent where unknown."
    )
    sha256: str = Field(default="", max_length=64, description="Promised sha256; empty: none.")


class Progress(ApiType):
    """A transfer under way."""

    completed_bytes: int = Field(ge=0, le=2**53, description="Bytes on the volume so far.")
    total_bytes: int | None = Field(
        default=None, ge=0, le=2**53, description="Bytes in all; absent while unknown."
    )
    percent: int | None = Field(
        default=None, ge=0, le=100, description="Whole percent; absent while the total is unknown."
    )
    bytes_per_second: int | None = Field(
        default=None, ge=0, le=2**53, description="Rate of the last seconds; absent while unknown."
    )
    eta_seconds: int | None = Field(
        default=None, ge=0, le=2**53, description="Time left at that rate; absent while unknown."
    )
    file: str = Field(default="", max_length=1024, description="A file in transfer.")
    updated_time: Time = Field(description="When these figures were taken.")


class StoragePlace(ApiType):
    """Where the files of this Model lie; remembered so that removal needs no Gallery."""

    claim_name: str = Field(max_length=253, description="The PersistentVolumeClaim.")
    claim_uid: str = Field(
        default="", max_length=64, description="Its uid: a claim made anew is another volume."
    )
    sub_path: str = Field(default="", max_length=1024, description="Folder on the claim.")


class Eviction(ApiType):
    """Why the files are not there although they were."""

    time: Time = Field(description="When it was decided, then when they had gone.")
    made_room_for: str = Field(max_length=253, description="The Model that lacked room.")
    generation: int = Field(ge=0, le=2**53, description="Of the spec: a change brings them back.")
    reconcile_at: str = Field(
        default="", max_length=128, description="Of the annotation: another value does, too."
    )


class Staged(ApiType):
    """What was fetched ahead, while pods have the present files in memory."""

    plan_digest: str = Field(max_length=64, description="The plan that it was fetched for.")
    time: Time = Field(description="Since when it waits to be published.")


class LastFailure(ApiType):
    """The last failed attempt for a plan."""

    plan_digest: str = Field(max_length=64, description="The plan that failed.")
    reason: str = Field(max_length=64, description="Why, a reason of the stable list.")
    message: str = Field(max_length=1024, description="A sentence for people.")
    failed_time: Time = Field(description="When it failed.")
    missing_bytes: int | None = Field(
        default=None,
        ge=0,
        le=2**60,
        description="Room that was missing; absent where that was not the reason or is not known.",
    )


class ModelFacts(ApiType):
    """What the headers of the weights say."""

    format: str = Field(max_length=32, description="GGUF or Safetensors.")
    architecture: str | None = Field(default=None, max_length=256, description="Such as llama.")
    quantisation: str | None = Field(default=None, max_length=64, description="Such as Q4_K_M.")
    parameters: int | None = Field(
        default=None, ge=0, le=2**53, description="Weights in all files of the set."
    )
    context_length: int | None = Field(default=None, ge=0, le=2**53, description="In tokens.")


class FileProblem(ApiType):
    """A published file that is not as it was published."""

    path: str = Field(max_length=1024, description="Path relative to the volume's root.")
    problem: str = Field(max_length=32, description="Missing, Damaged or Touched.")


class Damage(ApiType):
    """What a verification or scan found wrong; gone when it is mended."""

    problems: tuple[FileProblem, ...] = Field(
        default=(),
        max_length=MAX_STATUS_FILES,
        description="The first files.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    total: int = Field(ge=0, le=1000000, description="How many files.")
    found_time: Time = Field(description="When it was found.")
    message: str = Field(default="", max_length=1024, description="A sentence for people.")


class PlanStatus(ApiType):
    """What an install would do."""

    plan_digest: str = Field(max_length=64, description="Digest of the wish that was planned.")
    revision: str = Field(default="", max_length=128, description="Immutable id of the source.")
    files: tuple[PlannedFile, ...] = Field(
        default=(),
        max_length=MAX_STATUS_FILES,
        description="The first files, by path.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    files_total: int = Field(default=0, ge=0, le=1000000, description="How many files.")
    size_bytes: int = Field(default=0, ge=0, le=2**53, description="Bytes of files of known size.")
    fetch_bytes: int = Field(
        default=0, ge=0, le=2**53, description="Of these, what is not on the volume yet."
    )
    license: str = Field(default="", max_length=128, description="As the entry names it.")
    planned_time: Time = Field(description="When the source was asked.")


class UpdateAvailable(ApiType):
    """Something newer upstream."""

    revision: str = Field(
        default="", max_length=128, description="Its immutable id; of entries the index's digest."
    )
    found_time: Time = Field(description="When it was found.")


class ModelStatus(ApiType):
    """What the operator observed."""

    observed_generation: int = Field(
        default=-1, ge=-1, le=2**53, description="The generation that this status speaks of."
    )
    conditions: tuple[Condition, ...] = Field(
        default=(),
        max_length=16,
        description="Ready, Resolved, Verified, StorageReady; Reconciling or Stalled while True.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )
    served_name: str = Field(default="", max_length=256, description="The name that backends know.")
    size_text: str = Field(
        default="", max_length=32, description="The size for people, as kubectl get shows it."
    )
    resolved: Resolved | None = Field(
        default=None, description="What is published: index revision, digest, plan, time."
    )
    storage: StoragePlace | None = Field(default=None, description="Where the files lie.")
    size_bytes: int | None = Field(
        default=None, ge=0, le=2**53, description="Bytes of all published files."
    )
    files: tuple[FileStatus, ...] = Field(
        default=(),
        max_length=MAX_STATUS_FILES,
        description="The first published files, by path.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["path"],
        },
    )
    files_total: int | None = Field(
        default=None, ge=0, le=2**53, description="How many files are published."
    )
    model: ModelFacts | None = Field(
        default=None, description="What the headers of the weights say; absent without such."
    )
    progress: Progress | None = Field(default=None, description="A transfer under way.")
    attempts: int = Field(
        default=0, ge=0, le=1000000, description="Failed attempts in a row for the present plan."
    )
    next_retry_time: Time | None = Field(default=None, description="When the next attempt is due.")
    last_failure: LastFailure | None = Field(
        default=None, description="The last failed attempt; gone after a success."
    )
    installed_time: Time | None = Field(
        default=None, description="When the present files were published."
    )
    verified_time: Time | None = Field(
        default=None,
        description="When all fetched bytes last met promised digests; absent without promises.",
    )
    checked_time: Time | None = Field(
        default=None,
        description="When all published bytes were last read and found as they were published.",
    )
    asked_time: Time | None = Field(
        default=None, description="When the source was last asked for changes."
    )
    damage: Damage | None = Field(
        default=None, description="Files found missing or changed; gone when they are mended."
    )
    staged: Staged | None = Field(
        default=None,
        description="What was fetched and waits for pods that have the present files in memory.",
    )
    eviction: Eviction | None = Field(
        default=None, description="Why the files were taken away; gone when they are wished back."
    )
    plan: PlanStatus | None = Field(
        default=None, description="What an install would do; with spec.mode Plan."
    )
    update_available: UpdateAvailable | None = Field(
        default=None, description="Something newer upstream, of a pinned Model."
    )
    serving: ServingStatus | None = Field(
        default=None, description="How it is served; absent where no pod serves the Gallery."
    )
    last_handled_verify_at: str = Field(
        default="",
        max_length=128,
        description="The value of modelgallery.dev/verify-requested-at that was handled.",
    )
    last_handled_reconcile_at: str = Field(
        default="",
        max_length=128,
        description="The value of modelgallery.dev/reconcile-requested-at that was handled.",
    )
