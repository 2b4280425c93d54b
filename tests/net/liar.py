"""`village-edge` of a village that lies: the product, with a genuine key and certificate, whose
words to other villages are twisted on their way out.

LIES names a file of JSON that is read at each word: `manners`, of council_liar.TWISTS, or `silent`
for no word at all; `deaf`: the villages that it neither dials nor answers. While there is no such
file, it is as honest as any.
"""

import asyncio
import logging
import os
import random
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from edge import app, cli
from edge.errors import Unreachable
from edge.federation_client import FederationClient, Transport
from edge.storage.tx import Identity, Runner
from tests.simulation.council_liar import Tongue

VARIABLE: Final = "LIES"
SILENCE_S: Final = 0.1
_log = logging.getLogger(__name__)


class Lies(msgspec.Struct, frozen=True):
    manners: tuple[str, ...] = ()
    deaf: tuple[str, ...] = ()

    def are_silent(self, village: str) -> bool:
        return "silent" in self.manners or village in self.deaf


class Mouth:
    """Its tongues, one for each neighbour, and what it has lied about."""

    def __init__(self) -> None:
        self.identity: Identity | None = None  # once the box is made
        self._tongues: dict[str, Tongue] = {}
        self._told: set[str] = set()

    def lies(self) -> Lies:
        try:
            return msgspec.json.decode(Path(os.environ[VARIABLE]).read_bytes(), type=Lies)
        except FileNotFoundError:
            return Lies()

    async def twisted(self, runner: Runner, village: str, body: bytes) -> bytes:
        manners = self.lies().manners
        if not manners:
            return body
        tongue = self._tongue(village)
        tongue.manners = manners
        return await runner.read(lambda view: tongue.twist(view, village, body))

    def note(self, lie: str) -> None:
        if lie not in self._told:
            self._told.add(lie)
            _log.warning("%s", lie)

    def _tongue(self, village: str) -> Tongue:
        assert self.identity is not None
        if village not in self._tongues:
            name, key = self.identity.village, self.identity.key
            self._tongues[village] = Tongue(name, key, random.Random(village), (), 1.0, self.note)
        return self._tongues[village]


_mouth = Mouth()


class LyingClient(FederationClient):
    def __init__(self, runner: Runner, transport: Transport, *more: Any) -> None:
        super().__init__(runner, _Twisting(runner, transport), *more)
        self._disk = runner

    async def answer(self, village: str, body: bytes) -> bytes:
        while _mouth.lies().are_silent(village):
            await asyncio.sleep(SILENCE_S)
        return await _mouth.twisted(self._disk, village, await super().answer(village, body))


class _Twisting:
    """Carries what it says of itself."""

    def __init__(self, runner: Runner, transport: Transport) -> None:
        self._runner = runner
        self._transport = transport

    async def exchange(self, village: str, path: str, body: bytes) -> bytes:
        if _mouth.lies().are_silent(village):
            raise Unreachable(f"{village} is not dialled")
        said = await _mouth.twisted(self._runner, village, body)
        return await self._transport.exchange(village, path, said)


class LyingApp(app.App):
    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        _mouth.identity = self.identity


if __name__ == "__main__":
    app.FederationClient = LyingClient  # type: ignore[assignment,attr-defined]
    app.App = LyingApp  # type: ignore[misc,assignment]
    sys.exit(cli.main())
