"""What a worker answers: JSON lines on stdout, and the result once more as termination message.

The controller follows the lines for progress only; everything that decides stands in the result, so
nothing depends on having seen every line.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from model_gallery.api.conditions import Reason

__all__ = [
    "MAX_LOOSE_FILES",
    "MAX_RESULT_BYTES",
    "MAX_RESULT_FILES",
    "AnyLine",
    "FileProblem",
    "InventoryLine",
    "Line",
    "LooseFile",
    "ModelFacts",
    "ModelInventory",
    "PlanLine",
    "Problem",
    "ProgressLine",
    "PublishedFile",
    "ResultLine",
    "VolumeFacts",
    "parse_line",
]

MAX_RESULT_BYTES = 4096
"""The kubelet cuts a termination message here."""
MAX_RESULT_FILES = 16
"""Files named in a result; the totals count all of them."""
MAX_LOOSE_FILES = 10_000
"""Files named by a scan that no receipt names; the totals count all of them."""


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


class Problem(StrEnum):
    """What can be wrong with a published file."""

    MISSING = "Missing"
    """Nothing is at the path."""
    DAMAGED = "Damaged"
    """Other bytes are there than were published."""
    TOUCHED = "Touched"
    """It was written to since; only reading it tells whether it is damaged."""


class FileProblem(_Message):
    """A published file that is not as it was published."""

    path: str
    problem: Problem


class ModelInventory(_Message):
    """What a scan found of one Model.

    Attributes:
        uid: of the Model, as its receipt says.
        files: how many files the receipt names.
        problems: the first ones.
    """

    uid: str
    namespace: str
    name: str
    files: int
    size_bytes: int
    problems: tuple[FileProblem, ...] = ()
    problems_total: int = 0


class LooseFile(_Message):
    """A file that no receipt names."""

    path: str
    size_bytes: int


class InventoryLine(_Message):
    """Told by a scan, as often as needed: a part of what was found."""

    type: Literal["inventory"] = "inventory"
    models: tuple[ModelInventory, ...] = ()
    loose: tuple[LooseFile, ...] = ()


class VolumeFacts(_Message):
    """What a scan tells of the volume as a whole.

    Attributes:
        capacity_bytes: of the file system.
        available_bytes: what an ordinary user may still write.
        managed_bytes: in contents that receipts name, each content once.
        loose_bytes: in files that no receipt names.
        reclaimable_bytes: in things of ours that nobody needs any longer.
        collected_bytes: of these, what this scan has removed.
        damaged_models: Models with a problem.
        loose_files: how many these are; the lines name the first of them.
        cut: whether there is more on the volume than was looked at.
    """

    capacity_bytes: int
    available_bytes: int
    managed_bytes: int = 0
    loose_bytes: int = 0
    loose_files: int = 0
    reclaimable_bytes: int = 0
    collected_bytes: int = 0
    damaged_models: int = 0
    cut: bool = False


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
        missing_bytes: room that is missing, where that is why it failed and is known.
        digest: sha256 over the sorted `path sha256` pairs of all fetched files.
        source_digest: changes when the source holds something else: over paths and what it tells of
            each file (digest, validator or size).
        model: what the headers of the weights say; None without weights that have such.
        problems: of a verification, the first files that are not as they were published.
        volume: of a scan.
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
    missing_bytes: int | None = None
    digest: str = ""
    source_digest: str = ""
    model: ModelFacts | None = None
    problems: tuple[FileProblem, ...] = ()
    problems_total: int = 0
    volume: VolumeFacts | None = None

    def termination_message(self) -> str:
        """Returns the JSON text, with as many files as fit in `MAX_RESULT_BYTES`."""
        line = self
        while True:
            text = line.model_dump_json(by_alias=True, exclude_defaults=False)
            if len(text.encode()) <= MAX_RESULT_BYTES:
                return text
            if line.files:
                line = line.model_copy(update={"files": line.files[: len(line.files) // 2]})
            elif line.problems:
                fewer = line.problems[: len(line.problems) // 2]
                line = line.model_copy(update={"problems": fewer})
            else:
                line = line.model_copy(update={"message": line.message[: len(line.message) // 2]})


AnyLine = InventoryLine | PlanLine | ProgressLine | ResultLine
Line = Annotated[AnyLine, Field(discriminator="type")]

_ADAPTER: TypeAdapter[AnyLine] = TypeAdapter(Line)


def parse_line(text: str | bytes) -> AnyLine | None:
    """Returns the line's meaning, or None for anything that is no line of ours (a log line)."""
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError:
        return None
