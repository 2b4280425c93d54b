"""Votes and certificates: what decides a subject, and what must not."""

import base64
import itertools
from typing import Any

import msgspec
import pytest

from edge.core import council, crypto
from edge.core.council import Certificate, Seat, Vote
from edge.errors import BadProof
from tests.unit.examples import FOUR, KEYS, NETWORK, SEATS, SUBJECT, A, B, C, D, certificate, votes

replace = msgspec.structs.replace
OTHER = bytes(reversed(range(32)))


def test_quorums() -> None:
    """n seats bear (n - 1) // 3 liars: any two quorums share an honest seat."""
    assert [council.quorum(n) for n in range(1, 8)] == [1, 2, 3, 3, 4, 5, 5]
    for n in range(1, 8):
        liars = (n - 1) // 3
        assert 2 * council.quorum(n) - n > liars
        assert council.quorum(n) <= n - liars  # the honest ones can decide by themselves


def test_what_a_vote_signs() -> None:
    network, subject = (base64.b64encode(part).decode() for part in (NETWORK, SUBJECT))
    assert council.vote_bytes(NETWORK, SUBJECT, 0, "precommit", "COMMIT").decode() == (
        f'{{"context":"village-edge/vote/v1","network":"{network}","subject":"{subject}",'
        '"round":0,"step":"precommit","value":"COMMIT"}'
    )


def test_each_part_of_a_vote_is_signed() -> None:
    [vote] = votes("COMMIT", A)
    assert council.vote_is_valid(vote, NETWORK, SUBJECT, SEATS)
    assert not council.vote_is_valid(vote, OTHER, SUBJECT, SEATS)
    assert not council.vote_is_valid(vote, NETWORK, OTHER, SEATS)
    for change in (
        {"village": B},
        {"village": C},
        {"round": 1},
        {"round": -1},
        {"value": "ABORT"},
        {"signature": b""},
        {"signature": bytes(64)},
        {"signature": vote.signature[:-1] + bytes([vote.signature[-1] ^ 1])},
    ):
        assert not council.vote_is_valid(replace(vote, **change), NETWORK, SUBJECT, SEATS)


def test_a_vote_of_another_round_is_none() -> None:
    """However well it is signed: a council of two has no other round."""
    for round_ in (1, -1, 2**40):
        signature = KEYS[A].sign(
            council.vote_bytes(NETWORK, SUBJECT, round_, "precommit", "COMMIT")
        )
        vote = Vote(A, round_, "precommit", "COMMIT", signature)
        assert not council.vote_is_valid(vote, NETWORK, SUBJECT, SEATS)


def test_seven_seats_are_the_most() -> None:
    keys = {f"a-b-{n:03}": crypto.SecretKey(bytes([n] * 32)) for n in range(7)}
    seats = tuple(Seat(village, key.public) for village, key in keys.items())
    signed = [council.precommit(key, v, NETWORK, SUBJECT, "ABORT") for v, key in keys.items()]
    for count in (5, 6, 7):
        made = council.certificate_of(signed[:count], seats)
        assert made is not None
        council.verify_certificate(made, NETWORK, SUBJECT, seats)
    assert council.certificate_of(signed[:4], seats) is None


def test_the_key_of_the_seat_counts() -> None:
    [vote] = votes("COMMIT", A)
    seats = (Seat(A, KEYS[C].public), SEATS[1])
    assert not council.vote_is_valid(vote, NETWORK, SUBJECT, seats)


def test_a_quorum_of_one_value_makes_a_certificate() -> None:
    assert council.certificate_of(votes("COMMIT", A), SEATS) is None
    assert council.certificate_of([*votes("COMMIT", A), *votes("ABORT", B)], SEATS) is None
    assert council.certificate_of(votes("COMMIT", A) * 2, SEATS) is None
    for value in ("COMMIT", "ABORT"):
        for order in ((A, B), (B, A)):
            made = council.certificate_of(votes(value, *order), SEATS)
            assert made is not None
            assert (made.value, made.round) == (value, 0)
            assert [village for village, _ in made.precommits] == [A, B]
            council.verify_certificate(made, NETWORK, SUBJECT, SEATS)


def test_rounds_are_not_mixed() -> None:
    first, second = votes("COMMIT", A, B)
    assert council.certificate_of([first, replace(second, round=1)], SEATS) is None


def test_a_value_without_votes_makes_none() -> None:
    assert council.certificate_of([], SEATS) is None


@pytest.mark.parametrize("count", [3, 4])
def test_four_seats_decide_with_three(count: int) -> None:
    for voters in itertools.combinations((A, B, C, D), count):
        made = council.certificate_of(votes("ABORT", *voters), FOUR)
        assert made is not None
        assert [village for village, _ in made.precommits] == list(voters)
        council.verify_certificate(made, NETWORK, SUBJECT, FOUR)
    for voters in itertools.combinations((A, B, C, D), 2):
        assert council.certificate_of(votes("ABORT", *voters), FOUR) is None


GOOD = certificate("COMMIT")
(_, OF_A), (_, OF_B) = GOOD.precommits
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "nobody": ({"precommits": ()}, "has 0 votes of 2 needed"),
    "too few": ({"precommits": ((A, OF_A),)}, "has 1 votes of 2 needed"),
    "a seat twice": ({"precommits": ((A, OF_A), (A, OF_A))}, "counts a seat twice"),
    "no seat": ({"precommits": ((A, OF_A), (C, OF_B))}, f"vote of {C} does not hold"),
    "swapped": ({"precommits": ((A, OF_B), (B, OF_A))}, f"vote of {A} does not hold"),
    "another value": ({"value": "ABORT"}, f"vote of {A} does not hold"),
    "another round": ({"round": 1}, f"vote of {A} does not hold"),
    "a negative round": ({"round": -1}, f"vote of {A} does not hold"),
    "a forged vote": ({"precommits": ((A, OF_A), (B, bytes(64)))}, f"vote of {B} does not hold"),
    "mixed values": (
        {"precommits": ((A, OF_A), (B, votes("ABORT", B)[0].signature))},
        f"vote of {B} does not hold",
    ),
    "a crowd": (
        {"precommits": tuple((f"a-b-{n:03}", OF_A) for n in range(8))},
        "more votes than a council has seats",
    ),
}


@pytest.mark.parametrize(("changes", "what"), BAD.values(), ids=BAD)
def test_what_is_no_certificate(changes: dict[str, Any], what: str) -> None:
    council.verify_certificate(GOOD, NETWORK, SUBJECT, SEATS)
    with pytest.raises(BadProof, match=what):
        council.verify_certificate(replace(GOOD, **changes), NETWORK, SUBJECT, SEATS)


@pytest.mark.parametrize(
    ("network", "subject", "seats"),
    [
        (OTHER, SUBJECT, SEATS),
        (NETWORK, OTHER, SEATS),
        (NETWORK, SUBJECT, FOUR[2:]),
        (NETWORK, SUBJECT, FOUR),
        (NETWORK, SUBJECT, (SEATS[0], Seat(B, KEYS[A].public))),
    ],
)
def test_a_certificate_is_of_its_subject_network_and_seats(
    network: bytes, subject: bytes, seats: tuple[Seat, ...]
) -> None:
    with pytest.raises(BadProof):
        council.verify_certificate(GOOD, network, subject, seats)


def test_every_flipped_bit_of_a_signature_counts() -> None:
    for at in range(64):
        forged = OF_B[:at] + bytes([OF_B[at] ^ 1 << at % 8]) + OF_B[at + 1 :]
        with pytest.raises(BadProof):
            council.verify_certificate(
                Certificate("COMMIT", 0, ((A, OF_A), (B, forged))), NETWORK, SUBJECT, SEATS
            )


def test_a_precommit_is_of_round_0() -> None:
    vote = council.precommit(KEYS[A], A, NETWORK, SUBJECT, "ABORT")
    assert vote == Vote(A, 0, "precommit", "ABORT", vote.signature)
