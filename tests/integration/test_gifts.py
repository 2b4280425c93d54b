"""Gifts, trades at home from the first page, and what the market says of a listing that was made or
taken back: over real HTTP, with a real store and a neighbour in the same process."""

import re

import pytest

from edge import desk
from edge.core.trade import Status
from edge.storage import deals, trades
from edge.web import history
from tests.integration.two_villages import Two, text_of, two
from tests.integration.web_boxes import (
    CALIFORNIA,
    MISSOURI,
    START_MS,
    Browser,
)

DAY_MS = 86_400_000


__all__ = ["two"]  # a fixture


def notice_of(page: str) -> str:
    found = re.findall(r'<p class="notice" role="status">(.*?)</p>', page, re.S)
    return text_of(" ".join(found))


async def propose(who: Browser, village: str, user: str, **sides: str) -> str:
    await who.get()
    fields = {"give_amount": "", "give_asset": "AT", "get_amount": "", "get_asset": ""} | sides
    return text_of(await who.send("/propose", to_village=village, to_user=user, **fields))


async def test_a_trade_with_somebody_of_the_own_village(two: Two) -> None:
    await two.a.store.write(lambda tx: desk.declare(tx, "Carol", "Goat Milk", "3"))
    said = await propose(
        two.alice, MISSOURI, "carol", give_amount="6", get_amount="2", get_asset="Goat_Milk"
    )
    assert two.alice.url.path.startswith("/deals/")
    assert "Waiting for Carol to accept or decline. Your 6.00 AT are set aside" in said
    [deal] = await two.a.store.read(deals.pending)
    assert "Your 2 Goat Milk for 6.00 AT" in text_of(await two.carol.get())
    said = text_of(await two.carol.send(f"/deals/{deal.id}/accept"))
    assert "Done: you gave 2 Goat Milk and got 6.00 AT." in said


async def test_the_same_form_twice_is_one_trade_at_home(two: Two) -> None:
    await two.alice.get()
    fields = two.alice.hidden("/propose") | {
        "to_village": MISSOURI, "to_user": "Carol",
        "give_amount": "1", "give_asset": "AT", "get_amount": "", "get_asset": "",
    }  # fmt: skip
    pages = {text_of(await two.alice.post("/propose", fields)) for _ in range(2)}
    assert len(pages) == 1
    assert len(await two.a.store.read(deals.pending)) == 1


@pytest.mark.parametrize("asset", ["AT", "Solar Panel"])
async def test_a_gift_between_villages(two: Two, asset: str) -> None:
    if asset == "AT":
        await propose(two.alice, CALIFORNIA, "Bob", give_amount="5")
        giver, taker, box, what = two.alice, two.bob, two.b, "5.00 AT"
    else:
        await propose(two.bob, MISSOURI, "Alice", give_amount="1", give_asset="SOLAR-PANEL")
        giver, taker, box, what = two.bob, two.alice, two.a, "1 Solar Panel"
    [known] = await box.store.read(trades.everyone)
    await two.a.client.exchange(CALIFORNIA)
    assert f"{what} as a gift to you" in text_of(await taker.get())
    assert f"Accept the gift: {what}" in text_of(taker.text)
    said = text_of(await taker.send(f"/trades/{known.id}/accept"))
    assert f"Done, in both ledgers: you got {what} as a gift." in said
    assert f"You get {what}, as a gift" in said
    assert f"Your {what} as a gift" in text_of(await giver.get())
    receipts = text_of(await giver.get("/wallet/receipts"))
    assert f"Your {what} as a gift" in receipts and "for nothing" not in receipts


async def test_a_gift_is_asked_for(two: Two) -> None:
    await propose(two.alice, MISSOURI, "Carol", get_amount="1", get_asset="AT")
    [deal] = await two.a.store.read(deals.pending)
    assert (deal.offer, deal.request) == (("AT", 0), ("AT", 100))
    said = text_of(await two.carol.get())
    assert "Your 1.00 AT as a gift" in said
    assert "Alice asks for this as a gift" in said
    assert "Accept: give 1.00 AT as a gift" in said
    await two.carol.send(f"/deals/{deal.id}/reject")
    [ended] = await two.a.store.read(deals.everyone)
    assert ended.status is Status.REJECTED


async def test_a_listing_says_that_it_is_there_and_that_it_is_gone(two: Two) -> None:
    await two.a.store.write(lambda tx: desk.declare(tx, "Alice", "Goat Milk", "3"))
    await two.alice.get("/market/new")
    await two.alice.send("/market/new", item="Goat Milk", quantity="2")
    assert notice_of(two.alice.text).startswith("Listed. ")
    path = two.alice.url.path
    assert notice_of(await two.alice.get(path)) == ""
    listed = str(two.alice.url.update_query(listed="0" * 32).relative())
    assert notice_of(await two.alice.get(listed)) == ""
    await two.alice.get(path)
    fields = two.alice.hidden(f"{path}/take-back")
    for _ in range(2):  # the second time it says the same
        await two.alice.post(f"{path}/take-back", fields)
        assert two.alice.status == 200
        assert notice_of(two.alice.text).startswith("Your listing is taken back")
    place = str(two.alice.url.relative())
    for who in (two.carol, two.alice):
        await who.get(place if who is two.carol else "/market?mine=1")
        assert (who.status, notice_of(who.text)) == (200, "")


async def test_who_answers_a_neighbour_is_told_who_sees_the_name(two: Two) -> None:
    await two.bob.get("/market/new")
    await two.bob.send("/market/new", item="Solar Panel", quantity="2", price="3")
    path = two.bob.url.path
    await two.a.client.exchange(CALIFORNIA)
    said = "Your name goes with it to Sonoma Hills"
    assert said in text_of(await two.alice.get(path))
    await two.a.store.write(lambda tx: desk.declare(tx, "Carol", "Goat Milk", "3"))
    await two.carol.get("/market/new")
    await two.carol.send("/market/new", item="Goat Milk", quantity="2")
    assert "Your name goes" not in text_of(await two.alice.get(two.carol.url.path))


async def test_a_statement_offers_no_month_before_the_village(two: Two) -> None:
    months = re.compile(r'<option value="(\d{4}-\d\d)"')
    assert months.findall(await two.alice.get("/wallet")) == ["2026-11"]
    two.a.now_ms += 70 * DAY_MS
    for page in ("/wallet", "/wallet/statement"):
        assert months.findall(await two.alice.get(page)) == [
            "2027-02",
            "2027-01",
            "2026-12",
            "2026-11",
        ]
    assert len(history.months(START_MS + 900 * DAY_MS, START_MS)) == history.MONTHS_OFFERED
    assert len(history.months(START_MS - 90 * DAY_MS, START_MS)) == 1  # a clock that was put back
