"""What a trade does to this village's ledger and log: set aside, hold, no-hold, settle, release,
delivered, disputed.

Each is whole or not at all, and each record stands beside the entries that it moves.
"""

import msgspec

from edge.core import delivery, limits, records, trade
from edge.core.accounts import debits, member_account
from edge.core.council import Certificate
from edge.core.delivery import Leg
from edge.core.replay import Delivery
from edge.storage import deliveries, ledger, logs, trades
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, Tx


def set_aside(tx: Tx, terms: trade.Terms, account: str) -> None:
    """Reserve what the proposer's side gives: privately, not in the log. Raises LimitExceeded."""
    ledger.reserve(tx, debits(trade.entries(terms, "from", account)))


def free(tx: Tx, known: Trade) -> None:
    """Give back what was set aside for a trade, if anything was."""
    if known.reserved and known.member is not None:
        account = member_account(known.member)
        ledger.unreserve(tx, debits(trade.entries(known.terms, known.role, account)))
        trades.keep(tx, known.subject, reserved=0)


def append_hold(tx: Tx, known: Trade, to_signature: bytes, account: str) -> None:
    """Bind this village: hold all legs and append the hold record. Raises LimitExceeded; nothing is
    written then."""
    ledger.hold(tx, trade.entries(known.terms, known.role, account))
    other = known.to_user if known.role == "from" else known.from_user
    posting = records.Posting(
        "trade", tx.stamp_ms, tuple(trade.member_entries(known.terms, known.role, account))
    )
    sealed = ledger.seal(tx, posting, records.Personal(other_party=other))
    record = records.HoldRecord(
        tx.minute,
        msgspec.Raw(known.terms_bytes),
        known.from_signature,
        to_signature,
        *sealed.hashes,
    )
    index = tx.append(record)
    sealed.keep(tx, index)
    logs.keep_statement(tx, OWN_LOG, index, known.subject, "hold")
    trades.keep(tx, known.subject, to_signature=to_signature)


def append_no_hold(tx: Tx, known: Trade, to_signature: bytes) -> None:
    """Append the proposer's word that it is not, and will not be, bound."""
    record = records.NoHoldRecord(
        tx.minute, msgspec.Raw(known.terms_bytes), known.from_signature, to_signature
    )
    logs.keep_statement(tx, OWN_LOG, tx.append(record), known.subject, "no-hold")


def end_hold(tx: Tx, known: Trade, certificate: Certificate) -> None:
    """Append settle or release, as the certificate says, and end the hold with it."""
    assert known.member is not None, "a hold without a member"
    settled = certificate.value == "COMMIT"
    kind = records.SettleRecord if settled else records.ReleaseRecord
    index = tx.append(kind(tx.minute, known.subject, certificate))
    logs.keep_statement(tx, OWN_LOG, index, known.subject, "settle" if settled else "release")
    account = member_account(known.member)
    entries = trade.entries(known.terms, known.role, account)
    ledger.end_hold(tx, entries)
    if settled:  # the record has no private row, which would have the stamp: its minute counts
        ledger.post(tx, index, "trade", entries, tx.minute * limits.MINUTE_MS)


def append_delivered(tx: Tx, known: Trade, leg: Leg) -> None:
    """Append that goods have come, and reverse their clearing. Asks no limit: they have come, even
    if the other village then owes more than its line. Raises LimitExceeded at a counter's end."""
    asset = leg.goods.asset
    index = tx.append(records.DeliveredRecord(tx.minute, known.subject, asset))
    deliveries.keep(tx, OWN_LOG, index, Delivery(known.subject, "delivered", asset))
    entries = delivery.entries(known.terms, leg, known.role)
    ledger.post(tx, index, "trade", entries, tx.minute * limits.MINUTE_MS)


def append_disputed(tx: Tx, known: Trade, leg: Leg) -> None:
    """Append that goods have not come as agreed."""
    asset = leg.goods.asset
    index = tx.append(records.DisputedRecord(tx.minute, known.subject, asset))
    deliveries.keep(tx, OWN_LOG, index, Delivery(known.subject, "disputed", asset))
