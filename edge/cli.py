"""The `village-edge` command: arguments, output, exit codes. No rules.

Exit codes: 0 done; 1 refused; 2 wrong arguments or settings; 3 no answer, so that nobody knows what
was done; 4 the ledger cannot be used; 5 the audit found a difference.
"""

import argparse
import asyncio
import contextlib
import io
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from edge import (
    __version__,
    app,
    asked,
    cli_backup,
    cli_progress,
    cli_proofs,
    cli_trades,
    commands,
    control,
    shown,
)
from edge.appliance import event_loop, streams
from edge.appliance.watchdog import Supervisor
from edge.config import FOLDER_VARIABLE, VillageSettings, check_environment, load
from edge.core import names
from edge.errors import (
    AuditDifference,
    BoxBusy,
    BoxError,
    ConfigError,
    InvalidInput,
    NoBox,
    StorageError,
    Unreachable,
)
from edge.storage import audit, database
from edge.storage.tx import View

T = TypeVar("T")
EXIT_CODES: dict[type[BoxError], int] = {
    AuditDifference: 5,
    BoxBusy: 2,
    StorageError: 4,
    ConfigError: 2,
    InvalidInput: 2,
    Unreachable: 3,
    BoxError: 1,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    has_output = streams.fill_gaps()
    handler = logging.StreamHandler()
    handler.setFormatter(shown.OneLine("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may lack a name's letters
    try:
        if not has_output:
            raise ConfigError("standard output is closed: nothing was done; send it to /dev/null")
        parsed = parser().parse_args(arguments)
        code: int | None = parsed.run(parsed)
        sys.stdout.flush()
    except BoxError as error:
        return _refused(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        streams.drop_output()
        return 0
    except OSError as error:
        if not streams.is_of_output(error):
            raise
        streams.drop_output()
        return _refused(ConfigError(f"cannot write to standard output: {error.strerror}"))
    return code or 0


def _refused(error: BoxError) -> int:
    print(f"village-edge: {shown.one_line(error.detail)}", file=sys.stderr)
    return exit_code(error)


def exit_code(error: BoxError) -> int:
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def parser() -> argparse.ArgumentParser:
    """Return the whole command line, every command with its flags and help."""
    top = argparse.ArgumentParser(
        prog="village-edge", description="One village's box: ledger, trade page, federation."
    )
    top.add_argument("--version", action="version", version=f"village-edge {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _init(commands)
    _serve(commands)
    _member(commands)
    _ledger(commands)
    _peer(commands)
    _trade(commands)
    _files(commands)
    _demo(commands)
    return top


# Commands and their flags

_TRADE_HELP = "its id, as `trade list` shows it, or the first letters of it; or its trade_id"
_Commands = Any  # argparse keeps the type of add_subparsers' result to itself


def _command(
    commands: _Commands,
    name: str,
    help_: str,
    run: Callable[[argparse.Namespace], int | None],
    *,
    printed: bool = False,
) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(name, help=help_, description=help_)
    default = os.environ.get(FOLDER_VARIABLE, "village")
    made.add_argument(
        "--dir",
        type=Path,
        default=Path(default),
        metavar="FOLDER",
        help=f"the village's folder (default ${FOLDER_VARIABLE} or ./village)",
    )
    if printed:
        made.add_argument("--json", action="store_true", help="print JSON for programs")
    made.set_defaults(run=run, json=False, set=[])
    return made


def _group(commands: _Commands, name: str, help_: str) -> _Commands:
    made = commands.add_parser(name, help=help_, description=help_)
    return made.add_subparsers(required=True, metavar="COMMAND")


def _init(commands: _Commands) -> None:
    made = _command(commands, "init", "make a new village", _run_init, printed=True)
    made.add_argument("--id", required=True, help="such as ose-missouri-001")
    made.add_argument("--name", required=True, help='such as "Factor e Farm"')
    made.add_argument("--lat", type=float, required=True, help="degrees north; kept to 2 decimals")
    made.add_argument("--lon", type=float, required=True, help="degrees east; kept to 2 decimals")


def _serve(commands: _Commands) -> None:
    made = _command(commands, "serve", "run the village's box", _run_serve)
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="a setting, such as listen.page=127.0.0.1:8080",
    )
    _asking(commands, "status", "how the box is", lambda a: control.Status(), shown.status)


def _member(commands: _Commands) -> None:
    member = _group(commands, "member", "the village's members")
    for name, help_, ask, show in (
        ("add", "add a member; asks for a PIN", asked.member_add, shown.member),
        ("pin", "give a member another PIN; asks for it", asked.member_pin, shown.pin),
    ):
        made = _asking(member, name, help_, ask, show)
        made.add_argument("name", help="a member's name, as it is typed to sign in")
        made.add_argument("--pin", help="else it is asked for, or read from standard input")
        if name == "add":
            made.add_argument("--steward", action="store_true", help="may open the steward's desk")
    made = _asking(
        member,
        "steward",
        "make a member a steward",
        lambda a: control.MemberSteward(a.name, a.remove),
        shown.steward,
    )
    made.add_argument("name", help="a member")
    made.add_argument("--remove", action="store_true", help="make a steward a member like others")
    _asking(member, "list", "members and stewards", lambda a: control.MemberList(), shown.members)


def _ledger(commands: _Commands) -> None:
    made = _asking(commands, "pay", "move an amount between members", asked.pay, shown.record)
    made.add_argument("payer", help="a member, or treasury")
    made.add_argument("payee", help="a member, or treasury")
    made.add_argument("amount", help="such as 2.50")
    made.add_argument("asset", nargs="?", default=names.TOKEN, help="what of (default AT)")
    made.add_argument("--note", default="", help="sealed: only this box keeps it")
    _add_id(made)
    made = _asking(
        commands, "issue", "issue AT to a member or the treasury", asked.issue, shown.record
    )
    made.add_argument("payee", help="a member, or treasury")
    made.add_argument("amount", help="of AT, such as 500")
    made.add_argument("--note", default="", help="sealed: only this box keeps it")
    _add_id(made)
    made = _asking(
        commands, "declare", "enter a resource that a member has", asked.declare, shown.record
    )
    made.add_argument("owner", help="a member, or treasury")
    made.add_argument("resource", help='such as "Solar Panel"')
    made.add_argument("amount", nargs="?", default="1", help="how much of it (default 1)")
    made.add_argument("--decimals", type=int, default=0, help="for a resource that is new here")
    _add_id(made)
    made = _asking(
        commands, "consume", "take a resource out: used up or gone", asked.consume, shown.record
    )
    made.add_argument("owner", help="a member, or treasury")
    made.add_argument("resource", help='such as "Solar Panel"')
    made.add_argument("amount", nargs="?", default="1", help="how much of it (default 1)")
    _add_id(made)
    asset = _group(commands, "asset", "the catalogue of what members may trade")
    help_ = "put a resource into the catalogue, without any of it"
    made = _asking(asset, "approve", help_, asked.approve, shown.approved)
    made.add_argument("resource", help='such as "Solar Panel"')
    made.add_argument("--decimals", type=int, default=0, help="1 allows 2.5 of it (default 0)")
    _add_id(made)
    made = _asking(
        commands,
        "limit",
        "how far below zero a member may go, or how much a neighbour may owe",
        lambda a: control.Limit(a.who, a.asset, a.amount),
        shown.record,
    )
    made.add_argument("who", help="a member, or a neighbour's village id")
    made.add_argument("asset", help='AT, or such as "Solar Panel"')
    made.add_argument("amount", help="how far; 0 for not at all")


def _peer(commands: _Commands) -> None:
    peer = _group(commands, "peer", "the neighbours of this village")
    made = _asking(
        peer,
        "invite",
        "make an invitation for one neighbour: one line of text",
        lambda a: control.PeerInvite(a.hours, a.council_seats),
        lambda answer: [answer["invitation"]],
    )
    made.add_argument("--hours", type=int, default=168, help="how long it may be used")
    made.add_argument("--council-seats", type=int, default=4, help="who decide trades: 4, or 7")
    made = _asking(
        peer,
        "add",
        "take up an invitation: both villages become neighbours",
        lambda a: control.PeerAdd(a.invitation),
        lambda answer: [f"{answer['neighbour']} is a neighbour now."],
    )
    made.add_argument("invitation", help="the line that the other steward's `peer invite` printed")
    _asking(peer, "list", "neighbours and candidates", lambda a: control.PeerList(), shown.peers)


def _trade(commands: _Commands) -> None:
    trade = _group(commands, "trade", "trades of members, with neighbours and at home")
    made = _asking(trade, "propose", "propose a trade, or a gift", asked.propose, shown.one_trade)
    made.add_argument("member", help="who offers, of this village")
    made.add_argument(
        "to", metavar="NAME[@VILLAGE]", help="such as Bob@ose-california-001, or Clara of here"
    )
    for flag, help_ in (
        ("--offer", "what the member gives; leave it out to ask for a gift"),
        ("--request", "and gets for it; leave it out to make a gift"),
    ):
        made.add_argument(flag, nargs=2, metavar=("AMOUNT", "ASSET"), help=help_)
    made.add_argument("--hours", type=int, default=24, help="until when it may be accepted")
    _add_id(made)
    for name, help_, kind in (
        ("accept", "accept a proposal for its member: binding", control.TradeAccept),
        ("reject", "decline a proposal", control.TradeReject),
        ("cancel", "withdraw a proposal that nobody has accepted", control.TradeCancel),
    ):
        made = _asking(trade, name, help_, asked.of_trade(kind), shown.one_trade)
        made.add_argument("trade", help=_TRADE_HELP)
    looks: tuple[tuple[str, str, type[control.TradeShow | control.TradeRetry]], ...] = (
        ("show", "one trade: whom it waits for, and what each village has said", control.TradeShow),
        ("retry", "speak with its villages now, and show it", control.TradeRetry),
    )
    for name, help_, look in looks:
        made = _asking(trade, name, help_, asked.of_trade(look), shown.trade_in_full)
        made.add_argument("trade", help=_TRADE_HELP)
    asked.add_after_settlement(_asking, trade, _TRADE_HELP)
    cli_trades.add(_asking, trade, _TRADE_HELP)


def _files(commands: _Commands) -> None:
    _command(commands, "audit", "recompute the whole ledger and compare", _run_audit, printed=True)
    cli_proofs.add_verify(_command, commands, _run_made)
    cli_backup.add(_command, commands, _run_made, _ask)
    export = _group(commands, "export", "write files for others")
    for name, help_, ask in (
        ("registry", "this village and its neighbours", lambda a: control.ExportRegistry()),
        ("trades", "all trades, without people", lambda a: control.ExportTrades()),
        ("receipt", "one decided trade's proof", lambda a: control.ExportReceipt(a.trade)),
        ("misbehaviour", "proofs against villages", lambda a: control.ExportMisbehaviour()),
        ("proof", "that a record is in a log: a .tlog-proof", cli_proofs.of_record),
    ):
        made = _command(export, name, help_, _run_export)
        cli_proofs.add_flags(made, name)
        made.set_defaults(ask=ask)
        if name == "receipt":
            made.add_argument("trade", help=_TRADE_HELP)
        made.add_argument("--output", type=Path, help="a new file (default: standard output)")
        made.add_argument("--force", action="store_true", help="write over a file that is there")
    imported = _group(commands, "import", "take in files from others")
    made = _asking(
        imported,
        "registry",
        "take in a registry file: its villages become candidates",
        lambda a: control.ImportRegistry(asked.read_text(a.file)),
        shown.taken_in,
    )
    made.add_argument("file", type=Path, help="what `export registry` wrote elsewhere")


def _demo(commands: _Commands) -> None:
    made = _command(commands, "demo", "two boxes on this machine trade with each other", _run_demo)
    made.add_argument("--once", action="store_true", help="one trade, both audits, then stop")
    made.set_defaults(dir=None)


def _asking(
    commands: _Commands,
    name: str,
    help_: str,
    ask: Callable[[argparse.Namespace], control.AnyCommand],
    show: Callable[[Any], Iterable[str]],
) -> argparse.ArgumentParser:
    made = _command(commands, name, help_, _run_asking, printed=True)
    made.set_defaults(ask=ask, show=show)
    return made


def _add_id(made: argparse.ArgumentParser) -> None:
    made.add_argument("--id", default="", help="a text of yours: the same id is done only once")


# Running


def _run_asking(arguments: argparse.Namespace) -> None:
    answer = _ask(arguments)
    if arguments.json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        _print(arguments.show(answer))


def _run_export(arguments: argparse.Namespace) -> None:
    answer = _ask(arguments)
    text = answer if isinstance(answer, str) else json.dumps(answer, indent=2) + "\n"
    if text == "[]\n" and arguments.none_said:
        print(f"village-edge: {arguments.none_said} The list has no proofs.", file=sys.stderr)
    if arguments.output is None:
        sys.stdout.write(text)
        return
    path: Path = arguments.output
    try:
        with path.open("w" if arguments.force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} is there already: --force writes over it") from None
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
    print(f"Wrote {path}.")


def _run_init(arguments: argparse.Namespace) -> None:
    village = VillageSettings(
        arguments.id, arguments.name, round(arguments.lat, 2), round(arguments.lon, 2)
    )

    def show(phrase: str) -> None:
        answer = {"village": village.id, "recovery_phrase": phrase}
        said = shown.phrase(f"{village.name} ({village.id})", arguments.dir, phrase)
        lines = [json.dumps(answer)] if arguments.json else said
        try:
            _print(lines)
            sys.stdout.flush()
        except OSError as error:
            streams.drop_output()
            raise ConfigError(
                f"cannot write to standard output: {error.strerror}: nobody would see the recovery "
                "phrase, so no village was made"
            ) from None

    app.create_village(arguments.dir, village, show)


def _run_serve(arguments: argparse.Namespace) -> None:
    config = load(arguments.dir, os.environ, arguments.set)
    supervisor = Supervisor(os.environ)

    async def serve() -> None:
        async with app.locked(arguments.dir), app.opened(arguments.dir, config) as box:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, box.stop)
            await box.serve(_print_ready, supervisor)

    _loop(serve)


def _print_ready(box: app.App) -> None:
    print(f"{box.config.village.name} ({box.config.village.id})")
    for url in box.page_urls:
        print(f"  page         {url}")
    for address in box.profile().endpoints:
        print(f"  federation   https://{address}", flush=True)


def _run_audit(arguments: argparse.Namespace) -> None:
    check_environment(os.environ)
    path = arguments.dir / app.LEDGER
    conn = database.open_reader(path)
    try:
        with database.storage_errors(path):
            database.check_pages(conn, path)
            report = audit.audit(View(conn), cli_progress.of_records(arguments))
    finally:
        conn.close()
    if arguments.json:
        print(json.dumps(shown.audit(report), indent=2))
    else:
        _print(shown.audit_lines(report))


def _run_made(arguments: argparse.Namespace) -> None:
    answer, lines = arguments.make(arguments)
    if arguments.json:
        print(json.dumps(answer, indent=2))
    else:
        _print(lines)


def _run_demo(arguments: argparse.Namespace) -> int:
    from edge import demo

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # each line when it is true, in a pipe too
    return _loop(lambda: demo.run(arguments.once, arguments.dir))


def _ask(arguments: argparse.Namespace) -> Any:
    """Ask the running box, or be it for one command."""
    check_environment(os.environ)
    command: control.AnyCommand = arguments.ask(arguments)
    control.check(command)
    return _loop(lambda: cli_progress.patiently(_answer(arguments.dir, command)))


async def _answer(folder: Path, command: control.AnyCommand) -> Any:
    socket = folder / control.SOCKET
    if socket.exists():
        with contextlib.suppress(NoBox):
            return await control.ask(socket, command)
    config = load(folder, os.environ)
    async with app.locked(folder), app.opened(folder, config) as box:
        answer = await commands.run(await box.box(serving=False), command)
        return json.loads(json.dumps(answer))


def _loop(main_: Callable[[], Awaitable[T]]) -> T:
    async def run() -> T:
        return await main_()

    with asyncio.Runner(loop_factory=event_loop.new) as runner:
        return runner.run(run())


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)
