"""Real boxes for tests: each a `village-edge serve` process with its own folder, TLS and page."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from edge import app, control
from edge.config import VillageSettings
from edge.errors import Unreachable
from tests.net import hosts

WAIT_S_MAX = 60
POLL_S = 0.02
ROOT = Path(__file__).parents[2]


class RealBox:
    """A village's folder and, while it runs, its process."""

    def __init__(
        self, home: Path, village: str, settings: Iterable[str] = (), name: str = ""
    ) -> None:
        self.village = village
        self.folder = home / village
        self.log = home / f"{village}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.hosts: dict[str, tuple[str, int]] = {}  # that it finds elsewhere, see tests/net/hosts
        self.module = ""  # that runs in place of `edge`
        self.environment: dict[str, str] = {}
        self._settings = {"federation.heartbeat_s": "1"} | dict(
            each.split("=", 1) for each in settings
        )
        self.phrase = app.create_village(
            self.folder, VillageSettings(village, name or f"Village {village}", 38.45, -93.85)
        )

    async def start(self, crash_at: str = "", odd: str = "") -> None:
        """Start the box and wait until it answers. `crash_at` names a point where it is to be
        killed, see crashing.py; `odd` what is odd about its machine, see odd.py. After the first
        start it keeps its federation port, as a real box does."""
        listening = {"listen.federation": "127.0.0.1:0"} | self._settings
        settings = {"listen.page": "127.0.0.1:0", "listen.page_tls": ""} | listening
        module = "tests.integration.crashing" if crash_at else self.module or odd_module(odd)
        modules = ["tests.net.hosts", module] if self.hosts else [module]
        command = [sys.executable, "-m", *modules, "serve", "--dir", str(self.folder)]
        command += [f"--set={name}={value}" for name, value in settings.items()]
        more = {"CRASH_AT": crash_at, "ODD": odd, hosts.VARIABLE: hosts.to_text(self.hosts)}
        environment = environment_of(self.environment | more)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        await until(self._answers, f"{self.village} serves")
        url = (await self.ask(control.Status()))["federation_url"]
        self._settings.setdefault("listen.federation", url.removeprefix("https://"))

    async def ask(self, command: control.AnyCommand) -> Any:
        return await control.ask(self.folder / control.SOCKET, command)

    async def trade(self, id_: str) -> Any:
        """Return a trade as this box shows it, None if it knows of none."""
        found = await self.ask(control.TradeList())
        return next((each for each in found if each["id"] == id_), None)

    def kill(self) -> None:
        """kill -9, as a power cut."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    async def died(self) -> None:
        """Wait for the process to end by itself."""
        process = self.process
        assert process is not None
        await until(lambda: _true(process.poll() is not None), f"{self.village} is dead")

    def stop(self) -> int:
        """Stop the box as systemd would; return its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(WAIT_S_MAX)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def audit(self) -> str:
        """Return what `village-edge audit` prints; AssertionError if it finds a difference."""
        command = [sys.executable, "-m", "edge", "audit", "--dir", str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    async def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(Unreachable):
            await self.ask(control.Status())
            return True
        return False


class Done(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


def village_edge(
    *arguments: str | Path, stdin: bytes = b"", odd: str = "", **environment: str
) -> Done:
    """Run one command in a process of its own, as a steward does."""
    done = subprocess.run(
        [sys.executable, "-m", odd_module(odd), *map(str, arguments)],
        input=stdin,
        capture_output=True,
        env=environment_of({"ODD": odd} | environment),
        check=False,
        timeout=WAIT_S_MAX,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def environment_of(more: dict[str, str]) -> dict[str, str]:
    """Return this process's environment without settings of a box, and with `more`."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("VILLAGE_EDGE_")}
    return kept | {"PYTHONPATH": str(ROOT)} | more


def odd_module(odd: str) -> str:
    return "tests.integration.odd" if odd else "edge"


async def until(condition: Callable[[], Any], what: str, seconds: float = WAIT_S_MAX) -> Any:
    """Return the first true value of an async condition; fail if it does not come in time."""
    try:
        async with asyncio.timeout(seconds):
            while not (found := await condition()):
                await asyncio.sleep(POLL_S)
            return found
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}") from None


async def befriend(inviter: RealBox, joiner: RealBox) -> None:
    made = await inviter.ask(control.PeerInvite())
    await joiner.ask(control.PeerAdd(made["invitation"]))


async def _true(value: bool) -> bool:
    return value


async def neighbouring(home: Path, names: Sequence[str]) -> AsyncIterator[list[RealBox]]:
    """Start boxes that all are neighbours; Alice of the first has AT, Bob of the second panels."""
    made = [RealBox(home, name) for name in names]
    try:
        await asyncio.gather(*(box.start() for box in made))
        await made[0].ask(control.MemberAdd("Alice", "2468"))
        await made[0].ask(control.Issue("Alice", "500"))
        await made[1].ask(control.MemberAdd("Bob", "2468"))
        await made[1].ask(control.Declare("Bob", "Solar Panel", "9"))
        for one, other in combinations(made, 2):
            await befriend(one, other)
        yield made
    finally:
        for box in made:
            box.end()
