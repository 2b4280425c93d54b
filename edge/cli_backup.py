"""The commands `backup` and `restore`: their flags, progress, and the recovery phrase."""

import argparse
import getpass
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from edge import asked, backup, cli_progress, control, shown
from edge.config import check_environment
from edge.errors import InvalidInput


def add(
    command: Callable[..., argparse.ArgumentParser],
    commands: Any,
    run: Callable[[argparse.Namespace], int | None],
    ask: Callable[[argparse.Namespace], Any],
) -> None:
    made = command(commands, "backup", "write the village into one sealed file", run, printed=True)
    made.add_argument("file", type=Path, help="a new file, such as /media/usb/village.backup")
    made.add_argument("--force", action="store_true", help="write over a file that is there")
    made.set_defaults(make=_backed_up)
    help_ = "make the village's folder again from a backup; asks for the recovery phrase"
    made = command(commands, "restore", help_, run, printed=True)
    made.add_argument("file", type=Path, nargs="?", help="what `backup` wrote")
    made.add_argument(
        "--go-on-without-neighbours",
        action="store_true",
        help="of a restored village: do not wait for those that cannot be asked",
    )
    made.set_defaults(
        make=lambda arguments: _restored(arguments, ask), ask=lambda _: control.GoOn()
    )


def _backed_up(arguments: argparse.Namespace) -> tuple[object, Iterator[str]]:
    check_environment(os.environ)
    made = backup.make(
        arguments.dir, arguments.file, cli_progress.of_parts(arguments), force=arguments.force
    )
    return msgspec.to_builtins(made), shown.backed_up(made)


def _restored(
    arguments: argparse.Namespace, ask: Callable[[argparse.Namespace], Any]
) -> tuple[object, Iterator[str]]:
    check_environment(os.environ)
    if arguments.go_on_without_neighbours == (arguments.file is not None):
        raise InvalidInput("give the backup's file, or --go-on-without-neighbours, not both")
    if arguments.go_on_without_neighbours:
        answer = ask(arguments)
        return answer, shown.goes_on(answer)
    phrase = _phrase()
    made = backup.restore(arguments.file, arguments.dir, phrase, cli_progress.of_parts(arguments))
    return msgspec.to_builtins(made), shown.restored(made, arguments.dir)


def _phrase() -> str:
    """Ask for the recovery phrase on a terminal, else read it from standard input."""
    if not sys.stdin.isatty():
        return asked.read_line("the recovery phrase")
    try:
        return getpass.getpass("The village's recovery phrase, twelve words: ")
    except EOFError:
        raise InvalidInput("no recovery phrase was typed") from None
