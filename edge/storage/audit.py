"""The whole database checked against the logs: `village-edge audit`.

Everything derived is made again from the record bytes and the private rows, and compared: leaf
hashes and tree, checkpoints and cosignatures with their signatures, statements, deliveries,
catalogues, trades and votes, movements, balances. It only reads, in one transaction, beside a
running box; it holds accounts, assets, open holds and what is still to be delivered in memory, and
one stretch of a log.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

import msgspec

from edge.core import checkpoint, merkle, note, records, replay
from edge.core.accounts import Asset, Counters
from edge.core.council import Seat
from edge.core.replay import Delivery, Private, Replay, Said, Statement, difference
from edge.errors import PeerError
from edge.storage import (
    audit_councils,
    audit_deliveries,
    audit_neighbours,
    audit_trades,
    facts,
    logs,
    movements,
    set_back,
)
from edge.storage.audit_trades import Own
from edge.storage.tx import OWN_LOG, View, position

CHUNK_RECORDS: Final = 1_024  # a power of two: then the nodes that it completes lie side by side

Progress = Callable[[int, int], None]
Take = Callable[[int, bytes, Private | None], Said]
Place = tuple[str, str]  # account and asset


class Copy(msgspec.Struct, frozen=True):
    """A neighbour's log as it is held here. Records beyond the newest checkpoint are a part of a
    longer log, of which the rest has not come yet."""

    village: str
    size: int
    checkpoint_size: int


class AuditReport(msgspec.Struct, frozen=True):
    """What agrees. `size` and `root` are the own log's head; `lost`: records whose
    private rows are gone since the box was restored."""

    village: str
    size: int
    root: bytes
    sealed: int
    lost: int
    settled: int
    aborted: int
    open: int
    accounts: int
    assets: int
    copies: tuple[Copy, ...]


def audit(view: View, progress: Progress | None = None) -> AuditReport:
    """Recompute everything and compare; `progress` gets records done and in all, now and then.

    Raises AuditDifference, which names the first difference.
    """
    with _one_state(view):
        return _audit(view, progress or (lambda _done, _total: None))


class _Log(NamedTuple):
    id: int
    village: str
    key: bytes
    size: int

    @property
    def shown(self) -> str:
        return "the own log" if self.id == OWN_LOG else f"the copy of {self.village}"


@contextmanager
def _one_state(view: View) -> Iterator[None]:
    """Read one state of the database, whatever a running box commits meanwhile."""
    began = not view.conn.in_transaction
    if began:
        view.conn.execute("BEGIN")
    try:
        yield
    finally:
        if began:
            view.conn.rollback()


def _audit(view: View, progress: Progress) -> AuditReport:
    audit_neighbours.check_schema(view)
    all_logs = _logs(view)
    own, copies = all_logs[0], all_logs[1:]
    _check_strays(view, all_logs)
    done = _Done(progress, sum(log.size for log in all_logs))
    ledger = Replay(own.village, own.key, set_back.lost(view))
    moved = movements.Stored(view)
    walked = _walk(view, own, _own(ledger, moved), ledger.commit, done)
    moved.check_end()
    if walked.checkpoint_size != own.size:
        raise difference(
            own.shown, "its newest checkpoint's size", own.size, walked.checkpoint_size
        )
    held = [_walk(view, log, _copied(log), lambda: None, done) for log in copies]
    keys = {log.village: log.key for log in all_logs}
    for log in all_logs:
        _check_cosignatures(view, log, keys)
    numbers = {log.village: log.id for log in all_logs}
    counts, reserved = audit_trades.check(view, Own(own.village, own.key, numbers))
    _check_balances(view, ledger, reserved)
    audit_neighbours.check(view, Seat(own.village, own.key))
    audit_councils.check(view, own.village)
    return AuditReport(
        village=own.village,
        size=own.size,
        root=merkle.root_from_edge(walked.edge),
        sealed=ledger.sealed,
        lost=ledger.lost,
        settled=counts.settled,
        aborted=counts.aborted,
        open=counts.open,
        accounts=len({account for account, _ in ledger.accounts}),
        assets=len(ledger.assets),
        copies=tuple(
            Copy(log.village, log.size, walk.checkpoint_size)
            for log, walk in zip(copies, held, strict=True)
        ),
    )


class _Done:
    """How far the audit has come."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._records = progress, total, 0

    def add(self, records: int) -> None:
        self._records += records
        self._progress(self._records, self._total)


# What belongs to no log


def _logs(view: View) -> list[_Log]:
    found = [
        _Log(number, village, key, logs.size_of(view, number))
        for number, village, key in view.all("SELECT id, village, public_key FROM log ORDER BY id")
    ]
    if not found or found[0].id != OWN_LOG or found[0].size == 0:
        raise difference("the own log", "its records", "at least the village record", None)
    if (named := facts.read(view, "village_id")) != found[0].village:
        raise difference("the own log", "its village", named, found[0].village)
    for village, key in view.all("SELECT village, public_key FROM neighbour ORDER BY village"):
        known = {log.village: log.key for log in found[1:]}.get(village)
        if known != key:
            raise difference(f"neighbour {village}", "the key of its log", key, known)
    return found


def _check_strays(view: View, all_logs: list[_Log]) -> None:
    """Find rows that no log has a place for."""
    for table, _, parent, _ in view.all("PRAGMA foreign_key_check"):
        raise difference(f"table {table}", f"the {parent} that a row names", "one", None)
    for table in ("statement", "delivery", "asset"):
        sql = f"SELECT min(log) FROM {table} WHERE log NOT IN (SELECT id FROM log)"  # noqa: S608
        if (unknown := view.one(sql)[0]) is not None:
            raise difference(f"table {table}", "the log that a row names", "one", unknown)
    ends = [*(position(log.id, 0, 0) for log in all_logs[1:]), _POSITION_MAX]
    for log, end in zip(all_logs, ends, strict=True):
        _check_none_between(view, "entry", position(log.id, 0, log.size), end)
        for level in range(_LEVELS):
            last = end if level == _LEVELS - 1 else position(log.id, level + 1, 0)
            complete = log.size >> level if level else 0  # leaves stand in their entries
            _check_none_between(view, "node", position(log.id, level, complete), last)
    for table in ("entry", "node"):
        _check_none_between(view, table, -_POSITION_MAX, 0)
    _check_private(view, all_logs[0])


def _check_private(view: View, own: _Log) -> None:
    first, last = view.one("SELECT min(idx), max(idx) FROM sealed")
    if (row := view.one("SELECT idx FROM sealed JOIN lost USING (idx) LIMIT 1")) is not None:
        raise difference(f"record {row[0]}", "a private row that is lost", None, "one")
    for index in (first, last, *view.one("SELECT max(idx) FROM lost")):
        if index is not None and not 0 <= index < own.size:
            raise difference(f"record {index}", "a private row without a record", None, "one")


def _check_none_between(view: View, table: str, low: int, high: int) -> None:
    sql = f"SELECT min(position) FROM {table} WHERE position >= ? AND position < ?"  # noqa: S608
    if (stray := view.one(sql, low, high)[0]) is not None:
        raise difference(f"table {table}", "a place that no log has", None, stray)


# A log


class _Walk:
    """One log, read from its first record to its last."""

    def __init__(self, view: View, log: _Log, take: Take, commit: Callable[[], None]) -> None:
        self.size = 0
        self.edge: list[bytes] = []
        self.checkpoint_size = 0
        self._view, self._log = view, log
        self._take, self._commit = take, commit
        self._assets: dict[str, Asset] = {}
        self._statements = self._deliveries = 0
        self._checkpoints = view.conn.execute(
            "SELECT size, root, note FROM checkpoint WHERE log = ? ORDER BY size", (log.id,)
        )
        self._next: tuple[int, bytes, str] | None = self._checkpoints.fetchone()

    def run(self, done: _Done) -> None:
        """Check everything of the log but its cosignatures."""
        while self.size < self._log.size:
            before = self.size
            self._chunk(min(before + CHUNK_RECORDS, self._log.size))
            done.add(self.size - before)
        if self._next is not None:
            raise difference(
                self._log.shown, "a checkpoint's size", f"{self.size} at most", self._next[0]
            )
        self._check_catalogue()
        self._check_statement_count()
        audit_deliveries.check_count(
            self._view, self._log.id, self._log.shown, self._deliveries, self.size
        )

    def _chunk(self, end: int) -> None:
        start, nodes, leaves = self.size, list[tuple[int, int, bytes]](), list[bytes]()
        for index, leaf, record, private in self._rows(start, end):
            if index != start + len(leaves):
                break
            if merkle.leaf_hash(record) != leaf:
                raise difference(
                    self._at(index), "its leaf hash", merkle.leaf_hash(record), bytes(leaf)
                )
            said = self._take(index, record, private)
            if said is not None:
                self._check_said(index, said)
            leaves.append(leaf)
            if self._next is not None and self._next[0] <= index + 1:
                nodes += self._grow(leaves[self.size - start :])
                self._check_checkpoint()
        nodes += self._grow(leaves[self.size - start :])
        if self.size != end:
            raise difference(self._at(self.size), "the record", "one", None)
        self._check_nodes(start, nodes)

    def _rows(self, start: int, end: int) -> Iterator[tuple[int, bytes, bytes, Private | None]]:
        first = position(self._log.id, 0, 0)
        between = (first + start, first + end)
        if self._log.id != OWN_LOG:
            for at, leaf, record in self._view.conn.execute(_ENTRIES, between):
                yield at - first, leaf, record, None
            return
        for row in self._view.conn.execute(_OWN_ENTRIES, between):
            yield row[0], row[1], row[2], None if row[3] is None else row[3:]

    def _grow(self, leaves: list[bytes]) -> list[tuple[int, int, bytes]]:
        self.edge, nodes = merkle.extend(self.size, self.edge, leaves)
        self.size += len(leaves)
        return nodes

    def _check_nodes(self, start: int, nodes: list[tuple[int, int, bytes]]) -> None:
        """Compare the stored nodes with those that the chunk from `start` has completed."""
        found: list[tuple[int, int, bytes]] = []
        for level in range(1, self.size.bit_length()):
            low, high = start >> level, self.size >> level
            if low != high:
                between = (position(self._log.id, level, low), position(self._log.id, level, high))
                found += self._view.conn.execute(_NODES, between)
        nodes.sort()
        if found == nodes:
            return
        stored = {(level, index): hash_ for level, index, hash_ in found}
        for level, index, hash_ in sorted(nodes, key=lambda node: (node[1] + 1 << node[0], node)):
            if stored.get((level, index)) != hash_:
                where = _node(self._log, level, index)
                raise difference(where, "its hash", hash_, stored.get((level, index)))

    def _check_checkpoint(self) -> None:
        """Check all checkpoints at the size that is reached."""
        while self._next is not None and self._next[0] <= self.size:
            size, root, text = self._next
            where = f"{self._log.shown}, checkpoint {size}"
            expected = merkle.root_from_edge(self.edge) if size == self.size else None
            if root != expected:
                raise difference(where, "its root", expected, root)
            try:
                signed = checkpoint.open_checkpoint(text, self._log.village, self._log.key)
            except PeerError as error:
                raise difference(where, "its note", "signed by the village", error) from None
            if (signed.size, signed.root) != (size, root):
                raise difference(where, "its note", f"{size} {root.hex()}", signed)
            self.checkpoint_size = size
            self._next = self._checkpoints.fetchone()
        self._commit()

    def _check_said(self, index: int, said: Statement | Delivery | Asset) -> None:
        if isinstance(said, Asset):
            self._assets.setdefault(said.code, said)
            return
        if isinstance(said, Delivery):
            self._deliveries += 1
            audit_deliveries.check_row(self._view, self._log.id, index, self._at(index), said)
            return
        self._statements += 1
        row = self._view.one(
            "SELECT kind FROM statement WHERE subject = ? AND log = ? AND idx = ?",
            said.subject,
            self._log.id,
            index,
        )
        found = row[0] if row else None
        if found != said.kind:
            raise difference(self._at(index), "its row among the statements", said.kind, found)

    def _check_catalogue(self) -> None:
        found = {asset.code: asset for asset in logs.assets(self._view, self._log.id)}
        for code in sorted(self._assets.keys() | found.keys()):
            if found.get(code) != self._assets.get(code):
                where = f"{self._log.shown}, asset {code}"
                raise difference(where, "its row", self._assets.get(code), found.get(code))

    def _check_statement_count(self) -> None:
        sql = "SELECT count(*) FROM statement WHERE log = ?"
        if self._view.one(sql, self._log.id)[0] == self._statements:
            return
        for index, subject, kind in self._view.conn.execute(
            "SELECT idx, subject, kind FROM statement WHERE log = ? ORDER BY idx", (self._log.id,)
        ):
            inside = 0 <= index < self.size
            said = (
                replay.said_in(logs.record_at(self._view, self._log.id, index)) if inside else None
            )
            if said != Statement(subject, kind):
                raise difference(self._at(index), "a row among the statements", said, kind)

    def _at(self, index: int) -> str:
        own = self._log.id == OWN_LOG
        return f"record {index}" if own else f"{self._log.shown}, record {index}"


_LEVELS: Final = 64
_POSITION_MAX: Final = 2**63 - 1
_ENTRIES: Final = (
    "SELECT position, leaf, record FROM entry WHERE position >= ? AND position < ?"
    " ORDER BY position"
)
_OWN_ENTRIES: Final = (
    "SELECT e.position, e.leaf, e.record, s.posting_nonce, s.posting, s.personal_nonce, s.personal"
    " FROM entry e LEFT JOIN sealed s ON s.idx = e.position"
    " WHERE e.position >= ? AND e.position < ? ORDER BY e.position"
)
_NODES: Final = (  # as (level, index, hash)
    "SELECT position >> 40 & 63, position & 1099511627775, hash FROM node"
    " WHERE position >= ? AND position < ? ORDER BY position"
)


def _walk(view: View, log: _Log, take: Take, commit: Callable[[], None], done: _Done) -> _Walk:
    walk = _Walk(view, log, take, commit)
    walk.run(done)
    return walk


def _own(ledger: Replay, moved: movements.Stored) -> Take:
    """Return what takes the own records, and compares what they have moved."""

    def take(index: int, record: bytes, private: Private | None) -> Said:
        said = ledger.take(index, record, private)
        moved.check(index, ledger.moved)
        return said

    return take


def _copied(log: _Log) -> Take:
    """Return what takes a neighbour's records: only the first must be what it should be."""

    def take(index: int, record: bytes, _: Private | None) -> Said:
        if index == 0:
            _check_first(log, record)
        return replay.said_in(record)

    return take


def _check_first(log: _Log, record: bytes) -> None:
    expected = (log.village, log.key.hex())
    try:
        first = records.decode(record)
    except PeerError as error:
        raise difference(f"{log.shown}, record 0", "whose log it is", expected, error) from None
    found = None
    if isinstance(first, records.VillageRecord):
        found = (first.village_id, first.key.hex())
    if found != expected:
        raise difference(f"{log.shown}, record 0", "whose log it is", expected, found)


def _node(log: _Log, level: int, index: int) -> str:
    return f"{log.shown}, tree node {index} of level {level}"


def _check_cosignatures(view: View, log: _Log, keys: dict[str, bytes]) -> None:
    for size, root, village, line in view.conn.execute(
        "SELECT c.size, k.root, c.village, c.line FROM cosignature c"
        " JOIN checkpoint k ON k.log = c.log AND k.size = c.size"
        " WHERE c.log = ? ORDER BY c.size, c.village",
        (log.id,),
    ):
        where = f"{log.shown}, cosignature of {village} on checkpoint {size}"
        if village not in keys:
            raise difference(where, "who cosigned", "a village known here", village)
        head = checkpoint.Checkpoint(log.village, size, root)
        try:
            signature = note.NoteSignature.from_text(line)
            checkpoint.verify_cosignature(head, signature, village, keys[village])
        except PeerError as error:
            raise difference(where, "its signature", "one that holds", error) from None


# Balances


def _check_balances(view: View, ledger: Replay, reserved: Mapping[Place, int]) -> None:
    rows, newest = {}, {}
    for account, asset, last, *counters in view.conn.execute(
        "SELECT account, asset, newest, debits_posted, credits_posted, debits_pending,"
        " credits_pending, reserved, debit_limit FROM balance"
    ):
        rows[account, asset], newest[account, asset] = Counters(*counters), last
    for place in sorted(ledger.accounts.keys() | rows.keys() | reserved.keys()):
        account, code = place
        where = f"balance of {account} in {code}"
        if code not in ledger.assets:
            raise difference(where, "its asset", "one in the catalogue", code)
        expected = ledger.counters(account, code, reserved.get(place, 0))
        found = rows.get(place)
        if found is None:
            raise difference(where, "its row", "one", None)
        for column in Counters.__struct_fields__:
            if getattr(found, column) != getattr(expected, column):
                raise difference(where, column, getattr(expected, column), getattr(found, column))
        last = ledger.accounts[place].newest if place in ledger.accounts else None
        if newest[place] != last:
            raise difference(where, "its newest movement", last, newest[place])
        if found.available < 0 and place not in ledger.lowered:
            raise difference(where, "what is left of its limit", "0 or more", found.available)
    _check_sums(rows)


def _check_sums(rows: Mapping[Place, Counters]) -> None:
    for code in sorted({code for _, code in rows}):
        of_asset = [counters for (_, asset), counters in rows.items() if asset == code]
        posted = sum(each.balance for each in of_asset)
        pending = sum(each.credits_pending - each.debits_pending for each in of_asset)
        if posted or pending:
            raise difference(
                f"asset {code}", "its sums", "0 posted and 0 pending", (posted, pending)
            )
