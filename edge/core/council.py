"""Who decides a subject, how, and what proves the decision.

A subject is decided by its seats (id, key). n seats bear f = (n - 1) // 3 liars; a quorum is
2n // 3 + 1. A certificate is a quorum of precommits of one round, checkable by anyone offline.

With four seats or more this is Tendermint (Buchman, Kwon, Milosevic, arXiv 1807.04938, algorithm 1)
for a single decision, COMMIT or ABORT. Its messages are a set that only grows, and `advance` reads
that set as a whole: saying a thing twice, late or in another order changes nothing. What proves a
value is a part of the set, too; a seat votes for no value that it holds no proof of.

With two seats each precommits the one provable value, once, in round 0, without prevotes: safe, and
a silent party blocks (f = 0).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from edge.core import canonical, crypto, limits
from edge.errors import BadProof

VOTE_CONTEXT = "village-edge/vote/v1"
PROPOSAL_CONTEXT = "village-edge/proposal/v1"
TIMEOUT_MS: Final = 2_000  # of round 0; each later round waits twice as long

Value = Literal["COMMIT", "ABORT"]
Step = Literal["prevote", "precommit"]
Phase = Literal["propose", "prevote", "precommit"]


class Seat(msgspec.Struct, frozen=True, array_like=True):
    """A member of a council: village id and its 32-byte Ed25519 key at the time of the terms."""

    village: str
    key: bytes


class Vote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One seat's signed word on a subject; None is a vote for no value in this round."""

    village: str
    round: int
    step: Step
    value: Value | None
    signature: bytes


class Proposal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a round's proposer wants to be decided. `valid_round`: the round in which a quorum
    prevoted for that value before, -1 for none."""

    village: str
    round: int
    value: Value
    valid_round: int
    signature: bytes


class Certificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A quorum's precommits of one round, in the order of the seats."""

    value: Value
    round: int
    precommits: tuple[tuple[str, bytes], ...]  # (village id, signature)


class Subject(msgspec.Struct, frozen=True):
    """What is to be decided, and by whom. `window_s`: how far apart the seats may be in time."""

    network: bytes
    id: bytes
    seats: tuple[Seat, ...]
    window_s: int = 0

    @property
    def quorum(self) -> int:
        return quorum(len(self.seats))

    @property
    def liars_max(self) -> int:
        return (len(self.seats) - 1) // 3

    def proposer(self, round_: int) -> str:
        return self.seats[round_ % len(self.seats)].village

    def key_of(self, village: str) -> bytes | None:
        return next((seat.key for seat in self.seats if seat.village == village), None)


class State(msgspec.Struct, frozen=True):
    """What a seat remembers of an undecided subject, stored before anything that it says is sent.

    `round` is -1 until a value can be proven. `locked`: what it precommitted last; `valid`: what a
    quorum prevoted for last. The stamps say when a wait ends, 0 while there is none.
    """

    round: int = -1
    phase: Phase = "propose"
    locked: Value | None = None
    locked_round: int = -1
    valid: Value | None = None
    valid_round: int = -1
    propose_ms: int = 0
    prevote_ms: int = 0
    precommit_ms: int = 0

    @property
    def wakes_ms(self) -> int | None:
        """Return when time alone may move this seat, None for never."""
        running = [stamp for stamp in self._waits if stamp]
        return min(running) if running else None

    @property
    def _waits(self) -> tuple[int, int, int]:
        return (
            self.propose_ms if self.phase == "propose" else 0,
            self.prevote_ms if self.phase == "prevote" else 0,
            self.precommit_ms,
        )


class Known(msgspec.Struct, frozen=True):
    """The checked messages that a seat holds. `provable`: the values it holds proof of; `reached`:
    for each other seat the highest round of which anything it signed was seen."""

    votes: tuple[Vote, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    provable: frozenset[Value] = frozenset()
    reached: Mapping[str, int] = {}


class Moved(msgspec.Struct, frozen=True):
    """A seat's state now, what it has to say, and the decision once there is one."""

    state: State
    votes: tuple[Vote, ...]
    proposals: tuple[Proposal, ...]
    certificate: Certificate | None


class _SignedVote(msgspec.Struct, frozen=True):
    context: str
    network: bytes
    subject: bytes
    round: int
    step: Step
    value: Value | None


class _SignedProposal(msgspec.Struct, frozen=True):
    context: str
    network: bytes
    subject: bytes
    round: int
    value: Value
    valid_round: int


def quorum(seats: int) -> int:
    """Return how many of `seats` decide: 2 of 2, 3 of 4, 5 of 7."""
    return 2 * seats // 3 + 1


# What seats sign


def vote_bytes(
    network: bytes, subject: bytes, round_: int, step: Step, value: Value | None
) -> bytes:
    """Return what a vote signs: (context, network, subject, round, step, value)."""
    return canonical.encode(_SignedVote(VOTE_CONTEXT, network, subject, round_, step, value))


def proposal_bytes(
    network: bytes, subject: bytes, round_: int, value: Value, valid_round: int
) -> bytes:
    """Return what a proposal signs: (context, network, subject, round, value, valid round)."""
    return canonical.encode(
        _SignedProposal(PROPOSAL_CONTEXT, network, subject, round_, value, valid_round)
    )


def precommit(
    key: crypto.SecretKey, village: str, network: bytes, subject: bytes, value: Value
) -> Vote:
    """Return this village's precommit of round 0."""
    signature = key.sign(vote_bytes(network, subject, 0, "precommit", value))
    return Vote(village, 0, "precommit", value, signature)


def vote_is_valid(vote: Vote, network: bytes, subject: bytes, seats: Sequence[Seat]) -> bool:
    """Tell whether the vote is by one of the seats and its signature holds. Two seats only ever
    precommit a value, in round 0."""
    key = next((seat.key for seat in seats if seat.village == vote.village), None)
    if key is None or not 0 <= vote.round <= limits.ROUND_MAX:
        return False
    is_of_two = (vote.round, vote.step) == (0, "precommit") and vote.value is not None
    if len(seats) == 2 and not is_of_two:
        return False
    message = vote_bytes(network, subject, vote.round, vote.step, vote.value)
    return crypto.verify(key, message, vote.signature)


def proposal_is_valid(proposal: Proposal, subject: Subject) -> bool:
    """Tell whether the proposal is by its round's proposer and its signature holds."""
    if not 0 <= proposal.round <= limits.ROUND_MAX or len(subject.seats) == 2:
        return False
    if not -1 <= proposal.valid_round < proposal.round:
        return False
    if proposal.village != subject.proposer(proposal.round):
        return False
    key = subject.key_of(proposal.village)
    message = proposal_bytes(
        subject.network, subject.id, proposal.round, proposal.value, proposal.valid_round
    )
    return key is not None and crypto.verify(key, message, proposal.signature)


def contradict(one: Vote | Proposal, other: Vote | Proposal) -> bool:
    """Tell whether two checked messages of one subject are misbehaviour: the same seat's two
    different words in one round and step. No honest seat signs both, whatever happens to it."""
    if type(one) is not type(other) or (one.village, one.round) != (other.village, other.round):
        return False
    if isinstance(one, Vote) and isinstance(other, Vote):
        return one.step == other.step and one.value != other.value
    assert isinstance(one, Proposal) and isinstance(other, Proposal)
    return (one.value, one.valid_round) != (other.value, other.valid_round)


# Certificates


def certificate_of(votes: Iterable[Vote], seats: Sequence[Seat]) -> Certificate | None:
    """Return the certificate that checked `votes` make, if a quorum agrees in one round."""
    tally: dict[tuple[int, Value], dict[str, bytes]] = {}
    for vote in votes:
        if vote.step == "precommit" and vote.value is not None:
            tally.setdefault((vote.round, vote.value), {})[vote.village] = vote.signature
    for (round_, value), signatures in sorted(tally.items()):
        if len(signatures) >= quorum(len(seats)):
            ordered = tuple(
                (seat.village, signatures[seat.village])
                for seat in seats
                if seat.village in signatures
            )
            return Certificate(value, round_, ordered)
    return None


def verify_certificate(
    certificate: Certificate, network: bytes, subject: bytes, seats: Sequence[Seat]
) -> None:
    """Raise BadProof unless a quorum of distinct seats precommitted this value in one round."""
    if len(certificate.precommits) > limits.SEATS_MAX:
        raise BadProof("the certificate has more votes than a council has seats")
    voters = [village for village, _ in certificate.precommits]
    if len(set(voters)) != len(voters):
        raise BadProof("the certificate counts a seat twice")
    for village, signature in certificate.precommits:
        vote = Vote(village, certificate.round, "precommit", certificate.value, signature)
        if not vote_is_valid(vote, network, subject, seats):
            raise BadProof(f"the certificate's vote of {village[:63]} does not hold")
    if len(voters) < quorum(len(seats)):
        raise BadProof(f"the certificate has {len(voters)} votes of {quorum(len(seats))} needed")


# Deciding


def timeout_ms(round_: int, window_s: int) -> int:
    """Return how long a round waits for each of its steps: doubling, up to the greater of a day and
    four windows."""
    return min(TIMEOUT_MS << min(round_, 40), max(limits.DAY_MS, 4 * window_s * 1000))


def begin_waits_anew(subject: Subject, state: State, now_ms: int) -> State:
    """Return the state after a restart, or once the clock was set: a wait ends when it was to end,
    but not later than if it began now, nor sooner than one of round 0."""
    least_ms = now_ms + timeout_ms(0, subject.window_s)
    most_ms = now_ms + timeout_ms(max(state.round, 0), subject.window_s)
    ends = (state.propose_ms, state.prevote_ms, state.precommit_ms)
    propose, prevote, precommit = (end and max(least_ms, min(end, most_ms)) for end in ends)
    return msgspec.structs.replace(
        state, propose_ms=propose, prevote_ms=prevote, precommit_ms=precommit
    )


def advance(
    subject: Subject,
    village: str,
    key: crypto.SecretKey,
    state: State,
    known: Known,
    now_ms: int,
) -> Moved:
    """Do all that is due at one seat. Nothing of it may be sent before the state is stored, with
    what is said: `known.votes` and `known.proposals` hold this seat's own words, too, and every
    different word of a seat that contradicted itself."""
    assert len(subject.seats) > 2, "two seats decide without rounds"
    return _Turn(subject, village, key, state, known, now_ms).run()


class _Turn:
    """One call of `advance`. The rules are named as in algorithm 1, by their line numbers."""

    def __init__(
        self,
        subject: Subject,
        village: str,
        key: crypto.SecretKey,
        state: State,
        known: Known,
        now_ms: int,
    ) -> None:
        self._subject = subject
        self._village = village
        self._key = key
        self._state = state
        self._known = known
        self._now_ms = now_ms
        self._voters: dict[tuple[int, Step, Value | None], set[str]] = {}
        for vote in known.votes:
            self._count(vote)
        self._proposals = {each.round: each for each in reversed(known.proposals)}
        self._said: list[Vote] = []
        self._proposed: list[Proposal] = []

    def run(self) -> Moved:
        first = (self._begin, self._skip, self._learn, self._propose)
        rules = (*first, self._prevote, self._lock, self._wait)
        certificate = self._decision()
        while certificate is None and any(rule() for rule in rules):
            certificate = self._decision()
        return Moved(self._state, tuple(self._said), tuple(self._proposed), certificate)

    # Each rule tells whether it has done anything.

    def _begin(self) -> bool:
        """Line 10: round 0 begins when there is a value to propose."""
        if self._state.round >= 0 or not self._known.provable:
            return False
        self._start(0)
        return True

    def _skip(self) -> bool:
        """Line 55: f + 1 seats are in a later round, so an honest one is."""
        reached = [
            self._known.reached.get(seat.village, -1)
            for seat in self._subject.seats
            if seat.village != self._village
        ]
        later = sorted(reached, reverse=True)[self._subject.liars_max]
        if later <= self._state.round:
            return False
        self._start(later)
        return True

    def _learn(self) -> bool:
        """Lines 36, 42 and 43: a quorum has prevoted. If only heard of in a later round, it still
        counts, so that whoever proposes next proposes what another seat may be locked on."""
        state = self._state
        until = state.round - 1 if state.phase == "propose" else state.round
        found = [
            (round_, value)
            for round_, step, value in self._voters
            if step == "prevote"
            and state.valid_round < round_ <= until
            and value in self._known.provable
            and self._has_quorum(round_, step, value)
        ]
        if not found:
            return False
        valid_round, valid = max(found)
        self._change(valid=valid, valid_round=valid_round)
        return True

    def _propose(self) -> bool:
        """Lines 14 to 19: what a quorum has prevoted for before, else COMMIT where it is provable.

        A proposer that holds no proof says nothing: the others' wait for it ends.
        """
        state, provable = self._state, self._known.provable
        mine = self._subject.proposer(state.round) == self._village
        if not mine or state.phase != "propose" or state.round in self._proposals or not provable:
            return False
        value: Value = state.valid or ("COMMIT" if "COMMIT" in provable else "ABORT")
        message = proposal_bytes(
            self._subject.network, self._subject.id, state.round, value, state.valid_round
        )
        proposal = Proposal(
            self._village, state.round, value, state.valid_round, self._key.sign(message)
        )
        self._proposals[state.round] = proposal
        self._proposed.append(proposal)
        return True

    def _prevote(self) -> bool:
        """Lines 22 to 33 and 57 to 60: once for each round."""
        state = self._state
        if state.round < 0 or state.phase != "propose":
            return False
        proposal = self._proposals.get(state.round)
        if proposal is not None and proposal.value in self._known.provable:
            before = proposal.valid_round
            if before < 0 or self._has_quorum(before, "prevote", proposal.value):
                may = state.locked in (None, proposal.value) or state.locked_round <= before
                self._vote("prevote", proposal.value if may else None)
                return True
        if self._is_over(state.propose_ms):
            self._vote("prevote", None)
            return True
        return False

    def _lock(self) -> bool:
        """Lines 36 to 41, 44 to 46: a quorum has prevoted for a value, or for none."""
        state = self._state
        if state.phase != "prevote":
            return False
        for value in sorted(self._known.provable):
            if self._has_quorum(state.round, "prevote", value):
                self._change(locked=value, locked_round=state.round)
                self._vote("precommit", value)
                return True
        if self._has_quorum(state.round, "prevote", None):
            self._vote("precommit", None)
            return True
        return False

    def _wait(self) -> bool:
        """Lines 34, 47 and 61 to 67: wait a while once a quorum has voted, though for no one value;
        then go on."""
        state = self._state
        if state.round < 0:
            return False
        if state.phase == "prevote" and self._has_voted("prevote"):
            if not state.prevote_ms:
                self._change(prevote_ms=self._ends_ms())
                return True
            if self._is_over(state.prevote_ms):
                self._vote("precommit", None)
                return True
        if self._has_voted("precommit") and state.round < limits.ROUND_MAX:
            if not state.precommit_ms:
                self._change(precommit_ms=self._ends_ms())
                return True
            if self._is_over(state.precommit_ms):
                self._start(state.round + 1)
                return True
        return False

    # Helpers

    def _start(self, round_: int) -> None:
        self._change(round=round_, phase="propose", prevote_ms=0, precommit_ms=0)
        self._change(propose_ms=self._ends_ms())

    def _vote(self, step: Step, value: Value | None) -> None:
        """Say it, once: what was said before a crash stands."""
        round_ = self._state.round
        if self._village not in self._who_voted(step):
            message = vote_bytes(self._subject.network, self._subject.id, round_, step, value)
            vote = Vote(self._village, round_, step, value, self._key.sign(message))
            self._said.append(vote)
            self._count(vote)
        self._change(phase=step)

    def _count(self, vote: Vote) -> None:
        """Count every word of a seat, a liar's two as well: where one of them has locked an honest
        seat, the others must be able to see why, or none of them will ever follow it."""
        place = (vote.round, vote.step, vote.value)
        self._voters.setdefault(place, set()).add(vote.village)

    def _has_quorum(self, round_: int, step: Step, value: Value | None) -> bool:
        return len(self._voters.get((round_, step, value), ())) >= self._subject.quorum

    def _has_voted(self, step: Step) -> bool:
        """Tell whether a quorum has voted in this round and step, for whatever."""
        return len(self._who_voted(step)) >= self._subject.quorum

    def _who_voted(self, step: Step) -> set[str]:
        words: tuple[Value | None, ...] = ("COMMIT", "ABORT", None)
        places = ((self._state.round, step, word) for word in words)
        return set().union(*(self._voters.get(place, ()) for place in places))

    def _decision(self) -> Certificate | None:
        return certificate_of([*self._known.votes, *self._said], self._subject.seats)

    def _is_over(self, stamp_ms: int) -> bool:
        return 0 < stamp_ms <= self._now_ms

    def _ends_ms(self) -> int:
        return self._now_ms + timeout_ms(self._state.round, self._subject.window_s)

    def _change(self, **fields: object) -> None:
        self._state = msgspec.structs.replace(self._state, **fields)
