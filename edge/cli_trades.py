"""The commands with which a steward looks after open trades: their flags."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from edge import asked, control, shown
from edge.errors import InvalidInput


class Asking(Protocol):
    """Adds a command that asks the box something; see cli."""

    def __call__(
        self,
        commands: Any,
        name: str,
        help_: str,
        ask: Callable[[argparse.Namespace], control.AnyCommand],
        show: Callable[[Any], Iterable[str]],
    ) -> argparse.ArgumentParser: ...


def add(asking: Asking, trade: Any, trade_help: str) -> None:
    """Add `trade list` and `trade abandon`."""
    made = asking(
        trade,
        "list",
        "all trades and what each waits for",
        lambda a: control.TradeList(a.deciding, counted=not (a.json or a.deciding)),
        shown.listed,
    )
    made.add_argument(
        "--deciding",
        action="store_true",
        help="instead those of other villages that this one helps to decide",
    )
    made = asking(
        trade,
        "abandon",
        "give up a trade: one that binds nobody, or a bound one with its decision as evidence",
        _abandon,
        shown.one_trade,
    )
    made.add_argument("trade", help=trade_help)
    made.add_argument("--reason", default="", help="why, for the member; it stays in this box")
    made.add_argument(
        "--evidence",
        type=Path,
        metavar="FILE",
        help="a receipt of it, as another village's `export receipt` writes it",
    )


def _abandon(arguments: argparse.Namespace) -> control.AnyCommand:
    path: Path | None = arguments.evidence
    text = asked.read_text(path) if path is not None else ""
    if path is not None and not text.strip():
        raise InvalidInput(f"{path} is empty: it is no evidence")
    return control.TradeAbandon(arguments.trade, arguments.reason, text)
