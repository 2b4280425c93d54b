"""One log from 1,000 records to 1,000,000 (LOG_RECORDS=10000000 for more): do proofs, tiles and
appends cost the same in a longer one?"""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge.appliance.randomness import random_bytes
from edge.core import crypto, merkle, records
from edge.core.checkpoint import Checkpoint
from edge.core.tiles import ENTRIES, WIDTH, Tile
from edge.storage import database, logs, tiles
from edge.storage.tx import OWN_LOG, Identity, Tx, View
from edge.storage.writer import Writer
from tests.bench.table import Row
from tests.storage.long_log import KEY, ORIGIN, WITNESS, begin, cosign, grow

LARGEST: Final = int(os.environ.get("LOG_RECORDS", "1000000"))
TIMES: Final = 400
START_MS: Final = 1_800_000_000_000


async def rows(folder: Path) -> list[Row]:
    conn = database.open_writer(folder / "ledger.db", create=True)
    conn.execute("PRAGMA synchronous = OFF")  # while it is made
    view = View(conn)
    begin(view)
    found, size = [], 1_000
    while size <= LARGEST:
        grow(view, size, _record)
        cosign(view, Checkpoint(ORIGIN, size, logs.root_of(view, OWN_LOG, size)), WITNESS)
        found += _at(view, size)
        conn.execute("PRAGMA synchronous = FULL")
        found.append(_append(view, size, folder / "ledger.db"))
        conn.execute("PRAGMA synchronous = OFF")
        size *= 10
    conn.close()
    return found


def _record(number: int) -> bytes:
    """Return a payment's record, as the log has it."""
    return records.encode(records.SealedRecord(29_000_000, crypto.sha256(b"%d" % number)))


def _at(view: View, size: int) -> list[Row]:
    rng = random.Random(size)
    published = tiles.published(view)

    def inclusion() -> None:
        tiles.prove(view, OWN_LOG, rng.randrange(size), published)

    def consistency() -> None:
        old = rng.randrange(1, size)
        nodes = logs.read_nodes(view, OWN_LOG, merkle.nodes_for_consistency(old, size))
        merkle.consistency_proof(old, size, nodes)

    def hashes() -> None:
        tiles.read_hashes(view, OWN_LOG, Tile(0, rng.randrange(size // WIDTH)))

    def entries() -> None:
        tile = Tile(ENTRIES, rng.randrange(size // WIDTH))
        tiles.entries_bytes(view, OWN_LOG, tile)
        tiles.read_entries(view, OWN_LOG, tile, 0, 128 * 1024)

    return [
        Row(f"{name}, of {size:,} records", _p50_ms(each), "ms p50", aim, "less")
        for name, each, aim in (
            ("inclusion proof", inclusion, 1.0),
            ("consistency proof", consistency, 1.0),
            ("tile of 256 hashes", hashes, None),
            ("tile of 256 records", entries, None),
        )
    ]


def _append(view: View, size: int, path: Path) -> Row:
    """Commit one record at a time, as the box does when nothing else is to be written."""
    writer = Writer(view.conn, Identity(ORIGIN, KEY), random_bytes, path)

    def append(tx: Tx) -> None:
        tx.append(records.SealedRecord(tx.minute, tx.random(32)))

    spent_ms = _p50_ms(lambda: writer.run([append], START_MS + size))
    return Row(f"durable append alone, to {size:,} records", spent_ms, "ms p50", None, "less")


def _p50_ms(each: Callable[[], object]) -> float:
    times = []
    for _ in range(TIMES):
        began = time.perf_counter()
        each()
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2] * 1_000
