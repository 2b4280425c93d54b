"""The village's side of sync: one exchange with each neighbour every minute, and at once when a
trade moves.

Of each neighbour it remembers what it has been told and may have stored. Whoever asks for an
exchange shares the next one with all who ask meanwhile, so that many trades travel in one message.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Protocol

from edge.core import messages, trade
from edge.core.messages import CouncilMessage
from edge.errors import BoxError, DiskFull, Malformed, TooMany
from edge.exchange import Heard, Said, Subjects, compose, receive
from edge.storage import neighbours, telling
from edge.storage.neighbours import Neighbour
from edge.storage.tx import Runner, Urgent
from edge.told import ALL, Told, Ways

HEARTBEAT_S = 60
RETRY_S_MIN = 1
NO_ROOM_S = 10  # until what a full disk has refused is tried again
SOON_S = 0.5  # how long a subject rests until all are told what is not urgent
ROUNDS_MAX = 1_000
SYNC_PATH = "/federation/sync"
TRADE_PATH = "/federation/trade"
_log = logging.getLogger(__name__)


class Transport(Protocol):
    """Carries one signed message to a village and brings its answer."""

    async def exchange(self, village: str, path: str, body: bytes) -> bytes:
        """Raises Unreachable (what happened there is unknown) or what the village answered."""
        ...


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
        self._later: asyncio.TimerHandle | None = None  # when all are told what is not urgent
        self._number = int.from_bytes(random(6)) >> 1  # of the last message
        self.known: dict[str, Neighbour] = {}

    async def run(self) -> None:
        """Serve all neighbours, those that come later included, until cancelled."""
        self._is_running, has_begun = True, False
        try:
            while True:
                try:
                    if not has_begun:
                        await self._runner.write(self._subjects.begin)
                        has_begun = True
                    await self._look_round()
                except (DiskFull, TooMany) as error:
                    _log.warning("what is due waits: %s", error.detail)
                    await asyncio.sleep(min(self._heartbeat_s / 2, NO_ROOM_S))
        finally:
            self._is_running = False
            if self._later is not None:
                self._later.cancel()
            tasks = [peer.task for peer in self._peers.values() if peer.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._peers.clear()

    async def _look_round(self) -> None:
        for neighbour in await self._runner.read(neighbours.everyone):
            self._peer(neighbour.village)
        await self._runner.write(self._subjects.expire)
        await self._watch_the_clock(self._heartbeat_s / 2)
        for peer in self._peers.values():
            if peer.task is not None and peer.task.done():
                peer.task.result()  # raises what broke it: a fault of this box

    async def _watch_the_clock(self, seconds: float) -> None:
        """Do what councils wait for, when it is time, for so long."""
        loop = asyncio.get_running_loop()
        end_s = wakes_s = loop.time() + seconds
        wakes_ms: int | None = None  # what `wakes_s` is by the box's clock
        while loop.time() < end_s:
            self._news.clear()
            next_ms = await self._runner.read(self._subjects.next_wake)
            is_sooner = next_ms is not None and (wakes_ms is None or next_ms < wakes_ms)
            if is_sooner or loop.time() >= wakes_s:
                wakes_ms, left_ms = await self._runner.write(self._subjects.wake)
                wakes_s = end_s if wakes_ms is None else loop.time() + left_ms / 1000
                self._wake(await self._runner.read(telling.urgent))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(wakes_s, end_s)):
                    await self._news.wait()

    def kick_all(self) -> None:
        """Exchange with every neighbour now."""
        for village in self._peers:
            self.kick(village)

    def kick(self, village: str) -> None:
        """Exchange with a neighbour now rather than at the next heartbeat."""
        self._peer(village).wake(Why.ASKED)

    async def exchange(self, village: str, why: "Why | None" = None) -> None:
        """Exchange with a neighbour until neither side has anything new to say.

        Raises Unreachable, PeerError, or Refused as the neighbour answered.
        """
        idle = False
        for _ in range(ROUNDS_MAX):
            said, heard = await self._exchange_once(village, why or Why.ASKED)
            waits = self._is_urgent(village, heard.urgent)
            went_on = said is not None and said.is_partial and heard.took
            if waits or heard.moved or heard.partial or went_on:
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
        peer = self._peer(village, start=self._is_running, at_once=False)  # it is in touch now
        with peer.answering():
            stored = peer.stored(message.heard)
            heard = await self._runner.write(
                lambda tx: receive(tx, self._subjects, message, stored)
            )
            if stored is not None:
                peer.told.drop(stored.rows, stored.councils)
            about = [trade.subject_of(bytes(each.terms)) for each in message.subjects]
            only_so = peer.failures > 0  # it cannot be called
            ways = self._ways(peer, Why.DUE if only_so else Why.ASKED)
            said = await self._compose(village, about, heard.unknown, ways=ways)
            peer.answered = said
        self._wake(heard.urgent)
        self._note_news(heard, said)
        return messages.encode(said.message)

    async def _exchange_once(self, village: str, why: "Why") -> tuple[Said | None, Heard]:
        """Have the next exchange with a neighbour, together with all others who ask for it before
        it begins. `why`: one that is not asked for expressly is left out if nothing would be said.
        """
        peer = self._peer(village, start=False)
        peer.why = max(peer.why, why)
        while peer.next is not None:
            done = await asyncio.shield(peer.next)
            if done is not None:
                return done
        peer.next = mine = asyncio.get_running_loop().create_future()
        done = None
        try:
            async with peer.lock:
                await peer.has_answered()  # which said all that there was to say
                why, peer.why, peer.next = peer.why, Why.NONE, None
                done = await self._say(village, peer, why)
            return done
        except Exception as error:
            mine.set_exception(error)
            mine.exception()  # nobody may have asked
            raise
        finally:
            if peer.next is mine:
                peer.next = None
            if not mine.done():
                mine.set_result(done)  # None: whoever was to do it is gone

    async def _say(self, village: str, peer: "_Peer", why: "Why") -> tuple[Said | None, Heard]:
        """Send a message and take in the answer; `peer` is locked."""
        urgent, peer.urgent = peer.urgent, set()
        if why is Why.URGENT and all(peer.told.has(each) for each in urgent):
            return None, Heard()  # an answer has said it meanwhile
        about, peer.about = peer.about, ()
        unknown, peer.unknown = peer.unknown, ()
        if why is Why.DUE:
            peer.told.clear()  # what an answer has said, and nobody has acknowledged, is said again
        said = await self._compose(village, about, unknown, ways=self._ways(peer, why))
        self._wake(said.urgent)
        if said.newest_ms > peer.seen_ms and why >= Why.SOON:
            peer.seen_ms = said.newest_ms
            self._tell_later()
        if said.is_empty and why < Why.ASKED:
            return said, Heard()
        self.known[village] = said.neighbour
        try:
            answer = await self._post(village, said)
            message = messages.decode_exchange(answer)
            if message.sender != village:
                raise Malformed(f"{village} answered as {message.sender[:63]}")
            heard = await self._runner.write(lambda tx: receive(tx, self._subjects, message, said))
        except BaseException:
            peer.told.clear()  # nobody knows what it has stored
            peer.heard = 0
            raise
        peer.told.drop(said.rows, said.councils)
        peer.heard, peer.about, peer.unknown = message.number, heard.about, heard.unknown
        if said.is_cut:
            peer.urgent |= urgent
            peer.wake(Why.SOON if why is Why.SOON else Why.URGENT)
        self._wake(heard.urgent)
        self._note_news(heard, said)
        return said, heard

    async def _post(self, village: str, said: Said) -> bytes:
        path = TRADE_PATH if said.message.subjects or said.message.councils else SYNC_PATH
        return await self._transport.exchange(village, path, messages.encode(said.message))

    async def _compose(
        self,
        village: str,
        about: Sequence[bytes],
        unknown: Sequence[CouncilMessage],
        *,
        ways: Ways,
    ) -> Said:
        peer = self._peer(village, start=False)
        self._number += 1
        number, turn, told, heard = self._number, peer.turn, peer.told, peer.heard
        peer.turn += 1
        said = await self._runner.read(
            lambda view: compose(
                view,
                self._subjects,
                village,
                about,
                turn,
                unknown,
                told,
                ways=ways,
                number=number,
                heard=heard,
            )
        )
        peer.told.keep(said.rows, said.councils)
        return said

    def _wake(self, news: Iterable[Urgent]) -> None:
        """Exchange now with those to whom there is something urgent to say, unless they do not
        answer: those are tried again anyway."""
        woken = set()
        for each in news:
            peer = self._peers.get(each.village)
            if peer is None or peer.failures or peer.told.has(each):
                continue
            peer.urgent.add(each)
            woken.add(each.village)
        for village in sorted(woken):  # in one order, whatever that of the news is
            self._peers[village].wake(Why.URGENT)

    def _is_urgent(self, village: str, news: Iterable[Urgent]) -> bool:
        told = self._peer(village, start=False).told
        return any(each.village == village and not told.has(each) for each in news)

    def _ways(self, peer: "_Peer", why: "Why") -> Ways:
        """Return what to say of councils."""
        if why is Why.DUE or not self._is_running:
            return ALL
        return Ways(why is Why.SOON, peer.seen_ms, why is Why.ASKED)

    def _note_news(self, heard: Heard, said: Said) -> None:
        """A council may have news: look what it waits for, and tell everyone in a while."""
        if heard.news or said.message.councils:
            self._news.set()
            self._tell_later()

    def _tell_later(self) -> None:
        if self._is_running and self._later is None:
            loop = asyncio.get_running_loop()
            self._later = loop.call_later(SOON_S * self._jitter(0.5), self._tell_all)

    def _tell_all(self) -> None:
        self._later = None
        for peer in self._peers.values():
            if not peer.failures:
                peer.wake(Why.SOON)

    def _peer(self, village: str, start: bool = True, at_once: bool = True) -> "_Peer":
        peer = self._peers.setdefault(village, _Peer())
        if start and peer.task is None:
            peer.task = asyncio.create_task(
                self._serve(village, peer, at_once), name=f"sync {village}"
            )
        return peer

    async def _serve(self, village: str, peer: "_Peer", at_once: bool) -> None:
        why, loop = Why.DUE if at_once else Why.NONE, asyncio.get_running_loop()
        due_s = loop.time() + self._pause_s(0)
        while True:
            before = peer.failures
            try:
                if why > Why.NONE:
                    peer.failures = await self._try(village, why, peer.failures)
            except AssertionError:
                raise
            except Exception:  # noqa: BLE001 - one neighbour must not stop the others
                _log.exception("no sync with %s: a fault of this box", village)
                peer.failures += 1
            if why is Why.DUE or peer.failures != before:
                due_s = loop.time() + self._pause_s(peer.failures)
            why = await peer.wanted(due_s - loop.time())

    async def _try(self, village: str, why: "Why", failures: int) -> int:
        """Exchange once, or until all is said; return how many tries have failed since the last
        that did not."""
        try:
            if why >= Why.ASKED:
                await self.exchange(village, why)
            else:
                await self._exchange_once(village, why)
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
        return pause_s * self._jitter(0.1)

    def _jitter(self, share: float) -> float:
        """Return a factor around 1, as far off as `share`."""
        return 1 + share * (self._random(1)[0] / 128 - 1)


class Why(IntEnum):
    """Why an exchange is wanted. URGENT: others wait for our own words; SOON: what nobody waited
    for is to be said, too; ASKED: though there be nothing to say; DUE: once in a while, and then
    all is said that there is."""

    NONE = 0
    URGENT = 1
    SOON = 2
    ASKED = 3
    DUE = 4


class _Peer:
    """What is remembered of one neighbour: the task that serves it and what wakes that, the one
    exchange at a time and the next one, our answers under way, what it has been told, and how far
    speaking of more trades than one message may carry has come."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.task: asyncio.Task[None] | None = None
        self.next: asyncio.Future[tuple[Said | None, Heard] | None] | None = None
        self.why = Why.NONE  # of the next
        self.told = Told()
        self.answered: Said | None = None
        self.heard = 0  # the number of its last answer
        self.about: Sequence[bytes] = ()  # to be spoken of next
        self.unknown: Sequence[CouncilMessage] = ()  # to be said next
        self.urgent: set[Urgent] = set()
        self.turn = 0
        self.seen_ms = 0  # what is not urgent is said if it has not changed since
        self.failures = 0  # since the last exchange that went well
        self._wake = asyncio.Event()
        self._wanted = Why.NONE
        self._answers = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    def wake(self, why: Why) -> None:
        self._wanted = max(self._wanted, why)
        self._wake.set()

    async def wanted(self, seconds: float) -> Why:
        """Wait until an exchange is wanted, for so long; then one is due, however many there were
        meanwhile."""
        try:
            async with asyncio.timeout(max(0, seconds)):
                await self._wake.wait()
        except TimeoutError:
            pass
        if seconds <= 0 or not self._wake.is_set():
            self._wanted = Why.DUE
        self._wake.clear()
        why, self._wanted = self._wanted, Why.NONE
        return why

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        self._answers += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._answers -= 1
            if self._answers == 0:
                self._quiet.set()

    async def has_answered(self) -> None:
        await self._quiet.wait()

    def stored(self, heard: int) -> Said | None:
        """Return our last answer if the neighbour shows that it has stored that; else nobody knows
        what it has stored."""
        answered, self.answered = self.answered, None
        if answered is not None and answered.message.number != heard:
            self.told.clear()
            return None
        return answered
