"""The balances and histories made again from the log and the private rows, as the audit makes
them."""

from typing import Final

from edge.core import trade
from edge.core.accounts import Entry, debits, default_limit, member_account
from edge.core.replay import Replay
from edge.core.tally import Account
from edge.storage import deals, ledger, logs, set_back, trades
from edge.storage.tx import OWN_LOG, Tx, position

_ENTRIES: Final = (
    "SELECT e.position, e.record, s.posting_nonce, s.posting, s.personal_nonce, s.personal"
    " FROM entry e LEFT JOIN sealed s ON s.idx = e.position"
    " WHERE e.position >= ? AND e.position < ? ORDER BY e.position"
)


def rebuild(tx: Tx, start: int) -> None:
    """Make them again, where records from `start` on came back. Raises AuditDifference."""
    own = tx.identity
    replayed = Replay(own.village, own.key.public, set_back.lost(tx))
    size = logs.size_of(tx, OWN_LOG)
    tx.run("DELETE FROM movement WHERE idx >= ?", start)
    for index, record, *private in tx.conn.execute(
        _ENTRIES, (position(OWN_LOG, 0, 0), position(OWN_LOG, 0, size))
    ):
        replayed.take(index, record, None if private[0] is None else tuple(private))
        if index >= start:
            for row in replayed.moved:
                tx.keep_moved((index, *row))
    tx.run("UPDATE balance SET reserved = 0")
    tx.conn.executemany(_BALANCE, [_row(*each) for each in replayed.accounts.items()])
    for entry in _reserved(tx):
        limit = default_limit(entry.account, ledger.asset(tx, entry.asset))
        tx.run(_RESERVE, entry.account, entry.asset, limit, -entry.amount)


def _reserved(tx: Tx) -> list[Entry]:
    found = [entry for each in deals.pending(tx) for entry in each.reserved]
    for known in trades.reserving(tx):
        assert known.member is not None, "nobody set this aside"
        account = member_account(known.member)
        found += debits(trade.entries(known.terms, known.role, account))
    return found


def _row(place: tuple[str, str], found: Account) -> tuple[object, ...]:
    return (
        *place,
        found.debits_posted,
        found.credits_posted,
        found.debits_pending,
        found.credits_pending,
        found.limit,
        found.newest,
    )


_BALANCE: Final = (
    "INSERT INTO balance (account, asset, debits_posted, credits_posted, debits_pending,"
    " credits_pending, debit_limit, newest) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (account, asset) DO UPDATE SET debits_posted = excluded.debits_posted,"
    " credits_posted = excluded.credits_posted, debits_pending = excluded.debits_pending,"
    " credits_pending = excluded.credits_pending, debit_limit = excluded.debit_limit,"
    " newest = excluded.newest"
)
_RESERVE: Final = (
    "INSERT INTO balance (account, asset, debit_limit, reserved) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (account, asset) DO UPDATE SET reserved = reserved + excluded.reserved"
)
