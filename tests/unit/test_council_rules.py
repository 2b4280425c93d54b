"""The rules by which one seat moves, one at a time (arXiv 1807.04938, algorithm 1)."""

from collections.abc import Mapping

import msgspec
import pytest

from edge.core import council, crypto, limits
from edge.core.council import (
    Certificate,
    Known,
    Moved,
    Phase,
    Proposal,
    Seat,
    State,
    Step,
    Subject,
    Value,
    Vote,
)
from edge.errors import BadProof
from tests.unit.examples import FOUR, KEYS, NETWORK, SUBJECT, A, B, C, D

replace = msgspec.structs.replace
OF_FOUR = Subject(NETWORK, SUBJECT, FOUR)
SEVEN_KEYS = {f"ose-iowa-{n:03}": crypto.SecretKey(bytes([n] * 32)) for n in range(1, 8)}
OF_SEVEN = Subject(
    NETWORK, SUBJECT, tuple(Seat(village, key.public) for village, key in SEVEN_KEYS.items())
)
NOW = 1_000_000
BOTH: frozenset[Value] = frozenset(("COMMIT", "ABORT"))
COMMIT: frozenset[Value] = frozenset(("COMMIT",))
ABORT: frozenset[Value] = frozenset(("ABORT",))
NOTHING: frozenset[Value] = frozenset()


def vote(village: str, round_: int, step: Step, value: Value | None) -> Vote:
    key = (KEYS | SEVEN_KEYS)[village]
    signed = council.vote_bytes(NETWORK, SUBJECT, round_, step, value)
    return Vote(village, round_, step, value, key.sign(signed))


def prevotes(round_: int, value: Value | None, *villages: str) -> tuple[Vote, ...]:
    return tuple(vote(village, round_, "prevote", value) for village in villages)


def precommits(round_: int, value: Value | None, *villages: str) -> tuple[Vote, ...]:
    return tuple(vote(village, round_, "precommit", value) for village in villages)


def proposal(round_: int, value: Value, valid_round: int = -1) -> Proposal:
    village = OF_FOUR.proposer(round_)
    signed = council.proposal_bytes(NETWORK, SUBJECT, round_, value, valid_round)
    return Proposal(village, round_, value, valid_round, KEYS[village].sign(signed))


def go(
    village: str,
    state: State,
    *words: msgspec.Struct,
    provable: frozenset[Value] = COMMIT,
    reached: Mapping[str, int] | None = None,
    now_ms: int = NOW,
    subject: Subject = OF_FOUR,
) -> Moved:
    votes = tuple(word for word in words if isinstance(word, Vote))
    proposals = tuple(word for word in words if isinstance(word, Proposal))
    known = Known(votes, proposals, provable, reached or {})
    key = (KEYS | SEVEN_KEYS)[village]
    return council.advance(subject, village, key, state, known, now_ms)


def at(round_: int, phase: Phase = "propose", **fields: object) -> State:
    """A state whose wait for the proposal is not over."""
    state = State(round=round_, phase=phase, propose_ms=NOW + 1)
    return replace(state, **fields)


def said(moved: Moved) -> list[tuple[str, int, str | None]]:
    proposed = [(f"proposal {p.valid_round}", p.round, p.value) for p in moved.proposals]
    return [*proposed, *((each.step, each.round, each.value) for each in moved.votes)]


def locked(round_: int, phase: Phase = "propose", value: Value = "COMMIT") -> State:
    """A state after a precommit for that value in round 0."""
    state = at(round_, phase)
    return replace(state, locked=value, locked_round=0, valid=value, valid_round=0)


class Lockstep:
    """Seats that hear each other at once, and a clock that moves only when nobody else does."""

    def __init__(
        self,
        subject: Subject,
        provable: Mapping[str, frozenset[Value]],
        states: Mapping[str, State] | None = None,
        votes: tuple[Vote, ...] = (),
    ) -> None:
        self.subject, self.provable, self.now_ms = subject, provable, NOW
        self.states = {village: State() for village in provable} | dict(states or {})
        self.votes, self.proposals = list(votes), list[Proposal]()
        self.certificates: dict[str, Certificate] = {}

    def run(self) -> "Lockstep":
        for _ in range(1_000):
            if len(self.certificates) == len(self.provable):
                return self
            changed = [self._turn(village) for village in self.provable]
            if not any(changed):
                waits = [state.wakes_ms for state in self.states.values()]
                self.now_ms = min((wait for wait in waits if wait is not None), default=0)
                assert self.now_ms, "they wait for nothing"
        raise AssertionError("they never decide")

    def _turn(self, village: str) -> bool:
        reached: dict[str, int] = {}
        words: list[Vote | Proposal] = [*self.votes, *self.proposals]
        for word in words:
            reached[word.village] = max(reached.get(word.village, -1), word.round)
        moved = go(
            village,
            self.states[village],
            *self.votes,
            *self.proposals,
            provable=self.provable[village],
            reached=reached,
            now_ms=self.now_ms,
            subject=self.subject,
        )
        changed = moved.state != self.states[village]
        self.states[village] = moved.state
        self.votes += moved.votes
        self.proposals += moved.proposals
        if moved.certificate is None or village in self.certificates:
            return changed
        council.verify_certificate(moved.certificate, NETWORK, SUBJECT, self.subject.seats)
        self.certificates[village] = moved.certificate
        return True

    @property
    def decision(self) -> tuple[Value, int]:
        [decision] = {(each.value, each.round) for each in self.certificates.values()}
        return decision


# A round in which all goes well


def test_nothing_is_said_before_a_value_is_proven() -> None:
    moved = go(A, State(), provable=NOTHING)
    assert (moved.state, said(moved), moved.state.wakes_ms) == (State(), [], None)


def test_the_first_proposer_proposes_and_prevotes() -> None:
    moved = go(A, State())
    assert said(moved) == [("proposal -1", 0, "COMMIT"), ("prevote", 0, "COMMIT")]
    [made] = moved.proposals
    assert council.proposal_is_valid(made, OF_FOUR)
    assert all(council.vote_is_valid(each, NETWORK, SUBJECT, FOUR) for each in moved.votes)


@pytest.mark.parametrize(("provable", "value"), [(BOTH, "COMMIT"), (ABORT, "ABORT")])
def test_commit_is_proposed_where_it_is_proven(provable: frozenset[Value], value: Value) -> None:
    assert said(go(A, State(), provable=provable))[0] == ("proposal -1", 0, value)


def test_each_seat_proposes_in_its_turn() -> None:
    assert [OF_FOUR.proposer(round_) for round_ in range(6)] == [A, B, C, D, A, B]
    for round_ in range(8):
        for village in (A, B, C, D):
            proposes = bool(go(village, at(round_)).proposals)
            assert proposes == (village == OF_FOUR.proposer(round_))


def test_four_seats_decide_in_one_round() -> None:
    world = Lockstep(OF_FOUR, dict.fromkeys((A, B, C, D), COMMIT)).run()
    assert (world.decision, world.now_ms) == (("COMMIT", 0), NOW)


def test_a_quorum_of_prevotes_locks() -> None:
    words = (proposal(0, "COMMIT"), *prevotes(0, "COMMIT", A, B))
    moved = go(C, at(0), *words)
    assert said(moved) == [("prevote", 0, "COMMIT"), ("precommit", 0, "COMMIT")]
    assert replace(moved.state, propose_ms=0) == State(
        0, "precommit", "COMMIT", 0, valid="COMMIT", valid_round=0
    )
    assert said(go(C, at(0), proposal(0, "COMMIT"), *prevotes(0, "COMMIT", A)))[1:] == []


def test_what_was_said_before_a_crash_is_not_said_again() -> None:
    words = (proposal(0, "COMMIT"), *prevotes(0, "COMMIT", A, B))
    before = go(C, at(0), *words)
    for state in (before.state, council.begin_waits_anew(OF_FOUR, before.state, 5)):
        again = go(C, state, *words, *before.votes)
        assert (again.state, said(again)) == (state, [])


def test_a_proposal_is_not_made_twice() -> None:
    before = go(A, State())
    again = go(A, before.state, *before.votes, *before.proposals, provable=BOTH)
    assert said(again) == []


# Locks


def test_a_stored_lock_outlives_a_restart() -> None:
    state = council.begin_waits_anew(OF_FOUR, locked(1), NOW)
    moved = go(C, state, proposal(1, "ABORT"), provable=BOTH)
    assert said(moved) == [("prevote", 1, None)]


def test_a_lost_lock_would_be_forgotten() -> None:
    """Why the state is stored before anything is said, and a box set back votes no more."""
    moved = go(C, at(1), proposal(1, "ABORT"), provable=BOTH)
    assert said(moved) == [("prevote", 1, "ABORT")]


def test_own_words_given_back_bind_a_seat_that_lost_its_state() -> None:
    own = (*prevotes(0, "COMMIT", C), *precommits(0, "COMMIT", C))
    words = (proposal(0, "COMMIT"), *own, *prevotes(0, None, A, B, D))
    moved = go(C, State(), *words, provable=BOTH, now_ms=NOW)
    assert said(moved) == []
    for later in (NOW + 10_000, NOW + 20_000):
        moved = go(C, moved.state, *words, provable=BOTH, now_ms=later)
        assert all(each.round > 0 for each in moved.votes)


def test_the_same_value_needs_no_unlocking() -> None:
    moved = go(C, locked(1), proposal(1, "COMMIT"))
    assert said(moved) == [("prevote", 1, "COMMIT")]


def test_a_later_quorum_unlocks() -> None:
    words = (proposal(2, "ABORT", 1), *prevotes(1, "ABORT", A, B, D))
    moved = go(D, locked(2), *words, provable=BOTH)
    assert said(moved) == [("prevote", 2, "ABORT")]
    assert (moved.state.locked, moved.state.locked_round) == ("COMMIT", 0)  # until it precommits


def test_a_quorum_of_the_locks_own_round_or_later_unlocks() -> None:
    """In the lock's own round there is no other quorum, unless more than f seats lie."""
    words = (proposal(2, "ABORT", 1), *prevotes(1, "ABORT", A, B, D))
    locked = at(2, locked="COMMIT", locked_round=1)
    assert said(go(D, locked, *words, provable=BOTH)) == [("prevote", 2, "ABORT")]


def test_an_older_quorum_does_not_unlock() -> None:
    words = (proposal(2, "ABORT", 0), *prevotes(0, "ABORT", A, B, D))
    locked = at(2, locked="COMMIT", locked_round=1)
    assert said(go(D, locked, *words, provable=BOTH)) == [("prevote", 2, None)]


@pytest.mark.parametrize(
    "words",
    [
        (),
        prevotes(1, "ABORT", A, B),
        prevotes(1, None, A, B, D),
        prevotes(0, "ABORT", A, B, D),
        precommits(1, "ABORT", A, B),
        (*prevotes(1, "ABORT", A, B), *prevotes(1, "COMMIT", D)),
    ],
)
def test_a_claimed_quorum_does_not_unlock(words: tuple[Vote, ...]) -> None:
    """The seat waits for those votes, and then prevotes for nothing."""
    known = (proposal(2, "ABORT", 1), *words)
    moved = go(D, locked(2), *known, provable=BOTH)
    assert said(moved) == []
    moved = go(D, moved.state, *known, provable=BOTH, now_ms=NOW + 1)
    assert said(moved) == [("prevote", 2, None)]


def test_a_quorum_for_a_new_value_moves_the_lock() -> None:
    words = (proposal(2, "ABORT", 1), *prevotes(2, "ABORT", A, B, C))
    moved = go(D, locked(2, "prevote"), *words, *prevotes(2, None, D), provable=BOTH)
    assert said(moved) == [("precommit", 2, "ABORT")]
    assert (moved.state.locked, moved.state.locked_round) == ("ABORT", 2)


def test_what_was_valid_is_proposed_again_with_its_round() -> None:
    moved = go(B, locked(1), *prevotes(0, "COMMIT", A, C, D), provable=BOTH)
    assert said(moved)[0] == ("proposal 0", 1, "COMMIT")
    moved = go(B, at(1, valid="ABORT", valid_round=0), provable=BOTH)
    assert said(moved)[0] == ("proposal 0", 1, "ABORT")


def test_a_quorum_heard_of_late_is_proposed_again() -> None:
    """This seat was not locked, and had gone on; another was, and accepts nothing else."""
    moved = go(C, at(2), *prevotes(0, "ABORT", A, B, D), provable=BOTH)
    assert said(moved)[0] == ("proposal 0", 2, "ABORT")
    moved = go(C, at(2), *prevotes(0, "ABORT", A, B, D), provable=COMMIT)
    assert said(moved)[0] == ("proposal -1", 2, "COMMIT")  # no proof, no word


def test_the_last_valid_value_counts() -> None:
    words = (*prevotes(0, "ABORT", A, B, D), *prevotes(1, "COMMIT", A, B, D))
    assert said(go(C, at(2), *words, provable=BOTH))[0] == ("proposal 1", 2, "COMMIT")


def test_only_an_earlier_rounds_quorum_is_proposed_again() -> None:
    """A proposal that names its own round or a later one would be refused by everyone."""
    for round_ in (0, 1, 2):
        moved = go(A, at(0), *prevotes(round_, "ABORT", B, C, D), provable=BOTH)
        assert said(moved)[0] == ("proposal -1", 0, "COMMIT")
    ahead = go(D, at(0, "prevote"), *prevotes(1, "ABORT", A, B, C), provable=BOTH)
    assert ahead.state == at(0, "prevote")


def test_a_proposer_whose_proof_comes_too_late_leaves_it_to_the_next() -> None:
    assert said(go(A, at(0, "prevote"), *prevotes(0, None, A))) == []


def test_after_a_precommit_for_nothing_a_quorum_is_still_valid() -> None:
    words = (*prevotes(0, "COMMIT", A, B, D), *precommits(0, None, C))
    state = go(C, at(0, "precommit"), *words).state
    assert (state.locked, state.valid, state.valid_round) == (None, "COMMIT", 0)


# Proof


def test_a_seat_waits_for_proof_of_what_is_proposed() -> None:
    moved = go(C, at(0), proposal(0, "COMMIT"), provable=ABORT)
    assert said(moved) == []
    assert said(go(C, moved.state, proposal(0, "COMMIT"), provable=BOTH)) == [
        ("prevote", 0, "COMMIT")
    ]
    assert said(go(C, moved.state, proposal(0, "COMMIT"), provable=ABORT, now_ms=NOW + 1)) == [
        ("prevote", 0, None)
    ]


def test_a_seat_precommits_nothing_that_it_cannot_prove() -> None:
    words = (proposal(0, "COMMIT"), *prevotes(0, "COMMIT", A, B, D))
    moved = go(C, at(0), *words, provable=NOTHING, now_ms=NOW + 1)
    moved = go(C, moved.state, *words, *moved.votes, provable=NOTHING, now_ms=NOW + 9_999)
    assert said(moved) == [("precommit", 0, None)]
    assert (moved.state.locked, moved.state.valid) == (None, None)


def test_a_proposer_without_proof_is_silent_and_its_turn_passes() -> None:
    assert said(go(A, at(0), provable=NOTHING)) == []
    proofs = {A: NOTHING, B: COMMIT, C: COMMIT, D: COMMIT}
    assert Lockstep(OF_FOUR, proofs).run().decision == ("COMMIT", 1)


def test_two_values_provable_at_different_seats() -> None:
    """COMMIT at two and ABORT at two decide nothing; with both proofs everywhere, all is well."""
    proofs = dict.fromkeys((A, B), COMMIT) | dict.fromkeys((C, D), ABORT)
    with pytest.raises(AssertionError, match="never decide"):
        Lockstep(OF_FOUR, proofs).run()
    assert Lockstep(OF_FOUR, proofs | dict.fromkeys((C, D), BOTH)).run().decision == ("COMMIT", 0)


def test_a_lock_on_one_value_while_the_next_proposers_prove_the_other_only() -> None:
    proofs = {A: COMMIT, B: ABORT, C: ABORT, D: BOTH}
    states = {village: at(1, propose_ms=NOW + 2_000) for village in (A, B, C)}
    states[D] = replace(locked(1), propose_ms=NOW + 2_000)
    lock = prevotes(0, "COMMIT", A, B, D)
    full = dict.fromkeys((A, B, C, D), BOTH)
    assert Lockstep(OF_FOUR, full, states, lock).run().decision == ("COMMIT", 1)
    with pytest.raises(AssertionError, match="never decide"):  # until proof has reached a quorum
        Lockstep(OF_FOUR, proofs, states, lock).run()
    assert Lockstep(OF_FOUR, proofs | {C: BOTH}, states, lock).run().decision == ("COMMIT", 2)


# Votes for nothing, waits, later rounds


def test_a_quorum_of_prevotes_for_nothing_is_precommitted_at_once() -> None:
    moved = go(D, at(0, "prevote"), *prevotes(0, None, A, B, D))
    assert (said(moved), moved.state.prevote_ms) == ([("precommit", 0, None)], 0)


def test_precommits_for_nothing_decide_nothing() -> None:
    words = precommits(0, None, A, B, C, D)
    assert council.certificate_of(words, FOUR) is None
    moved = go(D, at(0, "precommit"), *words)
    assert (moved.certificate, moved.state.precommit_ms) == (None, NOW + 2_000)
    moved = go(D, moved.state, *words, now_ms=NOW + 2_000)
    assert (moved.state.round, moved.state.precommit_ms) == (1, 0)


def test_a_divided_quorum_is_waited_upon() -> None:
    words = (*prevotes(0, "COMMIT", A, D), *prevotes(0, None, B))
    moved = go(D, at(0, "prevote"), *words)
    assert (said(moved), moved.state.prevote_ms) == ([], NOW + 2_000)
    assert said(go(D, moved.state, *words, now_ms=NOW + 1_999)) == []
    late = go(D, moved.state, *words, *prevotes(0, "COMMIT", C), now_ms=NOW + 2_000)
    assert said(late) == [("precommit", 0, "COMMIT")]
    assert said(go(D, moved.state, *words, now_ms=NOW + 2_000)) == [("precommit", 0, None)]


def test_a_silent_proposer_is_waited_for() -> None:
    moved = go(C, State())
    assert (said(moved), moved.state.wakes_ms) == ([], NOW + 2_000)
    assert said(go(C, moved.state, now_ms=NOW + 2_000)) == [("prevote", 0, None)]


def test_a_dead_proposer_costs_one_round() -> None:
    world = Lockstep(OF_FOUR, dict.fromkeys((B, C, D), COMMIT)).run()
    assert (world.decision, world.now_ms) == (("COMMIT", 1), NOW + 4_000)


def test_two_dead_seats_of_seven() -> None:
    alive = list(SEVEN_KEYS)[2:]
    assert Lockstep(OF_SEVEN, dict.fromkeys(alive, ABORT)).run().decision == ("ABORT", 2)


def test_three_dead_seats_of_seven_block() -> None:
    alive = list(SEVEN_KEYS)[3:]
    with pytest.raises(AssertionError, match="they wait for nothing"):
        Lockstep(OF_SEVEN, dict.fromkeys(alive, ABORT)).run()


def test_f_and_one_seats_in_a_later_round_are_followed() -> None:
    assert go(D, at(0), reached={A: 5}).state.round == 0
    assert go(D, at(0), reached={A: 5, B: 3}).state.round == 3
    assert go(D, at(0), reached={A: 9_999, B: 3, C: 4}).state.round == 4
    seven = list(SEVEN_KEYS)
    two, three = dict.fromkeys(seven[:2], 5), dict.fromkeys(seven[:3], 5)
    assert go(seven[6], at(0), reached=two, subject=OF_SEVEN).state.round == 0
    assert go(seven[6], at(0), reached=three, subject=OF_SEVEN).state.round == 5


def test_a_seats_own_words_do_not_pull_it_on() -> None:
    assert go(D, at(0), reached={A: 5, D: 5}).state.round == 0


def test_a_seat_without_proof_follows_the_others() -> None:
    moved = go(D, State(), reached={A: 0, B: 0}, provable=NOTHING)
    assert (moved.state.round, moved.state.propose_ms) == (0, NOW + 2_000)
    assert go(D, State(), reached={A: 0}, provable=NOTHING).state.round == -1


def test_a_followed_round_begins_afresh() -> None:
    state = at(0, "precommit", prevote_ms=NOW, precommit_ms=NOW + 5)
    assert go(D, state, reached={A: 2, B: 2}).state == State(2, propose_ms=NOW + 8_000)


def test_waits_double_up_to_a_day_or_four_windows() -> None:
    assert [council.timeout_ms(round_, 0) for round_ in (0, 1, 2, 10)] == [
        *(2_000, 4_000, 8_000),
        2_048_000,
    ]
    week = 7 * 86_400
    for window_s, most in ((0, 86_400_000), (600, 86_400_000), (week, 4_000 * week)):
        assert council.timeout_ms(limits.ROUND_MAX, window_s) == most
        assert max(council.timeout_ms(round_, window_s) for round_ in range(60)) == most


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (77, 2_500),  # over: but the others can be heard first
        (2_499, 2_500),
        (5_000, 5_000),  # goes on, however often the box is switched off
        (8_500, 8_500),
        (8_501, 8_500),  # by a clock that was ahead: as long as if it began now
        (10**12, 8_500),
        (0, 0),
    ],
)
def test_after_a_restart_a_wait_ends_when_it_was_to_end(stored: int, expected: int) -> None:
    state = replace(locked(2, "prevote"), propose_ms=0, prevote_ms=stored)
    anew = council.begin_waits_anew(OF_FOUR, state, 500)
    assert anew == replace(state, prevote_ms=expected)
    assert council.begin_waits_anew(OF_FOUR, State(), 500) == State()


@pytest.mark.parametrize("phase", ["prevote", "precommit"])
def test_an_idle_subject_costs_nothing(phase: Phase) -> None:
    """Two of four have voted: no clock can change that, and none runs."""
    words = prevotes(0, "COMMIT", A, D) + precommits(0, None, A)
    moved = go(D, at(0, phase), *words, now_ms=NOW + 10**9)
    assert (said(moved), moved.state, moved.state.wakes_ms) == ([], at(0, phase), None)


def test_the_last_round_does_not_end() -> None:
    last = limits.ROUND_MAX
    words = precommits(last, None, A, B, C, D)
    assert all(council.vote_is_valid(each, NETWORK, SUBJECT, FOUR) for each in words)
    for now_ms in (NOW, NOW + 10**10):
        moved = go(D, at(last, "precommit"), *words, now_ms=now_ms)
        assert (moved.state.round, moved.state.wakes_ms) == (last, None)
    [beyond] = precommits(last + 1, "COMMIT", A)
    assert not council.vote_is_valid(beyond, NETWORK, SUBJECT, FOUR)


# Decisions


def test_a_seat_that_is_behind_takes_a_later_rounds_decision() -> None:
    moved = go(D, State(), *precommits(7, "ABORT", A, B, C), provable=NOTHING)
    assert moved.certificate is not None
    assert (moved.certificate.value, moved.certificate.round) == ("ABORT", 7)
    assert (said(moved), moved.state) == ([], State())
    council.verify_certificate(moved.certificate, NETWORK, SUBJECT, FOUR)


def test_after_a_decision_nothing_more_is_said() -> None:
    words = (*precommits(0, "COMMIT", A, B, C), proposal(1, "ABORT"))
    assert said(go(D, at(1), *words, provable=BOTH, now_ms=NOW + 10**9)) == []


def test_a_certificate_is_not_mixed_from_rounds() -> None:
    words = (*precommits(0, "COMMIT", A, B), *precommits(1, "COMMIT", C, D))
    assert council.certificate_of(words, FOUR) is None
    assert go(D, at(1), *words).certificate is None
    for round_ in (0, 1):
        mixed = Certificate("COMMIT", round_, tuple((v.village, v.signature) for v in words[:3]))
        with pytest.raises(BadProof, match="does not hold"):
            council.verify_certificate(mixed, NETWORK, SUBJECT, FOUR)


def test_prevotes_are_no_certificate() -> None:
    words = prevotes(0, "COMMIT", A, B, C)
    assert council.certificate_of(words, FOUR) is None
    made = Certificate("COMMIT", 0, tuple((v.village, v.signature) for v in words))
    with pytest.raises(BadProof, match="does not hold"):
        council.verify_certificate(made, NETWORK, SUBJECT, FOUR)


def test_a_village_in_two_seats_counts_once() -> None:
    """Terms with such seats are refused; nothing would come of them, either."""
    twice = Subject(NETWORK, SUBJECT, (FOUR[0], *FOUR[:3]))
    words = (proposal(0, "COMMIT"), *prevotes(0, "COMMIT", A))
    moved = go(B, at(0), *words, subject=twice)
    assert said(moved) == [("prevote", 0, "COMMIT")]
    made = council.certificate_of(precommits(0, "COMMIT", A, B), twice.seats)
    assert made is None
    one, two = ((v.village, v.signature) for v in precommits(0, "COMMIT", A, B))
    doubled = Certificate("COMMIT", 0, (one, one, two))
    with pytest.raises(BadProof, match="counts a seat twice"):
        council.verify_certificate(doubled, NETWORK, SUBJECT, twice.seats)


# Liars


def test_both_words_of_a_liar_count() -> None:
    """D prevoted ABORT for A alone, and nothing for the others. A is locked; B and C hear of it and
    can follow. Were only its first word kept, they would wait for ever."""
    words = (*prevotes(0, "ABORT", A, B), *prevotes(0, None, C, D), *prevotes(0, "ABORT", D))
    for order in (words, words[::-1]):
        moved = go(B, at(1), *order, provable=BOTH)
        assert said(moved)[0] == ("proposal 0", 1, "ABORT")
        moved = go(C, at(1), *order, proposal(1, "ABORT", 0), provable=BOTH)
        assert said(moved) == [("prevote", 1, "ABORT")]


def test_a_liars_two_words_are_one_voter() -> None:
    words = (*prevotes(0, "COMMIT", A, D), *prevotes(0, None, A))
    assert go(D, at(0, "prevote"), *words).state.prevote_ms == 0


def test_a_liars_second_proposal_changes_nothing() -> None:
    words = (proposal(0, "COMMIT"), proposal(0, "ABORT"))
    assert said(go(C, at(0), *words, provable=BOTH)) == [("prevote", 0, "COMMIT")]


def test_a_quorum_needs_no_proposal_to_be_seen() -> None:
    """The proposer told this seat something else, or nothing."""
    words = prevotes(0, "COMMIT", A, B, D)
    for told in ((), (proposal(0, "ABORT"),)):
        moved = go(C, at(0, "prevote"), *words, *prevotes(0, None, C), *told, provable=BOTH)
        assert said(moved) == [("precommit", 0, "COMMIT")]


def test_what_contradicts_itself() -> None:
    [one], [other] = prevotes(0, "COMMIT", A), prevotes(0, None, A)
    assert council.contradict(one, other)
    assert council.contradict(proposal(1, "COMMIT"), proposal(1, "ABORT"))
    assert council.contradict(proposal(1, "COMMIT"), proposal(1, "COMMIT", 0))
    others = (*prevotes(1, None, A), *prevotes(0, None, B), *precommits(0, None, A))
    for innocent in (one, *others):
        assert not council.contradict(one, innocent)
    assert not council.contradict(one, proposal(0, "ABORT"))
    assert not council.contradict(proposal(1, "COMMIT"), proposal(5, "ABORT"))


# What is signed


def test_a_vote_is_of_one_federation_subject_round_step_and_value() -> None:
    [word] = precommits(3, None, A)
    assert council.vote_is_valid(word, NETWORK, SUBJECT, FOUR)
    assert not council.vote_is_valid(word, SUBJECT, SUBJECT, FOUR)
    assert not council.vote_is_valid(word, NETWORK, NETWORK, FOUR)
    for change in ({"round": 2}, {"step": "prevote"}, {"value": "ABORT"}, {"village": B}):
        assert not council.vote_is_valid(replace(word, **change), NETWORK, SUBJECT, FOUR)


def test_a_vote_is_of_one_version(monkeypatch: pytest.MonkeyPatch) -> None:
    [word] = prevotes(0, "COMMIT", A)
    monkeypatch.setattr(council, "VOTE_CONTEXT", "village-edge/vote/v2")
    assert not council.vote_is_valid(word, NETWORK, SUBJECT, FOUR)


def test_a_proposal_is_of_one_federation_subject_version_and_proposer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = proposal(2, "COMMIT", 1)
    assert council.proposal_is_valid(made, OF_FOUR)
    assert not council.proposal_is_valid(made, replace(OF_FOUR, network=SUBJECT))
    assert not council.proposal_is_valid(made, replace(OF_FOUR, id=NETWORK))
    assert not council.proposal_is_valid(made, replace(OF_FOUR, seats=FOUR[:2]))
    for change in (
        {"round": 6},
        {"village": A},
        {"value": "ABORT"},
        {"valid_round": 0},
        {"valid_round": -1},
        {"signature": bytes(64)},
    ):
        assert not council.proposal_is_valid(replace(made, **change), OF_FOUR)
    monkeypatch.setattr(council, "PROPOSAL_CONTEXT", "village-edge/proposal/v2")
    assert not council.proposal_is_valid(made, OF_FOUR)


def test_a_proposals_rounds_are_bounded() -> None:
    for round_, valid_round in ((0, 0), (1, 1), (1, 2), (1, -2), (-1, -2), (10_000, -1)):
        assert not council.proposal_is_valid(proposal(round_, "COMMIT", valid_round), OF_FOUR)
    assert council.proposal_is_valid(proposal(9_999, "COMMIT", 9_998), OF_FOUR)


def test_two_seats_have_no_rounds() -> None:
    with pytest.raises(AssertionError, match="without rounds"):
        go(A, State(), subject=replace(OF_FOUR, seats=FOUR[:2]))
