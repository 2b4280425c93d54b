"""The pages over real HTTP, a real store and a neighbour in the same process."""

import asyncio
import html
import json
import logging
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from edge import desk, trade_escrow
from edge.core import crypto, receipt
from edge.core.trade import Proposal, Role, Status
from edge.errors import DiskFull
from edge.storage import endings, members, trades
from edge.storage.endings import ENDED_PER_MEMBER_MAX
from edge.storage.trades import Trade
from edge.storage.tx import Tx
from edge.transport import tls
from edge.web import views
from edge.web.frame import HEADERS
from tests.integration.web_boxes import (
    CALIFORNIA,
    MISSOURI,
    PINS,
    Browser,
    WebBox,
    Wire,
    people_and_goods,
)

MISSION: Final[dict[str, Any]] = {
    "trade_id": "trade_001",
    "from_village": MISSOURI,
    "to_village": CALIFORNIA,
    "from_user": "Alice",
    "to_user": "Bob",
    "offer": {"AT": 100},
    "request": {"Resource": "Solar Panel"},
    "status": "PENDING",
}
PROPOSAL: Final = {
    "to_village": CALIFORNIA,
    "to_user": "Bob",
    "give_amount": "100",
    "give_asset": "AT",
    "get_amount": "1",
    "get_asset": "Solar Panel",
}
PAYMENT: Final = {"payee": "Carol", "amount": "12.50", "asset": "AT", "note": "for the cheese"}
Open = Callable[[WebBox], Any]


class Pair:
    def __init__(self, wire: Wire, a: WebBox, b: WebBox) -> None:
        self.wire, self.a, self.b = wire, a, b


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def pair(stack: AsyncExitStack, tmp_path: Path) -> Pair:
    wire = Wire()
    a = await stack.enter_async_context(WebBox(wire, tmp_path, MISSOURI, "Factor e Farm"))
    b = await stack.enter_async_context(WebBox(wire, tmp_path, CALIFORNIA, "Sonoma <Hills>"))
    await people_and_goods(a, b)
    return Pair(wire, a, b)


@pytest.fixture
async def browser(stack: AsyncExitStack) -> Open:
    async def open_(box: WebBox) -> Browser:
        return await stack.enter_async_context(Browser(box.server))

    return open_


@pytest.fixture
async def alice(pair: Pair, browser: Open) -> Browser:
    found: Browser = await browser(pair.a)
    await found.sign_in("Alice")
    assert found.status == 200
    return found


@pytest.fixture
async def bob(pair: Pair, browser: Open) -> Browser:
    found: Browser = await browser(pair.b)
    await found.sign_in("Bob")
    return found


async def has(box: WebBox, name: str) -> dict[str, tuple[str, str]]:
    """Return balance and what is free to spend, by asset."""
    rows = await box.store.read(lambda view: desk.wallet(view, members.named(view, name)))
    return {str(row["asset"]): (str(row["balance"]), str(row["available"])) for row in rows}


async def only_trade(box: WebBox) -> Trade:
    [found] = await box.store.read(trades.everyone)
    return found


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


# Signing in


async def test_signing_in_and_out(pair: Pair, browser: Open) -> None:
    someone = await browser(pair.a)
    assert 'action="/sign-in"' in await someone.get()
    await someone.send("/sign-in", name=" alice ", pin=PINS["Alice"])
    assert (someone.status, someone.url.path) == (200, "/")
    assert "Free to spend" in someone.text and ">Alice<" in someone.text
    await someone.send("/sign-out")
    assert 'action="/sign-in"' in someone.text
    assert 'action="/sign-in"' in await someone.get()


async def test_a_wrong_pin_and_an_unknown_name_look_the_same(pair: Pair, browser: Open) -> None:
    pages = []
    for name, pin in (("Alice", "wrong"), ("Mallory", "wrong"), ("Alice", ""), ("", "x" * 5_000)):
        someone = await browser(pair.a)
        await someone.sign_in(name, pin or " ")
        assert someone.status == 401
        assert 'role="alert"' in someone.text
        pages.append(text_of(someone.text).replace(name, ""))
    assert len(set(pages)) == 1
    assert "The name or the PIN is not right." in pages[0]


async def test_the_name_is_kept_and_the_pin_is_not(pair: Pair, browser: Open) -> None:
    someone = await browser(pair.a)
    await someone.sign_in('Ali"ce', "seekrit-77")
    assert 'value="Ali&#34;ce"' in someone.text
    assert "seekrit-77" not in someone.text


async def test_a_cookie_is_for_this_page_alone(pair: Pair, browser: Open) -> None:
    someone = await browser(pair.a)
    await someone.get()
    fields = someone.hidden("/sign-in") | {"name": "Alice", "pin": PINS["Alice"]}
    await someone.post("/sign-in", fields, allow_redirects=False)
    assert someone.status == 303
    assert someone.headers["Location"] == "/"
    [cookie] = someone.headers.getall("Set-Cookie")
    assert cookie.startswith(f"village-edge-{MISSOURI}=")
    assert "Alice" not in cookie
    attributes = {each.strip() for each in cookie.split(";")[1:]}
    assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=2592000"} <= attributes
    assert "Secure" not in attributes


async def test_over_https_cookies_are_secure_and_let_go(pair: Pair, tmp_path: Path) -> None:
    key, certificate = tls.make_certificate(MISSOURI)
    (tmp_path / "k").write_bytes(key)
    (tmp_path / "c").write_bytes(certificate)
    server = TestServer(pair.a.application(), scheme="https")
    await server.start_server(ssl=tls.page_context(tmp_path / "c", tmp_path / "k"))
    trust = ssl.create_default_context(cadata=certificate.decode())
    async with server, Browser(server, trust) as someone:
        await someone.get()
        door = someone.headers["Set-Cookie"]
        assert door.startswith(f"__Host-village-edge-{MISSOURI}-door=") and "; Secure" in door
        fields = someone.hidden("/sign-in") | {"name": "Alice", "pin": PINS["Alice"]}
        await someone.post("/sign-in", fields, allow_redirects=False)
        cookie = someone.headers["Set-Cookie"]
        assert cookie.startswith(f"__Host-village-edge-{MISSOURI}=") and "; Secure" in cookie
        await someone.get()
        await someone.post("/sign-out", someone.hidden("/sign-out"), allow_redirects=False)
        gone = someone.headers["Set-Cookie"]
        assert gone.startswith(f'__Host-village-edge-{MISSOURI}=""')
        assert "; Secure" in gone and "Max-Age=0" in gone


async def test_coming_by_a_link_from_elsewhere_signs_nobody_out(pair: Pair, alice: Browser) -> None:
    # The browser keeps its cookie back then.
    async with aiohttp.request("GET", pair.a.server.make_url("/")) as response:
        cookies = response.headers.getall("Set-Cookie")
    assert [each.split("=")[0] for each in cookies] == [f"village-edge-{MISSOURI}-door"]


async def test_a_changed_pin_ends_old_sessions(pair: Pair, alice: Browser) -> None:
    hashed = crypto.hash_pin("another")
    sql = "UPDATE member SET pin_hash = ?, session_epoch = session_epoch + 1 WHERE name = 'Alice'"
    await pair.a.store.write(lambda tx: tx.run(sql, hashed))
    assert 'action="/sign-in"' in await alice.get()
    await alice.sign_in("Alice", "another")
    assert alice.status == 200


async def test_a_copy_of_a_cookie_is_worth_nothing_after_signing_out(
    pair: Pair, alice: Browser, browser: Open
) -> None:
    """And what the member has signed in to elsewhere stays."""
    elsewhere = await browser(pair.a)
    await elsewhere.sign_in("Alice")
    await alice.get()
    copies = {cookie.key: cookie.value for cookie in alice.session.cookie_jar}

    async def is_let_in() -> bool:
        url = pair.a.server.make_url("/")
        async with aiohttp.request("GET", url, cookies=copies) as response:
            return "Sign out" in await response.text()

    assert await is_let_in()
    await alice.send("/sign-out")
    assert not await is_let_in()
    assert "Sign out" in await elsewhere.get()


async def test_who_signs_out_very_often_is_signed_out_everywhere_and_takes_no_room(
    pair: Pair, alice: Browser
) -> None:
    def sign_out(tx: Tx) -> None:
        for number in range(ENDED_PER_MEMBER_MAX + 1):
            endings.end(tx, 1, f"session {number}", 1_000)

    await pair.a.store.write(sign_out)
    assert 'action="/sign-in"' in await alice.get()
    count = "SELECT count(*) FROM ended_session"
    assert await pair.a.store.read(lambda view: view.one(count)) == (0,)
    await pair.a.store.write(lambda tx: endings.end(tx, 1, "old", -10_000))
    await pair.a.store.write(lambda tx: endings.end(tx, 1, "new", 1_000))
    assert await pair.a.store.read(lambda view: view.one(count)) == (1,)


@pytest.mark.parametrize("value", ["", "x", "AAAA", "é", "A" * 4_000, '"a;b"'])
async def test_a_cookie_that_is_not_ours_is_nobody(pair: Pair, value: str) -> None:
    headers = {"Cookie": f"village-edge-{MISSOURI}={value}"}
    url = pair.a.server.make_url("/")
    async with aiohttp.request("GET", url, headers=headers) as response:
        assert response.status == 200
        assert 'action="/sign-in"' in await response.text()


async def test_wrong_pins_make_a_member_wait(pair: Pair, browser: Open) -> None:
    someone = await browser(pair.a)
    for _ in range(5):
        await someone.sign_in("Alice", "wrong")
        assert someone.status == 401
    for pin in ("wrong", PINS["Alice"]):
        await someone.sign_in("ALICE", pin)
        assert someone.status == 429
        assert someone.headers["Retry-After"] == "31"
        assert "Too many wrong tries: wait 31 seconds and try again." in text_of(someone.text)
    await someone.sign_in("Carol")
    assert "Free to spend" in someone.text
    await someone.send("/sign-out")
    pair.a.monotonic_s += 31
    await someone.sign_in("Alice")
    assert "Free to spend" in someone.text


async def test_wrong_pins_make_an_address_wait(pair: Pair, browser: Open) -> None:
    someone = await browser(pair.a)
    for number in range(20):
        await someone.sign_in(f"Member {number}", "wrong")
        assert someone.status == 401
    await someone.sign_in("Carol")
    assert someone.status == 429


async def test_many_tries_at_once_are_bounded_too(pair: Pair, browser: Open) -> None:
    someone = await browser(pair.a)
    await someone.get()
    fields = someone.hidden("/sign-in") | {"name": "Alice", "pin": "wrong"}
    tries = (someone.status_of("/sign-in", fields) for _ in range(20))
    statuses = sorted(await asyncio.gather(*tries))
    assert statuses == [401] * 5 + [429] * 15


async def test_programs_sign_in_with_json(pair: Pair, browser: Open) -> None:
    program = await browser(pair.a)
    answer = await program.post_json("/sign-in", {"name": "Alice", "pin": PINS["Alice"]})
    assert json.loads(answer) == {"member": "Alice", "village": MISSOURI}
    assert ">Alice<" in await program.get()
    problem = json.loads(await program.post_json("/sign-in", {"name": "Alice", "pin": "no"}))
    assert (program.status, problem["type"]) == (401, "urn:village-edge:problem:not-signed-in")
    assert program.headers["Content-Type"] == "application/problem+json"
    await program.post_json("/sign-in", {"name": "Alice"})
    assert program.status == 400
    for _ in range(5):
        await program.post_json("/sign-in", {"name": "Alice", "pin": "no"})
    assert (program.status, program.headers["Retry-After"]) == (429, "31")


# Paying


async def test_a_payment_moves_once_however_often_it_is_sent(pair: Pair, alice: Browser) -> None:
    await alice.get()
    fields = alice.hidden("/pay") | PAYMENT
    for _ in range(3):
        await alice.post("/pay", fields)
        assert alice.status == 200
        assert "Paid 12.50 AT to Carol." in text_of(alice.text)
    await alice.get(alice.url.path_qs)
    assert "Paid 12.50 AT to Carol." in text_of(alice.text)
    assert (await has(pair.a, "Alice"))["AT"] == ("487.50", "487.50")
    assert (await has(pair.a, "Carol"))["AT"] == ("12.50", "12.50")


async def test_two_submits_at_once_pay_once(pair: Pair, alice: Browser) -> None:
    await alice.get()
    fields = alice.hidden("/pay") | PAYMENT
    submits = (alice.status_of("/pay", fields) for _ in range(8))
    assert await asyncio.gather(*submits) == [303] * 8
    assert (await has(pair.a, "Carol"))["AT"] == ("12.50", "12.50")


async def test_a_form_does_not_do_two_things(pair: Pair, alice: Browser) -> None:
    await alice.get()
    fields = alice.hidden("/pay") | PAYMENT
    await alice.post("/pay", fields)
    await alice.post("/pay", fields | {"amount": "13"})
    assert alice.status == 409
    assert "Nothing was paid" in text_of(alice.text)
    assert alice.hidden("/pay")["form"] != fields["form"]
    await alice.send("/pay", **PAYMENT | {"amount": "13"})
    assert (await has(pair.a, "Carol"))["AT"] == ("25.50", "25.50")


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"amount": "500.01"}, 422, "You do not have enough AT."),
        ({"amount": "0"}, 400, "The amount of AT must be more than zero."),
        ({"amount": "-5"}, 400, "'-5' is not an amount of AT"),
        ({"amount": "1.234"}, 400, "'1.234' has too many decimals"),
        ({"amount": "9" * 30}, 400, "too large"),
        ({"amount": "1,5"}, 400, "write it like 100 or 2.50"),
        ({"payee": "Mallory <b>"}, 404, "There is no member called 'Mallory <b>' here."),
        ({"payee": "Alice"}, 400, "payer and payee are the same"),
        ({"asset": "GOLD"}, 404, "GOLD is not in this village's catalogue"),
        ({"note": "x" * 201}, 400, "The note must have 1 to 200 characters"),
    ],
)
async def test_a_refused_payment_keeps_what_was_typed(
    pair: Pair, alice: Browser, change: dict[str, str], status: int, says: str
) -> None:
    await alice.get()
    await alice.send("/pay", **PAYMENT | change)
    assert alice.status == status
    [alert] = re.findall(r'<p class="alert" role="alert".*?</p>', alice.text)
    assert says.lower() in text_of(alert).lower()
    assert "Nothing was paid." in alert
    for name, value in (PAYMENT | change).items():
        assert name == "asset" or f'name="{name}" value="{html.escape(value, True)}"' in (
            alice.text.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")
        )
    assert (await has(pair.a, "Alice"))["AT"] == ("500.00", "500.00")
    await alice.send("/pay", **PAYMENT)
    assert alice.status == 200, "the same form works once it is right"


async def test_a_note_and_names_are_only_text(pair: Pair, alice: Browser) -> None:
    await pair.a.member("<script>x</script>", "1234")
    await alice.get()
    await alice.send("/pay", **PAYMENT | {"payee": "<script>x</script>", "note": "<img src=x>"})
    assert "Paid 12.50 AT to &lt;script&gt;x&lt;/script&gt;." in alice.text
    assert "<script>" not in alice.text and "<img" not in alice.text


# Who may post


def reset_alices_pin(tx: Tx) -> None:
    desk.reset_pin(tx, "Alice", "another hash")


def change_nothing(tx: Tx) -> None:
    assert members.find(tx, "Alice") is not None


@pytest.mark.parametrize(("change", "status"), [(reset_alices_pin, 401), (change_nothing, 303)])
async def test_a_payment_whose_body_comes_after_a_pin_was_reset(
    pair: Pair, alice: Browser, change: Callable[[Tx], None], status: int
) -> None:
    """A form is worth what its sender may do once it has come whole."""
    await alice.get()
    fields = {**alice.hidden("/pay#pay"), "payee": "Carol", "amount": "5", "asset": "AT"}

    async def body() -> AsyncIterator[bytes]:
        text = "&".join(f"{name}={value}" for name, value in fields.items()).encode()
        yield text[:10]
        await pair.a.store.write(change)
        yield text[10:]

    async with alice.session.post(
        pair.a.server.make_url("/pay"),
        data=body(),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        allow_redirects=False,
    ) as answer:
        assert answer.status == status
    paid = "495.00" if status == 303 else "500.00"
    assert (await has(pair.a, "Alice"))["AT"] == (paid, paid)


@pytest.mark.parametrize("action", ["/pay", "/propose", "/sign-out", "/sign-in"])
@pytest.mark.parametrize("token", ["", "0" * 32, None])
async def test_a_form_needs_the_sessions_token(
    pair: Pair, alice: Browser, browser: Open, action: str, token: str | None
) -> None:
    if token is None:
        other = await browser(pair.a)
        await other.sign_in("Carol")
        token = other.hidden("/pay")["csrf"]
    fields = {"/pay": PAYMENT, "/propose": PROPOSAL, "/sign-in": {"name": "Alice", "pin": "x"}}
    form = {} if action in ("/sign-in", "/sign-out") else {"form": "0" * 32}
    await alice.post(action, fields.get(action, {}) | form | {"csrf": token})
    assert alice.status == 403
    assert "This form is from an earlier visit" in text_of(alice.text)
    assert (await has(pair.a, "Alice"))["AT"] == ("500.00", "500.00")
    assert "Free to spend" in await alice.get()


@pytest.mark.parametrize("action", ["/pay", "/propose", "/trades/0123456789abcdef/accept"])
async def test_the_signed_out_do_nothing(pair: Pair, browser: Open, action: str) -> None:
    someone = await browser(pair.a)
    await someone.get()
    csrf = someone.hidden("/sign-in")["csrf"]
    await someone.post(action, {"csrf": csrf, "form": "0" * 32})
    assert someone.status == 401
    assert "You are not signed in" in text_of(someone.text)


@pytest.mark.parametrize("path", ["/trades/0123456789abcdef", "/trades/0123456789abcdef/receipt"])
async def test_the_signed_out_see_nothing(pair: Pair, browser: Open, path: str) -> None:
    someone = await browser(pair.a)
    await someone.get(path)
    assert someone.status == 401


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"x" * 20_000, "application/x-www-form-urlencoded", 413),
        (b"csrf=t&colour=green", "application/x-www-form-urlencoded", 400),
        (b"%%%", "application/x-www-form-urlencoded", 400),
        (b"--x", "multipart/form-data; boundary=x", 415),
        (b"csrf=t", "text/plain", 415),
        (b"csrf=t", "application/x-www-form-urlencoded; charset=none", 403),
    ],
)
async def test_bodies_that_are_no_forms(
    pair: Pair, alice: Browser, body: bytes, kind: str, status: int
) -> None:
    url = pair.a.server.make_url("/pay")
    async with alice.session.post(url, data=body, headers={"Content-Type": kind}) as response:
        assert response.status == status
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert 'role="alert"' in await response.text()


async def test_a_form_without_an_id_is_refused(pair: Pair, alice: Browser) -> None:
    await alice.get()
    await alice.post("/pay", PAYMENT | {"csrf": alice.hidden("/pay")["csrf"]})
    assert alice.status == 400


# Trading


async def test_two_people_trade(pair: Pair, alice: Browser, bob: Browser) -> None:
    await alice.get()
    await alice.send("/propose", **PROPOSAL)
    assert alice.url.path.startswith("/trades/")
    assert pair.a.kicked == [CALIFORNIA]
    said = text_of(alice.text)
    assert "Waiting for Bob of ose-california-001 to accept or decline." in said
    assert "Your 100.00 AT are set aside" in said
    assert "has not been reached" not in said, "the page gave the other box a moment"
    assert "Withdraw the offer" in said and "Accept" not in said
    assert (await has(pair.a, "Alice"))["AT"] == ("500.00", "400.00")

    known = await only_trade(pair.b)
    said = text_of(await bob.get())
    assert "Accept: give 1 Solar Panel, get 100.00 AT" in said
    assert "Alice of ose-missouri-001" in said
    await bob.send(f"/trades/{known.id}/accept")
    assert bob.url.path == f"/trades/{known.id}"
    assert "Done, in both ledgers: you gave 1 Solar Panel and got 100.00 AT." in text_of(bob.text)

    assert "Done" in text_of(await alice.get(f"/trades/{known.id}"))
    assert (await has(pair.a, "Alice")) == {"AT": ("400.00", "400.00"), "SOLAR-PANEL": ("1", "1")}
    assert (await has(pair.b, "Bob")) == {"AT": ("100.00", "100.00"), "SOLAR-PANEL": ("8", "8")}


async def test_each_downloads_a_receipt_that_holds(
    pair: Pair, alice: Browser, bob: Browser
) -> None:
    await alice.get()
    await alice.send("/propose", **PROPOSAL)
    known = await only_trade(pair.b)
    await alice.get(f"/trades/{known.id}/receipt")
    assert alice.status == 409
    await bob.get()
    await bob.send(f"/trades/{known.id}/accept")
    for someone in (alice, bob):
        assert "Download the receipt" in await someone.get(f"/trades/{known.id}")
        await someone.get(f"/trades/{known.id}/receipt")
        disposition = someone.headers["Content-Disposition"]
        assert disposition == f'attachment; filename="receipt-{known.id}.json"'
        held = receipt.decode(someone.text.encode())
        assert receipt.verify(held).from_village == MISSOURI
        assert held.certificate.value == "COMMIT"
        assert not re.search(r"""["\s](Alice|Bob)["\s]""", someone.text)


@pytest.mark.parametrize(
    ("who", "step", "badge", "says"),
    [
        ("bob", "reject", "Declined", "Ended: Bob declined it. Your 100.00 AT are free again."),
        ("alice", "cancel", "Ended", "Ended: Alice withdrew it. Your 100.00 AT are free again."),
    ],
)
async def test_a_trade_that_nobody_wants(
    pair: Pair, alice: Browser, bob: Browser, who: str, step: str, badge: str, says: str
) -> None:
    await alice.get()
    await alice.send("/propose", **PROPOSAL)
    known = await only_trade(pair.a)
    someone = bob if who == "bob" else alice
    await someone.get()
    await someone.send(f"/trades/{known.id}/{step}")
    assert someone.status == 200
    box, other = (pair.b, MISSOURI) if who == "bob" else (pair.a, CALIFORNIA)
    await box.client.exchange(other)
    said = text_of(await alice.get())
    assert says in said and badge in said
    assert (await has(pair.a, "Alice"))["AT"] == ("500.00", "500.00")
    assert "Nothing was held." in text_of(await bob.get())


async def test_steps_that_are_not_for_this_member(
    pair: Pair, alice: Browser, bob: Browser, browser: Open
) -> None:
    await alice.get()
    await alice.send("/propose", **PROPOSAL)
    known = await only_trade(pair.a)
    carol = await browser(pair.a)
    await carol.sign_in("Carol")
    for path in (f"/trades/{known.id}", f"/trades/{known.id}/receipt", "/trades/" + "0" * 16):
        await carol.get(path)
        assert carol.status == 404
    steps = [(carol, each, 404) for each in ("accept", "reject", "cancel")]
    steps += [(alice, "accept", 403), (alice, "reject", 403), (bob, "cancel", 403)]
    for someone, step, status in steps:
        await someone.get()
        fields = someone.hidden("/pay")  # any form's token will do
        await someone.post(f"/trades/{known.id}/{step}", fields)
        assert someone.status == status
        assert 'role="alert"' in someone.text
    assert (await only_trade(pair.a)).status is Status.PENDING


async def test_accepting_what_was_withdrawn(pair: Pair, alice: Browser, bob: Browser) -> None:
    await alice.get()
    await alice.send("/propose", **PROPOSAL)
    known = await only_trade(pair.a)
    await bob.get()
    fields = bob.hidden(f"/trades/{known.id}/accept")
    await alice.send(f"/trades/{known.id}/cancel")
    await pair.a.client.exchange(CALIFORNIA)
    await bob.post(f"/trades/{known.id}/accept", fields)
    assert bob.status == 409
    assert "The trade was withdrawn: it can no longer be accepted." in text_of(bob.text)
    assert "Ended: Alice withdrew it. Nothing was held." in text_of(bob.text)


async def test_accepting_twice_is_accepting_once(pair: Pair, alice: Browser, bob: Browser) -> None:
    await alice.get()
    await alice.send("/propose", **PROPOSAL)
    known = await only_trade(pair.a)
    await bob.get()
    fields = bob.hidden(f"/trades/{known.id}/accept")
    for _ in range(2):
        await bob.post(f"/trades/{known.id}/accept", fields)
        assert (bob.status, bob.url.path) == (200, f"/trades/{known.id}")
    assert (await has(pair.b, "Bob"))["SOLAR-PANEL"] == ("8", "8")


async def test_a_neighbour_out_of_reach(
    pair: Pair, alice: Browser, bob: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.web.handlers.LOOKS", 2)
    pair.wire.cut = True
    await alice.get()
    await alice.send("/propose", **PROPOSAL)
    assert "The box of ose-california-001 has not been reached yet" in text_of(alice.text)
    known = await only_trade(pair.a)
    pair.wire.cut = False
    await pair.a.client.exchange(CALIFORNIA)
    await bob.get()
    pair.wire.cut = True
    pair.b.now_ms += 10 * 60_000
    await bob.send(f"/trades/{known.id}/accept")
    said = text_of(bob.text)
    assert "You accepted: this village is bound, and your 1 Solar Panel is held." in said
    assert "ends by itself as soon as that box is reached; until then no clock ends it" in said
    assert "That box was last heard from on" in said
    assert "Look again" in said
    pair.wire.cut = False
    await pair.b.client.exchange(MISSOURI)
    assert "Done, in both ledgers" in text_of(await bob.get(f"/trades/{known.id}"))


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"give_amount": "500.01"}, 422, "You do not have enough AT."),
        ({"give_amount": "nothing"}, 400, "is not an amount of AT"),
        ({"get_amount": "1.5"}, 400, "Solar Panel has no decimals"),
        ({"get_asset": "Unobtainium"}, 404, "UNOBTAINIUM"),
        ({"get_asset": "AT"}, 400, "these two are the same"),
        ({"get_asset": "<b>"}, 400, "is not an asset"),
        ({"to_village": "ose-texas-001"}, 404, "ose-texas-001 is not a neighbour"),
        ({"to_village": "x"}, 400, "is not a village id"),
        ({"to_village": MISSOURI, "to_user": "Nobody"}, 404, "no member called 'Nobody' here"),
        ({"give_amount": "", "get_amount": "", "get_asset": ""}, 400, "say how much you give"),
        ({"get_amount": ""}, 400, "say how much you get, or leave both fields empty"),
        ({"to_user": ""}, 400, "The name must have 1 to 60 characters"),
    ],
)
async def test_a_refused_proposal_keeps_what_was_typed(
    pair: Pair, alice: Browser, change: dict[str, str], status: int, says: str
) -> None:
    await alice.get()
    await alice.send("/propose", **PROPOSAL | change)
    assert alice.status == status
    [alert] = re.findall(r'<p class="alert" role="alert".*?</p>', alice.text)
    assert says.lower() in text_of(alert).lower()
    assert "Nothing was proposed." in alert
    assert f'value="{(PROPOSAL | change)["give_amount"]}"' in alice.text
    assert (await has(pair.a, "Alice"))["AT"] == ("500.00", "500.00")


async def test_a_fee_is_shown_before_it_is_agreed_to(
    stack: AsyncExitStack, tmp_path: Path, browser: Open
) -> None:
    wire = Wire()
    a = await stack.enter_async_context(WebBox(wire, tmp_path, MISSOURI, "Factor e Farm", 100))
    b = await stack.enter_async_context(WebBox(wire, tmp_path, CALIFORNIA, "Sonoma"))
    await people_and_goods(a, b)
    alice: Browser = await browser(a)
    await alice.sign_in("Alice")
    await alice.send("/propose", **PROPOSAL)
    assert (alice.status, alice.url.path) == (200, "/propose")
    said = text_of(alice.text)
    assert "Your village keeps a fee of 1.00 AT on this trade" in said
    assert "101.00 AT of yours are set aside. Nothing is proposed yet." in said
    assert await a.store.read(trades.everyone) == []
    await alice.send("/propose", **PROPOSAL | {"give_amount": "200"})
    assert "a fee of 2.00 AT" in text_of(alice.text), "more than was agreed to"
    await alice.send("/propose", **PROPOSAL | {"give_amount": "200"})
    assert "Your 200.00 AT and the fee of 2.00 AT are set aside" in text_of(alice.text)
    assert (await only_trade(a)).terms.from_fee == 200


async def test_names_from_a_neighbour_are_only_text_and_marked_as_theirs(
    pair: Pair, alice: Browser, bob: Browser
) -> None:
    await pair.b.member("<b>Eve</b> & co", "1234")
    await pair.b.store.write(lambda tx: desk.declare(tx, "<b>Eve</b> & co", "Solar Panel", "1"))
    proposal = Proposal(MISSOURI, "Alice", ("SOLAR-PANEL", "1"), ("AT", "5"))
    await pair.b.store.write(
        lambda tx: trade_escrow.propose(tx, members.named(tx, "<b>Eve</b> & co"), proposal)
    )
    await pair.b.client.exchange(MISSOURI)
    page = await alice.get()
    assert "&lt;b&gt;Eve&lt;/b&gt; &amp; co" in page and "<b>Eve" not in page
    assert "Sonoma &lt;Hills&gt;" in page
    [known] = await pair.a.store.read(trades.everyone)
    said = text_of(await alice.get(f"/trades/{known.id}"))
    assert "The name is as that village gives it" in said
    assert "<b>Eve" not in alice.text
    assert "Sonoma &lt;Hills&gt;" in alice.text


async def test_what_waits_for_this_member_comes_first_and_old_trades_are_folded(
    pair: Pair, alice: Browser, bob: Browser
) -> None:
    for amount in range(1, 6):
        await alice.get()
        await alice.send("/propose", **PROPOSAL | {"give_amount": str(amount)})
        await alice.send(f"{alice.url.path}/cancel")
    await bob.get()
    back = {"to_village": MISSOURI, "to_user": "Alice", "give_asset": "SOLAR-PANEL"}
    fields = {"give_amount": "1", "get_amount": "50", "get_asset": "AT"}
    await bob.send("/propose", **PROPOSAL | back | fields)
    await alice.get()
    await alice.send("/propose", **PROPOSAL | {"give_amount": "70"})
    await alice.get()
    titles = re.findall(r">Your ([\d.]+) AT for", alice.text)
    assert titles == ["50.00", "70.00", "5.00", "4.00", "3.00", "2.00", "1.00"]
    assert "Older trades (2)" in text_of(alice.text)


async def test_a_village_without_neighbours_trades_at_home(
    stack: AsyncExitStack, tmp_path: Path, browser: Open
) -> None:
    box = await stack.enter_async_context(WebBox(Wire(), tmp_path, MISSOURI, "Alone"))
    await box.member("Alice")
    someone: Browser = await browser(box)
    said = text_of(await someone.sign_in("Alice"))
    assert "With a member of your village." in said
    assert f'<option value="{MISSOURI}">Alone, your own</option>' in someone.text
    assert "AT 0.00 0.00 0.00" in said


# The mission's JSON


async def test_the_missions_trade_by_json(pair: Pair, alice: Browser, bob: Browser) -> None:
    answer = json.loads(await alice.post_json("/federation/trade", MISSION))
    assert alice.status == 200
    known = await only_trade(pair.b)
    assert answer == MISSION | {"id": known.id, "message": answer["message"]}
    assert answer["message"].startswith("Waiting for Bob of ose-california-001")
    assert known.terms.offer.text == "100.00 AT"
    assert known.terms.request.text == "1 SOLAR-PANEL"
    assert known.terms.trade_id != "trade_001", "a member's own id never becomes public"
    await bob.get()
    await bob.send(f"/trades/{known.id}/accept")
    again = json.loads(await alice.post_json("/federation/trade", MISSION))
    assert (again["status"], again["id"]) == ("SETTLED", known.id)
    assert len(await pair.a.store.read(trades.everyone)) == 1


async def test_the_same_trade_id_is_the_same_trade(pair: Pair, alice: Browser) -> None:
    first = json.loads(await alice.post_json("/federation/trade", MISSION))
    asked = MISSION | {"offer": {"AT": "100"}, "request": {"SOLAR-PANEL": 1}}
    assert json.loads(await alice.post_json("/federation/trade", asked))["id"] == first["id"]
    problem = json.loads(await alice.post_json("/federation/trade", MISSION | {"to_user": "Eve"}))
    assert (alice.status, problem["type"]) == (409, "urn:village-edge:problem:conflict")
    other = json.loads(await alice.post_json("/federation/trade", MISSION | {"trade_id": "2"}))
    assert other["id"] != first["id"]


async def test_trade_ids_are_each_members_own(pair: Pair, alice: Browser, browser: Open) -> None:
    carol = await browser(pair.a)
    await carol.sign_in("Carol")
    await pair.a.store.write(lambda tx: desk.issue(tx, "Carol", "200"))
    one = json.loads(await alice.post_json("/federation/trade", MISSION))
    asked = MISSION | {"from_user": "Carol", "offer": {"AT": 7}}
    two = json.loads(await carol.post_json("/federation/trade", asked))
    assert carol.status == 200
    assert one["id"] != two["id"]


@pytest.mark.parametrize(
    ("change", "status", "slug"),
    [
        ({"offer": {"AT": True}}, 400, "invalid-amount"),
        ({"offer": {"AT": "NaN"}}, 400, "invalid-amount"),
        ({"offer": {"AT": -1}}, 400, "invalid-amount"),
        ({"offer": {"AT": 0}}, 400, "invalid-amount"),
        ({"offer": {"AT": 1.005}}, 400, "invalid-amount"),
        ({"offer": {"AT": "1.001"}}, 400, "invalid-amount"),
        ({"offer": {"AT": 10**15}}, 400, "invalid-amount"),
        ({"offer": {"AT": 501}}, 422, "limit-exceeded"),
        ({"offer": {"Gold": 1}}, 404, "unknown-asset"),
        ({"from_village": CALIFORNIA}, 400, "invalid-input"),
        ({"from_user": "Carol"}, 403, "forbidden"),
        ({"to_village": "ose-texas-001"}, 404, "unknown-neighbour"),
        ({"status": "ACCEPTED"}, 400, "invalid-input"),
        ({"extra": 1}, 400, "invalid-input"),
        ({"trade_id": "a b"}, 400, "invalid-input"),
    ],
)
async def test_a_refused_trade_is_a_problem_document(
    pair: Pair, alice: Browser, change: dict[str, Any], status: int, slug: str
) -> None:
    problem = json.loads(await alice.post_json("/federation/trade", MISSION | change))
    assert (alice.status, problem["status"]) == (status, status)
    assert problem["type"] == f"urn:village-edge:problem:{slug}"
    assert alice.headers["Content-Type"] == "application/problem+json"
    assert await pair.a.store.read(trades.everyone) == []
    await alice.post_json("/federation/trade", MISSION)
    assert alice.status == 200, "a refused trade does not use up its id"


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"{", 400), (b'{"offer":1e400}', 400), (b"[" * 9_000, 400), (b" " * 20_000, 413)],
)
async def test_bodies_that_are_no_trades(
    pair: Pair, alice: Browser, body: bytes, status: int
) -> None:
    problem = json.loads(await alice.post_json("/federation/trade", body))
    assert (alice.status, problem["status"]) == (status, status)


async def test_a_trade_by_json_needs_a_member_and_that_content_type(
    pair: Pair, alice: Browser, browser: Open
) -> None:
    someone = await browser(pair.a)
    problem = json.loads(await someone.post_json("/federation/trade", MISSION))
    assert (someone.status, problem["type"]) == (401, "urn:village-edge:problem:not-signed-in")
    url = pair.a.server.make_url("/federation/trade")
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        headers = {"Content-Type": kind}
        body = json.dumps(MISSION)
        async with alice.session.post(url, data=body, headers=headers) as response:
            assert response.status == 415
            assert response.content_type == "application/problem+json"
    headers = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    async with alice.session.options(url, headers=headers) as response:
        assert response.status == 405
        assert not any(name.startswith("Access-Control") for name in response.headers)
    assert await pair.a.store.read(trades.everyone) == []


# What every answer has


async def test_headers_on_everything(pair: Pair, alice: Browser, browser: Open) -> None:
    async def each() -> AsyncIterator[Browser]:
        signed_out: Browser = await browser(pair.a)
        for path in ("/", "/nope", "/trades/0123456789abcdef", "/tokens/1/revoke"):
            for someone in (alice, signed_out):
                await someone.get(path)
                yield someone
        await alice.get()
        fields = alice.hidden("/pay") | PAYMENT
        await alice.post("/pay", fields, allow_redirects=False)
        yield alice
        await alice.post("/pay", {"csrf": "no"})
        yield alice
        await alice.post_json("/federation/trade", {})
        yield alice
        await alice.get(
            "/nope",
        )
        yield alice

    statuses = set()
    async for someone in each():
        statuses.add(someone.status)
        assert {name: someone.headers[name] for name in HEADERS} == HEADERS
    assert statuses == {200, 303, 400, 401, 403, 404}


async def test_the_address_of_a_form_leads_to_its_page(pair: Pair, alice: Browser) -> None:
    """Who reloads the answer to a refused form, or follows it live, sees the page."""
    await alice.get()
    await alice.send("/propose", **PROPOSAL)
    known = await only_trade(pair.a)
    for path, page in (
        ("/pay", "/"),
        ("/propose", "/"),
        ("/wallet/declare", "/wallet"),
        (f"/trades/{known.id}/accept", f"/trades/{known.id}"),
    ):
        await alice.get(path)
        assert (alice.status, alice.url.path) == (200, page)
    await alice.get(f"/trades/{known.id}")
    text = await alice.send(f"/trades/{known.id}/cancel")
    assert f'<main data-at="/trades/{known.id}">' in text


async def test_the_style_is_small_local_and_kept(pair: Pair, alice: Browser) -> None:
    [path] = re.findall(r'<link rel="stylesheet" href="([^"]*)">', await alice.get())
    assert re.fullmatch(r"/static/style-[0-9a-f]{16}\.css", path)
    style = await alice.get(path)
    assert alice.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert alice.headers["Content-Type"].startswith("text/css")
    assert len(style.encode()) < 13_312
    assert not re.search(r"url\(|@import|http", style)


async def test_pages_ask_nothing_of_anybody_else(pair: Pair, alice: Browser, bob: Browser) -> None:
    await alice.get()
    await alice.send("/propose", **PROPOSAL)
    pages = [alice.text, await alice.get(), await bob.get(), await alice.get("/nope")]
    await alice.get()
    await alice.send("/sign-out")
    for page in [*pages, alice.text]:
        assert page.startswith('<!doctype html>\n<html lang="en">')
        ours = re.sub(r'<script src="/static/trade_market-\w+\.js" defer></script>', "", page)
        assert not re.search(r"<script|<iframe|\son\w+=|\sstyle=", ours)
        addresses = re.findall(r'(?:href|src|action)="([^"]*)"', page)
        assert all(re.match(r"/(?!/)|#|data:image/svg", each) for each in addresses)
        assert len(re.findall("<h1", page)) == 1
        labelled = set(re.findall(r'<label for="(\w+)"', page))
        fields = re.findall(r"<(?:input|select) ([^>]*)>", page)
        shown = {
            re.search(r'id="(\w+)"', each)[1]  # type: ignore[index]
            for each in fields
            if 'type="hidden"' not in each
        }
        assert labelled == shown


async def test_the_host_header_is_not_believed(pair: Pair, alice: Browser) -> None:
    await alice.get()
    fields = alice.hidden("/pay") | PAYMENT
    headers = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
    }
    url = pair.a.server.make_url("/pay")
    async with alice.session.post(
        url, data=fields, headers=headers, allow_redirects=False
    ) as response:
        assert response.headers["Location"].startswith("/?paid=")
    async with alice.session.get(pair.a.server.make_url("/"), headers=headers) as response:
        assert "evil" not in await response.text()


async def test_a_full_disk_is_a_page_without_our_secrets(
    pair: Pair, alice: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_: object) -> None:
        raise DiskFull("the disk is full: nothing was written to /srv/village/ledger.db")

    await alice.get()
    monkeypatch.setattr(pair.a.store, "write", full)
    await alice.send("/pay", **PAYMENT)
    assert alice.status == 507
    assert "This box has a fault of its own" in text_of(alice.text)
    assert "/srv" not in alice.text


async def test_a_broken_law_is_told_to_the_box(
    pair: Pair, alice: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: object) -> None:
        raise AssertionError("a law is broken")

    await alice.get()
    monkeypatch.setattr(pair.a.store, "write", broken)
    await alice.send("/pay", **PAYMENT)
    assert alice.status == 500
    assert [str(each) for each in pair.a.broken] == ["a law is broken"]
    assert "law" not in text_of(alice.text)


async def test_no_names_and_no_pins_in_the_log(
    pair: Pair, browser: Open, bob: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    someone = await browser(pair.a)
    await someone.sign_in("Alice", "wr0ng-pin")
    await someone.sign_in("Mallory", "wr0ng-pin")
    await someone.sign_in("Alice")
    await someone.get()
    await someone.send("/pay", **PAYMENT)
    await someone.get()
    await someone.send("/pay", **PAYMENT | {"payee": "Mallory"})
    await someone.get()
    await someone.send("/propose", **PROPOSAL)
    await someone.post_json("/federation/trade", MISSION | {"to_user": "Mallory"})
    await someone.post_json("/sign-in", {"name": "Mallory", "pin": "wr0ng-pin"})
    await someone.get("/nope")
    logged = "\n".join(record.getMessage() for record in caplog.records)
    planted = ["Alice", "Carol", "Bob", "Mallory", "cheese", "wr0ng-pin", *PINS.values()]
    assert [each for each in planted if each in logged] == []


def test_each_state_has_a_badge() -> None:
    roles: tuple[Role, ...] = ("from", "to")
    assert set(views.BADGES) == {(role, status) for role in roles for status in Status}
    assert set(views.STEPS) == {(role, Status.PENDING) for role in roles}
