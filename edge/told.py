"""What a neighbour has been told and may have stored, beside what is on disk.

It lives as long as the process. Forgetting it costs no more than saying things twice.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from edge.storage.telling import NOTHING_TOLD, SaidOf
from edge.storage.tx import Urgent


class Ways(NamedTuple):
    """What to say of councils: all that a neighbour lacks of what has not changed since a stamp, or
    only those own words that are urgent. `looks`: see also to whom else something is urgent."""

    is_whole: bool
    until_ms: int
    looks: bool


ALL: Final = Ways(is_whole=True, until_ms=1 << 62, looks=True)


class Told:
    """By subject, the stamp up to which the neighbour was told all (`whole`), our own words
    (`own`), and how the trade between the two of us stands (`rows`). `anew`: those that it did not
    know, and was told from the beginning since the last heartbeat."""

    __slots__ = ("anew", "own", "rows", "whole")

    def __init__(self) -> None:
        self.anew: set[bytes] = set()
        self.own: dict[bytes, int] = {}
        self.rows: dict[bytes, int] = {}
        self.whole: dict[bytes, int] = {}

    def keep(self, rows: Iterable[tuple[bytes, int]], councils: Iterable[SaidOf]) -> None:
        """Remember what is about to be sent."""
        self.rows.update(rows)
        for each in councils:
            (self.whole if each.is_whole else self.own)[each.subject] = each.changed_ms
            if each.since_ms == NOTHING_TOLD:
                self.anew.add(each.subject)

    def drop(self, rows: Iterable[tuple[bytes, int]], councils: Iterable[SaidOf]) -> None:
        """Forget what is on disk by now as told; our own words alone never are."""
        for subject, changed_ms in rows:
            _drop(self.rows, subject, changed_ms)
        for each in councils:
            if each.is_whole:
                _drop(self.whole, each.subject, each.changed_ms)
                if self.own.get(each.subject, -1) <= each.changed_ms:
                    self.own.pop(each.subject, None)

    def __len__(self) -> int:
        return len(self.own) + len(self.whole)

    def clear(self) -> None:
        for each in (self.anew, self.own, self.rows, self.whole):
            each.clear()

    def until_ms(self, subject: bytes, *, whole: bool) -> int:
        """Return up to when it was told all of a subject, or our own words at least."""
        told_ms = self.whole.get(subject, -1)
        return told_ms if whole else max(told_ms, self.own.get(subject, -1))

    def has(self, news: Urgent) -> bool:
        return self.until_ms(news.subject, whole=False) >= news.since_ms


def _drop(said: dict[bytes, int], subject: bytes, changed_ms: int) -> None:
    if said.get(subject) == changed_ms:
        del said[subject]
