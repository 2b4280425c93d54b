"""A random federation of four of which one lies: as in councils.py, with the same laws for the
other three, whose trades with each other and with the liar all end."""

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import permutations
from typing import Final

from edge import trade_escrow
from edge.core.trade import Proposal
from edge.errors import BoxError, PeerError, Refused, Unreachable
from edge.storage import members, trades
from edge.storage.audit import audit
from edge.storage.tx import Tx, View
from tests.simulation import swaps
from tests.simulation.council_liar import TWISTS, Liar
from tests.simulation.councils import ROUNDS_TO_END_MAX, CouncilStory
from tests.simulation.laws import LawBroken
from tests.simulation.swaps import DAY_MS, MINUTE_MS, Act
from tests.simulation.world import Village

STEPS: Final = 36
MANNERS: Final = tuple(TWISTS)


class LyingStory(CouncilStory):
    """One seed's story. `manners` are the liar's, chosen by the seed if none are given."""

    def __init__(self, seed: int, manners: Iterable[str] = ()) -> None:
        super().__init__(seed)
        self._manners = tuple(manners)
        self._liar: Liar | None = None

    @property
    def _lying(self) -> Liar:
        assert self._liar is not None
        return self._liar

    async def run(self) -> Counter[str]:
        await self._meet_all()
        self._turn()
        self._make_trouble()
        for _ in range(STEPS):
            for village in self.all:
                if not village.up and self.rng.random() < 0.5:
                    self._restart(village)
            count = self.rng.choice((1, 2, 3))
            await self._step([self._random_act() for _ in range(count)])
        await self._heal()
        self._count_ends()
        return self.world.counts

    def _turn(self) -> None:
        """Make a liar of one village."""
        rng = self.rng
        village = rng.choice(self.all)
        manners = self._manners or rng.sample(MANNERS, rng.choice((1, 2, 3)))
        faces = 2 if "two logs" in manners else 1
        self.all.remove(village)
        self.world.after_commit = self._committed
        self._liar = Liar(village, manners, rng.choice((0.3, 0.7, 1.0)), faces)
        self._liar.shown = {each.name: rng.choice(self._liar.faces) for each in self.all}
        self.laws.books.pop(village.name, None)

    def _committed(self, village: Village) -> None:
        if village.name in self.world.villages:
            self.laws.committed(village)

    async def _step(self, acts: list[Act]) -> None:
        """As ever; besides, a box may be audited at any moment."""
        await super()._step(acts)
        if self.rng.random() < 0.1:
            audit(View(self.rng.choice(self.all).conn))

    def _random_act(self) -> Act:
        if self.rng.random() >= 0.4:
            return super()._random_act()
        name = self.rng.choice(self.all).name
        acts = (
            lambda: self._dial(name),
            lambda: self._call_liar(name),
            self._trade_with,
            self._liar_moves,
            self._liar_moves,
        )
        self._lying.silent = self.rng.random() < 0.1
        return self.rng.choice(acts)()

    def _trade_with(self) -> Act:
        """One of the people of an honest village proposes to the liar, or one of the liar's."""
        rng = self.rng
        village = rng.choice(self.all)
        face = self._lying.face_for(village.name)
        proposer, other = rng.choice(((village, face), (face, village)))
        giver, taker = (rng.choice(self.people[each.name]) for each in (proposer, other))
        token, goods = ("AT", str(rng.randint(1, 40))), self._goods(proposer, other)
        offer, request = rng.choice(((token, goods), (goods, token)))
        proposal = Proposal(other.name, taker, offer, request)

        def propose(tx: Tx) -> None:
            made = trade_escrow.propose(tx, members.named(tx, giver), proposal)
            if len(made.terms.seats) == 2:  # there a silent liar blocks, as the page says
                raise Refused("no council")

        return self._of_liar("propose with a liar", proposer, propose)

    def _liar_moves(self) -> Act:
        """The liar's people accept or cancel, in one of its two logs or in both."""
        rng = self.rng
        face = rng.choice(self._lying.faces)
        do, role = rng.choice(((trade_escrow.accept, "to"),) * 2 + ((trade_escrow.cancel, "from"),))

        def move(tx: Tx) -> None:
            mine = [each for each in trades.everyone(tx) if each.role == role and each.member]
            asked = [each for each in mine if each.status == "PENDING"]
            if asked:
                known = rng.choice(asked)
                assert known.member is not None
                member = members.by_id(tx, known.member)
                assert member is not None
                do(tx, member, known)

        return self._of_liar("the liar moves", face, move)

    async def _of_liar(self, what: str, village: Village, fn: Callable[[Tx], object]) -> None:
        if village.up:
            try:
                await village.runner.write(fn)
            except BoxError as error:
                self.world.note(f"{what}: {error.slug}")
            else:
                self.world.note(what)

    async def _call_liar(self, name: str) -> None:
        """An honest village calls the liar, and may refuse all that it answers."""
        village = self.world.villages[name]
        if village.up:
            try:
                await village.client.exchange(self._lying.name)
            except (PeerError, Refused, Unreachable) as error:
                self.world.note(f"the liar is refused: {error.slug}")

    async def _dial(self, name: str) -> None:
        if not await self._lying.dial(name):
            self.world.note("the liar is refused")

    async def _replay(self) -> None:
        """Deliver an old message again, unless a liar has a part in it: what it says may be refused
        at any time."""
        if not self.world.letters:
            return
        letter = self.rng.choice(self.world.letters)
        try:
            await self.world.deliver(letter)
        except Unreachable:
            return
        except (PeerError, Refused) as error:
            if self._lying.name not in (letter.sender, letter.receiver):
                self._refused(error)
        self.world.note("replayed message")

    async def _clock(self) -> None:
        """Minutes only: a seat that nobody has heard from lately would leave trades to two."""
        self.world.now_ms += self.rng.choice((1_000, MINUTE_MS))

    # Healing

    async def _heal(self) -> None:
        """Trades between honest villages end at once; those with the liar, whose hold may never be
        proven, after their deadlines."""
        self.world.loss = self.world.repeat = 0.0
        for village in self.all:
            village.crash_in = None
            if not village.up:
                self._restart(village)
        self._lying.silent = self.rng.random() < 0.3
        among = ", ".join(f"'{each.name}'" for each in self.all)
        theirs = f"status IN ('ACCEPTED', 'HELD') AND neighbour IN ({among})"
        await self._until(lambda: not self._count(theirs), 0, "every bound trade ended")
        self.world.now_ms += 9 * DAY_MS
        await self._step([self._expire_all()])
        await self._until(self._bound_ended, 0, "every trade with the liar ended")
        await self._until(self._is_quiet, 0, "nobody has more to say")
        await self._until(self._all_decided, 0, "every subject is decided")
        self.laws.at_rest()

    def _all_decided(self) -> bool:
        sql = "SELECT 1 FROM subject WHERE certificate IS NULL"
        return not any(village.conn.execute(sql).fetchone() for village in self.all)

    async def _until(self, done: Callable[[], bool], exchanges_max: int, what: str) -> None:
        """As ever, and the liar goes on lying."""
        for _ in range(ROUNDS_TO_END_MAX):
            if done():
                return
            for village in self.all:
                await self._step([self._call_liar(village.name)])
                await self._step([self._dial(village.name)])
            for one, other in permutations(self.all, 2):
                await self._step([self._meet(one, other)])
            for village in self.all:
                await self._step([self._wake(village.name)])
            self.world.now_ms += MINUTE_MS
        if not done():
            raise LawBroken("every trade ends", f"after {ROUNDS_TO_END_MAX} rounds, not: {what}")


def play(seed: int, *manners: str) -> Counter[str]:
    """Play one story; return what happened, counted. What fails names its seed."""
    return swaps.play_story(LyingStory(seed, manners), seed)[0]
