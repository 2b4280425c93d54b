"""The part of the audit that goes by trade: rows and votes against the logs and the signatures.

The logs themselves, and their rows among the statements, have been checked before.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from edge.core import council, records, trade
from edge.core.accounts import Entry, debits, member_account
from edge.core.replay import difference
from edge.core.trade import Status
from edge.errors import AuditDifference, PeerError
from edge.storage import audit_deliveries, deals, ledger, logs, trades
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, View

# What the own log says of a trade in each status.
SAID: Final[Mapping[Status, tuple[tuple[str, ...], ...]]] = {
    Status.PENDING: ((),),
    Status.REJECTED: ((), ("no-hold",)),
    Status.CANCELLED: ((), ("no-hold",)),
    Status.EXPIRED: ((), ("no-hold",)),
    Status.ACCEPTED: (("hold",),),
    Status.HELD: (("hold",),),
    **dict.fromkeys(trade.CARRIED_OUT, (("hold", "settle"),)),
    Status.ABORTED: (("hold", "release"),),
}
_DECIDED: Final[Mapping[Status, council.Value]] = {
    **dict.fromkeys(trade.CARRIED_OUT, "COMMIT"),
    Status.ABORTED: "ABORT",
}

Reserved = dict[tuple[str, str], int]  # by account and asset, in minor units


class Counts(NamedTuple):
    settled: int
    aborted: int
    open: int


class Own(NamedTuple):
    """Whose audit it is, and the number of each village's log here."""

    village: str
    key: bytes
    logs: Mapping[str, int]


def check(view: View, own: Own) -> tuple[Counts, Reserved]:
    """Return how many trades there are and what they set aside. Raises AuditDifference."""
    _check_strays(view)
    counts, reserved = Counter[Status](), Reserved()
    for subject, trade_id, from_village in view.conn.execute(
        "SELECT subject, trade_id, from_village FROM trade ORDER BY subject"
    ):
        known = _read(view, subject)
        _check_terms(known, own, (trade_id, from_village))
        _check_trade(view, known, own)
        counts[known.status] += 1
        _add_reserved(known, reserved)
    deals.check(view)
    for each in deals.pending(view):
        _add(reserved, each.reserved)
    not_open = sum(counts[status] for status in trade.ENDED)
    return Counts(
        sum(counts[status] for status in trade.CARRIED_OUT),
        counts[Status.ABORTED],
        counts.total() - not_open,
    ), reserved


def _check_strays(view: View) -> None:
    """Find votes, and statements of the own log, about trades of which there is no row."""
    for table, column in (("vote", "village"), ("statement", "kind")):
        which = f"log = {OWN_LOG} AND " if table == "statement" else ""
        row = view.one(
            f"SELECT subject, {column} FROM {table} s WHERE {which}"  # noqa: S608
            " NOT EXISTS (SELECT 1 FROM trade t WHERE t.subject = s.subject) LIMIT 1"
        )
        if row is not None:
            raise _fault(row[0], f"a {table} ({row[1]}) about it", "the trade's row", None)


def _read(view: View, subject: bytes) -> Trade:
    try:
        return trades.by_subject(view, subject)
    except (PeerError, ValueError) as error:
        raise _fault(subject, "its row", "one that can be read", error) from None


def _check_terms(known: Trade, own: Own, columns: tuple[str, str]) -> None:
    """The row repeats its terms, and both signatures over them hold."""
    subject, terms = known.subject, known.terms
    if (found := trade.subject_of(known.terms_bytes)) != subject:
        raise _fault(subject, "the hash of its terms", subject, found)
    if columns != (terms.trade_id, terms.from_village):
        raise _fault(subject, "its id", (terms.trade_id, terms.from_village), columns)
    other: trade.Role = "to" if known.role == "from" else "from"
    parties = (terms.village_of(known.role), terms.village_of(other))
    if parties != (own.village, known.neighbour):
        raise _fault(subject, "its parties", parties, (own.village, known.neighbour))
    if terms.key_of(own.village) != own.key:
        raise _fault(subject, "this village's seat", own.key, terms.key_of(own.village))
    try:
        trade.verify_party(terms, known.terms_bytes, "from", known.from_signature)
        if known.to_signature is not None:
            trade.verify_party(terms, known.terms_bytes, "to", known.to_signature)
    except PeerError as error:
        raise _fault(subject, "its signatures", "ones that hold", error) from None


def _check_trade(view: View, known: Trade, own: Own) -> None:
    said = logs.statements(view, known.subject, OWN_LOG)
    kinds = tuple(kind for _, kind in said)
    if kinds not in SAID[known.status]:
        expected = " or ".join(sorted(s for s, allowed in SAID.items() if kinds in allowed))
        raise _fault(known.subject, "its status", expected or f"no such log: {kinds}", known.status)
    if kinds and kinds[0] == "hold":
        account = ledger.holder_of(view, said[0][0])
        found = None if known.member is None else member_account(known.member)
        if found != account:
            raise _fault(known.subject, "its member", account, found)
    if known.status is Status.HELD and not _is_held_there(view, known, own):
        raise _fault(known.subject, "its status", Status.ACCEPTED, known.status)
    _check_certificate(view, known, said)
    _check_votes(view, known)
    _check_their_end(view, known, own)
    audit_deliveries.check(view, known, own.logs[known.neighbour])


def _is_held_there(view: View, known: Trade, own: Own) -> bool:
    first = trades.first_statement(view, known.subject, own.logs[known.neighbour])
    return first is not None and first[1] == "hold"


def _check_certificate(view: View, known: Trade, said: list[tuple[int, str]]) -> None:
    certificate, expected = known.certificate, _DECIDED.get(known.status)
    found = None if certificate is None else certificate.value
    if expected is not None and found != expected:
        raise _fault(known.subject, "its certificate's value", expected, found)
    if len(said) == 2:
        record = records.decode(logs.record_at(view, OWN_LOG, said[1][0]))
        assert isinstance(record, records.SettleRecord | records.ReleaseRecord)
        if record.certificate != certificate:
            raise _fault(known.subject, "its certificate", record.certificate, certificate)
    elif certificate is not None:
        _verify(known, certificate)


def _check_votes(view: View, known: Trade) -> None:
    """Each vote holds; one that the certificate counts has been checked with it."""
    counted: set[tuple[object, ...]] = set()
    if (by := known.certificate) is not None:
        counted = {(village, by.round, by.value, signed) for village, signed in by.precommits}
    for vote in trades.votes(view, known.subject):
        if (vote.village, vote.round, vote.value, vote.signature) in counted:
            continue
        terms = known.terms
        if not council.vote_is_valid(vote, terms.network, known.subject, terms.seats):
            raise _fault(known.subject, f"the vote of {vote.village}", "one that holds", vote)


def _check_their_end(view: View, known: Trade, own: Own) -> None:
    """No other certificate of this trade, with another value, stands in the neighbour's log."""
    if known.certificate is None:
        return
    log = own.logs[known.neighbour]
    for index, kind in logs.statements(view, known.subject, log):
        if kind not in ("settle", "release"):
            continue
        record = records.decode(logs.record_at(view, log, index))
        assert isinstance(record, records.SettleRecord | records.ReleaseRecord)
        theirs = record.certificate
        if theirs.value != known.certificate.value and _holds(known, theirs):
            what = f"the certificate in record {index} of {known.neighbour}"
            raise _fault(known.subject, what, known.certificate.value, theirs.value)


def _holds(known: Trade, certificate: council.Certificate) -> bool:
    try:
        _verify(known, certificate)
    except AuditDifference:
        return False
    return True


def _verify(known: Trade, certificate: council.Certificate) -> None:
    terms = known.terms
    try:
        council.verify_certificate(certificate, terms.network, known.subject, terms.seats)
    except PeerError as error:
        raise _fault(known.subject, "its certificate", "a quorum's votes", error) from None


def _add_reserved(known: Trade, reserved: Reserved) -> None:
    """A proposal of this village's, and nothing else, sets its offer aside."""
    proposed = known.role == "from" and known.status is Status.PENDING
    if known.reserved != proposed or (proposed and known.member is None):
        raise _fault(known.subject, "whether it sets its offer aside", proposed, known.reserved)
    if known.reserved and known.member is not None:
        account = member_account(known.member)
        _add(reserved, debits(trade.entries(known.terms, "from", account)))


def _add(reserved: Reserved, entries: Iterable[Entry]) -> None:
    for entry in entries:
        place = (entry.account, entry.asset)
        reserved[place] = reserved.get(place, 0) - entry.amount


def _fault(subject: bytes, what: str, expected: object, found: object) -> AuditDifference:
    return difference(f"trade {subject.hex()[:16]}", what, expected, found)
