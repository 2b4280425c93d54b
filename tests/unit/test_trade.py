"""A trade's terms, its table of states, its legs, and the one function that says what is next."""

import itertools
import re
from typing import Any, get_args

import msgspec
import pytest

from edge.core import limits, trade
from edge.core.accounts import Asset, Entry, is_balanced
from edge.core.council import Seat
from edge.core.trade import Action, Event, Facts, Quantity, Status
from edge.errors import BadSignature, Malformed, WrongState
from tests.unit.examples import (
    FOUR,
    KEYS,
    SEATS,
    SIGNATURES,
    SUBJECT,
    TERMS,
    TERMS_BYTES,
    A,
    B,
    C,
)

replace = msgspec.structs.replace


# States

STEPS = """
PENDING  accept              ACCEPTED
PENDING  reject              REJECTED
PENDING  cancel              CANCELLED
PENDING  expiry              EXPIRED
ACCEPTED both held           HELD
ACCEPTED abort certificate   ABORTED
HELD     commit certificate  SETTLED
HELD     abort certificate   ABORTED
SETTLED  all delivered       DELIVERED
SETTLED  dispute             DISPUTED
DISPUTED all delivered       DELIVERED
DISPUTED dispute over        SETTLED
"""


def test_the_table_of_states() -> None:
    """Every step that is possible, and every other one refused."""
    steps = {}
    for line in STEPS.split("\n")[1:-1]:
        before, *words, after = line.split()
        steps[Status(before), Event(" ".join(words))] = Status(after)
    for status, event in itertools.product(Status, Event):
        if (status, event) in steps:
            assert trade.after(status, event) is steps[status, event]
            continue
        with pytest.raises(WrongState) as error:
            trade.after(status, event)
        detail = error.value.detail
        assert detail.startswith(f"the trade {trade.HOW_IT_STANDS[status]}: ")
        assert not re.search(r"[A-Z]", detail), "a status is no plain word"


def test_what_has_ended_stays_so_and_all_else_can_end() -> None:
    reachable = {
        status: {trade.TRANSITIONS.get((status, event)) for event in Event} for status in Status
    }
    still = {status for status, after in reachable.items() if after - {None} <= trade.ENDED}
    assert still - {Status.HELD} == trade.ENDED
    assert trade.UNBOUND_ENDS < trade.ENDED and trade.CARRIED_OUT < trade.ENDED
    assert all(reachable[each] <= {None, *trade.CARRIED_OUT} for each in trade.CARRIED_OUT)
    for status in Status:
        seen, todo = {status}, [status]
        while todo:
            new = {after for after in reachable[todo.pop()] if after is not None} - seen
            seen |= new
            todo += new
        assert seen & trade.ENDED


def test_no_clock_ends_what_is_bound() -> None:
    """Expiry, rejection and cancelling are for what nobody is bound by."""
    for status in (Status.ACCEPTED, Status.HELD):
        for event in (Event.EXPIRE, Event.CANCEL, Event.REJECT):
            with pytest.raises(WrongState):
                trade.after(status, event)


# What is next

_statements = (None, "hold", "no-hold")
_either = (False, True)
_KNOWN: list[Any] = list(
    itertools.product(
        ("from", "to"),
        *(_statements, _either),
        *(_statements, _either),
        _either,
        (None, "COMMIT", "ABORT"),
        _either,
    )
)
ALL_FACTS = [Facts(*values) for values in _KNOWN]
# role, mine, proven, theirs, proven, voted, certificate, ended -> action
TABLE: list[tuple[tuple[Any, ...], Action | None]] = [
    # the proposer's side, from the proposal to the end
    (("from", None, False, None, False, False, None, True), None),
    (("from", None, False, "hold", False, False, None, False), Action.ANSWER),
    (("from", None, False, "hold", True, False, None, True), Action.ANSWER),
    (("from", "hold", False, "hold", True, False, None, False), None),
    (("from", "hold", True, "hold", False, False, None, False), None),
    (("from", "hold", True, "hold", True, False, None, False), Action.PRECOMMIT),
    (("from", "hold", True, "hold", True, True, None, False), None),
    (("from", "hold", True, "hold", True, True, "COMMIT", False), Action.SETTLE),
    (("from", "hold", True, "hold", True, True, "COMMIT", True), None),
    # its no-hold
    (("from", "no-hold", False, "hold", True, False, None, True), None),
    (("from", "no-hold", True, "hold", False, False, None, True), Action.PRECOMMIT),
    (("from", "no-hold", True, "hold", True, True, None, True), None),
    (("from", "no-hold", True, "hold", True, True, "ABORT", True), None),
    # the acceptor's side
    (("to", None, False, None, False, False, None, False), None),
    (("to", "hold", False, None, False, False, None, False), None),
    (("to", "hold", True, None, False, False, None, False), None),
    (("to", "hold", True, "hold", True, False, None, False), Action.PRECOMMIT),
    (("to", "hold", True, "hold", True, True, "COMMIT", False), Action.SETTLE),
    (("to", "hold", False, "no-hold", True, False, None, False), Action.PRECOMMIT),
    (("to", "hold", True, "no-hold", True, True, "ABORT", False), Action.RELEASE),
    (("to", "hold", True, "no-hold", True, True, "ABORT", True), None),
    # a certificate that came before our own vote
    (("to", "hold", True, "hold", True, False, "COMMIT", False), Action.SETTLE),
    (("to", "hold", False, None, False, False, "ABORT", False), Action.RELEASE),
    # a side that has stated nothing has nothing to end
    (("to", None, False, "hold", True, False, "COMMIT", False), None),
    (("from", None, False, None, False, False, "ABORT", True), None),
]


@pytest.mark.parametrize(("values", "expected"), TABLE)
def test_what_is_next(values: tuple[Any, ...], expected: Action | None) -> None:
    assert trade.next_action(Facts(*values)) is expected


def test_the_rules_of_what_is_next() -> None:
    """Over all 864 states of what one side knows."""
    assert len(ALL_FACTS) == 864
    for facts in ALL_FACTS:
        action = trade.next_action(facts)
        match action:
            case Action.ANSWER:
                assert (facts.role, facts.mine, facts.theirs) == ("from", None, "hold")
            case Action.PRECOMMIT:
                assert facts.mine is not None
                assert not facts.voted
                assert facts.certificate is None
                assert trade.provable(facts) is not None
            case Action.SETTLE:
                assert (facts.certificate, facts.ended) == ("COMMIT", False)
                assert facts.mine is not None
            case Action.RELEASE:
                assert (facts.certificate, facts.ended) == ("ABORT", False)
                assert facts.mine is not None
            case None:
                waits = facts.mine is None or facts.certificate is not None or facts.voted
                assert waits or trade.provable(facts) is None


def test_two_sides_that_know_the_same_prove_the_same() -> None:
    for facts in ALL_FACTS:
        mirrored = replace(
            facts,
            role="to" if facts.role == "from" else "from",
            mine=facts.theirs,
            mine_proven=facts.theirs_proven,
            theirs=facts.mine,
            theirs_proven=facts.mine_proven,
        )
        assert trade.provable(facts) == trade.provable(mirrored)


def test_what_can_be_proven() -> None:
    """COMMIT by both holds, ABORT by the proposer's no-hold; each proven, and nothing else."""
    for facts in ALL_FACTS:
        holds = (facts.mine, facts.theirs) == ("hold", "hold")
        both = holds and facts.mine_proven and facts.theirs_proven
        mine = (facts.mine, facts.mine_proven) == ("no-hold", True)
        theirs = (facts.theirs, facts.theirs_proven) == ("no-hold", True)
        no_hold = mine if facts.role == "from" else theirs
        expected = "ABORT" if no_hold else "COMMIT" if both else None
        assert trade.provable(facts) == expected


def test_what_is_proven_stays_so() -> None:
    """More proof never turns one value into another."""
    for facts in ALL_FACTS:
        value = trade.provable(facts)
        more = replace(facts, mine_proven=True, theirs_proven=True)
        if value is not None:
            assert trade.provable(more) == value


# Legs


def test_the_legs_of_both_sides() -> None:
    """The worked example: 100 AT and a fee of 1 AT for one solar panel."""
    assert trade.member_entries(TERMS, "from", "member:1") == [
        Entry("member:1", "AT", -10_000),
        Entry("member:1", "SOLAR-PANEL", 1),
        Entry("member:1", "AT", -100),
        Entry("treasury", "AT", 100),
    ]
    assert trade.clearing_entries(TERMS, "from") == [
        Entry(f"clearing:{B}", "AT", 10_000),
        Entry(f"clearing:{B}", "SOLAR-PANEL", -1),
    ]
    assert trade.member_entries(TERMS, "to", "member:7") == [
        Entry("member:7", "AT", 10_000),
        Entry("member:7", "SOLAR-PANEL", -1),
    ]
    assert trade.clearing_entries(TERMS, "to") == [
        Entry(f"clearing:{A}", "AT", -10_000),
        Entry(f"clearing:{A}", "SOLAR-PANEL", 1),
    ]


def test_legs_sum_to_zero_and_mirror_each_other() -> None:
    for from_fee, to_fee in itertools.product((0, 1, 100), repeat=2):
        terms = replace(TERMS, from_fee=from_fee, to_fee=to_fee)
        for role in get_args(trade.Role):
            assert is_balanced(trade.entries(terms, role, "member:1"))
        ours, theirs = (trade.clearing_entries(terms, role) for role in get_args(trade.Role))
        assert [(e.asset, e.amount) for e in ours] == [(e.asset, -e.amount) for e in theirs]


@pytest.mark.parametrize(
    ("asset", "amount", "basis_points", "fee"),
    [
        ("AT", "100", 100, 100),
        ("at", "0.01", 100, 1),
        ("AT", "0.01", 0, 0),
        ("AT", "99.99", 1, 1),
        ("AT", "100.01", 1, 2),
        ("Solar Panel", "5", 100, 0),
    ],
)
def test_a_fee_is_rounded_up(asset: str, amount: str, basis_points: int, fee: int) -> None:
    assert trade.fee((asset, amount), basis_points) == fee


# Terms


def test_the_terms_hash_to_the_subject() -> None:
    assert trade.subject_of(TERMS_BYTES) == SUBJECT
    assert trade.decode_terms(TERMS_BYTES) == TERMS
    assert b"Alice" not in TERMS_BYTES  # no names


THREE = (*SEATS, Seat(C, KEYS[C].public))
BAD: list[tuple[dict[str, Any], str]] = [
    ({"context": "village-edge/terms/v2"}, "unknown context"),
    ({"network": bytes(31)}, "network and charter have 32 bytes"),
    ({"charter": bytes(33)}, "network and charter have 32 bytes"),
    ({"nonce": bytes(15)}, "the nonce has 16 bytes"),
    ({"refund_of": bytes(31)}, "refund_of has 32 bytes"),
    ({"from_village": "Missouri"}, "from_village is not a village id"),
    ({"to_village": "ose california 001"}, "to_village is not a village id"),
    ({"from_village": B}, "a village does not trade with itself"),
    ({"trade_id": ""}, "trade_id is not one"),
    ({"trade_id": "a b"}, "trade_id is not one"),
    ({"trade_id": "x" * 65}, "trade_id is not one"),
    ({"seats": SEATS[:1]}, "2 to 7 seats"),
    ({"seats": SEATS * 4}, "2 to 7 seats"),
    ({"seats": (SEATS[0], Seat(B, bytes(31)))}, "malformed seat"),
    ({"seats": (SEATS[0], Seat("B", bytes(32)))}, "malformed seat"),
    ({"seats": (SEATS[0], Seat(A, KEYS[C].public))}, "a village has two seats"),
    ({"seats": (SEATS[0], Seat(B, KEYS[A].public))}, "a key has two seats"),
    ({"seats": THREE[1:]}, "a party has no seat"),
    ({"offer": Quantity("SOLAR-PANEL", "resource", 0, 0)}, "malformed offer"),
    ({"request": Quantity("FLOUR", "resource", 0, 0)}, "malformed request"),
    ({"offer": Quantity("AT", "token", 2, -1)}, "malformed offer"),
    ({"offer": Quantity("AT", "token", 2, limits.AMOUNT_MINOR_MAX + 1)}, "malformed offer"),
    ({"offer": Quantity("AT", "token", 3, 1)}, "malformed offer"),
    ({"offer": Quantity("AT", "resource", 2, 1)}, "malformed offer"),
    ({"offer": Quantity("GOLD", "token", 2, 1)}, "malformed offer"),
    ({"request": Quantity("gold", "resource", 2, 1)}, "malformed request"),
    ({"request": Quantity("Solar Panel", "resource", 0, 1)}, "malformed request"),
    ({"request": Quantity("GOLD", "resource", 7, 1)}, "malformed request"),
    ({"request": Quantity("GOLD", "resource", -1, 1)}, "malformed request"),
    ({"request": Quantity("AT", "token", 2, 1)}, "offer and request are the same asset"),
    (
        {"offer": trade.NOTHING, "request": trade.NOTHING},
        "offer and request are the same asset",
    ),
    ({"from_fee": -1}, "malformed fee"),
    ({"to_fee": limits.AMOUNT_MINOR_MAX + 1}, "malformed fee"),
    ({"deadline_minute": 0}, "malformed deadline"),
    ({"deadline_minute": 2**40}, "malformed deadline"),
    ({"window_s": 0}, "malformed window"),
    ({"window_s": limits.WINDOW_S_MAX + 1}, "malformed window"),
]


@pytest.mark.parametrize(("changes", "what"), BAD)
def test_bad_terms_are_named(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(Malformed) as error:
        trade.decode_terms(trade.encode_terms(replace(TERMS, **changes)))
    assert error.value.detail == f"terms: {what}"


@pytest.mark.parametrize(
    "changes",
    [
        {"seats": FOUR},
        {"seats": (*FOUR, *(Seat(f"a-b-{n:03}", bytes([n] * 32)) for n in range(50, 53)))},
        {"from_fee": 0, "to_fee": 0},
        {"from_fee": limits.AMOUNT_MINOR_MAX, "to_fee": limits.AMOUNT_MINOR_MAX},
        {"seats": SEATS[::-1]},
        {"offer": Quantity("AT", "token", 2, limits.AMOUNT_MINOR_MAX)},
        {"request": Quantity("FLOUR", "resource", 6, 1)},
        {"request": trade.NOTHING},
        {"offer": trade.NOTHING, "request": Quantity("AT", "token", 2, 1)},
        {"refund_of": bytes(32)},
        {"deadline_minute": 2**40 - 1, "window_s": limits.WINDOW_S_MAX},
        {"trade_id": "x" * 64},
    ],
)
def test_good_terms_at_their_bounds(changes: dict[str, Any]) -> None:
    terms = replace(TERMS, **changes)
    assert trade.decode_terms(trade.encode_terms(terms)) == terms


def test_a_partys_signature() -> None:
    for role, signature in zip(get_args(trade.Role), SIGNATURES, strict=True):
        trade.verify_party(TERMS, TERMS_BYTES, role, signature)
    bad: list[tuple[trade.Role, bytes, bytes]] = [
        ("from", TERMS_BYTES, SIGNATURES[1]),
        ("to", TERMS_BYTES, SIGNATURES[0]),
        ("from", TERMS_BYTES + b" ", SIGNATURES[0]),
        ("from", TERMS_BYTES, SIGNATURES[0][:-1]),
        ("from", TERMS_BYTES, b""),
        ("from", TERMS_BYTES, bytes(64)),
    ]
    for role, data, signature in bad:
        with pytest.raises(BadSignature):
            trade.verify_party(TERMS, data, role, signature)


def test_the_two_of_us() -> None:
    ours, theirs = SEATS
    trade.check_parties(TERMS, ours, theirs)
    trade.check_parties(TERMS, theirs, ours)
    with pytest.raises(Malformed, match="not between the two of us"):
        trade.check_parties(TERMS, ours, THREE[2])
    with pytest.raises(Malformed, match="a council of 3 seats"):
        trade.check_parties(replace(TERMS, seats=THREE), ours, theirs)
    for seats in (SEATS[::-1], (ours, Seat(B, KEYS[C].public)), FOUR[2:] + FOUR[:2]):
        with pytest.raises(Malformed, match="not the two parties with their keys"):
            trade.check_parties(replace(TERMS, seats=seats), ours, theirs)


def test_the_same_asset_has_the_same_kind_and_decimals() -> None:
    quantity = Quantity("FLOUR", "resource", 3, 5)
    assert trade.same_asset(quantity, Asset("FLOUR", "resource", 3))
    assert quantity.text == "0.005 FLOUR"
    for other in (
        Asset("FLOUR", "resource", 2),
        Asset("FLOUR", "token", 3),
        Asset("FLOWER", "resource", 3),
    ):
        assert not trade.same_asset(quantity, other)


def test_a_village_without_a_seat_has_no_key() -> None:
    assert TERMS.key_of(A) == KEYS[A].public
    with pytest.raises(KeyError):
        TERMS.key_of(C)
