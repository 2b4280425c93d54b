"""One of four real boxes lies, with a genuine key and certificate: what holds for the other three.

Each trade between honest villages ends, both or neither, while the liar goes on lying. A trade that
the liar has a part in ends as well, after its deadline at the latest, or nobody is bound by it.
"""

import asyncio
import contextlib
import copy
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from itertools import combinations, permutations
from pathlib import Path
from typing import Final

import msgspec
import pytest

from edge import app, control
from edge.core import registry
from edge.errors import Refused
from edge.storage import logs, neighbours
from edge.storage.tx import OWN_LOG, View
from edge.transport import tls
from edge.transport.client import Endpoint
from tests.integration.boxes import RealBox, befriend, until, village_edge
from tests.integration.served import call
from tests.net.chaos import check_disks
from tests.net.liar import VARIABLE, Lies

NAMES: Final = ("ose-a-001", "ose-b-001", "ose-c-001", "ose-d-001")
*HONEST, LIAR = NAMES
A, B, C = HONEST
PERSON, GOOD, HAS = "Ada", "Apple", "1000"
HEARTBEAT: Final = "federation.heartbeat_s=0.2"
AHEAD_S: Final = 3_900  # of the honest clocks in the end: past every deadline
LIES: Final = {
    "equivocates": ("equivocates", "helps one", "votes far ahead"),
    "forges": ("forges", "mixes subjects", "says absent"),
    "silent": ("silent",),
    "replays": ("replays", "asks again"),
    "hides": ("says nothing", "hides its log"),
    "two logs": (),
}
_BOUND_AMONG: Final = (
    "SELECT count(*) FROM trade WHERE status IN ('PENDING', 'ACCEPTED', 'HELD') AND neighbour <> ?"
)
_BOUND: Final = "SELECT count(*) FROM trade WHERE status IN ('PENDING', 'ACCEPTED', 'HELD')"
_UNDECIDED: Final = "SELECT count(*) FROM subject WHERE certificate IS NULL"
_UNSAID: Final = "SELECT count(*) FROM trade WHERE closed = 0 AND neighbour <> ?"


class Four:
    """Four real boxes, all neighbours, whose people have everything; the last is to be a liar."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.boxes = {name: RealBox(home, name, [HEARTBEAT]) for name in NAMES}
        self.twin: RealBox | None = None
        self._turn_into_liar(self.liar, home / "lies.json")

    @property
    def liar(self) -> RealBox:
        return self.boxes[LIAR]

    @property
    def honest(self) -> list[RealBox]:
        return [self.boxes[name] for name in HONEST]

    def _turn_into_liar(self, box: RealBox, lies: Path) -> None:
        box.module, box.environment = "tests.net.liar", {VARIABLE: str(lies)}

    async def settle_in(self) -> None:
        await asyncio.gather(*(box.start() for box in self.boxes.values()))
        for one, other in combinations(self.boxes.values(), 2):
            await befriend(one, other)
        await asyncio.gather(*map(self._furnish, self.boxes.values()))
        await until(self._know_each_other, "each knows whom the others trust")

    async def _furnish(self, box: RealBox) -> None:
        await box.ask(control.MemberAdd(PERSON, "2468"))
        await box.ask(control.Issue(PERSON, HAS))
        await box.ask(control.Declare(PERSON, GOOD, HAS))

    async def _know_each_other(self) -> bool:
        exported = [await box.ask(control.ExportRegistry()) for box in self.boxes.values()]
        entries = [each for text in exported for each in registry.decode_list(text.encode())]
        return len(entries) == 16 and all(len(each.trusted_villages) == 3 for each in entries)

    def lie(self, *manners: str, deaf: tuple[str, ...] = (), twin: bool = False) -> None:
        """From now on."""
        path = self.home / ("twin.json" if twin else "lies.json")
        fresh = path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(Lies(manners, deaf)))
        fresh.replace(path)

    async def split(self) -> RealBox:
        """Make two boxes of the liar, with logs that go apart: one that A and B see, and the one
        that is returned, which C sees."""
        assert self.liar.stop() == 0
        twin = copy.copy(self.liar)
        twin.folder, twin.log = self.home / "twin", self.home / "twin.log"
        shutil.copytree(self.liar.folder, twin.folder)
        twin._settings = twin._settings | {"listen.federation": "127.0.0.1:0"}
        self._turn_into_liar(twin, self.home / "twin.json")
        self.lie(deaf=(C,))
        self.lie(deaf=(A, B), twin=True)
        self.twin = twin
        await asyncio.gather(self.liar.start(), twin.start())
        return twin

    async def propose(self, giver: str, taker: str) -> str:
        made = await self.boxes[giver].ask(
            control.TradePropose(PERSON, PERSON, taker, ("AT", "10"), (GOOD, "1"), deadline_hours=1)
        )
        return str(made["id"])

    async def heard(self, village: str, *ids: str) -> None:
        async def known() -> bool:
            return all([await self.boxes[village].trade(id_) for id_ in ids])

        await until(known, f"{village} has heard of {ids}")

    async def deal(self, giver: str, taker: str, *, withdraw: bool = False) -> str:
        """Propose and accept; if the giver withdraws at the same time, either may be first. A
        proposal whose council has a proven liar in it is refused: then it is made again."""
        id_ = await self.propose(giver, taker)
        await self.heard(taker, id_)
        steps = [self.boxes[taker].ask(control.TradeAccept(id_))]
        if withdraw:
            steps.append(self.boxes[giver].ask(control.TradeCancel(id_)))
        for answer in await asyncio.gather(*steps, return_exceptions=True):
            if isinstance(answer, BaseException) and not isinstance(answer, Refused):
                raise answer
            if isinstance(answer, Refused) and not withdraw:
                assert f"{LIAR} is to decide with others, and has broken the rules" in str(answer)
                await self.boxes[giver].ask(control.TradeCancel(id_))
                return await self.deal(giver, taker)
        return id_

    async def count(self, sql: str, *values: object) -> int:
        found = 0
        for box in self.honest:
            with self.disk(box) as conn:
                found += conn.execute(sql, values).fetchone()[0]
        return found

    async def none(self, sql: str, *values: object) -> bool:
        return await self.count(sql, *values) == 0

    async def have_all(self) -> bool:
        """Tell whether each honest box has all of the others' logs."""
        with contextlib.ExitStack() as stack:
            views = {box.village: View(stack.enter_context(self.disk(box))) for box in self.honest}
            return all(
                logs.size_of(view, copy.log) == logs.size_of(views[copy.village], OWN_LOG)
                for view in views.values()
                for copy in neighbours.everyone(view)
                if copy.village in views
            )

    @contextlib.contextmanager
    def disk(self, box: RealBox) -> Iterator[sqlite3.Connection]:
        path = f"file:{box.folder / app.LEDGER}?mode=ro"
        with contextlib.closing(sqlite3.connect(path, uri=True)) as conn:
            yield conn

    async def status(self, village: str, id_: str) -> str:
        found = await self.boxes[village].trade(id_)
        return str(found["status"]) if found else ""

    async def pass_deadlines(self) -> None:
        """Start the honest boxes again, by clocks that are beyond every deadline."""
        for box in self.honest:
            box.kill()
        await asyncio.gather(*(box.start(odd=f"clock +{AHEAD_S}") for box in self.honest))

    async def check(self) -> list[dict[bytes, str]]:
        """Stop the honest boxes and look at their disks alone."""
        for box in self.honest:
            assert box.stop() == 0, f"{box.village} did not stop cleanly"
            assert "Traceback" not in box.log.read_text(), box.log.read_text()
        audits = (asyncio.to_thread(box.audit) for box in self.honest)
        assert all("agree" in printed for printed in await asyncio.gather(*audits))
        with contextlib.ExitStack() as stack:
            disks = {box.village: stack.enter_context(self.disk(box)) for box in self.honest}
            return check_disks(disks, AHEAD_S)

    def end(self) -> None:
        for box in (*self.boxes.values(), self.twin):
            if box is not None:
                box.end()


@pytest.fixture
async def four(tmp_path: Path) -> AsyncIterator[Four]:
    made = Four(tmp_path)
    try:
        await made.settle_in()
        yield made
    finally:
        made.end()


@pytest.mark.parametrize("lie", LIES)
async def test_three_honest_boxes_and_a_liar(four: Four, lie: str) -> None:
    to_b, to_liar = await four.propose(LIAR, B), await four.propose(A, LIAR)
    withdrawn = await four.propose(LIAR, C)
    await four.heard(B, to_b)
    await four.heard(C, withdrawn)
    await four.heard(LIAR, to_liar)
    if lie == "two logs":
        other = await four.split()
        await other.ask(control.TradeCancel(to_b))
        await other.ask(control.TradeReject(to_liar))
    else:
        four.lie(*LIES[lie])
    *made, _, _, _ = await asyncio.gather(
        *(four.deal(one, other) for one, other in permutations(HONEST, 2)),
        *(four.deal(one, other, withdraw=True) for one, other in ((A, B), (C, B))),
        four.boxes[B].ask(control.TradeAccept(to_b)),
        four.liar.ask(control.TradeAccept(to_liar)),
        four.liar.ask(control.TradeCancel(withdrawn)),
    )
    await until(lambda: four.none(_BOUND_AMONG, LIAR), "every trade of honest villages has ended")
    ends = [await four.status(A, id_) for id_ in made[:2]]
    liar_known = lie == "equivocates"
    assert set(ends) <= ({"SETTLED", "ABORTED", "CANCELLED"} if liar_known else {"SETTLED"})
    if lie == "silent":  # until the deadline B is bound
        assert await four.status(B, to_b) == "ACCEPTED"

    if liar_known:
        await the_liar_is_named(four)

    await four.pass_deadlines()
    await until(lambda: four.none(_BOUND), "every trade with the liar has ended")
    await until(lambda: four.none(_UNDECIDED), "every subject is decided")
    await until(lambda: four.none(_UNSAID, LIAR), "honest villages have no more to say")
    await until(four.have_all, "honest villages have each other's logs")
    known = await four.check()
    for one_knows, other_knows in permutations(known, 2):
        both = one_knows.keys() & other_knows.keys()
        assert all(one_knows[subject] == other_knows[subject] for subject in both)
    assert liar_known or sum(value == "COMMIT" for value in known[0].values()) >= 6
    told = four.liar.log.read_text()
    assert all(f"lie: {manner}" in told for manner in LIES[lie] if manner != "silent")


async def the_liar_is_named(four: Four) -> None:
    """Each honest box holds proof, shows it, serves it, and writes it to a file."""

    async def known() -> bool:
        return all([await accused(box) == {LIAR} for box in four.honest])

    await until(known, "each honest box has proof")
    box = four.boxes[C]
    served = await call(await endpoint(box), "/federation/misbehaviour", method="GET")
    assert served.headers["cache-control"] == "public, max-age=60"
    path = four.home / "proofs.json"
    wrote = village_edge("export", "misbehaviour", "--dir", box.folder, "--output", path)
    assert (wrote.code, wrote.err) == (0, "")
    for file in (path, four.home / "served.json"):
        if file is not path:
            file.write_bytes(served.body)
        checked = village_edge("verify", file)
        assert (checked.code, checked.err) == (0, "")
        assert checked.out.startswith(f"All proofs hold.\n  {LIAR}  it signed two different ")
    status = await box.ask(control.Status())
    assert {each["village"] for each in status["misbehaviour"]} == {LIAR}
    log = box.log.read_text()
    assert f"{LIAR} has broken the rules of councils: it signed two different" in log


async def accused(box: RealBox) -> set[str]:
    known = (await box.ask(control.PeerList()))["neighbours"]
    return {each["village"] for each in known if each["misbehaviour"]}


async def endpoint(box: RealBox) -> Endpoint:
    url = (await box.ask(control.Status()))["federation_url"].removeprefix("https://")
    return Endpoint((url,), tls.spki_pin((box.folder / app.TLS_CERTIFICATE).read_bytes()))
