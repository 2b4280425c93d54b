"""What a box that was set back knows of that: to a backup, or by a disk that lost what was written.

Until its neighbours have given back what its village has said since, it appends, cosigns and says
nothing. In what was opened before it does not vote, since it may have voted.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from edge.core import limits
from edge.errors import SetBack
from edge.storage import facts
from edge.storage.tx import IS_SET_BACK, SET_BACK, SET_BACK_TEXT, Tx, View

# How the trouble of a neighbour ends that holds more of the own log.
KNOWS_MORE: Final = "the box was set back to an old copy"
Why = Literal["restored", "behind"]
_FROM: Final = "set_back_from"  # the size of the own log when it was noted
_TROUBLE: Final = "set_back_trouble"
_CHECKED: Final = "returned_checkpoint"  # the signed note that all of `returned` agrees with
# When that ended, with how many records, and how many of them had not been away.
_ENDED: Final = ("set_back_minute", "set_back_size", "set_back_kept")


class Standing(msgspec.Struct, frozen=True):
    """`size`: of the own log when it was noted; `waits_for`: the neighbours that have not been
    asked since; `trouble`: what else is in the way."""

    why: Why
    size: int
    waits_for: tuple[str, ...]
    trouble: str


def is_set_back(view: View) -> bool:
    return view.one(IS_SET_BACK) is not None


def check(view: View) -> None:
    """Raise SetBack if nothing may be said now."""
    if is_set_back(view):
        raise SetBack(SET_BACK_TEXT)


def standing(view: View) -> Standing | None:
    """Return how it stands, None if the box was not set back, or that has ended."""
    why = facts.read(view, SET_BACK)
    if why is None:
        return None
    rows = view.all("SELECT village FROM neighbour WHERE asked = 0 ORDER BY village")
    return Standing(
        "restored" if why == "restored" else "behind",
        int(facts.read(view, _FROM) or 0),
        tuple(village for (village,) in rows),
        facts.read(view, _TROUBLE) or "",
    )


def mark(tx: Tx, why: Why) -> None:
    """Note that this database is older than what the village has said, or may be."""
    facts.keep(tx, SET_BACK, why)
    facts.keep(tx, _FROM, str(tx.next_index))
    note_trouble(tx, "")
    tx.run("UPDATE neighbour SET asked = 0")
    drop_returned(tx)


def mark_restored(tx: Tx) -> None:
    """The same of a database that comes from a backup."""
    mark(tx, "restored")
    facts.keep(tx, "running", "yes")  # nobody knows which requests were taken since
    tx.run("DELETE FROM fact WHERE name = 'entry'")  # a newer one may be out: it is signed anew


def note_asked(tx: Tx, village: str) -> None:
    tx.run("UPDATE neighbour SET asked = 1 WHERE village = ?", village)


def note_trouble(tx: Tx, trouble: str) -> None:
    facts.keep(tx, _TROUBLE, trouble)


def end(tx: Tx) -> None:
    """Note that the log is whole again, or that the steward goes on without that."""
    kept = facts.read(tx, _FROM) or "0"
    for name, value in zip(_ENDED, (tx.minute, tx.next_index, kept), strict=True):
        facts.keep(tx, name, str(value))
    tx.run("UPDATE neighbour SET trouble = '' WHERE trouble LIKE ?", f"%{KNOWS_MORE}")
    tx.run("DELETE FROM fact WHERE name IN (?, ?, ?, ?)", SET_BACK, _FROM, _TROUBLE, _CHECKED)
    drop_returned(tx)
    tx.run(
        "INSERT INTO unsure SELECT subject FROM trade WHERE certificate IS NULL AND closed = 0"
        " ON CONFLICT DO NOTHING"
    )


# What a neighbour gives back


def next_returned(view: View, size: int) -> int:
    """Return the index of the first record that is not here; the own log has `size`."""
    row = view.one("SELECT max(idx) FROM returned")
    return max(size, size if row[0] is None else row[0] + 1)


def keep_returned(tx: Tx, start: int, records: Iterable[bytes]) -> None:
    tx.conn.executemany(
        "INSERT INTO returned (idx, record) VALUES (?, ?) ON CONFLICT DO NOTHING",
        list(enumerate(records, start)),
    )


def returned(view: View, start: int, count: int) -> list[bytes]:
    """Return records that were given back, from `start` on and with no gap."""
    rows = view.all(
        "SELECT idx, record FROM returned WHERE idx >= ? ORDER BY idx LIMIT ?", start, count
    )
    return [record for at, (idx, record) in enumerate(rows, start) if idx == at]


def drop_returned(tx: Tx, below: int | None = None) -> None:
    tx.run("DELETE FROM returned WHERE idx < coalesce(?, 1 << 62)", below)
    if below is None:
        tx.run("DELETE FROM fact WHERE name = ?", _CHECKED)


def note_checked(tx: Tx, text: str) -> None:
    """Note that all that was given back agrees with this signed checkpoint."""
    facts.keep(tx, _CHECKED, text)


def is_checked(view: View) -> bool:
    return facts.read(view, _CHECKED) is not None


# What is lost


def keep_lost(tx: Tx, index: int, account: str) -> None:
    tx.run("INSERT INTO lost (idx, account) VALUES (?, ?)", index, account)


def lost(view: View) -> Mapping[int, str]:
    """Return the own records whose private rows are gone, and whom each hold is booked to."""
    return dict(view.all("SELECT idx, account FROM lost"))


def count_lost(view: View) -> int:
    count: int = view.one("SELECT count(*) FROM lost")[0]
    return count


def was_away(view: View, subject: bytes) -> bool:
    """Tell whether something that this village said of a trade had to be taken back: the other
    side's words that go with it may not have come again yet."""
    ended = last_end(view)
    sql = (
        "SELECT 1 FROM (SELECT idx FROM statement WHERE subject = ?1 AND log = 0 UNION ALL"
        " SELECT idx FROM delivery WHERE subject = ?1 AND log = 0) WHERE idx >= ?2 AND idx < ?3"
    )
    return ended is not None and view.one(sql, subject, ended.kept, ended.size) is not None


# Votes


def is_unsure(view: View, subject: bytes) -> bool:
    """Tell whether this village may have voted on a trade of two villages, and not know it."""
    return view.one("SELECT 1 FROM unsure WHERE subject = ?", subject) is not None


def note_votes_returned(tx: Tx, subject: bytes) -> None:
    tx.run("DELETE FROM unsure WHERE subject = ?", subject)


class Ended(msgspec.Struct, frozen=True):
    """When the box was last whole again after it had been set back; the records from `kept` up to
    `size` had been away."""

    minute: int
    size: int
    kept: int

    @property
    def surely_later_minute(self) -> int:
        """A deadline after this was not set before: it would have been too far ahead."""
        ahead_s = limits.DEADLINE_S_MAX + limits.CLOCKS_APART_S_MAX
        return self.minute + ahead_s * 1000 // limits.MINUTE_MS

    @property
    def later_minute(self) -> int:
        """What a village that is honest stamps after this was not there before."""
        return self.minute + limits.CLOCKS_APART_S_MAX * 1000 // limits.MINUTE_MS


def last_end(view: View) -> Ended | None:
    found = [facts.read(view, name) for name in _ENDED]
    return Ended(*(int(each or 0) for each in found)) if None not in found else None
