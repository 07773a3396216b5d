"""Remove: everything that the Model's receipt names and nobody else publishes; the receipt goes last."""

from __future__ import annotations

from dataclasses import dataclass

from model_gallery.api.conditions import Reason
from model_gallery.planning import remove as planning
from model_gallery.planning.install import Owned
from model_gallery.protocol.operation import RemoveOperation
from model_gallery.protocol.report import ResultLine
from model_gallery.storage import layout, receipts
from model_gallery.storage.volume import Volume
from model_gallery.worker import sweep

__all__ = ["Remove"]


@dataclass(frozen=True, slots=True)
class Remove:
    """One remove operation."""

    operation: RemoveOperation
    volume: Volume

    def run(self) -> ResultLine:
        """Carries the operation out and returns its result; once more is no error."""
        uid = self.operation.owner.uid
        everyone = receipts.read_all(self.volume)
        receipt = everyone.get(uid)
        sweep.remove_temporaries(self.volume, uid, receipt)
        if receipt is not None:
            mine = [Owned(file.path, file.sha256, receipt.owner) for file in receipt.everything]
            mine += [Owned("", content.sha256, receipt.owner) for content in receipt.kept]
            removal = planning.plan(mine, sweep.owned(everyone, without=uid))
            if self.operation.retain_files:
                # The published names stay; only the second name of each content is ours to take.
                removal = planning.Removal((), removal.blobs)
            sweep.carry_out(self.volume, removal)
            sweep.remove_archives(self.volume, receipt, everyone)
        sweep.remove_staging(self.volume, uid)
        receipts.remove(self.volume, uid)
        for folder in (layout.BLOBS, layout.MARKS):
            self.volume.remove_empty(folder)
        return ResultLine(reason=Reason.SUCCEEDED)
