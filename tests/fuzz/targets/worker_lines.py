"""Lines of a worker's log and termination messages, as the operator reads them."""

from __future__ import annotations

from model_gallery.api.conditions import Reason
from model_gallery.protocol import report
from model_gallery.protocol.message import to_json
from model_gallery.protocol.report import (
    MAX_RESULT_BYTES,
    FileProblem,
    InventoryLine,
    LooseFile,
    ModelFacts,
    ModelInventory,
    PlanLine,
    Problem,
    ProgressLine,
    PublishedFile,
    ResultLine,
    VolumeFacts,
)

_BAD = FileProblem(path="a", problem=Problem.TOUCHED)
_LINES = (
    InventoryLine(
        models=(
            ModelInventory(
                uid="u", namespace="n", name="m", files=1, size_bytes=2, problems=(_BAD,)
            ),
        ),
        loose=(LooseFile(path="é", size_bytes=3),),
    ),
    PlanLine(plan_digest="d", files=1, total_bytes=3),
    ProgressLine(completed_bytes=1, total_bytes=2, bytes_per_second=3, file="a"),
    ResultLine(
        reason=Reason.SUCCEEDED,
        files=(PublishedFile(path="a" * 900, size_bytes=1, sha256="a" * 64),) * 16,
        retry_after_seconds=1.5,
        model=ModelFacts(format="GGUF"),
        volume=VolumeFacts(capacity_bytes=1, available_bytes=1),
    ),
)
SEEDS = tuple(to_json(line).encode() for line in _LINES)


def one(data: bytes) -> None:
    """A line of ours or None; a result always fits into a termination message again."""
    for text in (data, data.decode(errors="replace"), data.decode(errors="surrogateescape")):
        line = report.parse_line(text)
        if isinstance(line, ResultLine):
            assert len(line.termination_message().encode()) <= MAX_RESULT_BYTES
