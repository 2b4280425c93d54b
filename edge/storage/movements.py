"""What has moved on each account: the history of a member or the treasury, record by record.

A row is the sum of what one record posted to one account in one asset; `ledger.post` keeps it in
the transaction that moves the balance. Rows of one account and asset are linked, each with the one
before it. They are never changed, and follow from the log and the private rows: `audit` makes them
again and compares.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from edge.core import records
from edge.core.accounts import Entry
from edge.core.replay import Moved, difference
from edge.storage import logs
from edge.storage.tx import OWN_LOG, View

Direction = Literal["", "in", "out"]


class Movement(msgspec.Struct, frozen=True):
    """`index`: of the own record that posted it. `amount` is in minor units, above zero if it came
    in; `balance` is what the account then had of that asset."""

    index: int
    asset: str
    amount: int
    balance: int
    operation: records.Operation
    stamp_ms: int


class Wanted(msgspec.Struct, frozen=True):
    """Which movements: of an asset, of some operations, in one direction, stamped in
    [since_ms, until_ms). What is empty or None does not matter."""

    asset: str = ""
    operations: tuple[records.Operation, ...] = ()
    direction: Direction = ""
    since_ms: int | None = None
    until_ms: int | None = None


class Page(msgspec.Struct, frozen=True):
    """Some movements, newest first. `older`: the `before` of the next page, None on the last."""

    rows: list[Movement]
    older: int | None


class Period(msgspec.Struct, frozen=True):
    """The movements of a stretch of time, oldest first; by asset what there was before it and after
    it, in minor units, if the account had ever moved by then."""

    opening: dict[str, int]
    rows: list[Movement]
    closing: dict[str, int]


class Said(msgspec.Struct, frozen=True):
    """What a record says of its movements beside their amounts. `subject`: of the trade with
    another village that it settles."""

    entries: tuple[Entry, ...] = ()
    note: str = ""
    subject: bytes = b""


def page(view: View, account: str, wanted: Wanted, limit: int, before: int | None = None) -> Page:
    """Return the newest movements of records before index `before`, about `limit` of them: those of
    one record stay together."""
    rows: list[Movement] = []
    for found in _newest_first(view, account, wanted, before):
        if len(rows) >= limit and found.index != rows[-1].index:
            return Page(rows, rows[-1].index)
        rows.append(found)
    return Page(rows, None)


def between(view: View, account: str, since_ms: int, until_ms: int, limit: int) -> Period | None:
    """Return all of [since_ms, until_ms), None if that is more than `limit` movements.

    Both ends are whole minutes, since that is how settled trades are stamped.
    """
    opening: dict[str, int] = {}
    closing: dict[str, int] = {}
    rows: list[Movement] = []
    before_end = Wanted(until_ms=until_ms)
    for asset in _assets(view, account):
        for found in _chain(view, account, asset, before_end):
            closing.setdefault(asset, found.balance)
            if found.stamp_ms < since_ms:
                opening[asset] = found.balance
                break
            rows.append(found)
            if len(rows) > limit:
                return None
    rows.sort(key=lambda row: (row.index, row.asset))
    return Period(opening, rows, closing)


def since(view: View, account: str, index: int, limit: int) -> tuple[list[Movement], bool]:
    """Return the oldest movements of record `index` and later ones, oldest first, about `limit` of
    them (those of one record stay together), and whether there are more."""
    found: deque[Movement] = deque(maxlen=limit + PER_RECORD_MAX)
    for each in _newest_first(view, account, Wanted()):
        if each.index < index:
            break
        found.appendleft(each)
    if len(found) <= limit:
        return list(found), False
    last = found[limit - 1].index
    whole = [each for each in found if each.index <= last]
    return whole, len(whole) < len(found)


def next_index(view: View, account: str) -> int:
    """Return the index after the last record that moved an account, 0 if none has."""
    newest: int | None = view.one("SELECT max(newest) FROM balance WHERE account = ?", account)[0]
    return 0 if newest is None else newest + 1


def said_by(view: View, index: int, operation: str) -> Said:
    """Return what the record of a movement says beside its amount."""
    if operation == "trade":
        record = records.decode(logs.record_at(view, OWN_LOG, index))
        assert isinstance(record, records.SettleRecord)
        return Said(subject=record.subject)
    posting, personal = view.one("SELECT posting, personal FROM sealed WHERE idx = ?", index)
    note = records.decode_personal(personal).note if personal else ""
    return Said(records.decode_posting(posting).entries, note)


# Audit


class Stored:
    """The rows as they are stored, in the order of the log, to be compared as it is replayed."""

    def __init__(self, view: View) -> None:
        self._rows = view.conn.execute(
            "SELECT idx, account, asset, amount, balance, previous, operation, stamp_ms"
            " FROM movement ORDER BY idx, account, asset"
        )
        self._next: tuple[int, str, str, int, int, int | None, str, int] | None
        self._next = self._rows.fetchone()

    def check(self, index: int, expected: list[Moved]) -> None:
        """Compare the rows up to record `index` with what it is expected to have moved, in order.
        Raises AuditDifference."""
        for account, asset, *rest in expected:
            place = (index, account, asset)
            self._check_none_before(place)
            if self._next is None or self._next[:3] != place:
                raise difference(_shown(place), "its row", "one", None)
            for what, wanted, found in zip(_COMPARED, rest, self._next[3:], strict=True):
                if wanted != found:
                    raise difference(_shown(place), what, wanted, found)
            self._next = self._rows.fetchone()
        self._check_none_before((index + 1, "", ""))

    def check_end(self) -> None:
        """Raise AuditDifference for a row beyond the log."""
        self._check_none_before((_BEYOND_ALL, "", ""))

    def _check_none_before(self, place: tuple[int, str, str]) -> None:
        if self._next is not None and self._next[:3] < place:
            raise difference(_shown(self._next[:3]), "its row", None, "one")


PER_RECORD_MAX: Final = 4  # movements of one account by one record; today's make two at most
_BEYOND_ALL: Final = 2**63
_COMPARED: Final = ("its amount", "its balance", "the one before it", "its operation", "its stamp")

# The movements of one account and asset, from its newest on, as far as they are fetched.
_CHAIN: Final = """
WITH RECURSIVE chain (idx, asset, amount, balance, operation, stamp_ms, previous) AS (
    SELECT m.idx, m.asset, m.amount, m.balance, m.operation, m.stamp_ms, m.previous
    FROM balance AS b
    JOIN movement AS m ON m.idx = b.newest AND m.account = b.account AND m.asset = b.asset
    WHERE b.account = :account AND b.asset = :asset AND m.stamp_ms >= :since_ms
    UNION ALL
    SELECT m.idx, m.asset, m.amount, m.balance, m.operation, m.stamp_ms, m.previous
    FROM chain
    JOIN movement AS m ON m.idx = chain.previous AND m.account = :account AND m.asset = :asset
    WHERE m.idx < chain.idx AND m.stamp_ms >= :since_ms
)
SELECT idx, asset, amount, balance, operation, stamp_ms FROM chain
WHERE idx < :before AND stamp_ms < :until_ms
    AND (:sign = 0 OR amount * :sign > 0)
    AND (:operations = '' OR instr(:operations, ' ' || operation || ' '))
"""
_SIGNS: Final[dict[Direction, int]] = {"": 0, "in": 1, "out": -1}
_EVER: Final = 2**62


def _newest_first(
    view: View, account: str, wanted: Wanted, before: int | None = None
) -> Iterator[Movement]:
    """Yield the movements that are wanted, of records before index `before`, as they are asked
    for."""
    assets = [wanted.asset] if wanted.asset else _assets(view, account)
    chains = [_chain(view, account, each, wanted, before) for each in assets]
    return heapq.merge(*chains, key=lambda found: (-found.index, found.asset))


def _chain(
    view: View, account: str, asset: str, wanted: Wanted, before: int | None = None
) -> Iterator[Movement]:
    values = {
        "account": account,
        "asset": asset,
        "before": _EVER if before is None else before,
        "since_ms": 0 if wanted.since_ms is None else wanted.since_ms,
        "until_ms": _EVER if wanted.until_ms is None else wanted.until_ms,
        "sign": _SIGNS[wanted.direction],
        "operations": f" {' '.join(wanted.operations)} " if wanted.operations else "",
    }
    for row in view.conn.execute(_CHAIN, values):
        yield Movement(*row)


def _assets(view: View, account: str) -> list[str]:
    rows = view.all(
        "SELECT asset FROM balance WHERE account = ? AND newest IS NOT NULL ORDER BY asset", account
    )
    return [asset for (asset,) in rows]


def _shown(place: tuple[int, str, str]) -> str:
    index, account, asset = place
    return f"movement of {account} in {asset} by record {index}"
