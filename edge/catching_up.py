"""A box asks its neighbours for its own longest log: at every start, before anything is said.

A neighbour that keeps a copy serves it as it serves any log: a checkpoint that this village has
signed itself, and tiles of records. So it cannot give back anything but what was said, and it can
only keep the end of it to itself. That is why a box that was restored asks all of them.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

from edge import taking_back
from edge.core import checkpoint, crypto, limits, tiles
from edge.core.checkpoint import Checkpoint
from edge.core.tiles import ENTRIES, WIDTH, Tile
from edge.errors import BoxError, DiskFull, ForkedLog, NotFound, PeerError, UnknownOrigin
from edge.storage import logs, neighbours, set_back
from edge.storage.neighbours import Neighbour
from edge.storage.set_back import Standing
from edge.storage.tx import OWN_LOG, Identity, Runner, View
from edge.transport.client import Endpoint

AT_START_S_MAX: Final = 5.0  # for all neighbours together, if the box was not set back
RETRY_S_MAX: Final = 5.0
TILE_BYTES_MAX: Final = WIDTH * (limits.RECORD_BYTES_MAX + tiles.LENGTH_BYTES)
_log = logging.getLogger(__name__)

Answer = Callable[[str, bytes], Awaitable[bytes]]


class Transport(Protocol):
    """Speaks with villages: as a neighbour, and as anybody who reads what they serve."""

    async def exchange(self, village: str, path: str, body: bytes) -> bytes: ...

    async def read(self, village: str, endpoint: Endpoint, path: str, bytes_max: int) -> bytes: ...


class CatchingUp:
    """Asks, brings back, and lets the box speak when nothing is missing: what it says goes through
    here."""

    def __init__(
        self, runner: Runner, transport: Transport, own: Identity, heartbeat_s: float
    ) -> None:
        self._runner = runner
        self._transport = transport
        self._own = own
        self._retry_s = min(heartbeat_s, RETRY_S_MAX)
        self._prefix = f"/{crypto.sha256(own.village.encode()).hex()}/"
        self._asked: set[str] = set()  # since this start
        self._may_speak = asyncio.Event()
        self._is_behind = asyncio.Event()

    async def at_start(self) -> None:
        """Ask all neighbours that answer soon, unless the box waits for all of them anyway."""
        if await self._runner.read(set_back.standing) is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AT_START_S_MAX):
                    known = await self._runner.read(neighbours.everyone)
                    await asyncio.gather(*(self.ask_first(each.village) for each in known))
        if await self._runner.read(set_back.standing) is None:
            self._may_speak.set()
        else:
            self._is_behind.set()

    async def may_speak(self) -> None:
        """Wait until nothing that was said before is missing."""
        await self._may_speak.wait()

    async def exchange(self, village: str, path: str, body: bytes) -> bytes:
        """Speak with a neighbour, once it was asked. Raises SetBack, or as the transport does."""
        await self.ask_first(village)
        await self._runner.read(set_back.check)
        return await self._transport.exchange(village, path, body)

    def answering(self, answer: Answer) -> Answer:
        """Return what answers a neighbour once it was asked."""

        async def answering(village: str, body: bytes) -> bytes:
            await self.ask_first(village)
            return await answer(village, body)

        return answering

    async def ask_first(self, village: str) -> None:
        """Ask a neighbour, at the first contact since the start; what cannot be asked passes."""
        if village in self._asked or self._is_behind.is_set():
            return
        try:
            known = await self._runner.read(lambda view: neighbours.named(view, village))
            found = await self._look(known)
            self._asked.add(village)
        except BoxError as error:
            _log.info("%s was not asked for this village's log: %s", village, error.detail)
            return
        if found is not None and await self._runner.read(lambda view: _lacks(view, found[0])):
            _log.warning("%s holds more of this village's log than this box", village)
            await self._runner.write(lambda tx: set_back.mark(tx, "behind"))
            self._may_speak.clear()
            self._is_behind.set()

    async def run(self, speak: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Be in touch with the neighbours, by `speak`, but while something is missing bring that
        back instead; until cancelled."""
        while True:
            if self._is_behind.is_set():
                await self._catch_up()
            speaking = asyncio.create_task(speak(), name="speaking")
            behind = asyncio.create_task(self._is_behind.wait(), name="behind")
            try:
                await asyncio.wait({speaking, behind}, return_when=asyncio.FIRST_COMPLETED)
                if speaking.done():
                    speaking.result()  # raises what broke it
            finally:
                for task in (speaking, behind):
                    task.cancel()
                await asyncio.gather(speaking, behind, return_exceptions=True)

    async def _catch_up(self) -> None:
        """Ask again and again, until all have been asked or the steward does not wait for it."""
        _log.warning("this box asks all its neighbours for what its village has said")
        while (stood := await self._runner.read(set_back.standing)) is not None:
            await self._try(stood)
            if await self._waits():
                await asyncio.sleep(self._retry_s)
        _log.info("this box goes on")
        self._is_behind.clear()
        self._may_speak.set()

    async def _waits(self) -> bool:
        return await self._runner.read(set_back.standing) is not None

    async def _try(self, stood: Standing) -> None:
        trouble = ""
        for village in stood.waits_for:
            try:
                await self._ask(village)
            except BoxError as error:
                trouble = trouble or error.detail
        try:
            await self._finish()
        except BoxError as error:
            trouble = error.detail
        if trouble != stood.trouble and await self._waits():
            _log.warning("this box still waits: %s", trouble)
            await self._runner.write(lambda tx: set_back.note_trouble(tx, trouble))

    async def _ask(self, village: str) -> None:
        """Bring back what a neighbour has; note that it was asked. Raises BoxError."""
        known = await self._runner.read(lambda view: neighbours.named(view, village))
        found = await self._look(known)
        if found is not None and await self._runner.read(lambda view: _lacks(view, found[0])):
            await self._bring(known, *found)
        has = await self._runner.read(lambda view: _has_more(view, village))
        if has:
            raise PeerError(f"{village} holds more of this village's log than it can show")
        self._asked.add(village)
        await self._runner.write(lambda tx: set_back.note_asked(tx, village))

    async def _finish(self) -> None:
        stood = await self._runner.read(set_back.standing)
        if stood is not None and not stood.waits_for:
            await self._runner.write(taking_back.finish)

    async def _look(self, known: Neighbour) -> tuple[Checkpoint, str] | None:
        """Return the newest checkpoint of ours that a neighbour shows, None if it has none."""
        try:
            body = await self._read(known, "checkpoint", limits.NOTE_BYTES_MAX)
        except (NotFound, UnknownOrigin):
            return None
        own, key = self._own.village, self._own.key.public
        try:
            text = checkpoint.without_others(body.decode("utf-8", "replace"), own, key)
            return checkpoint.open_checkpoint(text, own, key), text
        except PeerError as error:
            raise PeerError(f"{known.village} shows no log of ours: {error.detail}") from None

    async def _bring(self, known: Neighbour, signed: Checkpoint, text: str) -> None:
        """Fetch what is missing up to a signed checkpoint; take it in once all of it agrees."""
        try:
            await self._fetch(known, signed)
            await self._runner.write(lambda tx: taking_back.check(tx, text))
        except (DiskFull, PeerError) as error:
            await self._runner.write(set_back.drop_returned)
            kind = type(error)
            raise kind(f"{known.village} did not give back the log: {error.detail}") from None
        while await self._runner.write(taking_back.step):
            pass
        _log.info("%s gave back this village's log, of %d records", known.village, signed.size)

    async def _fetch(self, known: Neighbour, signed: Checkpoint) -> None:
        """Fetch the records that are missing; those of an earlier try are not asked for again."""
        while (start := await self._runner.read(_next)) < signed.size:
            tile = Tile(ENTRIES, start // WIDTH, min(WIDTH, signed.size - start // WIDTH * WIDTH))
            body = await self._read(known, tile.to_path(), TILE_BYTES_MAX)
            found = tiles.decode_entries(body, tile.width)[start % WIDTH :]
            await self._runner.write(lambda tx: set_back.keep_returned(tx, start, found))  # noqa: B023

    async def _read(self, known: Neighbour, path: str, bytes_max: int) -> bytes:
        """Read a part of this village's own log at a neighbour."""
        place = Endpoint(known.addresses, known.entry.spki_sha256)
        return await self._transport.read(known.village, place, self._prefix + path, bytes_max)


def _next(view: View) -> int:
    return set_back.next_returned(view, logs.size_of(view, OWN_LOG))


def _lacks(view: View, signed: Checkpoint) -> bool:
    """Tell whether the own log ends before one of its own checkpoints. Raises ForkedLog if it is
    not the same log."""
    if signed.size > logs.size_of(view, OWN_LOG):
        return True
    if logs.root_of(view, OWN_LOG, signed.size) != signed.root:
        raise ForkedLog(
            f"this village has signed another log of {signed.size} records than this box has: two "
            "boxes have run with one key, or an old copy was started"
        )
    return False


def _has_more(view: View, village: str) -> bool:
    return neighbours.named(view, village).has_size > logs.size_of(view, OWN_LOG)
