"""What a worker answers: JSON lines on stdout, and the result once more as termination message.

The controller follows the lines for progress only; everything that decides stands in the result, so
nothing depends on having seen every line.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from model_gallery.api.conditions import Reason

__all__ = [
    "MAX_RESULT_BYTES",
    "MAX_RESULT_FILES",
    "Line",
    "ModelFacts",
    "PlanLine",
    "ProgressLine",
    "PublishedFile",
    "ResultLine",
    "parse_line",
]

MAX_RESULT_BYTES = 4096
"""The kubelet cuts a termination message here."""
MAX_RESULT_FILES = 16
"""Files named in a result; the totals count all of them."""


class _Message(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore"
    )


class PublishedFile(_Message):
    """One published file: its path below the root, length and sha256."""

    path: str
    size_bytes: int
    sha256: str


class ModelFacts(_Message):
    """What the headers of the weights say; fields that no file tells are absent.

    Attributes:
        format: GGUF or Safetensors.
        architecture: such as `llama`.
        quantisation: such as `Q4_K_M`, or the type of most weights.
        parameters: weights in all files of the set.
        context_length: in tokens.
    """

    format: str
    architecture: str | None = None
    quantisation: str | None = None
    parameters: int | None = None
    context_length: int | None = None


class PlanLine(_Message):
    """Told once, before the first byte.

    Attributes:
        revision: immutable id of what the source holds; empty where it has none.
        total_bytes: sum of the sizes to fetch; None while a size is unknown.
        reused_bytes: content that already lies on the volume.
    """

    type: Literal["plan"] = "plan"
    plan_digest: str
    revision: str = ""
    files: int
    total_bytes: int | None = None
    reused_bytes: int = 0


class ProgressLine(_Message):
    """Told at most once a second.

    Attributes:
        bytes_per_second: mean of the last seconds; None until it is known.
        file: path of a file in transfer.
    """

    type: Literal["progress"] = "progress"
    completed_bytes: int
    total_bytes: int | None = None
    bytes_per_second: int | None = None
    file: str = ""


class ResultLine(_Message):
    """Told once, last.

    Attributes:
        reason: `Succeeded`, or why it failed.
        message: one sentence for the condition; empty on success.
        revision: immutable id of what the source held; empty where it has none.
        verified: whether every fetched file had a promised digest and met it.
        files: the first `MAX_RESULT_FILES` published files, by path.
        retry_after_seconds: what the server asked for, where it did.
        digest: sha256 over the sorted `path sha256` pairs of all fetched files.
        model: what the headers of the weights say; None without weights that have such.
    """

    type: Literal["result"] = "result"
    plan_digest: str = ""
    reason: Reason
    message: str = ""
    revision: str = ""
    verified: bool = False
    files: tuple[PublishedFile, ...] = ()
    files_total: int = 0
    size_bytes: int = 0
    fetched_bytes: int = 0
    retry_after_seconds: float | None = None
    digest: str = ""
    model: ModelFacts | None = None

    def termination_message(self) -> str:
        """Returns the JSON text, with as many files as fit in `MAX_RESULT_BYTES`."""
        line = self
        while True:
            text = line.model_dump_json(by_alias=True, exclude_defaults=False)
            if len(text.encode()) <= MAX_RESULT_BYTES:
                return text
            if line.files:
                line = line.model_copy(update={"files": line.files[: len(line.files) // 2]})
            else:
                line = line.model_copy(update={"message": line.message[: len(line.message) // 2]})


Line = Annotated[PlanLine | ProgressLine | ResultLine, Field(discriminator="type")]

_ADAPTER: TypeAdapter[PlanLine | ProgressLine | ResultLine] = TypeAdapter(Line)


def parse_line(text: str | bytes) -> PlanLine | ProgressLine | ResultLine | None:
    """Returns the line's meaning, or None for anything that is no line of ours (a log line)."""
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError:
        return None
