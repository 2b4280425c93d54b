"""One seat that lies to the councils that it sits in.

It is a village with the product's own code, so that it knows what there is to lie about; what it
says is twisted on its way out, as its manners have it. It may have two faces: two boxes of one key,
whose logs go apart. Nothing binds it but what it cannot forge.
"""

import random
import sqlite3
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import msgspec

from edge.core import council, crypto, limits, messages, registry, valid
from edge.core.council import Certificate, Proposal, Step, Value, Vote
from edge.core.messages import CouncilMessage, Exchange, Opening
from edge.errors import BoxError, Unreachable
from edge.storage import councils, facts, logs
from edge.storage.councils import Opened
from edge.storage.tx import OWN_LOG, View
from tests.simulation.world import SimulatedTransport, Village, World

Twist = Callable[["Tongue", "Face", str, Exchange], Exchange]
STEPS: Final[tuple[Step, ...]] = ("prevote", "precommit")
WORDS: Final[tuple[Value | None, ...]] = ("COMMIT", "ABORT", None)
PAST_MAX: Final = 40


class Face(Protocol):
    """A box of the liar's: all that is looked at is its disk."""

    @property
    def conn(self) -> sqlite3.Connection: ...


class Tongue:
    """What a liar makes of what its box would say. `rate` is how much of it is twisted; `note` is
    told how."""

    def __init__(
        self,
        name: str,
        key: crypto.SecretKey,
        rng: random.Random,
        manners: Iterable[str],
        rate: float,
        note: Callable[[str], None],
    ) -> None:
        self.name, self.key, self.rng = name, key, rng
        self.manners, self.rate = tuple(manners), rate
        self.note = note
        self.past: list[bytes] = []
        self.other_key = crypto.SecretKey(random.Random(f"another key of {name}").randbytes(32))

    def twist(self, face: Face, village: str, body: bytes) -> bytes:
        """Return what it says instead."""
        message = messages.decode_exchange(body)
        for manner in self.manners:
            if manner not in QUIET and self.rng.random() < self.rate:
                self.note(f"lie: {manner}")
                message = TWISTS[manner](self, face, village, message)
        said = messages.encode(message)
        if "talks garbage" in self.manners and self.rng.random() < self.rate / 2:
            return garbage(self.rng, said)
        if "replays" in self.manners:
            self.past = [*self.past[-PAST_MAX:], body]
            if self.rng.random() < self.rate / 2:
                return self.rng.choice(self.past)
        return said

    # What it can sign

    def vote(self, opened: Opened, round_: int, step: Step, value: Value | None) -> Vote:
        signed = council.vote_bytes(opened.terms.network, opened.id, round_, step, value)
        return Vote(self.name, round_, step, value, self.key.sign(signed))

    def proposal(self, opened: Opened, round_: int, value: Value, valid_round: int) -> Proposal:
        signed = council.proposal_bytes(opened.terms.network, opened.id, round_, value, valid_round)
        return Proposal(self.name, round_, value, valid_round, self.key.sign(signed))

    def open_subjects(self, face: Face) -> list[Opened]:
        """Return the undecided subjects in which it has a seat."""
        rows = face.conn.execute(
            "SELECT subject FROM subject WHERE certificate IS NULL ORDER BY opened_ms, subject"
        ).fetchall()
        view = View(face.conn)
        return [councils.named(view, subject) for (subject,) in rows]


class Liar(Tongue):
    """The village `first`, from now on a stranger to its world."""

    def __init__(
        self, first: Village, manners: Iterable[str], rate: float = 1.0, faces: int = 1
    ) -> None:
        self.world: World = first.world
        super().__init__(first.name, first.key, first.rng, manners, rate, self.world.note)
        self.world.villages.pop(self.name, None)
        self.world.strangers[self.name] = self
        self.faces = [first, *(twin_of(first) for _ in range(faces - 1))]
        self.shown: dict[str, Village] = {}  # to whom which face
        self.asked = 0  # how many messages it has answered
        self.silent = False
        for face in self.faces:
            face.transport_of = lambda face: _Twisting(self, face)
            face.client = face.make_client()

    def face_for(self, village: str) -> Village:
        return self.shown.get(village, self.faces[0])

    async def answer(self, village: str, body: bytes) -> bytes:
        """Take a message in as a village does, and answer it as a liar does."""
        if self.silent:
            raise Unreachable(f"{self.name} does not answer")
        self.asked += 1
        face = self.face_for(village)
        return self.twist(face, village, await face.client.answer(village, body))

    async def dial(self, village: str) -> bool:
        """Exchange with a village; tell whether it took in all that was said."""
        try:
            await self.face_for(village).client.exchange(village)
        except BoxError:
            return False
        return True


class _Twisting(SimulatedTransport):
    """What carries a face's own messages."""

    def __init__(self, liar: Liar, face: Village) -> None:
        super().__init__(face)
        self._liar = liar
        self._face = face

    async def exchange(self, village: str, path: str, body: bytes) -> bytes:
        if self._liar.silent:
            raise Unreachable(f"{village} is not dialled")
        return await super().exchange(village, path, self._liar.twist(self._face, village, body))


def twin_of(village: Village) -> Village:
    """Return another box of the same key with a copy of the disk as it is."""
    twin = Village(village.world, village.name)
    assert twin.key.public == village.key.public
    village.conn.backup(twin.conn)
    twin.start()
    return twin


# Manners


def equivocate(liar: Tongue, face: Face, village: str, message: Exchange) -> Exchange:
    """To each seat another word in each round, to some both; as proposer, too."""
    said = []
    for opened in liar.open_subjects(face):
        rng, votes, proposals = liar.rng, [], []
        for round_ in range(max(opened.state.round, 0), max(opened.state.round, 0) + 2):
            for step in STEPS:
                words = rng.sample(WORDS, rng.choice((1, 1, 2)))
                votes += [liar.vote(opened, round_, step, word) for word in words]
            if opened.subject.proposer(round_) == liar.name:
                before = rng.choice((-1, round_ - 1))
                proposals.append(
                    liar.proposal(opened, round_, rng.choice(("COMMIT", "ABORT")), before)
                )
        said.append(_about(opened, votes=tuple(votes), proposals=tuple(proposals)))
    return _with(message, said, own=liar.name)


def help_one(liar: Tongue, face: Face, village: str, message: Exchange) -> Exchange:
    """Give the votes that it has heard its own, for this seat's eyes alone: no other seat may know
    why this one is locked."""
    said = []
    for opened in liar.open_subjects(face):
        heard = councils.votes(View(face.conn), opened.id)
        chosen = [vote for vote in heard if vote.value and liar.rng.random() < 0.5]
        votes = [liar.vote(opened, vote.round, vote.step, vote.value) for vote in chosen]
        said.append(_about(opened, votes=tuple(votes[:8])))
    return _with(message, said, own=liar.name)


def lock_one(liar: Tongue, face: Face, village: str, message: Exchange) -> Exchange:
    """Let one seat of a round lock what no other will: by a prevote for its eyes alone. Propose
    what it is not locked on."""
    said = []
    for opened in liar.open_subjects(face):
        heard = councils.votes(View(face.conn), opened.id)
        others = [each for each in opened.terms.seats if each.village != liar.name]
        votes, proposals = [], []
        now = max([opened.state.round, *(vote.round for vote in heard)])
        for round_ in range(max(now - 1, 0), now + 2):
            words = [
                vote.value
                for vote in heard
                if (vote.round, vote.step) == (round_, "prevote") and vote.village != liar.name
            ]
            wanted: Value | None = next(filter(None, words), None)
            alone = others[round_ % len(others)].village == village
            votes.append(liar.vote(opened, round_, "prevote", wanted if alone else None))
            votes.append(liar.vote(opened, round_, "precommit", None))
            if opened.subject.proposer(round_) == liar.name:
                locked = any(vote.value == "ABORT" for vote in heard)
                proposals.append(liar.proposal(opened, round_, "COMMIT" if locked else "ABORT", -1))
        said.append(_about(opened, votes=tuple(votes), proposals=tuple(proposals)))
    return _with(message, said, own=liar.name)


def forge(liar: Tongue, face: Face, village: str, message: Exchange) -> Exchange:
    """Say one thing that does not hold: a proof, a certificate, a vote or an *absent*."""
    rows = face.conn.execute("SELECT subject FROM subject ORDER BY opened_ms, subject").fetchall()
    if not rows:
        return message
    (subject,) = liar.rng.choice(rows)
    opened = councils.named(View(face.conn), subject)
    forged = liar.rng.choice(FORGERIES)(liar, face, opened)
    liar.note(f"forged {next(iter(forged), 'nothing')}")
    return _with(message, [_about(opened, **forged)]) if forged else message


def forge_proof(liar: Tongue, face: Face, opened: Opened) -> dict[str, object]:
    """Return a proof with one thing of it changed, if there is one."""
    proofs = councils.proofs(View(face.conn), opened.id)
    if not proofs:
        return {}
    real = liar.rng.choice(proofs)
    other = next(
        each
        for each in (opened.terms.from_village, opened.terms.to_village)
        if each != real.village
    )
    lines = real.checkpoint.splitlines(keepends=True)
    changes: tuple[dict[str, object], ...] = (
        {"record": real.record.replace(b'"hold"', b'"no-hold"')},
        {"record": real.record[:-1]},
        {"index": real.index + 1},
        {"village": other},
        {"proof": (*real.proof, bytes(32))},
        {"checkpoint": "".join(lines[:-2])},  # one cosignature is not enough
        {"checkpoint": "".join([*lines[:-2], lines[-2], lines[-2]])},  # nor one twice
    )
    return {"evidence": (msgspec.structs.replace(real, **liar.rng.choice(changes)),)}


def forge_certificate(liar: Tongue, face: Face, opened: Opened) -> dict[str, object]:
    """Return a certificate of its own votes, in the names of all, or of votes of several rounds."""
    value: Value = liar.rng.choice(("COMMIT", "ABORT"))
    own = liar.vote(opened, 0, "precommit", value).signature
    heard = councils.votes(View(face.conn), opened.id)
    real = {
        vote.village: vote.signature
        for vote in heard
        if (vote.step, vote.value) == ("precommit", value) or liar.rng.random() < 0.2
    }
    seats = [seat.village for seat in opened.terms.seats]
    votes = tuple((each, real.get(each, own)) for each in seats)
    choices = (
        Certificate(value, liar.rng.choice((0, 0, 1)), votes[:3]),
        Certificate(value, 0, ((liar.name, own),) * 3),
        Certificate(value, 0, tuple(real.items())[:2]),
    )
    return {"certificate": liar.rng.choice(choices)}


def forge_vote(liar: Tongue, face: Face, opened: Opened) -> dict[str, object]:
    """Return a vote in the name of another seat."""
    vote = liar.vote(opened, 0, "precommit", liar.rng.choice(WORDS))
    other = liar.rng.choice(
        [each.village for each in opened.terms.seats if each.village != liar.name]
    )
    return {"votes": (msgspec.structs.replace(vote, village=other),)}


def forge_absent(liar: Tongue, face: Face, opened: Opened) -> dict[str, object]:
    """Return the word of another seat that a hold is absent."""
    terms = opened.terms
    said = valid.absent(liar.key, liar.name, terms.network, opened.id, terms.from_village)
    other = next(each.village for each in terms.seats if each.village != liar.name)
    return {"absents": (msgspec.structs.replace(said, village=other),)}


def forge_proposal(liar: Tongue, face: Face, opened: Opened) -> dict[str, object]:
    """Return a proposal of a round that is another's to propose in."""
    rounds = [each for each in range(4) if opened.subject.proposer(each) != liar.name]
    return {"proposals": (liar.proposal(opened, liar.rng.choice(rounds), "ABORT", -1),)}


def say_absent(liar: Tongue, face: Face, village: str, message: Exchange) -> Exchange:
    """Say at once that the holds of both parties are absent."""
    said = []
    for opened in liar.open_subjects(face):
        terms = opened.terms
        absents = tuple(
            valid.absent(liar.key, liar.name, terms.network, opened.id, about)
            for about in (terms.from_village, terms.to_village)
        )
        said.append(_about(opened, absents=absents))
    return _with(message, said)


def vote_far_ahead(liar: Tongue, face: Face, village: str, message: Exchange) -> Exchange:
    """Vote in rounds that nobody is in; seem to be far ahead, or to know nothing."""
    said = []
    for opened in liar.open_subjects(face):
        far = liar.rng.choice((3, 17, limits.ROUND_MAX))
        words = [liar.vote(opened, far, step, liar.rng.choice(WORDS)) for step in STEPS]
        about = _about(opened, votes=tuple(words))
        said.append(msgspec.structs.replace(about, round=liar.rng.choice((far, -1, -2))))
    return _with(message, said)


def mix_subjects(liar: Tongue, face: Face, village: str, message: Exchange) -> Exchange:
    """Say the words of one subject in another."""
    if len(message.councils) < 2:
        return message
    words = [(each.votes, each.evidence, each.absents) for each in message.councils]
    words = words[1:] + words[:1]
    mixed = tuple(
        msgspec.structs.replace(each, votes=votes, evidence=evidence, absents=absents)
        for each, (votes, evidence, absents) in zip(message.councils, words, strict=True)
    )
    return msgspec.structs.replace(message, councils=mixed)


def ask_again(liar: Tongue, face: Face, village: str, message: Exchange) -> Exchange:
    """Know nothing of any subject, whatever it was told."""
    rows = face.conn.execute("SELECT subject FROM subject ORDER BY subject LIMIT 8").fetchall()
    said = [CouncilMessage(subject, messages.UNKNOWN_ROUND) for (subject,) in rows]
    return _with(message, said)


def use_two_keys(liar: Tongue, face: Face, village: str, message: Exchange) -> Exchange:
    """Sign with another key what is its own: votes, its registry entry, its cosignature."""
    key = liar.other_key
    councils_ = []
    for each in message.councils:
        opened = councils.find(View(face.conn), each.subject)
        votes = [
            msgspec.structs.replace(vote, signature=key.sign(vote_text(opened, vote)))
            if opened is not None and vote.village == liar.name
            else vote
            for vote in each.votes
        ]
        councils_.append(msgspec.structs.replace(each, votes=tuple(votes)))
    entry = facts.own_entry(View(face.conn))
    if liar.rng.random() < 0.3:
        stamped = msgspec.structs.replace(
            entry, public_key=key.public, stamp_ms=entry.stamp_ms + liar.rng.randint(0, 1)
        )
        message = msgspec.structs.replace(message, entry=registry.sign(stamped, key))
    return msgspec.structs.replace(message, councils=tuple(councils_))


def deny_hold(liar: Tongue, face: Face, village: str, message: Exchange) -> Exchange:
    """Prove to one that it holds, to another that it does not: both stand in its log."""
    view = View(face.conn)
    said = []
    for opened in liar.open_subjects(face):
        seats = opened.terms.seats
        needed = council.quorum(len(seats))
        names = [seat.village for seat in seats]
        proven = logs.proven_size(view, OWN_LOG, liar.name, names, needed)
        for index, kind in logs.statements(view, opened.id, OWN_LOG):
            if kind == "no-hold" and index < proven and liar.rng.random() < 0.7:
                proof = logs.evidence(view, OWN_LOG, liar.name, index, seats, needed)
                said.append(_about(opened, evidence=(proof,)))
    return _with(message, said)


def vote_text(opened: Opened, vote: Vote) -> bytes:
    return council.vote_bytes(opened.terms.network, opened.id, vote.round, vote.step, vote.value)


def garbage(rng: random.Random, said: bytes) -> bytes:
    """Return what is no message, or nearly one."""
    cut = rng.randrange(1, len(said))
    choices = (
        rng.randbytes(rng.choice((0, 1, 40, 3_000))),
        said[:cut],
        said[:cut] + bytes([said[cut] ^ 1 << rng.randrange(8)]) + said[cut + 1 :],
        said.replace(b'"have":', b'"have":9', 1),
        said.replace(b'"have":', b'"have":-', 1),
        b"[" * 5_000,
        said + said,
    )
    return rng.choice(choices)


def say_nothing(liar: Tongue, face: Face, village: str, message: Exchange) -> Exchange:
    """Go on with sync, and leave out all that councils need."""
    return msgspec.structs.replace(message, councils=(), cosignature=None)


def hide_log(liar: Tongue, face: Face, village: str, message: Exchange) -> Exchange:
    """Say all but its own records, so that nobody can cosign them."""
    return msgspec.structs.replace(message, push=None)


def same(liar: Tongue, face: Face, village: str, message: Exchange) -> Exchange:
    """Say it as it is. (For those whose lie is what they say when, or to whom.)"""
    return message


FORGERIES: Final = (
    forge_proof,
    forge_proof,
    forge_certificate,
    forge_vote,
    forge_absent,
    forge_proposal,
)
TWISTS: Final[dict[str, Twist]] = {
    "equivocates": equivocate,
    "helps one": help_one,
    "locks one": lock_one,
    "forges": forge,
    "says absent": say_absent,
    "votes far ahead": vote_far_ahead,
    "mixes subjects": mix_subjects,
    "asks again": ask_again,
    "says nothing": say_nothing,
    "hides its log": hide_log,
    "replays": same,
    "two logs": same,
    "talks garbage": same,
    "uses two keys": use_two_keys,
    "holds and lies": deny_hold,
    "was restored": same,
}
QUIET: Final = ("was restored",)  # what it says is no lie


def _about(opened: Opened, **said: object) -> CouncilMessage:
    """Return a message on a subject that whoever reads it need not know yet."""
    opening = Opening(msgspec.Raw(opened.terms_bytes), opened.from_signature, opened.to_signature)
    made = CouncilMessage(opened.id, max(opened.state.round, 0), opening)
    return msgspec.structs.replace(made, **said)


def _with(message: Exchange, said: Iterable[CouncilMessage], own: str = "") -> Exchange:
    """Return the message with more said of councils, after what it says already, but for the true
    words of `own`."""
    kept = tuple(
        msgspec.structs.replace(
            each,
            votes=tuple(vote for vote in each.votes if vote.village != own),
            proposals=tuple(each_ for each_ in each.proposals if each_.village != own),
        )
        for each in message.councils
    )
    councils_ = (*kept, *said)[: limits.COUNCILS_PER_MESSAGE_MAX]
    return msgspec.structs.replace(message, councils=councils_)
