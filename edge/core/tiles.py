"""Tiles, in which anybody reads a log (C2SP tlog-tiles): 256 hashes of one level of the tree, or
256 records.

tile/<level>/<index>            hashes: item i is the root of 256**level leaves, from
tile/<level>/<index>.p/<width>  leaf (index * 256 + i) * 256**level on
tile/entries/<index>            records, each after its length in two bytes
tile/entries/<index>.p/<width>

A tile whose records exist never changes. One that is not full has as many items as its path says,
and stays what it is when the log grows: an append adds tiles at the right edge, and changes none.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, Self

from edge.core import limits, merkle
from edge.core.merkle import Node
from edge.errors import Malformed

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT
ENTRIES: Final = -1  # the level of a tile of records
LEVEL_MAX: Final = 63
PATH_CHARS_MAX: Final = 64
LENGTH_BYTES: Final = 2  # before each record


class Tile(NamedTuple):
    """The items [index * 256, index * 256 + width) of a level; `width` is 1 to 256."""

    level: int
    index: int  # type: ignore[assignment]  # the usual word; it hides tuple.index, unused here
    width: int = WIDTH

    @property
    def first(self) -> Node:
        """The tree node of its first item, of records the leaf; those of the others follow it."""
        return Node(max(self.level, 0) * HEIGHT, self.index * WIDTH)

    def is_in(self, size: int) -> bool:
        """Tell whether the tree of `size` leaves has all of its items."""
        level, start = self.first
        return start + self.width <= size >> level

    def to_path(self) -> str:
        """Return the path below a log's prefix, without a slash before it."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        part = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{level}/{_index_text(self.index)}{part}"

    @classmethod
    def from_path(cls, path: str) -> Self:
        """Read a path in its one form. Raises Malformed."""
        found = _PATH.fullmatch(path) if len(path) <= PATH_CHARS_MAX else None
        if found is None:
            raise Malformed("not the path of a tile")
        level, index, width = found.groups()
        made = cls(
            ENTRIES if level == "entries" else int(level),
            int(re.sub("[x/]", "", index)),
            int(width or WIDTH),
        )
        if made.level > LEVEL_MAX or not 0 < made.width <= WIDTH or made.to_path() != path:
            raise Malformed("not the path of a tile in its one form")
        return made


def tiles_of(size: int) -> Iterator[Tile]:
    """Yield the tiles of hashes of the tree of `size` leaves, from the lowest level up, those of a
    level from left to right: the last of a level may be partial."""
    level = 0
    while items := size >> HEIGHT * level:
        yield from (Tile(level, index) for index in range(items // WIDTH))
        if items % WIDTH:
            yield Tile(level, items // WIDTH, items % WIDTH)
        level += 1


def encode_entry(record: bytes) -> bytes:
    """Return a record as it stands in a tile of records: after its length, big-endian."""
    return _LENGTH.pack(len(record)) + record


def encode_entries(records: Iterable[bytes]) -> bytes:
    """Return a tile of records."""
    return b"".join([encode_entry(record) for record in records])


def decode_entries(data: bytes, width: int) -> list[bytes]:
    """Return the `width` records of a tile. Raises Malformed, also for more or fewer."""
    found, at = list[bytes](), 0
    for _ in range(width):
        if at + _LENGTH.size > len(data):
            raise Malformed(f"the tile has fewer than {width} records")
        length: int = _LENGTH.unpack_from(data, at)[0]
        at += _LENGTH.size
        if length > limits.RECORD_BYTES_MAX:
            raise Malformed("a record of the tile is too long")
        if at + length > len(data):
            raise Malformed("the tile ends within a record")
        found.append(data[at : at + length])
        at += length
    if at != len(data):
        raise Malformed(f"the tile has more than {width} records")
    return found


def decode_hashes(data: bytes, width: int) -> list[bytes]:
    """Return the `width` hashes of a tile. Raises Malformed, also for more or fewer."""
    if len(data) != width * merkle.HASH_BYTES:
        raise Malformed(f"not a tile of {width} hashes")
    return [data[at : at + merkle.HASH_BYTES] for at in range(0, len(data), merkle.HASH_BYTES)]


def _index_text(index: int) -> str:
    """Return three digits for each power of 1,000, all but the last after an `x`."""
    groups = [f"{index % 1_000:03}"]
    while index := index // 1_000:
        groups.append(f"x{index % 1_000:03}")
    return "/".join(reversed(groups))


_PATH: Final = re.compile(
    r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([0-9]{1,3}))?"
)
_LENGTH: Final = struct.Struct(">H")
