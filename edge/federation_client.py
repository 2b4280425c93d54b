"""The village's side of sync: one exchange with each neighbour every minute, and at once when a
trade moves.

An exchange pushes our new records, brings the neighbour's, each verified to the root that its
village signed and then cosigned, and carries the words on open trades, both ways.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from edge import misbehaviour
from edge.core import limits, messages, registry, trade
from edge.core.messages import CouncilMessage, Exchange, SubjectMessage
from edge.errors import BoxError, ForkedLog, Malformed, UnknownVillage
from edge.storage import allowance, facts, listings, logs, neighbours
from edge.storage.neighbours import Neighbour
from edge.storage.tx import OWN_LOG, Runner, Tx, View

HEARTBEAT_S = 60
RETRY_S_MIN = 1
ROUNDS_MAX = 1_000
SYNC_PATH = "/federation/sync"
TRADE_PATH = "/federation/trade"
_log = logging.getLogger(__name__)


class Transport(Protocol):
    """Carries one signed message to a village and brings its answer."""

    async def exchange(self, village: str, path: str, body: bytes) -> bytes:
        """Raises Unreachable (what happened there is unknown) or what the village answered."""
        ...


class Subjects(Protocol):
    """What is said and done about trades: the module trade_escrow."""

    def receive(
        self, tx: Tx, neighbour: Neighbour, messages: Sequence[SubjectMessage]
    ) -> set[bytes]: ...

    def speak(
        self, view: View, neighbour: Neighbour, about: Iterable[bytes] = (), turn: int = 0
    ) -> list[tuple[SubjectMessage, int]]: ...

    def told(self, tx: Tx, said: Iterable[tuple[bytes, int]]) -> None: ...

    def expire(self, tx: Tx) -> int: ...

    def receive_council(
        self, tx: Tx, neighbour: Neighbour, said: Sequence[CouncilMessage], cosigned: bool
    ) -> None: ...

    def speak_council(
        self, view: View, village: str, room: int
    ) -> list[tuple[CouncilMessage, int]]: ...

    def answer_unknown(
        self, view: View, said: Iterable[CouncilMessage]
    ) -> list[CouncilMessage]: ...

    def told_council(self, tx: Tx, village: str, said: Iterable[tuple[bytes, int]]) -> None: ...

    def villages_waiting(self, view: View) -> list[str]: ...

    def begin(self, tx: Tx) -> None: ...

    def next_wake(self, view: View) -> int | None: ...

    def wake(self, tx: Tx) -> int | None: ...


class Said(msgspec.Struct, frozen=True):
    """A composed message, to whom, and which rows it spoke of. `waiting`: the villages to which
    there is something urgent to say."""

    neighbour: Neighbour
    message: Exchange
    rows: tuple[tuple[bytes, int], ...]
    councils: tuple[tuple[bytes, int], ...] = ()
    waiting: tuple[str, ...] = ()

    @property
    def is_partial(self) -> bool:
        """Tell whether our log or listings did not fit into it."""
        push = self.message.push
        return (push is not None and _is_partial(push)) or _is_full(self.message)


class Heard(msgspec.Struct, frozen=True):
    """What taking in a message did. `moved`: it moved a trade; `about`: the trades that moved or of
    which we had not spoken, to be spoken of next; `partial`: it brought a part of a longer log;
    `took`: its sender holds more of ours than it did; `waiting`: as in Said."""

    moved: bool = False
    about: tuple[bytes, ...] = ()
    partial: bool = False
    took: bool = False
    waiting: tuple[str, ...] = ()


class FederationClient:
    """Keeps this village in touch with its neighbours. `random` makes the jitter."""

    def __init__(
        self,
        runner: Runner,
        transport: Transport,
        subjects: Subjects,
        random: Callable[[int], bytes],
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._runner = runner
        self._transport = transport
        self._subjects = subjects
        self._random = random
        self._heartbeat_s = heartbeat_s
        self._peers: dict[str, _Peer] = {}
        self._is_running = False
        self._news = asyncio.Event()  # of what councils decide: their waits may have changed
        self.known: dict[str, Neighbour] = {}

    async def run(self) -> None:
        """Serve all neighbours, those that come later included, until cancelled."""
        self._is_running = True
        await self._runner.write(self._subjects.begin)
        try:
            while True:
                for neighbour in await self._runner.read(neighbours.everyone):
                    self._peer(neighbour.village)
                await self._runner.write(self._subjects.expire)
                await self._watch_the_clock(self._heartbeat_s / 2)
                for peer in self._peers.values():
                    if peer.task is not None and peer.task.done():
                        peer.task.result()  # raises what broke it: a fault of this box
        finally:
            self._is_running = False
            tasks = [peer.task for peer in self._peers.values() if peer.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._peers.clear()

    async def _watch_the_clock(self, seconds: float) -> None:
        """Do what councils wait for, when it is time, for so long."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + seconds
        while (left_s := end_s - loop.time()) > 0:
            self._news.clear()
            if await self._runner.read(self._subjects.next_wake) is not None:
                wakes_ms = await self._runner.write(self._subjects.wake)
                self._wake_others(await self._runner.read(self._subjects.villages_waiting))
                left_s = left_s if wakes_ms is None else min(left_s, wakes_ms / 1000)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._news.wait()

    def kick_all(self) -> None:
        """Exchange with every neighbour now."""
        for peer in self._peers.values():
            peer.wake.set()

    def kick(self, village: str) -> None:
        """Exchange with a neighbour now rather than at the next heartbeat."""
        self._peer(village).wake.set()

    async def exchange(self, village: str) -> None:
        """Exchange with a neighbour until neither side has anything new to say.

        Raises Unreachable, PeerError, or Refused as the neighbour answered.
        """
        async with self._peer(village, start=False).lock:
            heard, idle = Heard(), False
            for _ in range(ROUNDS_MAX):
                said = await self._compose(village, heard.about)
                heard = await self._say(said)
                waits = village in heard.waiting
                if waits or heard.moved or heard.partial or (said.is_partial and heard.took):
                    idle = False
                elif heard.about and not idle:
                    idle = True  # once: to show that it was heard
                else:
                    return

    async def answer(self, village: str, body: bytes) -> bytes:
        """Take in a neighbour's signed message and return ours, once what it said is on disk."""
        message = messages.decode_exchange(body)
        if message.sender != village:
            raise Malformed(f"the message says it is from {message.sender[:63]}, signed {village}")
        await self._runner.write(lambda tx: receive(tx, self._subjects, message, None))
        self._peer(village, start=self._is_running, at_once=False)  # it has just been in touch
        about = [_subject(each) for each in message.subjects]
        said = await self._compose(village, about, message.councils)
        return messages.encode(said.message)

    async def _compose(
        self, village: str, about: Sequence[bytes], asked: Sequence[CouncilMessage] = ()
    ) -> Said:
        peer = self._peer(village, start=False)
        peer.turn += 1
        said = await self._runner.read(
            lambda view: compose(view, self._subjects, village, about, peer.turn, asked)
        )
        self._wake_others(said.waiting, village)
        if said.councils:
            self._news.set()
        return said

    def _wake_others(self, waiting: Iterable[str], but: str = "") -> None:
        """Exchange now with those to whom there is something urgent to say, unless they do not
        answer: those are tried again anyway."""
        for village in waiting:
            peer = self._peers.get(village)
            if village != but and peer is not None and not peer.failures:
                peer.wake.set()

    async def _say(self, said: Said) -> Heard:
        """Send a message and take in the answer."""
        village = said.neighbour.village
        self.known[village] = said.neighbour
        path = TRADE_PATH if said.message.subjects else SYNC_PATH
        answer = await self._transport.exchange(village, path, messages.encode(said.message))
        message = messages.decode_exchange(answer)
        if message.sender != village:
            raise Malformed(f"{village} answered as {message.sender[:63]}")
        heard = await self._runner.write(lambda tx: receive(tx, self._subjects, message, said))
        self._wake_others(heard.waiting, village)
        return heard

    def _peer(self, village: str, start: bool = True, at_once: bool = True) -> "_Peer":
        peer = self._peers.setdefault(village, _Peer())
        if start and peer.task is None:
            peer.task = asyncio.create_task(
                self._serve(village, peer, at_once), name=f"sync {village}"
            )
        return peer

    async def _serve(self, village: str, peer: "_Peer", at_once: bool) -> None:
        while True:
            try:
                if at_once or peer.wake.is_set():
                    peer.wake.clear()
                    peer.failures = await self._try(village, peer.failures)
                at_once = True
            except AssertionError:
                raise
            except Exception:  # noqa: BLE001 - one neighbour must not stop the others
                _log.exception("no sync with %s: a fault of this box", village)
                peer.failures += 1
            try:
                async with asyncio.timeout(self._pause_s(peer.failures)):
                    await peer.wake.wait()
            except TimeoutError:
                pass

    async def _try(self, village: str, failures: int) -> int:
        """Exchange once; return how many tries have failed since the last that did not."""
        try:
            await self.exchange(village)
        except BoxError as error:
            if failures == 0:
                _log.warning("no sync with %s: %s", village, error.detail)
            return failures + 1
        if failures:
            _log.info("in sync with %s again", village)
        return 0

    def _pause_s(self, failures: int) -> float:
        """The heartbeat, or sooner after the first failures, with a tenth of jitter."""
        pause_s = self._heartbeat_s
        if failures:
            pause_s = min(pause_s, RETRY_S_MIN * 2.0 ** min(failures - 1, 10))
        return pause_s * (0.9 + self._random(1)[0] / 1280)


class _Peer:
    """The task that serves one neighbour, what wakes it, the one exchange at a time, and how far
    speaking of more trades than one message may carry has come."""

    __slots__ = ("failures", "lock", "task", "turn", "wake")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.turn = 0
        self.failures = 0  # since the last exchange that went well


def compose(
    view: View,
    subjects: Subjects,
    village: str,
    about: Iterable[bytes],
    turn: int,
    asked: Sequence[CouncilMessage] = (),
) -> Said:
    """Return the message that a neighbour needs now, from committed rows."""
    neighbour = neighbours.named(view, village)
    own = facts.own_entry(view)
    spoken = subjects.speak(view, neighbour, about, turn)
    unknown = subjects.answer_unknown(view, asked)
    room = limits.COUNCILS_PER_MESSAGE_MAX - len(unknown)
    councils = subjects.speak_council(view, village, room)
    message = Exchange(
        protocol=limits.PROTOCOL_VERSION,
        sender=own.village_id,
        network=neighbour.network,
        have=logs.size_of(view, neighbour.log),
        entry_stamp_ms=neighbour.entry.stamp_ms,
        entry=own if own.stamp_ms > neighbour.knows_entry_ms else None,
        push=logs.push_for(view, neighbour.has_size),
        cosignature=logs.cosignature_for(view, neighbour.log, own.village_id),
        subjects=tuple(each for each, _ in spoken),
        listings_have=neighbour.listings_have,
        listings=tuple(listings.changed(view, own.village_id, neighbour.knows_listings)),
        councils=(*unknown, *(each for each, _ in councils)),
        misbehaviour=misbehaviour.speak(view, village),
    )
    rows = tuple((_subject(each), changed_ms) for each, changed_ms in spoken)
    told = tuple((each.subject, changed_ms) for each, changed_ms in councils)
    return Said(neighbour, message, rows, told, tuple(subjects.villages_waiting(view)))


def receive(tx: Tx, subjects: Subjects, message: Exchange, said: Said | None) -> Heard:
    """Take in a neighbour's message whole, or raise PeerError and change nothing.

    `said` is our own message, if this one answers it.
    """
    neighbour = neighbours.find(tx, message.sender)
    if neighbour is None:
        raise UnknownVillage(f"{message.sender[:63]} is not a neighbour of {tx.identity.village}")
    if message.network != neighbour.network:
        raise Malformed("the message is of another federation")
    neighbours.heard_from(
        tx, neighbour.village, message.have, message.entry_stamp_ms, message.listings_have
    )
    if message.entry is not None:
        registry.verify(message.entry)
        neighbours.keep_entry(tx, neighbour, message.entry)
    more_listed = bool(message.listings) and _keep_listings(tx, neighbour, message)
    partial = _take_push(tx, neighbour, message.push) or more_listed
    took = message.have > neighbour.has_size or message.listings_have > neighbour.knows_listings
    if said is not None:
        subjects.told_council(tx, neighbour.village, said.councils)
    if not _is_of_our_log(tx, neighbour, message):
        return Heard(partial=partial, took=took)
    cosigned = _keep_cosignature(tx, neighbour, message)
    if said is not None:
        subjects.told(tx, said.rows)
    neighbour = neighbours.named(tx, neighbour.village)
    moved = subjects.receive(tx, neighbour, message.subjects)
    subjects.receive_council(tx, neighbour, message.councils, cosigned)
    misbehaviour.receive(tx, neighbour, message.misbehaviour)
    spoken = {subject for subject, _ in said.rows} if said else set()
    heard = dict.fromkeys(_subject(each) for each in message.subjects)
    about = tuple(each for each in heard if each in moved or each not in spoken)
    spoken_next = (*about, *sorted(moved - heard.keys()))
    return Heard(bool(moved), spoken_next, partial, took, tuple(subjects.villages_waiting(tx)))


def _is_of_our_log(tx: Tx, neighbour: Neighbour, message: Exchange) -> bool:
    """Tell if the neighbour holds no more of our log than we do: else this box has forgotten what
    it said, and says nothing new on trades."""
    size = logs.size_of(tx, OWN_LOG)
    if message.have > size:
        neighbours.set_trouble(
            tx,
            neighbour.village,
            f"it holds {message.have} records of this village's log and this box only {size}: "
            "the box was set back to an old copy",
        )
        return False
    return True


def _keep_cosignature(tx: Tx, neighbour: Neighbour, message: Exchange) -> bool:
    """Keep the neighbour's cosignature on our log; tell whether it was new."""
    line = message.cosignature
    return line is not None and logs.keep_cosignature(tx, neighbour.village, neighbour.key, line)


def _take_push(tx: Tx, neighbour: Neighbour, push: messages.Push | None) -> bool:
    """Take in pushed records; tell whether they were some that we lacked, of a longer log."""
    if push is None:
        return False
    before = logs.size_of(tx, neighbour.log)
    fresh = push.records[max(0, before - push.start) :]
    has_room = not fresh or allowance.has_room(tx, neighbour, tx.stamp_ms)
    allowance.note(tx, neighbour, has_room)
    if not has_room:
        return False
    try:
        after = logs.take_in(tx, neighbour.log, neighbour.village, neighbour.key, push)
    except ForkedLog as fork:
        neighbours.set_trouble(tx, neighbour.village, fork.detail)
        return False
    if after > before:
        allowance.count(tx, neighbour, after - before, sum(map(len, fresh)))
    return after > before and _is_partial(push)


def _keep_listings(tx: Tx, neighbour: Neighbour, message: Exchange) -> bool:
    """Keep what is listed; tell whether it was new, and a part of more."""
    before = neighbour.listings_have
    version = listings.keep(tx, neighbour.village, before, message.listings)
    neighbours.keeps_listings(tx, neighbour.village, version)
    return version > before and _is_full(message)


def _is_full(message: Exchange) -> bool:
    return len(message.listings) == limits.LISTINGS_PER_MESSAGE_MAX


def _is_partial(push: messages.Push) -> bool:
    return bool(push.proof) and bool(push.records)


def _subject(message: SubjectMessage) -> bytes:
    return trade.subject_of(bytes(message.terms))
