"""A thin runner of kubectl: the tests see the cluster as a user does, not through our own client."""

from __future__ import annotations

import json
import os
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Kube", "KubectlError", "condition", "is_current", "wait_until"]

POLL_SECONDS = 0.3

_T = TypeVar("_T")


class KubectlError(AssertionError):
    """kubectl failed; the message holds the command and what it said."""


@dataclass(frozen=True)
class Kube:
    """kubectl against one cluster.

    Attributes:
        environment: KUBECONFIG, and PATH with kubectl and helm.
    """

    environment: dict[str, str]

    def run(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Returns what kubectl printed.

        Raises:
            KubectlError: it ended with another exit code than 0.
        """
        return self.program("kubectl", *arguments, stdin=stdin, timeout=timeout)

    def program(
        self, name: str, *arguments: str, stdin: str | None = None, timeout: float = 300
    ) -> str:
        """Runs a program (kubectl, helm) that talks to this cluster; returns what it printed."""
        done = subprocess.run(
            [name, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=os.environ | self.environment,
            check=False,
        )
        if done.returncode:
            shown = " ".join((name, *arguments))
            raise KubectlError(f"`{shown}` ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, *documents: dict[str, Any]) -> None:
        """Applies objects on the server's side, as the field manager `test`."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        self.run(
            "apply", "--server-side", "--field-manager=test", "-f", "-", stdin=json.dumps(items)
        )

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        """Returns the object, or None where there is none."""
        found = self.run("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        return json.loads(found) if found.strip() else None

    def list(self, kind: str, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        """Returns the objects of a kind in a namespace."""
        found = self.run("get", kind, "-n", namespace, "-l", selector, "-o", "json")
        items: list[dict[str, Any]] = json.loads(found)["items"]
        return items

    def delete(self, kind: str, name: str, namespace: str, *flags: str) -> None:
        """Asks for a deletion and does not wait for it."""
        self.run("delete", kind, name, "-n", namespace, "--wait=false", *flags)

    def wait_ready(self, model: str, namespace: str, timeout: float = 90) -> dict[str, Any]:
        """Returns the Model once it is Ready for its present generation."""

        def ready() -> dict[str, Any] | None:
            found = self.get("model", model, namespace)
            return found if found and is_current(found) else None

        return wait_until(
            f"Model {namespace}/{model} is Ready", ready, timeout, self._describe(model, namespace)
        )

    def wait_gone(self, kind: str, name: str, namespace: str, timeout: float = 60) -> None:
        """Returns once the object is gone."""
        wait_until(
            f"{kind} {namespace}/{name} is gone",
            lambda: self.get(kind, name, namespace) is None,
            timeout,
            lambda: self.run("get", kind, name, "-n", namespace, "-o", "yaml"),
        )

    @contextmanager
    def watching(self, kind: str, namespace: str, log: Path) -> Iterator[Callable[[], list[Any]]]:
        """Records every version of the objects; yields a function that returns what came so far."""
        command = ["kubectl", "get", kind, "-n", namespace, "-w", "-o", "json"]
        with (
            log.open("w") as output,
            subprocess.Popen(command, stdout=output, env=os.environ | self.environment) as process,
        ):
            try:
                yield lambda: list(_concatenated(log.read_text()))
            finally:
                process.kill()

    def _describe(self, model: str, namespace: str) -> Callable[[], str]:
        def describe() -> str:
            return "\n".join(
                self.run(*arguments, "-n", namespace)
                for arguments in (
                    ("get", "model", model, "-o", "yaml"),
                    ("get", "galleries,jobs,pods,pvc", "-o", "wide"),
                )
            )

        return describe


def wait_until(
    what: str,
    probe: Callable[[], _T | None],
    timeout: float,
    describe: Callable[[], str] | None = None,
) -> _T:
    """Returns the first true value of the probe; fails with a description of what is there."""
    deadline = time.monotonic() + timeout
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            state = describe() if describe else f"last seen: {value!r}"
            raise AssertionError(f"not within {timeout} s: {what}\n{state}")
        time.sleep(POLL_SECONDS)


def condition(found: dict[str, Any], kind: str) -> dict[str, Any]:
    """Returns the condition of the type, or an empty one."""
    conditions = found.get("status", {}).get("conditions", [])
    return next((entry for entry in conditions if entry["type"] == kind), {})


def is_current(found: dict[str, Any]) -> bool:
    """Whether kstatus calls the object Current: Ready, for the present generation, undisturbed."""
    status = found.get("status", {})
    return (
        status.get("observedGeneration") == found["metadata"]["generation"]
        and condition(found, "Ready").get("status") == "True"
        and condition(found, "Reconciling").get("status") != "True"
        and condition(found, "Stalled").get("status") != "True"
        and "deletionTimestamp" not in found["metadata"]
    )


def _concatenated(text: str) -> Iterator[Any]:
    """The JSON documents that stand one behind the other; a last one that is cut is left out."""
    decoder, position = json.JSONDecoder(), 0
    while position < len(text):
        try:
            value, position = decoder.raw_decode(text, position)
        except ValueError:
            return
        yield value
        while position < len(text) and text[position].isspace():
            position += 1
