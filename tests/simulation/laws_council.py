"""The laws for what seats and cosigners say, checked against what is on the disks: whatever others
have heard of a village it has stored itself; it votes for what it can prove, keeps its locks, and
proves what is so. Recomputed here from the rows, with no help from the code that wrote them.
"""

import json
import struct
from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from edge.core import crypto
from tests.simulation.law import LawBroken
from tests.simulation.world import Village, World

if TYPE_CHECKING:
    from tests.simulation.laws import Book

WEEK_MS: Final = 7 * 86_400_000
_SAID: Final = {
    "ballot": ("round", "step", "value", "signature"),
    "proposal": ("round", "value", "valid_round", "signature"),
    "absence": ("about", "signature"),
}


class CouncilLaws:
    """Knows how far it has looked at each village's words."""

    def __init__(self, world: World, books: "dict[str, Book]") -> None:
        self.world = world
        self._books = books
        self._seen: dict[tuple[str, str], int] = defaultdict(int)  # by village and table: kept_ms
        self._cosigned: dict[tuple[str, int], tuple[int, int]] = {}  # size and count, by log
        self._kept_lines: dict[str, set[tuple[int, str]]] = defaultdict(set)
        self._proven: set[tuple[bytes, str, str, bytes, bytes]] = set()
        self._proposals: set[tuple[str, bytes]] = set()
        self._kept_votes: dict[str, set[tuple[Any, ...]]] = defaultdict(set)

    def look(self, village: Village, tables: set[str] | None) -> None:
        """Check what follows from these tables, from all if it is None."""
        whole = tables is None
        for table in _SAID:
            if tables is None or table in tables:
                self._words(village, table, whole)
        if tables is None or "proof" in tables:
            self._proofs(village, whole)
        if tables is None or "vote" in tables:
            self._votes_of_two(village)
        if tables is None or "cosignature" in tables:
            self._cosignatures(village)
            self._kept(village, whole)
        if tables is None or "trade" in tables:
            self._proposed(village)

    def _fresh(self, village: Village, table: str, columns: str, whole: bool) -> Iterator[Any]:
        place = (village.name, table)
        since = -1 if whole else self._seen[place]
        rows = village.conn.execute(
            f"SELECT kept_ms, {columns} FROM {table} WHERE kept_ms > ? ORDER BY kept_ms",
            (since,),
        ).fetchall()
        if rows:
            self._seen[place] = rows[-1][0]
        return iter(rows)

    def _words(self, village: Village, table: str, whole: bool) -> None:
        said = _SAID[table]
        columns = f"subject, village, {', '.join(said)}"
        own = set()
        for kept_ms, subject, speaker, *word in self._fresh(village, table, columns, whole):
            if speaker == village.name:
                own.add(subject)
                if table == "absence":
                    _is_late(village, subject, kept_ms)
            elif speaker in self.world.villages:
                self._has_stored(speaker, table, subject, dict(zip(said, word, strict=True)))
        if table == "ballot":
            for subject in sorted(own):
                _check_votes(village, subject)

    def _has_stored(self, speaker: str, table: str, subject: bytes, word: dict[str, Any]) -> None:
        where = " AND ".join(f"{column} = ?" for column in word)
        row = (
            self.world.villages[speaker]
            .conn.execute(
                f"SELECT 1 FROM {table} WHERE village = ? AND subject = ? AND {where}",
                (speaker, subject, *word.values()),
            )
            .fetchone()
        )
        if row is None:
            what = f"a word of {speaker} in {table}: {list(word.values())[:-1]}"
            raise LawBroken("stored before said", what, subject)

    def _votes_of_two(self, village: Village) -> None:
        columns = "subject, village, round, step, value, signature"
        kept = self._kept_votes[village.name]
        for row in village.conn.execute(f"SELECT {columns} FROM vote").fetchall():
            subject, speaker, *word = row
            if row in kept or speaker not in self.world.villages:
                continue
            kept.add(row)
            if speaker != village.name:
                names = ("round", "step", "value", "signature")
                self._has_stored(speaker, "vote", subject, dict(zip(names, word, strict=True)))

    def _proposed(self, village: Village) -> None:
        """What is proposed here in the name of a village that village has itself."""
        for (subject,) in village.conn.execute("SELECT subject FROM trade WHERE role = 'to'"):
            if (village.name, subject) in self._proposals:
                continue
            terms = json.loads(
                village.conn.execute(
                    "SELECT terms FROM trade WHERE subject = ?", (subject,)
                ).fetchone()[0]
            )
            self._proposals.add((village.name, subject))
            other = self.world.villages.get(terms["from_village"])
            if (
                other is not None
                and not other.conn.execute(
                    "SELECT 1 FROM trade WHERE subject = ?", (subject,)
                ).fetchone()
            ):
                what = f"a proposal of {other.name} to {village.name}"
                raise LawBroken("stored before said", what, subject)

    # Cosignatures

    def _cosignatures(self, village: Village) -> None:
        """A village cosigns what it holds, and never goes back."""
        for log, size, count in village.conn.execute(
            "SELECT log, max(size), count(*) FROM cosignature WHERE village = ? GROUP BY log",
            (village.name,),
        ).fetchall():
            known_size, known_count = self._cosigned.get((village.name, log), (-1, 0))
            if count > known_count and size <= known_size:
                raise LawBroken("cosigning never goes back", f"{village.name}, log {log}")
            self._cosigned[village.name, log] = (size, count)
            if size > known_size:
                (last,) = village.conn.execute(
                    "SELECT max(position) FROM entry WHERE position >= ? AND position < ?",
                    (log << 46, (log << 46) + (1 << 40)),
                ).fetchone()
                if size > (0 if last is None else last + 1 - (log << 46)):
                    raise LawBroken("stored before said", f"{village.name} cosigned what it lacks")

    def _kept(self, village: Village, whole: bool) -> None:
        """What others have cosigned of this log they have cosigned on their own disks; perhaps the
        same again since, with another time in it."""
        kept = self._kept_lines[village.name]
        if whole:
            kept.clear()
        for size, cosigner, root in village.conn.execute(
            "SELECT c.size, c.village, k.root FROM cosignature c"
            " JOIN checkpoint k USING (log, size) WHERE c.log = 0 ORDER BY c.size DESC LIMIT ?",
            (-1 if whole else 24,),
        ).fetchall():
            if (size, cosigner) in kept or cosigner not in self.world.villages:
                continue
            kept.add((size, cosigner))
            row = (
                self.world.villages[cosigner]
                .conn.execute(
                    "SELECT 1 FROM cosignature c JOIN log l ON l.id = c.log"
                    " JOIN checkpoint k ON k.log = c.log AND k.size = c.size"
                    " WHERE l.village = ? AND c.size = ? AND c.village = ? AND k.root = ?",
                    (village.name, size, cosigner, root),
                )
                .fetchone()
            )
            if row is None:
                raise LawBroken("stored before said", f"a cosignature of {cosigner}")

    # Proofs

    def _proofs(self, village: Village, whole: bool) -> None:
        columns = "subject, village, statement, evidence"
        rows = self._fresh(village, "proof", columns, whole)
        for _, subject, party, statement, evidence in rows:
            (terms,) = village.conn.execute(
                "SELECT terms FROM subject WHERE subject = ?", (subject,)
            ).fetchone()
            place = (subject, party, statement, evidence, terms)
            if place in self._proven:
                continue
            why = why_unproven(json.loads(evidence), terms, subject, party, statement)
            book = self._books.get(party) if party in self.world.villages else None
            said = json.loads(evidence)
            if not why and book is not None:
                records = book.records
                record = b64decode(said["record"])
                if not said["index"] < len(records) or records[said["index"]] != record:
                    why = "its log holds another record there"
            if why:
                raise LawBroken(
                    "what is proven is so",
                    f"{statement} of {party} at {village.name}: {why}",
                    subject,
                )
            self._proven.add(place)


def why_unproven(
    said: dict[str, Any], terms_text: bytes, subject: bytes, party: str, statement: str
) -> str:
    """Return why evidence does not prove a party's statement, nothing if it does."""
    terms = json.loads(terms_text)
    keys = {name: b64decode(key) for name, key in terms["seats"]}
    record = b64decode(said["record"])
    try:
        written = json.loads(record)
    except ValueError:
        return "it is of no record"
    if said["village"] != party or written["kind"] != statement:
        return "it is of another statement"
    if (
        json.dumps(written["terms"], separators=(",", ":"), ensure_ascii=False).encode()
        != terms_text
    ):
        return "it is of another trade"
    if sha256(terms_text).digest() != subject:
        return "the terms are not the subject's"
    text, _, lines = said["checkpoint"].partition("\n\n")
    origin, size, root = text.split("\n")[:3]
    path = [b64decode(each) for each in said["proof"]]
    leaf = sha256(b"\0" + record).digest()
    if origin != party or root_of(leaf, said["index"], int(size), path) != b64decode(root):
        return "the record is not in the tree"
    signers = set()
    for line in lines.splitlines():
        _, name, payload = line.split(" ")
        if name in keys and _holds(b64decode(payload)[4:], keys[name], f"{text}\n"):
            signers.add(name)
    if party not in signers:
        return "its village has not signed the tree"
    if len(signers) < 2 * len(keys) // 3 + 1:
        return f"only {sorted(signers)} have signed the tree"
    return ""


def root_of(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes | None:
    """Return the root that an inclusion path leads to (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return None
    at, last, node = index, size - 1, leaf
    for each in path:
        if last == 0:
            return None
        if at % 2 or at == last:
            node = sha256(b"\1" + each + node).digest()
            while at % 2 == 0 and at:
                at, last = at >> 1, last >> 1
        else:
            node = sha256(b"\1" + node + each).digest()
        at, last = at >> 1, last >> 1
    return node if last == 0 else None


def _holds(payload: bytes, key: bytes, text: str) -> bool:
    """Tell whether a signature on a checkpoint holds, the log's own or a cosignature."""
    if len(payload) == 64:
        return crypto.verify(key, text.encode(), payload)
    time_s = struct.unpack(">Q", payload[:8])[0]
    return crypto.verify(key, f"cosignature/v1\ntime {time_s}\n{text}".encode(), payload[8:])


def _is_late(village: Village, subject: bytes, kept_ms: int) -> None:
    """Nobody says that a hold is absent before the deadline, by its own clock, or a week."""
    terms, opened_ms = village.conn.execute(
        "SELECT terms, opened_ms FROM subject WHERE subject = ?", (subject,)
    ).fetchone()
    deadline_ms = json.loads(terms)["deadline_minute"] * 60_000
    if kept_ms < min(deadline_ms, opened_ms + WEEK_MS):
        raise LawBroken(
            "absent after the deadline", f"{subject.hex()[:8]} by {village.name}", subject
        )


def _check_votes(village: Village, subject: bytes) -> None:
    """What a village votes for it can prove; it keeps its locks, and is locked by a quorum."""
    conn, name = village.conn, subject.hex()[:8]
    (text,) = conn.execute("SELECT terms FROM subject WHERE subject = ?", (subject,)).fetchone()
    terms = json.loads(text)
    quorum = 2 * len(terms["seats"]) // 3 + 1
    voters: dict[tuple[int, str], set[str]] = defaultdict(set)  # prevotes
    own: list[tuple[int, str, str]] = []
    for round_, step, speaker, value in conn.execute(
        "SELECT round, step, village, value FROM ballot WHERE subject = ? ORDER BY round, step",
        (subject,),
    ):
        if step == "prevote":
            voters[round_, value].add(speaker)
        if speaker == village.name:
            own.append((round_, step, value))
    if len({(round_, step) for round_, step, _ in own}) != len(own):
        raise LawBroken("one word in a step", f"{village.name} in {name}", subject)
    provable = _provable(village, subject, terms)
    for round_, step, value in own:
        if value and value not in provable:
            raise LawBroken("votes have proof", f"{village.name}: {value} in {name}", subject)
        if value and step == "precommit" and len(voters[round_, value]) < quorum:
            raise LawBroken("locks hold", f"{village.name} has locked {value} alone", subject)
    _check_locks(village, subject, own, {key for key, who in voters.items() if len(who) >= quorum})


def _check_locks(
    village: Village,
    subject: bytes,
    own: list[tuple[int, str, str]],
    agreed: set[tuple[int, str]],
) -> None:
    """Whoever has precommitted a value prevotes another only if a quorum has `agreed` on that
    since."""
    locks = [(round_, value) for round_, step, value in own if step == "precommit" and value]
    for round_, step, value in own:
        before = [lock for lock in locks if lock[0] < round_]
        if step != "prevote" or not value or not before or before[-1][1] == value:
            continue
        if not any((each, value) in agreed for each in range(before[-1][0], round_)):
            what = f"{village.name} locked {before[-1][1]}, then prevoted {value}"
            raise LawBroken("locks hold", f"{what} in {subject.hex()[:8]}", subject)


def _provable(village: Village, subject: bytes, terms: dict[str, Any]) -> set[str]:
    conn, parties = village.conn, (terms["from_village"], terms["to_village"])
    stated = set(conn.execute("SELECT village, statement FROM proof WHERE subject = ?", (subject,)))
    missed: dict[str, set[str]] = defaultdict(set)
    for speaker, about in conn.execute(
        "SELECT village, about FROM absence WHERE subject = ?", (subject,)
    ):
        missed[about].add(speaker)
    liars_max = (len(terms["seats"]) - 1) // 3
    found = {"COMMIT"} if {(each, "hold") for each in parties} <= stated else set()
    is_absent = any(len(missed[each]) > liars_max for each in parties)
    return found | ({"ABORT"} if (parties[0], "no-hold") in stated or is_absent else set())
