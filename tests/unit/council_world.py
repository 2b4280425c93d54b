"""A council in memory: 4 or 7 seats that run `advance`, a network that loses, repeats, reorders and
parts, seats that crash, and up to f liars. One seed is one whole story, in virtual time.

An honest seat does as the product does: it stores its state and its own words at once, says nothing
before that, keeps what it hears except words of rounds too far ahead, says its words and those of
others again until they are received, and after a restart begins its waits anew. The laws are
checked at every word. Then the network heals, and everyone has to decide within a bound.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

import msgspec

from edge.core import council, crypto
from edge.core.council import Certificate, Known, Proposal, Step, Subject, Value, Vote
from edge.errors import BadProof

Key = tuple[object, ...]
# Seeds of every kind, or of the two worst ones: a liar that locks one seat after the other, and two
# liars with two faces between two halves that cannot hear each other.
Story = Literal["any", "locks", "torn"]
Message = Vote | Proposal | Certificate | Value

NETWORK: Final = bytes(range(32))
ID: Final = bytes(reversed(range(32)))
TICK_MS: Final = 10
DELAYS_AFTER_MS: Final = (20, 20, 200, 15_000, 600_000)  # once healed, in this or that story
MANNERS: Final = (
    *("silent", "locks", "locks", "locks", "helps", "wild", "far"),
    *("two faces", "two faces", "two faces", "forgetful"),
)
BUDGET: Final = 150  # of one liar's messages
VALUES: Final[tuple[Value, ...]] = ("COMMIT", "ABORT")
STEPS: Final[tuple[Step, ...]] = ("prevote", "precommit")
KEYS: Final = {
    f"ose-village-{number:03}": crypto.SecretKey(bytes([number] * 32)) for number in range(1, 8)
}


class LawBroken(AssertionError):
    def __init__(self, law: str, seed: int, what: str) -> None:
        super().__init__(f"{law}: {what} (seed={seed})")
        self.law = law


class Packet(msgspec.Struct):
    sender: str
    messages: dict[Key, Message]


class Seat:
    """One seat's box, or one of the two faces of a liar."""

    def __init__(self, world: "World", village: str, *, honest: bool = True) -> None:
        self.world, self.village, self.honest = world, village, honest
        self.key = KEYS[village]
        self.up = True
        self.state = council.State()
        self.have: dict[Key, Message] = {}
        self.votes: list[Vote] = []
        self.proposals: list[Proposal] = []
        self.provable: frozenset[Value] = frozenset()
        self.reached: dict[str, int] = {}
        self.told: dict[str, set[Key]] = {other: set() for other in world.villages}
        self.hears = [other for other in world.villages if other != village]
        self.forgets = False  # a liar that is not bound by what it said
        self.ahead_ms = world.rng.randint(0, 10**9)  # this seat's clock is anything

    @property
    def certificate(self) -> Certificate | None:
        found = self.have.get(("certificate",))
        return found if isinstance(found, Certificate) else None

    @property
    def now_ms(self) -> int:
        return self.world.now_ms + self.ahead_ms

    def hear(self, packet: Packet) -> None:
        """Keep what is new. The answer tells the sender what was not kept."""
        if not self.up:
            return self.world.note_lost(packet, self.village, packet.messages)
        kept = {k for k, m in packet.messages.items() if k in self.have or self._keep(k, m)}
        self.told[packet.sender] |= kept
        self.world.note_lost(packet, self.village, packet.messages.keys() - kept)
        self.world.wake(self, packet.sender)
        return None

    def _keep(self, key: Key, message: Message) -> bool:
        if isinstance(message, (Vote, Proposal)):
            before = self.reached.get(message.village, -1)
            self.reached[message.village] = max(before, message.round)
            if message.round > self.state.round + self.world.rounds_ahead:
                return False
        self._store(key, message)
        return True

    def _store(self, key: Key, message: Message) -> None:
        self.have[key] = message
        if isinstance(message, Vote):
            self.votes.append(message)
        elif isinstance(message, Proposal):
            self.proposals.append(message)
        elif not isinstance(message, Certificate):
            self.provable |= {message}

    def turn(self) -> None:
        """Do what is due; store; say it."""
        if not self.up:
            return None
        was = self.state.round
        said: Sequence[Vote | Proposal] = ()
        if self.certificate is None:
            moved = self._advance()
            crash = self.honest and self.world.crashes()
            if crash and self.world.rng.random() < 0.5:
                return self.world.crash(self)  # before anything is stored
            self.state = moved.state
            said = (*moved.votes, *moved.proposals)
            for message in said:
                self._store(self.world.key_of(message), message)
                self.world.count(message)
            if moved.certificate is not None:
                self.have[("certificate",)] = moved.certificate
            if self.honest:
                self.world.check(self, said)
            if crash:
                return self.world.crash(self)  # stored, and not yet said
            self.world.wake_at(self, self.state.wakes_ms)
        self.talk(to_all=self.state.round != was)
        if self.honest:
            for liar in self.world.liars:
                liar.overhear(self, said)
        return None

    def _advance(self) -> council.Moved:
        if self.forgets:
            state = self.state
            self.state = council.State(state.round, state.phase, None, -1, None, -1, *_waits(state))
        known = Known(tuple(self.votes), tuple(self.proposals), self.provable, self.reached)
        world = self.world
        return council.advance(
            world.subject, self.village, self.key, self.state, known, self.now_ms
        )

    def talk(self, to_all: bool = False) -> None:
        for other in self.hears:
            self.tell(other, greet=to_all)

    def tell(self, other: str, greet: bool = False) -> None:
        """Say all that the other lacks, as far as is known; once decided, the certificate alone."""
        decided = self.certificate
        have: dict[Key, Message] = {("certificate",): decided} if decided else self.have
        told = self.told[other]
        lacking = {key: message for key, message in have.items() if key not in told}
        if lacking or (greet and not decided):
            self.told[other] |= lacking.keys()
            self.world.send(Packet(self.village, lacking), other)


class Liar:
    """A Byzantine seat. It hears every honest word at once and has every proof that there is."""

    def __init__(self, world: "World", village: str) -> None:
        self.world, self.village = world, village
        rng = world.rng
        self.manner = rng.choice((world.manner, rng.choice(MANNERS)))
        if world.story != "any":
            self.manner = world.manner
        self.budget = BUDGET
        self.past: list[Packet] = []
        self.proposed: set[int] = set()
        self.locked: set[tuple[int, str]] = set()
        self.other: Value | None = None  # than the one that an honest seat is locked on
        self.faces: list[Seat] = []
        others = [other for other in world.villages if other != village]
        if self.manner == "two faces":
            self._put_on([other for other in others if world.side.get(other) != 1], "COMMIT")
            self._put_on([other for other in others if world.side.get(other) != 0], "ABORT")
        elif self.manner == "forgetful":
            self._put_on(others, rng.choice(VALUES))
            self.faces[0].forgets = True

    def _put_on(self, hears: list[str], value: Value) -> None:
        face = Seat(self.world, self.village, honest=False)
        face.hears, face.provable = hears, frozenset({value})
        face.have["evidence", value] = value
        self.faces.append(face)

    def overhear(self, seat: Seat, said: Sequence[Vote | Proposal]) -> None:
        if self.manner in ("locks", "helps", "wild", "far"):
            for word in said:
                self._answer(seat, word)

    def _answer(self, seat: Seat, word: Vote | Proposal) -> None:
        rng = self.world.rng
        if isinstance(word, Vote):
            {"locks": self._lock, "helps": self._help, "wild": self._rave, "far": self._lead}[
                self.manner
            ](seat, word)
        elif self.manner != "locks":
            self._vote("prevote", word.round, word.value)
        for round_ in (word.round, word.round + 1):
            if self.world.subject.proposer(round_) == self.village:
                self._propose(round_)
        if self.past and rng.random() < 0.1:
            self._send(rng.choice(self.past), rng.choice(self.world.villages))

    def _help(self, seat: Seat, word: Vote) -> None:
        self._vote(word.step, word.round, word.value, first=seat.village)
        if self.world.rng.random() < 0.3:
            self._vote("precommit", word.round, word.value, first=seat.village)

    def _rave(self, _: Seat, word: Vote) -> None:
        rng = self.world.rng
        round_ = max(0, word.round + rng.randint(-2, 2))
        self._vote(rng.choice(STEPS), round_, rng.choice((*VALUES, None)))

    def _lead(self, _: Seat, word: Vote) -> None:
        rng = self.world.rng
        if rng.random() < 0.2:
            self._vote("prevote", rng.choice((word.round + 1, word.round + 3, 9_999)), None)

    def _lock(self, _: Seat, word: Vote) -> None:
        """Make one seat precommit what no other seat will, by a prevote for its eyes alone."""
        alone = self.world.villages[hash((word.round, self.world.seed)) % len(self.world.villages)]
        if word.step == "prevote" and word.value and (word.round, alone) not in self.locked:
            self.locked.add((word.round, alone))
            self.other = "ABORT" if word.value == "COMMIT" else "COMMIT"
            for village in self.world.villages:
                value = word.value if village == alone else None
                self._send(self._packet(self._vote_of("prevote", word.round, value)), village)
        elif word.step == "precommit" and word.value is None:
            self._vote("precommit", word.round, None)

    def _vote(self, step: Step, round_: int, value: Value | None, first: str = "") -> None:
        """Say this to `first` and to some of the others, and something else to the rest."""
        rng = self.world.rng
        other = rng.choice([each for each in (*VALUES, None) if each != value])
        share = rng.choice((0.0, 0.3, 0.5, 1.0))
        one, two = (self._vote_of(step, round_, each) for each in (value, other))
        for village in self.world.villages:
            helped = village == first or rng.random() < share
            self._send(self._packet(one if helped else two), village)

    def _vote_of(self, step: Step, round_: int, value: Value | None) -> Vote:
        signed = council.vote_bytes(NETWORK, ID, round_, step, value)
        vote = Vote(self.village, round_, step, value, KEYS[self.village].sign(signed))
        self.world.count(vote)
        return vote

    def _propose(self, round_: int) -> None:
        if round_ in self.proposed:
            return
        self.proposed.add(round_)
        rng = self.world.rng
        proposals = [
            self._proposal_of(
                round_, self.other or value, rng.choice((-1, round_ - 1)) if round_ else -1
            )
            for value in VALUES
        ]
        for village in self.world.villages:
            packet = self._packet(rng.choice(proposals))
            value = rng.choice(VALUES)
            packet.messages["evidence", value] = value
            self._send(packet, village)

    def _proposal_of(self, round_: int, value: Value, valid_round: int) -> Proposal:
        signed = council.proposal_bytes(NETWORK, ID, round_, value, valid_round)
        signature = KEYS[self.village].sign(signed)
        return Proposal(self.village, round_, value, valid_round, signature)

    def _packet(self, word: Vote | Proposal) -> Packet:
        return Packet(self.village, {self.world.key_of(word): word})

    def _send(self, packet: Packet, village: str) -> None:
        if self.budget and village != self.village:
            self.budget -= 1
            self.past.append(packet)
            self.world.send(packet, village)


class World:
    """One seed's council. `run` plays it to its end, or raises LawBroken."""

    keeps_every_word = True  # of a liar that says two

    def __init__(self, seed: int, story: Story = "any") -> None:
        self.seed, self.story, self.rng = seed, story, random.Random(seed)
        rng = self.rng
        count = {"any": rng.choice((4, 4, 7)), "locks": 4, "torn": 7}[story]
        self.villages = list(KEYS)[:count]
        self.manner = {"any": rng.choice(MANNERS), "locks": "locks", "torn": "two faces"}[story]
        seats = tuple(council.Seat(village, KEYS[village].public) for village in self.villages)
        self.subject = Subject(NETWORK, ID, seats, rng.choice((0, 600)))
        self.now_ms = 0
        self.liars_max = (count - 1) // 3
        self.heals_ms = rng.choice((0, 10_000, 60_000, 60_000, 400_000))
        self.loss = rng.choice((0.0, 0.1, 0.3, 0.5))
        self.loss_of_proof = rng.choice((0.0, 0.9))
        self.crash_rate = rng.choice((0.0, 0.0, 0.03, 0.1))
        self.delay_ms = rng.choice((20, 500, 2_000, 8_000))
        self.delay_after_ms = rng.choice(DELAYS_AFTER_MS)
        self.rounds_ahead = rng.choice((0, 1, 16))
        self.counts: Counter[str] = Counter()
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = 0
        self._due: dict[int, tuple[Seat, set[str]]] = {}
        self._parted: dict[str, int] = {}
        self._choose_seats()
        self._choose_proofs()
        self._laws()

    def _choose_seats(self) -> None:
        """Up to f faulty seats: liars, and honest ones that die early and never come back."""
        rng, liars_max = self.rng, self.liars_max
        count = rng.choice((liars_max, liars_max, liars_max, 0))
        faulty = rng.sample(self.villages, count if self.story == "any" else liars_max)
        dead = {village for village in faulty if self.story == "any" and rng.random() < 0.15}
        honest = [
            each for each in rng.sample(self.villages, len(self.villages)) if each not in faulty
        ]
        self.side = {village: at % 2 for at, village in enumerate(honest)}
        self.liars = [Liar(self, village) for village in faulty if village not in dead]
        lying = {liar.village for liar in self.liars}
        self.honest = [Seat(self, each) for each in self.villages if each not in lying]
        self.seats = {seat.village: [seat] for seat in self.honest}
        self.seats |= {liar.village: liar.faces for liar in self.liars}
        self.alive = [seat for seat in self.honest if seat.village not in dead]
        for village in sorted(dead):
            self._at(rng.randint(0, self.heals_ms // 2), lambda v=village: self._kill(v))  # type: ignore[misc]

    def _choose_proofs(self) -> None:
        """Each value that is provable at all becomes so at some seats, at different times. A value
        contested by the other comes later, and then one seat or another may be locked already."""
        rng = self.rng
        values = rng.choice((VALUES[:1], VALUES[1:], VALUES, VALUES, VALUES[::-1], VALUES[::-1]))
        if self.story != "any":
            values = rng.choice((VALUES, VALUES[::-1]))
        self.real = frozenset(values)
        contested = (
            len(values) == 2 and rng.random() < {"any": 0.7, "locks": 1, "torn": 0}[self.story]
        )
        if contested:
            self.loss_of_proof = 0.95
            self.heals_ms = max(self.heals_ms, 60_000)
        begins = 0
        for value in values:
            last = begins + rng.choice((0, 1_000, 10_000))
            few = self.subject.quorum - self.liars_max if contested else 1
            count = rng.choice((few, len(self.alive), rng.randint(few, len(self.alive))))
            if self.story == "torn" or (self.story == "locks" and value == values[1]):
                count = len(self.alive)
            for seat in rng.sample(self.alive, count):
                at = rng.randint(begins, min(last, self.heals_ms))
                self._at(at, lambda s=seat, v=value: self._prove(s, v))  # type: ignore[misc]
            begins = rng.choice((500, 5_000, 20_000)) if contested else 0

    def run(self) -> "World":
        for seat in self._all():
            self.wake(seat)
        self._part()
        for seat in self.alive:
            self._at(self.rng.randint(0, 30_000), lambda s=seat: self._meet(s))  # type: ignore[misc]
        self._at(self.heals_ms, self._heal)
        while not all(seat.certificate for seat in self.alive):
            self._step()
        self.counts["rounds"] = max(seat.state.round for seat in self.honest)
        return self

    def _step(self) -> None:
        if not self._queue or self.now_ms > self.ends_ms:
            waiting = [seat.village for seat in self.alive if not seat.certificate]
            rounds = [seat.state.round for seat in self.alive]
            raise LawBroken("everyone decides", self.seed, f"{waiting} wait, in rounds {rounds}")
        self.now_ms = self._queue[0][0]
        while self._queue and self._queue[0][0] == self.now_ms:
            heapq.heappop(self._queue)[2]()
        due, self._due = self._due, {}
        for seat, heard in due.values():
            seat.turn()
            for other in sorted(heard & set(seat.hears)):
                seat.tell(other)

    # The network and time

    def _at(self, at_ms: int, do: Callable[[], None]) -> None:
        self._serial += 1
        at_ms = -(-max(at_ms, self.now_ms) // TICK_MS) * TICK_MS
        heapq.heappush(self._queue, (at_ms, self._serial, do))

    def wake(self, seat: Seat, heard: str = "") -> None:
        self._due.setdefault(id(seat), (seat, set()))[1].add(heard)

    def wake_at(self, seat: Seat, wakes_ms: int | None) -> None:
        if wakes_ms is not None:
            self._at(wakes_ms - seat.ahead_ms, lambda: self._ring(seat, wakes_ms))

    def _ring(self, seat: Seat, wakes_ms: int) -> None:
        if seat.up and seat.state.wakes_ms == wakes_ms:
            self.wake(seat)

    def send(self, packet: Packet, to: str) -> None:
        rng = self.rng
        if self.now_ms >= self.heals_ms:
            return self._arrive(packet, to, rng.randint(1, self.delay_after_ms))
        among_honest = not {packet.sender, to} & {liar.village for liar in self.liars}
        parted = among_honest and self._parted.get(packet.sender) != self._parted.get(to)
        if rng.random() < (0.95 if parted else self.loss * among_honest):
            return self.note_lost(packet, to, packet.messages)
        for _ in range(rng.choice((1, 1, 1, 2))):
            late = rng.random() < 0.05
            self._arrive(packet, to, rng.randint(1, 300_000 if late else self.delay_ms))
        return None

    def _arrive(self, packet: Packet, to: str, after_ms: int) -> None:
        self._at(self.now_ms + after_ms, lambda: self._deliver(packet, to))

    def _deliver(self, packet: Packet, to: str) -> None:
        for seat in self.seats[to]:
            if packet.sender in seat.hears:
                checked = {k: m for k, m in packet.messages.items() if self._holds(m)}
                seat.hear(Packet(packet.sender, checked))

    def _holds(self, message: Message) -> bool:
        """Nobody can show proof of what is not so, and proof is long: it may not arrive yet."""
        if isinstance(message, (Vote, Proposal, Certificate)):
            return True
        late = self.now_ms < self.heals_ms and self.rng.random() < self.loss_of_proof
        return message in self.real and not late

    def note_lost(self, packet: Packet, to: str, keys: Iterable[Key]) -> None:
        """It will be said again at the next contact."""
        for seat in self.seats[packet.sender]:
            seat.told[to].difference_update(keys)

    def key_of(self, message: Vote | Proposal) -> Key:
        if isinstance(message, Proposal):
            return ("proposal", message.round)  # the proposer's first word stays
        key = ("vote", message.village, message.round, message.step)
        return (*key, message.value) if self.keeps_every_word else key

    # Trouble

    def _part(self) -> None:
        if self.now_ms < self.heals_ms:
            sides = 2 if self.story == "torn" else self.rng.choice((1, 2, 2, 3))
            self._parted = {village: self.rng.randrange(sides) for village in self.villages}
            if self.story == "torn":
                self._parted = self.side
            self._at(self.now_ms + self.rng.randint(500, 60_000), self._part)

    def _meet(self, seat: Seat) -> None:
        if self.now_ms < self.heals_ms:
            if seat.up:
                other = self.rng.choice(seat.hears)
                seat.told[other].difference_update(("evidence", value) for value in VALUES)
                seat.tell(other, greet=True)
            self._at(self.now_ms + self.rng.randint(5_000, 60_000), lambda: self._meet(seat))

    def _prove(self, seat: Seat, value: Value) -> None:
        if seat.up:
            seat.hear(Packet(seat.village, {("evidence", value): value}))
        else:
            self._at(self.now_ms + 500, lambda: self._prove(seat, value))

    def crashes(self) -> bool:
        return self.now_ms < self.heals_ms and self.rng.random() < self.crash_rate

    def crash(self, seat: Seat) -> None:
        seat.up = False
        self.counts["crashes"] += 1
        if seat in self.alive:
            self._at(self.now_ms + self.rng.randint(10, 20_000), lambda: self.restart(seat))

    def restart(self, seat: Seat) -> None:
        if seat.up:
            return
        seat.up = True
        seat.ahead_ms = self.rng.randint(0, 10**9)
        seat.state = council.begin_waits_anew(self.subject, seat.state, seat.now_ms)
        self.wake_at(seat, seat.state.wakes_ms)
        self.wake(seat)

    def _kill(self, village: str) -> None:
        self.seats[village][0].up = False

    def _heal(self) -> None:
        """From here on every packet arrives, and whoever is to live is up. The bound: the greatest
        round so far, or the first whose waits are long for this network; then the one under way and
        f of liars, at most."""
        window_s = self.subject.window_s
        for seat in self.alive:
            self.restart(seat)
            self.wake(seat)
            seat.told = {other: set() for other in self.villages}  # what was not answered
            seat.talk(to_all=True)
        began = max(0, *(seat.state.round for seat in self.alive))
        slow = next(
            round_
            for round_ in range(99)
            if council.TIMEOUT_MS << round_ >= 4 * self.delay_after_ms
        )
        self.rounds_until = max(began, slow) + self.liars_max + 1
        waits = sum(_wait_ms(round_, window_s) for round_ in range(began, self.rounds_until + 1))
        self.ends_ms = self.now_ms + 3 * waits + 20 * self.delay_after_ms

    def _all(self) -> Iterable[Seat]:
        return [seat for seats in self.seats.values() for seat in seats]

    # The laws

    def _laws(self) -> None:
        self.ends_ms = self.heals_ms
        self.rounds_until = 10**6
        self._voters: dict[tuple[int, Step, Value | None], set[str]] = {}
        self._words: dict[tuple[str, int, str], Vote | Proposal] = {}
        self._locks: dict[str, Vote] = {}
        self._checked: set[Certificate] = set()

    def check(self, seat: Seat, said: Sequence[Vote | Proposal]) -> None:
        """Check what an honest seat has stored, and so will say."""
        for word in said:
            self._check_word(seat, word)
        for word in said:
            if isinstance(word, Vote):
                self._check_vote(word)
        round_ = seat.state.round
        if round_ > 0 and not self._left(round_ - 1):
            self._broken("a quorum leaves a round", f"{seat.village} began {round_} too early")
        if round_ > self.rounds_until:
            self._broken("everyone decides", f"{seat.village} is in round {round_}")
        certificate = seat.certificate
        if certificate is not None and certificate not in self._checked:
            self._check_certificate(certificate)

    def _check_word(self, seat: Seat, word: Vote | Proposal) -> None:
        kind = word.step if isinstance(word, Vote) else "proposal"
        before = self._words.setdefault((word.village, word.round, kind), word)
        if council.contradict(before, word):
            self._broken("no second word", f"{before} and {word}")
        if word.value is not None and word.value not in seat.provable:
            self._broken("proven values only", f"{word}")

    def _check_vote(self, vote: Vote) -> None:
        """A lock holds until a quorum has prevoted for another value in its round or later."""
        value, lock = vote.value, self._locks.get(vote.village)
        if value is None:
            return
        if lock is not None and value != lock.value:
            since = range(lock.round, vote.round + (vote.step == "precommit"))
            if not any(self._has_quorum(round_, "prevote", value) for round_ in since):
                self._broken("locks hold", f"{lock} and {vote}")
        if vote.step == "precommit":
            self._locks[vote.village] = vote
            if not self._has_quorum(vote.round, "prevote", value):
                self._broken("a quorum prevotes first", f"{vote}")

    def _check_certificate(self, certificate: Certificate) -> None:
        self._checked.add(certificate)
        self.counts[certificate.value] += 1
        try:
            council.verify_certificate(certificate, NETWORK, ID, self.subject.seats)
        except BadProof as error:
            self._broken("certificates hold", f"{certificate}: {error}")
        if len({each.value for each in self._checked}) > 1:
            self._broken("one decision", f"{self._checked}")
        if not any(certificate.value in seat.provable for seat in self.honest):
            self._broken("proven values only", f"{certificate}")

    def count(self, vote: Vote | Proposal) -> None:
        """Count every vote that was ever signed by anyone: no two quorums may be in there."""
        if isinstance(vote, Proposal):
            return
        place = (vote.round, vote.step, vote.value)
        voters = self._voters.setdefault(place, set())
        if vote.village in voters:
            return
        voters.add(vote.village)
        if vote.step == "precommit" and vote.value and len(voters) >= self.subject.quorum:
            self._decided = getattr(self, "_decided", vote.value)
            if self._decided != vote.value:
                self._broken("one decision", f"{self._decided} and {vote.value}")

    def _has_quorum(self, round_: int, step: Step, value: Value | None) -> bool:
        return len(self._voters.get((round_, step, value), ())) >= self.subject.quorum

    def _left(self, round_: int) -> bool:
        values: tuple[Value | None, ...] = (*VALUES, None)
        found = (self._voters.get((round_, "precommit", value), set()) for value in values)
        return len(set().union(*found)) >= self.subject.quorum

    def _broken(self, law: str, what: str) -> None:
        raise LawBroken(law, self.seed, what)


def _waits(state: council.State) -> tuple[int, int, int]:
    return state.propose_ms, state.prevote_ms, state.precommit_ms


def _wait_ms(round_: int, window_s: int) -> int:
    """Return what `timeout_ms` promises, by itself."""
    return int(min(2_000 * 2**round_, max(86_400_000, 4_000 * window_s)))
