"""What one seat of a council says to another: what that lacks, from committed rows."""

from collections.abc import Iterable
from typing import Final

import msgspec

from edge.core import canonical
from edge.core.council import State
from edge.core.messages import UNKNOWN_ROUND, CouncilMessage, Opening
from edge.storage import councils, telling
from edge.storage.councils import Opened
from edge.storage.telling import Due, SaidOf
from edge.storage.tx import Tx, View
from edge.told import ALL, Told, Ways

SAID_BYTES_MAX: Final = 400_000  # in one message, of which there is always one subject whole


def speak(
    view: View, own: str, village: str, room: int, said: Told, ways: Ways
) -> tuple[list[tuple[CouncilMessage | None, SaidOf]], int, bool]:
    """Return what another seat lacks, of at most `room` subjects, the newest stamp of any that it
    lacks, and whether there may be more. No message: it lacks nothing of that after all."""
    found: list[tuple[CouncilMessage | None, SaidOf]] = []
    size = newest_ms = 0
    for each in telling.due(view, village, room + len(said)):  # those it has been told included
        if len(found) == room:
            return found, newest_ms, True
        opened, asked = each.opened, each.told_ms == telling.NOTHING_TOLD
        if asked and opened.id in said.anew and ways != ALL:
            continue  # it may have no room for it: once for each heartbeat
        newest_ms = max(newest_ms, opened.changed_ms)
        is_settled = opened.certificate is not None or opened.changed_ms <= ways.until_ms
        is_whole = asked or (ways.is_whole and is_settled)
        is_whole |= each.urgent and opened.proposer == own  # whom the others have told
        if not (is_whole or each.urgent):
            continue
        since_ms = each.told_ms
        if not asked:
            since_ms = max(since_ms, said.until_ms(opened.id, whole=is_whole))
        if since_ms >= opened.changed_ms:
            continue
        message = _say(view, each, (own, village), since_ms, is_whole=is_whole)
        size += 0 if message is None else len(canonical.encode(message))
        if found and size > SAID_BYTES_MAX:
            return found, newest_ms, True
        found.append((message, SaidOf(opened.id, opened.changed_ms, is_whole, since_ms)))
    if ways == ALL:
        found += _asking(view, village, room - len(found))
    return found, newest_ms, False


def told(tx: Tx, village: str, said: Iterable[SaidOf]) -> None:
    """Note that a seat has stored what was said."""
    for each in said:
        telling.note_told(tx, village, each)


def _asking(view: View, village: str, room: int) -> list[tuple[CouncilMessage | None, SaidOf]]:
    """Return what asks a seat for decisions that it may know: nobody else may tell us of them."""
    return [
        (
            CouncilMessage(each.id, each.state.round),
            SaidOf(each.id, each.changed_ms, is_whole=False, since_ms=each.changed_ms),
        )
        for each in telling.undecided(view, village, room)
    ]


def _say(
    view: View, due: Due, between: tuple[str, str], told_ms: int, *, is_whole: bool
) -> CouncilMessage | None:
    """Return what we say to a seat of a subject: the decision, all that it lacks, or our own words;
    None for nothing."""
    message: CouncilMessage | None
    own, village = between
    if due.opened.certificate is not None:
        message = _decided(view, due)
    elif is_whole:
        message = _message(view, due, village, told_ms)
    else:
        message = _own_words(view, due.opened, own, told_ms)
    if due.asks and message is not None:
        message = msgspec.structs.replace(message, round=UNKNOWN_ROUND)
    return message


def _decided(view: View, due: Due) -> CouncilMessage:
    """Return the decision; to a seat that has signed nothing yet, or asks, with all that opens the
    subject and proves it."""
    opened = due.opened
    lacks = due.told_ms == telling.NOTHING_TOLD or (due.told_ms == 0 and due.reached < 0)
    return CouncilMessage(
        opened.id,
        opened.state.round,
        _opening(opened) if lacks else None,
        tuple(councils.proofs(view, opened.id)) if lacks else (),
        certificate=opened.certificate,
    )


def _message(view: View, due: Due, village: str, told_ms: int) -> CouncilMessage:
    """Return all that was kept since `told_ms`, but what that seat has said itself: that it only
    needs if it has lost everything."""
    opened, rounds = due.opened, _rounds_said(due.opened.state)
    own = village if told_ms > 0 else ""
    known = councils.words(view, opened.id, told_ms)
    return CouncilMessage(
        opened.id,
        opened.state.round,
        None if told_ms > 0 else _opening(opened),
        tuple(each for each in known.evidence if each.village != own),
        tuple(each for each in known.absents if each.village != own),
        tuple(each for each in known.proposals if each.village != own and each.round in rounds),
        tuple(each for each in known.votes if each.village != own and each.round in rounds),
    )


def _own_words(view: View, opened: Opened, own: str, told_ms: int) -> CouncilMessage | None:
    """Return what this village itself has said since `told_ms`, None for nothing: with what opens
    the subject, if it is a party that has not said it, and what proves a proposal. After another's
    proposal its own proof is not urgent: that came with it."""
    id_, state, rounds = opened.id, opened.state, _rounds_said(opened.state)
    opens = told_ms <= 0 and own in (opened.terms.from_village, opened.terms.to_village)
    proposed = [each for each in councils.proposals(view, id_) if each.round == state.round]
    proposes = any(each.village == own for each in proposed)
    proves = not proposed or proposes
    known = councils.words(view, id_, told_ms)
    said = CouncilMessage(
        id_,
        state.round,
        _opening(opened) if opens else None,
        tuple(
            each for each in (known.evidence if proves else ()) if proposes or each.village == own
        ),
        tuple(each for each in known.absents if proposes or each.village == own),
        tuple(each for each in known.proposals if each.village == own and each.round in rounds),
        tuple(each for each in known.votes if each.village == own and each.round in rounds),
    )
    is_empty = not (opens or said.evidence or said.absents or said.proposals or said.votes)
    return None if is_empty else said


def _opening(opened: Opened) -> Opening:
    return Opening(msgspec.Raw(opened.terms_bytes), opened.from_signature, opened.to_signature)


def _rounds_said(state: State) -> set[int]:
    return {state.round - 1, state.round, state.round + 1, state.valid_round}
