"""The council's laws in a hostile world, and bugs planted one at a time that must break them.

A failing seed names itself; `World(seed, story).run()` plays the same story again.

Two rules have no plant here. Without the skip to a later round a seat that is behind still follows,
by the votes of each round that it hears of: it only takes longer. To be unlocked by a quorum older
than the lock takes two quorums in a row that fail. test_council_rules.py has both.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
import pytest

from edge.core import council
from edge.core.council import Certificate, Seat, State, Vote
from tests.unit.council_world import LawBroken, Story, World

SEEDS: Final[dict[Story, int]] = {"any": 400, "locks": 200, "torn": 50}
SEEDS_AT_ONCE: Final = 50

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]
PLANTS: Final[dict[str, tuple[str, Story, Plant]]] = {}
Turn: Final = council._Turn


@pytest.mark.parametrize(
    ("story", "first"),
    [(story, first) for story in SEEDS for first in range(0, SEEDS[story], SEEDS_AT_ONCE)],
)
def test_the_laws_hold(story: Story, first: int) -> None:
    for seed in range(first, first + SEEDS_AT_ONCE):
        World(seed, story).run()


def test_a_seed_is_one_story() -> None:
    assert World(7).run().counts == World(7).run().counts


def test_the_stories_are_eventful() -> None:
    """What the seeds are worth: how often there is what makes agreement hard."""
    happened: Counter[str] = Counter()
    for seed in range(100):
        world = World(seed)
        happened["seven seats"] += len(world.villages) == 7
        happened["both values"] += len(world.real) == 2
        happened.update(liar.manner for liar in world.liars)
        counts = world.run().counts
        happened["crashes"] += counts["crashes"] > 0
        happened["rounds"] += counts["rounds"] > 0
        happened["many rounds"] += counts["rounds"] > 3
        happened.update(value for value in ("COMMIT", "ABORT") if counts[value])
    rare = {what: count for what, count in happened.items() if count < 5}
    assert not rare, happened


def plant(law: str, story: Story) -> Callable[[Plant], Plant]:
    """Register a bug with the law that finds it, and in which stories."""

    def register(fn: Plant) -> Plant:
        PLANTS[fn.__name__] = (law, story, fn)
        return fn

    return register


@plant("one decision", "torn")
def half_the_seats_and_one_are_a_quorum(patch: Patch) -> None:
    patch.setattr(council, "quorum", lambda seats: seats // 2 + 1)


@plant("locks hold", "locks")
def a_lock_is_forgotten_at_once(patch: Patch) -> None:
    right = Turn._change

    def wrong(self: Any, **fields: object) -> None:
        right(self, **{key: value for key, value in fields.items() if "locked" not in key})

    patch.setattr(Turn, "_change", wrong)


@plant("locks hold", "locks")
def a_lock_is_forgotten_at_a_restart(patch: Patch) -> None:
    right = council.begin_waits_anew

    def wrong(subject: council.Subject, state: State, now_ms: int) -> State:
        again = right(subject, state, now_ms)
        return msgspec.structs.replace(again, locked=None, locked_round=-1)

    patch.setattr(council, "begin_waits_anew", wrong)


@plant("locks hold", "locks")
def a_locked_seat_prevotes_for_anything(patch: Patch) -> None:
    right = Turn._prevote

    def wrong(self: Any) -> bool:
        state = self._state
        self._state = msgspec.structs.replace(state, locked=None, locked_round=-1)
        done = right(self)
        self._change(locked=state.locked, locked_round=state.locked_round)
        return done

    patch.setattr(Turn, "_prevote", wrong)


@plant("locks hold", "locks")
def a_valid_round_is_believed(patch: Patch) -> None:
    right = Turn._prevote

    def wrong(self: Any) -> bool:
        has_quorum = self._has_quorum
        self._has_quorum = lambda *_: True
        try:
            return right(self)
        finally:
            self._has_quorum = has_quorum

    patch.setattr(Turn, "_prevote", wrong)


@plant("no second word", "locks")
def a_seat_starts_from_nothing_after_a_restart(patch: Patch) -> None:
    """It reads neither its state nor its own words."""
    patch.setattr(council, "begin_waits_anew", lambda *_: State())
    patch.setattr(Turn, "_who_voted", _without_own(Turn._who_voted))


def _without_own(right: Callable[..., set[str]]) -> Callable[..., set[str]]:
    def wrong(self: Any, step: council.Step) -> set[str]:
        return right(self, step) - {self._village} - {vote.village for vote in self._said}

    return wrong


@plant("certificates hold", "locks")
def a_certificate_mixes_rounds(patch: Patch) -> None:
    right = council.certificate_of

    def wrong(votes: Iterable[Vote], seats: Sequence[Seat]) -> Certificate | None:
        return right([msgspec.structs.replace(vote, round=0) for vote in votes], seats)

    patch.setattr(council, "certificate_of", wrong)


@plant("a quorum leaves a round", "locks")
def one_liar_pulls_a_seat_on(patch: Patch) -> None:
    patch.setattr(council.Subject, "liars_max", property(lambda self: _liars_max(self) - 1))


def _liars_max(subject: council.Subject) -> int:
    return (len(subject.seats) - 1) // 3


@plant("everyone decides", "locks")
def waits_do_not_grow(patch: Patch) -> None:
    patch.setattr(council, "timeout_ms", lambda *_: council.TIMEOUT_MS)


@plant("everyone decides", "locks")
def a_round_never_ends(patch: Patch) -> None:
    patch.setattr(Turn, "_wait", lambda _: False)


@plant("everyone decides", "locks")
def what_was_valid_is_not_proposed_again(patch: Patch) -> None:
    patch.setattr(Turn, "_learn", lambda _: False)


@plant("everyone decides", "locks")
def only_a_liars_first_word_is_kept(patch: Patch) -> None:
    """Then nobody sees why the seat is locked to which it said the other."""
    patch.setattr(World, "keeps_every_word", False)


@plant("a quorum prevotes first", "locks")
def a_seat_precommits_what_is_proposed(patch: Patch) -> None:
    right = Turn._lock

    def wrong(self: Any) -> bool:
        proposal = self._proposals.get(self._state.round)
        if self._state.phase == "prevote" and proposal and proposal.value in self._known.provable:
            self._vote("precommit", proposal.value)
            return True
        return right(self)

    patch.setattr(Turn, "_lock", wrong)


@plant("proven values only", "locks")
def a_seat_believes_the_proposer(patch: Patch) -> None:
    right = Turn._prevote

    def wrong(self: Any) -> bool:
        known = self._known
        every = frozenset(("COMMIT", "ABORT"))
        self._known = msgspec.structs.replace(known, provable=every)
        done = right(self)
        self._known = known
        return done

    patch.setattr(Turn, "_prevote", wrong)


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_breaks_its_law(name: str, monkeypatch: Patch) -> None:
    law, story, put = PLANTS[name]
    put(monkeypatch)
    with pytest.raises(LawBroken) as broken:
        _play(story)
    assert broken.value.law == law, str(broken.value)


def _play(story: Story) -> None:
    for seed in range(SEEDS[story]):
        World(seed, story).run()
