"""Credentials from the Secret that a Model names, bound to the hosts that the Secret itself allows.

Who may create a Model but not read Secrets could otherwise name any Secret and a server of his own. So a
Secret must opt in: its key `allowed-hosts` lists exact host names, separated by spaces, commas or lines.
Only the worker reads the Secret, as mounted files; nothing of it is ever put into a message.

| keys | for |
| --- | --- |
| `token` | bearer token (Hugging Face, GitHub, http) |
| `username`, `password` | basic authentication (http, OCI) |
| `.dockerconfigjson` | OCI registries |
| `accessKeyId`, `secretAccessKey`, `sessionToken` | S3 |
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError
from model_gallery.transport.authorize import Authorize, nobody

__all__ = ["NO_CREDENTIALS", "Credentials", "bound", "origin_of"]

_MAX_BYTES = 64 * 1024
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\Z")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> tuple[str, str, int]:
    """Returns scheme, host and port: what a credential belongs to."""
    parts = urlsplit(url)
    return (
        parts.scheme,
        (parts.hostname or "").lower(),
        parts.port or _DEFAULT_PORTS.get(parts.scheme, 0),
    )


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What a Secret holds.

    Attributes:
        named: whether the Model names a Secret at all; without one every source is asked anonymously.
        allowed_hosts: hosts to which anything of it may be sent.
        values: by key, the text of each file.
        where: the field that names the Secret.
    """

    named: bool = False
    allowed_hosts: frozenset[str] = frozenset()
    values: Mapping[str, str] = field(default_factory=dict)
    where: str = "spec.credentials"

    @classmethod
    def read(cls, folder: Path, where: str = "spec.credentials") -> Credentials:
        """Reads a mounted Secret.

        Raises:
            StalledError: SecretNotAllowed, where it is missing or does not opt in.
        """
        values = {
            file.name: _text(file)
            for file in sorted(folder.iterdir() if folder.is_dir() else ())
            if file.is_file() and not file.name.startswith("..")
        }
        if not values:
            raise _refused(f"the Secret of {where} does not exist or is empty; create it")
        listed = re.split(r"[\s,]+", values.pop("allowed-hosts", "").strip().lower())
        hosts = frozenset(host for host in listed if host)
        if not hosts:
            raise _refused(f"the Secret of {where} does not opt in: give it the key allowed-hosts")
        if not all(_HOST.match(host) for host in hosts):
            raise _refused("allowed-hosts of the Secret must list exact host names, no patterns")
        return cls(named=True, allowed_hosts=hosts, values=values, where=where)

    def allows(self, url: str) -> bool:
        """Whether anything of the Secret may be sent to the URL's host."""
        return origin_of(url)[1] in self.allowed_hosts

    def require(self, url: str) -> None:
        """Refuses a host that the Secret does not allow.

        Raises:
            StalledError: SecretNotAllowed, naming the host.
        """
        if self.named and not self.allows(url):
            host = origin_of(url)[1]
            raise _refused(
                f"the Secret of {self.where} does not allow host {host[:100]};"
                f" add it to the Secret's allowed-hosts, or leave {self.where} out"
            )

    def bearer_or_basic(self, url: str) -> Authorize:
        """Returns who authorizes requests to the URL's origin, and to no other.

        Raises:
            StalledError: SecretNotAllowed, naming the host.
        """
        self.require(url)
        header = self.header()
        if header is None:
            return nobody
        return bound(origin_of(url), {"Authorization": header})

    def header(self) -> str | None:
        """Returns the value of an Authorization header: the token's, or that of user name and password."""
        token = self.values.get("token")
        return f"Bearer {token}" if token else self.basic()

    def basic(self, user_of_token: str = "") -> str | None:
        """Returns the value of an Authorization header, where user name and password are known.

        Args:
            user_of_token: goes with a token in the place of a password, where both are taken; empty: none.
        """
        user, password = self.values.get("username"), self.values.get("password")
        token = self.values.get("token")
        if user_of_token and token:
            user, password = user_of_token, token
        if user is None or password is None:
            return None
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def for_proxy(self, url: str) -> str:
        """Returns the value of a Proxy-Authorization header for a proxy.

        Raises:
            StalledError: SecretNotAllowed, where it does not name the proxy's host or lacks a key.
        """
        self.require(url)
        value = self.basic()
        if value is None:
            raise _refused(f"the Secret of {self.where} must have the keys username and password")
        return value

    def docker_basic(self, registry: str) -> str | None:
        """Returns the Authorization value for a registry host (with port), from `.dockerconfigjson`.

        Raises:
            StalledError: SecretNotAllowed, where the file is not what docker writes.
        """
        text = self.values.get(".dockerconfigjson")
        if text is None:
            return self.basic()
        try:
            auths = json.loads(text)["auths"]
            found = auths.get(registry) or auths.get(f"https://{registry}") or {}
            if "auth" in found:
                base64.b64decode(found["auth"], validate=True)
                return f"Basic {found['auth']}"
            if "username" in found:
                pair = f"{found['username']}:{found.get('password', '')}"
                return "Basic " + base64.b64encode(pair.encode()).decode()
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise _refused(".dockerconfigjson of the Secret is not what docker writes") from error
        return None


def bound(origin: tuple[str, str, int], headers: Mapping[str, str]) -> Authorize:
    """Returns who hands the headers out to one origin only."""

    def authorize(url: str) -> Mapping[str, str]:
        return headers if origin_of(url) == origin else {}

    return authorize


NO_CREDENTIALS = Credentials()


def _text(file: Path) -> str:
    with file.open("rb") as opened:
        content = opened.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise _refused(f"key {file.name} of the Secret is larger than {_MAX_BYTES} bytes")
    try:
        text = content.decode().strip()
    except UnicodeDecodeError as error:
        raise _refused(f"key {file.name} of the Secret is no text") from error
    if file.name not in {".dockerconfigjson", "allowed-hosts"} and not text.isprintable():
        raise _refused(f"key {file.name} of the Secret must be one line of printable characters")
    return text


def _refused(message: str) -> StalledError:
    return StalledError(Reason.SECRET_NOT_ALLOWED, message)
