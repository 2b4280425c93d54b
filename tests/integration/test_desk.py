"""The steward's desk over real HTTP, with a real store and neighbours in the same process."""

import html
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from edge import desk, market, trade_escrow
from edge.appliance.health import Disk
from edge.core import crypto, invitation
from edge.core.trade import Proposal
from edge.storage import facts, logs, members, neighbours, trades
from edge.storage.members import Member
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, Tx
from edge.web import desk_views, steward
from edge.web.desk_forms import AddForm
from tests.integration.boxes import until
from tests.integration.web_boxes import (
    CALIFORNIA,
    MISSOURI,
    PINS,
    Browser,
    WebBox,
    Wire,
    befriend,
    people_and_goods,
)

TEXAS: Final = "ose-texas-001"
PAYLOAD: Final = '"><script>alert(1)</script>'
PAGES: Final = ("/desk", "/desk/members", "/desk/members/1", "/desk/neighbours", "/desk/trades")
Open = Callable[[WebBox], Any]


class Two:
    """Two neighbours; Alice, Carol and Bob are members, and Alice is a steward."""

    def __init__(self, wire: Wire, folder: Path, a: WebBox, b: WebBox) -> None:
        self.wire, self.folder, self.a, self.b = wire, folder, a, b


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def two(stack: AsyncExitStack, tmp_path: Path) -> Two:
    wire = Wire()
    a = await stack.enter_async_context(WebBox(wire, tmp_path, MISSOURI, "Factor e Farm"))
    b = await stack.enter_async_context(WebBox(wire, tmp_path, CALIFORNIA, "Sonoma <Hills>"))
    await people_and_goods(a, b)
    await a.store.write(lambda tx: desk.set_steward(tx, "Alice", True))
    return Two(wire, tmp_path, a, b)


@pytest.fixture
async def browser(stack: AsyncExitStack) -> Open:
    async def open_(box: WebBox) -> Browser:
        return await stack.enter_async_context(Browser(box.server))

    return open_


@pytest.fixture
async def alice(two: Two, browser: Open) -> Browser:
    found: Browser = await browser(two.a)
    await found.sign_in("Alice")
    return found


@pytest.fixture
async def carol(two: Two, browser: Open) -> Browser:
    found: Browser = await browser(two.a)
    await found.sign_in("Carol")
    return found


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def error_of(page: str) -> str:
    """Return what the one alert of a page says."""
    [found] = re.findall(r'<p class="alert"[^>]*>(.*?)</p>', page, re.S)
    return text_of(found)


def done_of(page: str) -> str:
    [found] = re.findall(r'<p class="notice" role="status" id="done">(.*?)</p>', page, re.S)
    return text_of(found)


async def fill(browser: Browser, page: str, action: str, **fields: str) -> str:
    await browser.get(page)
    assert browser.status == 200
    return await browser.send(action, **fields)


async def member(box: WebBox, name: str) -> Member | None:
    return await box.store.read(lambda view: members.find(view, name))


async def size(box: WebBox) -> int:
    return await box.store.read(lambda view: logs.size_of(view, OWN_LOG))


async def propose(
    box: WebBox, name: str, to: str, to_name: str, offer: tuple[str, str], request: tuple[str, str]
) -> Trade:
    box.now_ms += 61_000
    proposal = Proposal(to, to_name, offer, request)

    def propose(tx: Tx) -> Trade:
        return trade_escrow.propose(tx, members.named(tx, name), proposal, 0)

    return await box.store.write(propose)


# Who may


def desk_routes(box: WebBox) -> list[tuple[str, str]]:
    """Return the method and an address for each route of the desk."""
    app = box.server.app
    assert isinstance(app, web.Application)
    found = {
        (route.method, re.sub(r"\{id\}", "1", route.resource.canonical))
        for route in app.router.routes()
        if route.resource is not None and route.resource.canonical.startswith("/desk")
    }
    return sorted(
        (method, path.replace("/desk/trades/1", f"/desk/trades/{'1' * 16}"))
        for method, path in found
        if method != "HEAD"
    )


async def test_the_desk_is_for_stewards_alone(two: Two, carol: Browser, browser: Open) -> None:
    stranger = await browser(two.a)
    routes = desk_routes(two.a)
    assert len(routes) >= len(steward.Desk.routes(steward.Desk.__new__(steward.Desk)))
    before = await size(two.a)
    for who, status, said in (
        (carol, 403, "The desk is for this village’s stewards, and you are none."),
        (stranger, 401, "You are not signed in"),
    ):
        token = who.hidden("/sign-" + ("out" if who is carol else "in"))["csrf"] if who.text else ""
        for method, path in routes:
            if method == "GET":
                await who.get(path)
            else:
                await who.post(path, {"csrf": token, "form": "0" * 32})
            assert who.status == status, (method, path)
            assert said in text_of(who.text), (method, path)
    assert await size(two.a) == before


async def test_only_stewards_see_the_way_to_it(alice: Browser, carol: Browser) -> None:
    assert 'href="/desk"' in await alice.get()
    assert 'href="/desk"' not in await carol.get()


async def test_who_is_no_steward_any_more_is_out_at_once(two: Two, alice: Browser) -> None:
    await alice.get("/desk/members")
    fields = alice.hidden("/desk/members/issue") | {"payee": "Alice", "amount": "1"}
    await two.a.store.write(lambda tx: desk.set_steward(tx, "Carol", True))
    await two.a.store.write(lambda tx: desk.set_steward(tx, "Alice", False))
    await alice.post("/desk/members/issue", fields)
    assert alice.status == 403


async def test_a_form_needs_its_token_and_its_id(two: Two, alice: Browser) -> None:
    before = await size(two.a)
    for page in PAGES:
        await alice.get(page)
        for action in set(re.findall(r'method="post" action="(/desk[^"#]*)', alice.text)):
            await alice.get(page)
            whole = alice.hidden(action)
            await alice.post(action, whole | {"csrf": "0" * 32})
            assert (alice.status, action) == (403, action)
            await alice.post(action, {"csrf": whole["csrf"]})
            assert (alice.status, action) == (400, action)
            await alice.post(action, whole | {"more": "1"})
            assert (alice.status, action) == (400, action)
    assert await size(two.a) == before


# The box


async def test_the_box_is_well(two: Two, alice: Browser) -> None:
    await two.a.client.exchange(CALIFORNIA)
    shown = text_of(await alice.get("/desk"))
    for said in (
        "How the box is All is well.",
        "20.0 GB (66 %) free",
        "Set by a time service.",
        "village-edge 0.",
        f"{await size(two.a)} records, the newest of Mon 23 Nov 2026",
        f"{CALIFORNIA}: all of it",
        "Members 2 Stewards Alice Neighbours 1 Open trades with them 0",
    ):
        assert said in shown, said


async def test_the_box_says_why_it_is_not(two: Two, alice: Browser) -> None:
    two.a.disk = Disk(100_000_000, 30_000_000_000)
    two.a.clock_differences_s[CALIFORNIA] = 7_200
    two.wire.cut = True
    two.a.now_ms += 7_300_000
    shown = text_of(await alice.get("/desk"))
    assert "Not all is well: the disk has only 100 MB (0 %) left;" in shown
    assert f"{CALIFORNIA} has not been heard from since Mon 23 Nov 2026" in shown
    assert f"the clock of {CALIFORNIA} is 2 hours ahead of this one." in shown
    assert "Make room" in shown
    near = text_of(await alice.get("/desk/neighbours"))
    assert "2 hours ago" in near and "2 hours ahead of this one" in near


async def test_a_village_alone(stack: AsyncExitStack, tmp_path: Path, browser: Open) -> None:
    box = await stack.enter_async_context(WebBox(Wire(), tmp_path, TEXAS, "Lone Star"))
    await box.member("Alice", steward=True)
    someone = await browser(box)
    await someone.sign_in("Alice")
    for page, said in (
        ("/desk", "nobody: this village has no neighbours yet"),
        ("/desk/members", "No resources yet. Members"),
        ("/desk/members/1", "Alice is the only steward."),
        ("/desk/neighbours", "None yet. Send another village an invitation"),
        ("/desk/trades", "None: nothing waits for anybody."),
    ):
        assert said in text_of(await someone.get(page))
        assert someone.status == 200


# Members


async def test_a_member_is_added_and_signs_in(two: Two, alice: Browser, browser: Open) -> None:
    page, action = "/desk/members", "/desk/members/add"
    await fill(alice, page, action, name=" Zoë  Lee ", pin="first pin")
    assert (alice.status, done_of(alice.text)) == (200, "Zoë Lee is a member now.")
    await fill(alice, page, action, name="Dora", pin="1234", steward="yes")
    assert done_of(alice.text) == "Dora is a steward now."
    for name, pin, status in (("Zoë Lee", "first pin", 403), ("Dora", "1234", 200)):
        someone = await browser(two.a)
        await someone.sign_in(name, pin)
        await someone.get("/desk")
        assert (name, someone.status) == (name, status)


@pytest.mark.parametrize(
    ("name", "pin", "status", "said"),
    [
        ("carol", "1234", 409, "There is already a member called carol. Nothing was done."),
        ("treasury", "1234", 409, "already a member"),
        ("Dora", "123", 400, "A PIN has 4 to 64 characters."),
        ("", "1234", 400, "The name must have 1 to 60 characters."),
        ("D\u200bora", "1234", 400, "a character that cannot be shown"),
    ],
)
async def test_a_member_who_cannot_be_added(
    two: Two, alice: Browser, name: str, pin: str, status: int, said: str
) -> None:
    await fill(alice, "/desk/members", "/desk/members/add", name=name, pin=pin, steward="yes")
    assert alice.status == status
    assert said in error_of(alice.text)
    assert f'name="name" value="{name}"' in alice.text
    assert 'value="yes" checked' in alice.text
    assert f'value="{pin}"' not in alice.text
    assert await member(two.a, "Dora") is None


async def test_a_form_is_done_once(two: Two, alice: Browser) -> None:
    await alice.get("/desk/members")
    fields = alice.hidden("/desk/members/add") | {"name": "Dora", "pin": "1234"}
    for _ in range(2):
        await alice.post("/desk/members/add", fields)
        assert done_of(alice.text) == "Dora is a member now."
    await alice.post("/desk/members/add", fields | {"pin": "4321"})
    assert alice.status == 409
    assert "has asked for something else before" in error_of(alice.text)
    assert alice.hidden("/desk/members/add")["form"] != fields["form"]
    await alice.get("/desk/members")
    fields = alice.hidden("/desk/members/issue") | {"payee": "Dora", "amount": "5"}
    for _ in range(2):
        await alice.post("/desk/members/issue", fields)
    assert ">5.00<" in alice.text


async def test_what_was_done_is_told_to_who_did_it(two: Two, alice: Browser, browser: Open) -> None:
    await fill(alice, "/desk/members", "/desk/members/add", name="Dora", pin="1234", steward="yes")
    path = alice.url.path_qs
    dora = await browser(two.a)
    await dora.sign_in("Dora", "1234")
    assert 'id="done"' not in await dora.get(path)
    assert 'id="done"' not in await alice.get("/desk/members?done=anything")


async def test_no_pin_can_be_found_from_what_is_kept(two: Two, alice: Browser) -> None:
    """A digest of a form with a short PIN in it would give that PIN away."""
    await alice.get("/desk/members")
    fields = alice.hidden("/desk/members/add") | {"name": "Dora", "pin": "1234"}
    await alice.post("/desk/members/add", fields)
    [digest] = await two.a.store.read(
        lambda view: view.one("SELECT digest FROM request WHERE id LIKE 'desk:%'")
    )
    form = AddForm("", fields["form"], pin="1234", name="Dora")
    assert digest != crypto.sha256(form.asked)
    assert digest == crypto.sha256(form.asked_with(bytes(32)))


async def test_issuing(two: Two, alice: Browser) -> None:
    page, action = "/desk/members", "/desk/members/issue"
    await fill(alice, page, action, payee="Carol", amount="12.50", note="for the cheese")
    assert done_of(alice.text) == "12.50 AT were issued to Carol."
    await fill(alice, page, action, payee="treasury", amount="7")
    assert "The treasury has 7.00 AT." in text_of(alice.text)
    assert 'value="Carol"' in await alice.get("/desk/members?payee=Carol")
    before = await size(two.a)
    for payee, amount, status, said in (
        ("Nobody", "1", 404, "There is no member called 'Nobody' here. Nothing was done."),
        ("Carol", "-1", 400, "is not an amount of AT"),
        ("Carol", "1.234", 400, "too many decimals"),
    ):
        await fill(alice, page, action, payee=payee, amount=amount, note="kept")
        assert alice.status == status
        assert said in error_of(alice.text)
        for kept in (payee, amount, "kept"):
            assert f'value="{kept}"' in alice.text
    assert await size(two.a) == before


async def test_a_new_village_is_told_what_to_do_first(
    stack: AsyncExitStack, tmp_path: Path, browser: Open
) -> None:
    wire = Wire()
    box = await stack.enter_async_context(WebBox(wire, tmp_path, TEXAS, "New Farm"))
    other = await stack.enter_async_context(WebBox(wire, tmp_path, CALIFORNIA, "Old Farm"))
    await box.member("Alice", steward=True)
    alice: Browser = await browser(box)
    await alice.sign_in("Alice")
    said = ["Add the members", "Issue AT", "Invite a neighbour"]

    async def steps() -> list[str]:
        page = text_of(await alice.get("/desk"))
        assert ("What to do first" in page) == any(each in page for each in said)
        return [each for each in said if each in page]

    assert await steps() == said
    await box.member("Carol")
    assert await steps() == said[1:]
    await box.store.write(lambda tx: desk.issue(tx, "treasury", "100"))
    assert await steps() == said[2:]
    await befriend(box, other)
    assert await steps() == []


async def test_resources(two: Two, alice: Browser) -> None:
    page = "/desk/members"
    await fill(alice, page, f"{page}/approve", resource="Goat Milk", decimals="1")
    assert done_of(alice.text) == "Goat Milk is in the catalogue now."
    assert "Goat Milk, Solar Panel." not in text_of(alice.text)  # that one is the neighbour's
    declared = {"owner": "Carol", "resource": "goat milk", "amount": "2.5", "decimals": "0"}
    await fill(alice, page, f"{page}/declare", **declared)
    assert done_of(alice.text) == "Carol has 2.5 Goat Milk more."
    declared = {"owner": "Carol", "resource": "Flour", "amount": "1.25", "decimals": "2"}
    await fill(alice, page, f"{page}/declare", **declared)
    assert "Flour, Goat Milk." in text_of(alice.text)
    before = await size(two.a)
    for action, fields, status, said in (
        ("approve", {"resource": "goat-milk"}, 409, "Goat Milk is in the catalogue already."),
        ("approve", {"resource": "Cheese", "decimals": "7"}, 400, "0 to 6 decimals"),
        ("approve", {"resource": "Cheese", "decimals": "+1"}, 400, "must be a whole number"),
        ("approve", {"resource": "<b>"}, 400, "is not an asset"),
        ("declare", {**declared, "resource": "AT"}, 400, "AT is issued, not declared."),
        ("declare", {**declared, "owner": "Nobody"}, 404, "no member called"),
        ("declare", {**declared, "amount": "1.234"}, 400, "too many decimals"),
    ):
        await fill(alice, page, f"{page}/{action}", **fields)
        assert (alice.status, said in error_of(alice.text)) == (status, True), alice.text
        for kept in fields.values():
            assert f'value="{html.escape(kept)}"' in alice.text
    assert await size(two.a) == before


async def test_a_limit(two: Two, alice: Browser) -> None:
    found = await member(two.a, "Carol")
    assert found is not None
    page = f"/desk/members/{found.id}"
    await fill(alice, page, f"{page}/limit", asset="AT", amount="20")
    assert done_of(alice.text) == "Carol may go 20 AT below zero."
    assert "down to -20.00" in text_of(alice.text)
    await two.a.store.write(lambda tx: desk.pay(tx, "Carol", "Alice", "20"))
    assert "-20.00" in text_of(await alice.get("/desk/members"))
    for asset, amount, status, said in (
        ("AT", "x", 400, "is not an amount of AT"),
        ("Goat Milk", "1", 404, "Goat Milk is not in this village's catalogue."),
    ):
        await fill(alice, page, f"{page}/limit", asset=asset, amount=amount)
        assert (alice.status, said in error_of(alice.text)) == (status, True)
        assert f'value="{amount}"' in alice.text


async def test_a_new_pin_ends_sessions(two: Two, alice: Browser, carol: Browser) -> None:
    found = await member(two.a, "Carol")
    assert found is not None
    page = f"/desk/members/{found.id}"
    await fill(alice, page, f"{page}/pin", pin="abc")
    assert alice.status == 400
    assert error_of(alice.text) == "A PIN has 4 to 64 characters. Nothing was done."
    assert 'value="abc"' not in alice.text
    assert ">Carol<" in await carol.get()
    await fill(alice, page, f"{page}/pin", pin="a new one")
    assert done_of(alice.text) == "Carol has a new PIN, and is signed out everywhere."
    assert 'action="/sign-in"' in await carol.get()
    await carol.sign_in("Carol", PINS["Carol"])
    assert carol.status == 401
    await carol.sign_in("Carol", "a new one")
    assert (carol.status, ">Carol<" in carol.text) == (200, True)


async def test_making_and_unmaking_stewards(two: Two, alice: Browser, carol: Browser) -> None:
    found = await member(two.a, "Carol")
    assert found is not None
    assert "is the only steward" in await alice.get("/desk/members/1")
    await alice.send("/desk/members/1/steward", steward="no")
    assert alice.status == 409
    said = "Alice is the only steward: make somebody else one first. Nothing was done."
    assert error_of(alice.text) == said
    page = f"/desk/members/{found.id}"
    await fill(alice, page, f"{page}/steward")
    assert done_of(alice.text) == "Carol is a steward now."
    await fill(carol, "/desk/members/1", "/desk/members/1/steward")
    assert done_of(carol.text) == "Alice is no steward now."
    await alice.get("/desk")
    assert alice.status == 403


async def test_there_is_no_such_member(alice: Browser) -> None:
    await alice.get("/desk/members/1")
    fields = alice.hidden("/desk/members/1/limit") | {"amount": "1"}
    for path in ("99", "999999999999999"):
        await alice.get(f"/desk/members/{path}")
        assert (alice.status, error_of(alice.text)) == (404, "There is no such member here.")
        await alice.post(f"/desk/members/{path}/limit", fields)
        assert alice.status == 404


async def test_looking_for_a_name(two: Two, alice: Browser) -> None:
    assert "Carol" in text_of(await alice.get("/desk/members?q=%20CAR%20"))
    rows = re.findall(r'<a href="/desk/members/\d+">', alice.text)
    assert len(rows) == 1
    shown = text_of(await alice.get(f"/desk/members?q={PAYLOAD}"))
    assert f"Nobody’s name has “{PAYLOAD}” in it." in shown
    assert PAYLOAD not in alice.text


async def test_a_long_list_ends(two: Two, alice: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_views, "MEMBERS_SHOWN_MAX", 1)
    assert "These are the first 1 of 2:" in text_of(await alice.get("/desk/members"))


# Neighbours


async def test_how_neighbours_stand(two: Two, alice: Browser) -> None:
    sides = ("AT", "100"), ("Solar Panel", "1")
    made = await propose(two.a, "Alice", CALIFORNIA, "Bob", *sides)
    await two.a.client.exchange(CALIFORNIA)
    await two.b.store.write(
        lambda tx: trade_escrow.accept(
            tx, members.named(tx, "Bob"), trades.by_subject(tx, made.subject)
        )
    )

    async def settled() -> bool:
        await two.a.client.exchange(CALIFORNIA)
        found = await two.a.store.read(lambda view: trades.by_subject(view, made.subject))
        return found.status == "SETTLED"

    await until(settled, "the trade has settled")
    shown = text_of(await alice.get("/desk/neighbours"))
    for said in (
        f"Sonoma <Hills> {CALIFORNIA}",
        "just now",
        "agrees with this one",
        f"of its records here, all {await size(two.a)} of ours there",
        "Open trades none",
        "AT it is owed 100.00 0.00 1000.00 1100.00",
        "Solar Panel it owes 1 0 10 9",
    ):
        assert said in shown, said


async def test_a_line(two: Two, alice: Browser) -> None:
    page, action = "/desk/neighbours", "/desk/neighbours/line"
    await fill(alice, page, action, village=CALIFORNIA, asset="AT", amount="250")
    assert done_of(alice.text) == f"From now on {CALIFORNIA} may come to owe 250 AT."
    assert "AT even 0.00 250.00 250.00" in text_of(alice.text)
    for village, amount, status, said in (
        (CALIFORNIA, "-1", 400, "is not an amount of AT"),
        (TEXAS, "1", 404, "texas-001 is not a neighbour of this village."),
        ("Alice", "1", 404, "Alice is not a neighbour of this village."),
    ):
        await fill(alice, page, action, village=village, asset="AT", amount=amount)
        assert (alice.status, said in error_of(alice.text)) == (status, True)
        assert f'value="{amount}"' in alice.text


async def test_trouble_with_a_neighbour(two: Two, alice: Browser) -> None:
    await two.a.store.write(lambda tx: neighbours.set_trouble(tx, CALIFORNIA, "it lies"))
    said = text_of(await alice.get("/desk/neighbours"))
    assert "No new trades with it: it lies." in said
    assert f"Not all is well: no new trades with {CALIFORNIA}: it lies." in text_of(
        await alice.get("/desk")
    )


async def test_an_invitation_is_shown_once_and_taken_up(
    stack: AsyncExitStack, two: Two, alice: Browser, browser: Open
) -> None:
    await fill(alice, "/desk/neighbours", "/desk/neighbours/invite", hours="24")
    assert alice.status == 200
    [line] = re.findall(r"<textarea[^>]*readonly[^>]*>(.*?)</textarea>", alice.text)
    assert invitation.from_text(line).village_id == MISSOURI
    assert "until Tue 24 Nov 2026" in text_of(alice.text)
    kept = await two.a.store.read(lambda view: view.all("SELECT answer FROM request"))
    assert all(line.encode() not in answer for (answer,) in kept)

    box = await stack.enter_async_context(WebBox(two.wire, two.folder, TEXAS, "Lone Star"))
    await box.member("Alice", steward=True)
    someone = await browser(box)
    await someone.sign_in("Alice")
    broken = f" {line[:40]}\n {line[40:]}\n"  # as it comes by mail
    await fill(someone, "/desk/neighbours", "/desk/neighbours/join", invitation=broken)
    assert done_of(someone.text) == f"There is a new neighbour: {MISSOURI}."
    assert f"Factor e Farm {MISSOURI}" in text_of(someone.text)
    assert f"Lone Star {TEXAS}" in text_of(await alice.get("/desk/neighbours"))


async def test_an_invitation_to_councils_of_seven(two: Two, alice: Browser) -> None:
    """What the desk asks for is what the invitation says; four, if nobody chooses."""
    for chosen, seats in (({"seats": "7"}, 7), ({}, 4)):
        await fill(alice, "/desk/neighbours", "/desk/neighbours/invite", **chosen)
        [line] = re.findall(r"<textarea[^>]*readonly[^>]*>(.*?)</textarea>", alice.text)
        assert invitation.from_text(html.unescape(line)).council_seats == seats


async def test_an_invitation_is_not_made_twice(alice: Browser) -> None:
    await alice.get("/desk/neighbours")
    fields = alice.hidden("/desk/neighbours/invite") | {"hours": "24"}
    await alice.post("/desk/neighbours/invite", fields)
    assert "readonly" in alice.text
    await alice.post("/desk/neighbours/invite", fields)
    assert (alice.status, "readonly" in alice.text) == (409, False)
    assert "was shown already, once" in error_of(alice.text)
    for seats in ("5", "x"):
        await fill(alice, "/desk/neighbours", "/desk/neighbours/invite", seats=seats)
        assert alice.status == 400
    for hours in ("0", "9999", "x", "1.5"):
        await fill(alice, "/desk/neighbours", "/desk/neighbours/invite", hours=hours)
        assert (alice.status, f'value="{hours}"' in alice.text) == (400, True)


async def test_an_invitation_that_cannot_be_taken_up(two: Two, alice: Browser) -> None:
    page, action = "/desk/neighbours", "/desk/neighbours/join"
    await fill(alice, page, action, invitation=PAYLOAD)
    assert alice.status == 400
    assert "Not an invitation: it is one line" in error_of(alice.text)
    assert html.escape(PAYLOAD) in alice.text.replace("&#34;", "&quot;")
    await fill(alice, page, "/desk/neighbours/invite", hours="1")
    [own] = re.findall(r"<textarea[^>]*readonly[^>]*>(.*?)</textarea>", alice.text)
    await fill(alice, page, action, invitation=own)
    assert "This invitation is this village's own." in error_of(alice.text)


async def test_who_invites_must_be_reached(
    stack: AsyncExitStack, two: Two, alice: Browser, browser: Open
) -> None:
    box = await stack.enter_async_context(WebBox(two.wire, two.folder, TEXAS, "Lone Star"))
    await box.member("Alice", steward=True)
    someone = await browser(box)
    await someone.sign_in("Alice")
    await fill(alice, "/desk/neighbours", "/desk/neighbours/invite", hours="24")
    [line] = re.findall(r"<textarea[^>]*readonly[^>]*>(.*?)</textarea>", alice.text)
    two.wire.cut = True
    await fill(someone, "/desk/neighbours", "/desk/neighbours/join", invitation=line)
    assert (someone.status, line in someone.text) == (504, True)
    assert f"{MISSOURI} does not answer" in error_of(someone.text).lower()
    two.wire.cut = False
    await someone.send("/desk/neighbours/join", invitation=line)  # the same form once more
    assert done_of(someone.text) == f"There is a new neighbour: {MISSOURI}."


async def test_candidates(stack: AsyncExitStack, two: Two, alice: Browser) -> None:
    box = await stack.enter_async_context(WebBox(two.wire, two.folder, TEXAS, PAYLOAD))
    entry = await box.store.read(facts.own_entry)
    await two.a.store.write(lambda tx: neighbours.keep_candidate(tx, entry, "register"))
    shown = text_of(await alice.get("/desk/neighbours"))
    assert f"{PAYLOAD} {TEXAS} offered itself, Mon 23 Nov 2026" in shown


# Trades


async def test_open_trades(two: Two, alice: Browser) -> None:
    sides = ("AT", "100"), ("Solar Panel", "1")
    two.wire.cut = True
    untold = await propose(two.a, "Alice", CALIFORNIA, "Bob", *sides)
    shown = text_of(await alice.get("/desk/trades"))
    assert f"Alice of {MISSOURI} offers 100.00 AT for 1 Solar Panel of Bob of {CALIFORNIA}" in shown
    assert f"Waits for the box of {CALIFORNIA} Since Mon 23 Nov 2026" in shown
    assert "Held here 100.00 AT, set aside" in shown

    two.wire.cut = False
    await two.a.client.exchange(CALIFORNIA)
    shown = text_of(await alice.get("/desk/trades"))
    assert f"Waits for Bob of {CALIFORNIA} Since" in shown

    two.b.now_ms = two.a.now_ms
    theirs = await propose(two.b, "Bob", MISSOURI, "Carol", ("Solar Panel", "1"), ("AT", "1"))
    await propose(two.b, "Bob", MISSOURI, "Nobody", ("Solar Panel", "1"), ("AT", "1"))
    await two.b.client.exchange(MISSOURI)
    shown = text_of(await alice.get("/desk/trades"))
    assert "Waits for Carol Since" in shown
    assert "Waits for nobody: no member here has that name Since" in shown
    assert "Held here nothing" in shown

    await two.a.store.write(lambda tx: desk.issue(tx, "Carol", "5"))
    two.wire.cut = True
    await two.a.store.write(
        lambda tx: trade_escrow.accept(
            tx, members.named(tx, "Carol"), trades.by_subject(tx, theirs.subject)
        )
    )
    shown = text_of(await alice.get("/desk/trades"))
    assert "Held here 1.00 AT, held until it has ended" in shown

    one = text_of(await alice.get(f"/desk/trades/{untold.id}"))
    assert "Alice's 100.00 AT are set aside" in one and f"Trade {untold.id}" in one
    await alice.get(f"/desk/trades/{'0' * 16}")
    assert alice.status == 404


async def test_what_waits_between_members(two: Two, alice: Browser) -> None:
    await two.a.store.write(lambda tx: desk.declare(tx, "Carol", "Goat Milk", "3"))
    await two.a.store.write(
        lambda tx: market.propose(
            tx,
            members.named(tx, "Alice"),
            Proposal(MISSOURI, "Carol", ("AT", "2"), ("Goat Milk", "1")),
        )
    )
    shown = text_of(await alice.get("/desk/trades"))
    assert "Alice offers 2.00 AT for 1 Goat Milk of Carol Waits for Carol Since" in shown
    assert "Held here 2.00 AT, set aside Within this village. It ends by itself" in shown


async def test_an_ended_trade_waits_for_nobody(two: Two, alice: Browser) -> None:
    made = await propose(two.a, "Alice", CALIFORNIA, "Bob", ("AT", "1"), ("Solar Panel", "1"))
    await two.a.store.write(
        lambda tx: trade_escrow.cancel(
            tx, members.named(tx, "Alice"), trades.by_subject(tx, made.subject)
        )
    )
    assert made.id not in await alice.get("/desk/trades")
    shown = text_of(await alice.get(f"/desk/trades/{made.id}"))
    assert "Waits for nobody: it has ended Held here nothing" in shown


# What others write


async def test_no_text_becomes_markup(stack: AsyncExitStack, two: Two, alice: Browser) -> None:
    box = await stack.enter_async_context(WebBox(two.wire, two.folder, TEXAS, PAYLOAD))
    await befriend(two.a, box)
    await two.a.member(PAYLOAD, "1234", steward=True)
    await two.a.store.write(lambda tx: desk.issue(tx, PAYLOAD, "5", PAYLOAD))
    found = await member(two.a, PAYLOAD)
    assert found is not None
    made = await propose(two.a, PAYLOAD, CALIFORNIA, PAYLOAD, ("AT", "1"), ("Solar Panel", "1"))
    await two.a.store.write(lambda tx: neighbours.set_trouble(tx, CALIFORNIA, PAYLOAD))
    pages = {page: page != "/desk/members/1" for page in PAGES}
    pages |= {f"/desk/members/{found.id}": True, f"/desk/trades/{made.id}": True}
    for page, quotes in pages.items():
        await alice.get(page)
        assert (alice.status, page) == (200, page)
        assert "<script>alert" not in alice.text
        assert (PAYLOAD in html.unescape(alice.text)) is quotes, page
