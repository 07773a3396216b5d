"""`kubectl model`: argument parsing only. kubectl finds it by its name, `kubectl-model`, on the PATH."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from model_gallery import __version__
from model_gallery.plugin import cluster
from model_gallery.plugin.commands import (
    available,
    collection,
    describe,
    install,
    lifecycle,
    listing,
    logs,
    waiting,
)
from model_gallery.plugin.manifests import Wish
from model_gallery.plugin.output import Format, Output
from model_gallery.plugin.problem import Exit, Problem
from model_gallery.plugin.session import Session

__all__ = ["main", "seconds"]

_Options = argparse.Namespace
_Command = Callable[[Session, _Options], int]
_Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for it

_DEFAULT_TIMEOUT = "30m"
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"(?:[0-9]+[smh])+\Z|[0-9]+\Z")
_DESCRIPTION = "Lists, installs, watches and removes the AI models of a cluster."
_EPILOG = """\
examples:
  kubectl model available llama --gallery demo     what the index offers
  kubectl model install tiny-llama --gallery demo --wait
  kubectl model list -A
  kubectl model describe tiny-llama                why it is as it is

exit codes: 0 done, 1 failed, Stalled or too late, 2 wrong usage
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments name; returns the exit code."""
    options = _parser().parse_args(arguments)
    command: _Command = options.command
    place = cluster.place(options.kubeconfig, options.context, options.namespace)
    session = Session(place, Output(Format(options.output)), _now)
    try:
        code = command(session, options)
        sys.stdout.flush()
        return code
    except Problem as problem:
        sys.stderr.write(f"kubectl model: {problem.message}\n")
        return problem.exit_code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing must be flushed to him at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    finally:
        session.close()


def seconds(text: str) -> float:
    """Returns the seconds of `90`, `90s`, `30m` or `1h30m`.

    Raises:
        argparse.ArgumentTypeError: it is none of these.
    """
    if not _DURATION.match(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 90s, 30m or 1h30m")
    return float(
        sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)([smh]?)", text))
    )


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the program's one look at the clock


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kubectl model",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    _add_common(parser, first=True)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        *(_add_list, _add_available, _add_describe, _add_install, _add_remove, _add_verify),
        *(_add_suspend, _add_resume, _add_logs, _add_wait, _add_adopt, _add_gc),
    ):
        add(commands)
    return parser


def _add_common(parser: argparse.ArgumentParser, *, first: bool = False) -> None:
    """Adds what may stand before and behind the command; only before it there are defaults."""

    def default(value: str | None) -> str | None:
        return value if first else argparse.SUPPRESS

    where = parser.add_argument_group("where, and how to print")
    where.add_argument("-n", "--namespace", default=default(None), help="default: the context's")
    where.add_argument("--context", default=default(None), help="context of the kubeconfig")
    where.add_argument(
        "--kubeconfig", metavar="FILE", default=default(None), help="default: $KUBECONFIG"
    )
    where.add_argument(
        "-o",
        "--output",
        choices=[one.value for one in Format],
        default=default(Format.TABLE.value),
        help="default: table",
    )


def _add(
    commands: _Commands[argparse.ArgumentParser], name: str, about: str, *examples: str
) -> argparse.ArgumentParser:
    shown = "".join(f"  kubectl model {example}\n" for example in examples)
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=about,
        description=about[0].upper() + about[1:] + ".",
        epilog=f"examples:\n{shown}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_common(parser)
    return parser


def _add_waiting(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--wait", action="store_true", help=f"wait until {what}")
    _add_timeout(parser)


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="DURATION",
        default=_DEFAULT_TIMEOUT,
        help=f"how long to wait, such as 90s or 1h; default: {_DEFAULT_TIMEOUT}",
    )


def _add_gallery(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gallery", metavar="NAME", help="default: the only Gallery of the namespace"
    )


def _add_naming(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="", help="of the Model; default: made of its source")
    parser.add_argument(
        "--served-name", default="", metavar="NAME", help="the name that backends know"
    )


def _add_list(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "list", "list Models", "list", "list -A -o wide", "list -o json")
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    parser.set_defaults(
        command=lambda session, options: listing.run(session, everywhere=options.all_namespaces)
    )


def _add_available(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "available",
        "search the index of a Gallery",
        "available --gallery demo",
        "available llama --gallery demo -o wide",
        "available '*-q4_k_m' -o name",
    )
    parser.add_argument(
        "pattern",
        metavar="PATTERN",
        nargs="?",
        default="",
        help="part of a name, tag or description; with * or ? a whole name; default: all",
    )
    _add_gallery(parser)
    parser.set_defaults(
        command=lambda session, options: available.run(session, options.pattern, options.gallery)
    )


def _add_describe(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "describe", "show all that is known of a Model", "describe tiny-llama")
    parser.add_argument("name", metavar="NAME")
    parser.set_defaults(command=lambda session, options: describe.run(session, options.name))


def _add_install(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "install",
        "create a Model from an entry of the index or from a URI",
        "install tiny-llama --gallery demo --wait",
        "install 'llama-3.2-1b-instruct:q4_k_m' --name llama --gallery demo",
        "install https://example.com/m.gguf --sha256 3f2a... --gallery demo",
        "install ollama://qwen3:0.6b --gallery demo --dry-run > model.yaml",
    )
    parser.add_argument("what", metavar="ENTRY|URI", help="see `available`, or docs/sources.md")
    _add_gallery(parser)
    _add_naming(parser)
    parser.add_argument("--sha256", default="", help="promised digest, for a URI of one file")
    parser.add_argument("--dry-run", action="store_true", help="print the manifest, create nothing")
    _add_waiting(parser, "it is Ready or Stalled")
    parser.set_defaults(command=_install)


def _add_remove(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "remove",
        "delete a Model, with its files unless they shall stay",
        "remove tiny-llama --wait",
        "remove tiny-llama --retain",
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--retain", action="store_true", help="leave its files on the volume")
    _add_waiting(parser, "it is gone")
    parser.set_defaults(
        command=lambda session, options: lifecycle.remove(
            session, options.name, retain=options.retain, wait_seconds=_waited(options)
        )
    )


def _add_verify(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "verify",
        "have all files of a Model read and compared",
        "verify tiny-llama --wait",
    )
    parser.add_argument("name", metavar="NAME")
    _add_waiting(parser, "the check is done, and show what it found")
    parser.set_defaults(
        command=lambda session, options: lifecycle.verify(
            session, options.name, wait_seconds=_waited(options)
        )
    )


def _add_suspend(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "suspend", "stop the transfer of a Model", "suspend tiny-llama")
    parser.add_argument("name", metavar="NAME")
    parser.set_defaults(command=lambda session, options: lifecycle.suspend(session, options.name))


def _add_resume(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "resume", "let a suspended Model go on", "resume tiny-llama --wait")
    parser.add_argument("name", metavar="NAME")
    _add_waiting(parser, "it is Ready or Stalled")
    parser.set_defaults(
        command=lambda session, options: lifecycle.resume(
            session, options.name, wait_seconds=_waited(options)
        )
    )


def _add_logs(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands, "logs", "print what the newest worker of a Model says", "logs tiny-llama -f"
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as it says more")
    parser.set_defaults(
        command=lambda session, options: logs.run(session, options.name, follow=options.follow)
    )


def _add_wait(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "wait",
        "wait until Models are Ready, and show how they get on",
        "wait tiny-llama",
        "wait tiny-llama big-file --timeout 2h",
    )
    parser.add_argument("names", metavar="NAME", nargs="+")
    _add_timeout(parser)
    parser.set_defaults(
        command=lambda session, options: waiting.until_settled(
            session, options.names, options.timeout
        )
    )


def _add_adopt(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "adopt",
        "print a Model for a file that lies on the volume already",
        "adopt old/mistral.gguf --gallery demo --sha256 3f2a... > model.yaml",
        "adopt old/mistral.gguf --gallery demo --apply",
    )
    parser.add_argument("path", metavar="PATH", help="relative to the root of the Gallery's volume")
    _add_gallery(parser)
    _add_naming(parser)
    parser.add_argument(
        "--sha256",
        default="",
        help="digest that the file must have; without, its present bytes are taken as they are",
    )
    parser.add_argument("--apply", action="store_true", help="create it")
    parser.set_defaults(command=_adopt)


def _add_gc(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "gc",
        "have what nobody needs removed from the volume of a Gallery",
        "gc --gallery demo --dry-run",
        "gc --gallery demo",
    )
    _add_gallery(parser)
    parser.add_argument("--dry-run", action="store_true", help="only show how much it is")
    parser.set_defaults(
        command=lambda session, options: collection.run(
            session, session.gallery(options.gallery), dry_run=options.dry_run
        )
    )


def _install(session: Session, options: _Options) -> int:
    return install.install(
        session,
        _wish(session, options, options.what),
        dry_run=options.dry_run,
        wait_seconds=_waited(options),
    )


def _adopt(session: Session, options: _Options) -> int:
    return install.adopt(session, _wish(session, options, options.path), apply=options.apply)


def _wish(session: Session, options: _Options, what: str) -> Wish:
    return Wish(
        what=what,
        gallery=session.gallery(options.gallery),
        namespace=session.namespace,
        name=options.name,
        served_name=options.served_name,
        sha256=options.sha256,
    )


def _waited(options: _Options) -> float | None:
    return options.timeout if options.wait else None
