"""Villages for the tests of storage: the product's writer and drivers on the tests' own databases.

There are no tasks and no network: what one village says to another is handed over at once.
"""

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from edge import desk, peering, trade_escrow
from edge.core import crypto, messages
from edge.core.registry import Location
from edge.core.trade import Proposal
from edge.exchange import compose, receive
from edge.storage import database, members, trades
from edge.storage.members import Member
from edge.storage.trades import Trade
from edge.storage.tx import Identity, Tx, View
from edge.storage.writer import Writer

T = TypeVar("T")
START_MS: Final = 1_760_000_000_000
ROUNDS_MAX: Final = 50


class Village:
    """One village; `at` is its database file, none for one in memory."""

    def __init__(self, name: str, at: Path | None = None, founded: bool = True) -> None:
        self.name = name
        self.rng = random.Random(name)
        self.now_ms = START_MS
        self.identity = Identity(name, crypto.SecretKey(self.rng.randbytes(32)))
        self.profile = peering.Profile(
            f"Village {name}", Location(38.45, -93.85), (f"{name}:7440",), bytes(32)
        )
        if at is None:
            self.conn = sqlite3.connect(":memory:", isolation_level=None)
            self.conn.execute("PRAGMA foreign_keys = ON")
            database.migrate(self.conn)
        else:
            self.conn = database.open_writer(at, create=True)
        self.start()
        if founded:
            self.write(desk.found_village)
            self.write(lambda tx: peering.refresh_entry(tx, self.profile))

    def start(self) -> None:
        """Begin again with what is in the database."""
        self.writer = Writer(self.conn, self.identity, self.rng.randbytes)

    @property
    def view(self) -> View:
        return View(self.conn)

    def write(self, fn: Callable[[Tx], T]) -> T:
        """Run one write as a batch of its own."""
        [outcome] = self.write_all([fn])
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def write_all(self, fns: list[Callable[[Tx], T]]) -> list[T | BaseException]:
        """Run writes as one batch; return what each returned or raised."""
        self.now_ms += 1_000
        outcomes = self.writer.run(fns, self.now_ms)
        return [result if error is None else error for result, error in outcomes]

    def member(self, name: str) -> Member:
        return members.named(self.view, name)


def befriend(a: Village, b: Village) -> None:
    invitation = a.write(peering.invite)
    sent = b.write(lambda tx: peering.take_up(tx, invitation))
    answered = a.write(lambda tx: peering.answer(tx, sent, a.profile))
    b.write(lambda tx: peering.complete(tx, invitation, sent, answered, b.profile))


def say(speaker: Village, hearer: Village, turn: int = 0) -> bool:
    """Hand one message over, and the answer back; tell whether there is more to say."""
    said = compose(speaker.view, trade_escrow, hearer.name, (), turn)
    body = messages.encode(said.message)
    hearer.write(lambda tx: receive(tx, trade_escrow, messages.decode_exchange(body), None))
    answer = messages.encode(
        compose(hearer.view, trade_escrow, speaker.name, [s for s, _ in said.rows], 0).message
    )
    heard = speaker.write(
        lambda tx: receive(tx, trade_escrow, messages.decode_exchange(answer), said)
    )
    return bool(heard.moved or heard.partial or said.is_partial)


def sync(a: Village, b: Village) -> None:
    """Let two villages talk until both are silent."""
    for _ in range(ROUNDS_MAX):
        if not any([say(a, b), say(b, a)]):
            return
    raise AssertionError("the villages do not come to an end")


def propose(
    a: Village,
    b: Village,
    offer: tuple[str, str] = ("AT", "100"),
    request: tuple[str, str] = ("Solar Panel", "1"),
    fee: int = 0,
) -> Trade:
    proposal = Proposal(b.name, "Bob", offer, request)
    return a.write(lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), proposal, fee))


def accept(b: Village, subject: bytes) -> Trade:
    return b.write(
        lambda tx: trade_escrow.accept(tx, members.named(tx, "Bob"), trades.by_subject(tx, subject))
    )


def cancel(a: Village, subject: bytes) -> Trade:
    return a.write(
        lambda tx: trade_escrow.cancel(
            tx, members.named(tx, "Alice"), trades.by_subject(tx, subject)
        )
    )


def neighbours_with_goods(a_file: Path | None = None) -> tuple[Village, Village]:
    """Two neighbours: Alice and Carol of A have tokens, Bob of B has solar panels."""
    a, b = Village("ose-missouri-001", a_file), Village("ose-california-001")
    a.write(lambda tx: desk.add_member(tx, "Alice", "-"))
    a.write(lambda tx: desk.add_member(tx, "Carol", "-"))
    b.write(lambda tx: desk.add_member(tx, "Bob", "-"))
    a.write(lambda tx: desk.issue(tx, "Alice", "50000"))
    b.write(lambda tx: desk.declare(tx, "Bob", "Solar Panel", "9"))
    befriend(a, b)
    sync(a, b)
    return a, b


def every_record_kind(a_file: Path | None = None) -> tuple[Village, Village]:
    """Two neighbours whose logs hold records of every kind, and trades in nearly every status.

    A's log has a hold, settle and no-hold, B's two holds that ended, one each way, and one of which
    A has not heard. A proposal is open, others were withdrawn or declined.
    """
    a, b = neighbours_with_goods(a_file)
    a.write_all(
        [
            lambda tx: desk.pay(tx, "Alice", "Carol", "12.34", note="for the cheese"),
            lambda tx: desk.pay(tx, "Carol", "treasury", "0.05"),
            lambda tx: desk.declare(tx, "Alice", "Flour", "2.500", decimals=3),
            lambda tx: desk.consume(tx, "Alice", "Flour", "0.250"),
            lambda tx: desk.set_limit(tx, "Carol", "AT", "20"),
            lambda tx: desk.set_limit(tx, b.name, "AT", "2000"),
            lambda tx: desk.pay(tx, "Carol", "Alice", "30"),
        ]
    )
    settled = propose(a, b, fee=100)
    sync(a, b)
    accept(b, settled.subject)
    sync(a, b)
    aborted = propose(a, b)
    sync(a, b)
    accept(b, aborted.subject)
    cancel(a, aborted.subject)
    sync(a, b)
    accepted = propose(a, b, ("AT", "7"), ("solar panel", "2"))
    withdrawn = propose(a, b)
    rejected = propose(a, b)
    propose(a, b, ("flour", "0.5"), ("AT", "3"))
    sync(a, b)
    cancel(a, withdrawn.subject)
    b.write(
        lambda tx: trade_escrow.reject(
            tx, members.named(tx, "Bob"), trades.by_subject(tx, rejected.subject)
        )
    )
    sync(a, b)
    accept(b, accepted.subject)
    return a, b
