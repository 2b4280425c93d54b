"""What came of a trade in plain words."""

import itertools
import re

import msgspec
import pytest

from edge.core import after_words
from edge.core.after_words import After
from edge.core.delivery import Stand
from edge.core.trade import NOTHING, Quantity, Role, Status, Terms
from tests.unit.test_words import PANEL, terms

FLOUR = Quantity("FLOUR", "resource", 3, 2_500)
PANELS, GOODS = "SOLAR-PANEL", ("SOLAR-PANEL", "FLOUR")
DAY = "Wed 23 Dec 2026, 08:50 UTC"
ROLES: tuple[Role, Role] = ("from", "to")


def said(
    role: Role,
    of: Terms | None = None,
    *,
    status: Status = Status.SETTLED,
    yours: bool = True,
    delivered: tuple[str, ...] = (),
    disputed: tuple[str, ...] = (),
    **more: object,
) -> str:
    known = After(Stand(frozenset(delivered), frozenset(disputed)), **more)  # type: ignore[arg-type]
    me, them = ("Alice", "Bob") if role == "from" else ("Bob", "Alice")
    return after_words.after(role, status, of or terms(), known, me, them, yours=yours)


def test_of_at_nothing_is_said() -> None:
    for status in Status:
        assert said("from", terms(request=NOTHING), status=status) == ""
    assert said("from", status=Status.HELD) == ""


def test_the_receiver_may_say_something_and_the_giver_waits() -> None:
    assert said("from", deliver_by=DAY) == (
        f"You can say that 1 Solar Panel came, or dispute it; on {DAY} it counts as delivered by "
        "itself."
    )
    assert said("from", deliver_by=DAY, yours=False).startswith("Alice can say that 1 Solar Panel")
    assert said("to") == "Alice has not said yet that 1 Solar Panel came."


def test_a_dispute_says_whose_and_how_it_ends() -> None:
    mine = said("from", disputed=(PANELS,), status=Status.DISPUTED)
    assert mine == (
        "By your word 1 Solar Panel did not come as agreed. You can still say that it came after "
        "all, and both sides can agree on a refund."
    )
    theirs = said("to", disputed=(PANELS,), status=Status.DISPUTED)
    assert theirs.startswith("Alice disputes that 1 Solar Panel came as agreed.")
    assert "or with a refund" in theirs


def test_goods_for_goods_are_told_each() -> None:
    barter = terms(offer=FLOUR, request=msgspec.structs.replace(PANEL, amount=2))
    assert said("to", barter, delivered=("FLOUR",)) == (
        "Delivered: 2.500 Flour. Alice has not said yet that 2 Solar Panel came."
    )


def test_while_a_refund_bars_it_nobody_is_told_to_say_that_it_came() -> None:
    barred = "It cannot be said that 1 Solar Panel came while a refund is proposed or under way."
    found = said(
        "from", deliver_by=DAY, is_barred=True, refund="abcd", refund_status=Status.PENDING
    )
    assert found == f"{barred} A refund is proposed: trade abcd."
    assert said("from", disputed=(PANELS,), is_barred=True) == (
        "By your word 1 Solar Panel did not come as agreed."
    )


def test_refunds_are_named() -> None:
    assert said("to", refund="abcd", refund_status=Status.PENDING).endswith(
        " A refund is proposed: trade abcd."
    )
    assert said("from", refund="abcd", refund_status=Status.SETTLED) == (
        "Not delivered, and given back: 1 Solar Panel. It was refunded: trade abcd."
    )
    refund = msgspec.structs.replace(terms(), refund_of=bytes(32))
    for status in Status:
        assert said("to", refund, status=status, refund_of="1234") == (
            "This is the refund of trade 1234."
        )


@pytest.mark.parametrize("yours", [True, False])
@pytest.mark.parametrize("role", ROLES)
def test_sentences_are_whole(role: Role, yours: bool) -> None:
    barter = terms(offer=FLOUR)
    states = [(), ("FLOUR",), (PANELS,), GOODS]
    refunds: list[Status | None] = [None, Status.PENDING, Status.ACCEPTED, Status.HELD]
    refunds.append(Status.SETTLED)
    for delivered, disputed, refund, day in itertools.product(states, states, refunds, ("", DAY)):
        text = said(
            role,
            barter,
            yours=yours,
            delivered=delivered,
            disputed=disputed,
            refund_status=refund,
            refund="abcd" if refund else "",
            deliver_by=day,
        )
        assert re.fullmatch(r"[A-Z].*[.]", text), text
        assert not re.search(r"[{}]|\s\s|\.\.|on it counts", text), text
        assert bool(re.search(r"\b[Yy]ou", text)) <= yours, text
