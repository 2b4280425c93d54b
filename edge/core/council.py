"""Who decides a subject, and what proves the decision.

A subject is decided by its seats (id, key). n seats bear f = (n - 1) // 3 liars; a quorum is
2n // 3 + 1. A certificate is a quorum of precommits of one round, checkable by anyone offline.
With two seats each precommits the one provable value, once, in round 0, without prevotes: safe, and
a silent party blocks (f = 0).
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from edge.core import canonical, crypto, limits
from edge.errors import BadProof

VOTE_CONTEXT = "village-edge/vote/v1"

Value = Literal["COMMIT", "ABORT"]
Step = Literal["precommit"]


class Seat(msgspec.Struct, frozen=True, array_like=True):
    """A member of a council: village id and its 32-byte Ed25519 key at the time of the terms."""

    village: str
    key: bytes


class Vote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One seat's signed word on a subject."""

    village: str
    round: int
    step: Step
    value: Value
    signature: bytes


class Certificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A quorum's precommits of one round, in the order of the seats."""

    value: Value
    round: int
    precommits: tuple[tuple[str, bytes], ...]  # (village id, signature)


class _Signed(msgspec.Struct, frozen=True):
    context: str
    network: bytes
    subject: bytes
    round: int
    step: Step
    value: Value


def quorum(seats: int) -> int:
    """Return how many of `seats` decide: 2 of 2, 3 of 4, 5 of 7."""
    return 2 * seats // 3 + 1


def vote_bytes(network: bytes, subject: bytes, round_: int, step: Step, value: Value) -> bytes:
    """Return what a vote signs: (context, network, subject, round, step, value)."""
    return canonical.encode(_Signed(VOTE_CONTEXT, network, subject, round_, step, value))


def precommit(
    key: crypto.SecretKey, village: str, network: bytes, subject: bytes, value: Value
) -> Vote:
    """Return this village's precommit of round 0."""
    signature = key.sign(vote_bytes(network, subject, 0, "precommit", value))
    return Vote(village, 0, "precommit", value, signature)


def vote_is_valid(vote: Vote, network: bytes, subject: bytes, seats: Sequence[Seat]) -> bool:
    """Tell whether the vote is by one of the seats and its signature holds."""
    key = next((seat.key for seat in seats if seat.village == vote.village), None)
    if key is None or vote.round != 0:
        return False
    message = vote_bytes(network, subject, vote.round, vote.step, vote.value)
    return crypto.verify(key, message, vote.signature)


def certificate_of(votes: Iterable[Vote], seats: Sequence[Seat]) -> Certificate | None:
    """Return the certificate that checked `votes` make, if a quorum agrees in one round."""
    tally: dict[tuple[int, Value], dict[str, bytes]] = {}
    for vote in votes:
        if vote.step == "precommit":
            tally.setdefault((vote.round, vote.value), {})[vote.village] = vote.signature
    for (round_, value), signatures in sorted(tally.items()):
        if len(signatures) >= quorum(len(seats)):
            ordered = tuple(
                (seat.village, signatures[seat.village])
                for seat in seats
                if seat.village in signatures
            )
            return Certificate(value, round_, ordered)
    return None


def verify_certificate(
    certificate: Certificate, network: bytes, subject: bytes, seats: Sequence[Seat]
) -> None:
    """Raise BadProof unless a quorum of distinct seats precommitted this value in one round."""
    if len(certificate.precommits) > limits.SEATS_MAX:
        raise BadProof("the certificate has more votes than a council has seats")
    voters = [village for village, _ in certificate.precommits]
    if len(set(voters)) != len(voters):
        raise BadProof("the certificate counts a seat twice")
    for village, signature in certificate.precommits:
        vote = Vote(village, certificate.round, "precommit", certificate.value, signature)
        if not vote_is_valid(vote, network, subject, seats):
            raise BadProof(f"the certificate's vote of {village[:63]} does not hold")
    if len(voters) < quorum(len(seats)):
        raise BadProof(f"the certificate has {len(voters)} votes of {quorum(len(seats))} needed")
