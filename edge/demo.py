"""`village-edge demo`: two boxes on this machine, real processes and TLS, trade with each other."""

import asyncio
import contextlib
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
POLL_S: Final = 0.05


class Village(msgspec.Struct, frozen=True):
    """A demo box: its folder, process, and the member who trades, with a PIN for the page."""

    settings: VillageSettings
    folder: Path
    process: "subprocess.Popen[bytes]"
    member: str
    pin: str

    async def ask(self, command: control.AnyCommand) -> Any:
        return await control.ask(self.folder / control.SOCKET, command)


async def run(once: bool, folder: Path | None = None) -> int:
    """Run the demo; return the exit code: 0 if both ledgers settled and both audits agree."""
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="village-demo-")))
        async with (
            _village(folder, MISSOURI, "Alice", "1234") as missouri,
            _village(folder, CALIFORNIA, "Bob", "5678") as california,
        ):
            await _prepare(missouri, california)
            settled = await _trade(missouri, california)
            agreed = all([await _audit(each) for each in (missouri, california)])
            if not (settled and agreed):
                print("\nThe trade did not settle on both sides, or an audit differs.")
                return 1
            print("\nBoth ledgers settled, and both audits agree.")
            if not once:
                await _invite_people(missouri, california)
            return 0


async def _prepare(missouri: Village, california: Village) -> None:
    for each in (missouri, california):
        await each.ask(control.MemberAdd(each.member, each.pin))
        print(f"{each.member} is a member of {each.settings.id}.")
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
        *_command("audit", "--dir", str(village.folder)), stdout=subprocess.PIPE
    )
    printed, _ = await audit.communicate()
    print(f"\nvillage-edge audit, {village.settings.id}:")
    print(printed.decode().rstrip())
    return audit.returncode == 0


async def _invite_people(missouri: Village, california: Village) -> None:
    print("\nMake the next trade by hand, one browser tab for each:")
    for each in (missouri, california):
        urls = (await each.ask(control.Status()))["page_urls"]
        print(f"  {urls[0]:<26} sign in as {each.member}, PIN {each.pin}  ({each.settings.name})")
    print("Ctrl-C stops both boxes.", flush=True)
    while missouri.process.poll() is None and california.process.poll() is None:  # noqa: ASYNC110 - processes set no Event
        await asyncio.sleep(POLL_S * 10)
    raise StorageError("a box stopped by itself")


@contextlib.asynccontextmanager
async def _village(
    folder: Path, settings: VillageSettings, member: str, pin: str
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
    village = Village(settings, home, process, member, pin)
    try:
        await _until_serving(village, folder / f"{settings.id}.log")
        print(f"{settings.name} ({settings.id}) runs, process {process.pid}.")
        yield village
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


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
