"""Trades in the database: one row for each, votes, and the facts that decide the next step."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeVar

import msgspec

from edge.core import canonical, council, delivery, limits, names, trade
from edge.core.receipt import Evidence
from edge.core.trade import Event, Facts, Role, Statement, Status
from edge.errors import Conflict, InvalidInput, UnknownTrade
from edge.storage import logs, members, neighbours, set_back
from edge.storage.tx import OWN_LOG, Tx, View

T = TypeVar("T")


class Trade(msgspec.Struct, frozen=True):
    """One side's row. `member` is this village's; None if nobody here has that name. `listing`: the
    acceptor's listing that it answers, if it does. `deliver_minute`: when the goods that came count
    as delivered by themselves. `heard`: see storage/deliveries."""

    subject: bytes
    neighbour: str
    role: Role
    status: Status
    terms_bytes: bytes
    terms: trade.Terms
    from_signature: bytes
    to_signature: bytes | None
    from_user: str
    to_user: str
    member: int | None
    reserved: bool
    certificate: council.Certificate | None
    told: bool
    closed: bool
    reason: str
    created_ms: int
    changed_ms: int
    listing: str
    deliver_minute: int | None
    heard: bool

    @property
    def id(self) -> str:
        """How people and programs here call it."""
        return trade.id_of(self.subject)

    @property
    def addressed(self) -> trade.Addressed:
        if self.role == "to" and self.member is None:
            return "nobody"
        return "listing" if self.listing else "name"


_COLUMNS = (
    "SELECT subject, neighbour, role, status, terms, from_signature, to_signature, from_user,"
    " to_user, member, reserved, certificate, told, closed, reason, created_ms, changed_ms,"
    " listing, deliver_minute, heard FROM trade"
)
_ENDED = ", ".join(f"'{status}'" for status in sorted(trade.ENDED))
_UNBOUND_ENDS = ", ".join(f"'{status}'" for status in sorted(trade.UNBOUND_ENDS))
_KEPT = {
    "reason",
    "to_user",
    "to_signature",
    "reserved",
    "told",
    "closed",
    "certificate",
    "changed_ms",
    "deliver_minute",
    "heard",
}
_certificate_codec = canonical.Codec(council.Certificate, "certificate", 8_192)


def add(
    tx: Tx,
    terms_bytes: bytes,
    terms: trade.Terms,
    role: Role,
    from_signature: bytes,
    people: tuple[str, str],
    member: int | None,
    reserved: bool,
    listing: str = "",
) -> Trade:
    """Keep a new trade as PENDING. Raises Conflict if its (village, trade_id) has other terms."""
    subject = trade.subject_of(terms_bytes)
    if tx.one(
        "SELECT 1 FROM trade WHERE from_village = ? AND trade_id = ?",
        terms.from_village,
        terms.trade_id,
    ):
        raise Conflict(f"{terms.trade_id} of {terms.from_village} is a trade on other terms")
    tx.run(
        "INSERT INTO trade (subject, trade_id, from_village, neighbour, role, status, terms,"
        " from_signature, from_user, to_user, member, reserved, created_ms, changed_ms, listing,"
        " refund_of) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        subject,
        terms.trade_id,
        terms.from_village,
        terms.to_village if role == "from" else terms.from_village,
        role,
        Status.PENDING,
        terms_bytes,
        from_signature,
        *people,
        member,
        int(reserved),
        tx.stamp_ms,
        tx.stamp_ms,
        listing,
        terms.refund_of,
    )
    return by_subject(tx, subject)


def count(view: View, status: Status) -> int:
    found: int = view.one("SELECT count(*) FROM trade WHERE status = ?", status)[0]
    return found


def find(view: View, subject: bytes) -> Trade | None:
    row = view.one(f"{_COLUMNS} WHERE subject = ?", subject)
    return _trade(row) if row else None


def by_subject(view: View, subject: bytes) -> Trade:
    found = find(view, subject)
    assert found is not None, "the trade is not kept"
    return found


def named(view: View, id_: str) -> Trade:
    """Return the trade whose id here is, or begins with, `id_`; else the one of that `trade_id`.

    The other village may have chosen the trade_id, so it never comes before an id. Raises
    UnknownTrade, also if there are several, and InvalidInput for less than 4 letters.
    """
    return only(beginning(view, id_) or of_trade_id(view, id_), id_)


def beginning(view: View, id_: str) -> list[Trade]:
    """Return the trades whose id here begins so, at most two."""
    between = trade.ids_beginning(id_)
    if between is None:
        return []
    rows = view.all(f"{_COLUMNS} WHERE subject BETWEEN ? AND ? LIMIT 2", *between)
    return [_trade(row) for row in rows]


def of_trade_id(view: View, id_: str) -> list[Trade]:
    """Return the trades that have this `trade_id`, at most two."""
    if not names.accepts(names.trade_id, id_):
        return []
    return [_trade(row) for row in view.all(f"{_COLUMNS} WHERE trade_id = ? LIMIT 2", id_)]


def only(found: Sequence[T], id_: str) -> T:
    """Return the one trade that was found by an id. Raises UnknownTrade, InvalidInput."""
    if not found and len(id_) < 4:
        raise InvalidInput(f"{id_!r} is too short: give at least 4 letters of the trade's id")
    if len(found) != 1:
        raise UnknownTrade(f"there is {'more than one' if found else 'no'} trade {id_[:64]!r} here")
    return found[0]


def everyone(view: View, limit: int = 1_000) -> list[Trade]:
    """Return the newest trades, newest first."""
    rows = view.all(f"{_COLUMNS} ORDER BY created_ms DESC, subject LIMIT ?", limit)
    return [_trade(row) for row in rows]


def of_member(view: View, member: int, limit: int = 100) -> list[Trade]:
    """Return a member's trades: those that have not ended first, of these the proposals of others
    last, then by latest change."""
    rows = view.all(
        f"{_COLUMNS} WHERE member = ? ORDER BY status IN ({_ENDED}),"
        " (role, status) = ('to', 'PENDING'), changed_ms DESC, subject LIMIT ?",
        member,
        limit,
    )
    return [_trade(row) for row in rows]


def holding(view: View, member: int) -> list[Trade]:
    """Return the trades for which something of a member's is set aside or held, oldest first."""
    rows = view.all(
        f"{_COLUMNS} WHERE member = ? AND (reserved = 1 OR status IN ('ACCEPTED', 'HELD'))"
        " ORDER BY created_ms, subject",
        member,
    )
    return [_trade(row) for row in rows]


def reserving(view: View) -> list[Trade]:
    """Return the proposals for which something is set aside."""
    return [_trade(row) for row in view.all(f"{_COLUMNS} WHERE reserved = 1")]


def decided_of(
    view: View, member: int, limit: int, before: tuple[int, bytes] | None = None
) -> list[Trade]:
    """Return a member's trades of which there is a certificate, newest first; `before`: the
    created_ms and subject of the last one seen."""
    rows = view.all(
        f"{_COLUMNS} WHERE member = ? AND certificate IS NOT NULL AND to_signature IS NOT NULL"
        " AND (created_ms, subject) < (?, ?) ORDER BY created_ms DESC, subject DESC LIMIT ?",
        member,
        *(before or (1 << 62, b"")),
        limit,
    )
    return [_trade(row) for row in rows]


def refunds(view: View, subject: bytes) -> list[Trade]:
    """Return the trades that give a trade back, or were to, oldest first."""
    rows = view.all(f"{_COLUMNS} WHERE refund_of = ? ORDER BY created_ms, subject", subject)
    return [_trade(row) for row in rows]


def given_back(view: View, subject: bytes) -> frozenset[str]:
    """Return the codes of the goods of a trade that settled refunds have given back here."""
    done = (each.terms for each in refunds(view, subject) if each.status is Status.SETTLED)
    return frozenset(asset for terms in done for asset in delivery.returned(terms))


# Such a trade moves by what its council says, and is spoken of there.
_IS_STATED: Final = "EXISTS (SELECT 1 FROM statement s WHERE s.subject = trade.subject)"
_AT_COUNCIL: Final = "EXISTS (SELECT 1 FROM subject s WHERE s.subject = trade.subject)"


def to_tell(
    view: View, neighbour: str, said: Mapping[bytes, int] = MappingProxyType({})
) -> list[bytes]:
    """Return the subjects of which there is something to say to a neighbour, the one that has
    waited longest first: not those that only wait for an answer, or are before a council, once
    that was said. `said`: up to which stamp it has been told just now."""
    rows = view.all(
        f"SELECT subject, changed_ms, {_AT_COUNCIL} FROM trade WHERE neighbour = ? AND closed = 0"  # noqa: S608
        f" AND NOT (told = 1 AND (status = 'PENDING' OR {_AT_COUNCIL}))"
        f" AND NOT (certificate IS NOT NULL AND {_AT_COUNCIL}) ORDER BY changed_ms, subject",
        neighbour,
    )
    return [
        subject
        for subject, changed_ms, at_council in rows
        if not (at_council and said.get(subject) == changed_ms)
    ]


def may_move(view: View, neighbour: str) -> list[bytes]:
    """Return the subjects of those that this village may have to take a step in: neither log is
    silent of them, and they are before no council. Not those of the neighbour's proposals that wait
    for a member, or have come to nothing."""
    done = f"('PENDING', {_UNBOUND_ENDS})"
    rows = view.all(
        "SELECT subject FROM trade WHERE neighbour = ? AND closed = 0"  # noqa: S608
        f" AND NOT (role = 'to' AND status IN {done}) AND {_IS_STATED} AND NOT {_AT_COUNCIL}"
        " ORDER BY changed_ms, subject",
        neighbour,
    )
    return [row[0] for row in rows]


def count_unclosed(view: View, neighbour: str) -> int:
    """Count the neighbour's proposals about which there is still something to say."""
    count: int = view.one(
        "SELECT count(*) FROM trade WHERE neighbour = ? AND closed = 0 AND role = 'to'", neighbour
    )[0]
    return count


def count_waiting(view: View, known: Trade) -> int:
    """Count the neighbour's proposals that wait as this one does: for the same name, whether a
    member's or not and however it is written, or for an answer to the same listing.

    Who made a listing is not asked: else the answers would tell it.
    """
    rows = view.all(
        "SELECT to_user, count(*) FROM trade WHERE neighbour = ? AND closed = 0 AND role = 'to'"
        " AND status = 'PENDING' AND listing = ? GROUP BY to_user",
        known.neighbour,
        known.listing,
    )
    if known.listing:
        return sum(count for _, count in rows)
    name = members.fold(known.to_user)
    return sum(count for each, count in rows if members.fold(each or "") == name)


def drop_dead(tx: Tx, neighbour: str) -> None:
    """Forget the neighbour's oldest proposals that have come to nothing, beyond the latest
    DEAD_PROPOSALS_KEPT_MAX."""
    oldest = (
        "SELECT subject FROM trade WHERE neighbour = ? AND role = 'to' AND closed = 1"  # noqa: S608
        f" AND status IN ({_UNBOUND_ENDS}) ORDER BY changed_ms DESC, subject LIMIT -1 OFFSET ?"
    )
    sql = f"DELETE FROM trade WHERE subject IN ({oldest})"  # noqa: S608
    tx.run(sql, neighbour, limits.DEAD_PROPOSALS_KEPT_MAX)


def decided(view: View, neighbour: str) -> list[Trade]:
    """Return those of them that have a certificate."""
    rows = view.all(
        f"{_COLUMNS} WHERE neighbour = ? AND closed = 0 AND certificate IS NOT NULL", neighbour
    )
    return [_trade(row) for row in rows]


def pending_past(view: View, minute: int) -> list[Trade]:
    """Return the PENDING trades whose deadline has passed."""
    rows = view.all(f"{_COLUMNS} WHERE closed = 0 AND status = 'PENDING'")
    return [found for row in rows if (found := _trade(row)).terms.deadline_minute < minute]


def count_open(
    view: View, *, member: int | None = None, neighbour: str = "", role: Role | None = None
) -> int:
    """Count the trades of a member, or with a neighbour, that have not ended; only those in which
    this village has one `role`, if it is given."""
    column, value = ("member", member) if member is not None else ("neighbour", neighbour)
    sql = (
        f"SELECT count(*) FROM trade WHERE {column} = ? AND closed = 0"  # noqa: S608
        f" AND status NOT IN ({_ENDED})"
        " AND role = coalesce(?, role)"
    )
    count: int = view.one(sql, value, role)[0]
    return count


def advance(tx: Tx, known: Trade, event: Event, reason: str = "") -> Trade:
    """Take one step of the status table; WrongState if there is no such step."""
    status = trade.after(known.status, event)
    tx.run(
        "UPDATE trade SET status = ?, reason = ?, told = 0, changed_ms = ? WHERE subject = ?",
        status,
        reason,
        tx.stamp_ms,
        known.subject,
    )
    return by_subject(tx, known.subject)


def keep(tx: Tx, subject: bytes, **columns: bytes | int | str | None) -> None:
    """Set columns of a trade's row."""
    assert set(columns) <= _KEPT
    names = ", ".join(f"{column} = ?" for column in columns)
    tx.run(f"UPDATE trade SET {names} WHERE subject = ?", *columns.values(), subject)  # noqa: S608


def keep_certificate(tx: Tx, subject: bytes, certificate: council.Certificate) -> None:
    """Keep a checked certificate: news for the neighbour, until it is known to have one."""
    text = canonical.encode(certificate)
    keep(tx, subject, certificate=text, told=0, changed_ms=tx.stamp_ms)
    if len(certificate.precommits) == 2:  # of two villages, and ours may be a forgotten one
        for village, signature in certificate.precommits:
            vote = council.Vote(
                village, certificate.round, "precommit", certificate.value, signature
            )
            keep_vote(tx, subject, vote)


# Votes


def keep_vote(tx: Tx, subject: bytes, vote: council.Vote) -> bool:
    """Keep a seat's checked vote; tell whether it was new. Of two values its first word stays."""
    added = tx.run(
        "INSERT INTO vote (subject, village, round, step, value, signature)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        subject,
        vote.village,
        vote.round,
        vote.step,
        vote.value,
        vote.signature,
    )
    return bool(added)


def votes(view: View, subject: bytes) -> list[council.Vote]:
    rows: Iterable[tuple[str, int, council.Step, council.Value, bytes]] = view.all(
        "SELECT village, round, step, value, signature FROM vote WHERE subject = ?"
        " ORDER BY village, round, step",
        subject,
    )
    return [council.Vote(*row) for row in rows]


# Facts


def facts(view: View, known: Trade, own_village: str, their_log: int) -> Facts:
    """Return what the committed rows say about a trade; see core/trade.next_action. What is proven
    and voted on before a council is for the council."""
    first: dict[int, tuple[int, Statement]] = {
        log: (idx, kind)
        for log, idx, kind in view.all(
            "SELECT log, min(idx), kind FROM statement WHERE subject = ? AND log IN (?, ?)"
            " AND kind IN ('hold', 'no-hold') GROUP BY log",
            known.subject,
            OWN_LOG,
            their_log,
        )
    }
    mine, theirs = first.get(OWN_LOG), first.get(their_log)
    alone = len(known.terms.seats) == 2
    return Facts(
        role=known.role,
        mine=mine[1] if mine else None,
        mine_proven=alone and _is_proven(view, known, mine, OWN_LOG, own_village),
        theirs=theirs[1] if theirs else None,
        theirs_proven=alone and _is_proven(view, known, theirs, their_log, known.neighbour),
        voted=alone
        and (
            any(vote.village == own_village for vote in votes(view, known.subject))
            or set_back.is_unsure(view, known.subject)
        ),
        certificate=known.certificate.value if known.certificate else None,
        ended=known.status in trade.ENDED,
    )


def _is_proven(
    view: View, known: Trade, stated: tuple[int, Statement] | None, log: int, village: str
) -> bool:
    seats = [seat.village for seat in known.terms.seats]
    needed = council.quorum(len(seats))
    return stated is not None and stated[0] < logs.proven_size(view, log, village, seats, needed)


def has_ended_there(view: View, subject: bytes, their_log: int) -> bool:
    """Tell whether the neighbour's log shows its settle or release."""
    found = logs.statements(view, subject, their_log)
    return any(kind in ("settle", "release") for _, kind in found)


def proofs(view: View, known: Trade) -> dict[str, Evidence]:
    """Return, by village, the proof of each party's statement, as far as they are proven here."""
    seats = known.terms.seats
    needed = council.quorum(len(seats))
    found = {}
    for village in (known.terms.from_village, known.terms.to_village):
        log = OWN_LOG if village != known.neighbour else neighbours.log_of(view, village)
        first = first_statement(view, known.subject, log)
        proven = logs.proven_size(view, log, village, [seat.village for seat in seats], needed)
        if first is not None and first[0] < proven:
            found[village] = logs.evidence(view, log, village, first[0], seats, needed)
    return found


def first_statement(view: View, subject: bytes, log: int) -> tuple[int, Statement] | None:
    """Return (index, kind) of a log's first hold or no-hold on a subject: the one that counts."""
    row: tuple[int, Statement] | None = view.one(
        "SELECT idx, kind FROM statement WHERE subject = ? AND log = ?"
        " AND kind IN ('hold', 'no-hold') ORDER BY idx LIMIT 1",
        subject,
        log,
    )
    return row


def _trade(row: tuple[Any, ...]) -> Trade:
    subject, neighbour, role, status, terms_bytes, from_signature, to_signature = row[:7]
    from_user, to_user, member, reserved, certificate, told, closed, *rest = row[7:]
    reason, created_ms, changed_ms, listing, deliver_minute, heard = rest
    return Trade(
        subject,
        neighbour,
        role,
        Status(status),
        terms_bytes,
        trade.decode_terms(terms_bytes),
        from_signature,
        to_signature,
        from_user or "",
        to_user or "",
        member,
        bool(reserved),
        _certificate_codec.decode(certificate) if certificate else None,
        bool(told),
        bool(closed),
        reason,
        created_ms,
        changed_ms,
        listing,
        deliver_minute,
        bool(heard),
    )
