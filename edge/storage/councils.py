"""Subjects that a council decides, in the database of one of its seats: a set of signed messages
that only grows, this seat's state, and how much of it each other seat has."""

from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec

from edge.core import canonical, council, limits, trade, valid
from edge.core.council import Certificate, Proposal, State, Step, Subject, Value, Vote
from edge.core.misbehaviour import of_words, verify
from edge.core.receipt import Evidence
from edge.core.trade import Statement
from edge.core.valid import Absent
from edge.storage import misbehaviour
from edge.storage.tx import Tx, View

ABSENT_AFTER_MS: Final = 2 * limits.MINUTE_MS  # the deadline: a public stamp is a whole minute
ROUNDS_AHEAD_MAX: Final = 16  # votes of later rounds are not kept: they will be said again


class Opened(msgspec.Struct, frozen=True):
    """A subject at this seat."""

    terms_bytes: bytes
    terms: trade.Terms
    from_signature: bytes
    to_signature: bytes
    opened_ms: int
    state: State
    certificate: Certificate | None
    changed_ms: int

    @property
    def subject(self) -> Subject:
        terms = self.terms
        id_ = trade.subject_of(self.terms_bytes)
        return Subject(terms.network, id_, terms.seats, terms.window_s)

    @property
    def id(self) -> bytes:
        return trade.subject_of(self.terms_bytes)


_COLUMNS: Final = (
    "SELECT terms, from_signature, to_signature, opened_ms, state, certificate, changed_ms"
    " FROM subject"
)
_BALLOTS: Final = (
    "SELECT village, round, step, value, signature FROM ballot WHERE subject = ? AND kept_ms > ?"
)
_certificate_codec = canonical.Codec(Certificate, "certificate", 8_192)
_evidence_codec = canonical.Codec(Evidence, "evidence", 256 * 1024)
_state_decoder = msgspec.json.Decoder(State)


def open_(tx: Tx, terms_bytes: bytes, from_signature: bytes, to_signature: bytes) -> Opened:
    """Keep a subject, whose terms both parties have signed; the same again changes nothing."""
    known = find(tx, trade.subject_of(terms_bytes))
    if known is not None:
        return known
    terms, id_ = trade.decode_terms(terms_bytes), trade.subject_of(terms_bytes)
    tx.run(
        "INSERT INTO subject (subject, terms, from_signature, to_signature, opened_ms, state,"
        " wakes_ms, unproven, parties, changed_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        id_,
        terms_bytes,
        from_signature,
        to_signature,
        tx.stamp_ms,
        msgspec.json.encode(State()).decode(),
        absent_from_ms(terms, tx.stamp_ms),
        int(tx.identity.village in (terms.from_village, terms.to_village)),
        " ".join(sorted((terms.from_village, terms.to_village))),
        tx.stamp_ms,
    )
    for seat in terms.seats:
        if seat.village != tx.identity.village:
            tx.run("INSERT INTO told (village, subject) VALUES (?, ?)", seat.village, id_)
    return named(tx, id_)


def find(view: View, subject: bytes) -> Opened | None:
    row = view.one(f"{_COLUMNS} WHERE subject = ?", subject)
    return _opened(row) if row else None


def named(view: View, subject: bytes) -> Opened:
    found = find(view, subject)
    assert found is not None, "the subject is not open here"
    return found


def unproven(view: View) -> list[Opened]:
    """Return the subjects of our own trades whose statement here is not proven yet."""
    rows = view.all(f"{_COLUMNS} WHERE unproven = 1 ORDER BY opened_ms, subject")
    return [_opened(row) for row in rows]


def count_undecided(view: View, parties: tuple[str, str]) -> int:
    """Count the undecided subjects of trades that two villages have with each other."""
    count: int = view.one(
        "SELECT count(*) FROM subject WHERE certificate IS NULL AND parties = ?",
        " ".join(sorted(parties)),
    )[0]
    return count


def known(view: View, opened: Opened) -> council.Known:
    """Return all that is held of a subject, as `council.advance` reads it."""
    id_ = opened.id
    reached = view.all("SELECT village, reached FROM told WHERE subject = ?", id_)
    return council.Known(
        tuple(votes(view, id_)), tuple(proposals(view, id_)), provable(view, opened), dict(reached)
    )


def provable(view: View, opened: Opened) -> frozenset[Value]:
    stated: list[tuple[str, Statement]] = view.all(
        "SELECT village, statement FROM proof WHERE subject = ?", opened.id
    )
    return valid.provable(opened.terms, stated, absents(view, opened.id))


def votes(view: View, subject: bytes, since_ms: int = -1) -> list[Vote]:
    return _votes(view.all(f"{_BALLOTS} ORDER BY round, step, village, value", subject, since_ms))


def proposals(view: View, subject: bytes, since_ms: int = -1) -> list[Proposal]:
    rows = view.all(
        "SELECT village, round, value, valid_round, signature FROM proposal WHERE subject = ?"
        " AND kept_ms > ? ORDER BY round",
        subject,
        since_ms,
    )
    return [Proposal(*row) for row in rows]


def absents(view: View, subject: bytes, since_ms: int = -1) -> list[Absent]:
    rows = view.all(
        "SELECT village, about, signature FROM absence WHERE subject = ? AND kept_ms > ?"
        " ORDER BY village, about",
        subject,
        since_ms,
    )
    return [Absent(*row) for row in rows]


def proofs(view: View, subject: bytes, since_ms: int = -1) -> list[Evidence]:
    rows = view.all(
        "SELECT evidence FROM proof WHERE subject = ? AND kept_ms > ? ORDER BY village, statement",
        subject,
        since_ms,
    )
    return [_evidence_codec.decode(row[0]) for row in rows]


def statements(view: View, subject: bytes) -> list[tuple[Evidence, Statement]]:
    """Return all evidence, and what it proves."""
    rows = view.all("SELECT evidence, statement FROM proof WHERE subject = ?", subject)
    return [(_evidence_codec.decode(evidence), statement) for evidence, statement in rows]


def is_proven(view: View, subject: bytes, village: str) -> bool:
    """Tell whether there is proof of a statement of this party."""
    sql = "SELECT 1 FROM proof WHERE subject = ? AND village = ?"
    return view.one(sql, subject, village) is not None


# Growing. Each tells whether it was new.


def keep_vote(tx: Tx, opened: Opened, vote: Vote) -> bool:
    """Keep a checked vote. A liar's two values in one round and step both count, since an honest
    seat may have acted on either; they are misbehaviour."""
    _note_reached(tx, opened, vote.village, vote.round)
    if vote.round > opened.state.round + ROUNDS_AHEAD_MAX:
        return False
    others = [
        each
        for each in _votes(
            tx.all(
                f"{_BALLOTS} AND round = ? AND step = ? AND village = ?",
                opened.id,
                -1,
                vote.round,
                vote.step,
                vote.village,
            )
        )
        if each.value != vote.value
    ]
    added = tx.run(
        "INSERT INTO ballot (subject, round, step, village, value, signature, kept_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        opened.id,
        vote.round,
        vote.step,
        vote.village,
        vote.value or "",
        vote.signature,
        tx.stamp_ms,
    )
    if others:
        _note_misbehaviour(tx, opened, others[0], vote)
    return bool(added)


def keep_proposal(tx: Tx, opened: Opened, proposal: Proposal) -> bool:
    """Keep a checked proposal; the proposer's first word stays."""
    _note_reached(tx, opened, proposal.village, proposal.round)
    if proposal.round > opened.state.round + ROUNDS_AHEAD_MAX:
        return False
    row = tx.one(
        "SELECT village, round, value, valid_round, signature FROM proposal"
        " WHERE subject = ? AND round = ?",
        opened.id,
        proposal.round,
    )
    if row is not None:
        return _note_misbehaviour(tx, opened, Proposal(*row), proposal)
    tx.run(
        "INSERT INTO proposal (subject, round, village, value, valid_round, signature, kept_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        opened.id,
        proposal.round,
        proposal.village,
        proposal.value,
        proposal.valid_round,
        proposal.signature,
        tx.stamp_ms,
    )
    return True


def keep_proof(tx: Tx, opened: Opened, evidence: Evidence, statement: Statement) -> bool:
    """Keep checked evidence; the first of each statement stays."""
    added = tx.run(
        "INSERT INTO proof (subject, village, statement, evidence, kept_ms)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        opened.id,
        evidence.village,
        statement,
        canonical.encode(evidence),
        tx.stamp_ms,
    )
    if evidence.village == tx.identity.village:
        tx.run("UPDATE subject SET unproven = 0 WHERE subject = ?", opened.id)
    return bool(added)


def keep_absent(tx: Tx, opened: Opened, said: Absent) -> bool:
    return bool(
        tx.run(
            "INSERT INTO absence (subject, village, about, signature, kept_ms)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            opened.id,
            said.village,
            said.about,
            said.signature,
            tx.stamp_ms,
        )
    )


def keep_state(tx: Tx, opened: Opened, state: State, wakes_ms: int | None) -> None:
    tx.run(
        "UPDATE subject SET state = ?, wakes_ms = ? WHERE subject = ?",
        msgspec.json.encode(state).decode(),
        wakes_ms,
        opened.id,
    )


def decide(tx: Tx, opened: Opened, certificate: Certificate) -> None:
    """Keep the decision: from now on the certificate is all that is said."""
    tx.run(
        "UPDATE subject SET certificate = ?, wakes_ms = NULL WHERE subject = ?"
        " AND certificate IS NULL",
        canonical.encode(certificate),
        opened.id,
    )


def note_news(tx: Tx, opened: Opened, *, urgent: bool) -> None:
    """Note that there is something to say to every other seat: at once, or with what is said
    next."""
    tx.run("UPDATE subject SET changed_ms = ? WHERE subject = ?", tx.stamp_ms, opened.id)
    tx.run(
        "UPDATE told SET due = 1, urgent = max(urgent, ?) WHERE subject = ?",
        int(urgent),
        opened.id,
    )


# Who has been told


def due(view: View, village: str, limit: int) -> list[tuple[bytes, int, bool]]:
    """Return (subject, told_ms, asks) of those of which another seat lacks something; `asks`: it is
    to say everything again."""
    return view.all(
        "SELECT subject, told_ms, asks FROM told WHERE village = ? AND due = 1 LIMIT ?",
        village,
        limit,
    )


def villages_waiting(view: View) -> list[str]:
    """Return the villages to which there is something urgent to say."""
    return [row[0] for row in view.all("SELECT DISTINCT village FROM told WHERE urgent = 1")]


def told_until(view: View, village: str, subject: bytes) -> int | None:
    """Return the stamp up to which a seat has it all, None if it has no seat."""
    row = view.one("SELECT told_ms FROM told WHERE village = ? AND subject = ?", village, subject)
    return row[0] if row else None


def note_told(tx: Tx, village: str, subject: bytes, changed_ms: int) -> None:
    """Note that a seat has stored all that was kept up to `changed_ms`."""
    row = tx.one("SELECT changed_ms > ? FROM subject WHERE subject = ?", changed_ms, subject)
    assert row is not None, "what was said of is kept"
    tx.run(
        "UPDATE told SET told_ms = max(told_ms, ?), due = ?, urgent = min(urgent, ?), asks = 0"
        " WHERE village = ? AND subject = ?",
        changed_ms,
        row[0],
        row[0],
        village,
        subject,
    )


def ask_anew(tx: Tx, opened: Opened) -> None:
    """Note that every other seat is to say again what was too far ahead to be kept."""
    tx.run("UPDATE subject SET changed_ms = ? WHERE subject = ?", tx.stamp_ms, opened.id)
    tx.run("UPDATE told SET due = 1, urgent = 1, asks = 1 WHERE subject = ?", opened.id)


def has_said_all(tx: Tx, village: str, subject: bytes) -> None:
    """Note that a seat has just said everything, so that it need not be asked again."""
    tx.run("UPDATE told SET asks = 0 WHERE village = ? AND subject = ?", village, subject)


def tell_anew(tx: Tx, village: str, subject: bytes) -> None:
    """Note that a seat lacks what it was told: it is behind, or was set back. It hears it with what
    is said next, the answer to its question as a rule: one that always asks keeps nobody busy."""
    tx.run(
        "UPDATE told SET told_ms = 0, due = 1 WHERE village = ? AND subject = ?", village, subject
    )


# Time


def absent_from_ms(terms: trade.Terms, opened_ms: int) -> int:
    """Return from when on a seat may say that a hold is absent: a while after the deadline, a week
    after the subject was opened at the latest."""
    late_ms = terms.deadline_minute * limits.MINUTE_MS + ABSENT_AFTER_MS
    return min(late_ms, opened_ms + limits.DEADLINE_S_MAX * 1000)


def next_wake(view: View) -> int | None:
    """Return when time alone may move a subject, None for never."""
    wakes_ms: int | None = view.one("SELECT min(wakes_ms) FROM subject")[0]
    return wakes_ms


def waiting(view: View) -> list[Opened]:
    """Return the subjects that wait for a time."""
    rows = view.all(f"{_COLUMNS} WHERE wakes_ms IS NOT NULL ORDER BY wakes_ms")
    return [_opened(row) for row in rows]


def woken(view: View, now_ms: int) -> list[Opened]:
    rows = view.all(f"{_COLUMNS} WHERE wakes_ms <= ? ORDER BY wakes_ms", now_ms)
    return [_opened(row) for row in rows]


# Helpers


def _note_reached(tx: Tx, opened: Opened, village: str, round_: int) -> None:
    tx.run(
        "UPDATE told SET reached = max(reached, ?) WHERE village = ? AND subject = ?",
        round_,
        village,
        opened.id,
    )


def _note_misbehaviour(
    tx: Tx, opened: Opened, one: Vote | Proposal, other: Vote | Proposal
) -> bool:
    if council.contradict(one, other):
        signatures = opened.from_signature, opened.to_signature
        said = of_words(opened.terms_bytes, signatures, one, other)
        if not misbehaviour.has_enough(tx, opened.id, one.village):
            misbehaviour.keep(tx, verify(said), said)
    return False


def _votes(rows: Iterable[tuple[str, int, Step, Value | Literal[""], bytes]]) -> list[Vote]:
    return [
        Vote(village, round_, step, value or None, signature)
        for village, round_, step, value, signature in rows
    ]


def _opened(row: tuple[Any, ...]) -> Opened:
    terms, from_signature, to_signature, opened_ms, state, certificate, changed_ms = row
    return Opened(
        terms,
        trade.decode_terms(terms),
        from_signature,
        to_signature,
        opened_ms,
        _state_decoder.decode(state),
        _certificate_codec.decode(certificate) if certificate else None,
        changed_ms,
    )
