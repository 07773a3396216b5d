"""Install: resolve, plan, report the plan, fetch and verify, publish, report.

The order is the promise (docs/spec/v1alpha1/worker.md): nothing stands under a published path before it
is whole, verified and on disk; the receipt is written before the first publish, so a kill at any point
leaves nothing that nobody owns; the configuration that makes a backend load the model comes last.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from msgspec import structs

from model_gallery.api.conditions import Reason
from model_gallery.artifact.digest import sha256_of_bytes, sha256_of_value
from model_gallery.artifact.path import ArtifactPath
from model_gallery.errors import GalleryError, StalledError, TransientError
from model_gallery.planning import install as planning
from model_gallery.planning import remove as removal
from model_gallery.planning import room
from model_gallery.planning.install import Found, Owned, Plan, Step, Wanted
from model_gallery.protocol.operation import Document, InstallOperation, WantedFile
from model_gallery.protocol.report import MAX_RESULT_FILES, PlanLine, PublishedFile, ResultLine
from model_gallery.sources.base import RemoteFile
from model_gallery.storage import layout, receipts
from model_gallery.storage.layout import Parts
from model_gallery.storage.receipts import Receipt, ReceiptFile
from model_gallery.storage.volume import Volume
from model_gallery.transport.throttle import Throttle
from model_gallery.worker import sweep
from model_gallery.worker.archives import Archives, check_policy
from model_gallery.worker.compare import Comparer, digest_of
from model_gallery.worker.contents import Contents, check_complete
from model_gallery.worker.fetch import Fetch
from model_gallery.worker.recheck import Recheck, recheck
from model_gallery.worker.report import Reporter
from model_gallery.worker.resolve import Resolver, Wish

if TYPE_CHECKING:
    from model_gallery.worker.signature import Signed

__all__ = ["Install"]

_BLOCK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Install:
    """One install operation.

    Attributes:
        signed: the signature that the Gallery asks for; None: it asks for none.
    """

    operation: InstallOperation
    volume: Volume
    resolver: Resolver
    fetcher: Fetch
    contents: Contents
    reporter: Reporter
    signed: Signed | None = None

    def run(self) -> ResultLine:
        """Carries the operation out and returns its result."""
        check_policy(self.operation)
        checked = self._recheck()
        archives = Archives(self.operation, self.volume, self.contents, checked.damaged)
        asked = self._as_recorded() if self._is_bare else archives.begin()
        if self.signed is not None:
            asked = self.signed.asked(asked)
        source = self.resolver.resolve(asked, self.volume, checked)
        archives.add_layers(source, asked.repository)
        wish = source if self._is_bare else archives.begin_layers(source)
        if not archives:
            check_complete(wish.files)
        self._check_promises(wish)
        if self.signed is not None and not archives:
            self.signed.path(wish.files)
        found = self._found(wish, checked)
        plan = planning.plan(self._wanted(wish), found)
        self._tell(plan, wish)
        if self.operation.plan_only:
            return self._planned(plan, source)
        room.check_quota(plan, self.operation.quota_bytes)
        staged = self._staged_bytes()
        sweep.make_room(
            self.volume,
            room.lacking(plan, staged, self.volume.free()[0]),
            (step.wanted.sha256 for step in plan.steps),
        )
        room.check_free(plan, staged, *self.volume.free())
        self.fetcher.good = checked.damaged
        contents = {} if archives else self._signature_first(plan, wish)
        if self.operation.fetch_only:
            self._contents(plan, wish, contents.keys() | _unpromised(wish))
            return self._planned(plan, source)
        contents |= self._contents(plan, wish, contents)
        if not archives:
            self._check_signature(wish, contents, archives)
        fetched_bytes = sum(
            contents[step.wanted.path].size_bytes for step in plan.steps if step.fetch
        )
        if archives:
            wish, plan, found = self._unpacked(archives, wish, contents, checked)
        self.contents.check_indexes(wish.files)
        receipt = self._receipt(contents, plan, archives, wish)
        receipts.write(self.volume, receipt)
        archives.settle(receipt.files)
        self._publish(receipt, plan, found, wish)
        self._clean(receipt, archives)
        return self._result(receipt, contents, wish, source, fetched_bytes)

    @property
    def _is_bare(self) -> bool:
        """Whether nothing is unpacked: a plan changes nothing, and a receipt names no archives to fetch."""
        return self.operation.plan_only or self.operation.from_receipt

    def _unpacked(
        self,
        archives: Archives,
        wish: Wish,
        contents: dict[str, ReceiptFile],
        checked: Recheck,
    ) -> tuple[Wish, Plan, Found]:
        """Plans again, with the members in the place of the archives; adds them to the contents."""
        try:
            wish = archives.unpack(wish, contents)
            check_complete(wish.files)
            found = self._found(wish, checked)
            wish = archives.without_clashes(wish, found)
            plan = planning.plan(self._wanted(wish), found)
            room.check_quota(plan, self.operation.quota_bytes)
            self._check_signature(wish, contents, archives)
        except GalleryError:
            archives.discard()
            raise
        for step in plan.steps:
            contents.setdefault(step.wanted.path, _known(step))
            if step.adopt:
                self._adopt(step)
        return wish, plan, found

    def _recheck(self) -> Recheck:
        """Looks at what is published, where that was asked for."""
        receipt = receipts.read_all(self.volume).get(self.operation.owner.uid)
        if not self.operation.recheck or receipt is None:
            return Recheck()
        return recheck(receipt, self.volume, Comparer(self.volume, Throttle(0)))

    def _as_recorded(self) -> InstallOperation:
        """Returns the operation; with the files of the receipt, where that was asked for."""
        if not self.operation.from_receipt:
            return self.operation
        receipt = receipts.read_all(self.volume).get(self.operation.owner.uid)
        if receipt is None:
            message = (
                "the volume holds no receipt of this Model, so what was published is not known"
            )
            raise StalledError(Reason.SOURCE_INVALID, message)
        unpacked = frozenset().union(*(archive.contents for archive in receipt.archives))
        if any(file.fetched and file.sha256 in unpacked for file in receipt.files):
            message = "what was published came from an archive; set updatePolicy.mode to Track"
            raise StalledError(Reason.SOURCE_INVALID, message)
        return structs.replace(
            self.operation,
            files=tuple(
                WantedFile(path=file.path, url=file.url, sha256=file.sha256)
                for file in receipt.files
                if file.fetched
            ),
            documents=tuple(
                Document(path=file.path, content=file.content)
                for file in receipt.files
                if not file.fetched
            ),
            repository=None,
        )

    def _check_promises(self, wish: Wish) -> None:
        if not self.operation.checksums_required:
            return
        for path, remote in wish.files.items():
            if path in wish.recorded or not _is_promised(remote):
                raise StalledError(
                    Reason.CHECKSUM_REQUIRED,
                    f"the source promises no sha256 for {path!r} and policy.checksums is Required, by the"
                    " Gallery or the Model; name the file's sha256 in the Model",
                )

    def _wanted(self, wish: Wish) -> list[Wanted]:
        files = [
            Wanted(str(ArtifactPath.parse(path)), remote.sha256, remote.size_bytes)
            for path, remote in wish.files.items()
        ]
        documents = [
            Wanted(
                str(ArtifactPath.parse(path)),
                sha256_of_bytes(content.encode()),
                len(content.encode()),
                fetched=False,
            )
            for path, content in wish.documents.items()
        ]
        return files + documents

    def _found(self, wish: Wish, checked: Recheck) -> Found:
        everyone = receipts.read_all(self.volume)
        own = everyone.pop(self.operation.owner.uid, None)
        others = {
            file.path: Owned(file.path, file.sha256, receipt.owner)
            for receipt in everyone.values()
            for file in receipt.everything
        }
        mine = {file.path: file.sha256 for file in own.everything} if own else {}
        wanted = self._wanted(wish)
        planning.check_folders(wanted, others)
        planning.check_own_folders(wanted, mine)
        loose = {
            item.path: digest
            for item in wanted
            if item.path not in others and item.path not in mine
            for digest in [item.sha256 if item.path in wish.standing else self._loose_digest(item)]
            if digest is not None
        }
        sizes = {
            remote.sha256: facts.size_bytes
            for remote in wish.files.values()
            if remote.sha256 and remote.sha256 not in checked.damaged
            for facts in [self.volume.facts(layout.blob(remote.sha256))]
            if facts is not None
        }
        return Found(others, mine, loose, sizes)

    def _loose_digest(self, item: Wanted) -> str | None:
        """Returns the digest of a file that no receipt names; `other` where its size tells enough."""
        parts = tuple(item.path.split("/"))
        facts = self.volume.facts(parts)
        if facts is None:
            return None
        if item.sha256 is None or item.size_bytes not in {None, facts.size_bytes}:
            return "other"
        return digest_of(self.volume, parts)

    def _staged_bytes(self) -> int:
        folder = layout.staging(self.operation.owner.uid, self.operation.plan_digest)
        found = [self.volume.facts((*folder, name)) for name in self.volume.names(folder)]
        return sum(facts.size_bytes for facts in found if facts is not None)

    def _tell(self, plan: Plan, wish: Wish) -> None:
        self.reporter.plan(
            PlanLine(
                plan_digest=self.operation.plan_digest,
                revision=wish.revision,
                files=len(plan.steps),
                total_bytes=plan.fetch_bytes,
                reused_bytes=plan.reused_bytes,
            )
        )

    def _signature_first(self, plan: Plan, wish: Wish) -> dict[str, ReceiptFile]:
        """Brings the signature, where one is asked for; what it does not cover need not be fetched."""
        if self.signed is None:
            return {}
        path = self.signed.path(wish.files)
        others = wish.files.keys() - {path} | wish.documents.keys()
        contents = self._contents(plan, wish, others)
        self.signed.check(wish.files, {}, layout.blob(contents[path].sha256))
        return contents

    def _check_signature(
        self, wish: Wish, contents: Mapping[str, ReceiptFile], archives: Archives
    ) -> None:
        if self.signed is None:
            return
        # What came out of an archive has its digest in the wish.
        digests = {path: contents[path].sha256 for path in wish.files if path in contents}
        path = self.signed.path(wish.files)
        digest = digests.get(path) or wish.files[path].sha256 or ""
        self.signed.check(wish.files, digests, archives.place(digest))

    def _contents(self, plan: Plan, wish: Wish, without: Collection[str]) -> dict[str, ReceiptFile]:
        """Brings contents onto the volume as blobs; returns the files by path.

        Args:
            without: paths to leave out.
        """
        steps = [
            (number, step)
            for number, step in enumerate(plan.steps)
            if step.wanted.path not in without
        ]
        to_fetch = {
            step.wanted.path: (number, wish.files[step.wanted.path])
            for number, step in steps
            if step.fetch
        }
        contents = self.fetcher.run(to_fetch)
        for _, step in steps:
            if not step.wanted.fetched:
                contents[step.wanted.path] = _known(step)
            elif not step.fetch:
                contents[step.wanted.path] = self._reused(step)
        return contents

    def _reused(self, step: Step) -> ReceiptFile:
        digest = step.wanted.sha256 or ""
        blob = layout.blob(digest)
        if step.adopt:
            self._adopt(step)
        facts = self.volume.facts(blob)
        if facts is None:
            message = f"the content of {step.wanted.path} went from the volume meanwhile"
            raise TransientError(Reason.INTERRUPTED, message)
        with self.volume.reading(blob) as read_at:
            self.contents.look(step.wanted.path, facts.size_bytes, read_at)
        return ReceiptFile(path=step.wanted.path, size_bytes=facts.size_bytes, sha256=digest)

    def _adopt(self, step: Step) -> None:
        parts = tuple(step.wanted.path.split("/"))
        blob = layout.blob(step.wanted.sha256 or "")
        self.volume.link(parts, blob, layout.temporary(self.operation.owner.uid))

    def _receipt(
        self,
        contents: Mapping[str, ReceiptFile],
        plan: Plan,
        archives: Archives,
        wish: Wish,
    ) -> Receipt:
        owner = self.operation.owner
        standing = receipts.read_all(self.volume).get(owner.uid)
        # After a kill in an update one path has two contents, and both are ours to remove.
        known = {(file.path, file.sha256) for file in standing.everything} if standing else ()
        leaving = [
            ReceiptFile(path=path, size_bytes=0, sha256=digest)
            for path, digest in sorted(known)
            if path in plan.leaving or contents[path].sha256 != digest
        ]
        return Receipt(
            namespace=owner.namespace,
            name=owner.name,
            uid=owner.uid,
            plan_digest=self.operation.plan_digest,
            files=tuple(_with_origin(contents[step.wanted.path], wish) for step in plan.steps),
            leaving=tuple(leaving),
            kept=standing.kept if standing else (),
            archives=archives.all,
        )

    def _publish(self, receipt: Receipt, plan: Plan, found: Found, wish: Wish) -> None:
        """Gives the contents their names, durably before what leads loaders to them, documents last."""
        files = [
            file
            for step, file in zip(plan.steps, receipt.files, strict=True)
            if file.path not in wish.documents and not step.adopt
        ]
        for opening in (False, True):
            self._publish_blobs([f for f in files if planning.is_opening(f.path) is opening], found)
        for path, content in wish.documents.items():
            self._publish_document(tuple(path.split("/")), content.encode(), found)

    def _publish_blobs(self, files: list[ReceiptFile], found: Found) -> None:
        places = {tuple(file.path.split("/")): file for file in files}
        for parts, file in places.items():
            self._publish_blob(parts, file, found)
        for folder in sorted({parts[:-1] for parts in places}):
            self.volume.sync(folder)

    def _publish_blob(self, parts: Parts, file: ReceiptFile, found: Found) -> None:
        blob, temporary = layout.blob(file.sha256), layout.temporary(self.operation.owner.uid)
        standing, content = self.volume.facts(parts), self.volume.facts(blob)
        if content is None:
            raise TransientError(Reason.INTERRUPTED, f"the content of {file.path} went meanwhile")
        if standing is not None and standing.inode == content.inode:
            return
        if file.path in found.own and standing is not None:
            beside = (*parts[:-1], temporary)
            self.volume.remove(beside)
            self.volume.link(blob, beside, layout.temporary_copy(self.operation.owner.uid))
            self.volume.rename(beside, parts)
        elif (
            not self.volume.link(blob, parts, temporary, durable=False)
            and file.path not in found.others
        ):
            raise _taken(file.path)

    def _publish_document(self, parts: Parts, content: bytes, found: Found) -> None:
        path = "/".join(parts)
        if self.volume.facts(parts) is not None:
            if self.volume.read(parts, len(content)) == content:
                return
            if path not in found.own:
                raise _taken(path)
        self.volume.write(parts, content, layout.temporary(self.operation.owner.uid))

    def _clean(self, receipt: Receipt, archives: Archives) -> None:
        """Removes what the plan no longer publishes and archives that are unpacked, then staging."""
        everyone = receipts.read_all(self.volume)
        owned = sweep.owned(everyone, without=receipt.uid)
        mine = [Owned(file.path, file.sha256, receipt.owner) for file in receipt.files]
        leaving = [Owned(file.path, file.sha256, receipt.owner) for file in receipt.leaving]
        kept, expired = sweep.keep(
            self.volume, receipt, until=int(time.time()) + self.operation.keep_seconds
        )
        leaving += [Owned("", content.sha256, receipt.owner) for content in expired]
        mine += [Owned("", content.sha256, receipt.owner) for content in kept]
        sweep.remove_temporaries(self.volume, receipt.uid, receipt)
        sweep.carry_out(self.volume, removal.plan(leaving, [*owned, *mine]))
        published, way_back = ({one.sha256 for one in of} for of in (receipt.files, kept))
        sweep.remove_archives(self.volume, receipt, everyone, needed=published | way_back)
        files = tuple(map(self._settled, receipt.files))
        remembered = archives.remembered(published, way_back)
        last = structs.replace(receipt, leaving=(), archives=remembered, kept=kept, files=files)
        receipts.write(self.volume, last)
        sweep.remove_staging(self.volume, receipt.uid)

    def _settled(self, file: ReceiptFile) -> ReceiptFile:
        """Returns the entry with what a later look needs."""
        facts = self.volume.facts(tuple(file.path.split("/")))
        return structs.replace(file, modified_ns=facts.modified_ns if facts else 0)

    def _planned(self, plan: Plan, wish: Wish) -> ResultLine:
        """Returns what an install would do, with unknown sizes and digests left out."""
        fetched = [step.wanted for step in plan.steps if step.wanted.fetched]
        return ResultLine(
            plan_digest=self.operation.plan_digest,
            reason=Reason.SUCCEEDED,
            revision=wish.revision,
            source_digest=_digest_of_source(wish, self.operation),
            files=tuple(
                PublishedFile(
                    path=item.path, size_bytes=item.size_bytes or 0, sha256=item.sha256 or ""
                )
                for item in fetched[:MAX_RESULT_FILES]
            ),
            files_total=len(fetched),
            size_bytes=sum(item.size_bytes or 0 for item in fetched),
            fetched_bytes=sum(step.wanted.size_bytes or 0 for step in plan.steps if step.fetch),
        )

    def _result(
        self,
        receipt: Receipt,
        contents: Mapping[str, ReceiptFile],
        wish: Wish,
        source: Wish,
        fetched_bytes: int,
    ) -> ResultLine:
        fetched = sorted((contents[path] for path in wish.files), key=attrgetter("path"))
        return ResultLine(
            plan_digest=receipt.plan_digest,
            reason=Reason.SUCCEEDED,
            revision=wish.revision,
            source_digest=_digest_of_source(source, self.operation),
            verified=bool(wish.files)
            and not wish.recorded
            and all(map(_is_promised, source.files.values())),
            fetched_bytes=fetched_bytes,
            files=tuple(
                PublishedFile(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256)
                for file in fetched[:MAX_RESULT_FILES]
            ),
            files_total=len(fetched),
            size_bytes=sum(file.size_bytes for file in fetched),
            digest=sha256_of_value(sorted([file.path, file.sha256] for file in fetched)),
            model=self.contents.facts(),
        )


def _unpromised(wish: Wish) -> set[str]:
    """Returns what nobody could find again among the contents, which are known by their digests."""
    unknown = {path for path, remote in wish.files.items() if not remote.sha256}
    return unknown | wish.documents.keys()


def _is_promised(remote: RemoteFile) -> bool:
    return bool(remote.sha256 or remote.git_sha1)


def _with_origin(file: ReceiptFile, wish: Wish) -> ReceiptFile:
    """Returns the entry with what a repair needs. Before anything is published: the receipt has a bound."""
    remote = wish.files.get(file.path)
    content = wish.documents.get(file.path, "")
    return structs.replace(file, url=remote.url if remote else "", content=content)


def _known(step: Step) -> ReceiptFile:
    return ReceiptFile(
        path=step.wanted.path,
        size_bytes=step.wanted.size_bytes or 0,
        sha256=step.wanted.sha256 or "",
        fetched=step.wanted.fetched,
    )


def _digest_of_source(wish: Wish, operation: InstallOperation) -> str:
    """Returns a digest that changes when the source holds something else."""
    told = {
        path: file.sha256 or file.git_sha1 or file.validator or str(file.size_bytes)
        for path, file in wish.files.items()
    }
    # An archive whose members lie on the volume is not asked for.
    promised = {file.path: file.sha256 for file in operation.files if file.sha256}
    return sha256_of_value(sorted((promised | told).items()))


def _taken(path: str) -> StalledError:
    return StalledError(
        Reason.PATH_CONFLICT, f"another file came to {path!r} meanwhile; move it away"
    )
