"""kill -9 of either box at every named point of a trade, then a restart: both settle or neither."""

import asyncio
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge import control
from edge.errors import Unreachable
from tests.integration.boxes import RealBox, befriend, until
from tests.integration.crashing import STAGES

PROPOSER, ACCEPTOR = "ose-missouri-001", "ose-california-001"
POINTS = [
    (village, f"{when} {stage}")
    for village, stages in (
        (PROPOSER, ("kept", "told", "held", "settled", "closed")),
        (ACCEPTOR, ("kept", "accepted", "voted", "settled", "closed")),
    )
    for stage in stages
    for when in ("before", "after")
]


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[dict[str, RealBox]]:
    made = {village: RealBox(tmp_path, village) for village in (PROPOSER, ACCEPTOR)}
    yield made
    for box in made.values():
        box.end()


async def open_for_trade(boxes: dict[str, RealBox], victim: str, point: str) -> None:
    """Start both boxes, the victim with its crash point, and make them neighbours with something to
    trade."""
    starts = [box.start(point if box.village == victim else "") for box in boxes.values()]
    await asyncio.gather(*starts)
    proposer, acceptor = boxes[PROPOSER], boxes[ACCEPTOR]
    await proposer.ask(control.MemberAdd("Alice", "1234"))
    await proposer.ask(control.Issue("Alice", "500"))
    await acceptor.ask(control.MemberAdd("Bob", "1234"))
    await acceptor.ask(control.Declare("Bob", "Solar Panel", "1"))
    await befriend(proposer, acceptor)
    await until(lambda: knows_catalogue(proposer), "the catalogue of the acceptor is synced")


def test_every_stage_is_tried() -> None:
    assert len(POINTS) >= 12
    assert {point.split()[1] for _, point in POINTS} == set(STAGES)


@pytest.mark.parametrize(("village", "point"), POINTS)
async def test_both_or_neither(boxes: dict[str, RealBox], village: str, point: str) -> None:
    proposer, acceptor, victim = boxes[PROPOSER], boxes[ACCEPTOR], boxes[village]
    await open_for_trade(boxes, village, point)
    id_ = await propose(proposer, victim)
    if id_ is not None:
        await accept(acceptor, id_, victim)
    await victim.died()
    await victim.start()
    id_ = id_ or await propose(proposer, victim)
    assert id_ is not None
    await accept(acceptor, id_, victim)
    for box in (proposer, acceptor):
        settled = functools.partial(has_status, box, id_, "SETTLED")
        await until(settled, f"{box.village} has settled")
    for box in (proposer, acceptor):
        assert "agree" in box.audit()
        receipt = await box.ask(control.ExportReceipt(id_))
        assert "COMMIT" in receipt


async def knows_catalogue(box: RealBox) -> bool:
    peers = (await box.ask(control.PeerList()))["neighbours"]
    return bool(peers) and peers[0]["records_held"] >= 4


async def propose(box: RealBox, victim: RealBox) -> str | None:
    """Propose the trade; None if the box died before anyone was told whether it is kept."""
    try:
        made: Any = await box.ask(
            control.TradePropose(
                "Alice", "Bob", ACCEPTOR, ("AT", "100"), ("Solar Panel", "1"), id="trade-1"
            )
        )
    except Unreachable:
        assert victim is box
        return None
    return str(made["id"])


async def accept(box: RealBox, id_: str, victim: RealBox) -> None:
    """Accept the trade as soon as it has come, unless the box dies over it."""
    try:
        found = await until(lambda: arrived_or_dead(box, id_, victim), "the proposal has come")
        if found != "dead" and found["status"] == "PENDING":
            await box.ask(control.TradeAccept(id_))
    except Unreachable:
        assert victim is box


async def arrived_or_dead(box: RealBox, id_: str, victim: RealBox) -> Any:
    assert victim.process is not None
    found = await box.trade(id_)
    return found or ("dead" if victim.process.poll() is not None else None)


async def has_status(box: RealBox, id_: str, status: str) -> bool:
    found = await box.trade(id_)
    return found is not None and found["status"] == status
