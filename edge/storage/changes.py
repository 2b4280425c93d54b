"""What has changed for a member since a position: found in the committed rows, queued nowhere.

A position is of two numbers that only grow: the stamp up to which the trades and listings are
known, and how many of the own log's records the movements are known of. Every change that is not at
or before a position is found from it, whatever was written meanwhile.
"""

import re
from itertools import zip_longest
from typing import Final, Literal, Self

import msgspec

from edge.errors import InvalidInput
from edge.storage import movements
from edge.storage.members import Member
from edge.storage.movements import Movement
from edge.storage.tx import View

Kind = Literal["trade", "deal", "listing"]
_NUMBER: Final = "(0|[1-9][0-9]{0,14})"
_POSITION: Final = re.compile(rf"{_NUMBER}\.{_NUMBER}")
PATTERN: Final = rf"^({_NUMBER}\.{_NUMBER}|0)?$"  # of its text; nothing is no position


class Position(msgspec.Struct, frozen=True):
    """`Position(0, 0)` is before everything. Its text is `1795423800000.42`."""

    stamp_ms: int
    records: int

    def to_text(self) -> str:
        return f"{self.stamp_ms}.{self.records}"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Raises InvalidInput; `0` is before everything, too."""
        match = _POSITION.fullmatch("0.0" if text == "0" else text)
        if not match:
            raise InvalidInput(f"{text[:40]!r} is not a position: use one that the box gave, or 0")
        return cls(int(match[1]), int(match[2]))


class Latest(msgspec.Struct, frozen=True):
    """Where the last change of each part is, as a member sees it."""

    trades_ms: int
    market_ms: int
    records: int

    @property
    def position(self) -> Position:
        return Position(max(self.trades_ms, self.market_ms), self.records)

    def is_after(self, position: Position) -> bool:
        return (
            max(self.trades_ms, self.market_ms) > position.stamp_ms
            or self.records > position.records
        )


class Row(msgspec.Struct, frozen=True):
    """A trade (`key`: its subject in hex), deal (its id) or listing (its id, of `village`) that
    changed."""

    stamp_ms: int
    kind: Kind
    key: str
    village: str


class Changes(msgspec.Struct, frozen=True):
    """Rows by stamp, movements by record; `position` is after them, and there is `more`, or not."""

    rows: list[Row]
    moved: list[Movement]
    position: Position
    more: bool

    def places(self, since: Position) -> list[Position | None]:
        """Return for each row, and then each movement, the position after it; None where the next
        one belongs to the same stamp or record."""
        stamps = [row.stamp_ms for row in self.rows]
        indexes = [each.index for each in self.moved]
        return [
            None if stamp == after else Position(stamp, since.records)
            for stamp, after in zip_longest(stamps, stamps[1:])
        ] + [
            None if index == after else Position(self.position.stamp_ms, index + 1)
            for index, after in zip_longest(indexes, indexes[1:])
        ]


_ROWS: Final = (
    "SELECT changed_ms, 'trade', lower(hex(subject)), '' FROM trade"
    " WHERE member = ?1 AND changed_ms > ?2"
    " UNION ALL SELECT changed_ms, 'deal', id, '' FROM deal"
    " WHERE from_member = ?1 AND changed_ms > ?2"
    " UNION ALL SELECT changed_ms, 'deal', id, '' FROM deal"
    " WHERE to_member = ?1 AND changed_ms > ?2"
    " UNION ALL SELECT changed_ms, 'listing', id, village FROM listing WHERE changed_ms > ?2"
    " ORDER BY 1 LIMIT ?3"
)


def latest(view: View, member: Member) -> Latest:
    """Return where this member's last changes are."""
    trades_ms, market_ms = view.one(
        "SELECT max(coalesce((SELECT max(changed_ms) FROM trade WHERE member = ?1), 0),"
        " coalesce((SELECT max(changed_ms) FROM deal WHERE from_member = ?1), 0),"
        " coalesce((SELECT max(changed_ms) FROM deal WHERE to_member = ?1), 0)),"
        " coalesce((SELECT max(changed_ms) FROM listing), 0)",
        member.id,
    )
    return Latest(trades_ms, market_ms, movements.next_index(view, member.account))


def since(view: View, member: Member, position: Position, limit: int) -> Changes:
    """Return what has changed for a member after a position, about `limit` of each kind at most:
    what was written under one stamp, or by one record, is not parted."""
    rows, more_rows = _rows(view, member, position.stamp_ms, limit)
    moved, more_moved = movements.since(view, member.account, position.records, limit)
    after = Position(
        rows[-1].stamp_ms if rows else position.stamp_ms,
        moved[-1].index + 1 if moved else position.records,
    )
    return Changes(rows, moved, after, more_rows or more_moved)


def _rows(view: View, member: Member, stamp_ms: int, limit: int) -> tuple[list[Row], bool]:
    found = view.all(_ROWS, member.id, stamp_ms, limit + 1)
    more = len(found) > limit
    if more:
        whole = [row for row in found if row[0] < found[limit][0]]
        found = whole or [
            row for row in view.all(_ROWS, member.id, stamp_ms, -1) if row[0] == found[0][0]
        ]
    return [Row(*row) for row in sorted(found)], more
