"""Real boxes: one is restored from an old backup and catches up with itself."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import pytest

from edge import control
from edge.errors import SetBack
from edge.taking_back import STAND_IN
from tests.integration.boxes import RealBox, befriend, until, village_edge

NAMES: Final = ("ose-a-001", "ose-b-001", "ose-c-001", "ose-d-001")
Boxes = list[RealBox]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Boxes]:
    async for made in _boxes(tmp_path, NAMES[:2]):
        yield made


@pytest.fixture
async def four(tmp_path: Path) -> AsyncIterator[Boxes]:
    async for made in _boxes(tmp_path, NAMES):
        yield made


async def _boxes(home: Path, names: tuple[str, ...]) -> AsyncIterator[Boxes]:
    made = [RealBox(home, name) for name in names]
    try:
        await asyncio.gather(*(box.start() for box in made))
        await made[0].ask(control.MemberAdd("Alice", "2468"))
        await made[0].ask(control.Issue("Alice", "500"))
        await made[1].ask(control.MemberAdd("Bob", "2468"))
        await made[1].ask(control.Declare("Bob", "Solar Panel", "9"))
        for one, other in combinations(made, 2):
            await befriend(one, other)
        yield made
    finally:
        for box in made:
            box.end()


async def trade(boxes: Boxes) -> str:
    """Have A and B trade 10 AT for a panel; return its id."""
    a, b = boxes[:2]
    await until(lambda: all_listed(boxes), "all know each other")
    asked = control.TradePropose("Alice", "Bob", NAMES[1], ("AT", "10"), ("Solar Panel", "1"))
    id_ = str((await a.ask(asked))["id"])
    await until(lambda: b.trade(id_), "B has heard")
    await b.ask(control.TradeAccept(id_))
    await until(lambda: settled(boxes[:2], id_), "both have settled")
    return id_


async def settled(boxes: Boxes, id_: str) -> bool:
    found = [await box.trade(id_) for box in boxes]
    return all(each and each["status"] == "SETTLED" for each in found)


async def all_listed(boxes: Boxes) -> bool:
    peers = [await box.ask(control.PeerList()) for box in boxes]
    return all(
        each["holds_of_ours"] and each["records_held"] and not each["trouble"]
        for known in peers
        for each in known["neighbours"]
    )


async def size(box: RealBox) -> int:
    return int((await box.ask(control.Status()))["log"]["size"])


async def all_held(boxes: Boxes, box: RealBox) -> bool:
    """Tell whether all others hold all of a box's log."""
    known = (await box.ask(control.PeerList()))["neighbours"]
    return {each["holds_of_ours"] for each in known} == {await size(box)}


def back_up(box: RealBox, file: Path) -> None:
    done = village_edge("backup", file, "--force", "--dir", box.folder)
    assert done.code == 0, done.err


def restore(box: RealBox, file: Path) -> None:
    """Lose the box's folder, and make it again from the backup."""
    box.end()
    shutil.rmtree(box.folder)
    done = village_edge("restore", file, "--dir", box.folder, stdin=box.phrase.encode())
    assert done.code == 0, done.err


async def goes_on(box: RealBox) -> bool:
    found = await box.ask(control.Status())
    return not any("nothing is entered" in each for each in found["reasons"])


async def no_fork_is_noted(boxes: Boxes) -> None:
    for box in boxes:
        known = await box.ask(control.PeerList())
        assert [each["trouble"] for each in known["neighbours"]] == [""] * (len(boxes) - 1)
        assert [each["misbehaviour"] for each in known["neighbours"]] == [[]] * (len(boxes) - 1)


async def test_two_villages(pair: Boxes, tmp_path: Path) -> None:
    """A trades, is backed up, trades on, is killed, loses its folder, comes back, and trades."""
    a, b = pair
    await trade(pair)
    back_up(a, tmp_path / "backup")
    later = await trade(pair)
    await a.ask(control.MemberAdd("Clara", "2468"))
    await a.ask(control.Pay("Alice", "Clara", "5", "AT", "lost with the box", "x"))
    await until(lambda: all_held(pair, a), "B holds it all")
    said = await size(a)
    a.kill()
    restore(a, tmp_path / "backup")
    assert "lost" not in a.audit()
    await a.start()
    await until(lambda: goes_on(a), "A has caught up with itself")
    assert await size(a) == said
    assert await settled([a], later)
    found = await a.ask(control.MemberList())
    assert {each["name"]: each["balance"] for each in found} == {
        "Alice": "490.00",
        STAND_IN: "-10.00",
    }
    assert any("private side of 2 records" in each for each in (await status(a))["reasons"])
    await trade(pair)
    await no_fork_is_noted(pair)
    for box in (a, b):
        assert box.stop() == 0
        box.audit()


async def test_a_council(four: Boxes, tmp_path: Path) -> None:
    a = four[0]
    await trade(four)
    back_up(a, tmp_path / "backup")
    later = await trade(four)
    await until(lambda: all_held(four, a), "all hold it all")
    said = await size(a)
    a.kill()
    restore(a, tmp_path / "backup")
    await a.start()
    await until(lambda: goes_on(a), "A has caught up with itself")
    assert await size(a) >= said
    assert await settled([a], later)
    await trade(four)
    await no_fork_is_noted(four)
    for box in four:
        assert box.stop() == 0
        box.audit()


async def test_it_waits_for_all_neighbours(four: Boxes, tmp_path: Path) -> None:
    """Nothing is entered or said until the last has been asked, or the steward says so."""
    a, b, _, d = four
    await trade(four)
    back_up(a, tmp_path / "backup")
    await a.ask(control.Issue("Alice", "7"))
    await until(lambda: all_held(four, a), "all hold it all")
    said = await size(a)
    d.kill()
    restore(a, tmp_path / "backup")
    await a.start()
    await until(lambda: waits_for(a, [NAMES[3]]), "A has asked the others")
    assert await size(a) == said
    with pytest.raises(SetBack, match="set back"):
        await a.ask(control.Issue("Alice", "8"))
    assert not await goes_on(a)
    assert a.stop() == 0
    await a.start()  # it waits on, after a start too
    await until(lambda: waits_for(a, [NAMES[3]]), "A has asked the others")
    done = village_edge("restore", "--go-on-without-neighbours", "--dir", a.folder)
    assert (done.code, NAMES[3] in done.out) == (0, True), done.err
    await until(lambda: goes_on(a), "A goes on")
    await a.ask(control.Issue("Alice", "8"))
    await until(lambda: b_holds(b, a), "B has the new record")
    await d.start()
    await until(lambda: all_listed(four), "D is in touch")
    await until(lambda: all_held(four, a), "D holds it, too")
    await no_fork_is_noted(four)
    a.audit()


async def test_nothing_was_said_since(pair: Boxes, tmp_path: Path) -> None:
    a, _ = pair
    await trade(pair)
    await until(lambda: all_held(pair, a), "B holds it all")
    a.stop()
    back_up(a, tmp_path / "backup")
    restore(a, tmp_path / "backup")
    await a.start()
    await until(lambda: goes_on(a), "A has asked B")
    await until(lambda: all_is_well(a), "nothing is left to be seen to")
    await trade(pair)
    await no_fork_is_noted(pair)
    a.audit()


async def test_an_old_folder_that_was_just_copied(pair: Boxes, tmp_path: Path) -> None:
    """Without `restore` the box does not know that it is old: it finds out at its start."""
    a, _ = pair
    await trade(pair)
    a.stop()
    shutil.copytree(a.folder, tmp_path / "copy")
    await a.start()
    await trade(pair)
    await until(lambda: all_held(pair, a), "B holds it all")
    said = await size(a)
    a.kill()
    shutil.rmtree(a.folder)
    (tmp_path / "copy").rename(a.folder)
    await a.start()
    await until(lambda: goes_on(a), "A has caught up with itself")
    assert await size(a) == said
    await trade(pair)
    await no_fork_is_noted(pair)
    a.audit()


async def status(box: RealBox) -> Any:
    return await box.ask(control.Status())


async def all_is_well(box: RealBox) -> bool:
    return not (await status(box))["reasons"]


async def waits_for(box: RealBox, villages: list[str]) -> bool:
    text = " ".join((await status(box))["reasons"])
    return f"it waits for {villages[0]}" in text and not any(
        f"{each}," in text or f"{each} and" in text for each in NAMES if each not in villages
    )


async def b_holds(b: RealBox, a: RealBox) -> bool:
    known = (await b.ask(control.PeerList()))["neighbours"]
    held = next(each["records_held"] for each in known if each["village"] == a.village)
    return bool(held == await size(a))
