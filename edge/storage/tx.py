"""What a transaction sees: `View` to read, `Tx` to write.

A transaction is a plain function over one of these. It runs whole, on the database thread or (in
the simulator) inline. Ledger words live in this package's other modules, as functions of a View or
Tx, so that no SQL leaks out.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec

from edge.core import crypto, limits, merkle, records
from edge.core.accounts import Asset
from edge.errors import SetBack

T = TypeVar("T")
# A row of `movement`: index, account, asset, amount, balance, previous, operation, stamp_ms.
Moved = tuple[int, str, str, int, int, int | None, str, int]
OWN_LOG = 0
SET_BACK: Final = "set_back"  # the fact that says so, see storage/set_back
IS_SET_BACK: Final = "SELECT 1 FROM fact WHERE name = 'set_back'"
SET_BACK_TEXT: Final = (
    "this box was set back to an older state: it first asks its neighbours for what its village has"
    " said since, and nothing is entered or said until then"
)
_LEVEL_SHIFT = 40
_LOG_SHIFT = 46


def position(log: int, level: int, index: int) -> int:
    """Pack a place in a log's tree into one integer; see schema/01-ledger.sql."""
    return log << _LOG_SHIFT | level << _LEVEL_SHIFT | index


class View:
    """A consistent state of the database, for reading."""

    __slots__ = ("assets", "conn")

    def __init__(self, conn: sqlite3.Connection) -> None:
        self.conn = conn
        self.assets: dict[str, Asset] = {}  # of the own catalogue, read once

    def one(self, sql: str, *values: object) -> Any:
        """Return the first row as a tuple, or None."""
        return self.conn.execute(sql, values).fetchone()

    def all(self, sql: str, *values: object) -> list[Any]:
        return self.conn.execute(sql, values).fetchall()


class Head(msgspec.Struct, frozen=True):
    """Where a log ends: its size and the hashes of its right edge (merkle.edge_nodes)."""

    size: int
    edge: tuple[bytes, ...]

    @property
    def root(self) -> bytes:
        return merkle.root_from_edge(self.edge)


class Identity(msgspec.Struct, frozen=True):
    """Who writes here: village id and key."""

    village: str
    key: crypto.SecretKey


class Urgent(NamedTuple):
    """News of a subject since a stamp, for a village that must hear it at once."""

    village: str
    subject: bytes
    since_ms: int


class Tx(View):
    """One batch of writes, under one `stamp_ms`, greater than any before; `minute` is its public
    form. `now_ms` is what the clock says, which may be less; no later stamp is below
    `least_stamp_ms`. Whoever sets `empties_wal` asks that nothing written before be left in that
    file. `news`: something of a council has changed; `urgent` is what other villages must hear at
    once. Both may tell too much."""

    __slots__ = (
        "_appended",
        "_may_append",
        "_moved",
        "_sealed",
        "_size",
        "empties_wal",
        "identity",
        "least_stamp_ms",
        "minute",
        "news",
        "now_ms",
        "random",
        "stamp_ms",
        "urgent",
    )

    def __init__(
        self,
        conn: sqlite3.Connection,
        identity: Identity,
        size: int,
        stamp_ms: int,
        now_ms: int,
        random: Callable[[int], bytes],
    ) -> None:
        super().__init__(conn)
        self.now_ms = now_ms
        self.identity = identity
        self.random = random
        self.stamp_ms = stamp_ms
        self.minute = stamp_ms // limits.MINUTE_MS
        self.empties_wal = False
        self.least_stamp_ms = 0
        self._may_append: bool | None = None
        self.news = False
        self.urgent: set[Urgent] = set()
        self._size = size
        self._appended: list[tuple[int, bytes, bytes]] = []  # position, leaf hash, record
        self._sealed: list[tuple[int, bytes, bytes, bytes | None, bytes | None]] = []
        self._moved: list[Moved] = []

    def run(self, sql: str, *values: object) -> int:
        """Change rows; return how many."""
        return self.conn.execute(sql, values).rowcount

    @property
    def next_index(self) -> int:
        """The index that the next record appended will have."""
        return self._size + len(self._appended)

    def append(self, record: records.Record) -> int:
        """Append to the own log; return the record's index. It is written at the batch's end.

        Raises SetBack if the log goes on elsewhere than here."""
        if self._may_append is None:
            self._may_append = self.one(IS_SET_BACK) is None
        if not self._may_append:
            raise SetBack(SET_BACK_TEXT)
        encoded = records.encode(record)
        assert len(encoded) <= limits.RECORD_BYTES_MAX
        return self.append_again(encoded)

    def append_again(self, encoded: bytes) -> int:
        """Append the bytes of a record that this village has signed before."""
        index = self.next_index
        leaf = merkle.leaf_hash(encoded)
        self._appended.append((position(OWN_LOG, 0, index), leaf, encoded))
        return index

    def keep_sealed(
        self, index: int, posting: tuple[bytes, bytes], personal: tuple[bytes, bytes] | None
    ) -> None:
        """Keep the (nonce, private bytes) pairs that record `index` commits to."""
        personal_nonce, personal_bytes = personal or (None, None)
        self._sealed.append((index, *posting, personal_nonce, personal_bytes))

    def keep_moved(self, row: Moved) -> None:
        """Keep a row of `movement`, written at the batch's end."""
        self._moved.append(row)

    def not_before_ms(self, minute: int) -> None:
        """Have all later stamps be in this minute or after it."""
        self.least_stamp_ms = max(self.least_stamp_ms, minute * limits.MINUTE_MS)

    def mark(self) -> tuple[int, int, int]:
        return len(self._appended), len(self._sealed), len(self._moved)

    def return_to(self, mark: tuple[int, int, int]) -> None:
        """Forget what was appended since `mark`."""
        del self._appended[mark[0] :]
        del self._sealed[mark[1] :]
        del self._moved[mark[2] :]
        self.assets.clear()

    def part(self, fn: Callable[[], T]) -> T:
        """Run a part of a write. If it raises, that part is undone, and nothing else."""
        mark = self.mark()
        self.conn.execute("SAVEPOINT part")
        try:
            result = fn()
        except Exception:
            self.conn.execute("ROLLBACK TO part")
            self.conn.execute("RELEASE part")
            self.return_to(mark)
            raise
        self.conn.execute("RELEASE part")
        return result

    def flush(self, head: Head) -> Head:
        """Write the appended entries, nodes and private rows; return the log's new head."""
        many = self.conn.executemany
        many("INSERT INTO movement VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self._moved)
        if not self._appended:
            return head
        edge, nodes = merkle.extend(head.size, head.edge, (leaf for _, leaf, _ in self._appended))
        many("INSERT INTO entry (position, leaf, record) VALUES (?, ?, ?)", self._appended)
        insert_nodes(self, OWN_LOG, nodes)
        many("INSERT INTO sealed VALUES (?, ?, ?, ?, ?)", self._sealed)
        return Head(head.size + len(self._appended), tuple(edge))


def insert_nodes(tx: View, log: int, nodes: Sequence[tuple[int, int, bytes]]) -> None:
    tx.conn.executemany(
        "INSERT INTO node (position, hash) VALUES (?, ?)",
        [(position(log, level, index), hash_) for level, index, hash_ in nodes],
    )


class Runner(Protocol):
    """Runs transactions: aiosqlite in the product, inline in the simulator."""

    async def write(self, fn: Callable[[Tx], T]) -> T: ...

    async def read(self, fn: Callable[[View], T]) -> T: ...
