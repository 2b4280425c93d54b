"""Two real boxes after a trade is settled: goods delivered, disputed and refunded on the command
line, and power cuts at each of these steps."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from edge import control
from edge.errors import Refused, Unreachable, WrongState
from tests.integration.boxes import RealBox, befriend, until, village_edge
from tests.integration.crashing import LATER_STAGES

RECEIVER, GIVER = "ose-missouri-001", "ose-california-001"
REASON: Final = "Two panels are cracked."
POINTS = [
    (village, f"{when} {stage}")
    for village in (RECEIVER, GIVER)
    for stage in LATER_STAGES
    for when in ("before", "after")
]

Boxes = tuple[RealBox, RealBox]


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[Boxes]:
    made = RealBox(tmp_path, RECEIVER), RealBox(tmp_path, GIVER)
    yield made
    for box in made:
        box.end()


async def settled(boxes: Boxes, count: int, victim: str = "", point: str = "") -> list[str]:
    """Start both boxes; return the ids of trades in which panels go from Bob to Alice."""
    await asyncio.gather(*(box.start(point if box.village == victim else "") for box in boxes))
    a, b = boxes
    await a.ask(control.MemberAdd("Alice", "1234"))
    await a.ask(control.Issue("Alice", "500"))
    await b.ask(control.MemberAdd("Bob", "1234"))
    await b.ask(control.Declare("Bob", "Solar Panel", "5"))
    await befriend(a, b)
    await until(lambda: knows_catalogue(a), "the catalogue of the giver is synced")
    ids = []
    for _ in range(count):
        asked = control.TradePropose("Alice", "Bob", GIVER, ("AT", "100"), ("Solar Panel", "2"))
        ids.append(str((await a.ask(asked))["id"]))
        await accepted(b, ids[-1])
        await stand(boxes, ids[-1], "SETTLED")
    return ids


async def accepted(box: RealBox, id_: str) -> None:
    await until(lambda: box.trade(id_), "the proposal has come")
    await box.ask(control.TradeAccept(id_))


async def knows_catalogue(box: RealBox) -> bool:
    peers = (await box.ask(control.PeerList()))["neighbours"]
    return bool(peers) and peers[0]["records_held"] >= 4


async def stand(boxes: Boxes, id_: str, status: str) -> None:
    async def both() -> bool:
        found = [await box.trade(id_) for box in boxes]
        return all(each is not None and each["status"] == status for each in found)

    await until(both, f"{id_} is {status} in both villages")


async def cleared(boxes: Boxes) -> list[dict[str, str]]:
    """Return what each village owes the other, as the steward sees it."""
    found = []
    for box in boxes:
        [peer] = (await box.ask(control.PeerList()))["neighbours"]
        found.append({line["asset"]: line["balance"] for line in peer["lines"]})
    return found


async def test_delivered_disputed_and_refunded(boxes: Boxes) -> None:
    a, b = boxes
    came, cracked = await settled(boxes, 2)
    assert await cleared(boxes) == [
        {"AT": "200.00", "SOLAR-PANEL": "-4"},
        {"AT": "-200.00", "SOLAR-PANEL": "4"},
    ]
    with pytest.raises(Refused, match="to whom the goods come"):
        await b.ask(control.TradeDelivered(came))
    said = await a.ask(control.TradeDelivered(came[:6]))
    assert said["status"] == "DELIVERED" and "Delivered: 2 Solar Panel." in said["message"]
    await stand(boxes, came, "DELIVERED")
    assert [each["SOLAR-PANEL"] for each in await cleared(boxes)] == ["-2", "2"]

    done = village_edge("trade", "dispute", cracked, "--reason", REASON, "--dir", a.folder)
    assert done.code == 0, done.err
    assert "By Alice's word 2 Solar Panel did not come as agreed." in done.out
    assert f"written in {RECEIVER}: {REASON}" in done.out
    await stand(boxes, cracked, "DISPUTED")
    await until(lambda: is_written(b, cracked, {RECEIVER: REASON}), "the giver reads why")
    seen = village_edge("trade", "show", cracked, "--dir", b.folder).out
    assert "Alice disputes that 2 Solar Panel came as agreed." in seen and REASON in seen

    made = await b.ask(control.TradeRefund(cracked, id="refund-1"))
    assert (await b.ask(control.TradeRefund(cracked, id="refund-1")))["id"] == made["id"]
    assert made["refund_of"] == cracked and made["fee"] == "0.00"
    assert f"This is the refund of trade {cracked}." in made["message"]
    with pytest.raises(WrongState, match="there is a refund of it"):
        await b.ask(control.TradeRefund(cracked))
    await accepted(a, made["id"])
    await stand(boxes, made["id"], "SETTLED")
    for box in boxes:
        original = await box.trade(cracked)
        assert original["status"] == "SETTLED", "the dispute is over"
        assert original["refund"] == made["id"]
        assert f"It was refunded: trade {made['id']}." in original["message"]
    with pytest.raises(WrongState, match="it is refunded by trade"):
        await a.ask(control.TradeDelivered(cracked))
    assert await cleared(boxes) == [
        {"AT": "100.00", "SOLAR-PANEL": "0"},
        {"AT": "-100.00", "SOLAR-PANEL": "0"},
    ]
    await a.ask(control.TradeDispute(cracked, ""))
    await until(lambda: is_written(b, cracked, {}), "the giver has erased it, too")
    for box in boxes:
        assert "agree" in box.audit()
    for box in boxes:
        box.stop()
        for path in box.folder.iterdir():
            assert not path.is_file() or b"cracked" not in path.read_bytes(), path


async def is_written(box: RealBox, id_: str, texts: dict[str, str]) -> bool:
    found = await box.trade(id_)
    return bool(found["disputes"] == texts)


@pytest.mark.parametrize(("village", "point"), POINTS)
async def test_a_power_cut_at_each_step(boxes: Boxes, village: str, point: str) -> None:
    """Whatever was on the disk counts, and the other box comes to the same."""
    a, b = boxes
    victim = a if village == RECEIVER else b
    [id_] = await settled(boxes, 1, village, point)
    stage = point.split()[1]
    command: control.AnyCommand = control.TradeDelivered(id_)
    if stage == "disputed":
        command = control.TradeDispute(id_, REASON)
    first = await answer_of(a, command)
    await victim.died()
    await victim.start()
    if first is None and (await a.trade(id_))["status"] == "SETTLED":
        await a.ask(command)
    await stand(boxes, id_, stage.upper())
    if stage == "disputed":
        await until(lambda: is_written(b, id_, {RECEIVER: REASON}), "the giver reads why")
    panels = [each["SOLAR-PANEL"] for each in await cleared(boxes)]
    assert panels == (["0", "0"] if stage == "delivered" else ["-2", "2"])
    for box in boxes:
        assert "agree" in box.audit()


async def answer_of(box: RealBox, command: control.AnyCommand) -> Any:
    try:
        return await box.ask(command)
    except Unreachable:
        return None
