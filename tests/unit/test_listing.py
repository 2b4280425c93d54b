"""Listings as values: what an amount costs, what is a listing, how it is searched, and the terms of
gifts, which have one side."""

import itertools
import json
from fractions import Fraction
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core import limits, listing, messages, trade
from edge.core.accounts import TREASURY, Entry, is_balanced
from edge.core.council import Certificate, Seat, Vote
from edge.core.listing import Goods, Listing
from edge.core.messages import CosignatureLine, Exchange, Names, Push, SubjectMessage
from edge.core.trade import NOTHING, Quantity
from edge.errors import InvalidInput, Malformed
from tests.unit.examples import TERMS, A, B

replace = msgspec.structs.replace

FLOUR = Quantity("FLOUR", "resource", 3, 2_500)
PANEL = Quantity("SOLAR-PANEL", "resource", 0, 1)
PRICE = Quantity("AT", "token", 2, 3_33)
GOODS = Goods("offer", FLOUR, PRICE, "milled in May")
LISTING = Listing("0123456789abcdef", 7, 29_000_000, GOODS)

amounts = st.integers(1, limits.AMOUNT_MINOR_MAX)
prices = st.builds(
    Quantity,
    asset=st.just("WOOL"),
    kind=st.just("resource"),
    decimals=st.integers(0, limits.DECIMALS_MAX),
    amount=amounts,
)


# What an amount costs


@given(st.integers(0, limits.DECIMALS_MAX), prices, amounts)
def test_a_cost_is_never_too_little_and_never_a_unit_too_much(
    decimals: int, price: Quantity, minor: int
) -> None:
    goods = Goods("offer", replace(FLOUR, decimals=decimals), price, "")
    exact = Fraction(price.amount) * Fraction(minor, 10**decimals)
    found = listing.cost(goods, minor)
    assert exact <= found.amount < exact + 1
    wanted = listing.cost(replace(goods, side="want"), minor)
    assert exact - 1 < wanted.amount <= exact
    assert replace(found, amount=price.amount) == price
    assert found.amount > 0


@given(prices, amounts, amounts)
def test_two_parts_never_cost_less_than_the_whole(price: Quantity, one: int, other: int) -> None:
    goods = Goods("offer", FLOUR, price, "")
    parts = listing.cost(goods, one).amount + listing.cost(goods, other).amount
    assert 0 <= parts - listing.cost(goods, one + other).amount <= 1


@pytest.mark.parametrize(
    ("minor", "cost"), [(1_000, 3_33), (2_500, 8_33), (1, 1), (3, 1), (4, 2), (300, 1_00)]
)
def test_a_cost_is_rounded_in_favour_of_whoever_listed(minor: int, cost: int) -> None:
    """At 3.33 AT a kilogram."""
    assert listing.cost(GOODS, minor) == replace(PRICE, amount=cost)
    exact = 333 * minor / 1_000
    assert listing.cost(replace(GOODS, side="want"), minor).amount == int(exact)


def test_what_whoever_answers_gives_and_gets() -> None:
    item, paid = replace(FLOUR, amount=1_000), PRICE
    want = replace(GOODS, side="want")
    assert listing.sides(GOODS, 1_000) == (paid, item)
    assert listing.sides(want, 1_000) == (item, paid)
    assert listing.sides(replace(GOODS, price=None), 1_000) == (NOTHING, item)
    assert listing.sides(replace(want, price=None), 1_000) == (item, NOTHING)


# What is a listing

GOOD: list[Listing] = [
    LISTING,
    replace(LISTING, goods=None),
    replace(LISTING, version=limits.COUNTER_MINOR_MAX, ends_minute=limits.DEADLINE_MINUTE_MAX),
    replace(LISTING, goods=replace(GOODS, side="want", price=None, text="")),
    replace(LISTING, goods=replace(GOODS, price=PANEL)),
    replace(LISTING, goods=replace(GOODS, item=replace(FLOUR, amount=0))),  # all gone
    replace(LISTING, goods=replace(GOODS, text="ä" * limits.LISTING_TEXT_CHARS_MAX)),
]

BAD: dict[str, dict[str, Any]] = {
    "no id": {"id": ""},
    "a short id": {"id": "0123456789abcde"},
    "a long id": {"id": "0123456789abcdef0"},
    "an id in large letters": {"id": "0123456789ABCDEF"},
    "an id with a newline": {"id": "0123456789abcdef\n"},
    "an id in other digits": {"id": "٠١٢٣٤٥٦٧٨٩abcdef"},
    "version zero": {"version": 0},
    "a negative version": {"version": -1},
    "a version beyond exact numbers": {"version": limits.COUNTER_MINOR_MAX + 1},
    "it never began": {"ends_minute": 0},
    "it ends before time": {"ends_minute": -5},
    "it ends after time": {"ends_minute": limits.DEADLINE_MINUTE_MAX + 1},
}

BAD_GOODS: dict[str, dict[str, Any]] = {
    "less than nothing": {"item": replace(FLOUR, amount=-1)},
    "more than there can be": {"item": replace(FLOUR, amount=limits.AMOUNT_MINOR_MAX + 1)},
    "the token as goods": {"item": replace(PRICE, amount=1), "price": None},
    "another token as goods": {"item": Quantity("GOLD", "token", 2, 1)},
    "a code in small letters": {"item": replace(FLOUR, asset="flour")},
    "a code too long": {"item": replace(FLOUR, asset="F" * 33)},
    "seven decimals": {"item": replace(FLOUR, decimals=7)},
    "decimals below zero": {"item": replace(FLOUR, decimals=-1)},
    "a price of zero": {"price": replace(PRICE, amount=0)},
    "a price below zero": {"price": replace(PRICE, amount=-1)},
    "a price without end": {"price": replace(PRICE, amount=limits.AMOUNT_MINOR_MAX + 1)},
    "a price in the same goods": {"price": replace(FLOUR, amount=1)},
    "a price in the same goods by another count": {"price": replace(FLOUR, decimals=0)},
    "a price in AT of three decimals": {"price": replace(PRICE, decimals=3)},
    "a price in AT as goods": {"price": replace(PRICE, kind="resource")},
    "a price in AT as goods without decimals": {"price": Quantity("AT", "resource", 0, 1)},
    "a price in another token": {"price": replace(PRICE, asset="GOLD")},
    "a price in another token of three decimals": {"price": Quantity("GOLD", "token", 3, 1)},
    "a text too long": {"text": "x" * (limits.LISTING_TEXT_CHARS_MAX + 1)},
}


@pytest.mark.parametrize("good", GOOD)
def test_what_is_a_listing(good: Listing) -> None:
    listing.check(good)


@pytest.mark.parametrize("name", [*BAD, *BAD_GOODS])
def test_what_is_none(name: str) -> None:
    changes = BAD.get(name) or {"goods": replace(GOODS, **BAD_GOODS[name])}
    with pytest.raises(Malformed, match="a listing is not one"):
        listing.check(replace(LISTING, **changes))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("id",), 7),
        (("version",), 1.5),
        (("version",), "7"),
        (("ends_minute",), None),
        (("goods", "side"), "gift"),
        (("goods", "item"), None),
        (("goods", "item", "kind"), "labour"),
        (("goods", "price", "amount"), 1.0),
        (("goods", "text"), None),
        (("goods", "member"), 1),
        (("member",), "Alice"),
    ],
)
def test_what_cannot_even_be_read(path: tuple[str, ...], value: object) -> None:
    said: dict[str, Any] = json.loads(msgspec.json.encode(LISTING))
    assert msgspec.json.decode(json.dumps(said), type=Listing) == LISTING
    place = said
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(said), type=Listing)


def test_the_largest_message_is_no_larger_than_a_body() -> None:
    """Else two villages would have nothing more to say to each other."""
    villages = tuple(f"{'v' * 58}{which}-001" for which in "ab")
    most = Quantity("A" * 32, "resource", 6, limits.AMOUNT_MINOR_MAX)
    named = tuple((village, bytes(64)) for village in villages)
    terms = replace(
        TERMS,
        from_village=villages[0],
        to_village=villages[1],
        seats=tuple(Seat(village, bytes([at] * 32)) for at, village in enumerate(villages)),
        trade_id="t" * limits.TRADE_ID_CHARS_MAX,
        offer=most,
        request=replace(most, asset="B" * 32),
        deadline_minute=limits.DEADLINE_MINUTE_MAX,
        refund_of=bytes(32),
    )
    about = SubjectMessage(
        terms=msgspec.Raw(trade.encode_terms(terms)),
        from_signature=bytes(64),
        names=Names("😀" * 60, "😀" * 60, LISTING.id),
        withdrawn="cancelled",
        votes=tuple(Vote(village, 0, "precommit", "COMMIT", bytes(64)) for village in villages),
        certificate=Certificate("COMMIT", 0, named),
    )
    record = bytes(limits.PUSH_BYTES_MAX // limits.PUSH_RECORDS_MAX)
    goods = Goods(
        "offer", most, replace(most, asset="B" * 32), "😀" * limits.LISTING_TEXT_CHARS_MAX
    )
    listed = replace(LISTING, version=limits.COUNTER_MINOR_MAX, goods=goods)
    message = Exchange(
        protocol=limits.PROTOCOL_VERSION,
        sender=villages[0],
        network=bytes(32),
        have=limits.TREE_SIZE_MAX,
        entry_stamp_ms=limits.COUNTER_MINOR_MAX,
        push=Push(0, (record,) * limits.PUSH_RECORDS_MAX, (bytes(32),) * 63, "x" * 1_000),
        cosignature=CosignatureLine(limits.TREE_SIZE_MAX, "x" * 300),
        subjects=(about,) * limits.SUBJECTS_PER_MESSAGE_MAX,
        listings_have=limits.COUNTER_MINOR_MAX,
        listings=(listed,) * limits.LISTINGS_PER_MESSAGE_MAX,
    )
    entry_bytes_max = 64_000
    body = messages.encode(message)
    assert len(body) + entry_bytes_max < limits.BODY_BYTES_MAX
    assert messages.decode_exchange(body) == message


# Texts


def test_what_a_member_may_write() -> None:
    for good in ("", "fresh", "für 3 €, <b>today</b>", "x" * limits.LISTING_TEXT_CHARS_MAX):
        assert listing.text(good) == good
    for bad in (" ", "two\nlines", "a\x1b[31m", "b\u202ec", "x" * 501, " x", "a  b", "e\u0301"):
        with pytest.raises(InvalidInput):
            listing.text(bad)


@pytest.mark.parametrize(
    ("typed", "same"),
    [
        ("SOLAR-PANEL", "solar panel"),
        ("Crème Brûlée", "creme brulee"),
        ("Ｆｌｏｕｒ", "flour"),
        ("ＳＯＬＡＲ－ＰＡＮＥＬ", "solar panel"),
        ("Straße", "STRASSE"),
        ("İSTANBUL", "istanbul"),
        ("ΣΟΦΟΣ", "σοφος"),
        ("𝐀pples", "apples"),
        ("℡", "tel"),
        ("ﬁne", "FINE"),
        ("Żółw", "zołw"),
    ],
)
def test_texts_that_are_found_alike(typed: str, same: str) -> None:
    assert listing.search_text(typed) == listing.search_text(same)


@given(st.text(max_size=40))
def test_what_is_looked_for_is_looked_for_once(typed: str) -> None:
    """Folding again changes nothing, so that any text finds itself, whoever has folded it."""
    once = listing.search_text(typed)
    assert listing.search_text(once) == once
    assert "-" not in once


# Gifts

GIFT = replace(TERMS, offer=PANEL, request=NOTHING, from_fee=0)
ASKED = replace(TERMS, offer=NOTHING, request=PANEL, from_fee=0)


@pytest.mark.parametrize("terms", [GIFT, ASKED, replace(GIFT, offer=replace(PRICE, amount=1))])
def test_a_gift_is_on_terms(terms: trade.Terms) -> None:
    assert trade.decode_terms(trade.encode_terms(terms)) == terms


@pytest.mark.parametrize(
    "changes",
    [
        {"offer": NOTHING, "request": NOTHING},
        {"offer": NOTHING, "request": replace(PANEL, amount=0)},
        {"offer": replace(PANEL, amount=0), "request": NOTHING},
        {"offer": replace(NOTHING, decimals=0), "request": PANEL},
        {"offer": replace(NOTHING, kind="resource"), "request": PANEL},
        {"offer": Quantity("GOLD", "token", 2, 0), "request": PANEL},
        {"offer": Quantity("GOLD", "token", 3, 1), "request": PANEL},
        {"offer": replace(NOTHING, amount=-1), "request": PANEL},
    ],
)
def test_a_gift_of_nothing_is_none(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        trade.decode_terms(trade.encode_terms(replace(TERMS, **changes)))


def test_the_legs_of_a_gift() -> None:
    assert trade.entries(GIFT, "from", "member:1") == [
        Entry("member:1", "SOLAR-PANEL", -1),
        Entry(f"clearing:{B}", "SOLAR-PANEL", 1),
    ]
    assert trade.entries(GIFT, "to", "member:7") == [
        Entry("member:7", "SOLAR-PANEL", 1),
        Entry(f"clearing:{A}", "SOLAR-PANEL", -1),
    ]
    assert trade.entries(ASKED, "from", "member:1") == [
        Entry("member:1", "SOLAR-PANEL", 1),
        Entry(f"clearing:{B}", "SOLAR-PANEL", -1),
    ]


@given(st.sampled_from((GIFT, ASKED, TERMS)), amounts, st.integers(0, 9), st.integers(0, 9))
def test_legs_skip_zero_sum_to_zero_and_mirror(
    terms: trade.Terms, amount: int, from_fee: int, to_fee: int
) -> None:
    side = "offer" if terms.offer.amount else "request"
    terms = replace(
        terms,
        from_fee=from_fee,
        to_fee=to_fee,
        **{side: replace(getattr(terms, side), amount=amount)},
    )
    for role in get_args(trade.Role):
        entries = trade.entries(terms, role, "member:1")
        assert is_balanced(entries)
        assert all(entry.amount for entry in entries)
        fee = from_fee if role == "from" else to_fee
        assert sum(e.amount for e in entries if e.account == TREASURY) == fee
    ours, theirs = (trade.clearing_entries(terms, role) for role in get_args(trade.Role))
    assert [(e.asset, e.amount) for e in ours] == [(e.asset, -e.amount) for e in theirs]
    assert [e.account for e in ours + theirs] == [f"clearing:{B}"] * len(ours) + [
        f"clearing:{A}"
    ] * len(ours)


def test_nothing_costs_no_fee() -> None:
    for points, side in itertools.product((0, 1, 10_000), (None, ("Flour", "9"))):
        assert trade.fee(side, points) == 0
