"""What proves that a trade may be committed, or aborted: all that the seats' valid() reads.

A party's statement is *proven* by its record, the record's place in the party's log, and a
checkpoint over it that a quorum of the seats has cosigned. COMMIT needs the holds of both. ABORT
needs the proposer's no-hold, or the word of f + 1 seats, one of them honest at least, that the same
party's hold is *absent*: the deadline has passed by their clock, and they hold no proof of it.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from edge.core import canonical, crypto
from edge.core.council import Value
from edge.core.trade import Statement, Terms

ABSENT_CONTEXT: Final = "village-edge/absent/v1"


class Absent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One seat's signed word that it holds no proof of the hold of the party `about`, though the
    deadline has passed."""

    village: str
    about: str
    signature: bytes


class _Signed(msgspec.Struct, frozen=True):
    context: str
    network: bytes
    subject: bytes
    about: str


def absent_bytes(network: bytes, subject: bytes, about: str) -> bytes:
    """Return what *absent* signs: (context, network, subject, about whom)."""
    return canonical.encode(_Signed(ABSENT_CONTEXT, network, subject, about))


def absent(
    key: crypto.SecretKey, village: str, network: bytes, subject: bytes, about: str
) -> Absent:
    """Return this village's word that it holds no proof of a party's hold."""
    return Absent(village, about, key.sign(absent_bytes(network, subject, about)))


def absent_is_valid(said: Absent, terms: Terms, subject: bytes) -> bool:
    """Tell whether a seat says it of a party, and its signature holds."""
    keys = {seat.village: seat.key for seat in terms.seats}
    if said.about not in (terms.from_village, terms.to_village) or said.village not in keys:
        return False
    message = absent_bytes(terms.network, subject, said.about)
    return crypto.verify(keys[said.village], message, said.signature)


def provable(
    terms: Terms, proven: Iterable[tuple[str, Statement]], absents: Iterable[Absent]
) -> frozenset[Value]:
    """Return the values that checked evidence proves: (village, statement) pairs, and absents."""
    stated = set(proven)
    found: set[Value] = set()
    if {(terms.from_village, "hold"), (terms.to_village, "hold")} <= stated:
        found.add("COMMIT")
    if (terms.from_village, "no-hold") in stated or _is_absent(terms, absents):
        found.add("ABORT")
    return frozenset(found)


def _is_absent(terms: Terms, absents: Iterable[Absent]) -> bool:
    """Tell whether f + 1 seats miss the hold of the same party. Of two seats none can: there a
    liar's word alone would be enough."""
    if len(terms.seats) == 2:
        return False
    sayers: Mapping[str, set[str]] = {terms.from_village: set(), terms.to_village: set()}
    for each in absents:
        sayers[each.about].add(each.village)
    liars_max = (len(terms.seats) - 1) // 3
    return any(len(villages) > liars_max for villages in sayers.values())
