"""The command line: argument parsing only. Each command imports what it needs when it runs."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable, Sequence
from pathlib import Path

from model_gallery import __version__

__all__ = ["main"]

_Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments name; returns the exit code."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    command: _Command = options.command
    if rest and command is not _adopt:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    return command(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="model-gallery", description="Keeps AI model files on volumes as custom resources say."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    operator = commands.add_parser("operator", help="run the operator (set up by environment)")
    operator.set_defaults(command=_operator)
    worker = commands.add_parser("worker", help="run one operation on a volume (in a Job pod)")
    worker.set_defaults(command=_worker)
    sidecar = commands.add_parser(
        "sidecar", help="tell which process uses which model (in a serving pod)"
    )
    sidecar.set_defaults(command=_sidecar)
    webhook = commands.add_parser(
        "webhook", help="add the sidecar to pods (where no MutatingAdmissionPolicy is served)"
    )
    webhook.set_defaults(command=_webhook)
    adopt = commands.add_parser(
        "adopt",
        add_help=False,
        help="write the Model of a loose file on a volume; the same as `kubectl model adopt`",
    )
    adopt.set_defaults(command=_adopt)
    crds = commands.add_parser("crds", help="print the custom resource definitions")
    crds.add_argument("--output", type=Path, metavar="DIR", help="write one file each instead")
    crds.set_defaults(command=_crds)
    catalog = commands.add_parser("catalog", help="for authors of galleries")
    _add_check(catalog.add_subparsers(required=True, metavar="COMMAND"))
    return parser


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = commands.add_parser(
        "check", help="check an index: entries, how many resolve, each problem with its entry"
    )
    check.add_argument("index", metavar="INDEX", help="a file, or an http(s) URL")
    check.add_argument(
        "--configs",
        type=Path,
        metavar="DIR",
        help="take base configurations from DIR by their file name instead of fetching them",
    )
    check.add_argument("-o", "--output", choices=("text", "json"), default="text")
    check.set_defaults(command=_check)


def _operator(_: argparse.Namespace) -> int:
    from model_gallery.controller import main as controller  # noqa: PLC0415 - start-up time

    return controller.main()


def _worker(_: argparse.Namespace) -> int:
    # A Job waits for this: nothing that is built while modules load is worth a collection.
    gc.disable()
    from model_gallery.worker import main as worker  # noqa: PLC0415 - the worker loads no kopf

    gc.freeze()
    gc.enable()
    return worker.main()


def _webhook(_: argparse.Namespace) -> int:
    from model_gallery.webhook import main as webhook  # noqa: PLC0415 - it loads no kopf

    return webhook.main()


def _adopt(options: argparse.Namespace) -> int:
    from model_gallery.plugin import main as plugin  # noqa: PLC0415 - start-up time

    return plugin.main(["adopt", *options.rest])


def _sidecar(_: argparse.Namespace) -> int:
    from model_gallery.sidecar import main as sidecar  # noqa: PLC0415 - it loads no kopf

    return sidecar.main()


def _crds(options: argparse.Namespace) -> int:
    from model_gallery.api import crds  # noqa: PLC0415 - start-up time

    for name, text in crds.render().items():
        if options.output is None:
            print(f"---\n{text}", end="")
        else:
            options.output.mkdir(parents=True, exist_ok=True)
            (options.output / name).write_text(text, encoding="utf-8")
    return 0


def _check(options: argparse.Namespace) -> int:
    from model_gallery.controller import check  # noqa: PLC0415 - start-up time

    return check.run(options.index, options.configs, as_json=options.output == "json")
