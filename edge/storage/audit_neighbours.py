"""The part of the audit that goes by neighbour: who they are, what was signed with them, and that
what is held of their logs is what this village's own word was given on.

Nothing here depends on what a neighbour may yet say: what it has said is judged when it comes.
"""

import sqlite3
from typing import Final

from edge.core import charter, registry, trade
from edge.core.council import Seat
from edge.core.replay import difference
from edge.errors import PeerError
from edge.storage import database, logs, members, neighbours, set_back, trades
from edge.storage.neighbours import Neighbour
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, View

LOG_NUMBER_MAX: Final = 2**17 - 1  # what fits above a place within a log; see tx.position


def check_schema(view: View) -> None:
    """Compare tables, indexes and triggers with those of this version, and the numbers of logs."""
    shipped = sqlite3.connect(":memory:", isolation_level=None)
    try:
        database.migrate(shipped)
        expected = _schema(View(shipped))
    finally:
        shipped.close()
    found = _schema(view)
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            raise difference(f"the schema's {name}", "it", expected.get(name), found.get(name))
    for (number,) in view.all("SELECT id FROM log ORDER BY id"):
        if not OWN_LOG <= number <= LOG_NUMBER_MAX:
            raise difference("table log", "a log's number", f"0 to {LOG_NUMBER_MAX}", number)


def check(view: View, own: Seat) -> None:
    """Check neighbours, charters, cosignatures and votes; the logs themselves have been checked,
    and so have trades. Raises AuditDifference."""
    _check_charters(view)
    size = logs.size_of(view, OWN_LOG)
    for each in view.all("SELECT village FROM neighbour ORDER BY village"):
        known = _read(view, each[0])
        _check_entry(known)
        _check_founded(view, known, own)
        if known.has_size > size and not known.trouble:
            where = f"neighbour {known.village}"
            raise difference(where, "how much it holds of this log", f"{size}", known.has_size)
    _check_cosigned(view, own.village)
    for (subject,) in view.conn.execute("SELECT subject FROM trade ORDER BY subject"):
        _check_trade(view, trades.by_subject(view, subject), own.village)


def _schema(view: View) -> dict[str, str]:
    rows = view.all(
        "SELECT type || ' ' || name, sql FROM sqlite_schema WHERE substr(name, 1, 7) <> 'sqlite_'"
    )
    return {name: " ".join((sql or "").split()) for name, sql in rows}


# Who they are


def _read(view: View, village: str) -> Neighbour:
    try:
        found = neighbours.find(view, village)
    except (PeerError, ValueError) as error:
        raise difference(f"neighbour {village}", "its row", "readable", error) from None
    if found is None:
        raise difference(f"neighbour {village}", "its charter", "one that is kept", None)
    return found


def _check_entry(known: Neighbour) -> None:
    where = f"neighbour {known.village}"
    entry = known.entry
    if (entry.village_id, entry.public_key) != (known.village, known.key):
        raise difference(where, "whose entry it has", known.village, entry.village_id)
    try:
        registry.verify_signature(entry)
    except PeerError as error:
        raise difference(where, "its registry entry", "signed by itself", error) from None
    if entry.endpoints and not set(known.addresses) <= set(entry.endpoints):
        raise difference(where, "its addresses", entry.endpoints, known.addresses)


def _check_charters(view: View) -> None:
    for digest, network, text in view.all("SELECT digest, network, charter FROM charter"):
        expected = charter.digest(text)
        for what, found in (("its digest", digest), ("the network that it founds", network)):
            if found != expected:
                raise difference("a charter", what, expected, found)


def _named(seats: set[Seat]) -> list[tuple[str, str]]:
    return sorted((seat.village, seat.key.hex()) for seat in seats)


def _check_founded(view: View, known: Neighbour, own: Seat) -> None:
    """The charter is of the two villages, and both have signed it."""
    where = f"the charter with {known.village}"
    (text,) = view.one("SELECT charter FROM charter WHERE digest = ?", known.charter)
    signed: dict[str, bytes] = dict(
        view.all("SELECT village, signature FROM charter_signature WHERE digest = ?", known.charter)
    )
    founders = {own, Seat(known.village, known.key)}
    try:
        if (found := set(charter.decode(text).members)) != founders:
            raise difference(where, "its founders", _named(founders), _named(found))
        for seat in founders:
            charter.verify_founder(text, seat.village, signed.get(seat.village, b""))
    except PeerError as error:
        raise difference(where, "its signatures", "both founders'", error) from None


# What was said on their logs


def _check_cosigned(view: View, own: str) -> None:
    """Each checkpoint of a copy was cosigned here when it was taken in."""
    row = view.one(
        "SELECT l.village, k.size FROM checkpoint k JOIN log l ON l.id = k.log"
        " WHERE k.log <> ? AND NOT EXISTS (SELECT 1 FROM cosignature c WHERE c.log = k.log"
        " AND c.size = k.size AND c.village = ?) LIMIT 1",
        OWN_LOG,
        own,
    )
    if row is not None:
        where = f"the copy of {row[0]}, checkpoint {row[1]}"
        raise difference(where, "the cosignature of this village", "one", None)


def _check_trade(view: View, known: Trade, own: str) -> None:
    """Whatever this village's votes say is still proven by both logs; a decision has its vote."""
    kinds = [kind for _, kind in logs.statements(view, known.subject, OWN_LOG)]
    if kinds and known.to_signature is None:
        raise _fault(known, "the acceptor's signature", "one", None)
    if known.closed and known.status not in trade.ENDED:
        raise _fault(known, "whether all is said of it", "no", "yes")
    _check_people(view, known)
    if len(known.terms.seats) > 2:
        return  # what a council decides is checked by audit_councils
    values = [vote.value for vote in trades.votes(view, known.subject) if vote.village == own]
    if known.certificate is not None and values != [known.certificate.value]:
        raise _fault(known, "this village's votes", [known.certificate.value], values)
    if (not values and "no-hold" not in kinds) or set_back.was_away(view, known.subject):
        return
    their_log = neighbours.log_of(view, known.neighbour)
    if "no-hold" in kinds:
        first = trades.first_statement(view, known.subject, their_log)
        if first is None or first[1] != "hold":
            raise _fault(known, f"what {known.neighbour} said of it", "hold", first and first[1])
    proven = trade.provable(trades.facts(view, known, own, their_log))
    if values and proven != values[0]:
        raise _fault(known, "what both logs prove, cosigned", values[0], proven)


def _check_people(view: View, known: Trade) -> None:
    """The member whose trade it is has the name under which it was agreed."""
    if known.member is None:
        return
    member = members.by_id(view, known.member)
    name = known.from_user if known.role == "from" else known.to_user
    found = member.name if member else None
    if found != name:
        raise _fault(known, "the name of its member", name, found)


def _fault(known: Trade, what: str, expected: object, found: object) -> Exception:
    return difference(f"trade {known.subject.hex()[:16]}", what, expected, found)
