"""One exchange between two villages: what this one says, made from committed rows, and what it does
with what the other says.

It pushes our new records, brings the other's, each verified to the root that its village signed and
then cosigned, and carries the words on open trades, both ways.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec
from msgspec import UNSET

from edge import council_words, misbehaviour
from edge.core import limits, messages, registry, trade
from edge.core.messages import CouncilMessage, Exchange, SubjectMessage
from edge.errors import ForkedLog, Malformed, UnknownVillage
from edge.storage import (
    allowance,
    councils,
    facts,
    freshness,
    listings,
    logs,
    neighbours,
    set_back,
    telling,
)
from edge.storage.neighbours import Neighbour
from edge.storage.telling import SaidOf
from edge.storage.tx import OWN_LOG, Tx, Urgent, View
from edge.told import ALL, Told, Ways


class Subjects(Protocol):
    """What is said and done about trades: the module trade_escrow."""

    def receive(
        self,
        tx: Tx,
        neighbour: Neighbour,
        messages: Sequence[SubjectMessage],
        about: Iterable[bytes] = (),
    ) -> set[bytes]: ...

    def speak(
        self,
        view: View,
        neighbour: Neighbour,
        about: Iterable[bytes] = (),
        turn: int = 0,
        said: Mapping[bytes, int] = ...,
    ) -> list[tuple[SubjectMessage, int]]: ...

    def told(self, tx: Tx, said: Iterable[tuple[bytes, int]]) -> None: ...

    def expire(self, tx: Tx) -> int: ...

    def receive_council(
        self, tx: Tx, neighbour: Neighbour, said: Sequence[CouncilMessage], cosigned: bool
    ) -> list[CouncilMessage]: ...

    def begin(self, tx: Tx) -> None: ...

    def next_wake(self, view: View) -> int | None: ...

    def wake(self, tx: Tx) -> tuple[int | None, int]: ...


class Said(msgspec.Struct, frozen=True):
    """A composed message, to whom, and which rows it speaks of. `urgent`: what which village must
    hear at once; `is_partial`: our log or listings did not fit into it; `is_empty`: it has nothing
    on councils, nor else that is new; `newest_ms`: the newest of what the neighbour lacks of them;
    `is_cut`: not all of them fitted into it."""

    neighbour: Neighbour
    message: Exchange
    rows: tuple[tuple[bytes, int], ...]
    councils: tuple[SaidOf, ...] = ()
    urgent: frozenset[Urgent] = frozenset()
    is_partial: bool = False
    is_empty: bool = False
    newest_ms: int = 0
    is_cut: bool = False


class Heard(msgspec.Struct, frozen=True):
    """What taking in a message did. `moved`: it moved a trade; `about`: the trades that moved or of
    which we had not spoken, to be spoken of next; `partial`: it brought a part of a longer log;
    `took`: its sender holds more of ours than it did; `urgent`: as in Said; `unknown`: what to say
    next of the councils' subjects that it spoke of and that we do not know; `news`: something of a
    council has changed."""

    moved: bool = False
    about: tuple[bytes, ...] = ()
    partial: bool = False
    took: bool = False
    urgent: frozenset[Urgent] = frozenset()
    unknown: tuple[CouncilMessage, ...] = ()
    news: bool = False


def compose(
    view: View,
    subjects: Subjects,
    village: str,
    about: Iterable[bytes] = (),
    turn: int = 0,
    unknown: Sequence[CouncilMessage] = (),
    said: Told | None = None,
    *,
    ways: Ways = ALL,
    number: int = 0,
    heard: int = 0,
) -> Said:
    """Return the message that a neighbour needs now, from committed rows. Raises SetBack.

    `about`: the trades to speak of in any case; `unknown`: what to say of councils' subjects that
    we do not know; `said`: what it has been told; `ways`: what to say of councils; `number`,
    `heard`: as in the message.
    """
    set_back.check(view)
    said = Told() if said is None else said
    neighbour = neighbours.named(view, village)
    own = facts.own_entry(view)
    spoken = subjects.speak(view, neighbour, about, turn, said.rows)
    room = limits.COUNCILS_PER_MESSAGE_MAX - len(unknown)
    decided, newest_ms, is_cut = council_words.speak(
        view, own.village_id, village, room, said, ways
    )
    unproven = councils.first_unproven(view)
    push = logs.push_for(view, neighbour.has_size, unproven)
    listed = tuple(listings.changed(view, own.village_id, neighbour.knows_listings))
    message = Exchange(
        protocol=limits.PROTOCOL_VERSION,
        sender=own.village_id,
        network=neighbour.network,
        have=logs.size_of(view, neighbour.log),
        entry_stamp_ms=neighbour.entry.stamp_ms,
        entry=own if own.stamp_ms > neighbour.knows_entry_ms else None,
        push=push,
        cosignature=freshness.cosignature_for(view, neighbour.log, own.village_id),
        subjects=tuple(each for each, _ in spoken),
        listings_have=neighbour.listings_have,
        listings=listed,
        councils=(*unknown, *(each for each, _ in decided if each is not None)),
        number=number,
        heard=heard,
        misbehaviour=misbehaviour.speak(view, village),
        cosigned=(freshness.passed_on(view, village) if ways.is_whole or spoken else ()) or UNSET,
    )
    if push is not None and (bytes_max := _room_for(push, message)) is not None:
        push = logs.push_for(view, neighbour.has_size, unproven, bytes_max)
        message = msgspec.structs.replace(message, push=push)
    has_records = push is not None and bool(push.records)
    return Said(
        neighbour,
        message,
        tuple((_subject(each), changed_ms) for each, changed_ms in spoken),
        tuple(each for _, each in decided),
        frozenset(telling.urgent(view)) if ways.looks else frozenset(),
        (push is not None and _is_behind(view, push)) or _is_full(message),
        not (message.councils or (ways.is_whole and (has_records or listed or message.entry))),
        newest_ms,
        is_cut,
    )


def receive(tx: Tx, subjects: Subjects, message: Exchange, said: Said | None) -> Heard:
    """Take in a neighbour's message whole, or raise PeerError or SetBack and change nothing.

    `said` is what its sender has stored of us, as it shows: our own message, if this one answers
    it, or our last answer.
    """
    set_back.check(tx)
    neighbour = neighbours.find(tx, message.sender)
    if neighbour is None:
        raise UnknownVillage(f"{message.sender[:63]} is not a neighbour of {tx.identity.village}")
    if message.network != neighbour.network:
        raise Malformed("the message is of another federation")
    neighbours.heard_from(
        tx, neighbour, message.have, message.entry_stamp_ms, message.listings_have
    )
    if message.entry is not None:
        registry.verify(message.entry)
        neighbours.keep_entry(tx, neighbour, message.entry)
    more_listed = bool(message.listings) and _keep_listings(tx, neighbour, message)
    partial, stated = _take_push(tx, neighbour, message.push)
    partial |= more_listed
    freshness.renew(tx, neighbour.log)
    freshness.take_in(tx, neighbour, message.cosigned or ())
    took = message.have > neighbour.has_size or message.listings_have > neighbour.knows_listings
    if said is not None:
        council_words.told(tx, neighbour.village, said.councils)
    if not _is_of_our_log(tx, neighbour, message):
        return Heard(partial=partial, took=took)
    cosigned = _keep_cosignature(tx, neighbour, message)
    if said is not None:
        subjects.told(tx, said.rows)
    neighbour = neighbours.named(tx, neighbour.village)
    spoken = {subject for subject, _ in said.rows} if said else set()
    moved = subjects.receive(tx, neighbour, message.subjects, stated)
    unknown = tuple(subjects.receive_council(tx, neighbour, message.councils, cosigned))
    grown = message.push is not None and bool(message.push.records)
    misbehaviour.receive(tx, neighbour, message.misbehaviour, has_grown=grown)
    heard = dict.fromkeys(_subject(each) for each in message.subjects)
    about = tuple(each for each in heard if each in moved or each not in spoken)
    spoken_next = (*about, *sorted(moved - heard.keys()))
    return Heard(bool(moved), spoken_next, partial, took, frozenset(tx.urgent), unknown, tx.news)


def _room_for(push: messages.Push, message: Exchange) -> int | None:
    """Return how many bytes of records fit beside the rest of a message, None if all do."""
    size = sum(map(len, push.records))
    if size < limits.PUSH_BYTES_MAX // 4:  # the rest has room for that
        return None
    over = len(messages.encode(message)) - limits.BODY_BYTES_MAX
    return None if over <= 0 else max(0, size - over)


def _is_of_our_log(tx: Tx, neighbour: Neighbour, message: Exchange) -> bool:
    """Tell if the neighbour holds no more of our log than we do: else this box has forgotten what
    it said, and says nothing new on trades."""
    size = logs.size_of(tx, OWN_LOG)
    if message.have > size:
        neighbours.set_trouble(
            tx,
            neighbour.village,
            f"it holds {message.have} records of this village's log and this box only {size}: "
            f"{set_back.KNOWS_MORE}",
        )
        return False
    return True


def _keep_cosignature(tx: Tx, neighbour: Neighbour, message: Exchange) -> bool:
    """Keep the neighbour's cosignature on our log; tell whether it was new."""
    line = message.cosignature
    if line is None:
        return False
    is_new = logs.keep_cosignature(tx, neighbour.village, neighbour.key, line)
    freshness.keep_own(tx, neighbour.village, line)
    return is_new


def _take_push(
    tx: Tx, neighbour: Neighbour, push: messages.Push | None
) -> tuple[bool, tuple[bytes, ...]]:
    """Take in pushed records; tell whether they were some that we lacked, of a longer log, and what
    trades they speak of."""
    if push is None:
        return False, ()
    before = logs.size_of(tx, neighbour.log)
    fresh = push.records[max(0, before - push.start) :]
    has_room = not fresh or allowance.has_room(tx, neighbour, tx.stamp_ms)
    allowance.note(tx, neighbour, has_room)
    if not has_room:
        return False, ()
    try:
        taken = logs.take_in(tx, neighbour.log, neighbour.village, neighbour.key, push)
    except ForkedLog as fork:
        neighbours.set_trouble(tx, neighbour.village, fork.detail)
        return False, ()
    if taken.size > before:
        allowance.count(tx, neighbour, taken.size - before, sum(map(len, fresh)))
    return taken.size > before and _is_partial(push), taken.stated


def _keep_listings(tx: Tx, neighbour: Neighbour, message: Exchange) -> bool:
    """Keep what is listed; tell whether it was new, and a part of more."""
    before = neighbour.listings_have
    version = listings.keep(tx, neighbour.village, before, message.listings)
    neighbours.keeps_listings(tx, neighbour.village, version)
    return version > before and _is_full(message)


def _is_behind(view: View, push: messages.Push) -> bool:
    """Tell whether more of our log is left to be pushed after this."""
    return bool(push.records) and push.start + len(push.records) < logs.size_of(view, OWN_LOG)


def _is_full(message: Exchange) -> bool:
    return len(message.listings) == limits.LISTINGS_PER_MESSAGE_MAX


def _is_partial(push: messages.Push) -> bool:
    return bool(push.proof) and bool(push.records)


def _subject(message: SubjectMessage) -> bytes:
    return trade.subject_of(bytes(message.terms))
