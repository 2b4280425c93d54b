"""Accounts in the database: posting, reserving, holding, sealing. The one rule is asked here."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from edge.core import canonical, crypto, limits, names, records
from edge.core.accounts import (
    MEMBER,
    Asset,
    Counters,
    Entry,
    check_debit,
    debits,
    default_limit,
    is_balanced,
    is_inside,
)
from edge.errors import LimitExceeded, UnknownAsset
from edge.storage import logs
from edge.storage.tx import OWN_LOG, Tx, View


def asset(view: View, code: str) -> Asset:
    """Return an asset of this village's catalogue; raises UnknownAsset."""
    found = view.assets.get(code) or logs.asset_in(view, OWN_LOG, code)
    if found is None:
        shown = names.asset_text(code)
        raise UnknownAsset(f"{shown} is not in this village's catalogue", asset=code)
    view.assets[code] = found
    return found


def counters(view: View, account: str, of: Asset) -> Counters:
    """Return an account's counters, the defaults if it has never been used."""
    row = view.one(
        "SELECT debits_posted, credits_posted, debits_pending, credits_pending, reserved,"
        " debit_limit FROM balance WHERE account = ? AND asset = ?",
        account,
        of.code,
    )
    return Counters(*row) if row else Counters(limit=default_limit(account, of))


def balances(view: View, account: str) -> dict[str, Counters]:
    """Return all counters of one account, by asset code."""
    rows = view.all(
        "SELECT asset, debits_posted, credits_posted, debits_pending, credits_pending, reserved,"
        " debit_limit FROM balance WHERE account = ? ORDER BY asset",
        account,
    )
    return {row[0]: Counters(*row[1:]) for row in rows}


def totals(view: View, code: str) -> dict[str, tuple[int, int]]:
    """Return each member's account that has ever been used: its balance of one asset, and of how
    many assets it has or owes something."""
    rows = view.all(
        "SELECT account, sum(iif(asset = ?, credits_posted - debits_posted, 0)),"
        " sum(credits_posted <> debits_posted) FROM balance"
        " WHERE account >= 'member:' AND account < 'member;' GROUP BY account",
        code,
    )
    return {account: (balance, assets) for account, balance, assets in rows}


def append_sealed(
    tx: Tx,
    operation: records.Operation,
    entries: Sequence[Entry] = (),
    changes: Sequence[records.LimitChange] = (),
    personal: records.Personal | None = None,
) -> int:
    """Check, move and seal one private operation; return the record's index.

    Raises LimitExceeded or UnknownAsset; nothing is written then.
    """
    assert is_balanced(entries), "a posting must sum to zero"
    check(tx, debits(entries))
    post(tx, tx.next_index, operation, entries, tx.stamp_ms)
    for change in changes:
        _row(tx, change.account, asset(tx, change.asset))
        tx.run(
            "UPDATE balance SET debit_limit = ? WHERE account = ? AND asset = ?",
            change.limit,
            change.account,
            change.asset,
        )
    posting = records.Posting(operation, tx.stamp_ms, tuple(entries), tuple(changes))
    commitments = seal(tx, posting, personal)
    index = tx.append(records.SealedRecord(tx.minute, *commitments.hashes))
    commitments.keep(tx, index)
    return index


class Sealed:
    """A posting and its personal part with fresh nonces: hashes for the record, bytes for us."""

    __slots__ = ("hashes", "parts")

    def __init__(self, parts: tuple[tuple[bytes, bytes], tuple[bytes, bytes] | None]) -> None:
        self.parts = parts
        posting, personal = parts
        self.hashes = (
            crypto.commitment(*posting),
            crypto.commitment(*personal) if personal else None,
        )

    def keep(self, tx: Tx, index: int) -> None:
        tx.keep_sealed(index, *self.parts)


def seal(tx: Tx, posting: records.Posting, personal: records.Personal | None) -> Sealed:
    """Seal both parts separately, so that the personal one can be erased."""
    private = (tx.random(crypto.NONCE_BYTES), canonical.encode(posting))
    if personal is None or personal == records.Personal():
        return Sealed((private, None))
    return Sealed((private, (tx.random(crypto.NONCE_BYTES), canonical.encode(personal))))


def check(tx: Tx, entries: Sequence[Entry]) -> None:
    """Raise LimitExceeded if one of these debits would break the one rule."""
    for entry in entries:
        of = asset(tx, entry.asset)
        have = counters(tx, entry.account, of)
        if -entry.amount > have.available:
            check_debit(have, -entry.amount, entry.account, of, _shown(tx, entry.account))


def reserve(tx: Tx, entries: Sequence[Entry]) -> None:
    """Set debits aside softly: in this table only, not in the log. Raises LimitExceeded."""
    check(tx, entries)
    for entry in entries:
        _row(tx, entry.account, asset(tx, entry.asset))
        _change(tx, "reserved", entry.account, entry.asset, -entry.amount)


def unreserve(tx: Tx, entries: Sequence[Entry]) -> None:
    for entry in entries:
        _change(tx, "reserved", entry.account, entry.asset, entry.amount)


def hold(tx: Tx, entries: Sequence[Entry]) -> None:
    """Make entries pending, after the one rule. Settling them later can break no limit."""
    assert is_balanced(entries), "a hold must sum to zero"
    check(tx, debits(entries))
    for entry in entries:
        _check_room(tx, entry)
    for entry in entries:
        column = "credits_pending" if entry.amount > 0 else "debits_pending"
        if not _change(tx, column, entry.account, entry.asset, abs(entry.amount)):
            _row(tx, entry.account, asset(tx, entry.asset))
            _change(tx, column, entry.account, entry.asset, abs(entry.amount))


def end_hold(tx: Tx, entries: Sequence[Entry]) -> None:
    """Take entries out of pending."""
    for entry in entries:
        side = "credits" if entry.amount > 0 else "debits"
        _change(tx, f"{side}_pending", entry.account, entry.asset, -abs(entry.amount))


def post(
    tx: Tx, index: int, operation: records.Operation, entries: Sequence[Entry], stamp_ms: int
) -> None:
    """Move entries for good, as record `index` says, and keep a row of it in the history of each
    member and of the treasury. Asks no limit; raises LimitExceeded at a counter's end."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for entry in entries:
        place = (entry.account, entry.asset)
        out, came = sums.get(place, (0, 0))
        amount = entry.amount
        sums[place] = (out - amount, came) if amount < 0 else (out, came + amount)
    for (account, code), (out, came) in sums.items():
        balance, newest = tx.one(_BEFORE, account, code) or (0, _NO_ROW)
        if newest == _NO_ROW:
            _row(tx, account, asset(tx, code))
            newest = None
        has_history = is_inside(account)
        try:
            tx.run(_POST, out, came, index if has_history else None, account, code)
        except sqlite3.IntegrityError:
            raise _no_room(code) from None
        if has_history:
            moved = came - out
            tx.keep_moved(
                (index, account, code, moved, balance + moved, newest, operation, stamp_ms)
            )


def posting_of(view: View, index: int) -> records.Posting:
    """Return the sealed posting of an own record."""
    row = view.one("SELECT posting FROM sealed WHERE idx = ?", index)
    assert row is not None, f"record {index} has no private row"
    return records.decode_posting(row[0])


def holder_of(view: View, index: int) -> str:
    """Return the account of the member whom an own hold binds."""
    row = view.one("SELECT account FROM lost WHERE idx = ?", index)
    return row[0] if row else posting_of(view, index).entries[0].account


_BEFORE: Final = (
    "SELECT credits_posted - debits_posted, newest FROM balance WHERE account = ? AND asset = ?"
)
_NO_ROW: Final = -1
_POST: Final = (
    "UPDATE balance SET debits_posted = debits_posted + ?, credits_posted = credits_posted + ?,"
    " newest = ? WHERE account = ? AND asset = ?"
)


_CHANGE: Mapping[str, str] = {
    column: f"UPDATE balance SET {column} = {column} + ? WHERE account = ? AND asset = ?"  # noqa: S608
    for column in (
        "debits_pending",
        "credits_pending",
        "reserved",
    )
}


def _change(tx: Tx, column: str, account: str, code: str, amount: int) -> int:
    try:
        return tx.run(_CHANGE[column], amount, account, code)
    except sqlite3.IntegrityError:
        assert amount > 0, f"{column} of {account} would fall below zero"
        raise _no_room(code) from None


def _check_room(tx: Tx, entry: Entry) -> None:
    """Raise LimitExceeded if a counter could not take all that is pending, and this entry (an
    account has at most two on one side of a posting: an amount and a fee)."""
    have = counters(tx, entry.account, asset(tx, entry.asset))
    used = (
        have.credits_posted + have.credits_pending
        if entry.amount > 0
        else have.debits_posted + have.debits_pending
    )
    if used + 2 * abs(entry.amount) > limits.COUNTER_MINOR_MAX:
        raise _no_room(entry.asset)


def _row(tx: Tx, account: str, of: Asset) -> None:
    tx.run(
        "INSERT INTO balance (account, asset, debit_limit) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        account,
        of.code,
        default_limit(account, of),
    )


def _no_room(code: str) -> LimitExceeded:
    shown = names.asset_text(code)
    detail = f"an account's count of {shown} would pass {limits.COUNTER_MINOR_MAX}"
    return LimitExceeded(detail, asset=code)


def _shown(view: View, account: str) -> str:
    if account.startswith(MEMBER):
        row = view.one("SELECT name FROM member WHERE id = ?", int(account.removeprefix(MEMBER)))
        return row[0] if row else account
    return f"the {account}"
