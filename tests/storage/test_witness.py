"""Cosigning for whoever asks: what is stored whole and nothing else, once, in one transaction."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import pytest

from edge import desk, trade_escrow
from edge.core import checkpoint, limits, merkle, note
from edge.core.checkpoint import Checkpoint
from edge.core.trade import Proposal
from edge.core.witness import AddCheckpoint
from edge.errors import (
    BadProof,
    PeerError,
    StaleCheckpoint,
    StorageError,
    TooMany,
    UnknownOrigin,
    UntrustedCheckpoint,
    WrongState,
)
from edge.storage import allowance, database, logs, members, neighbours
from edge.storage.audit import audit
from edge.storage.tx import OWN_LOG, Tx, View
from edge.storage.witness import add_checkpoint
from tests.storage.villages import Village, neighbours_with_goods, sync

T = TypeVar("T")
COPY = 1  # the number of the copied log
FORK = bytes(31) + b"f"


class Inline:
    """Runs transactions of one village at once, and counts what it writes."""

    def __init__(self, village: Village) -> None:
        self.village = village
        self.writes = 0

    async def read(self, fn: Callable[[View], T]) -> T:
        return fn(self.village.view)

    async def write(self, fn: Callable[[Tx], T]) -> T:
        self.writes += 1
        return self.village.write(fn)


class Together(Inline):
    """Runs two writes in one batch, each decided upon before the other is done."""

    def __init__(self, village: Village) -> None:
        super().__init__(village)
        self.waiting: list[tuple[Callable[[Tx], Any], asyncio.Future[Any]]] = []

    async def write(self, fn: Callable[[Tx], T]) -> T:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.waiting.append((fn, future))
        if len(self.waiting) == 2:
            try:
                outcomes = self.village.write_all([each for each, _ in self.waiting])
            except AssertionError as broken:
                outcomes = [broken, broken]
            for (_, done), outcome in zip(self.waiting, outcomes, strict=True):
                done.set_result(outcome)
        outcome = await future
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def villages(path: Path) -> Iterator[tuple[Village, Village]]:
    """A keeps B's log; B has six records more, of which A holds four in part of a longer push."""
    a, b = neighbours_with_goods(path)
    for _ in range(6):
        b.write(lambda tx: desk.declare(tx, "Bob", "Solar Panel", "1"))
    with mock.patch.object(limits, "PUSH_RECORDS_MAX", 4):
        push = logs.push_for(b.view, cosigned(a))
    assert push is not None
    key = b.identity.key.public
    assert a.write(lambda tx: logs.take_in(tx, COPY, b.name, key, push)).size == cosigned(a) + 4
    yield a, b
    a.conn.close()


def cosigned(a: Village) -> int:
    line = logs.cosignature_for(a.view, COPY, a.name)
    assert line is not None
    return line.size


def signed(b: Village, size: int, root: bytes | None = None) -> str:
    head = Checkpoint(b.name, size, root or logs.root_of(b.view, OWN_LOG, size))
    return checkpoint.sign_checkpoint(head, b.identity.key)


def request(b: Village, old: int, size: int, root: bytes | None = None) -> AddCheckpoint:
    proof: list[bytes] = []
    if old < size:
        nodes = logs.read_nodes(b.view, OWN_LOG, merkle.nodes_for_consistency(old, size))
        proof = merkle.consistency_proof(old, size, nodes)
    return AddCheckpoint.of(old, proof, signed(b, size, root))


def ask(a: Village, asked: AddCheckpoint) -> str:
    return asyncio.run(add_checkpoint(Inline(a), a.name, asked))


def refused(a: Village, asked: AddCheckpoint) -> PeerError:
    with pytest.raises(PeerError) as caught:
        ask(a, asked)
    return caught.value


def everything(conn: sqlite3.Connection) -> list[str]:
    return list(conn.iterdump())


def trouble(a: Village, b: Village) -> str:
    return neighbours.named(a.view, b.name).trouble


def rows(conn: sqlite3.Connection, own: str) -> tuple[list[int], list[int]]:
    """Return the sizes of the checkpoints and of the cosignatures that are kept of the copy."""
    checkpoints = conn.execute("SELECT size FROM checkpoint WHERE log = ? ORDER BY size", (COPY,))
    lines = conn.execute(
        "SELECT size FROM cosignature WHERE log = ? AND village = ? ORDER BY size", (COPY, own)
    )
    return [size for (size,) in checkpoints], [size for (size,) in lines]


def test_what_is_stored_whole_is_cosigned_and_kept(villages: tuple[Village, Village]) -> None:
    a, b = villages
    old = cosigned(a)
    asked = request(b, old, old + 3)
    line = ask(a, asked)
    public = a.identity.key.public
    signature = note.NoteSignature.from_text(line)
    at_s = checkpoint.verify_cosignature(asked.head, signature, a.name, public)
    assert at_s == a.now_ms // 1000
    sizes, lines = rows(a.conn, a.name)
    assert sizes == lines and sizes[-1] == old + 3
    assert audit(a.view).copies[0].checkpoint_size == old + 3


def test_the_same_again_gets_the_same_and_writes_nothing(
    villages: tuple[Village, Village],
) -> None:
    a, b = villages
    old = cosigned(a)
    line = ask(a, request(b, old, old + 2))
    assert refused(a, request(b, old, old + 2)).more == {"size": old + 2}
    before, runner = everything(a.conn), Inline(a)
    for _ in range(3):
        again = request(b, old + 2, old + 2)
        assert asyncio.run(add_checkpoint(runner, a.name, again)) == line
    assert (runner.writes, everything(a.conn)) == (0, before)


def test_what_sync_has_cosigned_is_answered_with_that(villages: tuple[Village, Village]) -> None:
    a, b = villages
    sync(a, b)
    size = logs.size_of(b.view, OWN_LOG)
    assert refused(a, request(b, 0, size)).more == {"size": size}
    known = logs.cosignature_for(a.view, COPY, a.name)
    assert known is not None
    assert ask(a, request(b, size, size)) == known.line


def test_what_is_not_stored_is_not_cosigned(villages: tuple[Village, Village]) -> None:
    a, b = villages
    old, size = cosigned(a), logs.size_of(b.view, OWN_LOG)
    before = everything(a.conn)
    for ahead in range(old + 5, size + 1):
        refusal = refused(a, request(b, old, ahead))
        assert type(refusal) is StaleCheckpoint
        assert refusal.more == {"size": old, "retry_after_s": 60}
    assert everything(a.conn) == before
    sync(a, b)
    assert ask(a, request(b, size, size))


def test_it_never_goes_back(villages: tuple[Village, Village]) -> None:
    a, b = villages
    old = cosigned(a)
    ask(a, request(b, old, old + 4))
    for smaller in range(1, old + 4):
        for start in (0, smaller):
            assert refused(a, request(b, start, smaller)).more == {"size": old + 4}
    assert cosigned(a) == old + 4


def test_two_at_once_are_decided_one_after_the_other(villages: tuple[Village, Village]) -> None:
    """Both were due when they were read; the second no longer is when it is written."""
    a, b = villages
    old = cosigned(a)
    runner = Together(a)

    async def both() -> list[Any]:
        asked = [request(b, old, old + 3), request(b, old, old + 1)]
        tasks = [add_checkpoint(runner, a.name, each) for each in asked]
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second = asyncio.run(both())
    assert isinstance(first, str)
    assert type(second) is StaleCheckpoint and second.more == {"size": old + 3}
    assert rows(a.conn, a.name)[0][-2:] == [old, old + 3]


def test_only_the_logs_own_signature_is_kept(villages: tuple[Village, Village]) -> None:
    a, b = villages
    old = cosigned(a)
    asked = request(b, old, old + 1)
    others = "".join(note.NoteSignature(f"w{n}", bytes(4), bytes(64)).to_text() for n in range(31))
    ask(a, AddCheckpoint.of(old, asked.proof, asked.signed + others))
    last = logs.last_checkpoint(a.view, COPY)
    assert last is not None and last[2] == asked.signed


# Whose log


def test_only_neighbours_logs_are_cosigned(villages: tuple[Village, Village]) -> None:
    a, b = villages
    before = everything(a.conn)
    for stranger in (a, Village("ose-ohio-001")):
        assert type(refused(a, request(stranger, 0, 1))) is UnknownOrigin
    head = Checkpoint(b.name, 1, logs.root_of(b.view, OWN_LOG, 1))
    forged = checkpoint.sign_checkpoint(head, a.identity.key)
    assert type(refused(a, AddCheckpoint.of(0, [], forged))) is UntrustedCheckpoint
    assert everything(a.conn) == before


# Forks


@pytest.mark.parametrize("away", [-2, 0, 2])
def test_a_second_root_is_noted_and_never_cosigned(
    villages: tuple[Village, Village], away: int
) -> None:
    """Of a size below the one that is cosigned, of that one, and of one that is stored."""
    a, b = villages
    size = cosigned(a)
    asked = AddCheckpoint.of(min(size, size + away), [], signed(b, size + away, FORK))
    kept, runner = rows(a.conn, a.name), Inline(a)
    for _ in range(3):
        with pytest.raises((BadProof, StaleCheckpoint)):
            asyncio.run(add_checkpoint(runner, a.name, asked))
    assert runner.writes == 1, "the same evidence is written once"
    assert trouble(a, b) == f"{b.name} has signed two different logs of {size + away} records"
    assert rows(a.conn, a.name) == kept
    proposal = Proposal(b.name, "Bob", ("AT", "1"), ("Solar Panel", "1"))
    with pytest.raises(WrongState):
        a.write(lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), proposal, 0))


def test_a_branch_that_leaves_after_what_is_cosigned_is_a_fork(
    villages: tuple[Village, Village],
) -> None:
    """Its proof holds: it begins with what is cosigned. The records that are stored say more."""
    a, b = villages
    old = cosigned(a)
    leaves = [merkle.leaf_hash(logs.record_at(b.view, OWN_LOG, index)) for index in range(old)]
    leaves += [merkle.leaf_hash(b"another")] * 2
    edge, grown = merkle.extend(0, [], leaves)
    found = {merkle.Node(0, index): leaf for index, leaf in enumerate(leaves)}
    found |= {merkle.Node(level, index): hash_ for level, index, hash_ in grown}
    proof = merkle.consistency_proof(old, old + 2, found)
    asked = AddCheckpoint.of(old, proof, signed(b, old + 2, merkle.root_from_edge(edge)))
    assert type(refused(a, asked)) is BadProof
    assert trouble(a, b) == f"{b.name} has signed two different logs of {old + 2} records"
    assert cosigned(a) == old


def test_a_wrong_proof_accuses_nobody(villages: tuple[Village, Village]) -> None:
    a, b = villages
    old, size = cosigned(a), logs.size_of(b.view, OWN_LOG)
    before = everything(a.conn)
    assert type(refused(a, AddCheckpoint.of(old, [bytes(32)] * 3, signed(b, size)))) is BadProof
    assert type(refused(a, AddCheckpoint.of(old, [], signed(b, old + 2)))) is BadProof
    assert everything(a.conn) == before


# All or nothing


@pytest.mark.parametrize("table", ["checkpoint", "cosignature", "neighbour"])
def test_a_write_that_fails_leaves_nothing(villages: tuple[Village, Village], table: str) -> None:
    a, b = villages
    old = cosigned(a)
    before = everything(a.conn)

    def authorize(action: int, name: str | None, *_: object) -> int:
        is_write = action in (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE)
        return sqlite3.SQLITE_DENY if is_write and name == table else sqlite3.SQLITE_OK

    a.conn.set_authorizer(authorize)
    with pytest.raises(StorageError):
        ask(a, request(b, old, old + 3))
    a.conn.set_authorizer(None)
    assert everything(a.conn) == before
    assert ask(a, request(b, old, old + 3))


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_power_cut_leaves_both_or_neither(
    villages: tuple[Village, Village], path: Path, tmp_path: Path, when: str
) -> None:
    """What is on the disk just before and just after the commit."""
    a, b = villages
    old = cosigned(a)
    disk = tmp_path / "disk.db"

    def copy() -> None:
        for end in ("", "-wal"):
            shutil.copyfile(f"{path}{end}", f"{disk}{end}")

    class Cut(Inline):
        async def write(self, fn: Callable[[Tx], T]) -> T:
            def run(tx: Tx) -> T:
                result = fn(tx)
                if when == "before":
                    copy()
                return result

            result = await super().write(run)
            if when == "after":
                copy()
            return result

    line = asyncio.run(add_checkpoint(Cut(a), a.name, request(b, old, old + 3)))
    conn = database.open_writer(disk)
    sizes, lines = rows(conn, a.name)
    assert sizes == lines
    assert sizes[-1] == (old if when == "before" else old + 3)
    audit(View(conn))
    if when == "after":
        known = logs.cosignature_for(View(conn), COPY, a.name)
        assert known is not None and known.line == line
    conn.close()


def test_no_more_is_kept_of_a_neighbour_than_of_its_records(
    villages: tuple[Village, Village],
) -> None:
    a, b = villages
    old = cosigned(a)
    a.conn.execute(
        "UPDATE neighbour SET taken_bytes = ?, taken_ms = ?", (allowance.FIRST_BYTES * 2, a.now_ms)
    )
    before = everything(a.conn)
    with pytest.raises(TooMany):
        ask(a, request(b, old, old + 1))
    assert everything(a.conn) == before
