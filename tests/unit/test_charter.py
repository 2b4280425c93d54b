"""The founding paper of two villages."""

from typing import Any

import msgspec
import pytest

from edge.core import canonical, charter
from edge.core.council import Seat
from edge.errors import BadSignature, Malformed
from tests.unit.examples import CHARTER, FOUR, KEYS, SEATS, A, B, C

replace = msgspec.structs.replace
GENESIS = charter.decode(CHARTER)


def test_the_founders_are_ordered_and_all_decide() -> None:
    assert GENESIS.members == tuple(sorted(SEATS, key=lambda seat: seat.village))
    assert GENESIS.council == (B, A)
    assert (GENESIS.number, GENESIS.network) == (0, bytes(32))


def test_both_orders_of_the_founders_make_the_same_charter() -> None:
    assert charter.genesis((SEATS[1], SEATS[0]), bytes(range(16))) == CHARTER
    assert charter.genesis((SEATS[0], SEATS[1]), bytes(16)) != CHARTER


BAD: list[dict[str, Any]] = [
    {"context": "village-edge/charter/v2"},
    {"network": b"\x01" * 32},
    {"number": 1},
    {"nonce": bytes(15)},
    {"members": ()},
    {"members": GENESIS.members[:1], "council": GENESIS.council[:1]},
    {"members": GENESIS.members[::-1]},
    {"members": GENESIS.members[::-1], "council": GENESIS.council[::-1]},
    {"members": (GENESIS.members[0],) * 2},
    {"members": (GENESIS.members[0], Seat(A, KEYS[B].public))},
    {"members": (GENESIS.members[0], Seat(A, bytes(31)))},
    {"council": GENESIS.council[:1]},
    {"council": GENESIS.council[::-1]},
    {"council": (*GENESIS.council, C)},
    *({"council_seats": count} for count in (-7, 0, 2, 5, 8)),
    {
        "members": tuple(Seat(f"a-b-{n:03}", bytes([n] * 32)) for n in range(8)),
        "council": tuple(f"a-b-{n:03}" for n in range(8)),
    },
]


@pytest.mark.parametrize("changes", BAD)
def test_what_is_no_genesis(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed, match="charter: not a genesis of distinct founders"):
        charter.decode(canonical.encode(replace(GENESIS, **changes)))


def test_councils_of_seven() -> None:
    """Four need not be said, and must not be: what was signed before stays as it was."""
    made = charter.genesis((SEATS[0], SEATS[1]), bytes(range(16)), 7)
    assert made == CHARTER[:-1] + b',"council_seats":7}'
    assert (charter.decode(made).council_seats, GENESIS.council_seats) == (7, 4)
    with pytest.raises(Malformed, match="not in canonical form"):
        charter.decode(CHARTER[:-1] + b',"council_seats":4}')


SEVEN = tuple(Seat(f"a-b-{n:03}", bytes([n] * 32)) for n in range(7))


@pytest.mark.parametrize("founders", [FOUR, SEVEN])
def test_a_charter_of_more_than_two(founders: tuple[Seat, ...]) -> None:
    members = tuple(sorted(founders, key=lambda seat: seat.village))
    council = tuple(seat.village for seat in members)
    made = replace(GENESIS, members=members, council=council)
    assert charter.decode(canonical.encode(made)) == made


def test_a_founders_signature() -> None:
    charter.verify_founder(CHARTER, A, KEYS[A].sign(CHARTER))
    for village, signature in (
        (A, KEYS[B].sign(CHARTER)),
        (B, KEYS[A].sign(CHARTER)),
        (C, KEYS[C].sign(CHARTER)),
        (A, KEYS[A].sign(CHARTER + b" ")),
        (A, b""),
        ("", KEYS[A].sign(CHARTER)),
    ):
        with pytest.raises(BadSignature, match="has not signed this charter"):
            charter.verify_founder(CHARTER, village, signature)
