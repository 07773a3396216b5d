"""From an operation to the ways in which it knows a signer. Each is imported where it is asked for."""

from __future__ import annotations

import os
import tempfile
from datetime import datetime
from typing import TYPE_CHECKING

from model_gallery.api.conditions import Reason
from model_gallery.artifact import signature
from model_gallery.artifact.signature import Trust
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import ENV_TRUSTED_ROOT, InstallOperation

if TYPE_CHECKING:
    from sigstore.models import TrustedRoot

__all__ = ["trusted"]

_MAX_PROBLEM = 300
_CACHE = "XDG_CACHE_HOME"


def trusted(operation: InstallOperation, root: str, now: datetime) -> tuple[Trust, ...]:
    """Returns the ways to know a signer, the quickest first.

    Args:
        operation: one that asks for a signature.
        root: path of the file with the trusted root; empty without one.
        now: when certificates must be valid for which no log says when they were used.

    Raises:
        StalledError: InvalidSpec, with the key, certificate or root that is none.
    """
    ways: list[Trust] = []
    if operation.signature_keys:
        ways.append(signature.public_keys(operation.signature_keys))
    if operation.signature_authorities:
        from model_gallery.artifact import certificates  # noqa: PLC0415 - start-up time

        ways.append(certificates.authorities(operation.signature_authorities, now))
    if operation.signature_identities:
        from model_gallery.artifact import identities  # noqa: PLC0415 - start-up time, and 30 MiB

        found = _own_root(root) if operation.own_trusted_root else _public_root()
        named = [
            identities.Identity(one.issuer, one.subject) for one in operation.signature_identities
        ]
        ways.append(identities.identities(named, found))
    return tuple(ways)


def _own_root(path: str) -> TrustedRoot:
    from sigstore import errors  # noqa: PLC0415 - start-up time
    from sigstore.models import TrustedRoot  # noqa: PLC0415

    if not path:
        message = f"the environment must hold {ENV_TRUSTED_ROOT}"
        raise StalledError(Reason.INVALID_SPEC, message)
    try:
        return TrustedRoot.from_file(path)
    except (OSError, ValueError, errors.Error) as error:
        raise StalledError(
            Reason.INVALID_SPEC,
            "the ConfigMap of policy.signatures.trustedRoot of the Gallery holds no trusted root in"
            f" trusted_root.json: {' '.join(str(error).split())[:_MAX_PROBLEM]}",
        ) from error


def _public_root() -> TrustedRoot:
    """Returns the root of Sigstore's public instance as the library brings it; nothing is asked for.

    The library hands it over only by way of a folder for caches, and the home of a Job's user cannot be
    written.
    """
    from sigstore.models import ClientTrustConfig  # noqa: PLC0415 - start-up time

    with tempfile.TemporaryDirectory() as folder:
        os.environ[_CACHE] = folder
        try:
            return ClientTrustConfig.production(offline=True).trusted_root
        finally:
            del os.environ[_CACHE]
