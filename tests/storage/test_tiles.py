"""Tiles from the database: byte-exact, of what is cosigned and nothing after it, at one price."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import desk
from edge.core import checkpoint, crypto, limits, merkle, messages, note, tiles
from edge.core.checkpoint import Checkpoint
from edge.core.tiles import ENTRIES, WIDTH, Tile
from edge.errors import NotFound, UnknownOrigin
from edge.storage import logs
from edge.storage import tiles as kept
from edge.storage.tx import OWN_LOG, View, position
from tests.storage.long_log import (
    COSIGNED_S,
    KEY,
    ORIGIN,
    WITNESS,
    cosign,
    key_of,
    long_log,
    record,
)
from tests.storage.villages import Village, every_record_kind, neighbours_with_goods, sync

SIZE = 70_000  # C2SP's own example
COPY = 1


@pytest.fixture(scope="module")
def log() -> Iterator[View]:
    """An own log of 70,000 records, published, and 300 records after them, which are not."""
    with long_log(SIZE + 300, (7, SIZE)) as view:
        yield view


def leaf(number: int) -> bytes:
    return merkle.leaf_hash(record(number))


def read(view: View, tile: Tile, log: int = OWN_LOG) -> bytes:
    """Return a tile whole, its records in parts of a hundred bytes."""
    if tile.level != ENTRIES:
        return kept.read_hashes(view, log, tile)
    records: list[bytes] = []
    while len(records) < tile.width:
        records += kept.read_entries(view, log, tile, len(records), 100)
    data = tiles.encode_entries(records)
    assert kept.entries_bytes(view, log, tile) == len(data)
    return data


def root_of_full(hashes: Sequence[bytes]) -> bytes:
    """Return the root of a full tile, pair by pair."""
    level = list(hashes)
    while len(level) > 1:
        level = [merkle.node_hash(*level[i : i + 2]) for i in range(0, len(level), 2)]
    return level[0]


def test_every_tile_of_70_000_records(log: View) -> None:
    """Level 0 are the leaves, each item above it the root of the full tile below."""
    below = [leaf(number) for number in range(SIZE)]
    for level in range(3):
        of_level = [tile for tile in tiles.tiles_of(SIZE) if tile.level == level]
        data = [read(log, tile) for tile in of_level]
        found = [
            each
            for tile, part in zip(of_level, data, strict=True)
            for each in tiles.decode_hashes(part, tile.width)
        ]
        assert found == below
        whole = len(below) // WIDTH * WIDTH
        below = [root_of_full(below[i : i + WIDTH]) for i in range(0, whole, WIDTH)]
    assert below == []


def test_every_tile_of_its_records(log: View) -> None:
    found: list[bytes] = []
    while len(found) < SIZE:
        tile = Tile(ENTRIES, len(found) // WIDTH, min(WIDTH, SIZE - len(found)))
        found += tiles.decode_entries(read(log, tile), tile.width)
    assert found == [record(number) for number in range(SIZE)]


@pytest.mark.parametrize("level", [ENTRIES, 0, 1])
def test_a_partial_tile_of_any_width_is_the_beginning_of_the_next(log: View, level: int) -> None:
    whole = read(log, Tile(level, 0))
    for width in (1, 2, 17, 112, 255):
        assert whole.startswith(read(log, Tile(level, 0, width)))
    assert len(read(log, Tile(0, 273, 112))) == 112 * merkle.HASH_BYTES


@pytest.mark.parametrize(
    "tile",
    [
        Tile(0, 273),
        Tile(0, 273, 113),
        Tile(0, 274, 1),
        Tile(ENTRIES, 273),
        Tile(ENTRIES, 273, 113),
        Tile(ENTRIES, 10**17, 1),
        Tile(1, 1),
        Tile(1, 1, 18),
        Tile(2, 0, 2),
        Tile(2, 0),
        Tile(3, 0, 1),
        Tile(5, 0, 1),
        Tile(63, 10**17, 1),
    ],
    ids=Tile.to_path,
)
def test_what_is_not_cosigned_is_not_published(log: View, tile: Tile) -> None:
    reader = kept.entries_bytes if tile.level == ENTRIES else kept.read_hashes
    with pytest.raises(NotFound):
        reader(log, OWN_LOG, tile)


def test_the_checkpoint_is_the_newest_that_is_cosigned(log: View) -> None:
    found = kept.published(log)
    assert found.size == SIZE
    head = checkpoint.open_checkpoint(found.signed, ORIGIN, KEY.public)
    assert (head.size, head.root) == (SIZE, logs.root_of(log, OWN_LOG, SIZE))
    _, line = note.Note.from_text(found.signed).signatures
    public = key_of(WITNESS).public
    assert checkpoint.verify_cosignature(head, line, WITNESS, public) == COSIGNED_S


def test_a_checkpoint_has_as_many_cosignatures_as_a_note_may() -> None:
    village = Village(ORIGIN)
    size, root, _ = logs.last_checkpoint(village.view, OWN_LOG) or (0, b"", "")
    for number in range(limits.NEIGHBOURS_MAX):
        cosign(village.view, Checkpoint(ORIGIN, size, root), f"ose-village-{number:03}")
    signed = note.Note.from_text(kept.published(village.view).signed)
    assert len(signed.signatures) == limits.NOTE_SIGNATURES_MAX
    assert signed.signatures[0].name == ORIGIN


def test_nothing_is_published_before_another_village_has_cosigned() -> None:
    village = Village(ORIGIN)
    assert logs.size_of(village.view, OWN_LOG) > 0
    reads: list[Callable[[], object]] = [
        lambda: kept.published(village.view),
        lambda: kept.read_hashes(village.view, OWN_LOG, Tile(0, 0, 1)),
        lambda: kept.entries_bytes(village.view, OWN_LOG, Tile(ENTRIES, 0, 1)),
    ]
    for each in reads:
        with pytest.raises(NotFound):
            each()


def test_the_log_of_an_origin(log: View) -> None:
    assert kept.log_of(log, crypto.sha256(ORIGIN.encode()).hex()) == OWN_LOG
    for unknown in ("", "0" * 64, crypto.sha256(b"ose-ohio-001").hex()):
        with pytest.raises(UnknownOrigin):
            kept.log_of(log, unknown)


def test_a_copy_is_published_as_far_as_it_was_cosigned_here() -> None:
    """Each of two neighbours serves the same bytes of B's log; a part of a push is not served."""
    a, b = every_record_kind()
    sync(a, b)
    assert kept.log_of(a.view, crypto.sha256(b.name.encode()).hex()) == COPY
    published = kept.published(a.view, COPY)
    head = checkpoint.open_checkpoint(published.signed, b.name, b.identity.key.public)
    assert head.size == published.size == logs.size_of(b.view, OWN_LOG)
    [line] = [
        each for each in note.Note.from_text(published.signed).signatures if each.name == a.name
    ]
    assert checkpoint.verify_cosignature(head, line, a.name, a.identity.key.public)
    for tile in (*tiles.tiles_of(head.size), Tile(ENTRIES, 0, head.size)):
        assert read(a.view, tile, COPY) == read(b.view, tile)


def test_a_partial_copy_is_not_published() -> None:
    a, b = neighbours_with_goods()
    before = kept.published(a.view, COPY)
    for _ in range(5):
        b.write(lambda tx: desk.declare(tx, "Bob", "Solar Panel", "1"))
    push = logs.push_for(b.view, before.size)
    assert push is not None and len(push.records) == 5
    nodes = logs.read_nodes(
        b.view, OWN_LOG, merkle.nodes_for_consistency(before.size + 3, before.size + 5)
    )
    proof = merkle.consistency_proof(before.size + 3, before.size + 5, nodes)
    part = messages.Push(push.start, push.records[:3], tuple(proof), push.checkpoint)
    a.write(lambda tx: logs.take_in(tx, COPY, b.name, b.identity.key.public, part))
    assert logs.size_of(a.view, COPY) == before.size + 3
    assert kept.published(a.view, COPY) == before
    with pytest.raises(NotFound):
        kept.read_hashes(a.view, COPY, Tile(0, 0, before.size + 1))


def test_an_append_changes_no_tile_and_writes_only_the_right_edge() -> None:
    a, b = neighbours_with_goods()
    sync(a, b)
    size = kept.published(a.view).size
    before = {tile: read(a.view, tile) for tile in tiles.tiles_of(size)}
    rows = _rows(a.conn)
    for _ in range(40):
        a.write(lambda tx: desk.pay(tx, "Alice", "Carol", "1"))
    sync(a, b)
    after = kept.published(a.view).size
    assert after == size + 40
    assert {tile: read(a.view, tile) for tile in before} == before
    new = _rows(a.conn) - rows
    complete = {(level, i) for level in range(1, 41) for i in range(size >> level, after >> level)}
    assert new == {position(OWN_LOG, *each) for each in complete} | {
        position(OWN_LOG, 0, i) for i in range(size, after)
    }


@given(st.lists(st.tuples(st.integers(1, 300), st.booleans()), min_size=1, max_size=6), st.data())
def test_whatever_was_appended_and_cosigned(
    steps: list[tuple[int, bool]], data: st.DataObject
) -> None:
    """Each tile is the leaves' own tree up to the last cosigned size, and nothing after it is."""
    size, sizes = 0, dict[int, bool]()
    for count, is_cosigned in steps:
        size += count
        sizes[size] = is_cosigned
    cosigned = [each for each, is_cosigned in sizes.items() if is_cosigned]
    with long_log(size, cosigned) as view:
        found = kept.newest_cosigned(view, OWN_LOG)
        assert (found.size if found else 0) == max(cosigned, default=0)
        size = max(cosigned, default=0)
        leaves = [leaf(number) for number in range(size)]
        of_level = [leaves]
        while len(of_level[-1]) >= WIDTH:
            below = of_level[-1]
            ends = range(WIDTH, len(below) + 1, WIDTH)
            of_level.append([root_of_full(below[end - WIDTH : end]) for end in ends])
        level = data.draw(st.integers(0, 2))
        tile = Tile(level, data.draw(st.integers(0, 7)), data.draw(st.integers(1, WIDTH)))
        items = of_level[level] if level < len(of_level) else []
        wanted = items[tile.index * WIDTH :][: tile.width]
        if len(wanted) == tile.width:
            assert tiles.decode_hashes(read(view, tile), tile.width) == wanted
        else:
            with pytest.raises(NotFound):
                read(view, tile)


def test_a_tile_costs_the_same_in_a_log_of_any_length(log: View) -> None:
    """Counted in SQLite's own steps: one of 70,000 records takes what one of 7 takes, by item."""

    def steps(read_it: Callable[[], object]) -> int:
        count = 0

        def one() -> int:
            nonlocal count
            count += 1
            return 0

        log.conn.set_progress_handler(one, 1)
        try:
            read_it()
        finally:
            log.conn.set_progress_handler(None, 0)
        return count

    first = steps(lambda: kept.read_hashes(log, OWN_LOG, Tile(0, 0)))
    for tile in (Tile(0, 100), Tile(0, 272), Tile(1, 0)):
        assert steps(lambda tile=tile: kept.read_hashes(log, OWN_LOG, tile)) <= first + 20  # type: ignore[misc]
    assert steps(lambda: kept.read_hashes(log, OWN_LOG, Tile(0, 272, 1))) < first / 10
    assert steps(lambda: kept.published(log)) < 200
    assert steps(lambda: kept.entries_bytes(log, OWN_LOG, Tile(ENTRIES, 272))) < 2 * first
    assert steps(lambda: kept.read_entries(log, OWN_LOG, Tile(ENTRIES, 272), 0, 100_000)) < first


def _rows(conn: sqlite3.Connection) -> set[int]:
    """Return the places of the own log in use."""
    own = (position(OWN_LOG + 1, 0, 0),)
    return {
        found
        for table in ("entry", "node")
        for (found,) in conn.execute(f"SELECT position FROM {table} WHERE position < ?", own)
    }
