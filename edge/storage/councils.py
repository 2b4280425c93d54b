"""Subjects that a council decides, in the database of one of its seats: a set of signed messages
that only grows, this seat's state, and how much of it each other seat has."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from edge.core import canonical, council, limits, trade, valid
from edge.core.council import Certificate, Proposal, State, Subject, Value, Vote
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

    id: bytes
    terms_bytes: bytes
    terms: trade.Terms
    from_signature: bytes
    to_signature: bytes
    opened_ms: int
    state: State
    wakes_ms: int | None
    certificate: Certificate | None
    changed_ms: int

    @property
    def subject(self) -> Subject:
        return Subject(self.terms.network, self.id, self.terms.seats, self.terms.window_s)

    @property
    def proposer(self) -> str:
        """Return the village that proposes in this round, or in the first."""
        return self.subject.proposer(max(self.state.round, 0))


COLUMNS: Final = (
    "SELECT subject, terms, from_signature, to_signature, opened_ms, state, wakes_ms, certificate,"
    " changed_ms FROM subject"
)
# All words on a subject in one question: many are asked for each trade.
_WORDS: Final = (
    "SELECT 'ballot', village, round, step, value, signature FROM ballot"
    " WHERE subject = ?1 AND kept_ms > ?2 UNION ALL"
    " SELECT 'proposal', village, round, value, valid_round, signature FROM proposal"
    " WHERE subject = ?1 AND kept_ms > ?2 UNION ALL"
    " SELECT 'absence', village, about, signature, NULL, NULL FROM absence"
    " WHERE subject = ?1 AND kept_ms > ?2 UNION ALL"
)
_HELD: Final = (
    f"{_WORDS} SELECT 'proof', village, statement, NULL, NULL, NULL FROM proof"  # noqa: S608
    " WHERE subject = ?1 UNION ALL"
    " SELECT 'told', village, reached, asks, NULL, NULL FROM told WHERE subject = ?1"
)
_SAID: Final = (
    f"{_WORDS} SELECT 'proof', evidence, NULL, NULL, NULL, NULL FROM proof"  # noqa: S608
    " WHERE subject = ?1 AND kept_ms > ?2"
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
    wakes_ms = absent_from_ms(terms, tx.stamp_ms)
    tx.run(
        "INSERT INTO subject (subject, terms, from_signature, to_signature, opened_ms, state,"
        " wakes_ms, unproven, parties, changed_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        id_,
        terms_bytes,
        from_signature,
        to_signature,
        tx.stamp_ms,
        msgspec.json.encode(State()).decode(),
        wakes_ms,
        int(tx.identity.village in (terms.from_village, terms.to_village)),
        " ".join(sorted((terms.from_village, terms.to_village))),
        tx.stamp_ms,
    )
    for seat in terms.seats:
        if seat.village != tx.identity.village:
            tx.run("INSERT INTO told (village, subject) VALUES (?, ?)", seat.village, id_)
    return Opened(
        id_,
        terms_bytes,
        terms,
        from_signature,
        to_signature,
        tx.stamp_ms,
        State(),
        wakes_ms,
        None,
        tx.stamp_ms,
    )


def find(view: View, subject: bytes) -> Opened | None:
    row = view.one(f"{COLUMNS} WHERE subject = ?", subject)
    return opened_of(row) if row else None


def is_open(view: View, subject: bytes) -> bool:
    return view.one("SELECT 1 FROM subject WHERE subject = ?", subject) is not None


def named(view: View, subject: bytes) -> Opened:
    found = find(view, subject)
    assert found is not None, "the subject is not open here"
    return found


def unproven(view: View) -> list[tuple[Opened, int, Statement]]:
    """Return the subjects of our own trades whose statement is not proven yet, with its index and
    kind."""
    rows = view.all(
        "SELECT min(idx), kind, "
        + COLUMNS.removeprefix("SELECT ")
        + " INDEXED BY subject_unproven CROSS JOIN statement USING"  # else all of them, ever
        " (subject) WHERE unproven = 1 AND log = 0 AND kind IN ('hold', 'no-hold')"
        " GROUP BY subject ORDER BY min(idx)"
    )
    return [(opened_of(row), idx, kind) for idx, kind, *row in rows]


def first_unproven(view: View) -> int | None:
    """Return the index of our first statement on a council's subject that is not proven yet."""
    idx: int | None = view.one(
        "SELECT min(idx) FROM subject INDEXED BY subject_unproven CROSS JOIN statement"
        " USING (subject) WHERE unproven = 1"
        " AND log = 0 AND kind IN ('hold', 'no-hold')"
    )[0]
    return idx


def count_undecided(view: View, parties: tuple[str, str]) -> int:
    """Count the undecided subjects of trades that two villages have with each other."""
    count: int = view.one(
        "SELECT count(*) FROM subject WHERE certificate IS NULL AND parties = ?",
        " ".join(sorted(parties)),
    )[0]
    return count


class Held(msgspec.Struct):
    """All that is held of a subject. It grows with what `keep_...` keeps. `stated`: what is proven
    that a party has stated; `reached`: the highest round of which each other seat has signed
    anything; `asks`: the seats that are to say everything again."""

    opened: Opened
    votes: list[Vote]
    proposals: list[Proposal]
    absents: list[Absent]
    stated: list[tuple[str, Statement]]
    reached: dict[str, int]
    asks: set[str]

    @property
    def known(self) -> council.Known:
        """Return it as `council.advance` reads it."""
        return council.Known(
            tuple(self.votes), tuple(self.proposals), self.provable, dict(self.reached)
        )

    @property
    def provable(self) -> frozenset[Value]:
        return valid.provable(self.opened.terms, self.stated, self.absents)


def held(view: View, opened: Opened) -> Held:
    """Return all that is held of a subject."""
    found = _by_kind(view.all(_HELD, opened.id, -1))
    return Held(
        opened,
        [_vote(row) for row in found["ballot"]],
        [Proposal(*row) for row in found["proposal"]],
        [Absent(*row[:3]) for row in found["absence"]],
        [(village, statement) for village, statement, *_ in found["proof"]],
        {village: reached for village, reached, *_ in found["told"]},
        {village for village, _, asks, *_ in found["told"] if asks},
    )


class Words(NamedTuple):
    """What was kept of a subject after a stamp."""

    votes: list[Vote]
    proposals: list[Proposal]
    absents: list[Absent]
    evidence: list[Evidence]


def words(view: View, subject: bytes, since_ms: int = -1) -> Words:
    found = _by_kind(view.all(_SAID, subject, since_ms))
    return Words(
        [_vote(row) for row in found["ballot"]],
        [Proposal(*row) for row in found["proposal"]],
        [Absent(*row[:3]) for row in found["absence"]],
        [_evidence_codec.decode(row[0]) for row in found["proof"]],
    )


def votes(view: View, subject: bytes) -> list[Vote]:
    return words(view, subject).votes


def proposals(view: View, subject: bytes) -> list[Proposal]:
    return words(view, subject).proposals


def absents(view: View, subject: bytes) -> list[Absent]:
    return words(view, subject).absents


def proofs(view: View, subject: bytes) -> list[Evidence]:
    return words(view, subject).evidence


def statements(view: View, subject: bytes) -> list[tuple[Evidence, Statement]]:
    """Return all evidence, and what it proves."""
    rows = view.all("SELECT evidence, statement FROM proof WHERE subject = ?", subject)
    return [(_evidence_codec.decode(evidence), statement) for evidence, statement in rows]


def is_proven(view: View, subject: bytes, village: str) -> bool:
    """Tell whether there is proof of a statement of this party."""
    sql = "SELECT 1 FROM proof WHERE subject = ? AND village = ?"
    return view.one(sql, subject, village) is not None


# Growing. Each tells whether it was new.


def new_votes(held: Held, votes: Iterable[Vote]) -> list[Vote]:
    """Return what is worth checking: not what is held, nor one more prevote for what a quorum has
    prevoted for already; of rounds too far ahead each seat's last, which shows where it is."""
    state = held.opened.state
    found, far = [], dict[str, Vote]()
    reached = dict(held.reached)
    for vote in votes:
        if vote.round <= state.round + ROUNDS_AHEAD_MAX:
            if not (_is_past_quorum(vote, state) or has_vote(held, vote)):
                found.append(vote)
        elif vote.round > reached.get(vote.village, vote.round):
            far[vote.village], reached[vote.village] = vote, vote.round
    return found + list(far.values())


def keep_vote(tx: Tx, held: Held, vote: Vote) -> bool:
    """Keep a checked vote. A liar's two values in one round and step both count, since an honest
    seat may have acted on either; they are misbehaviour."""
    _note_reached(tx, held, vote.village, vote.round)
    if vote.round > held.opened.state.round + ROUNDS_AHEAD_MAX or has_vote(held, vote):
        return False
    tx.run(
        "INSERT INTO ballot (subject, round, step, village, value, signature, kept_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        held.opened.id,
        vote.round,
        vote.step,
        vote.village,
        vote.value or "",
        vote.signature,
        tx.stamp_ms,
    )
    for other in held.votes:
        if council.contradict(other, vote):
            _note_misbehaviour(tx, held.opened, other, vote)
    held.votes.append(vote)
    return True


def has_vote(held: Held, vote: Vote) -> bool:
    """Tell whether that seat's same word is held."""
    place = (vote.village, vote.round, vote.step, vote.value)
    return any((v.village, v.round, v.step, v.value) == place for v in held.votes)


def keep_proposal(tx: Tx, held: Held, proposal: Proposal) -> bool:
    """Keep a checked proposal; the proposer's first word stays."""
    _note_reached(tx, held, proposal.village, proposal.round)
    if proposal.round > held.opened.state.round + ROUNDS_AHEAD_MAX:
        return False
    first = next((each for each in held.proposals if each.round == proposal.round), None)
    if first is not None:
        return _note_misbehaviour(tx, held.opened, first, proposal)
    tx.run(
        "INSERT INTO proposal (subject, round, village, value, valid_round, signature, kept_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        held.opened.id,
        proposal.round,
        proposal.village,
        proposal.value,
        proposal.valid_round,
        proposal.signature,
        tx.stamp_ms,
    )
    held.proposals.append(proposal)
    return True


def keep_proof(tx: Tx, held: Held, evidence: Evidence, statement: Statement) -> bool:
    """Keep checked evidence; the first of each statement stays."""
    if (evidence.village, statement) in held.stated:
        return False
    tx.run(
        "INSERT INTO proof (subject, village, statement, evidence, kept_ms) VALUES (?, ?, ?, ?, ?)",
        held.opened.id,
        evidence.village,
        statement,
        canonical.encode(evidence),
        tx.stamp_ms,
    )
    if evidence.village == tx.identity.village:
        tx.run("UPDATE subject SET unproven = 0 WHERE subject = ?", held.opened.id)
    held.stated.append((evidence.village, statement))
    return True


def keep_absent(tx: Tx, held: Held, said: Absent) -> bool:
    if any((each.village, each.about) == (said.village, said.about) for each in held.absents):
        return False
    tx.run(
        "INSERT INTO absence (subject, village, about, signature, kept_ms) VALUES (?, ?, ?, ?, ?)",
        held.opened.id,
        said.village,
        said.about,
        said.signature,
        tx.stamp_ms,
    )
    held.absents.append(said)
    return True


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
    rows = view.all(f"{COLUMNS} WHERE wakes_ms IS NOT NULL ORDER BY wakes_ms")
    return [opened_of(row) for row in rows]


def woken(view: View, now_ms: int) -> list[Opened]:
    rows = view.all(f"{COLUMNS} WHERE wakes_ms <= ? ORDER BY wakes_ms", now_ms)
    return [opened_of(row) for row in rows]


# Helpers


def _is_past_quorum(vote: Vote, state: State) -> bool:
    is_locked = state.phase == "precommit" and state.locked_round == state.round
    place = (vote.step, vote.round, vote.value)
    return is_locked and place == ("prevote", state.round, state.locked)


def _note_reached(tx: Tx, held: Held, village: str, round_: int) -> None:
    if round_ > held.reached.get(village, round_):
        held.reached[village] = round_
        sql = "UPDATE told SET reached = ? WHERE village = ? AND subject = ?"
        tx.run(sql, round_, village, held.opened.id)


def _note_misbehaviour(
    tx: Tx, opened: Opened, one: Vote | Proposal, other: Vote | Proposal
) -> bool:
    if council.contradict(one, other):
        signatures = opened.from_signature, opened.to_signature
        said = of_words(opened.terms_bytes, signatures, one, other)
        if not misbehaviour.has_enough(tx, opened.id, one.village):
            misbehaviour.keep(tx, verify(said), said)
    return False


def _by_kind(rows: Iterable[tuple[str, *tuple[Any, ...]]]) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = {
        kind: [] for kind in ("ballot", "proposal", "absence", "proof", "told")
    }
    for kind, *row in rows:
        found[kind].append(tuple(row))
    return found


def _vote(row: tuple[Any, ...]) -> Vote:
    village, round_, step, value, signature = row
    return Vote(village, round_, step, value or None, signature)


def opened_of(row: Sequence[Any]) -> Opened:
    """Return a subject from a row of COLUMNS."""
    (
        id_,
        terms,
        from_signature,
        to_signature,
        opened_ms,
        state,
        wakes_ms,
        certificate,
        changed_ms,
    ) = row
    return Opened(
        id_,
        terms,
        trade.decode_terms(terms),
        from_signature,
        to_signature,
        opened_ms,
        _state_decoder.decode(state),
        wakes_ms,
        _certificate_codec.decode(certificate) if certificate else None,
        changed_ms,
    )
