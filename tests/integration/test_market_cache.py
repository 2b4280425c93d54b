"""The market page is kept between commits: what it never shows, to whom, and how it is packed."""

import asyncio
import gzip
import re
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from edge import desk, market
from edge.core import crypto, limits
from edge.errors import StorageError
from edge.market import Ask
from edge.storage import listings, members
from edge.storage.listings import Listed, Query
from edge.storage.tx import Tx, View
from edge.web.kept import Kept
from edge.web.market import VISITORS_WAITING_MAX
from tests.integration.web_boxes import (
    CALIFORNIA,
    MISSOURI,
    PINS,
    Browser,
    WebBox,
    Wire,
    people_and_goods,
)

DAY_MS: Final = limits.DAY_MS
BYTES_MAX: Final = 60_000
FLOUR: Final = Ask("offer", "Flour", "5", price="1.50", text="milled in May")


class Village:
    """Missouri's box with its neighbour's, Alice's and Carol's browsers, and a visitor's."""

    def __init__(self, a: WebBox, b: WebBox, browsers: list[Browser]) -> None:
        self.a, self.b = a, b
        self.alice, self.carol, self.visitor = browsers

    async def list_goods(self, ask: Ask = FLOUR, name: str = "Alice") -> str:
        return await self.a.store.write(
            lambda tx: market.list_goods(tx, members.named(tx, name), ask)
        )

    async def all_see(self, text: str, path: str = "/market") -> list[bool]:
        """Tell who sees a text on a page: the visitor, Alice, Carol."""
        return [
            text in await browser.get(path) for browser in (self.visitor, self.alice, self.carol)
        ]

    async def change(self, sql: str, *values: object) -> None:
        await self.a.store.write(lambda tx: tx.run(sql, *values))


@pytest.fixture
async def village(tmp_path: Path) -> AsyncIterator[Village]:
    wire = Wire()
    async with (
        WebBox(wire, tmp_path, MISSOURI, "Factor e Farm") as a,
        WebBox(wire, tmp_path, CALIFORNIA, "Ventura") as b,
        Browser(a.server) as alice,
        Browser(a.server) as carol,
        Browser(a.server) as visitor,
    ):
        await people_and_goods(a, b)
        await a.store.write(lambda tx: desk.declare(tx, "Alice", "Flour", "20"))
        await alice.sign_in("Alice")
        await carol.sign_in("Carol")
        yield Village(a, b, [alice, carol, visitor])


ALL: Final = [True, True, True]
NOBODY: Final = [False, False, False]


async def test_a_new_listing_is_seen_at_once(village: Village) -> None:
    assert await village.all_see("milled in May") == NOBODY
    await village.list_goods()
    assert await village.all_see("milled in May") == ALL
    assert await village.all_see("milled in May", "/market?side=want") == NOBODY


async def test_what_was_taken_back_is_gone_at_once(village: Village) -> None:
    id_ = await village.list_goods()
    assert await village.all_see("milled in May") == ALL
    await village.alice.get(f"/market/{MISSOURI}/{id_}")
    await village.alice.send(f"/market/{MISSOURI}/{id_}/take-back")
    assert await village.all_see("milled in May") == NOBODY


async def test_stock_that_was_taken_is_not_offered_any_more(village: Village) -> None:
    id_ = await village.list_goods()
    await village.a.store.write(lambda tx: desk.issue(tx, "Carol", "10"))
    assert await village.all_see("5 Flour") == ALL
    await village.carol.get(f"/market/{MISSOURI}/{id_}")
    await village.carol.send(f"/market/{MISSOURI}/{id_}/answer", amount="1")
    await village.alice.get(village.carol.url.path)
    await village.alice.send(f"{village.carol.url.path}/accept")
    assert await village.all_see("5 Flour") == NOBODY
    assert await village.all_see("4 Flour") == ALL
    await village.change("UPDATE listing SET quantity = 0 WHERE id = ?", id_)
    assert await village.all_see("milled in May") == NOBODY
    assert "milled in May" in await village.alice.get("/market?mine=1")


async def test_the_clock_ends_a_listing_without_a_commit(village: Village) -> None:
    await village.list_goods(Ask("want", "Flour", "1", text="for one day", days=1))
    village.a.now_ms += DAY_MS
    assert await village.all_see("for one day") == ALL, "it ends after its last minute"
    stamp_ms = await village.a.store.committed(-1)
    village.a.now_ms += limits.MINUTE_MS
    assert await village.all_see("for one day") == NOBODY
    assert await village.a.store.committed(-1) == stamp_ms, "it was the clock alone"


async def test_a_member_with_another_name_is_shown_with_it(village: Village) -> None:
    await village.list_goods()
    assert await village.all_see("Alice") == [False, True, True]
    await village.change("UPDATE member SET name = 'Alicia', folded = 'alicia' WHERE id = 1")
    assert await village.all_see("Alicia") == [False, True, True]


async def test_what_a_neighbour_tells_is_seen_at_once(village: Village) -> None:
    def offer(tx: Tx) -> str:
        ask = Ask("offer", "Solar Panel", "3", price="40", text="hardly used")
        return market.list_goods(tx, members.named(tx, "Bob"), ask)

    assert await village.all_see("hardly used") == NOBODY
    id_ = await village.b.store.write(offer)
    assert await village.all_see("hardly used") == NOBODY
    await village.b.client.exchange(MISSOURI)
    assert await village.all_see("hardly used") == ALL
    await village.b.store.write(lambda tx: listings.take_back(tx, CALIFORNIA, id_))
    await village.b.client.exchange(MISSOURI)
    assert await village.all_see("hardly used") == NOBODY


# Who sees it


async def test_each_member_sees_the_own_name_token_and_listings(village: Village) -> None:
    await village.list_goods()
    for _ in range(2):
        alice, carol = await village.alice.get("/market"), await village.carol.get("/market")
        visitor = await village.visitor.get("/market")
        assert '<span class="who">Alice</span>' in alice
        assert '<span class="who">Carol</span>' in carol
        assert '<span class="yours">yours</span>' in alice
        assert '<span class="yours">' not in carol + visitor
        assert "Sign out" not in visitor
        tokens = [browser.hidden("/sign-out")["csrf"] for browser in (village.alice, village.carol)]
        assert tokens[0] != tokens[1]
    assert village.visitor.headers.getall("Set-Cookie", []) == []
    assert "milled in May" in await village.alice.get("/market?mine=1")
    assert "milled in May" not in await village.carol.get("/market?mine=1")
    await village.alice.get("/market")
    await village.alice.send("/sign-out")
    assert village.alice.status == 200, "the token on the page is the session's"


async def test_names_are_written_as_text(village: Village) -> None:
    name = "<b>'A\" & B\\1"
    await village.change("UPDATE member SET name = ? WHERE id = 1", name)
    page = await village.alice.get("/market")
    assert '<span class="who">&lt;b&gt;&#x27;A&quot; &amp; B\\1</span>' in page


async def test_signing_out_counts_at_once_for_a_copied_cookie_too(village: Village) -> None:
    copied = "; ".join(f"{each.key}={each.value}" for each in village.alice.session.cookie_jar)
    async with Browser(village.a.server) as thief:
        thief.session.headers["Cookie"] = copied
        assert "Sign out" in await thief.get("/market")
        await village.alice.get("/market")
        await village.alice.send("/sign-out")
        assert "Sign out" not in await thief.get("/market")


async def test_another_pin_counts_at_once(village: Village) -> None:
    assert "Sign out" in await village.alice.get("/market")
    await village.a.store.write(lambda tx: members.set_pin(tx, members.named(tx, "Alice"), "-"))
    assert "Sign out" not in await village.alice.get("/market")


async def test_a_new_steward_is_shown_the_desk_at_once(village: Village) -> None:
    assert '<a href="/desk"' not in await village.alice.get("/market")
    await village.a.store.write(
        lambda tx: members.set_steward(tx, members.named(tx, "Alice"), True)
    )
    assert '<a href="/desk"' in await village.alice.get("/market")
    assert '<a href="/desk"' not in await village.carol.get("/market")


# How often it is made


async def test_between_commits_nothing_is_read(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    read = village.a.store.read

    async def counting(fn: Callable[[View], Any]) -> Any:
        nonlocal reads
        reads += 1
        return await read(fn)

    await village.list_goods()
    monkeypatch.setattr(village.a.store, "read", counting)
    for _ in range(3):
        await village.all_see("milled in May")
    # Two sessions; a page for visitors, one for members, and Alice's own with her listing on it.
    assert reads == 5
    await village.change("UPDATE member SET steward = steward WHERE id = 1")
    await asyncio.gather(*(village.visitor.session.get(_url(village)) for _ in range(20)))
    assert reads == 6, "those who ask at once have it made once"


async def test_what_is_kept_is_bounded_and_what_fails_is_not_kept() -> None:
    made: list[str] = []
    stamps = [1]

    async def committed(_: int) -> int:
        return stamps[0]

    async def make(text: str) -> str:
        made.append(text)
        if text == "fails":
            raise StorageError("once")
        return text

    kept = Kept[str](committed, 10, len)
    for text in ("aaaa", "bbbb", "aaaa", "cccc", "aaaa", "bbbb"):
        assert await kept.get(text, lambda text=text: make(text)) == text  # type: ignore[misc]
    assert made == ["aaaa", "bbbb", "cccc", "bbbb"], "the least recently used made room"
    stamps[0] = 2
    assert await kept.get("bbbb", lambda: make("B")) == "B"
    assert await kept.get("bbbb", lambda: make("C"), minute=1) == "C"
    for _ in range(2):
        with pytest.raises(StorageError):
            await kept.get("x", lambda: make("fails"))
    assert await kept.get("long", lambda: make("longer than all the room")) is not None
    assert made[4:] == ["B", "C", "fails", "fails", "longer than all the room"]


# How it is packed


async def test_packed_pages_are_the_same_pages(village: Village) -> None:
    await village.list_goods()
    cookies = "; ".join(f"{each.key}={each.value}" for each in village.alice.session.cookie_jar)
    for headers in ({}, {"Cookie": cookies}):
        plain, none = await _raw(village, "/market", headers | {"Accept-Encoding": "identity"})
        refused, no = await _raw(village, "/market", headers | {"Accept-Encoding": "gzip;q=0"})
        packed, how = await _raw(village, "/market", headers | {"Accept-Encoding": "br, gzip"})
        assert (none, no, how) == (None, None, "gzip")
        assert gzip.decompress(packed) == plain == refused
        assert len(packed) < len(plain) * 0.6


async def test_a_members_token_is_not_compressed(village: Village) -> None:
    await village.alice.get("/market")
    token = village.alice.hidden("/sign-out")["csrf"]
    cookies = "; ".join(f"{each.key}={each.value}" for each in village.alice.session.cookie_jar)
    headers = {"Cookie": cookies, "Accept-Encoding": "gzip"}
    await village.list_goods(Ask("offer", "Flour", "1", text=f'name="csrf" value="{token}"'))
    alike, _ = await _raw(village, "/market", headers)
    assert alike.count(token.encode()) >= 1
    _, how = await _raw(village, f"/market?q={token}", headers)
    assert how is None, "what was typed is on the page"
    _, how = await _raw(village, f"/market?q={token}", {"Accept-Encoding": "gzip"})
    assert how == "gzip", "a visitor's page has no secret"


async def test_a_full_market_weighs_little(village: Village) -> None:
    """HTML, stylesheet and script as a phone gets them, with the longest and least alike texts."""
    await village.a.store.write(_fill_market)
    sign_in = {"name": "Alice", "pin": PINS["Alice"]}
    async with TestClient(TestServer(village.a.application())) as phone:
        accept = {"Accept-Encoding": "gzip, deflate, br"}
        for signed_in in (False, True):
            if signed_in:
                answer = await phone.post("/sign-in", json=sign_in)
                assert answer.status == 200
            page, size = await _weigh(phone, "/market", accept)
            assert page.count('<li class="card">') == listings.PAGE
            files = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
            assert len(files) == 2, files
            sizes = [size, *[(await _weigh(phone, each, accept))[1] for each in files]]
            assert sum(sizes) < BYTES_MAX, sizes


def _fill_market(tx: Tx) -> None:
    """Have 24 listings of all bounds, of letters that do not repeat: the worst for gzip."""
    letters = crypto.sha256(b"letters")

    def text(length: int, seed: int) -> str:
        made = ""
        while len(made) < length:
            block = crypto.sha256(letters + bytes((seed, len(made) % 256, len(made) // 256)))
            pairs = zip(block[::2], block[1::2], strict=True)
            made += "".join(chr(0x4E00 + (a * 256 + b) % 20_000) for a, b in pairs)
        return made[:length]

    lister = members.add(tx, text(limits.MEMBER_NAME_CHARS_MAX, 254), "-")
    for number in range(listings.PAGE):
        code = f"A{crypto.sha256(bytes((number,))).hex()}"[: limits.ASSET_CODE_CHARS_MAX - 1]
        desk.declare(tx, lister.name, code.upper(), "999999")
        ask = Ask("offer", code.upper(), "999999", price="999999.99", text=text(500, number))
        market.list_goods(tx, lister, ask)


async def _weigh(
    phone: "TestClient[Any, Any]", path: str, headers: dict[str, str]
) -> tuple[str, int]:
    """Return a page's text and how many bytes of it came over the wire."""
    plain = await phone.get(path, headers={"Accept-Encoding": "identity"})
    packed = await phone.get(path, headers=headers)
    assert packed.status == 200 and packed.headers["Content-Encoding"] == "gzip"
    return await plain.text(), int(packed.headers["Content-Length"])


def _url(village: Village) -> Any:
    return village.a.server.make_url("/market")


async def _raw(village: Village, path: str, headers: dict[str, str]) -> tuple[bytes, str | None]:
    """Return an answer's bytes as they came, and their Content-Encoding."""
    async with (
        aiohttp.ClientSession(
            auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as session,
        session.get(str(village.a.server.make_url(path)), headers=headers) as answer,
    ):
        assert answer.status == 200 and "Accept-Encoding" in answer.headers["Vary"]
        return await answer.read(), answer.headers.get("Content-Encoding")


# Visitors


async def test_visitors_who_search_keep_nobody_out(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many do, one is served, some wait, the rest are told to; members see theirs."""
    search, go_on, begun = listings.search, threading.Event(), threading.Event()

    def slow(view: View, query: Query, *more: int) -> list[Listed]:
        if query.search.startswith("slow"):
            begun.set()
            go_on.wait(20)
        return search(view, query, *more)

    monkeypatch.setattr(listings, "search", slow)
    await village.list_goods()
    asked_max = 1 + VISITORS_WAITING_MAX
    async with aiohttp.ClientSession() as session:

        async def look(number: int) -> tuple[int, str]:
            url = village.a.server.make_url(f"/market?q=slow{number}")
            async with session.get(url) as response:
                return response.status, response.headers.get("Retry-After", "")

        tasks = [asyncio.create_task(look(number)) for number in range(asked_max + 5)]
        refused, _ = await asyncio.wait(tasks, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        assert await asyncio.to_thread(begun.wait, 20)
        assert "milled in May" in await village.alice.get("/market?q=flour")
        assert village.alice.status == 200
        go_on.set()
        statuses = sorted(await asyncio.gather(*tasks))
    assert statuses == [(200, "")] * asked_max + [(429, "5")] * 5
    assert refused <= {task for task in tasks if task.result()[0] == 429}
