"""`village-edge demo`: two boxes on this machine, real processes and TLS, trade with each other."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec

from edge import app, control
from edge.config import VillageSettings
from edge.errors import StorageError, Unreachable

MISSOURI: Final = VillageSettings("ose-missouri-001", "Factor e Farm", 38.45, -93.85)
CALIFORNIA: Final = VillageSettings("ose-california-001", "Ocean View Farm", 37.77, -122.42)
START_S_MAX: Final = 60
TRADE_S_MAX: Final = 60
STOP_S_MAX: Final = 20
POLL_S: Final = 0.05
INTERRUPTED: Final = 130


class Member(msgspec.Struct, frozen=True):
    name: str
    pin: str
    steward: bool = False


class Village(msgspec.Struct, frozen=True):
    """A demo box: its folder, process and members, each with a PIN for the page."""

    settings: VillageSettings
    folder: Path
    process: "subprocess.Popen[bytes]"
    members: tuple[Member, ...]

    async def ask(self, command: control.AnyCommand) -> Any:
        return await control.ask(self.folder / control.SOCKET, command)


IN_MISSOURI: Final = (Member("Alice", "1234", steward=True), Member("Clara", "2345"))
IN_CALIFORNIA: Final = (Member("Bob", "5678", steward=True), Member("Dana", "6789"))


async def run(once: bool, folder: Path | None = None) -> int:
    """Run the demo until Ctrl-C or SIGTERM; take its boxes and folders away again.

    Return the exit code: 0 if both ledgers settled and both audits agreed, 130 if it was ended
    before that was known.
    """
    work = asyncio.ensure_future(_run(once, folder))
    was_ended = False

    def end() -> None:
        nonlocal was_ended
        if not was_ended:  # a second Ctrl-C does not break the clearing up off
            was_ended = work.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, end)
    try:
        return await work
    except asyncio.CancelledError:
        print("\nThe demo was ended before it was through.")
        return INTERRUPTED


async def _run(once: bool, folder: Path | None) -> int:
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="village-demo-")))
        async with (
            _village(folder, MISSOURI, IN_MISSOURI) as missouri,
            _village(folder, CALIFORNIA, IN_CALIFORNIA) as california,
        ):
            await _prepare(missouri, california)
            settled = await _trade(missouri, california)
            agreed = all([await _audit(each) for each in (missouri, california)])
            if not (settled and agreed):
                print("\nThe trade did not settle on both sides, or an audit differs.")
                return 1
            print("\nBoth ledgers settled, and both audits agree.")
            if once:
                return 0
            await _invite_people(missouri, california)
    print("\nBoth boxes have stopped, and their folders are gone.")
    return 0


async def _prepare(missouri: Village, california: Village) -> None:
    for each in (missouri, california):
        for member in each.members:
            await each.ask(control.MemberAdd(member.name, member.pin, member.steward))
        names = " and ".join(member.name for member in each.members)
        print(f"{names} are members of {each.settings.id}.")
    await missouri.ask(control.Issue("Alice", "500"))
    print("Alice has 500 AT.")
    await california.ask(control.Declare("Bob", "Solar Panel", "3"))
    print("Bob has 3 solar panels.")
    made = await missouri.ask(control.PeerInvite())
    await california.ask(control.PeerAdd(made["invitation"]))
    print(f"{CALIFORNIA.id} took up an invitation of {MISSOURI.id}: they are neighbours.")


async def _trade(missouri: Village, california: Village) -> bool:
    """The mission's own trade, from proposal to both settled."""
    proposed = await missouri.ask(
        control.TradePropose(
            "Alice", "Bob", CALIFORNIA.id, ("AT", "100"), ("Solar Panel", "1"), id="trade_001"
        )
    )
    print(f"\nAlice offers 100 AT for a solar panel: {proposed['message']}")
    id_ = proposed["id"]
    await _until(california, id_, {"PENDING"})
    accepted = await california.ask(control.TradeAccept(id_))
    print(f"Bob accepts: {accepted['message']}")
    ends = [await _until(each, id_, {"SETTLED", "ABORTED"}) for each in (missouri, california)]
    for each, end in zip((missouri, california), ends, strict=True):
        print(f"  {each.settings.id}: {end['status']}")
    return all(end["status"] == "SETTLED" for end in ends)


async def _until(village: Village, id_: str, statuses: set[str]) -> Any:
    """Return the trade once it is in one of these states here."""
    try:
        async with asyncio.timeout(TRADE_S_MAX):
            while True:
                for found in await village.ask(control.TradeList()):
                    if found["id"] == id_ and found["status"] in statuses:
                        return found
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise Unreachable(
            f"trade {id_} did not become {' or '.join(sorted(statuses))} in "
            f"{village.settings.id} within {TRADE_S_MAX} s"
        ) from None


async def _audit(village: Village) -> bool:
    audit = await asyncio.create_subprocess_exec(
        *_command("audit", "--dir", str(village.folder)),
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the demo, which ends what it has begun
    )
    try:
        printed, _ = await audit.communicate()
    finally:
        if audit.returncode is None:
            audit.kill()
            await audit.wait()
    print(f"\nvillage-edge audit, {village.settings.id}:")
    print(printed.decode().rstrip())
    return audit.returncode == 0


async def _invite_people(missouri: Village, california: Village) -> None:
    """Tell people how to go on, and wait until they end it."""
    print("\nMake the next trade by hand, one browser tab for each village:")
    for each in (missouri, california):
        urls = (await each.ask(control.Status()))["page_urls"]
        pins = " or ".join(f"{member.name} (PIN {member.pin})" for member in each.members)
        print(f"  {urls[0]:<26} {each.settings.name}: sign in as {pins}")
    print("\nOr in another terminal, with the commands of `village-edge --help`:")
    for each in (missouri, california):
        print(f"  village-edge status --dir {each.folder}")
    print("\nCtrl-C stops both boxes and takes their folders away.")
    with contextlib.suppress(asyncio.CancelledError):
        while missouri.process.poll() is None and california.process.poll() is None:  # noqa: ASYNC110 - processes set no Event
            await asyncio.sleep(POLL_S * 10)
        raise StorageError("a box stopped by itself")


@contextlib.asynccontextmanager
async def _village(
    folder: Path, settings: VillageSettings, members: tuple[Member, ...]
) -> AsyncIterator[Village]:
    """Make a village and run its box in a process of its own."""
    home = folder / settings.id
    app.create_village(home, settings)
    listening = [f"--set=listen.{name}=127.0.0.1:0" for name in ("federation", "page", "page_tls")]
    with (folder / f"{settings.id}.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - a few milliseconds, and nothing else runs
            _command("serve", "--dir", str(home), *listening),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    village = Village(settings, home, process, members)
    try:
        await _until_serving(village, folder / f"{settings.id}.log")
        print(f"{settings.name} ({settings.id}) runs, process {process.pid}.")
        yield village
    finally:
        _stop(process)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Stop a box. This blocks, so that no Ctrl-C can break it off and leave a box running."""
    process.terminate()
    try:
        process.wait(STOP_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def _until_serving(village: Village, log: Path) -> None:
    async with asyncio.timeout(START_S_MAX):
        while village.process.poll() is None:
            with contextlib.suppress(Unreachable):
                await village.ask(control.Status())
                return
            await asyncio.sleep(POLL_S)
    raise StorageError(f"{village.settings.id} did not start: {log.read_text()[-2000:]}")


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "edge", *arguments]
