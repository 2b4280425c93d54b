"""Trades of others that this village helps to decide, as stewards look at them."""

from typing import Final

from edge.core import trade
from edge.errors import UnknownTrade
from edge.storage import councils, facts, swaps
from edge.storage.councils import Opened
from edge.storage.swaps import Swap
from edge.storage.tx import View

Place = tuple[int, bytes]  # of the last one seen: when it was opened, and its subject
_OTHERS: Final = "instr(' ' || parties || ' ', ' ' || ?1 || ' ') = 0"  # this village is no party


def page(
    view: View,
    limit: int,
    before: Place | None = None,
    decided: bool | None = None,
    village: str = "",
) -> list[Opened]:
    """Return at most `limit` subjects of others that this village has a seat in, the latest opened
    first; `decided`: only those that are, or are not, as far as this village knows; `village`: only
    of that party."""
    which = {None: "", True: " AND certificate IS NOT NULL", False: " AND certificate IS NULL"}
    rows = view.all(
        f"SELECT subject FROM subject WHERE {_OTHERS}{which[decided]}"  # noqa: S608
        " AND (?2 = '' OR instr(' ' || parties || ' ', ' ' || ?2 || ' '))"
        " AND (opened_ms, subject) < (?, ?) ORDER BY opened_ms DESC, subject DESC LIMIT ?",
        _own(view),
        village,
        *(before or (1 << 62, b"")),
        limit,
    )
    return [councils.named(view, row[0]) for row in rows]


def count_undecided(view: View) -> int:
    """Count the subjects of others that wait for their seats."""
    sql = f"SELECT count(*) FROM subject WHERE {_OTHERS} AND certificate IS NULL"  # noqa: S608
    count: int = view.one(sql, _own(view))[0]
    return count


def named(view: View, id_: str) -> Opened:
    """Return the subject of others whose id is, or begins with, `id_`. Raises UnknownTrade, also if
    there are several."""
    between, found = trade.ids_beginning(id_), []
    if between is not None:
        found = view.all(
            f"SELECT subject FROM subject WHERE {_OTHERS}"  # noqa: S608
            " AND subject BETWEEN ? AND ? LIMIT 2",
            _own(view),
            *between,
        )
    if len(found) != 1:
        raise UnknownTrade(f"there is {'more than one' if found else 'no'} trade {id_[:64]!r} here")
    return councils.named(view, found[0][0])


def swap_or_subject(view: View, id_: str) -> Swap | Opened:
    """Return a trade of this village's, or one of others that it helps to decide."""
    try:
        return swaps.named(view, id_)
    except UnknownTrade as error:
        try:
            return named(view, id_)
        except UnknownTrade:
            raise error from None


def _own(view: View) -> str:
    return facts.read(view, "village_id") or ""
