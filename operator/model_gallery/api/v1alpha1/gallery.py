"""Gallery: a catalogue of models, and the volume they live on."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from model_gallery.api.v1alpha1.common import (
    ApiType,
    Condition,
    FreeForm,
    ObjectName,
    Time,
    Url,
    exactly_one,
    rules,
)

__all__ = [
    "AccessMode",
    "BackendType",
    "CaBundle",
    "ClaimTemplate",
    "ConfigMapIndex",
    "Formats",
    "GallerySpec",
    "GalleryStatus",
    "HttpIndex",
    "IndexProblem",
    "IndexSource",
    "IndexStatus",
    "Policy",
    "Rewrite",
    "ServedFrom",
    "Storage",
    "StorageStatus",
    "Worker",
]

MAX_STATUS_PROBLEMS = 20

Quantity = Annotated[
    str,
    Field(min_length=1, max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$"),
]


class CaBundle(ApiType):
    """Extra certificate authorities."""

    config_map_name: ObjectName = Field(
        description="A ConfigMap whose key ca.crt holds PEM certificates."
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
        default=None, description="A claim that the operator creates."
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


class Policy(ApiType):
    """What the Gallery takes."""

    formats: Formats = Field(
        default=Formats.SAFE,
        description=(
            "Safe refuses files that can carry code (pickles, archives, programs) and broken headers,"
            " by their content. Any takes everything."
        ),
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
    LLAMA_CPP = "LlamaCpp"
    OLLAMA = "Ollama"
    VLLM = "VLLM"
    SGLANG = "SGLang"
    TGI = "TGI"
    TEI = "TEI"
    KSERVE_V2 = "KServeV2"
    OPENAI = "OpenAI"


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
    policy: Policy = Field(default_factory=Policy, description="What the Gallery takes.")
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
    last_handled_reconcile_at: str = Field(
        default="",
        max_length=128,
        description="The value of modelgallery.dev/reconcile-requested-at that was handled.",
    )
