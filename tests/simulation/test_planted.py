"""Bugs planted one at a time: the laws find each within a few seeds, or they would be no laws.

A plant changes one thing that the product does right. What it does without the plant, the same seed
shows afterwards.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from edge import trade_delivery, trade_escrow
from edge.core import checkpoint, council, trade
from edge.core.accounts import Entry
from edge.core.council import Vote
from edge.core.delivery import Leg
from edge.core.listing import Side
from edge.core.messages import CosignatureLine, DisputeText, SubjectMessage
from edge.core.records import Operation
from edge.core.trade import Facts
from edge.storage import deliveries, facts, holds, ledger, listings, logs, outbox, trades
from edge.storage.members import Member
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, Tx, View
from edge.storage.writer import Writer
from tests.simulation.laws import LawBroken
from tests.simulation.swaps import play

SEEDS_MAX: Final = 200

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]
PLANTS: Final[dict[str, tuple[str, bool, Plant]]] = {}


def plant(law: str, *, goes_on: bool = False) -> Callable[[Plant], Plant]:
    """Register a bug with the law that finds it, in stories that go on after the settlement or not:
    those are shorter."""

    def register(fn: Plant) -> Plant:
        PLANTS[fn.__name__] = (law, goes_on, fn)
        return fn

    return register


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


@plant("stock follows the trades")
def an_aborted_trade_does_not_put_back_what_it_took(patch: Patch) -> None:
    right = listings.take

    def wrong(tx: Tx, id_: str, side: Side, asset: str, amount: int) -> int | None:
        return right(tx, id_, side, asset, max(amount, 0))

    patch.setattr(listings, "take", wrong)


@plant("goods come once", goes_on=True)
def goods_are_delivered_that_a_refund_gives_back(patch: Patch) -> None:
    patch.setattr(trade_delivery, "refund_of", lambda *_: None)


@plant("goods come once", goes_on=True)
def goods_are_given_back_that_were_delivered(patch: Patch) -> None:
    patch.setattr(trade_delivery, "check_refund", lambda *_: None)


@plant("delivered with delivered", goes_on=True)
def the_giver_does_not_hear_that_goods_came(patch: Patch) -> None:
    right = deliveries.heard

    def wrong(view: View, neighbour: str) -> list[bytes]:
        view.conn.execute("UPDATE trade SET heard = 0")
        return right(view, neighbour)

    patch.setattr(deliveries, "heard", wrong)


@plant("balances follow the log", goes_on=True)
def what_was_delivered_stays_in_clearing(patch: Patch) -> None:
    right = holds.append_delivered

    def wrong(tx: Tx, known: Trade, leg: Leg) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(ledger, "post", lambda *_: None)
            right(tx, known, leg)

    patch.setattr(holds, "append_delivered", wrong)


@plant("disputes are told", goes_on=True)
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
    law, goes_on, put = PLANTS[name]
    with monkeypatch.context() as patch:
        put(patch)
        seed, broken = first_broken(goes_on)
    assert broken.law == law, f"seed {seed}: {broken}"
    play(seed, goes_on)


def first_broken(goes_on: bool) -> tuple[int, LawBroken]:
    for seed in range(SEEDS_MAX):
        try:
            play(seed, goes_on)
        except LawBroken as broken:
            return seed, broken
    raise AssertionError(f"{SEEDS_MAX} seeds do not show it")
