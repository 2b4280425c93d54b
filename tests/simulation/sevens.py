"""A random federation of seven villages whose charters have councils of seven: as in councils.py,
and two villages lose their power in the midst of it and stay away."""

import contextlib
from collections import Counter
from typing import Final

from edge.core.trade import decode_terms
from tests.simulation import swaps
from tests.simulation.councils import CouncilStory
from tests.simulation.swaps import DAY_MS, MINUTE_MS
from tests.simulation.world import Crashed, Village

STEPS_BEFORE, STEPS_AFTER = 8, 16
MEETINGS: Final = 10  # at each step: there are 21 pairs
SEATS: Final = 7


class SevenStory(CouncilStory):
    """One seed's federation of seven. `dead`: the two that stay away until all others are done."""

    def __init__(self, seed: int) -> None:
        self.dead: list[Village] = []
        super().__init__(seed)

    def choose_villages(self) -> list[str]:
        return list(swaps.PEOPLE)[:SEATS]

    def befriend(self, a: Village, b: Village) -> None:
        self.world.befriend(a, b, council_seats=SEATS)

    @property
    def living(self) -> list[Village]:
        return [village for village in self.all if village not in self.dead]

    async def run(self) -> Counter[str]:
        await self._meet_all()
        self._make_trouble()
        await self._live(STEPS_BEFORE)
        self._bury()
        await self._live(STEPS_AFTER)
        await self._heal()
        self._count_ends()
        return self.world.counts

    async def _live(self, steps: int) -> None:
        for _ in range(steps):
            for village in self.living:
                if not village.up and self.rng.random() < 0.5:
                    self._restart(village)
            count = self.rng.choice((2, 3, 4))
            await self._step([self._random_act() for _ in range(count)])
            await self._step([self._exchange() for _ in range(MEETINGS)])

    def _bury(self) -> None:
        """Two villages lose their power for good."""
        self.dead = self.rng.sample(self.all, 2)
        for village in self.dead:
            if village.up:
                with contextlib.suppress(Crashed):
                    village.crash("for long")

    async def _clock(self) -> None:
        """Minutes only: a seat that nobody has heard from lately would leave trades to fewer."""
        self.world.now_ms += self.rng.choice((1_000, MINUTE_MS))

    # Healing

    async def _heal(self) -> None:
        """Trades between the living end at once; those with the dead after their deadlines; and the
        dead, once they are back, end theirs alike."""
        self.world.loss = self.world.repeat = 0.0
        for village in self.living:
            village.crash_in = None
            if not village.up:
                self._restart(village)
        names = [village.name for village in self.living]
        await self._until(lambda: not self._bound(names), 0, "trades of the living ended")
        self.world.now_ms += 9 * DAY_MS
        await self._step([self._expire_all()])
        everyone = [village.name for village in self.all]
        await self._until(lambda: not self._bound(everyone), 0, "trades with the dead ended")
        for village in self.dead:
            self._restart(village)
        self.dead = []
        await self._step([self._expire_all()])
        await self._until(self._bound_ended, 0, "the dead have ended theirs")
        await self._until(self._is_quiet, 0, "nobody has more to say")
        self.laws.at_rest()

    def _bound(self, neighbours: list[str]) -> int:
        """Count the bound trades of the living with these; of councils, which two of seven dead do
        not stop, nor two alone that are alive."""
        found = 0
        for village in self.living:
            for terms, neighbour in village.conn.execute(
                "SELECT terms, neighbour FROM trade WHERE status IN ('ACCEPTED', 'HELD')"
            ):
                alone = len(decode_terms(terms).seats) == 2
                dead = neighbour not in {each.name for each in self.living}
                found += neighbour in neighbours and not (alone and dead)
        return found

    def _count_ends(self) -> None:
        super()._count_ends()
        for village in self.all:
            for (terms,) in village.conn.execute("SELECT terms FROM subject"):
                self.world.note(f"{len(decode_terms(terms).seats)} seats")


def play(seed: int) -> Counter[str]:
    """Play one story; return what happened, counted. What fails names its seed."""
    return swaps.play_story(SevenStory(seed), seed)[0]
