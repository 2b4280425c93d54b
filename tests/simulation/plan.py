"""What one seed is to be: how many villages, trades and minutes, which faults, and who lies how.

A plan is all that is chosen at the beginning, so that it can be made smaller: with fewer villages,
trades or faults the rest keeps its dice. `text` is how a plan is written on the command line.
"""

import random
from dataclasses import dataclass, fields, replace
from typing import Final

from tests.simulation.council_liar import TWISTS

NAMES: Final = (
    "ose-missouri-001",
    "ose-california-001",
    "ose-texas-001",
    "ose-vermont-001",
    "ose-oregon-001",
    "ose-maine-001",
    "ose-utah-001",
)
LINES: Final = ("partition", "one-way partition", "undialled")
MESSAGES: Final = (
    "lost request",
    "lost answer",
    "repeated request",
    "reordered",
    "minutes late",
    "replayed message",
)
BOXES: Final = ("crash", "power cut", "clock jump", "clock drift", "full disk", "slow disk")
FAULTS: Final = (*MESSAGES, *LINES, *BOXES)
RESTORED: Final = "was restored"
AWAY: Final = "is away"  # it is honest, and without power until all others are done
MANNERS: Final = tuple(manner for manner in TWISTS if manner != RESTORED)
TRADES_MIN: Final = 20
VILLAGES: Final = (  # by the seed
    *(4, 2, 4, 2, 2, 4, 7, 2, 2, 4, 2, 2, 4, 2, 2),
    *(2, 2, 2, 4, 2, 2, 2, 4, 2, 2, 2, 2, 4, 2, 2),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """`seats` is how many decide where so many can; `bursts`: in how many of them people propose;
    `manners`: those of each liar, joined by "+", or of who is restored, or away."""

    seed: int
    villages: int
    seats: int
    trades: int
    minutes: int
    heartbeat_s: int
    latency_ms: int
    bursts: int
    faults: tuple[str, ...]
    manners: tuple[str, ...]

    @property
    def text(self) -> str:
        """Return it as `PLAN=` takes it."""
        parts = [
            f"{field.name}={_joined(getattr(self, field.name))}"
            for field in fields(self)
            if field.name != "seed"
        ]
        return ";".join(parts)

    def changed(self, text: str) -> "Plan":
        """Return the plan with what a text says of it, such as "villages=4;faults=crash"."""
        changes: dict[str, object] = {}
        kinds = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        for part in filter(None, text.split(";")):
            name, _, value = part.partition("=")
            if name not in kinds:
                raise ValueError(f"a plan has no {name!r}: {', '.join(kinds)}")
            values = tuple(filter(None, value.split(",")))
            changes[name] = values if kinds[name] is tuple else int(value)
        return replace(self, **changes)  # type: ignore[arg-type]


def of(seed: int) -> Plan:
    """Return a seed's plan."""
    rng = random.Random(f"plan {seed}")
    villages = VILLAGES[seed % len(VILLAGES)]
    seats = {2: 2, 4: 4, 7: rng.choice((4, 7, 7))}[villages]
    faults = tuple(each for each in FAULTS if rng.random() < rng.choice((0.2, 0.5, 0.8)))
    manners = _manners(rng, (seats - 1) // 3)
    is_long = any(RESTORED in each for each in manners)
    return Plan(
        seed=seed,
        villages=villages,
        seats=seats,
        trades=rng.randint(TRADES_MIN, TRADES_MIN + 4),
        minutes=rng.randint(66, 75) if is_long else rng.choice((8, 8, 12, 20)),
        heartbeat_s=540 if is_long else rng.choice((60, 300, 300, 540)),
        latency_ms={2: 60, 4: rng.choice((60, 400, 400, 600, 1_500)), 7: 500}[villages],
        bursts={2: 20, 4: rng.choice((1, 1, 2, 2, 3, 20)), 7: 1}[villages],
        faults=faults,
        manners=manners,
    )


def _manners(rng: random.Random, liars_max: int) -> tuple[str, ...]:
    count = rng.choice((0, liars_max, liars_max))
    found = []
    for _ in range(count):
        dice = rng.random()
        if dice < 0.35:
            found.append(RESTORED if dice < 0.15 else AWAY)
        else:
            found.append("+".join(rng.sample(MANNERS, rng.choice((1, 2, 3)))))
    return tuple(found)


def _joined(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)
