"""What a worker answers: JSON lines on stdout, and the result once more as termination message.

The controller follows the lines for progress only; everything that decides stands in the result, so
nothing depends on having seen every line.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec import structs

from model_gallery.api.conditions import Reason
from model_gallery.protocol.message import MalformedError, Message, decoded, to_json

__all__ = [
    "MAX_LOOSE_FILES",
    "MAX_RESULT_BYTES",
    "MAX_RESULT_FILES",
    "AnyLine",
    "FileProblem",
    "InventoryLine",
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


class PublishedFile(Message, frozen=True, kw_only=True):
    """One published file: its path below the root, length and sha256."""

    path: str
    size_bytes: int
    sha256: str


class ModelFacts(Message, frozen=True, kw_only=True):
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


class FileProblem(Message, frozen=True, kw_only=True):
    """A published file that is not as it was published."""

    path: str
    problem: Problem


class ModelInventory(Message, frozen=True, kw_only=True):
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


class LooseFile(Message, frozen=True, kw_only=True):
    """A file that no receipt names."""

    path: str
    size_bytes: int


class InventoryLine(Message, frozen=True, kw_only=True, tag_field="type", tag="inventory"):
    """Told by a scan, as often as needed: a part of what was found."""

    models: tuple[ModelInventory, ...] = ()
    loose: tuple[LooseFile, ...] = ()


class VolumeFacts(Message, frozen=True, kw_only=True):
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


class PlanLine(Message, frozen=True, kw_only=True, tag_field="type", tag="plan"):
    """Told once, before the first byte.

    Attributes:
        revision: immutable id of what the source holds; empty where it has none.
        total_bytes: sum of the sizes to fetch; None while a size is unknown.
        reused_bytes: content that already lies on the volume.
    """

    plan_digest: str
    revision: str = ""
    files: int
    total_bytes: int | None = None
    reused_bytes: int = 0


class ProgressLine(Message, frozen=True, kw_only=True, tag_field="type", tag="progress"):
    """Told at most once a second.

    Attributes:
        bytes_per_second: mean of the last seconds; None until it is known.
        file: path of a file in transfer.
    """

    completed_bytes: int
    total_bytes: int | None = None
    bytes_per_second: int | None = None
    file: str = ""


class ResultLine(Message, frozen=True, kw_only=True, tag_field="type", tag="result"):
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
            text = to_json(line)
            if len(text.encode()) <= MAX_RESULT_BYTES:
                return text
            if line.files:
                line = structs.replace(line, files=line.files[: len(line.files) // 2])
            elif line.problems:
                line = structs.replace(line, problems=line.problems[: len(line.problems) // 2])
            else:
                line = structs.replace(line, message=line.message[: len(line.message) // 2])


AnyLine = InventoryLine | PlanLine | ProgressLine | ResultLine
_DECODER: msgspec.json.Decoder[AnyLine] = msgspec.json.Decoder(AnyLine)


def parse_line(text: str | bytes) -> AnyLine | None:
    """Returns the line's meaning, or None for anything that is no line of ours (a log line)."""
    try:
        return decoded(_DECODER, text)
    except MalformedError:
        return None
