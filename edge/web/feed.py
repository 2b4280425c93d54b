"""Who waits for changes: woken after a commit that has news for them, and streams of events.

Nothing is queued. After a commit one read tells which of those who wait have news; each then reads
its own from the committed rows. A busy box does that DEBOUNCE_S apart, not for every commit.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final

import msgspec
from aiohttp import web

from edge.errors import BoxError, InvalidInput, NotSignedIn, TooMany
from edge.storage import changes
from edge.storage.changes import Latest, Position
from edge.storage.members import Member
from edge.storage.tx import View
from edge.web import sessions
from edge.web.frame import Frame
from edge.web.handlers import Handlers, Shop

DEBOUNCE_S: Final = 0.2
HEARTBEAT_S: Final = 15.0
LEAVE_S: Final = 1.0
SEND_S_MAX: Final = 30  # a reader that takes longer for one piece is let go
WAITING_PER_MEMBER_MAX: Final = 8
WAITING_MAX: Final = 200
RETRY_MS: Final = 3_000
HEARTBEAT: Final = b": still here\n\n"
EVENT_STREAM: Final = "text/event-stream"
LAST_EVENT_ID: Final = "Last-Event-ID"
_log = logging.getLogger(__name__)


class Found(msgspec.Struct, frozen=True):
    """What there is to send, the position after it, and whether there is more."""

    text: bytes
    position: Position
    more: bool = False


Look = Callable[[Position], Awaitable[Found]]  # raises NotSignedIn for who may read no more


class Waiting:
    """One who waits, for what comes after `position`, as long as `is_there`."""

    def __init__(self, member: Member, position: Position, is_there: Callable[[], bool]) -> None:
        self.member = member
        self.position = position
        self.is_there = is_there
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def wait(self, seconds: float) -> bool:
        """Wait to be woken, at most so long; tell whether it was. Raises ConnectionError once
        whoever asked has left, which nobody says: it is looked for each LEAVE_S."""
        while seconds > 0 and not self._woken.is_set():
            if not self.is_there():
                raise ConnectionError("nobody is there any more")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), min(seconds, LEAVE_S))
            seconds -= LEAVE_S
        woken = self._woken.is_set()
        self._woken.clear()
        return woken


class Feed:
    """All who wait. Give `running` to an application as its cleanup context."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._waiting: set[Waiting] = set()
        self.is_ending = False

    async def running(self, app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._run(), name="feed")
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def end(self, app: web.Application) -> None:
        """Let go of all who wait: the box stops."""
        self.is_ending = True
        for each in self._waiting:
            each.wake()

    @contextlib.contextmanager
    def waiting(
        self, request: web.Request, member: Member, position: Position
    ) -> Iterator[Waiting]:
        """Count among those who wait. Raises TooMany."""
        mine = sum(each.member.id == member.id for each in self._waiting)
        if mine >= WAITING_PER_MEMBER_MAX or len(self._waiting) >= WAITING_MAX:
            raise TooMany("too many wait for changes at once: close one", retry_after_s=60)
        found = Waiting(member, position, lambda: _is_connected(request))
        self._waiting.add(found)
        try:
            yield found
        finally:
            self._waiting.remove(found)

    def wake(self, member: int) -> None:
        """Have all of a member's streams look at once whether they may go on."""
        for each in self._waiting:
            if each.member.id == member:
                each.wake()

    async def _run(self) -> None:
        stamp_ms = 0
        while True:
            stamp_ms = await self._shop.committed(stamp_ms)
            if self._waiting:
                await self._wake_those_with_news()
            await asyncio.sleep(DEBOUNCE_S)

    async def _wake_those_with_news(self) -> None:
        asked = list(self._waiting)
        people = {each.member.id: each.member for each in asked}

        def look(view: View) -> dict[int, Latest]:
            return {id_: changes.latest(view, member) for id_, member in people.items()}

        try:
            latest = await self._shop.runner.read(look)
        except AssertionError as error:
            self._shop.on_broken_law(error)
            return
        except BoxError as error:
            _log.error("cannot look for changes: %s", error.detail)
            return
        for each in asked:
            if latest[each.member.id].is_after(each.position):
                each.wake()


class Events(Handlers):
    """What tells a signed-in member's open pages to look again: no content, only where."""

    def __init__(self, shop: Shop, frame: Frame, feed: Feed) -> None:
        super().__init__(shop, frame)
        self._feed = feed

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/events", self.events, allow_head=False)]

    async def events(self, request: web.Request) -> web.StreamResponse:
        """GET /events: `trades`, `market` and `wallet`, as server-sent events."""
        if request.query:
            raise InvalidInput("this takes no parameters")
        member = await self._member(request)
        claim = await sessions.claim_of(request)

        def latest(view: View) -> Latest:
            if claim is None or sessions.check(view, claim) is None:
                raise NotSignedIn("you are not signed in any more")
            return changes.latest(view, member)

        async def look(position: Position) -> Found:
            found = await self._runner.read(latest)
            return Found(signals(found, position), found.position)

        position = last_event_id(request)
        if position is None:
            position = (await self._runner.read(latest)).position
        with self._feed.waiting(request, member, position) as waiting:
            return await stream(request, self._feed, waiting, look)


def signals(latest: Latest, position: Position) -> bytes:
    """Return an event for each part of the pages that has changed since a position."""
    trades = latest.trades_ms > position.stamp_ms
    names = {
        "trades": trades,
        "market": latest.market_ms > position.stamp_ms,
        "wallet": trades or latest.records > position.records,
    }
    changed = [name for name, has_changed in names.items() if has_changed]
    ids = ["" for _ in changed[1:]] + [latest.position.to_text()]
    return b"".join(event(name, b"1", id_) for name, id_ in zip(changed, ids, strict=False))


async def stream(
    request: web.Request, feed: Feed, waiting: Waiting, look: Look
) -> web.StreamResponse:
    """Send events as they come, until the reader leaves, may read no more, or the box stops."""
    response = web.StreamResponse(headers={"Content-Type": EVENT_STREAM})
    await response.prepare(request)
    here = event("", b"", waiting.position.to_text())
    with contextlib.suppress(ConnectionError, TimeoutError, BoxError):
        await _send(response, f"retry: {RETRY_MS}\n".encode() + here)
        woken = True
        while not feed.is_ending:
            found = await look(waiting.position)
            waiting.position = found.position
            await _send(response, found.text if found.text or woken else HEARTBEAT)
            woken = found.more or await waiting.wait(HEARTBEAT_S)
        await response.write_eof()
    return response


def event(name: str, data: bytes, id_: str = "") -> bytes:
    """Return one event (WHATWG HTML, server-sent events). `data` is one line; without it the event
    only says where the reader is."""
    lines = [f"event: {name}\n".encode() + b"data: " + data + b"\n"] if data else []
    if id_:
        lines.append(f"id: {id_}\n".encode())
    return b"".join(lines) + b"\n"


def last_event_id(request: web.Request) -> Position | None:
    """Return where a reader was before, None if it begins. Raises InvalidInput."""
    text = request.headers.get(LAST_EVENT_ID, "")
    return Position.from_text(text) if text else None


def _is_connected(request: web.Request) -> bool:
    transport = request.transport
    return transport is not None and not transport.is_closing()


async def _send(response: web.StreamResponse, text: bytes) -> None:
    if text:
        async with asyncio.timeout(SEND_S_MAX):
            await response.write(text)
