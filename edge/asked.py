"""The command that the words on the command line ask for."""

import argparse
import getpass
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge import control, desk, shown
from edge.appliance.randomness import random_bytes
from edge.core import names
from edge.errors import ConfigError, InvalidInput

FILE_BYTES_MAX = 8 * 1024 * 1024
LINE_BYTES_MAX = 4_096


def member_add(arguments: argparse.Namespace) -> control.AnyCommand:
    return control.MemberAdd(arguments.name, _pin(arguments), arguments.steward)


def member_pin(arguments: argparse.Namespace) -> control.AnyCommand:
    return control.MemberPin(arguments.name, _pin(arguments))


def pay(a: argparse.Namespace) -> control.AnyCommand:
    return control.Pay(a.payer, a.payee, a.amount, a.asset, a.note, a.id or _fresh_id())


def issue(a: argparse.Namespace) -> control.AnyCommand:
    return control.Issue(a.payee, a.amount, a.note, a.id or _fresh_id())


def declare(a: argparse.Namespace) -> control.AnyCommand:
    return control.Declare(a.owner, a.resource, a.amount, a.decimals, a.id or _fresh_id())


def consume(a: argparse.Namespace) -> control.AnyCommand:
    return control.Consume(a.owner, a.resource, a.amount, a.id or _fresh_id())


def approve(a: argparse.Namespace) -> control.AnyCommand:
    return control.AssetApprove(a.resource, a.decimals, a.id or _fresh_id())


def propose(a: argparse.Namespace) -> control.AnyCommand:
    user, at, village = a.to.rpartition("@")
    if not at:
        user, village = a.to, ""
    elif not names.accepts(names.village_id, village):
        raise InvalidInput(
            f"{a.to!r} is not NAME, for a member of this village, and not NAME@VILLAGE, such as "
            "Bob@ose-california-001"
        )
    if a.offer is None and a.request is None:
        raise InvalidInput("say what the member gives (--offer), gets (--request), or both")
    sides = (_side(a.offer), _side(a.request))
    return control.TradePropose(a.member, user, village, *sides, a.hours, a.id or _fresh_id())


def add_after_settlement(asking: Callable[..., Any], trade: Any, which: str) -> None:
    """Add the commands for what comes after a trade is settled."""
    made = asking(
        trade,
        "delivered",
        "say for its member that the goods have come: for good",
        of_trade(control.TradeDelivered),
        shown.one_trade,
    )
    made.add_argument("trade", help=which)
    made = asking(
        trade,
        "dispute",
        "say for its member that the goods have not come as agreed",
        lambda a: control.TradeDispute(a.trade, a.reason),
        shown.one_trade,
    )
    made.add_argument("trade", help=which)
    made.add_argument(
        "--reason", required=True, help='what is wrong, for the other village; "" erases it'
    )
    made = asking(
        trade,
        "refund",
        "propose for its member that all of it is given back, or of its AT a part",
        lambda a: control.TradeRefund(a.trade, a.id or _fresh_id(), a.tokens or ""),
        shown.one_trade,
    )
    made.add_argument("trade", help=which)
    made.add_argument(
        "--tokens",
        metavar="AT",
        help="how much of the AT is given back, rather than all; 0 for none",
    )
    made.add_argument("--id", default="", help="a text of yours: the same id is done only once")


def of_trade(
    kind: Callable[[str], control.AnyCommand],
) -> Callable[[argparse.Namespace], control.AnyCommand]:
    return lambda arguments: kind(arguments.trade)


def _side(typed: list[str] | None) -> tuple[str, str] | None:
    """Return asset and amount, which are typed the other way round."""
    return (typed[1], typed[0]) if typed else None


def _fresh_id() -> str:
    return random_bytes(16).hex()


def _pin(arguments: argparse.Namespace) -> str:
    """Return the PIN from the command line, else asked for, else from standard input."""
    pin: str | None = arguments.pin
    if pin is None and sys.stdin.isatty():
        return _pin_typed(arguments.name)
    if pin is None:
        return read_line("the PIN")
    return pin


def read_line(what: str) -> str:
    """Return a line from standard input."""
    return _decoded(sys.stdin.buffer.readline(LINE_BYTES_MAX), what).rstrip("\n")


def _pin_typed(name: str) -> str:
    """Ask for a PIN on the terminal, twice, since nobody sees what is typed."""
    try:
        pin = desk.check_pin_text(getpass.getpass(f"PIN for {name}: "))
        if getpass.getpass("The same PIN again: ") != pin:
            raise InvalidInput("the two PINs differ: nothing was done")
    except EOFError:
        raise InvalidInput("no PIN was typed") from None
    return pin


def read_text(path: Path) -> str:
    """Return a file's text. A pipe is read to its end, and is empty if nobody writes to it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            os.set_blocking(descriptor, True)
            content = file.read(FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            raise InvalidInput(f"{path} is over {FILE_BYTES_MAX} bytes")
        return _decoded(content, str(path))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None


def _decoded(content: bytes, what: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"{what} is not text in UTF-8") from None
