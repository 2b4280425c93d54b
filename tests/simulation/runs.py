"""Playing seeds: what they add up to, a failing one made smaller, and shown."""

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from tests.simulation import plan
from tests.simulation.federation import Federation, play
from tests.simulation.journal import Journal
from tests.simulation.law import LawBroken
from tests.simulation.plan import AWAY, FAULTS, MANNERS, RESTORED, TRADES_MIN, Plan

COLLECT_EVERY: Final = 16
SHRINK_S_MAX: Final = 120.0
MUST_HAPPEN: Final = (
    "COMMIT",
    "ABORT",
    "from SETTLED",
    "to SETTLED",
    "from ABORTED",
    "to ABORTED",
    "from CANCELLED",
    "from EXPIRED",
    "to REJECTED",
    "from REJECTED",
    "to CANCELLED",
    "to EXPIRED",
    "gift SETTLED",
    "gift ABORTED",
    "answer SETTLED",
    "answer REJECTED",
    "answer ABORTED",
    "seats 2",
    "seats 4",
    "seats 7",
    "absent",
    "decided in a later round",
    "list",
    "take back asked",
    "pay",
    "pay: limit-exceeded",
    "propose: limit-exceeded",
    "propose: invalid-input",
    "list: invalid-input",
    "list: unknown-asset",
    "answer: limit-exceeded",
    "accept: wrong-state",
    "accept: limit-exceeded",
    "accept: invalid-input",
    "accept: forbidden",
    "deliver: wrong-state",
    "deliver: forbidden",
    "dispute: wrong-state",
    "refund: wrong-state",
    "set line",
    "witness",
    "witness: stale-checkpoint",
    "the liar moves",
    "shared batch",
    "cut off",
    "cannot dial",
    "clock jumps forth",
    "clock jumps back",
    "crossing exchanges",
    "nobody knows",
    "restart",
    "stopped by its disk",
    "crash at an await",
    "crash in a flush",
    "crash with unwritten writes",
    "deliver",
    "dispute",
    "refund",
    "from DELIVERED",
    "to DELIVERED",
    "from DISPUTED",
    "to DISPUTED",
    "refund SETTLED",
    "refund ABORTED",
    "give up",
    "give up: wrong-state",
    "give up with evidence",
    "shown to have lied",
    AWAY,
    *FAULTS,
    *(f"forged {what}" for what in ("evidence", "certificate", "votes", "absents", "proposals")),
    *(f"lie: {manner}" for manner in (*MANNERS, RESTORED)),
)


@dataclass(slots=True)
class Totals:
    """What many seeds add up to."""

    seeds: int = 0
    steps: int = 0
    checks: int = 0
    virtual_s: float = 0.0
    longest_s: float = 0.0
    longest_bound_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, played: Federation) -> None:
        self.seeds += 1
        self.steps += played.loop.steps
        self.checks += played.laws.steps
        self.virtual_s += played.loop.time()
        self.counts += played.counts
        if played.longest_s > self.longest_s:
            self.longest_s, self.longest_bound_s = played.longest_s, played.bound_s

    def missing(self) -> list[str]:
        """Return what should have happened at least once, and has not."""
        return [what for what in MUST_HAPPEN if not self.counts[what]]

    def table(self) -> str:
        """Return all of it as text."""
        rows: list[tuple[str, object]] = [
            ("seeds", f"{self.seeds:,}"),
            ("steps", f"{self.steps:,}, of which {self.checks:,} changed a disk"),
            ("simulated", f"{self.virtual_s / 3600:,.0f} hours"),
            ("trades", f"{self.counts['trades']:,}"),
            ("committed", f"{self.counts['COMMIT']:,}"),
            ("aborted", f"{self.counts['ABORT']:,}"),
            ("longest to end", f"{self.longest_s:.0f} s of at most {self.longest_bound_s:.0f} s"),
        ]
        rows += [(fault, f"{self.counts[fault]:,}") for fault in FAULTS]
        lies = (*MANNERS, RESTORED)
        rows += [("gone for long", f"{self.counts[AWAY]:,}")]
        rows += [(f"lie: {each}", f"{self.counts[f'lie: {each}']:,}") for each in lies]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


class NotTried(AssertionError):
    """The simulator does not do what it is for."""


def once(made: Plan) -> Federation:
    """Play a plan that must do its part: so many trades, and each of its faults. Raises LawBroken,
    NotTried."""
    played = play(made)
    counts = played.counts
    missed = [fault for fault in made.faults if not counts[fault]]
    if made.trades >= TRADES_MIN and counts["trades"] < TRADES_MIN:
        missed.append(f"{counts['trades']} trades of {TRADES_MIN}")
    if missed:
        raise NotTried(f"seed {made.seed} lacks {', '.join(missed)}")
    return played


def many(seeds: Iterable[int], tell: Callable[[Totals], None] = lambda totals: None) -> Totals:
    """Play all seeds. Raises LawBroken or NotTried at the first that fails."""
    totals = Totals()
    for seed in seeds:
        one_more(totals, seed)
        tell(totals)
    return totals


def one_more(totals: Totals, seed: int) -> None:
    """Play a seed and add it. Raises LawBroken or NotTried."""
    totals.add(once(plan.of(seed)))
    if totals.seeds % COLLECT_EVERY == 0:
        gc.collect()


# A failing plan


def shrink(made: Plan, broken: LawBroken, within_s: float = SHRINK_S_MAX) -> tuple[Plan, LawBroken]:
    """Return a smaller plan that breaks the same law, and how: the smallest found in time."""
    end_s = time.monotonic() + within_s
    smaller = True
    while smaller and time.monotonic() < end_s:
        smaller = False
        for candidate in smaller_plans(made):
            if time.monotonic() >= end_s:
                break
            again = fails(candidate)
            if again is not None and again.law == broken.law:
                made, broken, smaller = candidate, again, True
                break
    return made, broken


def smaller_plans(made: Plan) -> Iterator[Plan]:
    """Yield plans that are one thing smaller, the greatest steps first."""
    for villages in (each for each in (2, 4) if each < made.villages):
        seats = min(made.seats, villages)
        liars = made.manners[: (seats - 1) // 3]
        yield replace(made, villages=villages, seats=seats, manners=liars)
    if made.faults:
        yield replace(made, faults=())
    if made.manners:
        yield replace(made, manners=())
    for trades in (made.trades // 4, made.trades // 2, made.trades - 2, made.trades - 1):
        if 0 < trades < made.trades:
            yield replace(made, trades=trades)
    yield from _fewer_faults(made)
    yield from _fewer_lies(made)


def _fewer_faults(made: Plan) -> Iterator[Plan]:
    for half in (made.faults[::2], made.faults[1::2]):
        if 0 < len(half) < len(made.faults):
            yield replace(made, faults=half)
    for fault in made.faults if len(made.faults) > 1 else ():
        yield replace(made, faults=tuple(each for each in made.faults if each != fault))


def _fewer_lies(made: Plan) -> Iterator[Plan]:
    for at, liar in enumerate(made.manners):
        if len(made.manners) > 1:
            yield replace(made, manners=made.manners[:at] + made.manners[at + 1 :])
        kinds = liar.split("+")
        for kind in kinds if len(kinds) > 1 else ():
            left = "+".join(each for each in kinds if each != kind)
            manners = (*made.manners[:at], left, *made.manners[at + 1 :])
            yield replace(made, manners=manners)


def fails(made: Plan) -> LawBroken | None:
    """Return how a plan breaks a law, None if it breaks none."""
    try:
        play(made)
    except LawBroken as broken:
        return broken
    return None


def traced(made: Plan) -> tuple[LawBroken | None, Journal]:
    """Play a plan again and keep all that is said."""
    journal = Journal()
    try:
        play(made, journal)
    except LawBroken as broken:
        return broken, journal
    return None, journal


def reproduction(made: Plan) -> str:
    """Return the command that plays a plan again."""
    same = plan.of(made.seed)
    parts = [
        mine
        for mine, his in zip(made.text.split(";"), same.text.split(";"), strict=True)
        if mine != his
    ]
    smaller = f" PLAN='{';'.join(parts)}'" if parts else ""
    return f"make simulate SEED={made.seed}{smaller} TRACE=1"
