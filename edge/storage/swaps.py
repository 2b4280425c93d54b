"""Trades of both kinds, with other villages and at home, in one order: the latest proposed
first."""

from typing import Final

import msgspec

from edge.core.trade import ENDED, Status
from edge.storage import deals, trades
from edge.storage.deals import Deal
from edge.storage.members import Member
from edge.storage.trades import Trade
from edge.storage.tx import View

Swap = Trade | Deal
Place = tuple[int, str]  # of the last one seen: when it was proposed, and its id
OPEN: Final = frozenset(Status) - ENDED
_PLACES: Final = (
    "SELECT created_ms, substr(lower(hex(subject)), 1, 16) AS id, subject, status,"
    " neighbour AS village FROM trade WHERE member = ?1"
    " UNION ALL SELECT created_ms, id, NULL, status, '' FROM deal"
    " WHERE ?1 IN (from_member, to_member)"
)

_STEPS: Final = (
    "SELECT changed_ms, substr(lower(hex(subject)), 1, 16) AS id, subject, status,"
    " neighbour AS village FROM trade WHERE {}"
    " UNION ALL SELECT changed_ms, id, NULL, status, '' FROM deal"
)


class Wanted(msgspec.Struct, frozen=True):
    """Which ones; `village` is a neighbour, empty for those at home, None for any."""

    statuses: frozenset[Status] = frozenset(Status)
    village: str | None = None


def page(
    view: View, member: Member, wanted: Wanted, limit: int, before: Place | None = None
) -> list[Swap]:
    """Return at most `limit` of a member's, those proposed before a place."""
    marks = ", ".join("?" for _ in wanted.statuses)
    rows = view.all(
        f"SELECT id, subject FROM ({_PLACES}) WHERE status IN ({marks})"  # noqa: S608
        " AND village = coalesce(?, village) AND (created_ms, id) < (?, ?)"
        " ORDER BY created_ms DESC, id DESC LIMIT ?",
        member.id,
        *sorted(wanted.statuses),
        wanted.village,
        *(before or (1 << 62, "")),
        limit,
    )
    return [
        trades.by_subject(view, subject) if subject else deals.named(view, id_)
        for id_, subject in rows
    ]


def of_everyone(view: View, wanted: Wanted, limit: int, after: Place | None = None) -> list[Swap]:
    """Return at most `limit` of all members', those after a place (`step_of`): of open ones the one
    that has waited longest comes first, of ended ones the one that ended last."""
    marks = ", ".join("?" for _ in wanted.statuses)
    is_open = wanted.statuses <= OPEN
    first = (0, "") if is_open else (1 << 62, "")
    way, order = (">", "ASC") if is_open else ("<", "DESC")
    rows = view.all(
        f"SELECT id, subject FROM ({_STEPS.format('closed = 0' if is_open else '1')})"  # noqa: S608
        f" WHERE status IN ({marks}) AND village = coalesce(?, village)"
        f" AND (changed_ms, id) {way} (?, ?) ORDER BY changed_ms {order}, id {order} LIMIT ?",
        *sorted(wanted.statuses),
        wanted.village,
        *(after or first),
        limit,
    )
    return [
        trades.by_subject(view, subject) if subject else deals.named(view, id_)
        for id_, subject in rows
    ]


def everyone(view: View, limit: int = 1_000) -> list[Swap]:
    """Return the newest of all members."""
    found: list[Swap] = [*trades.everyone(view, limit), *deals.everyone(view, limit)]
    return sorted(found, key=lambda each: -each.created_ms)[:limit]


def named(view: View, id_: str) -> Swap:
    """Return the one whose id is, or begins with, `id_`; else the trade of that `trade_id`. Raises
    UnknownTrade, also if there are several, and InvalidInput for less than 4 letters."""
    found: list[Swap] = [*trades.beginning(view, id_), *deals.beginning(view, id_)]
    return trades.only(found or trades.of_trade_id(view, id_), id_)


def step_of(swap: Swap) -> Place:
    """Return the place of a trade among those of `of_everyone`."""
    return swap.changed_ms, swap.id


def place_of(swap: Swap) -> Place:
    return swap.created_ms, swap.id
