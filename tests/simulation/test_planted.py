"""Bugs planted one at a time: the law that the table names finds each within a few seeds, or it
would be no law.

A plant changes one thing that the product does right. What it does without the plant, the same
seeds show afterwards.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
import pytest

from edge import trade_delivery, trade_escrow, trade_terms
from edge.core import checkpoint, council, records, trade, valid
from edge.core import receipt as receipts
from edge.core.accounts import Entry
from edge.core.council import Certificate, Seat, State, Value, Vote
from edge.core.delivery import Leg
from edge.core.listing import Side
from edge.core.messages import CosignatureLine, DisputeText, Push, SubjectMessage
from edge.core.receipt import Evidence
from edge.core.records import Operation
from edge.core.trade import Facts, Proposal, Statement, Terms
from edge.storage import (
    councils,
    database,
    deliveries,
    facts,
    holds,
    ledger,
    listings,
    logs,
    neighbours,
    outbox,
    trades,
)
from edge.storage.councils import Held, Opened
from edge.storage.members import Member
from edge.storage.neighbours import Neighbour
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, Tx, View
from edge.storage.writer import Writer
from tests.simulation import plan
from tests.simulation.federation import founded, play
from tests.simulation.law import LawBroken
from tests.simulation.plan import Plan

SEEDS_MAX: Final = 40
TWO: Final = "villages=2;seats=2;latency_ms=60;bursts=20;minutes=12;heartbeat_s=120;manners="
FOUR: Final = "villages=4;seats=4;minutes=8;heartbeat_s=120;manners="
SEVEN: Final = "villages=7;seats=7;latency_ms=1500;bursts=2;minutes=8;heartbeat_s=300;manners="

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]
PLANTS: Final[dict[str, tuple[str, str, Plant]]] = {}


def plant(law: str, where: str = TWO) -> Callable[[Plant], Plant]:
    """Register a bug with the law that finds it, and what a seed's plan is changed to for it."""

    def register(fn: Plant) -> Plant:
        PLANTS[fn.__name__] = (law, where, fn)
        return fn

    return register


# Bugs of councils


@plant("one certificate", SEVEN)
def four_of_seven_make_a_certificate(patch: Patch) -> None:
    """n // 2 + 1 in place of 2n // 3 + 1."""
    right_of, right_verify = council.certificate_of, council.verify_certificate

    def certificate_of(votes: Iterable[Vote], seats: Sequence[Seat]) -> Certificate | None:
        with Patch.context() as half:
            half.setattr(council, "quorum", lambda count: count // 2 + 1)
            return right_of(votes, seats)

    def verify(
        certificate: Certificate, network: bytes, subject: bytes, seats: Sequence[Seat]
    ) -> None:
        with Patch.context() as half:
            half.setattr(council, "quorum", lambda count: count // 2 + 1)
            right_verify(certificate, network, subject, seats)

    patch.setattr(council, "certificate_of", certificate_of)
    patch.setattr(council, "verify_certificate", verify)


@plant("one certificate", f"{FOUR}equivocates+helps one;latency_ms=1500;bursts=20")
def precommits_of_several_rounds_make_a_certificate(patch: Patch) -> None:
    def certificate_of(votes: Iterable[Vote], seats: Sequence[Seat]) -> Certificate | None:
        for value in ("COMMIT", "ABORT"):
            mine = {v.village: v for v in votes if (v.step, v.value) == ("precommit", value)}
            if len(mine) >= council.quorum(len(seats)):
                last = max(vote.round for vote in mine.values())
                signed = tuple((name, vote.signature) for name, vote in mine.items())
                return Certificate(value, last, signed)
        return None

    patch.setattr(council, "certificate_of", certificate_of)
    patch.setattr(council, "verify_certificate", lambda *_: None)


@plant("stored before said", FOUR)
def a_seats_vote_is_sent_and_not_stored(patch: Patch) -> None:
    kept: dict[tuple[str | None, bytes], list[Vote]] = defaultdict(list)
    right_keep, right_words = councils.keep_vote, councils.words

    def keep(tx: Tx, held: Held, vote: Vote) -> bool:
        if vote.village != tx.identity.village:
            return right_keep(tx, held, vote)
        own = kept[vote.village, held.opened.id]
        own += [vote] if vote not in own else []
        return True

    def words(view: View, subject: bytes, since_ms: int = -1) -> councils.Words:
        found = right_words(view, subject, since_ms)
        own = kept[facts.read(view, "village_id"), subject]
        return found._replace(votes=[*found.votes, *own])

    patch.setattr(councils, "keep_vote", keep)
    patch.setattr(councils, "words", words)


@plant("locks hold", f"{FOUR}holds and lies+locks one;latency_ms=1500;bursts=20")
def a_lock_is_forgotten(patch: Patch) -> None:
    right = councils.keep_state

    def wrong(tx: Tx, opened: Opened, state: State, wakes_ms: int | None) -> None:
        right(tx, opened, msgspec.structs.replace(state, locked=None, locked_round=-1), wakes_ms)

    patch.setattr(councils, "keep_state", wrong)


@plant("what is proven is so", f"{FOUR}forges;latency_ms=400;bursts=4")
def evidence_is_not_checked(patch: Patch) -> None:
    def wrong(evidence: Evidence, terms: Terms, terms_bytes: bytes) -> Statement:
        return "no-hold" if b'"no-hold"' in evidence.record else "hold"

    patch.setattr(receipts, "statement_of", wrong)


@plant("what is proven is so", FOUR)
def a_hold_is_proven_without_cosignatures(patch: Patch) -> None:
    right_size, right_verify = logs.proven_size, receipts.verify_evidence

    def proven_size(view: View, log: int, owner: str, cosigners: Sequence[str], needed: int) -> int:
        return right_size(view, log, owner, cosigners, 1)

    def verify(evidence: Evidence, seats: Sequence[Seat]) -> bytes:
        with Patch.context() as alone:
            alone.setattr(council, "quorum", lambda count: 1)
            return right_verify(evidence, seats)

    patch.setattr(logs, "proven_size", proven_size)
    patch.setattr(receipts, "verify_evidence", verify)


@plant("votes have proof", FOUR)
def a_seat_votes_for_what_it_has_no_proof_of(patch: Patch) -> None:
    patch.setattr(valid, "provable", lambda *_: frozenset[Value]({"COMMIT", "ABORT"}))


@plant("absent after the deadline", FOUR)
def a_hold_is_missed_at_once(patch: Patch) -> None:
    patch.setattr(councils, "absent_from_ms", lambda terms, opened_ms: opened_ms)


# Bugs of ledgers, logs and disks


@plant("one end")
def a_hold_is_settled_twice(patch: Patch) -> None:
    right = holds.end_hold

    def wrong(tx: Tx, known: Trade, certificate: Certificate) -> None:
        right(tx, known, certificate)
        if certificate.value == "COMMIT":
            tx.append(records.SettleRecord(tx.minute, known.subject, certificate))

    patch.setattr(holds, "end_hold", wrong)


@plant("stored before said")
def a_proposal_is_sent_and_not_stored(patch: Patch) -> None:
    unsent: dict[tuple[str | None, str], list[SubjectMessage]] = defaultdict(list)
    right_propose, right_speak = trade_escrow.propose, trade_escrow.speak

    class Undone(Exception):
        pass

    def propose(tx: Tx, member: Member, proposal: Proposal, from_fee: int = 0) -> Trade:
        made: list[Trade] = []

        def attempt() -> None:
            made.append(right_propose(tx, member, proposal, from_fee))
            neighbour = neighbours.named(tx, proposal.to_village)
            [(said, _)] = outbox.speak(tx, neighbour, [made[0].subject])[:1]
            unsent[tx.identity.village, neighbour.village].append(said)
            raise Undone

        with pytest.raises(Undone):
            tx.part(attempt)
        return made[0]

    def speak(view: View, neighbour: Neighbour, *rest: Any) -> list[tuple[SubjectMessage, int]]:
        said = unsent[facts.read(view, "village_id"), neighbour.village]
        return [*right_speak(view, neighbour, *rest), *((each, 0) for each in said)]

    patch.setattr(trade_escrow, "propose", propose)
    patch.setattr(trade_escrow, "speak", speak)


@plant("cosigning never goes back", FOUR)
def a_stale_checkpoint_is_cosigned(patch: Patch) -> None:
    right = logs.take_in

    def wrong(tx: Tx, log: int, village: str, key: bytes, push: Push) -> logs.Taken:
        signed = checkpoint.open_checkpoint(push.checkpoint, village, key)
        if signed.size < logs.size_of(tx, log):
            logs.cosign(tx, log, signed, push.checkpoint)
        return right(tx, log, village, key, push)

    patch.setattr(logs, "take_in", wrong)


@plant("a nonce is used once")
def nonces_are_used_again(patch: Patch) -> None:
    right = Tx.__init__

    def wrong(self: Tx, *arguments: Any) -> None:
        right(self, *arguments)
        random = self.random
        self.random = lambda count: bytes(32) if count == 32 else random(count)

    patch.setattr(Tx, "__init__", wrong)


@plant("nobody is named")
def a_public_id_names_a_member(patch: Patch) -> None:
    right = trade_terms.make

    def wrong(tx: Tx, neighbour: Neighbour, proposal: Proposal, from_fee: int) -> Terms:
        made = right(tx, neighbour, proposal, from_fee)
        id_ = f"{proposal.to_user.replace(' ', '-')}-{made.trade_id}"
        return msgspec.structs.replace(made, trade_id=id_)

    patch.setattr(trade_terms, "make", wrong)


@plant("the log grows")
def commits_are_not_flushed(patch: Patch) -> None:
    right = database.set_up_writer

    def wrong(conn: sqlite3.Connection) -> None:
        right(conn)
        conn.execute("PRAGMA synchronous = NORMAL")

    patch.setattr(database, "set_up_writer", wrong)


# Bugs of two


@plant("holds follow the log")
def a_clock_releases_a_bound_hold(patch: Patch) -> None:
    right = trade_escrow.expire

    def wrong(tx: Tx) -> int:
        for known in trades.everyone(tx):
            bound = known.status in ("ACCEPTED", "HELD")
            if bound and known.terms.deadline_minute < tx.minute:
                entries = trade.entries(known.terms, known.role, f"member:{known.member}")
                ledger.end_hold(tx, entries)
                tx.run("UPDATE trade SET status = 'ABORTED' WHERE subject = ?", known.subject)
        return right(tx)

    patch.setattr(trade_escrow, "expire", wrong)


@plant("both have signed")
def a_hold_is_answered_without_checking_its_signature(patch: Patch) -> None:
    """One box signs nonsense, the other does not look."""
    right = holds.append_hold

    def wrong(tx: Tx, known: Trade, to_signature: bytes, account: str) -> None:
        right(tx, known, bytes(64) if known.role == "to" else to_signature, account)

    patch.setattr(holds, "append_hold", wrong)
    patch.setattr(trade, "verify_party", lambda *_: None)


@plant("one certificate")
def one_vote_of_two_makes_a_certificate(patch: Patch) -> None:
    patch.setattr(council, "quorum", lambda seats: seats // 2)


@plant("balances follow the log")
def a_trade_settles_twice(patch: Patch) -> None:
    right = ledger.post

    def wrong(
        tx: Tx, index: int, operation: Operation, entries: Sequence[Entry], stamp_ms: int
    ) -> None:
        right(tx, index, operation, entries, stamp_ms)
        if operation == "trade":
            right(tx, -index, operation, entries, stamp_ms)

    patch.setattr(ledger, "post", wrong)


@plant("balances follow the log")
def a_released_hold_is_posted(patch: Patch) -> None:
    right = ledger.end_hold

    def wrong(tx: Tx, entries: Sequence[Entry]) -> None:
        right(tx, entries)
        ledger.post(tx, -tx.next_index, "trade", entries, tx.stamp_ms)

    patch.setattr(ledger, "end_hold", wrong)


@plant("set-asides add up")
def a_reservation_is_not_freed(patch: Patch) -> None:
    def wrong(tx: Tx, known: Trade) -> None:
        trades.keep(tx, known.subject, reserved=0)

    patch.setattr(holds, "free", wrong)


@plant("holds follow the log")
def the_mirror_has_the_wrong_sign(patch: Patch) -> None:
    right = trade.entries

    def wrong(terms: trade.Terms, role: trade.Role, member: str) -> list[Entry]:
        found = right(terms, role, member)
        return [Entry(e.account, e.asset, -e.amount) for e in found] if role == "to" else found

    patch.setattr(trade, "entries", wrong)


@plant("limits hold")
def a_hold_does_not_ask_for_the_limit(patch: Patch) -> None:
    patch.setattr(ledger, "check", lambda tx, entries: None)


@plant("stored before said")
def a_vote_is_sent_before_it_is_stored(patch: Patch) -> None:
    kept: dict[tuple[str | None, bytes], list[Vote]] = {}
    right_keep, right_votes = trades.keep_vote, trades.votes

    def keep(tx: Tx, subject: bytes, vote: Vote) -> bool:
        if vote.village != tx.identity.village:
            return right_keep(tx, subject, vote)
        own = kept.setdefault((vote.village, subject), [])
        if vote in own:
            return False
        own.append(vote)
        return True

    def votes(view: View, subject: bytes) -> list[Vote]:
        village = facts.read(view, "village_id")
        return [*right_votes(view, subject), *kept.get((village, subject), [])]

    patch.setattr(trades, "keep_vote", keep)
    patch.setattr(trades, "votes", votes)


@plant("stored before said")
def a_cosignature_is_sent_without_being_stored(patch: Patch) -> None:
    kept: dict[tuple[int, str], CosignatureLine] = {}

    def cosign(tx: Tx, log: int, signed: checkpoint.Checkpoint, text: str) -> None:
        logs.keep_checkpoint(tx, log, signed, text)
        own = tx.identity
        line = checkpoint.cosign(signed, own.village, own.key, tx.stamp_ms // 1000)
        kept[log, own.village] = CosignatureLine(signed.size, line.to_text())

    patch.setattr(logs, "cosign", cosign)
    patch.setattr(logs, "cosignature_for", lambda view, log, village: kept.get((log, village)))


@plant("stock follows the trades", f"{TWO};latency_ms=3000")
def an_aborted_trade_does_not_put_back_what_it_took(patch: Patch) -> None:
    right = listings.take

    def wrong(tx: Tx, id_: str, side: Side, asset: str, amount: int) -> int | None:
        return right(tx, id_, side, asset, max(amount, 0))

    patch.setattr(listings, "take", wrong)


@plant("goods come once", f"{TWO};trades=50")
def goods_are_delivered_that_a_refund_gives_back(patch: Patch) -> None:
    patch.setattr(trade_delivery, "refund_of", lambda *_: None)


@plant("goods come once", f"{TWO};trades=50")
def goods_are_given_back_that_were_delivered(patch: Patch) -> None:
    patch.setattr(trade_delivery, "check_refund", lambda *_: None)


@plant("delivered with delivered")
def the_giver_does_not_hear_that_goods_came(patch: Patch) -> None:
    right = deliveries.heard

    def wrong(view: View, neighbour: str) -> list[bytes]:
        view.conn.execute("UPDATE trade SET heard = 0")
        return right(view, neighbour)

    patch.setattr(deliveries, "heard", wrong)


@plant("balances follow the log")
def what_was_delivered_stays_in_clearing(patch: Patch) -> None:
    right = holds.append_delivered

    def wrong(tx: Tx, known: Trade, leg: Leg) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(ledger, "post", lambda *_: None)
            right(tx, known, leg)

    patch.setattr(holds, "append_delivered", wrong)


@plant("disputes are told")
def what_is_written_of_a_dispute_stays_at_home(patch: Patch) -> None:
    patch.setattr(outbox, "DisputeText", lambda village, _: DisputeText(village, "nothing"))


@plant("listings agree")
def what_is_taken_back_is_only_deleted(patch: Patch) -> None:
    def wrong(tx: Tx, village: str, id_: str) -> None:
        tx.run("DELETE FROM listing WHERE village = ? AND id = ?", village, id_)

    patch.setattr(listings, "take_back", wrong)


@plant("one statement")
def a_no_hold_follows_a_hold(patch: Patch) -> None:
    right = trade_escrow.cancel

    def wrong(tx: Tx, member: Member, known: Trade) -> Trade:
        if known.to_signature is None or known.status in trade.UNBOUND_ENDS:
            return right(tx, member, known)
        holds.append_no_hold(tx, known, known.to_signature)
        return known

    patch.setattr(trade_escrow, "cancel", wrong)


@plant("every trade ends")
def the_acceptor_votes_before_it_knows(patch: Patch) -> None:
    right = trade.provable

    def wrong(facts: Facts) -> council.Value | None:
        return "ABORT" if facts.role == "to" and facts.theirs is None else right(facts)

    patch.setattr(trade, "provable", wrong)


@plant("every trade ends")
def a_certificate_is_not_passed_on(patch: Patch) -> None:
    right = outbox._message

    def wrong(view: View, known: Trade) -> SubjectMessage:
        said = right(view, known)
        return SubjectMessage(said.terms, said.from_signature, said.names, said.withdrawn)

    patch.setattr(outbox, "_message", wrong)


@plant("honest villages agree")
def a_proposal_is_not_signed(patch: Patch) -> None:
    right = outbox._message

    def wrong(view: View, known: Trade) -> SubjectMessage:
        said = right(view, known)
        return SubjectMessage(said.terms, bytes(64), said.names, said.withdrawn)

    patch.setattr(outbox, "_message", wrong)


@plant("every trade ends")
def a_vote_needs_no_proof(patch: Patch) -> None:
    """A seat votes to commit as soon as it has held."""
    right = trade.provable

    def wrong(facts: Facts) -> council.Value | None:
        return "COMMIT" if facts.mine == "hold" else right(facts)

    patch.setattr(trade, "provable", wrong)


@plant("the log grows")
def a_checkpoint_is_of_another_tree(patch: Patch) -> None:
    right = logs.keep_checkpoint

    def wrong(tx: Tx, log: int, head: checkpoint.Checkpoint, text: str) -> None:
        if log == OWN_LOG and head.size % 5 == 0:
            head = checkpoint.Checkpoint(head.origin, head.size, bytes(32))
        right(tx, log, head, text)

    patch.setattr(logs, "keep_checkpoint", wrong)


class _PutOff:
    """A connection that commits only now and then."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self._commits = 0

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql == "COMMIT":
            self._commits += 1
            sql = "COMMIT" if self._commits % 3 == 0 else "SELECT 1"
        elif sql == "BEGIN IMMEDIATE" and self._conn.in_transaction:
            sql = "SELECT 1"
        return self._conn.execute(sql, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)


@plant("the log grows")
def a_write_is_acknowledged_before_it_is_on_the_disk(patch: Patch) -> None:
    right = Writer.__init__

    def wrong(self: Writer, conn: sqlite3.Connection, *rest: Any) -> None:
        right(self, conn, *rest)
        self.conn = _PutOff(conn)  # type: ignore[assignment]

    patch.setattr(Writer, "__init__", wrong)


@pytest.mark.parametrize("name", PLANTS)
def test_the_laws_find_what_is_planted(name: str, monkeypatch: Patch) -> None:
    law, where, put = PLANTS[name]
    first = plan.of(0).changed(where)
    founded(first.villages, first.seats)  # before anything is wrong
    with monkeypatch.context() as patch:
        put(patch)
        made, broken = first_broken(where)
    assert broken.law == law, f"seed {made.seed}: {broken}"
    for seed in range(made.seed + 1):
        play(plan.of(seed).changed(where))


def first_broken(where: str) -> tuple[Plan, LawBroken]:
    for seed in range(SEEDS_MAX):
        made = plan.of(seed).changed(where)
        try:
            play(made)
        except LawBroken as broken:
            return made, broken
    raise AssertionError(f"{SEEDS_MAX} seeds do not show it")
