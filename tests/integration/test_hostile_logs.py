"""A lying neighbour's log against an honest village: what is pushed, signed and cosigned."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from edge import trade_escrow
from edge.core import checkpoint, crypto, limits, merkle, note, receipt, records
from edge.core.council import Certificate, Vote
from edge.core.messages import CosignatureLine, Push
from edge.errors import (
    BadProof,
    BadSignature,
    BoxError,
    Malformed,
    TooLarge,
    UnknownAsset,
    WrongState,
)
from edge.storage import audit, logs, members, neighbours, trades
from edge.storage.tx import OWN_LOG
from tests.integration.liar import (
    HONEST,
    LIAR,
    Liar,
    accept,
    copied,
    honest_village,
    look_at,
    own_kinds,
    propose,
    the_trade,
    tree,
    trouble,
)
from tests.integration.test_hostile import STRANGER, refused
from tests.simulation.world import Village

Replaced = Callable[[Liar], Push]


@pytest.fixture
def honest() -> Village:
    return honest_village()


@pytest.fixture
def liar(honest: Village) -> Liar:
    """With five records, of which the honest village has the first three, cosigned."""
    liar = Liar(honest)
    liar.say()
    grow(liar, 2)
    return liar


def grow(liar: Liar, count: int) -> None:
    for number in range(count):
        posting = crypto.sha256(f"{len(liar.log)} {number}".encode())
        liar.append(records.SealedRecord(liar.minute, posting))


def changed(liar: Liar, **changes: Any) -> Push:
    return msgspec.structs.replace(liar.push(3), **changes)


def note_with(liar: Liar, size: int, *lines: note.NoteSignature) -> str:
    signed = note.Note.from_text(liar.signed(size))
    return note.Note(signed.text, (*lines, *signed.signatures)).to_text()


def strange_lines(count: int) -> tuple[note.NoteSignature, ...]:
    return tuple(note.NoteSignature(f"witness-{n}", bytes(4), bytes(64)) for n in range(count))


PUSHES: dict[str, tuple[type[BoxError], Replaced]] = {
    "an altered record": (
        BadProof,
        lambda it: changed(it, records=(it.log[3], it.log[4].replace(b"sealed", b"Sealed"))),
    ),
    "a record left out": (BadProof, lambda it: changed(it, records=(it.log[4],))),
    "records in another order": (BadProof, lambda it: changed(it, records=(it.log[4], it.log[3]))),
    "records that the checkpoint does not have": (
        Malformed,
        lambda it: changed(it, checkpoint=it.signed(4)),
    ),
    "no records, and a checkpoint beyond those held": (
        BadProof,
        lambda it: changed(it, records=()),
    ),
    "a proof of nothing": (BadProof, lambda it: changed(it, proof=(bytes(32),))),
    "a part of the log without a proof": (
        BadProof,
        lambda it: msgspec.structs.replace(it.push(3, 4), proof=()),
    ),
    "a part of the log with another part's proof": (
        BadProof,
        lambda it: msgspec.structs.replace(it.push(3, 4), proof=it.push(0, 2).proof),
    ),
    "a proof of short hashes": (
        BadProof,
        lambda it: msgspec.structs.replace(it.push(3, 4), proof=(b"x",) * len(it.push(3, 4).proof)),
    ),
    "a checkpoint that is no note": (Malformed, lambda it: changed(it, checkpoint="a checkpoint")),
    "a checkpoint of another log": (
        Malformed,
        lambda it: changed(
            it,
            checkpoint=checkpoint.sign_checkpoint(
                checkpoint.Checkpoint(HONEST, 5, bytes(32)), it.key
            ),
        ),
    ),
    "a checkpoint signed by a stranger": (
        BadSignature,
        lambda it: changed(
            it,
            checkpoint=checkpoint.sign_checkpoint(
                checkpoint.Checkpoint(LIAR, 5, bytes(32)), STRANGER
            ),
        ),
    ),
    "a checkpoint under too many signatures": (
        Malformed,
        lambda it: changed(it, checkpoint=note_with(it, 5, *strange_lines(32))),
    ),
    "a record too big": (
        TooLarge,
        lambda it: changed(it, records=(b"x" * (limits.RECORD_BYTES_MAX + 1),)),
    ),
    "too many records": (
        TooLarge,
        lambda it: changed(it, records=(b"x",) * (limits.PUSH_RECORDS_MAX + 1)),
    ),
    "too long a proof": (TooLarge, lambda it: changed(it, proof=(bytes(32),) * 64)),
    "too long a note": (
        TooLarge,
        lambda it: changed(it, checkpoint="x" * (limits.NOTE_BYTES_MAX + 1)),
    ),
    "a negative start": (TooLarge, lambda it: changed(it, start=-1)),
    "an enormous start": (TooLarge, lambda it: changed(it, start=10**30)),
}


@pytest.mark.parametrize("name", PUSHES)
def test_a_push_that_does_not_hold(honest: Village, liar: Liar, name: str) -> None:
    error, lie = PUSHES[name]
    push = lie(liar)
    with refused(honest, error):
        liar.say(push=push)
    assert (copied(honest), trouble(honest)) == (3, "")
    liar.say()
    assert copied(honest) == 5


FIRSTS: dict[str, records.Record] = {
    "no village record": records.AssetRecord(1, "AT", "token", 2),
    "another village's": records.VillageRecord(1, HONEST, crypto.SecretKey(bytes(32)).public),
    "another key": records.VillageRecord(1, LIAR, STRANGER.public),
}


@pytest.mark.parametrize("name", FIRSTS)
def test_a_log_that_does_not_begin_with_whose_it_is(honest: Village, name: str) -> None:
    liar = Liar(honest)
    liar.log = [records.encode(FIRSTS[name])]
    with refused(honest, Malformed):
        liar.say()


def test_a_log_that_begins_with_no_record_at_all(honest: Village) -> None:
    liar = Liar(honest)
    liar.log = [b"\x00"]
    with refused(honest, Malformed):
        liar.say()


def test_a_gap_is_not_filled_and_no_error(honest: Village, liar: Liar) -> None:
    """A message overtaken by another one looks like this."""
    grow(liar, 3)
    liar.say(push=liar.push(6))
    assert copied(honest) == 3


def test_what_is_held_is_not_looked_at_again(honest: Village, liar: Liar) -> None:
    forged = (b"forged", b"forged", b"forged", *liar.log[3:])
    liar.say(push=msgspec.structs.replace(liar.push(), records=forged))
    assert copied(honest) == 5
    log = honest.look(lambda view: neighbours.log_of(view, LIAR))
    kept = honest.look(lambda view: logs.records_from(view, log, 0, 9, 10**6))
    assert kept == liar.log


def test_an_older_checkpoint_is_no_fork(honest: Village, liar: Liar) -> None:
    liar.say()
    for size in (0, 1, 2, 3, 4):
        liar.say(push=liar.push(0, size, size))
    assert (copied(honest), trouble(honest)) == (5, "")


def test_records_that_cannot_be_read_are_kept_and_mean_nothing(honest: Village, liar: Liar) -> None:
    strange = [
        b"\x00\xff",
        b'{"kind":"treaty","minute":1}',
        b'{"kind":"hold","minute":1}',
        b'{"kind":"settle","minute":1,"subject":"AA==","certificate":null}',
        b'{"kind":"asset","minute":-1,"code":"GOLD","asset_kind":"resource","decimals":0}',
        b"",
    ]
    liar.log += strange
    liar.append(
        records.SettleRecord(liar.minute, b"short", Certificate("COMMIT", 10**30, ((LIAR, b""),)))
    )
    liar.append(records.AssetRecord(liar.minute, "GO\x1b[2JLD", "resource", 0))
    liar.append(records.AssetRecord(liar.minute, "GOLD", "resource", 77))
    liar.append(records.AssetRecord(liar.minute, "G" * 64, "resource", 0))
    liar.say()
    assert copied(honest) == len(liar.log)
    log = honest.look(lambda view: neighbours.log_of(view, LIAR))
    assert [each.code for each in honest.look(lambda view: logs.assets(view, log))] == [
        "AT",
        "SOLAR-PANEL",
    ]
    with refused(honest, UnknownAsset):
        propose(honest, request=("Gold", "1"))
    honest.look(audit.audit)


# Forks


def other_log(liar: Liar, size: int) -> str:
    """Sign a log of this size that has another last record."""
    return liar.signed(size, [*liar.log[: size - 1], b"another record"])


@pytest.mark.parametrize("size", [5, 3])
def test_two_roots_of_one_size_are_a_fork(honest: Village, liar: Liar, size: int) -> None:
    """Of the newest size that was cosigned here, or of an older one: the village is in trouble."""
    liar.say()
    liar.say(push=Push(size, (), (), other_log(liar, size)))
    assert f"two different logs of {size} records" in trouble(honest)
    assert copied(honest) == 5
    with refused(honest, WrongState, "no new trades with ose-california-001"):
        propose(honest)


def test_a_fork_stops_new_trades_and_no_held_one(honest: Village) -> None:
    liar = Liar(honest)
    liar.say(liar.proposal(), liar.proposal(liar.terms(trade_id="later")))
    both = honest.look(trades.everyone)
    first, second = sorted(both, key=lambda known: known.terms.trade_id)
    proposed = propose(honest)
    accept(honest, first)
    liar.say(liar.about(first))
    liar.hold(first)
    liar.say(liar.about(first))
    size = len(liar.log)
    liar.say(push=Push(size, (), (), other_log(liar, size)))
    assert "two different logs" in trouble(honest)
    with refused(honest, WrongState, "no new trades"):
        accept(honest, second)
    liar.say(liar.about(first, votes=(liar.vote(first, "COMMIT"),)))
    assert look_at(honest, first).status == "SETTLED"
    liar.hold(proposed)
    liar.say(liar.about(proposed))
    assert own_kinds(honest, proposed) == ["no-hold"]
    assert "two different logs" in look_at(honest, proposed).reason
    honest.look(audit.audit)


def other_push(liar: Liar, start: int, end: int, size: int) -> Push:
    """Push records of a longer log whose third record is another."""
    log = [*liar.log[:2], b"another record", *liar.log[3:size]]
    proof = []
    if 0 < end < size:
        proof = merkle.consistency_proof(end, size, tree(log))
    return Push(start, tuple(log[start:end]), tuple(proof), liar.signed(size, log))


@pytest.mark.parametrize(
    ("start", "end"),
    [
        *((0, 9), (0, 5), (2, 7), (0, 4), (1, 4)),  # records that differ, to the end or with proof
        *((5, 5), (3, 3)),  # the proof alone
    ],
)
def test_a_longer_log_with_another_beginning_is_a_fork(
    honest: Village, liar: Liar, start: int, end: int
) -> None:
    """Both are signed, and by no size do their roots differ."""
    liar.say()
    grow(liar, 4)
    liar.say(push=other_push(liar, start, end, 9))
    assert trouble(honest) == f"{LIAR} has signed two different logs of 5 records"
    assert copied(honest) == 5
    with refused(honest, WrongState, "no new trades with ose-california-001"):
        propose(honest)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda push: msgspec.structs.replace(push, proof=push.proof[:-1]),
        lambda push: msgspec.structs.replace(push, proof=(*push.proof[:-1], bytes(32))),
        lambda push: msgspec.structs.replace(push, records=push.records[:-1]),
        lambda push: msgspec.structs.replace(push, records=(*push.records[:-1], b"damaged")),
    ],
)
@pytest.mark.parametrize(("start", "end"), [(0, 5), (2, 7), (6, 6)])
def test_what_does_not_fit_its_own_checkpoint_accuses_nobody(
    honest: Village, liar: Liar, start: int, end: int, spoil: Callable[[Push], Push]
) -> None:
    """Such as a line or a disk that spoils what an honest village says."""
    liar.say()
    grow(liar, 4)
    with suppress(BadProof, Malformed):
        liar.say(push=spoil(liar.push(start, end, 9)))
    assert trouble(honest) == ""


def test_a_longer_log_that_does_not_extend_what_is_held(honest: Village, liar: Liar) -> None:
    """Without a proof it is no evidence, and nothing of it is kept."""
    liar.say()
    grow(liar, 2)
    forked = [*liar.log[:2], b"another record", *liar.log[3:]]
    head = liar.signed(7, forked)
    with refused(honest, BadProof):
        liar.say(push=Push(5, tuple(liar.log[5:]), (), head))


# Notes and cosignatures


def test_signatures_beside_the_logs_own_are_not_kept(honest: Village) -> None:
    """Else they could crowd out the cosignatures that a receipt needs."""
    liar = Liar(honest)
    liar.say(liar.proposal())
    known = the_trade(honest)
    accept(honest, known)
    liar.say(liar.about(known))
    liar.hold(known)
    size = len(liar.log)
    crowded = note_with(liar, size, *strange_lines(31))
    push = msgspec.structs.replace(liar.push(), checkpoint=crowded)
    liar.say(liar.about(known), push=push)
    liar.say(liar.about(known, votes=(liar.vote(known, "COMMIT"),)), push=push)
    settled = look_at(honest, known)
    assert settled.status == "SETTLED"
    made = honest.look(lambda view: trade_escrow.receipt(view, settled))
    receipt.verify(receipt.decode(receipt.encode(made)))
    log = honest.look(lambda view: neighbours.log_of(view, LIAR))
    kept = honest.look(lambda view: logs.last_checkpoint(view, log))
    assert kept is not None and kept[2] == liar.signed(size)
    honest.look(audit.audit)


def cosigned(liar: Liar, head: checkpoint.Checkpoint, name: str, key: crypto.SecretKey) -> str:
    return checkpoint.cosign(head, name, key, 1).to_text()


COSIGNATURES: dict[
    str, tuple[type[BoxError], Callable[[Liar, checkpoint.Checkpoint], CosignatureLine]]
] = {
    "of a size that never was": (
        BadProof,
        lambda it, head: CosignatureLine(99, cosigned(it, head, LIAR, it.key)),
    ),
    "of another root": (
        BadSignature,
        lambda it, head: CosignatureLine(
            head.size,
            cosigned(it, msgspec.structs.replace(head, root=bytes(32)), LIAR, it.key),
        ),
    ),
    "of its own log": (
        BadSignature,
        lambda it, head: CosignatureLine(
            head.size, cosigned(it, msgspec.structs.replace(head, origin=LIAR), LIAR, it.key)
        ),
    ),
    "by a stranger": (
        BadSignature,
        lambda it, head: CosignatureLine(head.size, cosigned(it, head, LIAR, STRANGER)),
    ),
    "in another name": (
        BadSignature,
        lambda it, head: CosignatureLine(head.size, cosigned(it, head, "ose-x-001", it.key)),
    ),
    "in the honest village's own name": (
        BadSignature,
        lambda it, head: CosignatureLine(head.size, cosigned(it, head, HONEST, it.honest.key)),
    ),
    "that is none": (Malformed, lambda it, head: CosignatureLine(head.size, "— cosigned")),
    "two lines long": (
        Malformed,
        lambda it, head: CosignatureLine(head.size, 2 * cosigned(it, head, LIAR, it.key)),
    ),
    "of a negative size": (
        Malformed,
        lambda it, head: CosignatureLine(-1, cosigned(it, head, LIAR, it.key)),
    ),
}


@pytest.mark.parametrize("name", COSIGNATURES)
def test_a_cosignature_that_does_not_hold(honest: Village, liar: Liar, name: str) -> None:
    error, lie = COSIGNATURES[name]
    assert liar.heard_checkpoint is not None
    line = lie(liar, liar.heard_checkpoint)
    with refused(honest, error):
        liar.say(cosignature=line)
    liar.say()
    assert honest.look(lambda view: logs.last_cosigned(view, OWN_LOG))[1] == [LIAR]


def test_a_village_that_never_cosigns_gets_no_votes(honest: Village) -> None:
    """What it holds back keeps the trade from being proven, not what is held from being safe."""
    liar = Liar(honest)
    liar.say()
    known = propose(honest)
    liar.say(cosignature=None)
    liar.hold(known)
    for _ in range(3):
        liar.say(liar.about(known, votes=(liar.vote(known, "COMMIT"),)), cosignature=None)
    assert look_at(honest, known).status == "HELD"
    assert votes(honest, known.subject) == []  # none can be counted yet
    liar.say(liar.about(known, votes=(liar.vote(known, "COMMIT"),)))
    liar.say(liar.about(known, votes=(liar.vote(known, "COMMIT"),)))
    assert look_at(honest, known).status == "SETTLED"


def votes(honest: Village, subject: bytes) -> list[Vote]:
    return honest.look(lambda view: trades.votes(view, subject))


def test_a_receipt_of_an_aborted_trade_needs_only_the_no_hold_proven(honest: Village) -> None:
    """The liar's log comes in parts, so that its hold is read here before it can be cosigned."""
    liar = Liar(honest)
    liar.say(push=liar.push(0, 1))
    known = propose(honest, request=("AT", "1"), offer=("Solar Panel", "1"))
    liar.say(push=liar.push(0, 1))
    honest.now(lambda tx: trade_escrow.cancel(tx, members.named(tx, "Alice"), known))
    at = liar.hold(known)
    grow(liar, 3)
    part = liar.push(0, at + 1)
    liar.say(liar.about(known), push=part)
    assert own_kinds(honest, known) == ["no-hold"]
    liar.say(liar.about(known), push=part)
    liar.say(liar.about(known, votes=(liar.vote(known, "ABORT"),)), push=part)
    ended = look_at(honest, known)
    assert ended.certificate is not None
    made = honest.look(lambda view: trade_escrow.receipt(view, ended))
    receipt.verify(receipt.decode(receipt.encode(made)))
    assert [evidence.village for evidence in made.evidence] == [HONEST]
