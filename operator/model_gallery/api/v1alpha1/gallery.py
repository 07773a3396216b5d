"""Gallery: a catalogue of models, and the volume they live on."""

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
from model_gallery.api.v1alpha1.model import DeletionPolicy, UpdatePolicy, VerifyPeriod
from model_gallery.api.v1alpha1.serving import ServingSpec
from model_gallery.api.v1alpha1.signatures import Signatures

__all__ = [
    "MAX_STATUS_LISTED",
    "AccessMode",
    "Backend",
    "BackendStatus",
    "BackendType",
    "CaBundle",
    "Checksums",
    "ClaimTemplate",
    "ConfigMapIndex",
    "Formats",
    "GallerySpec",
    "GalleryStatus",
    "HttpIndex",
    "IndexProblem",
    "IndexSource",
    "IndexStatus",
    "Install",
    "InstallDefaults",
    "InstallStatus",
    "ListedModel",
    "Listing",
    "ListingStatus",
    "LooseFilePolicy",
    "Matching",
    "ModelKind",
    "Policy",
    "ProxyCredentials",
    "Rewrite",
    "Scheme",
    "Selector",
    "ServedFrom",
    "Storage",
    "StorageStatus",
    "Worker",
]

MAX_STATUS_PROBLEMS = 20
MAX_STATUS_LISTED = 100

Quantity = Annotated[
    str,
    Field(min_length=1, max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$"),
]


class CaBundle(ApiType):
    """Extra certificate authorities."""

    config_map_name: ObjectName = Field(
        description="A ConfigMap whose key ca.crt holds PEM certificates."
    )


class ProxyCredentials(ApiType):
    """What the administrator's proxy asks for."""

    secret_name: ObjectName = Field(
        description=(
            "A Secret of the same namespace with the keys username and password, which opts in by its"
            " key allowed-hosts: it must list the proxy's host."
        )
    )


class HttpIndex(ApiType):
    """An index behind http(s)."""

    url: Url = Field(description="URL of the index, or its github: form.")
    mirrors: tuple[Url, ...] = Field(
        default=(), max_length=8, description="Tried in order where the URL fails."
    )
    ca_bundle: CaBundle | None = Field(
        default=None, description="Extra certificate authorities for the index's hosts."
    )


class ConfigMapIndex(ApiType):
    """An index in a ConfigMap of the same namespace."""

    name: ObjectName = Field(description="Name of the ConfigMap.")
    key: str = Field(
        default="index.yaml", min_length=1, max_length=253, description="Key that holds the index."
    )


class IndexSource(ApiType):
    """Where the index comes from."""

    model_config = ConfigDict(json_schema_extra=exactly_one("http", "configMap"))

    http: HttpIndex | None = Field(default=None, description="An index behind http(s).")
    config_map: ConfigMapIndex | None = Field(default=None, description="An index in a ConfigMap.")
    refresh_period_seconds: int = Field(
        default=3600, ge=10, le=31536000, description="How often the index is asked for anew."
    )


class AccessMode(StrEnum):
    """Access modes that a model volume can have."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"
    READ_WRITE_ONCE_POD = "ReadWriteOncePod"


class ClaimTemplate(ApiType):
    """A claim that the operator creates, named <gallery>-models. It outlives the Gallery."""

    storage_class_name: ObjectName | None = Field(
        default=None, description="StorageClass; absent: the cluster's default."
    )
    access_mode: AccessMode = Field(
        default=AccessMode.READ_WRITE_ONCE, description="Access mode of the claim."
    )
    size: Quantity = Field(description="Requested capacity, for example 100Gi.")


class Storage(ApiType):
    """The volume that holds the models."""

    model_config = ConfigDict(json_schema_extra=exactly_one("claimName", "claimTemplate"))

    claim_name: ObjectName | None = Field(
        default=None,
        description="An existing PersistentVolumeClaim in the same namespace.",
        json_schema_extra=rules(("self == oldSelf", "must not change; create another Gallery")),
    )
    claim_template: ClaimTemplate | None = Field(
        default=None,
        description=(
            "A claim that the operator creates. Read when it does so; a change afterwards does nothing:"
            " enlarge the claim itself."
        ),
    )
    max_bytes: Quantity | None = Field(
        default=None,
        description="Most that the Gallery's Models may take together, such as 500Gi; absent: no limit.",
    )
    sub_path: str = Field(
        default="",
        max_length=1024,
        description="Folder on the claim to use as root; empty: the claim's root.",
        json_schema_extra=rules(
            ("!self.startsWith('/') && !self.contains('..')", "must be relative, without `..`"),
            ("self == oldSelf", "must not change"),
        ),
    )


class Rewrite(ApiType):
    """A mirror: URLs that begin with the prefix are fetched from the replacement instead."""

    prefix: str = Field(min_length=1, max_length=2048, description="What the URL begins with.")
    replacement: Url = Field(description="What takes the prefix's place.")


class Formats(StrEnum):
    """Which contents may be published."""

    SAFE = "Safe"
    ANY = "Any"


class Checksums(StrEnum):
    """Whether a file must come with a promised digest."""

    WHEN_AVAILABLE = "WhenAvailable"
    REQUIRED = "Required"


class Policy(ApiType):
    """What the Gallery takes. A Model cannot widen it."""

    checksums: Checksums = Field(
        default=Checksums.WHEN_AVAILABLE,
        description=(
            "Required refuses files for which neither the index, the Model nor the source promises"
            " a digest."
        ),
    )
    allowed_hosts: tuple[HostPattern, ...] = Field(
        default=(),
        max_length=64,
        description=(
            "Hosts that model files may be asked from, .example.org for all below; empty: any."
            " Where a host redirects to is not limited by it: the digest is what counts."
        ),
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
            "Refuses models without a model.sig (OpenSSF model signing) of somebody who is named here, and"
            " that covers each file; absent: none is asked for."
        ),
    )
    formats: Formats = Field(
        default=Formats.SAFE,
        description=(
            "Safe refuses files that can carry code (pickles, archives, programs) and broken headers,"
            " by their content. Any takes everything."
        ),
    )


class LooseFilePolicy(StrEnum):
    """Which files that no Model owns a listing shows, as LocalAI has it."""

    LOOSE_ONLY = "LooseOnly"
    """Loose files only."""
    SKIP_IF_CONFIGURED = "SkipIfConfigured"
    """Models, and loose files that no listed Model uses as its weights."""
    SKIP_ALWAYS = "SkipAlways"
    """Models only."""
    ALWAYS_INCLUDE = "AlwaysInclude"
    """Models and all loose files."""


_IS_EXPRESSION = rules(
    (
        "self == '' || 'a'.matches(self) || !('a'.matches(self))",
        "must be a regular expression in RE2's syntax",
    ),
)


class Listing(ApiType):
    """What `status.listing` shows."""

    name_regex: str = Field(
        default="",
        max_length=256,
        description="RE2 expression that a name must match somewhere; empty: all.",
        json_schema_extra=_IS_EXPRESSION,
    )
    tags: tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] = Field(
        default=(),
        max_length=16,
        description="Tags that the Model's entry must all have. Loose files have none.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    backend: str = Field(
        default="", max_length=128, description="Backend that the Model must name; empty: any."
    )
    use_case: str = Field(
        default="",
        max_length=64,
        description="Use case that the Model's configuration must know, such as chat; empty: any.",
    )
    loose_file_policy: LooseFilePolicy = Field(
        default=LooseFilePolicy.SKIP_IF_CONFIGURED,
        description="Which files that no Model owns are shown.",
    )
    scan_period_seconds: int = Field(
        default=900,
        ge=30,
        le=31536000,
        description="How often the volume is looked at; it is also after each change.",
    )


class Worker(ApiType):
    """How workers run."""

    max_concurrent: int = Field(
        default=2, ge=1, le=100, description="Workers of this Gallery at the same time."
    )
    bandwidth_limit: Quantity | None = Field(
        default=None,
        description="Most bytes per second of each worker, such as 500Mi; absent: none.",
    )
    verify_bandwidth_limit: Quantity | None = Field(
        default="200Mi",
        description="Most bytes per second that a verification reads; 0: no limit.",
    )
    resources: FreeForm = Field(
        default_factory=dict,
        description="Resource requirements of the worker container, merged over the defaults.",
    )
    node_selector: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default_factory=dict, max_length=16, description="Node labels that workers need."
    )


class BackendType(StrEnum):
    """Kinds of serving backends that can be asked."""

    AUTO = "Auto"
    LOCALAI = "LocalAI"
    LOCALAI_BACKEND = "LocalAIBackend"
    LLAMA_CPP = "LlamaCpp"
    OLLAMA = "Ollama"
    VLLM = "VLLM"
    SGLANG = "SGLang"
    TGI = "TGI"
    TEI = "TEI"
    KSERVE_V2 = "KServeV2"
    OPENAI = "OpenAI"


class Matching(ApiType):
    """Entries by what they say of themselves. All that is given must fit."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                (
                    "has(self.tags) && size(self.tags) > 0"
                    " || has(self.backend) && self.backend != ''"
                    " || has(self.nameRegex) && self.nameRegex != ''"
                ),
                "must name tags, a backend or a nameRegex: it would match the whole index",
            ),
        )
    )

    tags: tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] = Field(
        default=(),
        max_length=16,
        description="Tags that an entry must all have.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    backend: str = Field(default="", max_length=128, description="Backend that an entry names.")
    name_regex: str = Field(
        default="",
        max_length=256,
        description="RE2 expression that an entry's whole name must match.",
        json_schema_extra=_IS_EXPRESSION,
    )


class InstallDefaults(ApiType):
    """Fields of the Models that a Gallery makes, as their own spec has them."""

    update_policy: UpdatePolicy | None = Field(
        default=None, description="How upstream changes are met."
    )
    verify_period_seconds: VerifyPeriod | None = Field(
        default=None, description="How often all published bytes are read and compared."
    )
    serving: ServingSpec | None = Field(
        default=None, description="What backends shall do with them."
    )
    evictable: bool | None = Field(
        default=None, description="Whether their files may go where another Model lacks room."
    )
    deletion_policy: DeletionPolicy | None = Field(
        default=None, description="What becomes of their files when they go."
    )


class Install(ApiType):
    """Entries that the Gallery itself keeps installed, as Models that it owns."""

    entries: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field(
        default=(),
        max_length=512,
        description="Names of entries.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    matching: Matching | None = Field(default=None, description="Further entries, by selection.")
    max_models: int = Field(
        default=100, ge=1, le=2000, description="Most Models that the Gallery makes by selection."
    )
    defaults: InstallDefaults | None = Field(
        default=None,
        description="What these Models have in their spec beside the entry; changes reach them all.",
    )


class Scheme(StrEnum):
    """How a backend is asked."""

    HTTP = "HTTP"
    HTTPS = "HTTPS"


class Selector(ApiType):
    """Pods by their labels."""

    match_labels: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        min_length=1, max_length=16, description="Labels that a pod must all have."
    )


class Backend(ApiType):
    """Pods that serve models. Those that mount the Gallery's claim are found without being named."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(self.type == 'LocalAIBackend') == (has(self.model) && self.model != '')",
                "model must be set for LocalAIBackend, which does not tell it, and for no other type",
            ),
            (
                "self.type != 'LocalAIBackend' || self.scheme == 'HTTP'",
                "LocalAIBackend is asked without TLS; leave scheme at HTTP",
            ),
        )
    )

    name: str = Field(
        min_length=1,
        max_length=63,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        description="Name, unique in the Gallery.",
    )
    selector: Selector = Field(description="The pods.")
    type: BackendType = Field(
        default=BackendType.AUTO,
        description="What they run; Auto asks harmless questions until it is known.",
    )
    model: str = Field(
        default="",
        max_length=256,
        description="The model that these pods serve, by its served name; for LocalAIBackend only.",
    )
    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port of the API; absent: the first TCP port that the pod declares.",
    )
    scheme: Scheme = Field(
        default=Scheme.HTTP, description="With HTTPS the certificate is not judged: it is a pod's."
    )
    probe_period_seconds: int = Field(
        default=15, ge=2, le=3600, description="How often each pod is asked."
    )
    max_loaded: int = Field(
        default=0,
        ge=0,
        le=10000,
        description="Models that a pod may hold; of more, the longest unused go. 0: no limit.",
    )
    max_memory: Quantity | None = Field(
        default=None,
        description="Memory of a pod above which the longest unused models go; absent: no limit.",
    )


class GallerySpec(ApiType):
    """The wish."""

    index: IndexSource = Field(description="Where the index of models comes from.")
    storage: Storage = Field(
        description="The volume that holds the models.",
        json_schema_extra=rules(
            (
                "has(self.claimName) == has(oldSelf.claimName)",
                "must not change between claimName and claimTemplate; create another Gallery",
            ),
        ),
    )
    rewrites: tuple[Rewrite, ...] = Field(
        default=(),
        max_length=32,
        description="Mirrors for base configurations and model files; the first match counts.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    ca_bundle: CaBundle | None = Field(
        default=None, description="Extra certificate authorities for the hosts of model files."
    )
    proxy_credentials: ProxyCredentials | None = Field(
        default=None,
        description="What workers tell the proxy that the administrator set; nobody else is told.",
    )
    policy: Policy = Field(default_factory=Policy, description="What the Gallery takes.")
    listing: Listing = Field(default_factory=Listing, description="What status.listing shows.")
    install: Install = Field(
        default_factory=Install,
        description=(
            "Entries kept installed. A Model that is no longer named is removed with its files; one"
            " whose entry vanished from the index stays."
        ),
    )
    backends: tuple[Backend, ...] = Field(
        default=(),
        max_length=32,
        description="Pods that serve the Gallery's models, beyond those that mount its claim.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )
    worker: Worker = Field(default_factory=Worker, description="How workers run.")
    suspend: bool = Field(
        default=False,
        description="Stops refreshing the index and starting workers until false. Files stay.",
    )


class IndexProblem(ApiType):
    """An entry that cannot be installed."""

    entry: str = Field(max_length=256, description="Name of the entry, or its place in the index.")
    reason: str = Field(max_length=64, description="Why, a reason of the stable list.")
    message: str = Field(max_length=512, description="A sentence for people.")


class ServedFrom(StrEnum):
    """Where the index in use came from."""

    SOURCE = "Source"
    MIRROR = "Mirror"
    LAST_GOOD_COPY = "LastGoodCopy"


class IndexStatus(ApiType):
    """The index in use."""

    digest: str = Field(max_length=64, description="sha256 of the index.")
    entries: int = Field(ge=0, le=1000000, description="Entries that the index holds.")
    fetched_time: Time = Field(description="When this content was first fetched.")
    served_from: ServedFrom = Field(description="Where it came from.")
    problems: tuple[IndexProblem, ...] = Field(
        default=(),
        max_length=MAX_STATUS_PROBLEMS,
        description="The first entries that cannot be installed, each with its reason.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    problems_total: int = Field(
        default=0, ge=0, le=1000000, description="How many entries cannot be installed."
    )


class StorageStatus(ApiType):
    """The volume in use."""

    claim_name: str = Field(max_length=253, description="The PersistentVolumeClaim.")
    capacity_bytes: int | None = Field(
        default=None, ge=0, le=2**60, description="Capacity that the claim reports."
    )
    available_bytes: int | None = Field(
        default=None, ge=0, le=2**60, description="What may still be written, at the last scan."
    )
    managed_bytes: int | None = Field(
        default=None,
        ge=0,
        le=2**60,
        description="In files of Models, at the last scan; what several share counts once.",
    )
    loose_bytes: int | None = Field(
        default=None, ge=0, le=2**60, description="In files that no Model owns, at the last scan."
    )
    reclaimable_bytes: int | None = Field(
        default=None,
        ge=0,
        le=2**60,
        description="In unfinished and replaced files of ours that nobody needs, at the last scan.",
    )
    damaged_models: int | None = Field(
        default=None, ge=0, le=1000000, description="Models with missing or changed files."
    )
    cut: bool = Field(
        default=False, description="Whether the volume holds more files than a scan looks at."
    )
    scanned_time: Time | None = Field(default=None, description="When the volume was looked at.")
    scan_message: str = Field(
        default="", max_length=512, description="Why the last scan failed; empty after a success."
    )


class ModelKind(StrEnum):
    """What stands behind a name in a listing."""

    CONFIGURED = "Configured"
    LOOSE = "Loose"


class ListedModel(ApiType):
    """One name of the listing."""

    name: str = Field(max_length=1024, description="Served name, or path of a loose file.")
    kind: ModelKind = Field(description="A Model, or a loose file.")
    ready: bool = Field(default=False, description="Whether its files are published and whole.")
    size_bytes: int | None = Field(default=None, ge=0, le=2**60, description="Size of its files.")


class ListingStatus(ApiType):
    """What the Gallery offers, capped; `GET /v1/models` of the operator has all of it."""

    configured: int = Field(ge=0, le=1000000, description="Models that the filter lets through.")
    loose: int = Field(ge=0, le=1000000, description="Loose files that filter and policy show.")
    total: int = Field(ge=0, le=2000000, description="Both.")
    models: tuple[ListedModel, ...] = Field(
        default=(),
        max_length=MAX_STATUS_LISTED,
        description="The first names, sorted.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    omitted: int = Field(
        default=0, ge=0, le=2000000, description="How many names are not shown here."
    )


class InstallStatus(ApiType):
    """The entries that the Gallery keeps installed."""

    wanted: int = Field(ge=0, le=100000, description="Entries named or selected.")
    ready: int = Field(ge=0, le=100000, description="Of these, how many are Ready.")
    missing: tuple[Annotated[str, Field(max_length=256)], ...] = Field(
        default=(),
        max_length=16,
        description="Entries named that the index does not hold; the first ones.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class BackendStatus(ApiType):
    """The pods of one backend."""

    name: str = Field(
        max_length=63, description="As in the spec; `mounted` for pods that only mount the claim."
    )
    type: str = Field(default="", max_length=32, description="What it was found to be.")
    pods: int = Field(ge=0, le=100000, description="Running pods.")
    ready: int = Field(ge=0, le=100000, description="Of these, how many take requests.")
    busy: int = Field(ge=0, le=100000, description="Of these, how many work on one.")
    loaded: int = Field(ge=0, le=1000000, description="Models in memory, over all pods.")
    message: str = Field(
        default="", max_length=512, description="Why a pod cannot be asked; of the first such."
    )


class GalleryStatus(ApiType):
    """What the operator observed."""

    observed_generation: int = Field(
        default=-1, ge=-1, le=2**53, description="The generation that this status speaks of."
    )
    conditions: tuple[Condition, ...] = Field(
        default=(),
        max_length=16,
        description="Ready, IndexReady, StorageReady; Reconciling or Stalled while True.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )
    index: IndexStatus | None = Field(default=None, description="The index in use.")
    storage: StorageStatus | None = Field(default=None, description="The volume in use.")
    listing: ListingStatus | None = Field(
        default=None, description="What the Gallery offers; absent before the first scan."
    )
    install: InstallStatus | None = Field(
        default=None, description="The entries that the Gallery keeps installed; absent without."
    )
    backends: tuple[BackendStatus, ...] = Field(
        default=(),
        max_length=33,
        description="Who serves the models.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )
    last_handled_collect_at: str = Field(
        default="",
        max_length=128,
        description="The value of modelgallery.dev/collect-requested-at that was handled.",
    )
    last_handled_reconcile_at: str = Field(
        default="",
        max_length=128,
        description="The value of modelgallery.dev/reconcile-requested-at that was handled.",
    )
