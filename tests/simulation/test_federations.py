"""Hundreds of hostile federations, each from its seed, under every fault that the world knows.

`make simulate` plays more of them, one of them, or a smaller one: see firmware-notes/simulator.md.
"""

import os
from typing import Final

import pytest

from tests.simulation import plan, runs
from tests.simulation.__main__ import SEEDS_DEFAULT, seeds_of
from tests.simulation.federation import play

# What seeds have found, and has been mended: the smallest plans that showed it, with the dice of
# that day. What shows it whatever the dice is in test_councils.py, of the same words.
FOUND: Final = {
    # Two boxes' clocks were 40 days ahead, then put right: their waits stood still.
    "clocks that were far ahead and are put right": (
        119,
        (
            "villages=4;seats=4;trades=8;minutes=12;heartbeat_s=120;latency_ms=60;bursts=4;"
            "faults=crash,clock jump,partition,one-way partition;manners="
        ),
    ),
    # A party that gave up with a receipt went on speaking of the trade for ever.
    "a trade that was given up with a receipt": (
        1642,
        (
            "villages=4;seats=4;trades=12;minutes=12;heartbeat_s=300;latency_ms=400;bursts=2;"
            "faults=minutes late;manners="
        ),
    ),
    # The first proposer lied, and no other seat told of the decision but the parties.
    "a seat that nobody tells of the decision": (
        27,
        (
            "villages=4;seats=4;trades=24;minutes=12;heartbeat_s=60;latency_ms=60;bursts=20;"
            "faults=lost answer,repeated request,reordered,partition,undialled,crash,power cut,"
            "clock drift;manners=two logs+votes far ahead+says nothing"
        ),
    ),
}


SEEDS: Final = seeds_of(os.environ.get("SEEDS") or SEEDS_DEFAULT)
TOTALS: Final = runs.Totals()


@pytest.mark.parametrize("seed", SEEDS)
def test_random_federations(seed: int) -> None:
    """Whatever happens, the laws hold, and every trade ends."""
    runs.one_more(TOTALS, seed)


def test_everything_has_happened() -> None:
    """Over all seeds, if all have been played."""
    print(f"\n{TOTALS.table()}")  # noqa: T201
    assert TOTALS.seeds < int(SEEDS_DEFAULT) or not TOTALS.missing()


@pytest.mark.parametrize("found", FOUND)
def test_what_was_found_is_mended(found: str) -> None:
    seed, smaller = FOUND[found]
    play(plan.of(seed).changed(smaller))
