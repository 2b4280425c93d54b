"""One seat of four lies to the councils: the laws hold for the other three, and all their trades
end."""

import asyncio
import itertools
from typing import Any, Final

import pytest

from edge import desk, trade_escrow
from edge.core.trade import Proposal
from edge.errors import BoxError
from edge.storage import councils, members, telling, trades
from edge.storage.audit import audit
from edge.storage.trades import Trade
from edge.storage.tx import View
from tests.simulation.council_liar import TWISTS, Liar
from tests.simulation.laws import Laws
from tests.simulation.world import Village, World

NAMES: Final = ("ose-a-001", "ose-b-001", "ose-c-001", "ose-d-001")
A, B, C, D = NAMES
ROUNDS_MAX: Final = 30  # of all pairs meeting
FORGED: Final = ("evidence", "certificate", "votes", "absents", "proposals")


class Four:
    """Four villages that all are neighbours, one of them `liar`; Alice of A offers AT for the solar
    panels of Bob of B."""

    def __init__(self, liar: str, *manners: str, faces: int = 1, seed: int = 1) -> None:
        self.world = World(seed)
        found = [self.world.village(name) for name in NAMES]
        for one, other in itertools.combinations(found, 2):
            self.world.befriend(one, other)
        for village in found:
            village.now(lambda tx: desk.add_member(tx, "Alice", "-"))
            village.now(lambda tx: desk.add_member(tx, "Bob", "-"))
        found[0].now(lambda tx: desk.issue(tx, "Alice", "500"))
        found[1].now(lambda tx: desk.declare(tx, "Bob", "Solar Panel", "5"))
        self.laws = Laws(self.world)
        self.boxes = dict(zip(NAMES, found, strict=True))
        for one, other in itertools.permutations(found, 2):
            asyncio.run(one.client.exchange(other.name))
        self.liar = Liar(self.boxes[liar], manners, faces=faces)
        self.laws.forget(liar)

    @property
    def honest(self) -> list[Village]:
        return list(self.world.villages.values())

    def meet(self, *names: str) -> None:
        """Let each of these, in turn, talk to each other."""
        for one, other in itertools.permutations(names or NAMES, 2):
            self.talk(one, other)
        for village in self.honest:
            audit(View(village.conn))
        self.laws.check()

    def talk(self, one: str, other: str) -> None:
        if one == self.liar.name:
            asyncio.run(self.liar.dial(other))
            return
        try:
            asyncio.run(self.boxes[one].client.exchange(other))
        except BoxError:
            if other != self.liar.name:
                raise

    def propose(self, face: int = 0, **changes: Any) -> Trade:
        asked: dict[str, Any] = {
            "to_village": B,
            "to_user": "Bob",
            "offer": ("AT", "100"),
            "request": ("Solar Panel", "1"),
        }
        made = Proposal(**(asked | changes))
        box = self.liar.faces[face] if self.liar.name == A else self.boxes[A]
        known = box.now(
            lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), made, from_fee=1_00)
        )
        assert len(known.terms.seats) == len(NAMES)
        return known

    def accept(self, known: Trade) -> None:
        self.boxes[B].now(
            lambda tx: trade_escrow.accept(
                tx, members.named(tx, "Bob"), trades.by_subject(tx, known.subject)
            )
        )

    def accepted(self) -> Trade:
        """Return a trade that B has accepted, of which A has not heard yet."""
        known = self.propose()
        self.talk(A, B)
        self.accept(known)
        return known

    def end(self, *known: Trade) -> set[str]:
        """Let time pass until the honest seats have decided all of them; return their values."""
        for _ in range(ROUNDS_MAX):
            if all(self.decided(village, each) for village in self.honest for each in known):
                break
            self.meet()
            self.world.now_ms += 60_000
            for village in self.honest:
                village.now(trade_escrow.wake)
        self.meet()
        values = {self.decided(village, each) for village in self.honest for each in known}
        assert values <= {"COMMIT", "ABORT"}, f"not decided: {values}"
        return values

    def decided(self, village: Village, known: Trade) -> str:
        opened = village.look(lambda view: councils.find(view, known.subject))
        if opened is None or opened.certificate is None:
            return ""
        return opened.certificate.value

    def status(self, name: str, known: Trade) -> str:
        return self.boxes[name].look(lambda view: trades.by_subject(view, known.subject)).status

    def after_deadline(self, known: Trade) -> None:
        self.world.now_ms = known.terms.deadline_minute * 60_000 + councils.ABSENT_AFTER_MS
        for village in self.honest:
            village.now(trade_escrow.wake)

    def rows(self, table: str) -> int:
        return sum(
            village.conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for village in self.honest
        )


# One lie at a time, by a witness


@pytest.mark.parametrize("manner", TWISTS)
def test_a_lying_witness_changes_nothing(manner: str) -> None:
    for seed in range(2):
        four = Four(D, manner, seed=seed)
        known = four.accepted()
        assert four.end(known) == {"COMMIT"}
        assert (four.status(A, known), four.status(B, known)) == ("SETTLED", "SETTLED")


@pytest.mark.parametrize("manner", TWISTS)
def test_a_lying_witness_changes_no_abort(manner: str) -> None:
    for seed in range(2):
        four = Four(D, manner, seed=seed)
        known = four.accepted()
        four.boxes[A].now(
            lambda tx, known=known: trade_escrow.cancel(  # type: ignore[misc]
                tx, members.named(tx, "Alice"), trades.by_subject(tx, known.subject)
            )
        )
        assert four.end(known) == {"ABORT"}
        assert (four.status(A, known), four.status(B, known)) == ("CANCELLED", "ABORTED")


def test_a_silent_witness_holds_nobody() -> None:
    four = Four(D)
    four.liar.silent = True
    known = four.accepted()
    assert four.end(known) == {"COMMIT"}


def test_two_words_are_kept_as_misbehaviour() -> None:
    four = Four(D, "equivocates")
    assert four.end(four.accepted()) == {"COMMIT"}
    assert four.rows("misbehaviour")


def test_nothing_is_kept_of_a_forgery() -> None:
    """What is said of that subject is passed over whole; the rest of the message is heard."""
    four = Four(D, "forges")
    four.end(four.accepted())
    kept = {table: four.rows(table) for table in ("proof", "ballot", "absence", "proposal")}
    for _ in range(30):
        for village in four.honest:
            assert asyncio.run(four.liar.dial(village.name))
    assert {table: four.rows(table) for table in kept} == kept
    assert all(four.world.counts[f"forged {what}"] for what in FORGED)


def test_a_seat_that_always_asks_again_keeps_nobody_busy() -> None:
    four = Four(D, "asks again")
    four.end(four.accepted())
    asked = four.liar.asked
    four.talk(A, D)
    assert four.liar.asked - asked <= 3
    assert not four.boxes[A].look(telling.urgent)


# By a party


@pytest.mark.parametrize("manner", TWISTS)
@pytest.mark.parametrize("liar", [A, B])
def test_a_lying_party(liar: str, manner: str) -> None:
    """What it gets is what the council decides, and that is the same for all."""
    four = Four(liar, manner)
    known = four.propose()
    four.meet(A, B)
    four.accept(known)
    four.meet()
    four.after_deadline(known)
    honest = B if liar == A else A
    if four.status(honest, known) == "PENDING":
        four.boxes[honest].now(trade_escrow.expire)
    for _ in range(ROUNDS_MAX):
        if four.status(honest, known) not in ("ACCEPTED", "HELD"):
            break
        four.meet()
        four.world.now_ms += 60_000
        for village in four.honest:
            village.now(trade_escrow.wake)
    assert four.status(honest, known) in ("SETTLED", "ABORTED", "EXPIRED", "CANCELLED")
    four.meet()
    assert len({four.decided(village, known) for village in four.honest} - {""}) <= 1


def test_a_proposer_that_goes_silent_after_the_acceptance() -> None:
    four = Four(A)
    known = four.accepted()
    four.liar.silent = True
    four.meet()
    assert four.status(B, known) == "ACCEPTED"
    four.after_deadline(known)
    assert four.end(known) == {"ABORT"}
    assert four.status(B, known) == "ABORTED"


def test_an_acceptor_that_goes_silent_after_its_hold() -> None:
    four = Four(B)
    known = four.accepted()
    four.talk(A, B)
    four.liar.silent = True
    assert four.status(A, known) == "HELD"
    four.after_deadline(known)
    assert four.end(known) == {"ABORT"}
    assert four.status(A, known) == "ABORTED"


@pytest.mark.parametrize("shown", list(itertools.product((0, 1), repeat=3)))
def test_a_proposer_with_two_logs(shown: tuple[int, int, int]) -> None:
    """To some it shows that it is bound, to the others that it is not."""
    four = Four(A, "two logs")
    known = four.propose()
    four.talk(A, B)
    four.accept(known)
    four.liar = Liar(four.boxes[A], ["two logs"], faces=2)
    held, unbound = four.liar.faces
    four.liar.shown = {
        name: four.liar.faces[face] for name, face in zip((B, C, D), shown, strict=True)
    }
    unbound.now(
        lambda tx: trade_escrow.cancel(
            tx, members.named(tx, "Alice"), trades.by_subject(tx, known.subject)
        )
    )
    for face in (held, unbound):  # each hears of the acceptance
        asyncio.run(face.client.exchange(B))
    for _ in range(3):
        four.meet()
    four.after_deadline(known)
    assert len(four.end(known)) == 1
    assert four.status(B, known) in ("SETTLED", "ABORTED")
