"""Tiles: the C2SP vectors, one path for each tile, and exactly the items that were asked for."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge.core import limits, merkle, tiles
from edge.core.merkle import Node
from edge.core.tiles import ENTRIES, WIDTH, Tile
from edge.errors import Malformed
from tests.unit.test_merkle import SIZE, naive_root

VECTORS = Path(__file__).parents[1] / "vectors"
VECTOR: dict[str, Any] = json.loads((VECTORS / "tlog_tiles.json").read_text("utf-8"))
RECORDS = [b"", b"a", b"record" * 50, bytes(limits.RECORD_BYTES_MAX)]
BUNDLE = tiles.encode_entries(RECORDS[:3])

levels = st.just(ENTRIES) | st.integers(0, tiles.LEVEL_MAX)
some = st.builds(Tile, levels, st.integers(0, 10**18 - 1), st.integers(1, WIDTH))


# Paths


@pytest.mark.parametrize("vector", VECTOR["index_paths"], ids=lambda vector: vector["path"])
def test_index_vector(vector: dict[str, Any]) -> None:
    for level, name in ((0, "0"), (63, "63"), (ENTRIES, "entries")):
        tile, path = Tile(level, vector["n"], 7), f"tile/{name}/{vector['path']}"
        assert tile.to_path() == f"{path}.p/7"
        assert Tile.from_path(f"{path}.p/7") == tile
        assert Tile.from_path(path) == tile._replace(width=WIDTH)


def test_the_tiles_of_70_000_records() -> None:
    vector, found = VECTOR["tree_70000"], [tile.to_path() for tile in tiles.tiles_of(70_000)]
    assert found[-4:] == [
        vector[name] for name in ("level0_partial", "level1_full", "level1_partial")
    ] + [vector["level2_partial"]]
    assert len(found) == vector["level0_full"] + 4


def test_the_tiles_of_256_records() -> None:
    assert [tile.to_path() for tile in tiles.tiles_of(256)] == list(VECTOR["tree_256"].values())


@given(some)
def test_a_tile_comes_back_from_its_path(tile: Tile) -> None:
    assert Tile.from_path(tile.to_path()) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "/tile/0/000",
        "tile//000",
        "tile/0/000/",
        "tile/0/000 ",
        "tile/0/000\n",
        "tile/00/000",
        "tile/64/000",
        "tile/100/000",
        "tile/-1/000",
        "tile/+0/000",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000",
        "tile/0/x000/000",
        "tile/0/000/001",
        "tile/0/x1/000",
        "tile/0/X001/000",
        "tile/0/x001/x000",
        "tile/0/x001//000",
        "tile/0/" + "x001/" * 6 + "000",
        "tile/0/" + "x001/" * 1_000_000 + "000",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/00",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/1_0",
        "tile/0/000.p/٣",
        "tile/0/٣٣٣",
        "tile/0/000.p/1/",
        "tile/0/000.P/1",
        "tile/0/000?",
        "tile/0/%30%30%30",
        "tile/0/../0/000",
        "tile/entries",
        "tile/entries/",
        "tile/Entries/000",
        "tile/data/000",
        "tile/8/0/000",
        "tile/entries/000\ud800",
    ],
)
def test_no_path_of_a_tile(path: str) -> None:
    with pytest.raises(Malformed):
        Tile.from_path(path)


@given(some, st.data())
def test_another_path_is_another_tile(tile: Tile, data: st.DataObject) -> None:
    path = tile.to_path()
    place = data.draw(st.integers(0, len(path)))
    added = data.draw(st.sampled_from("0 1 x / .p/ - + % ٣".split()) | st.text(max_size=2))
    changed = path[:place] + added + path[place + data.draw(st.integers(0, 2)) :]
    assume(changed != path)
    with suppress(Malformed):
        assert Tile.from_path(changed) != tile
        assert Tile.from_path(changed).to_path() == changed


# What is in them


@given(st.integers(0, 3 * WIDTH**2))
def test_the_tiles_of_a_tree_hold_its_items_once(size: int) -> None:
    """By C2SP: floor(s / 256**l) items of level l, in full tiles but for the last."""
    found = list(tiles.tiles_of(size))
    assert all(tile.is_in(size) for tile in found)
    for level in range(4):
        of_level = [tile for tile in found if tile.level == level]
        assert sum(tile.width for tile in of_level) == size // WIDTH**level
        assert [tile.index for tile in of_level] == list(range(len(of_level)))
        assert all(tile.width == WIDTH for tile in of_level[:-1])
    assert len(set(found)) == len(found)


@given(st.integers(0, 3 * WIDTH**2), st.integers(0, 2 * WIDTH))
def test_an_append_changes_no_tile_and_adds_few(size: int, more: int) -> None:
    """Full tiles stay as they are; of each level only the last can be another than before."""
    before, after = set(tiles.tiles_of(size)), set(tiles.tiles_of(size + more))
    assert all(tile.is_in(size + more) for tile in before)
    gone = before - after
    assert all(tile.width < WIDTH for tile in gone)
    assert len({tile.level for tile in gone}) == len(gone)
    assert len(after - before) <= 3 + more // WIDTH + 2


@given(some, st.integers(0, limits.TREE_SIZE_MAX))
def test_a_tile_is_in_a_tree_that_has_its_last_item(tile: Tile, size: int) -> None:
    last_end = (tile.index * WIDTH + tile.width) * WIDTH ** max(tile.level, 0)
    assert tile.is_in(size) == (last_end <= size)


def test_the_first_of_a_tile_is_a_node_of_the_tree() -> None:
    """Item i of level 1 is the root of leaves 256 i to 256 (i + 1), straight from the RFC."""
    leaves = [merkle.leaf_hash(b"record %d" % number) for number in range(SIZE)]
    _, nodes = merkle.extend(0, [], leaves)
    assert Tile(1, 0, 1).first == Node(8, 0)
    hashes = {(level, index): found for level, index, found in nodes}
    assert hashes[Tile(1, 0, 1).first] == naive_root(0, WIDTH)
    assert Tile(ENTRIES, 3).first == Tile(0, 3).first == Node(0, 3 * WIDTH)


@given(st.lists(st.binary(max_size=300), max_size=WIDTH))
def test_records_come_back_from_a_tile(records: list[bytes]) -> None:
    data = tiles.encode_entries(records)
    assert tiles.decode_entries(data, len(records)) == records
    assert len(data) == sum(tiles.LENGTH_BYTES + len(record) for record in records)


def test_records_of_all_lengths() -> None:
    assert tiles.encode_entries(RECORDS[:2]) == b"\x00\x00\x00\x01a"
    assert tiles.decode_entries(tiles.encode_entries(RECORDS), 4) == RECORDS


@pytest.mark.parametrize("width", [0, 1, 2, 4, WIDTH])
def test_a_tile_of_another_width(width: int) -> None:
    with pytest.raises(Malformed):
        tiles.decode_entries(BUNDLE, width)
    with pytest.raises(Malformed):
        tiles.decode_hashes(bytes(3 * merkle.HASH_BYTES), width)


@pytest.mark.parametrize(
    "data",
    [
        BUNDLE[:-1],
        BUNDLE + b"\x00",
        BUNDLE + BUNDLE,
        b"\x00" + BUNDLE,
        BUNDLE[:5],
        BUNDLE[:6],
        b"",
        b"\xff\xff" + bytes(65_535) + BUNDLE,
        tiles.encode_entries([b"", b"a", bytes(limits.RECORD_BYTES_MAX + 1)]),
    ],
)
def test_no_tile_of_three_records(data: bytes) -> None:
    with pytest.raises(Malformed):
        tiles.decode_entries(data, 3)


@given(st.binary(max_size=2_000), st.integers(0, WIDTH))
def test_any_bytes_are_the_tile_that_they_print_as_or_malformed(data: bytes, width: int) -> None:
    with suppress(Malformed):
        found = tiles.decode_entries(data, width)
        assert len(found) == width and tiles.encode_entries(found) == data
    with suppress(Malformed):
        assert b"".join(tiles.decode_hashes(data, width)) == data
