"""The steward's page of trades over real HTTP: looking, trying again, giving up, evidence."""

import contextlib
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from edge import desk, market, trade_delivery, trade_escrow, trade_receipt
from edge.core import council, receipt
from edge.core.council import Value, Vote
from edge.core.misbehaviour import IN_WORDS, verify_list
from edge.core.receipt import RECEIPT_BYTES_MAX
from edge.core.trade import Proposal, Status
from edge.errors import Unreachable
from edge.storage import councils, members, misbehaviour, trades
from edge.storage.trades import Trade
from edge.storage.tx import Tx
from edge.web import desk_trade_views
from tests.integration.boxes import until
from tests.integration.test_desk import (
    Open,
    Two,
    alice,
    browser,
    carol,
    done_of,
    error_of,
    fill,
    propose,
    stack,
    text_of,
    two,
)
from tests.integration.web_boxes import (
    CALIFORNIA,
    MISSOURI,
    Browser,
    WebBox,
    Wire,
    befriend,
)

__all__ = ["alice", "browser", "carol", "stack", "two"]  # fixtures
SIDES = ("AT", "100"), ("Solar Panel", "1")


async def accept(box: WebBox, known: Trade, name: str = "Bob") -> None:
    await box.store.write(
        lambda tx: trade_escrow.accept(
            tx, members.named(tx, name), trades.by_subject(tx, known.subject)
        )
    )


async def at(box: WebBox, known: Trade) -> Trade:
    return await box.store.read(lambda view: trades.by_subject(view, known.subject))


async def bound(two: Two) -> Trade:
    """Return a trade by which B is bound, of which A has not heard."""
    made = await propose(two.a, "Alice", CALIFORNIA, "Bob", *SIDES)
    two.b.now_ms = two.a.now_ms
    await two.a.client.exchange(CALIFORNIA)
    two.wire.cut = True
    await accept(two.b, made)
    return made


async def half_ended(two: Two) -> tuple[Trade, WebBox, WebBox]:
    """Return a trade that has settled at one village and is held at the other, and the two."""
    made = await bound(two)
    two.wire.cut, two.wire.loses_answers = False, True
    for sender, to in itertools.cycle(((two.b, MISSOURI), (two.a, CALIFORNIA))):
        ends = {each.village: (await at(each, made)).status for each in (two.a, two.b)}
        if Status.SETTLED in ends.values():
            break
        with contextlib.suppress(Unreachable):
            await sender.client.exchange(to)
    two.wire.cut = True
    assert sorted(ends.values()) == ["HELD", "SETTLED"]
    return (made, two.a, two.b) if ends[MISSOURI] == "SETTLED" else (made, two.b, two.a)


async def upload(who: Browser, path: str, file: bytes, **fields: str) -> str:
    """Send the form that a page shows, with a file."""
    await who.get(path)
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in (who.hidden(f"{path}/abandon") | {"sure": "yes"} | fields).items():
        form.add_field(name, value)
    form.add_field("evidence", file, filename="receipt.json", content_type="application/json")
    return await who.post(f"{path}/abandon", form)  # type: ignore[arg-type]


@pytest.fixture
async def sam(two: Two, browser: Open) -> Browser:
    """A steward of B."""
    await two.b.member("Sam", "1234", steward=True)
    found: Browser = await browser(two.b)
    await found.sign_in("Sam", "1234")
    return found


# Unbound


async def test_a_proposal_is_given_up_for_its_member(two: Two, alice: Browser) -> None:
    two.wire.cut = True
    await two.a.store.write(lambda tx: desk.issue(tx, "Carol", "500"))
    made = await propose(two.a, "Carol", CALIFORNIA, "Bob", *SIDES)
    page = f"/desk/trades/{made.id}"
    shown = text_of(await alice.get(page))
    for said in (
        "Decided by its two villages alone In hand here none: nobody is bound",
        "Nobody is bound yet. What is set aside comes back at once.",
    ):
        assert said in shown
    await alice.send(f"{page}/abandon", reason="x")
    assert (alice.status, 'value="x"' in alice.text) == (400, True)
    assert error_of(alice.text) == "Tick the box to say that you are sure. Nothing was done."
    await fill(alice, page, f"{page}/abandon", sure="yes", reason="Carol has left.")
    assert done_of(alice.text) == "The trade was withdrawn."
    assert "the steward Alice withdrew it for Carol: Carol has left." in text_of(alice.text)
    assert "Give it up" not in alice.text and "Try again" not in alice.text
    assert two.a.kicked[-1] == CALIFORNIA
    assert (await at(two.a, made)).reserved is False


async def test_a_form_of_a_trade_works_once_and_with_its_token(two: Two, alice: Browser) -> None:
    made = await propose(two.a, "Alice", CALIFORNIA, "Bob", *SIDES)
    page = f"/desk/trades/{made.id}"
    for action in (f"{page}/abandon", f"{page}/retry"):
        await alice.get(page)
        whole = alice.hidden(action)
        for fields, status in (
            (whole | {"csrf": "0" * 32}, 403),
            ({"csrf": whole["csrf"]}, 400),
            (whole | {"more": "1"}, 400),
            (whole | {"form": "x"}, 400),
        ):
            await alice.post(action, fields)
            assert (alice.status, action) == (status, action)
    await alice.get(page)
    fields = alice.hidden(f"{page}/abandon") | {"sure": "yes"}
    for _ in range(2):
        await alice.post(f"{page}/abandon", fields)
        assert done_of(alice.text) == "The trade was withdrawn."
    await alice.post(f"{page}/abandon", fields | {"reason": "another"})
    assert (alice.status, "Give it up" in alice.text) == (409, False)


# Bound


async def test_a_bound_trade_is_not_given_up(two: Two, sam: Browser) -> None:
    made = await bound(two)
    page = f"/desk/trades/{made.id}"
    shown = text_of(await sam.get(page))
    for said in (
        "neither a clock nor a steward ends that: only the decision does",
        f"It waits for the box of {MISSOURI}.",
        f"In hand here no hold of {MISSOURI} yet; the hold of {CALIFORNIA}, not proven yet",
        f"{CALIFORNIA} a party, this village hold, not proven yet",
        f"{MISSOURI} a party nothing yet Last heard from: ",
    ):
        assert said in shown
    assert 'enctype="multipart/form-data"' in sam.text
    await sam.send(f"{page}/abandon", sure="yes")
    assert sam.status == 409
    await upload(sam, page, b"")
    assert (sam.status, "neither a clock nor a steward" in error_of(sam.text)) == (409, True)
    assert (await at(two.b, made)).status == "ACCEPTED"


async def test_evidence_ends_it(two: Two, alice: Browser, sam: Browser) -> None:
    made, ended, waits = await half_ended(two)
    stewards = {MISSOURI: alice, CALIFORNIA: sam}
    giver, taker = stewards[ended.village], stewards[waits.village]
    page = f"/desk/trades/{made.id}"
    assert "Download the receipt" in await giver.get(page)
    async with giver.session.get(giver._at(f"{page}/receipt")) as answer:
        file, name = await answer.read(), answer.headers["Content-Disposition"]
    assert (answer.status, name) == (200, f'attachment; filename="receipt-{made.id}.json"')
    await upload(taker, page, file)
    assert (taker.status, done_of(taker.text)) == (200, "The trade is done.")
    assert (await at(waits, made)).status == "SETTLED"
    assert "In hand here the decision, signed by" in text_of(taker.text)
    assert "Give it up" not in taker.text


async def test_files_that_are_no_evidence(two: Two, alice: Browser, sam: Browser) -> None:
    made, ended, waits = await half_ended(two)
    taker = sam if waits is two.b else alice
    whole = receipt.encode(
        await ended.store.read(
            lambda v: trade_receipt.of_trade(v, trades.by_subject(v, made.subject))
        )
    )
    page = f"/desk/trades/{made.id}"
    for file, status, said in (
        (b"{}", 400, "Not a receipt"),
        (b"\xff\x00" * 100, 400, "Not a receipt"),
        (b"[" * 50_000, 400, "Not a receipt"),
        (whole.replace(b'"COMMIT"', b'"ABORT"'), 422, "does not hold"),
        (whole.replace(b'"round":0', b'"round":1'), 422, "does not hold"),
        (whole.replace(b"receipt/v1", b"receipt/v2"), 422, "not of the form"),
        (whole[:-40], 400, "Not a receipt"),
    ):
        await upload(taker, page, file)
        assert (taker.status, said in error_of(taker.text)) == (status, True), file[:80]
        assert (await at(waits, made)).status == "HELD"
    await upload(taker, page, b"x" * (RECEIPT_BYTES_MAX + 1))
    assert taker.status == 400
    await upload(taker, page, b"x" * (2 * RECEIPT_BYTES_MAX))
    assert taker.status == 413
    assert (await at(waits, made)).status == "HELD"


async def test_a_strangers_upload_is_not_read(two: Two, carol: Browser, browser: Open) -> None:
    made = await bound(two)
    stranger = await browser(two.a)
    for who, status in ((carol, 403), (stranger, 401)):
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 1
                yield b"x" * 65_536

        url = who._at(f"/desk/trades/{made.id}/abandon")
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        with contextlib.suppress(aiohttp.ClientError):
            async with who.session.post(url, data=endless(), headers=headers) as answer:
                assert answer.status == status
        assert sent < 1_000  # what the sockets hold


# Looking


async def test_trying_again(two: Two, alice: Browser) -> None:
    two.wire.cut = True
    made = await propose(two.a, "Alice", CALIFORNIA, "Bob", *SIDES)
    before = len(two.a.kicked)
    await fill(alice, "/desk/trades", f"/desk/trades/{made.id}/retry")
    assert done_of(alice.text) == f"Asked now: {CALIFORNIA} does not answer."
    assert two.a.kicked[before:] == [CALIFORNIA]
    two.wire.cut = False
    await fill(alice, "/desk/trades", f"/desk/trades/{made.id}/retry")
    assert done_of(alice.text) == f"Asked now: {CALIFORNIA} answered."
    assert two.a.kicked[before:] == [CALIFORNIA]


async def test_lists_and_pages(two: Two, alice: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_trade_views, "PAGE", 2)
    two.wire.cut = True
    made = [await propose(two.a, "Alice", CALIFORNIA, "Bob", *SIDES) for _ in range(3)]
    at_home = Proposal(MISSOURI, "Carol", ("AT", "2"), None)
    await two.a.store.write(lambda tx: market.propose(tx, members.named(tx, "Alice"), at_home))
    first = await alice.get("/desk/trades")
    assert ids(first) == [each.id for each in made[:2]]
    [more] = re.findall(r'href="(/desk/trades\?after=[^"]*)">More', first)
    second = await alice.get(more)
    assert ids(second)[:1] == [made[2].id] and "2.00 AT to Carol as a gift" in text_of(second)
    assert "From the beginning" in second and "More →" not in second

    cancelled = made[1]
    await two.a.store.write(
        lambda tx: trade_escrow.cancel(
            tx, members.named(tx, "Alice"), trades.by_subject(tx, cancelled.subject)
        )
    )
    assert ids(await alice.get("/desk/trades?show=ended")) == [cancelled.id]
    assert ids(await alice.get("/desk/trades?show=bound")) == []
    assert "None. Show all open trades" in text_of(alice.text)
    assert len(ids(await alice.get(f"/desk/trades?show=answer&village={CALIFORNIA}"))) == 2
    assert ids(await alice.get("/desk/trades?village=ose-texas-001")) == []
    for query in (
        "show=x",
        "village=<script>",
        "after=x",
        "after=1.0",
        "after=" + "9" * 30 + "." + "0" * 16,
    ):
        await alice.get(f"/desk/trades?{query}")
        assert (alice.status, query) == (400, query)


def ids(page: str) -> list[str]:
    return re.findall(r'href="/desk/trades/([0-9a-f]{16})"', page)


# Those that decide


@pytest.fixture
async def four(stack: AsyncExitStack, tmp_path: Path) -> list[WebBox]:
    wire = Wire()
    made = []
    for letter in "abcd":
        name = f"ose-{letter}-001"
        made.append(
            await stack.enter_async_context(WebBox(wire, tmp_path, name, f"Village {name}"))
        )
    a, b, c, _ = made
    await a.member("Alice")
    await b.member("Bob")
    await c.member("Carol", steward=True)
    await a.store.write(lambda tx: desk.issue(tx, "Alice", "500"))
    await b.store.write(lambda tx: desk.declare(tx, "Bob", "Solar Panel", "9"))
    for one, other in itertools.combinations(made, 2):
        await befriend(one, other)
    await meet(made)
    return made


async def meet(boxes: list[WebBox]) -> None:
    for one, other in itertools.permutations(boxes, 2):
        await one.client.exchange(other.village)


async def test_what_this_village_decides_for_others(four: list[WebBox], browser: Open) -> None:
    a, b, c, d = four
    proposal = Proposal(b.village, "Bob", *SIDES)
    made = await a.store.write(
        lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), proposal, 0)
    )
    assert len(made.terms.seats) == 4
    await a.client.exchange(b.village)
    await accept(b, made)
    await b.client.exchange(c.village)
    steward: Browser = await browser(c)
    await steward.sign_in("Carol")

    async def settled() -> bool:
        await meet(four)
        opened = await c.store.read(lambda view: councils.named(view, made.subject))
        statuses = {(await at(each, made)).status for each in (a, b)}
        return statuses == {"SETTLED"} and opened.certificate is not None

    await until(settled, "both have settled, and the third village knows")
    shown = text_of(await steward.get("/desk/trades?show=decided"))
    for said in (
        "Carried out ose-a-001 offers 100.00 AT for 1 Solar Panel of ose-b-001",
        "In hand the decision, signed by",
    ):
        assert said in shown
    assert "Alice" not in shown and "Bob" not in shown
    page = f"/desk/trades/{made.id}"
    shown = text_of(await steward.get(page))
    assert "Decided: carried out." in shown and "Held here nothing: this village only" in shown
    assert "Alice" not in shown and "Bob" not in shown
    assert "Give it up" not in shown and "Try again" not in shown
    async with steward.session.get(steward._at(f"{page}/receipt")) as answer:
        file = await answer.read()
    assert receipt.verify(receipt.decode(file)).from_village == a.village
    assert "None. Show all" in text_of(await steward.get("/desk/trades?show=deciding"))
    assert ids(await steward.get("/desk/trades")) == []

    opened = await c.store.read(lambda view: councils.named(view, made.subject))

    key = await d.store.write(lambda tx: tx.identity.key)

    def lie(tx: Tx) -> None:
        values: tuple[Value, ...] = ("COMMIT", "ABORT")
        for value in values:
            signed = council.vote_bytes(opened.terms.network, opened.id, 7, "prevote", value)
            vote = Vote(d.village, 7, "prevote", value, key.sign(signed))
            councils.keep_vote(tx, councils.held(tx, opened), vote)

    await c.store.write(lie)
    assert len(await c.store.read(lambda view: misbehaviour.everything(view, 9))) == 1
    shown = text_of(await steward.get("/desk/trades"))
    assert "Villages that broke the rules of councils" in shown
    assert f"{d.village} : {IN_WORDS['two votes']}, in trade {made.id}" in shown
    assert "found by this box" in shown
    assert f"Broke the rules of councils {d.village}" in text_of(await steward.get("/desk"))
    assert "It has no seat in new councils" in text_of(await steward.get("/desk/neighbours"))
    async with steward.session.get(steward._at("/desk/misbehaviour")) as answer:
        file = await answer.read()
    assert [each.village for each in verify_list(file)] == [d.village]


async def test_a_trade_at_home_is_given_up(two: Two, alice: Browser, carol: Browser) -> None:
    asked = Proposal(MISSOURI, "Carol", ("AT", "5"), None)
    made = await two.a.store.write(lambda tx: market.propose(tx, members.named(tx, "Alice"), asked))
    page = f"/desk/trades/{made.id}"
    assert f'href="{page}"' in await alice.get("/desk/trades")
    shown = text_of(await alice.get(page))
    assert "Within this village." in shown and "its two members" in shown
    assert "What each village has said" not in shown and "Try again" not in shown
    await fill(alice, page, f"{page}/abandon", sure="yes", reason="She is away.")
    assert done_of(alice.text) == "The trade was withdrawn."
    said = "Ended: the steward Alice withdrew it for Alice: She is away."
    assert said in text_of(await alice.get(page)) and "Give it up" not in alice.text
    assert said in text_of(await carol.get(f"/deals/{made.id}"))
    async with alice.session.get(alice._at(f"{page}/receipt")) as answer:
        assert answer.status == 409


async def test_what_is_disputed(two: Two, alice: Browser, sam: Browser) -> None:
    """By whom, since when, and what is written: on the desks of both villages."""
    made = await bound(two)
    two.wire.cut = False
    two.b.client.kick(MISSOURI)

    async def has_settled() -> bool:
        return (await at(two.a, made)).status is Status.SETTLED

    await until(has_settled, "it is settled")

    def dispute(tx: Tx) -> None:
        member = members.named(tx, "Alice")
        trade_delivery.dispute(tx, member, trades.by_subject(tx, made.subject), "It is <cracked>.")

    assert "None." in text_of(await alice.get("/desk/trades?show=disputed"))
    await two.a.store.write(dispute)
    two.a.client.kick(two.b.village)
    listed = text_of(await alice.get("/desk/trades?show=disputed"))
    assert "Waiting for an answer" not in listed.partition("Nothing happens by itself")[2]
    assert f"Disputed by Alice of {MISSOURI} , since" in listed and "It is <cracked>." in listed
    assert "Disputed trades 1" in text_of(await alice.get("/desk"))

    async def hears() -> bool:
        return "It is <cracked>." in text_of(await sam.get(f"/desk/trades/{made.id}"))

    await until(hears, "the other village hears of it")
    assert f"Alice of {MISSOURI} since" in text_of(sam.text)
    assert "<cracked>" not in sam.text

    def give_back(tx: Tx) -> Trade:
        bob = members.named(tx, "Bob")
        proposal = trade_delivery.refund(tx, bob, trades.by_subject(tx, made.subject))
        return trade_escrow.propose(tx, bob, proposal)

    back = await two.b.store.write(give_back)
    two.b.client.kick(MISSOURI)

    async def proposed() -> bool:
        return await two.a.store.read(lambda view: trades.find(view, back.subject)) is not None

    await until(proposed, "the refund has come")
    await accept(two.a, back, "Alice")
    two.a.client.kick(two.b.village)
    for box, who in ((two.a, alice), (two.b, sam)):

        async def is_over(box: WebBox = box) -> bool:
            return (await at(box, back)).status is Status.SETTLED

        await until(is_over, "it is given back")
        assert "None." in text_of(await who.get("/desk/trades?show=disputed"))
        seen = text_of(await who.get(f"/desk/trades/{made.id}"))
        assert "Given back" in seen and f"It was refunded: trade {back.id}." in seen
        assert "Disputed" not in seen and "Given back" in text_of(
            await who.get("/desk/trades?show=ended")
        )


async def test_an_undecided_one_can_be_tried_again(four: list[WebBox], browser: Open) -> None:
    a, b, c, _ = four
    proposal = Proposal(b.village, "Bob", *SIDES)
    made = await a.store.write(
        lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), proposal, 0)
    )
    await a.client.exchange(b.village)
    wire = a._wire
    await accept(b, made)
    wire.loses_answers = True
    with contextlib.suppress(Unreachable):
        await b.client.exchange(c.village)
    wire.cut = True
    steward: Browser = await browser(c)
    await steward.sign_in("Carol")
    await steward.get("/desk/trades")
    assert re.search(
        r'<a href="/desk/trades\?show=deciding">Of others: not decided yet \(1\)</a>', steward.text
    )
    shown = text_of(await steward.get("/desk/trades?show=deciding"))
    assert '<a href="/desk/trades?show=deciding">Of' not in steward.text
    assert "Not decided yet ose-a-001 offers" in shown
    assert "Waits for the box" in shown and "to show what is held to any 3 of the 4" in shown
    page = f"/desk/trades/{made.id}"
    assert "If a hold is never shown it may be said to be absent from" in text_of(
        await steward.get(page)
    )
    before = len(c.kicked)
    await steward.send(f"{page}/retry")
    silent = [f"{village} does not answer" for village in ("ose-a-001", "ose-b-001", "ose-d-001")]
    assert done_of(steward.text) == f"Asked now: {'; '.join(silent)}."
    assert c.kicked[before:] == ["ose-a-001", "ose-b-001", "ose-d-001"]
    await steward.post(
        f"{page}/abandon", {**steward.hidden(f"{page}/retry"), "sure": "yes", "form": "0" * 32}
    )
    assert steward.status == 409
    assert "only helps to decide trade" in error_of(steward.text)
