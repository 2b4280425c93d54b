"""The change feed: nothing is missed, streams resume and end, and nobody can have too many."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import pytest

from edge import desk, market
from edge.core.trade import Proposal
from edge.errors import Refused
from edge.storage import members, movements, swaps, tokens
from edge.storage.deals import Deal
from edge.storage.movements import Wanted
from edge.storage.tx import Tx, View
from edge.web import feed
from tests.integration.api_caller import Program, make_token
from tests.integration.boxes import until
from tests.integration.web_boxes import (
    CALIFORNIA,
    MISSOURI,
    Browser,
    WebBox,
    Wire,
    people_and_goods,
)

PAYMENT: Final = {"to": "Carol", "amount": "1", "note": "for the cheese"}
WRITERS: Final = 4
WRITES: Final = 25


class Event(msgspec.Struct, frozen=True):
    name: str
    data: str
    id: str


class Reader:
    """Reads a stream of events as a browser does (WHATWG HTML, server-sent events)."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.last_id = ""
        self.comments = 0

    async def next(self) -> Event | None:
        """Return the next event, None once the stream has ended."""
        name, data, id_ = "", "", ""
        while line := (await self.response.content.readline()).decode():
            field, _, value = line.rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                data = value
            elif field == "id":
                id_ = value
            elif line.startswith(":"):
                self.comments += 1
            elif line == "\n":
                self.last_id = id_ or self.last_id
                if data:
                    return Event(name, data, id_)
                name, id_ = "", ""
        return None


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def box(stack: AsyncExitStack, tmp_path: Path) -> WebBox:
    wire = Wire()
    a = await stack.enter_async_context(WebBox(wire, tmp_path, MISSOURI, "Factor e Farm"))
    b = await stack.enter_async_context(WebBox(wire, tmp_path, CALIFORNIA, "Sonoma"))
    await people_and_goods(a, b)
    await a.store.write(lambda tx: desk.declare(tx, "Alice", "Hoe", "1000"))
    return a


@pytest.fixture
async def alice(box: WebBox, stack: AsyncExitStack) -> Program:
    return await stack.enter_async_context(Program(box, await make_token(box, "Alice")))


@asynccontextmanager
async def reading(program: Program, since: str = "", last_id: str = "") -> AsyncIterator[Reader]:
    headers = {"Authorization": f"Bearer {program.text}"}
    if last_id:
        headers["Last-Event-ID"] = last_id
    url = program.url(f"/events?since={since}")
    async with program.session.get(url, headers=headers) as response:
        assert response.status == 200, await response.text()
        yield Reader(response)


async def ended(reader: Reader) -> bool:
    """Wait for the end of a stream; tell whether it came without another event."""
    async with asyncio.timeout(5):
        return await reader.next() is None


# Nothing is missed


async def write_at_random(box: WebBox, seed: int) -> None:
    """Pay, propose and end trades at home, list and take back, many transactions at a time."""
    rng = random.Random(seed)

    def one(tx: Tx) -> None:
        alice, carol = members.named(tx, "Alice"), members.named(tx, "Carol")
        step = rng.randrange(6)
        if step == 0:
            desk.pay(tx, "Alice", "Carol", "0.01")
        elif step == 1:
            desk.pay(tx, "Carol", "Alice", "0.01")
        elif step == 2:
            proposal = Proposal(MISSOURI, "Carol", ("Hoe", "1"), None)
            market.propose(tx, alice, proposal)
        elif step == 3:
            ask = market.Ask("want", "Hoe", "1")
            listed = market.list_goods(tx, carol, ask)
            if rng.random() < 0.5:
                market.take_back(tx, carol, listed)
        else:
            open_now = swaps.page(tx, alice, swaps.Wanted(swaps.OPEN), 9)
            known = rng.choice([each for each in open_now if isinstance(each, Deal)])
            rng.choice((market.accept, market.reject))(tx, carol, known)

    for _ in range(WRITES):
        writes = [box.store.write(one) for _ in range(rng.randrange(1, 6))]
        for outcome in await asyncio.gather(*writes, return_exceptions=True):
            assert outcome is None or isinstance(outcome, Refused | IndexError), outcome
        if rng.random() < 0.3:
            await asyncio.sleep(0)


class Known:
    """What a program knows that only follows."""

    def __init__(self) -> None:
        self.trades: dict[str, Any] = {}
        self.movements: list[tuple[int, str]] = []
        self.listings: dict[str, Any] = {}

    def take(self, change: dict[str, Any]) -> None:
        match change["kind"]:
            case "trade":
                self.trades[change["trade"]["id"]] = change["trade"]
            case "movement":
                moved = change["movement"]
                self.movements.append((moved["record"], moved["asset"]))
            case _:
                self.listings[change["id"]] = change["listing"]

    async def check(self, box: WebBox, program: Program) -> None:
        """Assert that it is what the box has now."""

        def look(view: View) -> list[tuple[int, str]]:
            account = members.named(view, "Alice").account
            page = movements.page(view, account, Wanted(), 100_000)
            return sorted((row.index, row.asset) for row in page.rows)

        assert self.movements == await box.store.read(look), "each movement once, in order"
        now = {each["id"]: each for each in (await program.found("/trades?limit=200"))["trades"]}
        assert {id_: self.trades[id_] for id_ in now} == now
        listings = (await program.found("/listings?limit=200"))["listings"]
        there = {id_: each for id_, each in self.listings.items() if each is not None}
        assert there == {each["id"]: each for each in listings}


async def poll(program: Program, known: Known, rng: random.Random, done: asyncio.Event) -> None:
    """Follow by asking again and again, until all is written and nothing is new."""
    since = "0"
    while True:
        last = done.is_set()
        answer = await program.found(f"/changes?since={since}&limit={rng.randrange(1, 20)}")
        for change in answer["changes"]:
            known.take(change)
        since = answer["since"]
        if last and not answer["changes"]:
            assert not answer["more"]
            return


async def stream(program: Program, known: Known, rng: random.Random, done: asyncio.Event) -> None:
    """Follow by streams that are cut off; what came after the last id is not counted."""
    last_id = "0.0"
    while not (done.is_set() and last_id == (await program.found("/changes"))["since"]):
        batch: list[Event] = []
        with suppress(TimeoutError):
            async with reading(program, last_id=last_id) as reader, asyncio.timeout(1):
                for _ in range(rng.randrange(1, 60)):
                    event = await reader.next()
                    assert event is not None
                    batch.append(event)
        whole = max((n for n, each in enumerate(batch, 1) if each.id), default=0)
        for each in batch[:whole]:
            known.take(msgspec.json.decode(each.data))
            last_id = each.id or last_id


async def test_what_readers_see_before_it_is_told_of_has_been(box: WebBox, alice: Program) -> None:
    await box.store.write(
        lambda tx: market.list_goods(tx, members.named(tx, "Alice"), market.Ask("want", "Hoe", "1"))
    )
    since = (await alice.found("/changes?since=0&limit=20"))["since"]
    store = box.store
    stamp_ms = store._stamp_ms
    store._stamp_ms = 0  # as between a commit and the loop's hearing of it
    asked = asyncio.create_task(alice.get(f"/changes?since={since}&limit=1"))
    assert await asyncio.wait({asked}, timeout=0.2) == (set(), {asked})
    store._stamp_ms = stamp_ms
    store._committed.set()
    assert (await asked).status == 200


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_missed_while_others_write(box: WebBox, alice: Program, seed: int) -> None:
    polled, streamed, done = Known(), Known(), asyncio.Event()
    rng = random.Random(seed)
    followers = [
        asyncio.create_task(poll(alice, polled, rng, done)),
        asyncio.create_task(stream(alice, streamed, rng, done)),
    ]
    await asyncio.gather(*(write_at_random(box, seed * 100 + n) for n in range(WRITERS)))
    done.set()
    await asyncio.wait_for(asyncio.gather(*followers), 60)
    for known in (polled, streamed):
        await known.check(box, alice)


async def test_waiting_ends_with_a_change_or_in_time(box: WebBox, alice: Program) -> None:
    since = (await alice.found("/changes"))["since"]
    nothing = await alice.found(f"/changes?since={since}&wait_s=1")
    assert nothing == {"changes": [], "since": since, "more": False}
    waiting = asyncio.create_task(alice.found(f"/changes?since={since}&wait_s=30"))
    await box.store.write(lambda tx: desk.pay(tx, "Alice", "Carol", "1"))
    async with asyncio.timeout(5):
        answer = await waiting
    [change] = answer["changes"]
    assert change["movement"]["amount"] == "-1.00"


async def test_what_others_do_is_no_news(box: WebBox, alice: Program) -> None:
    await box.member("Dora", "135790")
    since = (await alice.found("/changes"))["since"]
    waiting = asyncio.create_task(alice.found(f"/changes?since={since}&wait_s=1"))
    await box.store.write(lambda tx: desk.issue(tx, "Dora", "5"))
    await box.store.write(lambda tx: desk.pay(tx, "Dora", "Carol", "1"))
    assert (await waiting)["changes"] == []


async def test_a_position_that_the_box_has_not_reached(box: WebBox, alice: Program) -> None:
    """So it is after a box was set up again from an old copy."""
    for since in (f"{box.now_ms + 86_400_000}.1", "1.100000"):
        for path in ("/changes", "/events"):
            answer = await alice.get(f"{path}?since={since}")
            assert (answer.status, answer.slug) == (409, "conflict"), (path, since)


# Streams


async def test_a_stream_tells_resumes_and_begins_now(box: WebBox, alice: Program) -> None:
    async with reading(alice) as reader:
        await alice.done("/payments", PAYMENT)
        event = await reader.next()
        assert event is not None
        assert (event.name, event.id) == ("movement", reader.last_id)
        first = msgspec.json.decode(event.data)["movement"]["record"]
        where = reader.last_id
    for _ in range(3):
        await alice.done("/payments", PAYMENT)
    async with reading(alice, since="0", last_id=where) as reader:
        for number in range(3):
            event = await reader.next()
            assert event is not None
            assert msgspec.json.decode(event.data)["movement"]["record"] == first + 1 + number
        assert reader.last_id == (await alice.found("/changes"))["since"]


async def test_a_heartbeat(box: WebBox, alice: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "HEARTBEAT_S", 0.05)
    async with reading(alice) as reader:
        line = b""
        while not line.startswith(b":"):
            line = await reader.response.content.readline()
        assert line == b": still here\n"


async def test_a_stream_ends_with_its_token(box: WebBox, alice: Program) -> None:
    """At once when it is revoked on the page, although nothing has changed."""
    browser = Browser(box.server)
    async with browser, reading(alice) as reader:
        await browser.sign_in("Alice")
        await browser.get("/tokens")
        action = browser.text.split('action="/tokens/')[1].split('"')[0]
        await browser.send(f"/tokens/{action}")
        assert await ended(reader)
    assert (await alice.get("/changes")).status == 401


async def test_a_stream_does_not_go_on_after_its_token(box: WebBox, alice: Program) -> None:
    """Whatever revoked it: the next change is not told any more."""
    async with reading(alice) as reader:

        def revoke(tx: Tx) -> None:
            member = members.named(tx, "Alice")
            for token in tokens.of_member(tx, member):
                tokens.revoke(tx, member, token.id)

        await box.store.write(revoke)
        await box.store.write(lambda tx: desk.pay(tx, "Alice", "Carol", "1"))
        assert await ended(reader)


async def test_streams_are_bounded(box: WebBox, alice: Program, stack: AsyncExitStack) -> None:
    for _ in range(feed.WAITING_PER_MEMBER_MAX):
        await stack.enter_async_context(reading(alice))
    since = (await alice.found("/changes"))["since"]
    for path in ("/events", f"/changes?since={since}&wait_s=5"):
        answer = await alice.get(path)
        assert (answer.status, answer.slug) == (429, "too-many")
        assert int(answer.headers["Retry-After"]) > 0
    assert (await alice.get("/changes?since=0")).status == 200
    carol = await stack.enter_async_context(Program(box, await make_token(box, "Carol")))
    async with reading(carol):
        pass


@pytest.mark.parametrize("path", ["/events", "/changes?since={}&wait_s=30"])
async def test_who_left_is_not_counted(
    box: WebBox, alice: Program, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody who goes from page to page opens and leaves one stream after the other."""
    path = path.format((await alice.found("/changes"))["since"])

    async def left() -> bool:
        asked = alice.session.get(
            alice.url(path),
            headers={"Authorization": f"Bearer {alice.text}"},
            timeout=aiohttp.ClientTimeout(total=0.1),
        )
        with suppress(TimeoutError):
            async with asked as answer:
                if answer.status == 429:
                    return False
                await answer.read()
        return True

    for _ in range(feed.WAITING_PER_MEMBER_MAX + 2):
        await until(left, "there is room again", 5)
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


async def test_all_together_are_bounded(
    box: WebBox, alice: Program, monkeypatch: pytest.MonkeyPatch, stack: AsyncExitStack
) -> None:
    monkeypatch.setattr(feed, "WAITING_MAX", 1)
    carol = await stack.enter_async_context(Program(box, await make_token(box, "Carol")))
    async with reading(alice):
        assert (await carol.get("/events")).status == 429


async def test_streams_and_waits_end_when_the_box_stops(tmp_path: Path) -> None:
    wire = Wire()
    async with AsyncExitStack() as stack:
        box = await stack.enter_async_context(WebBox(wire, tmp_path, MISSOURI, "Factor e Farm"))
        await box.member("Alice")
        alice = Program(box, await make_token(box, "Alice"))
        async with alice, reading(alice) as reader:
            since = (await alice.found("/changes"))["since"]
            waiting = asyncio.create_task(alice.found(f"/changes?since={since}&wait_s=30"))
            await asyncio.sleep(0.1)
            began = asyncio.get_running_loop().time()
            await box.server.close()
            assert asyncio.get_running_loop().time() - began < 1.5, "they hold nothing up"
            assert await ended(reader)
            assert (await waiting)["changes"] == []


async def test_a_busy_box_does_not_read_for_every_commit(
    box: WebBox, alice: Program, stack: AsyncExitStack
) -> None:
    readers = [await stack.enter_async_context(reading(alice)) for _ in range(4)]
    reads = 0
    read = box.store.read

    async def counted(fn: Any) -> Any:
        nonlocal reads
        reads += 1
        return await read(fn)

    box.store.read = counted  # type: ignore[method-assign]
    began = asyncio.get_running_loop().time()
    for _ in range(200):
        await box.store.write(lambda tx: desk.pay(tx, "Alice", "Carol", "0.01"))
    rounds = (asyncio.get_running_loop().time() - began) / feed.DEBOUNCE_S + 2
    assert reads <= rounds * (1 + len(readers) * 2)
    for reader in readers:
        for _ in range(200):
            async with asyncio.timeout(10):
                assert await reader.next() is not None


# The pages' own


async def test_pages_are_told_where_to_look_again(box: WebBox, stack: AsyncExitStack) -> None:
    browser = await stack.enter_async_context(Browser(box.server))
    url = box.server.make_url("/events")
    async with browser.session.get(url) as refused:
        assert refused.status == 401
        assert refused.content_type == "application/problem+json"
    await browser.sign_in("Carol")
    async with browser.session.get(url) as response:
        assert response.status == 200
        reader = Reader(response)

        async def told(names: int) -> list[str]:
            async with asyncio.timeout(5):
                found = [await reader.next() for _ in range(names)]
            assert all(each is not None and each.data == "1" for each in found)
            return [each.name for each in found if each]

        await box.store.write(lambda tx: desk.pay(tx, "Alice", "Carol", "1"))
        assert await told(1) == ["wallet"]

        def propose(tx: Tx) -> str:
            proposal = Proposal(MISSOURI, "Carol", ("Hoe", "1"), None)
            return market.propose(tx, members.named(tx, "Alice"), proposal).id

        await box.store.write(propose)
        assert await told(2) == ["trades", "wallet"]

        def list_goods(tx: Tx) -> str:
            ask = market.Ask("offer", "Hoe", "1")
            return market.list_goods(tx, members.named(tx, "Alice"), ask)

        await box.store.write(list_goods)
        assert await told(1) == ["market"]
        await box.store.write(lambda tx: desk.reset_pin(tx, "Carol", "another hash"))
        await box.store.write(lambda tx: desk.pay(tx, "Alice", "Carol", "1"))
        assert await ended(reader), "a session ends with its PIN"
    headers = {"Last-Event-ID": "x"}
    async with browser.session.get(url, headers=headers) as refused:
        assert refused.status in (400, 401)


async def test_a_stream_ends_when_its_member_signs_out(box: WebBox, stack: AsyncExitStack) -> None:
    """At once, although nothing has changed; what the member has open elsewhere goes on."""
    here, elsewhere = [await stack.enter_async_context(Browser(box.server)) for _ in range(2)]
    url = box.server.make_url("/events")
    for browser in (here, elsewhere):
        await browser.sign_in("Carol")
    async with here.session.get(url) as mine, elsewhere.session.get(url) as other:
        assert mine.status == other.status == 200
        reader, open_elsewhere = Reader(mine), Reader(other)
        await here.send("/sign-out")
        assert await ended(reader)
        await box.store.write(lambda tx: desk.pay(tx, "Alice", "Carol", "1"))
        async with asyncio.timeout(5):
            event = await open_elsewhere.next()
        assert event is not None and event.name == "wallet"


async def test_a_stream_does_not_go_on_after_its_session(
    box: WebBox, stack: AsyncExitStack
) -> None:
    """Whatever ended it: the next change is not told any more."""
    browser = await stack.enter_async_context(Browser(box.server))
    await browser.sign_in("Carol")
    async with browser.session.get(box.server.make_url("/events")) as response:
        carol = await box.store.read(lambda view: members.named(view, "Carol"))
        await box.store.write(lambda tx: members.end_sessions(tx, carol.id))
        await box.store.write(lambda tx: desk.pay(tx, "Alice", "Carol", "1"))
        assert await ended(Reader(response))
