"""How models are served: the states that a model can have in a backend."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from model_gallery.api.v1alpha1.common import ApiType, Time

__all__ = [
    "MAX_SERVING_PODS",
    "DesiredState",
    "ServingPod",
    "ServingSpec",
    "ServingState",
    "ServingStatus",
    "UnloadStatus",
]

MAX_SERVING_PODS = 16


class ServingState(StrEnum):
    """Where a model stands in a backend, or in all of them together."""

    UNLOADED = "Unloaded"
    """No backend holds it in memory."""
    LOADING = "Loading"
    """It is being read into memory."""
    LOADED = "Loaded"
    """It is in memory and has no request."""
    BUSY = "Busy"
    """It is in memory and works on a request."""
    ERROR = "Error"
    """The backend failed to load it."""
    UNKNOWN = "Unknown"
    """The backend does not answer, or does not tell."""


class DesiredState(StrEnum):
    """What backends shall do with a model."""

    AUTO = "Auto"
    UNLOADED = "Unloaded"


class ServingSpec(ApiType):
    """What backends shall do with the model. Loading is theirs: a request loads it again."""

    desired_state: DesiredState = Field(
        default=DesiredState.AUTO,
        description=(
            "Unloaded has backends give its memory back whenever it is idle; Auto leaves it to them"
            " and to idleTimeoutSeconds."
        ),
    )
    idle_timeout_seconds: int = Field(
        default=0,
        ge=0,
        le=31536000,
        description="Unload it after this long without use; 0: never.",
    )
    busy_timeout_seconds: int = Field(
        default=0,
        ge=0,
        le=31536000,
        description="Unload it although it works, after so long without a pause; 0: never.",
    )
    force: bool = Field(
        default=False, description="Unload it also while it works on requests, which then fail."
    )


class ServingPod(ApiType):
    """One pod that holds the model."""

    name: str = Field(max_length=253, description="Name of the pod.")
    backend: str = Field(default="", max_length=32, description="What it runs.")
    state: ServingState = Field(description="Where the model stands there.")
    memory_bytes: int | None = Field(
        default=None, ge=0, le=2**60, description="RAM of the model there; absent where unknown."
    )
    vram_bytes: int | None = Field(
        default=None, ge=0, le=2**60, description="Accelerator memory; absent where unknown."
    )
    cpu_milli: int | None = Field(
        default=None, ge=0, le=2**31, description="CPU of the pod in thousandths of a core."
    )
    running: int | None = Field(default=None, ge=0, le=2**31, description="Requests in work.")
    waiting: int | None = Field(default=None, ge=0, le=2**31, description="Requests that wait.")
    context_length: int | None = Field(default=None, ge=0, le=2**53, description="In tokens.")
    last_used_time: Time | None = Field(
        default=None, description="When it was last seen to work; absent where it was not."
    )
    expires_time: Time | None = Field(
        default=None, description="When the backend will unload it by itself."
    )
    message: str = Field(default="", max_length=256, description="What is wrong, if anything.")


class UnloadStatus(ApiType):
    """The last wish to unload."""

    pod: str = Field(max_length=253, description="Who was asked.")
    reason: str = Field(max_length=64, description="Why, one word.")
    result: str = Field(max_length=32, description="Done, NotLoaded, Busy, Unsupported or Failed.")
    message: str = Field(default="", max_length=256, description="Why not, if not.")
    time: Time = Field(description="When.")


class ServingStatus(ApiType):
    """How the model is served. Figures are at most 30 s old, states a probe's period."""

    state: ServingState = Field(description="The busiest state of all pods.")
    pods: tuple[ServingPod, ...] = Field(
        default=(),
        max_length=MAX_SERVING_PODS,
        description="The first pods that hold it.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )
    pods_total: int = Field(default=0, ge=0, le=100000, description="How many pods hold it.")
    memory_bytes: int | None = Field(
        default=None, ge=0, le=2**60, description="RAM over all pods; absent where unknown."
    )
    vram_bytes: int | None = Field(
        default=None, ge=0, le=2**60, description="Accelerator memory over all pods."
    )
    cpu_milli: int | None = Field(
        default=None, ge=0, le=2**31, description="CPU of all its pods, in thousandths of a core."
    )
    last_used_time: Time | None = Field(default=None, description="The latest of all pods.")
    unload: UnloadStatus | None = Field(default=None, description="The last wish to unload.")
    updated_time: Time | None = Field(default=None, description="When these figures were taken.")
