"""A lying neighbour's listings, and its answers to ours. Each lie has its error or is passed over;
nothing else of the village changes, and nothing that is said later is refused for it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import pytest

from edge import market, trade_escrow
from edge.core import limits, messages
from edge.core.listing import Goods, Listing
from edge.core.messages import Names
from edge.core.trade import Quantity
from edge.errors import BoxError, Malformed, TooLarge, WrongState
from edge.federation_client import ROUNDS_MAX
from edge.market import Ask
from edge.storage import audit, listings, neighbours
from edge.storage.listings import Listed, Query
from tests.answering import answering
from tests.integration.liar import (
    HONEST,
    HUNDRED,
    LIAR,
    PANEL,
    Liar,
    accept,
    alice,
    digest,
    honest_village,
    look_at,
    propose,
    the_trade,
)
from tests.simulation.world import Village

replace = msgspec.structs.replace

WOOL: Final = Quantity("WOOL", "resource", 1, 30)
AT: Final = Quantity("AT", "token", 2, 3_00)
GOODS: Final = Goods("offer", WOOL, AT, "undyed")
THIRD: Final = "ose-texas-001"


@pytest.fixture
def honest() -> Village:
    """With a listing of Alice's."""
    village = honest_village()
    ask = Ask("offer", "Solar Panel", "2", price="100", text="100 W each")
    village.now(lambda tx: market.list_goods(tx, alice(village), ask))
    return village


@pytest.fixture
def liar(honest: Village) -> Liar:
    return Liar(honest)


def told(number: int = 1, **changes: Any) -> Listing:
    """A good listing of the liar's, of which the number is id and version."""
    made = Listing(f"{number:016x}", number, 29_400_000, GOODS)
    return replace(made, **changes)


def shown(village: Village, of: str = LIAR) -> list[Listed]:
    minute = village.clock_ms() // limits.MINUTE_MS
    return village.look(lambda view: listings.search(view, Query(village=of), minute))


def numbers(village: Village) -> list[int]:
    return sorted(int(each.id, 16) for each in shown(village))


@contextmanager
def refused(village: Village, error: type[BoxError]) -> Iterator[None]:
    """What is said in here is refused with exactly this error, and changes nothing."""
    before = digest(village)
    with pytest.raises(BoxError) as caught:
        yield
    assert type(caught.value) is error
    assert digest(village) == before


def is_heard(liar: Liar) -> None:
    """What is said later is heard: a good listing, and a proposal."""
    fresh = told(77, version=limits.COUNTER_MINOR_MAX)
    liar.say(liar.proposal(), listings=(fresh,))
    assert 77 in numbers(liar.honest)
    assert the_trade(liar.honest).status == "PENDING"
    liar.honest.look(audit.audit)


def goods(**changes: Any) -> Listing:
    return told(goods=replace(GOODS, **changes))


LIES: dict[str, tuple[type[BoxError], tuple[Listing, ...]]] = {
    "an id that is none": (Malformed, (told(id="'; DROP TABLE listing"),)),
    "an id with markup": (Malformed, (told(id="<b>0123456789ab"),)),
    "no version": (Malformed, (told(version=0),)),
    "a negative version": (Malformed, (told(version=-(2**60)),)),
    "a version beyond exact numbers": (Malformed, (told(version=2**53),)),
    "a version beyond 64 bits": (Malformed, (told(version=10**30),)),
    "an end below zero": (Malformed, (told(ends_minute=-1),)),
    "an end beyond 64 bits": (Malformed, (told(ends_minute=10**30),)),
    "a negative amount": (Malformed, (goods(item=replace(WOOL, amount=-1)),)),
    "an enormous amount": (Malformed, (goods(item=replace(WOOL, amount=10**30)),)),
    "AT as goods": (Malformed, (goods(item=AT, price=None),)),
    "another token as goods": (Malformed, (goods(item=replace(WOOL, kind="token")),)),
    "a price below zero": (Malformed, (goods(price=replace(AT, amount=-1)),)),
    "a price of zero": (Malformed, (goods(price=replace(AT, amount=0)),)),
    "a price in itself": (Malformed, (goods(price=replace(WOOL, amount=1)),)),
    "a price in another token": (Malformed, (goods(price=Quantity("GOLD", "token", 3, 1)),)),
    "AT of another kind": (Malformed, (goods(price=replace(AT, kind="resource")),)),
    "a code with markup": (Malformed, (goods(item=replace(WOOL, asset="<I>")),)),
    "decimals without end": (Malformed, (goods(item=replace(WOOL, decimals=10**9)),)),
    "a text too long": (Malformed, (goods(text="x" * 501),)),
    "a good one, then one that is none": (Malformed, (told(1), told(2, version=0))),
    "one too many": (
        TooLarge,
        tuple(told(n + 1) for n in range(limits.LISTINGS_PER_MESSAGE_MAX + 1)),
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_listing_that_is_none(honest: Village, liar: Liar, name: str) -> None:
    error, said = LIES[name]
    liar.say(listings=(told(5, version=1),))
    with refused(honest, error):
        liar.say(liar.proposal(), listings=said)
    assert numbers(honest) == [5]
    is_heard(liar)


RAW: dict[str, tuple[bytes, bytes]] = {
    "a side that is none": (b'"side":"offer"', b'"side":"gift"'),
    "a kind that is none": (b'"kind":"resource"', b'"kind":"labour"'),
    "a member": (b'"side":"offer"', b'"side":"offer","member":1'),
    "half an amount": (b'"amount":30}', b'"amount":1.5}'),
    "a number as text": (b'"text":"undyed"', b'"text":7'),
    "goods that are a list": (b'"goods":{"side"', b'"goods":[],"x":{"side"'),
    "no version": (b'"version":1,', b""),
}


@pytest.mark.parametrize("name", RAW)
def test_a_listing_that_cannot_be_read(honest: Village, liar: Liar, name: str) -> None:
    good, bad = RAW[name]
    body = messages.encode(replace(liar.message(), listings=(told(),)))
    assert body.count(good) == 1
    with refused(honest, Malformed):
        liar.send(body.replace(good, bad))
    is_heard(liar)


@pytest.mark.parametrize(
    "text", ["\x1b[2Jgone", "a\nb", "a\u202eb", "e\u0301", "\ud7ff\U0003fffd", "  two", "\0"]
)
def test_a_text_that_cannot_be_shown_is_passed_over(honest: Village, liar: Liar, text: str) -> None:
    liar.say(liar.proposal(), listings=(goods(text=text), told(2)))
    assert numbers(honest) == [2]
    assert the_trade(honest).status == "PENDING"


def test_markup_is_only_text(honest: Village, liar: Liar) -> None:
    text = "<script>alert(1)</script> {{ 7*7 }} & 'x' \" %s"
    liar.say(listings=(goods(text=text),))
    assert [each.goods.text for each in shown(honest)] == [text]
    is_heard(liar)


def test_one_id_twice_in_a_message(honest: Village, liar: Liar) -> None:
    """The greater version counts, in whatever order."""
    more = replace(GOODS, text="more of it")
    liar.say(listings=(told(1, version=2, goods=more), told(1, version=1)))
    liar.say(listings=(told(3, version=3), told(3, version=4, goods=more)))
    assert {each.goods.text for each in shown(honest)} == {"more of it"}
    liar.say(listings=(told(5, version=5), told(5, version=6, goods=None), told(5, version=5)))
    assert numbers(honest) == [1, 3]
    is_heard(liar)


def test_one_version_for_all(honest: Village, liar: Liar) -> None:
    liar.say(listings=tuple(told(number, version=9) for number in range(1, 6)))
    assert numbers(honest) == [1, 2, 3, 4, 5]
    liar.say(listings=tuple(told(number, version=9, goods=None) for number in range(1, 6)))
    assert numbers(honest) == [1, 2, 3, 4, 5]
    is_heard(liar)


def test_the_greatest_version_costs_the_liar_alone(honest: Village, liar: Liar) -> None:
    """Nothing that it lists later is newer."""
    answer = liar.say(listings=(told(1, version=limits.COUNTER_MINOR_MAX),))
    assert answer.listings_have == limits.COUNTER_MINOR_MAX
    liar.say(liar.proposal(), listings=(told(2),))
    assert numbers(honest) == [1]
    assert the_trade(honest).status == "PENDING"
    honest.look(audit.audit)


def test_listings_that_are_over_or_never_end(honest: Village, liar: Liar) -> None:
    now = honest.clock_ms() // limits.MINUTE_MS
    far = limits.DEADLINE_MINUTE_MAX
    liar.say(listings=(told(1, ends_minute=1), told(2, ends_minute=far)))
    [found] = shown(honest)
    ninety_days = (limits.LISTING_S_MAX + limits.CLOCKS_APART_S_MAX) // 60
    assert found.ends_minute == now + ninety_days
    honest.now(trade_escrow.expire)
    honest.world.now_ms += (ninety_days + 1) * limits.MINUTE_MS
    honest.now(trade_escrow.expire)
    (count,) = honest.conn.execute(
        "SELECT count(*) FROM listing WHERE village = ?", (LIAR,)
    ).fetchone()
    assert count == 0


def test_it_keeps_no_more_than_its_share(
    honest: Village, liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LISTINGS_PER_NEIGHBOUR_MAX", 10)
    for start in range(1, 90, 9):
        liar.say(listings=tuple(told(number) for number in range(start, start + 9)))
        ids = [int(each.id, 16) for each in shown(honest)]
        gone = [told(id_, version=1_000 * start + id_, goods=None) for id_ in ids[:5]]
        liar.say(listings=tuple(gone))
    (count,) = honest.conn.execute(
        "SELECT count(*) FROM listing WHERE village = ?", (LIAR,)
    ).fetchone()
    assert count <= 2 * 10
    assert len(shown(honest, HONEST)) == 1


# What belongs to others


def rows_of(village: Village, of: str) -> list[tuple[Any, ...]]:
    found = village.conn.execute("SELECT * FROM listing WHERE village = ? ORDER BY id", (of,))
    return found.fetchall()


def test_it_cannot_touch_anothers_listings(honest: Village, liar: Liar) -> None:
    """Not the village's own, nor those of a third one, by using their ids."""
    third = honest.world.village(THIRD)
    honest.world.befriend(third, honest)
    ours = shown(honest, HONEST)[0].id
    theirs = told(3, id="fedcba9876543210")
    honest.now(lambda tx: listings.keep(tx, THIRD, 0, [theirs]))
    before = rows_of(honest, HONEST), rows_of(honest, THIRD)
    for id_ in (ours, theirs.id):
        for ahead, what in ((9, GOODS), (8, None)):
            version = limits.COUNTER_MINOR_MAX - ahead
            liar.say(listings=(told(id=id_, version=version, goods=what),))
    assert (rows_of(honest, HONEST), rows_of(honest, THIRD)) == before
    assert honest.look(lambda view: neighbours.named(view, THIRD)).listings_have == 0
    is_heard(liar)


def test_its_ids_do_not_hide_our_own(honest: Village, liar: Liar) -> None:
    ours = shown(honest, HONEST)[0]
    liar.say(listings=(told(id=ours.id),))
    assert shown(honest, HONEST) == [ours]
    liar.say(answer_to(liar, ours.id))
    assert the_trade(honest).to_user == "Alice"


# What it says that it has


def test_it_says_that_it_has_what_is_not_there_yet(honest: Village, liar: Liar) -> None:
    """Then it is told nothing; and told all again when it says that it has nothing."""
    for have in (limits.COUNTER_MINOR_MAX, 2**52):
        assert liar.say(listings_have=have).listings == ()
    [said] = liar.say(listings_have=0).listings
    assert said.goods is not None
    assert (said.goods.item.amount, said.goods.text) == (2, "100 W each")
    assert liar.say(listings_have=said.version).listings == ()


@pytest.mark.parametrize("have", [-1, 2**53, 10**30])
def test_it_says_that_it_has_a_version_that_is_none(honest: Village, liar: Liar, have: int) -> None:
    with refused(honest, Malformed):
        liar.say(listings_have=have)
    is_heard(liar)


def test_the_same_full_message_over_and_over_is_not_more_of_them(
    honest: Village, liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A village goes on exchanging while there is more to come: not while it is told the same."""
    monkeypatch.setattr(limits, "LISTINGS_PER_MESSAGE_MAX", 3)
    answers = 0

    class Repeating:
        async def answer(self, village: str, body: bytes) -> bytes:
            nonlocal answers
            answers += 1
            liar.listen(body)
            said = replace(liar.message(), listings=tuple(told(n) for n in (1, 2, 3)))
            return messages.encode(said)

    honest.world.strangers[LIAR] = Repeating()
    asyncio.run(honest.client.exchange(LIAR))
    assert answers < 10 < ROUNDS_MAX
    assert numbers(honest) == [1, 2, 3]


# Answering our listings


def answer_to(liar: Liar, id_: str, **changes: Any) -> messages.SubjectMessage:
    """Return the liar's proposal that answers a listing: a hundred AT for a solar panel."""
    terms = liar.terms(**({"offer": HUNDRED, "request": PANEL} | changes))
    return liar.proposal(terms, names=Names("Bob", "", id_))


@pytest.mark.parametrize("id_", ["x", "0123456789ABCDEF", "0" * 17, "' OR 1=1", "\x1b[2J"])
def test_a_proposal_that_answers_no_id(honest: Village, liar: Liar, id_: str) -> None:
    with refused(honest, Malformed):
        liar.say(answer_to(liar, id_))
    is_heard(liar)


def test_a_proposal_that_answers_what_is_not_listed_here(honest: Village, liar: Liar) -> None:
    """Not the liar's own listing either; and whoever it names besides hears nothing of it."""
    liar.say(listings=(told(1),))
    for number, id_ in enumerate((told(1).id, "0" * 16)):
        said = answer_to(liar, id_, trade_id=f"t{number}")
        said = replace(said, names=Names("Bob", "Alice", id_))
        answer = liar.say(said)
        assert [each.withdrawn for each in answer.subjects if each.terms == said.terms] == [
            "rejected"
        ]
    assert honest.conn.execute(
        "SELECT count(*) FROM trade WHERE member IS NOT NULL"
    ).fetchone() == (0,)


def test_who_listed_it_is_not_told_before_somebody_is_bound(honest: Village, liar: Liar) -> None:
    id_ = shown(honest, HONEST)[0].id
    said = answer_to(liar, id_)
    for message in (said, said, replace(said, names=None), replace(said, withdrawn="cancelled")):
        answer = liar.say(message)
        assert b"Alice" not in messages.encode(answer)
    assert the_trade(honest).status == "CANCELLED"


def test_it_asks_for_more_than_is_listed(honest: Village, liar: Liar) -> None:
    id_ = shown(honest, HONEST)[0].id
    liar.say(answer_to(liar, id_, request=replace(PANEL, amount=3)))
    known = the_trade(honest)
    with pytest.raises(WrongState, match="your listing has only 2 Solar Panel left"):
        accept(honest, known)
    assert look_at(honest, known).status == "PENDING"
    assert shown(honest, HONEST)[0].goods.item.amount == 2


def test_it_names_whom_our_own_proposal_goes_to(honest: Village, liar: Liar) -> None:
    """Of a listing that was answered, once; never of a proposal to somebody by name."""
    liar.say(listings=(told(1, goods=replace(GOODS, item=replace(PANEL, amount=9))),))
    asked = honest.look(lambda view: answering(view, LIAR, told(1).id, "1"))
    by_listing = propose(
        honest, "", offer=asked.offer, request=asked.request, listing=asked.listing
    )
    by_name = propose(honest)
    with refused(honest, Malformed):
        liar.say(liar.about(by_listing, names=Names("", "\x1b[2J")))
    for known in (by_listing, by_name):
        for to_user in ("", "Eve", "Mallory", ""):
            liar.say(liar.about(known, names=Names("", to_user)))
    assert [look_at(honest, known).to_user for known in (by_listing, by_name)] == ["Eve", "Bob"]
