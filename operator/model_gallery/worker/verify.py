"""Verify: read what was published for a Model and say what is not as it was. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from model_gallery.api.conditions import Reason
from model_gallery.protocol.operation import VerifyOperation
from model_gallery.protocol.report import FileProblem, Problem, ResultLine
from model_gallery.storage import receipts
from model_gallery.storage.receipts import Receipt
from model_gallery.storage.volume import Volume
from model_gallery.transport.throttle import Throttle
from model_gallery.worker.compare import Comparer
from model_gallery.worker.report import Reporter

__all__ = ["Verify"]

_MAX_PROBLEMS = 16


@dataclass(frozen=True, slots=True)
class Verify:
    """One verify operation."""

    operation: VerifyOperation
    volume: Volume
    reporter: Reporter

    def run(self) -> ResultLine:
        """Carries the operation out and returns its result."""
        receipt = receipts.read_all(self.volume).get(self.operation.owner.uid)
        if receipt is None:
            message = "the volume holds no receipt of this Model"
            return ResultLine(reason=Reason.SUCCEEDED, message=message, problems_total=1)
        problems = self._problems(receipt)
        size = sum(file.size_bytes for file in receipt.files)
        if not problems:
            return ResultLine(
                reason=Reason.SUCCEEDED, plan_digest=receipt.plan_digest, size_bytes=size
            )
        first = problems[0]
        return ResultLine(
            reason=Reason.SUCCEEDED,
            message=f"{len(problems)} of {len(receipt.files)} files: {first.path} is"
            f" {first.problem.value.lower()}",
            plan_digest=receipt.plan_digest,
            size_bytes=size,
            problems=tuple(problems[:_MAX_PROBLEMS]),
            problems_total=len(problems),
        )

    def _problems(self, receipt: Receipt) -> list[FileProblem]:
        comparer = Comparer(self.volume, Throttle(self.operation.bandwidth_bytes))
        found = []
        for file in receipt.files:
            verdict = comparer.judge(file)
            # A content that only lost its own name harms nobody: the next install names it again.
            wrong = verdict.path or (
                verdict.content if verdict.content is Problem.DAMAGED else None
            )
            if wrong is not None:
                found.append(FileProblem(path=file.path, problem=wrong))
            self.reporter.progress(comparer.read_bytes, file.path)
        return found
