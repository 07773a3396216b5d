"""The signature that a Gallery asks for: where it lies, and whether it covers what would be published.

The digests are those of the plan and of the bytes that went by; no file is read for this but the bundle.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

from msgspec import structs

from model_gallery.api.conditions import Reason
from model_gallery.artifact import signature
from model_gallery.artifact.signature import Manifest, Trust
from model_gallery.errors import StalledError, TransientError
from model_gallery.protocol.operation import InstallOperation
from model_gallery.sources.base import RemoteFile
from model_gallery.storage.layout import Parts
from model_gallery.storage.volume import Volume

__all__ = ["Signed"]


@dataclass(slots=True)
class Signed:
    """The signature of one operation's files.

    Attributes:
        trusted: the ways in which a signer may be known; one that knows him is enough.
    """

    operation: InstallOperation
    volume: Volume
    trusted: tuple[Trust, ...]
    _manifest: Manifest | None = None

    def asked(self, operation: InstallOperation) -> InstallOperation:
        """Returns the operation; with the bundle among its files, where it chooses some of them."""
        repository = operation.repository
        if repository is None or not repository.include:
            return operation
        include = (*repository.include, signature.NAME)
        chosen = structs.replace(repository, include=include)
        return structs.replace(operation, repository=chosen)

    def path(self, files: Mapping[str, RemoteFile]) -> str:
        """Returns where the bundle will be published.

        Args:
            files: what the source holds, by path.

        Raises:
            StalledError: SignatureMissing; SignatureInvalid for a bundle that is announced too large.
        """
        path = posixpath.join(self._root(files), signature.NAME)
        bundle = files.get(path)
        if bundle is None:
            raise StalledError(
                Reason.SIGNATURE_MISSING,
                f"the source holds no {signature.NAME} at its root, and policy.signatures of the"
                " Gallery asks for one; sign the model, or take a source that is signed",
            )
        if (bundle.size_bytes or 0) > signature.MAX_BYTES:
            raise _too_large()
        return path

    def check(
        self, files: Mapping[str, RemoteFile], digests: Mapping[str, str], bundle: Parts
    ) -> None:
        """Refuses files that the signature does not cover.

        Args:
            files: what the source holds, by path.
            digests: by path, the sha256 of what came; without those that are to come.
            bundle: where the bundle lies.

        Raises:
            StalledError: SignatureInvalid, naming the first file in question.
            TransientError: the bundle went meanwhile.
        """
        if self._manifest is None:
            self._manifest = signature.verify(self._read(bundle), self.trusted)
        root = self._root(files)
        for path in sorted(files):
            known = digests.get(path) or files[path].sha256
            problem = self._manifest.problem(posixpath.relpath(path, root or "."), known)
            if problem:
                raise StalledError(
                    Reason.SIGNATURE_INVALID,
                    f"{path!r} {problem} ({signature.NAME}); nothing was published",
                )

    def _root(self, files: Mapping[str, RemoteFile]) -> str:
        """Returns the folder that the names in a signature begin in; empty: the volume's root.

        Of a repository it is where the repository goes. Files that an entry or a Model lists can be
        published anywhere: there it is the deepest folder that holds them all.
        """
        if self.operation.repository is not None:
            return self.operation.repository.folder
        return posixpath.commonpath([posixpath.dirname(path) for path in files]) if files else ""

    def _read(self, bundle: Parts) -> bytes:
        facts = self.volume.facts(bundle)
        if facts is None:
            message = f"the content of {signature.NAME} went from the volume meanwhile"
            raise TransientError(Reason.INTERRUPTED, message)
        content = self.volume.read(bundle, signature.MAX_BYTES)
        if content is None:
            raise _too_large()
        return content


def _too_large() -> StalledError:
    return StalledError(
        Reason.SIGNATURE_INVALID, f"{signature.NAME} has more than {signature.MAX_BYTES} bytes"
    )
