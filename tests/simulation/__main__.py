"""`make simulate`: play seeds, or one of them, and show what breaks.

SEEDS=2000 plays 0 to 1,999, SEEDS=17:40 some; SEED=123 plays one, with what PLAN says of it;
TRACE=1 shows what was said of the trade that breaks a law. HASHES=1 prints each seed's trace.
"""

import logging
import os
import sys
import time

from tests.simulation import plan, runs
from tests.simulation.federation import play
from tests.simulation.law import LawBroken
from tests.simulation.plan import Plan
from tests.simulation.runs import NotTried, Totals

SEEDS_DEFAULT = "300"
BAR = 30


def main() -> int:
    logging.disable(logging.WARNING)  # what boxes tell their stewards
    asked = os.environ
    seed = asked.get("SEED")
    if seed:
        return one(plan.of(int(seed)).changed(asked.get("PLAN", "")), bool(asked.get("TRACE")))
    seeds = seeds_of(asked.get("SEEDS") or SEEDS_DEFAULT)
    if asked.get("HASHES"):
        for each in seeds:
            print(each, trace_of(each), flush=True)
        return 0
    return several(seeds)


def seeds_of(text: str) -> range:
    first, colon, end = text.rpartition(":")
    return range(int(first), int(end)) if colon else range(int(end))


def trace_of(seed: int) -> str:
    """Return the hash over all that happened in a seed, whether it broke a law or not."""
    return play(plan.of(seed)).world.trace()


def one(made: Plan, trace: bool) -> int:
    """Play one plan; tell how it ended."""
    print(f"seed {made.seed}: {made.text}")
    if trace:
        broken, journal = runs.traced(made)
        for line in journal.show(broken.subject if broken else None):
            print(line)
    else:
        broken = runs.fails(made)
    print(f"broken: {broken}" if broken else "all laws hold")
    return 1 if broken else 0


def several(seeds: range) -> int:
    """Play seeds with a bar and a table; make the first that fails smaller."""
    began_s = time.monotonic()

    def tell(totals: Totals) -> None:
        if sys.stderr.isatty() or totals.seeds % 50 == 0:
            done = totals.seeds * BAR // len(seeds)
            passed_s = max(time.monotonic() - began_s, 0.001)
            rate = totals.seeds * 60 / passed_s
            bar = "#" * done + "." * (BAR - done)
            end = "\r" if sys.stderr.isatty() else "\n"
            text = f"[{bar}] {totals.seeds}/{len(seeds)}  {rate:.0f} a minute"
            print(text, end=end, file=sys.stderr, flush=True)

    try:
        totals = runs.many(seeds, tell)
    except NotTried as error:
        print(f"\n{error}")
        return 1
    except LawBroken as broken:
        made = plan.of(broken.seed)
        print(f"\nbroken: {broken}\n{runs.reproduction(made)}\nmaking it smaller ...")
        made, broken = runs.shrink(made, broken)
        print(f"broken: {broken}\nthe smallest that shows it:\n  {runs.reproduction(made)}")
        return 1
    print(f"\n{totals.table()}")
    missing = totals.missing() if len(seeds) >= int(SEEDS_DEFAULT) else []
    if missing:
        print(f"never happened: {', '.join(missing)}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
