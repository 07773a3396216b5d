"""What a worker is told: one operation, as JSON in an environment variable or a mounted file."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError
from model_gallery.protocol.message import MalformedError, Message, decoded

__all__ = [
    "ENV_CA",
    "ENV_CREDENTIALS",
    "ENV_OPERATION",
    "ENV_OPERATION_FILE",
    "ENV_PROXY",
    "ENV_SOURCE",
    "ENV_TRUSTED_ROOT",
    "MAX_ENV_BYTES",
    "AnyOperation",
    "Document",
    "InstallOperation",
    "NetworkPolicy",
    "Owner",
    "RemoveOperation",
    "Repository",
    "RepositoryKind",
    "ScanOperation",
    "SignerIdentity",
    "VerifyOperation",
    "WantedFile",
    "parse",
]

ENV_OPERATION = "MODEL_GALLERY_OPERATION"
"""Environment variable that holds the operation."""
ENV_OPERATION_FILE = "MODEL_GALLERY_OPERATION_FILE"
"""Environment variable that names the mounted file, for an operation too large for a variable."""
ENV_CREDENTIALS = "MODEL_GALLERY_CREDENTIALS"
"""Environment variable that names the folder of the mounted Secret; unset without one."""
ENV_CA = "MODEL_GALLERY_CA"
"""Environment variable that names a file with extra certificate authorities; unset without."""
ENV_PROXY = "MODEL_GALLERY_PROXY_CREDENTIALS"
"""Environment variable that names the folder of the Secret for the proxy; unset without one."""
ENV_SOURCE = "MODEL_GALLERY_SOURCE"
"""Environment variable that names the folder of the claim that files are copied from."""
ENV_TRUSTED_ROOT = "MODEL_GALLERY_TRUSTED_ROOT"
"""Environment variable that names a file with Sigstore's trusted root; unset without."""
MAX_ENV_BYTES = 64 * 1024
"""Above this many bytes the operation travels in a ConfigMap; execve limits one string to 128 KiB."""


class Owner(Message, frozen=True, kw_only=True):
    """The object for which the worker works: a Model, or a Gallery for a scan."""

    namespace: str
    name: str
    uid: str


class WantedFile(Message, frozen=True, kw_only=True):
    """One file to fetch.

    Attributes:
        path: where to publish it, relative to the volume's root.
        url: http(s) URL, after rewrites; or file:///path for a file of the volume itself.
        sha256: 64 lower-case hex digits, or None where the source promises none.
        unpack: whether the file is an archive whose members are published, below its folder, instead.
    """

    path: str
    url: str
    sha256: str | None = None
    unpack: bool = False


class RepositoryKind(StrEnum):
    """Where a repository lives."""

    HUGGING_FACE = "HuggingFace"
    OCI = "OCI"
    OLLAMA = "Ollama"
    S3 = "S3"
    CLAIM = "Claim"
    VOLUME = "Volume"
    GITHUB = "GitHub"
    GITHUB_RELEASE = "GitHubRelease"


class Repository(Message, frozen=True, kw_only=True):
    """A source of which only the worker learns the files.

    Attributes:
        url: after rewrites. Hugging Face: `https://<endpoint>/<owner>/<repo>`. OCI and Ollama:
            `https://<registry>/<repository path>`. S3: `https://<endpoint>/<bucket>/<key or prefix/>`.
            Claim: `pvc://<claim>/<path>`. Volume: `file:///<path>`, below the Gallery's own volume.
            GitHub, GitHubRelease: `https://<endpoint>/<owner>/<repo>`.
        revision: branch, tag, commit, `sha256:` digest or S3 version; of a GitHubRelease its tag, or what
            it was found to be (`Resolution.revision`); empty: the kind's default.
        include: glob patterns (fnmatch, `*` crosses slashes) of file names to take; empty: all.
        exclude: glob patterns of file names to leave out; wins over `include`.
        folder: where the files are published, relative to the volume's root; empty: the root.
        region: of S3; empty: `us-east-1`.
        path_style: whether an S3 bucket is named in the path and not in the host.
        path: of GitHub: a file, a folder where it ends in a slash, empty: everything. Of a GitHubRelease:
            the name of one asset; empty: all.
    """

    kind: RepositoryKind
    url: str
    revision: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    folder: str = ""
    region: str = ""
    path_style: bool = True
    path: str = ""


class Document(Message, frozen=True, kw_only=True):
    """One small text file that the operator itself composed; published after the fetched files."""

    path: str
    content: str


class NetworkPolicy(Message, frozen=True, kw_only=True):
    """Which addresses the worker may connect to. Public ones always; of the others only these.

    Attributes:
        allowed_networks: CIDR blocks of private addresses that the administrator allows.
        allow_plain_http: whether http:// may be used at all.
        proxy: URL of the proxy for all requests; empty: none. It resolves names, so only addresses that
            are written as such can be judged here.
        no_proxy: hosts that are reached without it; one that begins with a dot means all below.
        stall_seconds: longest time without a byte, for headers and bodies alike.
    """

    allowed_networks: tuple[str, ...] = ()
    allow_plain_http: bool = True
    proxy: str = ""
    no_proxy: tuple[str, ...] = ()
    stall_seconds: float = 60.0


class SignerIdentity(Message, frozen=True, kw_only=True):
    """A signer, and who says that it is he; both to the letter."""

    issuer: str
    subject: str


class InstallOperation(Message, frozen=True, kw_only=True, tag_field="kind", tag="install"):
    """Fetch, verify and publish.

    Attributes:
        plan_digest: digest of the wish (files and documents); the receipt records it.
        documents: published last, in this order.
        repository: fetched too, where it is set.
        bandwidth_bytes: most bytes per second; 0: no limit.
        safe_formats: whether files that can carry code, and broken headers, are refused.
        recheck: whether what lies on the volume is read and compared before it is taken as it is;
            what is damaged is mended.
        plan_only: tell what would be fetched, and change nothing.
        fetch_only: bring the contents whose digests are promised onto the volume, and publish nothing.
        keep_seconds: how long contents of an earlier plan stay for a way back.
        checksums_required: whether a file without a promised digest is refused.
        signature_keys: public keys in PEM. Where any of these three is not empty, the files must be
            signed by one whom any of them knows.
        signature_authorities: certificates in PEM of who vouches for signers.
        signature_identities: who may prove to a Sigstore instance to be the signer.
        own_trusted_root: whether ENV_TRUSTED_ROOT must name that instance; else it is the public one.
        quota_bytes: most bytes that this Model's files may have; None: no limit.
        from_receipt: the files and documents are those of the receipt, at the addresses that it
            remembers, whatever the operation names.
    """

    owner: Owner
    plan_digest: str
    files: tuple[WantedFile, ...] = ()
    documents: tuple[Document, ...] = ()
    repository: Repository | None = None
    network: NetworkPolicy = NetworkPolicy()
    bandwidth_bytes: int = 0
    safe_formats: bool = False
    recheck: bool = False
    plan_only: bool = False
    fetch_only: bool = False
    keep_seconds: int = 0
    checksums_required: bool = False
    signature_keys: tuple[str, ...] = ()
    signature_authorities: tuple[str, ...] = ()
    signature_identities: tuple[SignerIdentity, ...] = ()
    own_trusted_root: bool = False
    quota_bytes: int | None = None
    from_receipt: bool = False

    @property
    def asks_for_signature(self) -> bool:
        """Whether the files must be signed."""
        return bool(self.signature_keys or self.signature_authorities or self.signature_identities)


class VerifyOperation(Message, frozen=True, kw_only=True, tag_field="kind", tag="verify"):
    """Read what was published for a Model and compare it with its receipt. Changes nothing.

    Attributes:
        bandwidth_bytes: most bytes to read per second; 0: no limit.
    """

    owner: Owner
    bandwidth_bytes: int = 0


class ScanOperation(Message, frozen=True, kw_only=True, tag_field="kind", tag="scan"):
    """Look at the whole volume: what receipts name, what nobody owns, how much room there is.

    Attributes:
        owner: the Gallery.
        max_files: files that are looked at, and folders; a larger volume is told to be cut.
        models: uids of the Models that live: what is staged for others is needed by nobody.
        collect: whether what nobody needs is removed, and not only counted.
        collect_age_seconds: how old something of ours that nobody needs must be to be removed.
    """

    owner: Owner
    max_files: int = 100_000
    models: tuple[str, ...] = ()
    collect: bool = False
    collect_age_seconds: int = 3600


class RemoveOperation(Message, frozen=True, kw_only=True, tag_field="kind", tag="remove"):
    """Remove what the receipt of this Model names, and its staging.

    Attributes:
        retain_files: leave the published files, remove only our own records and staging.
    """

    owner: Owner
    retain_files: bool = False


AnyOperation = InstallOperation | RemoveOperation | ScanOperation | VerifyOperation
_DECODER: msgspec.json.Decoder[AnyOperation] = msgspec.json.Decoder(AnyOperation)


def parse(text: str | bytes) -> AnyOperation:
    """Returns the operation that the JSON text describes.

    Raises:
        StalledError: InvalidSpec, where it is none.
    """
    try:
        return decoded(_DECODER, text)
    except MalformedError as error:
        raise StalledError(Reason.INVALID_SPEC, f"the operation is invalid: {error}") from error
