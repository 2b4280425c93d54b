"""What comes after a settled trade: legs, refunds, and the book of what is still owed."""

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core import delivery, records, trade
from edge.core.accounts import Entry, is_balanced
from edge.core.delivery import Leg, Owed, Stand, Word
from edge.core.replay import Delivery, said_in
from edge.core.trade import CARRIED_OUT, Quantity, Role, Status, Terms
from edge.errors import InvalidInput, Refused, WrongState
from tests.unit.examples import RECORDS, SUBJECT, TERMS, A, B

replace = msgspec.structs.replace
AT, PANEL = TERMS.offer, TERMS.request
FLOUR = Quantity("FLOUR", "resource", 3, 2_500)
ROLES: tuple[Role, Role] = ("from", "to")
BARTER = replace(TERMS, offer=FLOUR, request=replace(PANEL, amount=2))
GIFT = replace(TERMS, request=trade.NOTHING)
OTHER = bytes(range(32))


def refund(original: Terms = TERMS, by: Role = "to", **more: Any) -> Terms:
    """The whole refund of a trade, proposed by one side of it."""
    gives, gets = delivery.refund_sides(original, by, ())
    villages = (A, B) if by == "from" else (B, A)
    made = replace(
        original,
        from_village=villages[0],
        to_village=villages[1],
        offer=gives,
        request=gets,
        refund_of=SUBJECT,
    )
    return replace(made, **more)


# Legs


def test_goods_are_delivered_and_at_is_not() -> None:
    assert delivery.legs(TERMS) == (Leg(PANEL, "from"),)
    assert delivery.legs(BARTER) == (Leg(FLOUR, "to"), Leg(BARTER.request, "from"))
    assert delivery.legs(GIFT) == delivery.legs(refund()) == delivery.legs(refund(BARTER)) == ()
    assert delivery.leg_of(TERMS, "from") == Leg(PANEL, "from")
    assert delivery.leg_of(TERMS, "to", receives=False) == Leg(PANEL, "from")
    assert delivery.leg_of(TERMS, "to") is delivery.leg_of(TERMS, "from", receives=False) is None


@pytest.mark.parametrize("terms", [TERMS, BARTER, replace(TERMS, offer=PANEL, request=AT)])
@pytest.mark.parametrize("role", ROLES)
def test_delivered_reverses_what_was_cleared(terms: Terms, role: Role) -> None:
    for leg in delivery.legs(terms):
        moved = delivery.entries(terms, leg, role)
        assert is_balanced(moved)
        of_trade = {each.asset: each for each in trade.clearing_entries(terms, role)}
        cleared = of_trade[leg.goods.asset]
        assert moved[0] == replace(cleared, amount=-cleared.amount)
        begins = leg.receiver == role
        assert moved[1] == Entry("issuance", leg.goods.asset, leg.goods.amount * (1 - 2 * begins))


# Status

_WORDS = st.lists(
    st.builds(
        Word,
        st.sampled_from(["delivered", "disputed"]),
        st.sampled_from(["FLOUR", "SOLAR-PANEL", "AT", "JUNK"]),
    ),
    max_size=6,
)


@given(st.sampled_from([TERMS, BARTER, GIFT]), st.sampled_from(ROLES), _WORDS, _WORDS)
def test_a_status_follows_from_what_both_logs_say(
    terms: Terms, role: Role, ours: list[Word], theirs: list[Word]
) -> None:
    so_far = delivery.stand(terms, role, ours, theirs)
    goods = {leg.goods.asset for leg in delivery.legs(terms)}
    found = delivery.status(terms, so_far)
    assert found in CARRIED_OUT
    assert (found is Status.DELIVERED) == (bool(goods) and goods <= so_far.delivered)
    for leg in delivery.legs(terms):
        log = ours if leg.receiver == role else theirs
        assert (leg.goods.asset in so_far.disputed) == (Word("disputed", leg.goods.asset) in log)
    assert so_far.disputed <= goods
    if not goods:
        assert found is Status.SETTLED


def test_every_change_of_it_is_a_step_of_the_table() -> None:
    """But out of DELIVERED, which nothing leaves."""
    for before, after in itertools.product(CARRIED_OUT, CARRIED_OUT):
        step = delivery.event(before, after)
        if step is None:
            assert before is after
        elif before is Status.DELIVERED:
            with pytest.raises(WrongState):
                trade.after(before, step)
        else:
            assert trade.after(before, step) is after
    assert delivery.status(TERMS, Stand(frozenset(), frozenset({"SOLAR-PANEL"}))) is Status.DISPUTED


# Refunds


@pytest.mark.parametrize("by", ROLES)
@pytest.mark.parametrize("original", [TERMS, BARTER])
def test_a_whole_refund_is_one(original: Terms, by: Role) -> None:
    made = refund(original, by)
    delivery.check_refund(made, original, ())
    other = replace(original, refund_of=None)
    back = {each.asset: each.amount for each in trade.clearing_entries(made, by_role(made, A))}
    forth = {each.asset: each.amount for each in trade.clearing_entries(other, "from")}
    assert back == {asset: -amount for asset, amount in forth.items()}


def by_role(terms: Terms, village: str) -> Role:
    return "from" if terms.from_village == village else "to"


def test_a_part_of_the_at_is_given_back_with_all_the_goods() -> None:
    gives, gets = delivery.refund_sides(TERMS, "to", (), 40_00)
    assert (gives.asset, gives.amount) == ("AT", 40_00) and gets == TERMS.request
    assert delivery.refund_sides(TERMS, "from", (), 0) == (TERMS.request, trade.NOTHING)
    assert delivery.refund_sides(TERMS, "to", (), TERMS.offer.amount)[0] == TERMS.offer
    with pytest.raises(InvalidInput, match="more cannot be given back"):
        delivery.refund_sides(TERMS, "to", (), TERMS.offer.amount + 1)
    with pytest.raises(InvalidInput, match="no AT was paid"):
        delivery.refund_sides(BARTER, "to", (), 1)


def test_goods_that_came_are_left_out() -> None:
    assert delivery.refund_sides(BARTER, "to", {"FLOUR"}) == (trade.NOTHING, BARTER.request)
    made = refund(BARTER, offer=trade.NOTHING)
    delivery.check_refund(made, BARTER, {"FLOUR"})
    with pytest.raises(WrongState, match="it has been delivered"):
        delivery.check_refund(refund(BARTER), BARTER, {"FLOUR"})
    for terms, gone in ((TERMS, {"SOLAR-PANEL"}), (GIFT, set()), (refund(), set())):
        with pytest.raises(WrongState, match="nothing is to be refunded"):
            delivery.refund_sides(terms, "from", gone)


@pytest.mark.parametrize(
    "made",
    [
        refund(from_village=A, to_village=B),
        refund(to_village="ose-ohio-001"),
        refund(offer=replace(AT, amount=AT.amount + 1)),
        refund(request=replace(PANEL, amount=2)),
        refund(BARTER, request=replace(PANEL, amount=1), offer=trade.NOTHING),
        refund(request=replace(PANEL, decimals=1)),
        refund(request=replace(PANEL, asset="PANEL")),
        refund(request=trade.NOTHING),
        refund(offer=FLOUR),
    ],
)
def test_what_is_no_refund(made: Terms) -> None:
    original = BARTER if made.offer == trade.NOTHING else TERMS
    with pytest.raises(InvalidInput):
        delivery.check_refund(made, original, ())


def test_a_part_of_the_at_may_be_given_back() -> None:
    delivery.check_refund(refund(offer=replace(AT, amount=1)), TERMS, ())
    delivery.check_refund(refund(offer=trade.NOTHING), TERMS, ())


# What a log's records may say, one after another


def owed(original: Terms = TERMS, role: Role = "from") -> Owed:
    book = Owed()
    book.hold(original)
    book.end(SUBJECT, original, role, "COMMIT")
    return book


def test_delivered_once_and_only_what_is_owed() -> None:
    book = owed()
    assert book.deliver(SUBJECT, "SOLAR-PANEL") == delivery.entries(
        TERMS, Leg(PANEL, "from"), "from"
    )
    for subject, asset in ((SUBJECT, "SOLAR-PANEL"), (SUBJECT, "AT"), (OTHER, "SOLAR-PANEL")):
        for say in (book.deliver, book.dispute):
            with pytest.raises(WrongState):
                say(subject, asset)
    released = Owed()
    released.end(SUBJECT, TERMS, "from", "ABORT")
    with pytest.raises(WrongState):
        released.deliver(SUBJECT, "SOLAR-PANEL")


def test_a_dispute_is_the_receivers_and_once() -> None:
    book = owed()
    book.dispute(SUBJECT, "SOLAR-PANEL")
    with pytest.raises(WrongState):
        book.dispute(SUBJECT, "SOLAR-PANEL")
    book.deliver(SUBJECT, "SOLAR-PANEL")
    with pytest.raises(WrongState):
        owed(role="to").dispute(SUBJECT, "SOLAR-PANEL")


@pytest.mark.parametrize("role", ROLES)
def test_delivered_or_refunded_never_both(role: Role) -> None:
    book = owed(role=role)
    book.hold(refund())
    for again in (lambda: book.deliver(SUBJECT, "SOLAR-PANEL"), lambda: book.hold(refund())):
        with pytest.raises(WrongState, match="it is refunded by another trade"):
            again()
    book.end(OTHER, refund(), "to" if role == "from" else "from", "ABORT")
    book.deliver(SUBJECT, "SOLAR-PANEL")
    with pytest.raises(WrongState):
        book.hold(refund())
    book = owed(role=role)
    book.hold(refund())
    book.end(OTHER, refund(), "to", "COMMIT")
    for never in (lambda: book.deliver(SUBJECT, "SOLAR-PANEL"), lambda: book.hold(refund())):
        with pytest.raises(WrongState):
            never()


_SAID = st.lists(
    st.sampled_from(
        ["hold", "hold FLOUR", "commit", "abort", "deliver FLOUR", "deliver SOLAR-PANEL", "dispute"]
    ),
    max_size=14,
)


@given(_SAID, st.sampled_from(ROLES))
def test_whatever_is_said_each_goods_come_or_go_back_at_most_once(
    said: list[str], role: Role
) -> None:
    """Clearing is whole, or zero, for each goods: nothing is delivered or refunded twice."""
    book, gone, held = owed(BARTER, role), list[str](), None
    for each in said:
        verb, _, asset = each.partition(" ")
        try:
            if verb == "hold" and held is None:
                made = refund(BARTER, request=trade.NOTHING) if asset else refund(BARTER)
                book.hold(made)
                held = made
            elif verb in ("commit", "abort") and held is not None:
                book.end(OTHER, held, role, "COMMIT" if verb == "commit" else "ABORT")
                gone += delivery.returned(held) if verb == "commit" else ()
                held = None
            elif verb == "deliver":
                book.deliver(SUBJECT, asset)
                gone.append(asset)
                assert held is None or asset not in delivery.returned(held)
            elif verb == "dispute":
                book.dispute(SUBJECT, "SOLAR-PANEL")
        except Refused:
            continue
    assert len(gone) == len(set(gone))


# In another's log


def test_what_another_log_says() -> None:
    said = [said_in(records.encode(record)) for record in RECORDS[-2:]]
    assert said == [
        Delivery(SUBJECT, "delivered", "SOLAR-PANEL"),
        Delivery(SUBJECT, "disputed", "SOLAR-PANEL"),
    ]
    for record in (
        records.DeliveredRecord(1, bytes(31), "SOLAR-PANEL"),
        records.DeliveredRecord(1, SUBJECT, "solar panel"),
        records.DisputedRecord(1, SUBJECT, "A" * 33),
    ):
        assert said_in(records.encode(record)) is None
