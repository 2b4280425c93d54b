"""Trades between two members of this village: one row for each, and what they set aside."""

from typing import Any, Final

import msgspec

from edge.core import records
from edge.core.accounts import Entry, member_account
from edge.core.replay import difference
from edge.core.trade import Event, Status, after
from edge.errors import UnknownTrade
from edge.storage import ledger
from edge.storage.tx import Tx, View


class Deal(msgspec.Struct, frozen=True):
    """Amounts are in minor units; zero is the empty side of a gift. `record`: the sealed record
    that settled it; `reason`: why it was ended, if neither member did it."""

    id: str
    from_member: int
    to_member: int
    status: Status
    offer: tuple[str, int]  # asset, amount
    request: tuple[str, int]
    listing: str
    deadline_minute: int
    record: int | None
    created_ms: int
    changed_ms: int
    reason: str = ""

    @property
    def reserved(self) -> list[Entry]:
        """What the proposer has set aside, as entries below zero."""
        asset, amount = self.offer
        if self.status is not Status.PENDING or not amount:
            return []
        return [Entry(member_account(self.from_member), asset, -amount)]

    @property
    def entries(self) -> list[Entry]:
        """All legs; they sum to zero."""
        giver, taker = member_account(self.from_member), member_account(self.to_member)
        sides = ((self.offer, giver, taker), (self.request, taker, giver))
        return [
            Entry(account, asset, amount * sign)
            for (asset, amount), source, target in sides
            if amount
            for account, sign in ((source, -1), (target, 1))
        ]


_COLUMNS: Final = (
    "SELECT id, from_member, to_member, status, offer_asset, offer, request_asset, request,"
    " listing, deadline_minute, record, created_ms, changed_ms, reason FROM deal"
)
ID_BYTES: Final = 8


def add(
    tx: Tx,
    members: tuple[int, int],
    offer: tuple[str, int],
    request: tuple[str, int],
    listing: str,
    deadline_minute: int,
) -> Deal:
    """Keep a new proposal, from the first member to the second, and set its offer aside.

    Raises LimitExceeded."""
    id_ = tx.random(ID_BYTES).hex()
    tx.run(
        "INSERT INTO deal (id, from_member, to_member, status, offer_asset, offer, request_asset,"
        " request, listing, deadline_minute, created_ms, changed_ms)"
        " VALUES (?, ?, ?, 'PENDING', ?, ?, ?, ?, ?, ?, ?, ?)",
        id_,
        *members,
        *offer,
        *request,
        listing,
        deadline_minute,
        tx.stamp_ms,
        tx.stamp_ms,
    )
    made = named(tx, id_)
    ledger.reserve(tx, made.reserved)
    return made


def end(tx: Tx, known: Deal, event: Event, reason: str = "") -> Deal:
    """End a proposal without a trade: what was set aside is free again. Raises WrongState."""
    status = after(known.status, event)
    tx.run("UPDATE deal SET reason = ? WHERE id = ?", reason, known.id)
    ledger.unreserve(tx, known.reserved)
    return _end(tx, known, status, None)


def settle(tx: Tx, known: Deal) -> Deal:
    """Move both sides in one sealed record. Raises WrongState, LimitExceeded."""
    after(known.status, Event.ACCEPT)
    ledger.unreserve(tx, known.reserved)
    return _end(tx, known, Status.SETTLED, ledger.append_sealed(tx, "deal", known.entries))


def expire(tx: Tx) -> int:
    """End the proposals whose deadline has passed; return how many."""
    past = [each for each in pending(tx) if each.deadline_minute < tx.minute]
    for known in past:
        end(tx, known, Event.EXPIRE)
    return len(past)


def named(view: View, id_: str) -> Deal:
    """Return the deal of this id; raises UnknownTrade."""
    row = view.one(f"{_COLUMNS} WHERE id = ?", id_)
    if row is None:
        raise UnknownTrade(f"there is no trade {id_[:64]} here")
    return _deal(row)


def beginning(view: View, id_: str) -> list[Deal]:
    """Return the deals whose id begins so, at most two."""
    digits = id_.lower()
    if not 4 <= len(digits) <= 2 * ID_BYTES or not all(c in "0123456789abcdef" for c in digits):
        return []
    rows = view.all(f"{_COLUMNS} WHERE id BETWEEN ? AND ? LIMIT 2", digits, digits + "g")
    return [_deal(row) for row in rows]


def everyone(view: View, limit: int = 1_000) -> list[Deal]:
    """Return the newest deals, newest first."""
    rows = view.all(f"{_COLUMNS} ORDER BY created_ms DESC, id LIMIT ?", limit)
    return [_deal(row) for row in rows]


def of_record(view: View, record: int) -> Deal | None:
    """Return the deal that a record settled, None if it settled none."""
    row = view.one(f"{_COLUMNS} WHERE record = ?", record)
    return _deal(row) if row else None


def of_member(view: View, member: int, limit: int = 100) -> list[Deal]:
    """Return a member's deals, on either side: those that wait first, then by latest change."""
    rows = view.all(
        f"{_COLUMNS} WHERE from_member = ? OR to_member = ?"
        " ORDER BY status != 'PENDING', changed_ms DESC, id LIMIT ?",
        member,
        member,
        limit,
    )
    return [_deal(row) for row in rows]


def count_open(view: View, member: int) -> int:
    count: int = view.one(
        "SELECT count(*) FROM deal WHERE from_member = ? AND status = 'PENDING'", member
    )[0]
    return count


def count_waiting(view: View, from_member: int, to_member: int) -> int:
    count: int = view.one(
        "SELECT count(*) FROM deal WHERE from_member = ? AND to_member = ? AND status = 'PENDING'",
        from_member,
        to_member,
    )[0]
    return count


def pending(view: View) -> list[Deal]:
    """Return the proposals that wait for an answer."""
    return [_deal(row) for row in view.all(f"{_COLUMNS} WHERE status = 'PENDING'")]


def check(view: View) -> None:
    """Compare each settled deal with its record, and each such record with its deal, as the audit
    asks. Raises AuditDifference."""
    for row in view.conn.execute(f"{_COLUMNS} ORDER BY id"):
        known = _deal(row)
        if (known.record is not None) != (known.status is Status.SETTLED):
            raise difference(f"deal {known.id}", "its record", known.status, known.record)
        if known.record is None:
            continue
        found = view.one("SELECT posting FROM sealed WHERE idx = ?", known.record)
        posting = records.decode_posting(found[0]) if found else None
        if posting is None or (posting.operation, posting.entries) != (
            "deal",
            tuple(known.entries),
        ):
            raise difference(f"deal {known.id}", "its record", known.entries, posting)
    row = view.one(
        "SELECT m.idx, (SELECT count(*) FROM deal d WHERE d.record = m.idx) AS settled"
        " FROM movement m WHERE m.operation = 'deal' AND settled <> 1 ORDER BY m.idx LIMIT 1"
    )
    if row is not None:
        raise difference(f"record {row[0]}", "the deals that it settled", 1, row[1])


def _end(tx: Tx, known: Deal, status: Status, record: int | None) -> Deal:
    tx.run(
        "UPDATE deal SET status = ?, record = ?, changed_ms = ? WHERE id = ?",
        status,
        record,
        tx.stamp_ms,
        known.id,
    )
    return named(tx, known.id)


def _deal(row: tuple[Any, ...]) -> Deal:
    return Deal(
        row[0],
        row[1],
        row[2],
        Status(row[3]),
        (row[4], row[5]),
        (row[6], row[7]),
        *row[8:],
    )
