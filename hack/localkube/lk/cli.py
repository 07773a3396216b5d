"""The command line."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path

from lk import addons, cluster, images, prerequisites, status, tools, volume
from lk.api import ApiError
from lk.paths import ClusterPaths
from lk.report import LocalkubeError, report_failure, say, step, tail

LOG_LINES = 200


def main(arguments: list[str]) -> int:
    """Run one subcommand; return its exit code."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except LocalkubeError as error:
        return report_failure(error)
    except ApiError as error:
        return report_failure(LocalkubeError(str(error)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="localkube",
        description="A real single-node Kubernetes in a network namespace of its own.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 something is missing on the "
        "machine, 4 there is no such running cluster.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str,
        run: Callable[[argparse.Namespace], int],
        text: str,
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--name", default="default", help="cluster name (default: default)")
        sub.set_defaults(run=run)
        return sub

    up = command("up", _up, "bring a cluster up, or check and repair it")
    up.add_argument(
        "--control-plane",
        action="store_true",
        help="only etcd, kube-apiserver and kube-controller-manager",
    )
    up.add_argument(
        "--install-packages", action="store_true", help="apt-get install what is missing"
    )
    command("down", _down, "end a cluster and remove everything of it")
    command("status", _status, "show processes, versions, addresses, memory")
    command("kubeconfig", _kubeconfig, "print the path of the kubeconfig")
    command("env", _env, "print shell exports of KUBECONFIG and PATH")
    load = command("load-image", _load_image, "import a docker- or OCI-archive into the node")
    load.add_argument("archive", type=Path)
    logs = command("logs", _logs, "list the components' logs, or print the end of one")
    logs.add_argument("component", nargs="?")
    claim = command("volume", _volume, "print where the host sees a claim's files")
    claim.add_argument("what", choices=["path"])
    claim.add_argument("claim", metavar="NAMESPACE/CLAIM")
    base = command(
        "base-image",
        _base_image,
        "print the archive of debian:bookworm-slim, making it when missing",
    )
    base.add_argument(
        "--install-packages", action="store_true", help="apt-get install what is missing"
    )
    build = command("build", _build, "build the tools into the cache, and start nothing")
    build.add_argument("--control-plane", action="store_true", help="only what that size needs")
    return parser


def _up(options: argparse.Namespace) -> int:
    with step(f"up {options.name}"):
        made = cluster.up(
            options.name, full=not options.control_plane, install_packages=options.install_packages
        )
    say(
        f"localkube: cluster {options.name} ({made.size}) is ready; "
        f"export KUBECONFIG={made.paths.kubeconfig}"
    )
    return 0


def _down(options: argparse.Namespace) -> int:
    if not cluster.down(options.name):
        say(f"localkube: there is no cluster {options.name!r}")
    return 0


def _status(options: argparse.Namespace) -> int:
    text, healthy = status.describe(cluster.existing(options.name))
    print(text)
    others = [name for name in cluster.names() if name != options.name]
    if others:
        print(f"\nother clusters: {' '.join(others)}")
    return 0 if healthy else 4


def _kubeconfig(options: argparse.Namespace) -> int:
    print(cluster.existing(options.name).paths.kubeconfig)
    return 0


def _env(options: argparse.Namespace) -> int:
    made = cluster.existing(options.name)
    directories = dict.fromkeys(str(tools.path(name).parent) for name in ("kubectl", "helm"))
    print(f"export KUBECONFIG={shlex.quote(str(made.paths.kubeconfig))}")
    print(f'export PATH={shlex.quote(":".join(directories))}:"$PATH"')
    print(f"export LOCALKUBE_HOST_IP={made.addresses.host_ip}")
    print(f"export LOCALKUBE_NODE_IP={made.addresses.node_ip}")
    print(f"export LOCALKUBE_AUDIT_LOG={shlex.quote(str(made.paths.audit))}")
    return 0


def _load_image(options: argparse.Namespace) -> int:
    made, init = cluster.living(options.name)
    if not made.full:
        raise LocalkubeError("a control-plane cluster runs no containers", code=2)
    if not options.archive.is_file():
        raise LocalkubeError(f"there is no file {options.archive}", code=2)
    with step(f"load {options.archive}"):
        print(addons.load_image(made.paths, init, options.archive).strip())
    return 0


def _logs(options: argparse.Namespace) -> int:
    paths: ClusterPaths = cluster.existing(options.name).paths
    if options.component is None:
        for log in sorted(paths.logs.glob("*.log")):
            print(f"{log.stem:<26}{log}")
        return 0
    if not paths.log(options.component).exists():
        raise LocalkubeError(f"there is no log of {options.component!r}", code=2)
    print(tail(paths.log(options.component), LOG_LINES))
    return 0


def _volume(options: argparse.Namespace) -> int:
    print(volume.host_path(options.name, options.claim))
    return 0


def _base_image(options: argparse.Namespace) -> int:
    prerequisites.ensure({"mmdebstrap": "mmdebstrap"}, install=options.install_packages)
    print(images.base_image().archive)
    return 0


def _build(options: argparse.Namespace) -> int:
    tools.build(tools.CONTROL_PLANE if options.control_plane else tools.FULL)
    return 0
