"""A long log of small records for tests, in a database in memory."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from edge.core import checkpoint, crypto, merkle
from edge.core.checkpoint import Checkpoint
from edge.storage import database, logs
from edge.storage.tx import OWN_LOG, View, insert_nodes, position

ORIGIN: Final = "ose-missouri-001"
KEY: Final = crypto.SecretKey(bytes(32))
WITNESS: Final = "ose-ohio-001"
COSIGNED_S: Final = 1_760_000_000


@contextmanager
def long_log(size: int, cosigned: Sequence[int]) -> Iterator[View]:
    """Make an own log of `size` records; Ohio has cosigned it at these sizes."""
    conn = sqlite3.connect(":memory:", isolation_level=None)
    database.migrate(conn)
    view = View(conn)
    conn.execute("INSERT INTO log (id, village, public_key) VALUES (0, ?, ?)", (ORIGIN, KEY.public))
    leaves = [merkle.leaf_hash(record(number)) for number in range(size)]
    conn.execute("BEGIN")
    conn.executemany(
        "INSERT INTO entry (position, leaf, record) VALUES (?, ?, ?)",
        [(position(OWN_LOG, 0, i), leaf, record(i)) for i, leaf in enumerate(leaves)],
    )
    insert_nodes(view, OWN_LOG, merkle.extend(0, [], leaves)[1])
    for signed in {*cosigned, size}:
        head = Checkpoint(ORIGIN, signed, logs.root_of(view, OWN_LOG, signed))
        text = checkpoint.sign_checkpoint(head, KEY)
        conn.execute("INSERT INTO checkpoint VALUES (0, ?, ?, ?)", (signed, head.root, text))
        if signed in cosigned:
            cosign(view, head, WITNESS)
    conn.execute("COMMIT")
    yield view
    conn.close()


def record(number: int) -> bytes:
    """Return a record; each third one is empty."""
    return b"record %d" % number * (number % 3)


def key_of(village: str) -> crypto.SecretKey:
    return crypto.SecretKey(crypto.sha256(village.encode()))


def cosign(view: View, head: Checkpoint, village: str) -> None:
    line = checkpoint.cosign(head, village, key_of(village), COSIGNED_S).to_text()
    view.conn.execute("INSERT INTO cosignature VALUES (0, ?, ?, ?)", (head.size, village, line))
