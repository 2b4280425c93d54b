"""How much of what a council decides each of its other seats has, in one seat's database.

All that was kept up to a stamp counts as told. News are due, or urgent, until a seat has stored
them.
"""

from collections.abc import Collection
from typing import Final, NamedTuple

from edge.storage.councils import COLUMNS, Opened, opened_of
from edge.storage.tx import Tx, Urgent, View

NOTHING_TOLD: Final = -1  # it says so itself


class SaidOf(NamedTuple):
    """What has been said of a subject up to a stamp: all of it, or only our own words; but what was
    known to be told, up to `since_ms`."""

    subject: bytes
    changed_ms: int
    is_whole: bool
    since_ms: int = NOTHING_TOLD


class Due(NamedTuple):
    """A subject of which another seat lacks something. `told_ms`: it has all up to that stamp, or
    says that it has nothing; `reached`: the highest round of which it has signed anything; `asks`:
    it is to say everything again."""

    opened: Opened
    told_ms: int
    reached: int
    urgent: bool
    asks: bool


def note_news(tx: Tx, opened: Opened, urgent_to: Collection[str] | None = None) -> None:
    """Note that there is something to say to every other seat: at once to those to whom it is
    urgent (None: all), to the others a little later."""
    own = tx.identity.village
    others = [seat.village for seat in opened.terms.seats if seat.village != own]
    now = others if urgent_to is None else [each for each in others if each in urgent_to]
    tx.run("UPDATE subject SET changed_ms = ? WHERE subject = ?", tx.stamp_ms, opened.id)
    marks = ",".join("?" * len(now))
    tx.run(
        "UPDATE told SET due = 1,"  # noqa: S608
        f" urgent_ms = iif(village IN ({marks}), ?, urgent_ms) WHERE subject = ?",
        *now,
        tx.stamp_ms,
        opened.id,
    )
    tx.news = True
    tx.urgent |= {Urgent(village, opened.id, tx.stamp_ms) for village in now}


def note_decided(tx: Tx, opened: Opened, by: str) -> None:
    """Note that a subject was just decided, by what a seat has shown (our own village: by votes).
    The first proposer tells all, and the parties at once: the votes came to it alone. The other
    seats tell the parties; all others hear of it if they still ask."""
    own, parties = tx.identity.village, {opened.terms.from_village, opened.terms.to_village}
    others = {seat.village for seat in opened.terms.seats} - {own, by}
    is_first = opened.subject.proposer(0) == own
    first, second = sorted(parties & others) + [""] * (2 - len(parties & others))
    tx.run("UPDATE subject SET changed_ms = ? WHERE subject = ?", tx.stamp_ms, opened.id)
    tx.run(
        "UPDATE told SET due = village <> ?1 AND (?2 OR village IN (?3, ?4)),"
        " urgent_ms = iif(village IN (?3, ?4), iif(?2, ?5, urgent_ms), 0) WHERE subject = ?6",
        by,
        is_first,
        first,
        second,
        tx.stamp_ms,
        opened.id,
    )
    tx.news = True
    if is_first:
        tx.urgent |= {Urgent(each, opened.id, tx.stamp_ms) for each in parties & others}


def due(view: View, village: str, limit: int) -> list[Due]:
    """Return of what another seat lacks something, what is urgent first."""
    rows = view.all(
        "SELECT told_ms, reached, urgent_ms > 0, asks, "
        + COLUMNS.removeprefix("SELECT ")
        + " JOIN told INDEXED BY told_due USING"  # else all that was ever told is looked through
        " (subject) WHERE village = ? AND due = 1 ORDER BY urgent_ms > 0 DESC LIMIT ?",
        village,
        limit,
    )
    return [
        Due(opened_of(row), told_ms, reached, bool(urgent), bool(asks))
        for told_ms, reached, urgent, asks, *row in rows
    ]


def undecided(view: View, village: str, limit: int) -> list[Opened]:
    """Return the undecided subjects of which another seat has been told all."""
    rows = view.all(
        COLUMNS + " INDEXED BY subject_undecided JOIN told USING (subject)"
        " WHERE certificate IS NULL AND village = ? AND due = 0 LIMIT ?",
        village,
        limit,
    )
    return [opened_of(row) for row in rows]


def urgent(view: View) -> list[Urgent]:
    """Return to whom there is something urgent to say."""
    rows = view.all("SELECT village, subject, urgent_ms FROM told WHERE urgent_ms > 0")
    return [Urgent(*row) for row in rows]


def note_told(tx: Tx, village: str, said: SaidOf) -> None:
    """Note that a seat has stored what was said; no more than that: what was said before it, and is
    not known to be stored, may be lost, and is said again."""
    if not said.is_whole:
        sql = "UPDATE told SET urgent_ms = 0 WHERE village = ? AND subject = ? AND urgent_ms <= ?"
        tx.run(sql, village, said.subject, said.changed_ms)
        return
    tx.run(
        "UPDATE told SET told_ms = max(told_ms, ?),"
        " due = (SELECT changed_ms > ? FROM subject s WHERE s.subject = told.subject),"
        " urgent_ms = iif(urgent_ms > ?, urgent_ms, 0), asks = 0"
        " WHERE village = ? AND subject = ? AND told_ms >= ?",
        said.changed_ms,
        said.changed_ms,
        said.changed_ms,
        village,
        said.subject,
        said.since_ms,
    )


def ask_anew(tx: Tx, opened: Opened) -> None:
    """Note that every other seat is to say again what was too far ahead to be kept."""
    tx.run("UPDATE subject SET changed_ms = ? WHERE subject = ?", tx.stamp_ms, opened.id)
    sql = "UPDATE told SET due = 1, urgent_ms = ?, asks = 1 WHERE subject = ?"
    tx.run(sql, tx.stamp_ms, opened.id)
    tx.news = True
    tx.urgent |= {Urgent(seat.village, opened.id, tx.stamp_ms) for seat in opened.terms.seats}


def has_said_all(tx: Tx, village: str, subject: bytes) -> None:
    """Note that a seat has just said everything, so that it need not be asked again."""
    tx.run("UPDATE told SET asks = 0 WHERE village = ? AND subject = ?", village, subject)


def tell(tx: Tx, village: str, subject: bytes) -> None:
    """Note that a seat does not know of a decision, unless it has stored that and is only late."""
    tx.run(
        "UPDATE told SET due = 1 WHERE village = ? AND subject = ?"
        " AND told_ms < (SELECT changed_ms FROM subject s WHERE s.subject = told.subject)",
        village,
        subject,
    )


def tell_anew(tx: Tx, village: str, subject: bytes) -> None:
    """Note that a seat lacks what it was told: it is behind, or was set back. It hears it with what
    is said next, the answer to its question as a rule: one that always asks keeps nobody busy."""
    tx.run(
        "UPDATE told SET told_ms = ?, due = 1 WHERE village = ? AND subject = ?",
        NOTHING_TOLD,
        village,
        subject,
    )
