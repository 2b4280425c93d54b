"""A random federation of four villages, where a council of all four decides each trade.

As in swaps.py, and with all of its faults; besides, time alone moves what councils wait for.
"""

from collections import Counter
from collections.abc import Callable
from itertools import combinations, permutations
from typing import Final

from edge import trade_escrow
from edge.storage import councils
from edge.storage.tx import View
from tests.simulation import swaps
from tests.simulation.laws import LawBroken
from tests.simulation.swaps import Act, Story

ROUNDS_TO_END_MAX: Final = 12  # of all pairs meeting, with time for a council's waits between


class CouncilStory(Story):
    """One seed's federation of four."""

    def choose_villages(self) -> list[str]:
        return list(swaps.PEOPLE)[:4]

    async def run(self) -> Counter[str]:
        await self._meet_all()  # so that each knows whom the others trust
        return await super().run()

    def _random_act(self) -> Act:
        if self.rng.random() < 0.15:
            return self._wake(self.rng.choice(self.all).name)
        return super()._random_act()

    async def _wake(self, name: str) -> None:
        village = self.world.villages[name]
        await self._ask("wake", village, trade_escrow.wake)

    async def _meet_all(self) -> None:
        for one, other in permutations(self.all, 2):
            await self._meet(one, other)

    async def _until(self, done: Callable[[], bool], exchanges_max: int, what: str) -> None:
        for _ in range(ROUNDS_TO_END_MAX):
            if done():
                return
            for one, other in combinations(self.all, 2):
                await self._step([self._meet(one, other)])
                await self._step([self._meet(other, one)])
            for village in self.all:
                await self._step([self._wake(village.name)])
            self.world.now_ms += 60_000
        if not done():
            raise LawBroken("every trade ends", f"after {ROUNDS_TO_END_MAX} rounds, not: {what}")

    def _count_ends(self) -> None:
        super()._count_ends()
        for village in self.all:
            view = View(village.conn)
            for (subject,) in view.all("SELECT subject FROM subject"):
                certificate = councils.named(view, subject).certificate
                self.world.note(f"decided {certificate.value if certificate else 'nothing'}")
                if certificate and certificate.round:
                    self.world.note("decided in a later round")
                if councils.absents(view, subject):
                    self.world.note("absent")


def play(seed: int) -> tuple[Counter[str], str]:
    """Play one story; return what happened, counted, and the trace. What fails names its seed."""
    story = CouncilStory(seed)
    story.goes_on = seed % 4 == 3
    return swaps.play_story(story, seed)
