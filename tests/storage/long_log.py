"""A long log of small records for tests, in a database in memory."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from edge.core import checkpoint, crypto, merkle
from edge.core.checkpoint import Checkpoint
from edge.storage import database, logs
from edge.storage.tx import OWN_LOG, Head, View, insert_nodes, position

ORIGIN: Final = "ose-missouri-001"
KEY: Final = crypto.SecretKey(bytes(32))
WITNESS: Final = "ose-ohio-001"
COSIGNED_S: Final = 1_760_000_000
CHUNK: Final = 10_000


def record(number: int) -> bytes:
    """Return a record; each third one is empty."""
    return b"record %d" % number * (number % 3)


@contextmanager
def long_log(size: int, cosigned: Sequence[int]) -> Iterator[View]:
    """Make an own log of `size` records; Ohio has cosigned it at these sizes."""
    conn = sqlite3.connect(":memory:", isolation_level=None)
    database.migrate(conn)
    view = View(conn)
    begin(view)
    for signed in sorted({*cosigned, size}):
        grow(view, signed)
        if signed in cosigned:
            cosign(view, Checkpoint(ORIGIN, signed, logs.root_of(view, OWN_LOG, signed)), WITNESS)
    yield view
    conn.close()


def begin(view: View) -> None:
    view.conn.execute("INSERT INTO log VALUES (0, ?, ?)", (ORIGIN, KEY.public))


def grow(view: View, size: int, make: Callable[[int], bytes] = record) -> None:
    """Append records up to `size` of them, and sign that checkpoint."""
    head = logs.head_of(view, OWN_LOG)
    view.conn.execute("BEGIN")
    for start in range(head.size, size, CHUNK):
        end = min(start + CHUNK, size)
        made = [make(number) for number in range(start, end)]
        leaves = [merkle.leaf_hash(each) for each in made]
        edge, nodes = merkle.extend(start, head.edge, leaves)
        head = Head(end, tuple(edge))
        view.conn.executemany(
            "INSERT INTO entry (position, leaf, record) VALUES (?, ?, ?)",
            [(position(OWN_LOG, 0, start + i), leaf, made[i]) for i, leaf in enumerate(leaves)],
        )
        insert_nodes(view, OWN_LOG, nodes)
    text = checkpoint.sign_checkpoint(Checkpoint(ORIGIN, size, head.root), KEY)
    view.conn.execute("INSERT INTO checkpoint VALUES (0, ?, ?, ?)", (size, head.root, text))
    view.conn.execute("COMMIT")


def key_of(village: str) -> crypto.SecretKey:
    return crypto.SecretKey(crypto.sha256(village.encode()))


def cosign(view: View, head: Checkpoint, village: str) -> None:
    line = checkpoint.cosign(head, village, key_of(village), COSIGNED_S).to_text()
    view.conn.execute("INSERT INTO cosignature VALUES (0, ?, ?, ?)", (head.size, village, line))
