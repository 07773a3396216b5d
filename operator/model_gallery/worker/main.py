"""One operation in a Job pod: read it, run it, tell the result, end with the exit code of the reason."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, assert_never

from model_gallery.api.conditions import Reason
from model_gallery.errors import GalleryError, StalledError, TransientError
from model_gallery.protocol import exitcodes, operation
from model_gallery.protocol.operation import RepositoryKind
from model_gallery.protocol.report import ResultLine
from model_gallery.sources.base import RepositorySource
from model_gallery.sources.http import HttpSource
from model_gallery.storage.volume import Volume
from model_gallery.transport.client import HttpClient
from model_gallery.transport.credentials import NO_CREDENTIALS, Credentials
from model_gallery.worker.contents import Contents
from model_gallery.worker.fetch import Fetch
from model_gallery.worker.install import Install
from model_gallery.worker.outlet import Outlet
from model_gallery.worker.report import Reporter
from model_gallery.worker.resolve import Resolver

if TYPE_CHECKING:
    from model_gallery.worker.signature import Signed

__all__ = ["main"]

_LOG = logging.getLogger(__name__)
_ENV_ROOT = "MODEL_GALLERY_ROOT"
_ENV_TERMINATION_LOG = "MODEL_GALLERY_TERMINATION_LOG"
_MAX_OPERATION_BYTES = 1024 * 1024
_OUTPUT, _ERRORS = 1, 2
_LAST_LINES_SECONDS = 1.0


def main() -> int:
    """Runs the operation that the environment describes; returns the exit code."""
    errors = Outlet(_ERRORS)
    logging.basicConfig(level=logging.INFO, stream=errors, format="%(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, _terminated)
    environment = dict(os.environ)
    log = Path(environment.get(_ENV_TERMINATION_LOG, "/dev/termination-log"))
    reporter = Reporter(Outlet(_OUTPUT), log)
    try:
        result = _run(environment, reporter)
    except _Terminated:
        message = "the worker was told to stop; what was fetched is kept"
        result = ResultLine(reason=Reason.TERMINATED, message=message)
    except GalleryError as error:
        result = _failure(error)
    except Exception as error:  # noqa: BLE001 - one of the two places where a bug is caught
        _LOG.exception("The worker has a bug")
        result = _bug(error)
    # The end is at hand, and only one may be told.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    reporter.result(result)
    errors.drain(_LAST_LINES_SECONDS)
    return _exit_code(result.reason)


def _run(environment: Mapping[str, str], reporter: Reporter) -> ResultLine:
    wish = operation.parse(_operation_text(environment))
    volume = Volume(Path(environment.get(_ENV_ROOT, "/models")), keep_folders=True)
    try:
        match wish:
            case operation.InstallOperation():
                return _install(wish, volume, environment, reporter).run()
            case operation.RemoveOperation():
                from model_gallery.worker.remove import Remove  # noqa: PLC0415 - start-up time

                return Remove(wish, volume).run()
            case operation.VerifyOperation():
                from model_gallery.worker.verify import Verify  # noqa: PLC0415 - start-up time

                return Verify(wish, volume, reporter).run()
            case operation.ScanOperation():
                from model_gallery.worker.scan import Scan  # noqa: PLC0415 - start-up time

                return Scan(wish, volume, reporter).run()
            case _:
                assert_never(wish)
    finally:
        volume.close()


def _install(
    wish: operation.InstallOperation,
    volume: Volume,
    environment: Mapping[str, str],
    reporter: Reporter,
) -> Install:
    authorities = environment.get(operation.ENV_CA, "")
    pem = Path(authorities).read_bytes() if authorities else None
    client = HttpClient(
        wish.network,
        ca_pem=pem,
        proxy_authorization=lambda: _proxy(environment, wish.network.proxy),
    )
    credentials = _credentials(environment)
    folder = environment.get(operation.ENV_SOURCE, "")
    mounted = Volume(Path(folder)) if folder else volume
    source = HttpSource(client, credentials)
    repository = None
    if wish.repository is not None:
        repository = _repository(wish.repository.kind, client, credentials, volume, mounted)
    contents = Contents(wish.safe_formats)
    fetch = Fetch(wish, volume, source, reporter, contents, mounted)
    resolver, signed = Resolver(source, repository), _signed(wish, volume, environment)
    return Install(wish, volume, resolver, fetch, contents, reporter, signed)


def _signed(
    wish: operation.InstallOperation, volume: Volume, environment: Mapping[str, str]
) -> Signed | None:
    """Returns the signature that is asked for; a Job without one does not import how to verify it."""
    if not wish.asks_for_signature:
        return None
    from model_gallery.worker import trust  # noqa: PLC0415
    from model_gallery.worker.signature import Signed  # noqa: PLC0415

    root = environment.get(operation.ENV_TRUSTED_ROOT, "")
    return Signed(wish, volume, trust.trusted(wish, root, datetime.now(UTC)))  # noqa: TID251


def _repository(
    kind: RepositoryKind,
    client: HttpClient,
    credentials: Credentials,
    volume: Volume,
    mounted: Volume,
) -> RepositorySource:
    """Returns the source of a kind; a Job imports the one that it needs, and starts sooner for that."""
    match kind:
        case RepositoryKind.HUGGING_FACE:
            from model_gallery.sources.huggingface import HuggingFaceSource  # noqa: PLC0415

            return HuggingFaceSource(client, credentials)
        case RepositoryKind.OCI:
            from model_gallery.sources.oci import OciSource  # noqa: PLC0415

            return OciSource(client, credentials)
        case RepositoryKind.OLLAMA:
            from model_gallery.sources.ollama import OllamaSource  # noqa: PLC0415

            return OllamaSource(client, credentials)
        case RepositoryKind.S3:
            from model_gallery.sources.s3 import S3Source  # noqa: PLC0415

            return S3Source(client, credentials)
        case RepositoryKind.GITHUB | RepositoryKind.GITHUB_RELEASE:
            from model_gallery.sources.github import GitHubSource  # noqa: PLC0415

            return GitHubSource(client, credentials)
        case RepositoryKind.CLAIM | RepositoryKind.VOLUME:
            from model_gallery.sources.mounted import MountedSource  # noqa: PLC0415

            return MountedSource(mounted if kind is RepositoryKind.CLAIM else volume)
        case _:
            assert_never(kind)


def _proxy(environment: Mapping[str, str], proxy: str) -> str | None:
    """Returns what the proxy is told; None where there is none or nothing was given for it."""
    folder = environment.get(operation.ENV_PROXY, "")
    if not folder or not proxy:
        return None
    found = Credentials.read(Path(folder), "the Gallery's spec.proxyCredentials")
    return found.for_proxy(proxy)


def _credentials(environment: Mapping[str, str]) -> Credentials:
    folder = environment.get(operation.ENV_CREDENTIALS, "")
    return Credentials.read(Path(folder)) if folder else NO_CREDENTIALS


def _operation_text(environment: Mapping[str, str]) -> str:
    path = environment.get(operation.ENV_OPERATION_FILE)
    if path:
        with Path(path).open(encoding="utf-8") as file:
            return file.read(_MAX_OPERATION_BYTES)
    text = environment.get(operation.ENV_OPERATION, "")
    if not text:
        raise StalledError(
            Reason.INVALID_SPEC, f"the environment must hold {operation.ENV_OPERATION}"
        )
    return text


class _Terminated(BaseException):
    """Passes every handler of errors on its way: nothing may take it for one to try again after."""


def _terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise _Terminated


def _failure(error: GalleryError) -> ResultLine:
    after = error.retry_after if isinstance(error, TransientError) else None
    missing = error.missing_bytes if isinstance(error, StalledError) else None
    return ResultLine(
        reason=error.reason,
        message=error.message[:1024],
        retry_after_seconds=after,
        missing_bytes=missing,
    )


def _bug(error: Exception) -> ResultLine:
    message = f"a bug in the worker ({type(error).__name__}); its log holds the traceback"
    return ResultLine(reason=Reason.INTERNAL_ERROR, message=message)


def _exit_code(reason: Reason) -> int:
    if reason is Reason.SUCCEEDED:
        return exitcodes.SUCCESS
    row = exitcodes.by_reason(reason) or exitcodes.by_reason(Reason.INTERNAL_ERROR)
    return row.code if row is not None else 1
