"""The simulator itself: the same seed is the same story, its loop and its disks are what they say,
a failing plan becomes a smaller one, and a trace shows the trade."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge.core import council
from edge.errors import DiskFull
from edge.storage import database, facts
from tests.simulation import disk, plan, runs
from tests.simulation.__main__ import trace_of
from tests.simulation.council_liar import TWISTS
from tests.simulation.federation import Federation, founded, play
from tests.simulation.law import LawBroken
from tests.simulation.loop import OWNER, Crashed, Stuck, simulated_loop
from tests.simulation.plan import AWAY, FAULTS, MANNERS, NAMES, RESTORED
from tests.simulation.world import Village, World

ROOT = Path(__file__).parents[2]


# The same story


def test_a_seed_is_the_same_story_in_every_process() -> None:
    """Also where sets have another order."""
    seeds = (4, 5)
    elsewhere = subprocess.run(
        [sys.executable, "-m", "tests.simulation"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "4242", "SEEDS": "4:6", "SEED": "", "HASHES": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    told = dict(line.split() for line in elsewhere.stdout.splitlines())
    for seed in seeds:
        assert told[str(seed)] == trace_of(seed) == trace_of(seed)


def test_a_plan_is_its_text() -> None:
    for seed in range(40):
        made = plan.of(seed)
        assert plan.of(seed + 1_000).changed(made.text).text == made.text
        assert len(made.manners) <= (made.seats - 1) // 3
    with pytest.raises(ValueError, match="a plan has no 'vilages'"):
        plan.of(1).changed("vilages=2")


def test_the_seeds_of_a_run_try_everything() -> None:
    made = [plan.of(seed) for seed in range(300)]
    assert {each.villages for each in made} == {2, 4, 7}
    assert {each.seats for each in made} == {2, 4, 7}
    assert {fault for each in made for fault in each.faults} == set(FAULTS)
    kinds = {kind for each in made for liar in each.manners for kind in liar.split("+")}
    assert kinds == {*MANNERS, RESTORED, AWAY}
    assert {*MANNERS, RESTORED} == set(TWISTS)
    assert all(each.trades >= plan.TRADES_MIN for each in made)


# A failing plan


def test_a_failing_plan_becomes_smaller(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = plan.of(2)
    founded(made.villages, made.seats)
    founded(2, 2)
    monkeypatch.setattr(council, "quorum", lambda seats: seats // 2)
    broken = runs.fails(made)
    assert broken is not None and broken.seed == 2
    small, still = runs.shrink(made, broken, within_s=20)
    assert still.law == broken.law
    assert (small.trades, len(small.faults)) < (made.trades, len(made.faults))
    command = runs.reproduction(small)
    assert command.startswith("make simulate SEED=2 PLAN='") and command.endswith("' TRACE=1")
    changes = command.split("'")[1]
    again = runs.fails(plan.of(2).changed(changes))
    assert str(again) == str(still), "the same step"


def test_a_trace_shows_the_failing_trade(monkeypatch: pytest.MonkeyPatch) -> None:
    founded(4, 4)
    made = plan.of(3).changed("villages=4;seats=4;manners=;latency_ms=400;bursts=2;faults=crash")
    monkeypatch.setattr(council, "verify_certificate", lambda *_: None)
    right = council.certificate_of

    def short(votes: Any, seats: Any) -> Any:
        made = right(votes, seats)
        return made and council.Certificate(made.value, made.round, made.precommits[:2])

    monkeypatch.setattr(council, "certificate_of", short)
    broken, journal = runs.traced(made)
    assert broken is not None and broken.law == "one certificate" and broken.subject is not None
    shown = "\n".join(journal.show(broken.subject))
    for what in ("opening", "proof of", "prevotes COMMIT", "precommits COMMIT", "has reached"):
        assert what in shown
    assert len(list(journal.show(None))) > 50


# The loop


def test_time_passes_only_when_nothing_else_is_due() -> None:
    loop = simulated_loop()
    seen: list[tuple[float, str]] = []

    async def wait(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((loop.time(), name))

    async def main() -> None:
        await asyncio.gather(wait("c", 60), wait("a", 5), wait("b", 5), wait("d", 86_400))

    loop.run(main())
    assert seen == [(5, "a"), (5, "b"), (60, "c"), (86_400, "d")]


def test_a_loop_that_waits_for_nothing_is_stuck() -> None:
    async def for_ever() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stuck, match="nothing will ever happen"):
        simulated_loop().run(for_ever())


def test_a_loop_has_no_threads() -> None:
    async def think() -> None:
        await asyncio.to_thread(lambda: None)

    with pytest.raises(NotImplementedError):
        simulated_loop().run(think())


def test_what_fails_in_a_callback_is_not_lost() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    with pytest.raises(ZeroDivisionError):
        simulated_loop().run(main())


def test_a_box_stops_at_the_await_that_it_is_told_to() -> None:
    world = World(1)
    loop = simulated_loop()
    village = world.village(NAMES[0])
    done: list[int] = []

    async def work() -> None:
        assert OWNER.get() is village
        for step in range(10):
            done.append(step)
            await asyncio.sleep(1)

    async def main() -> None:
        village.crash_in = 3
        first, second = village.spawn(work()), village.spawn(work())
        await asyncio.wait([first, second])
        assert isinstance(first.exception(), Crashed)
        assert isinstance(second.exception(), Crashed)

    loop.run(main())
    assert sorted(done) == [0, 0, 1]
    assert not village.up and not village.tasks


# Disks


def test_a_commit_that_is_flushed_outlives_the_power(monkeypatch: pytest.MonkeyPatch) -> None:
    for flushed in (True, False):
        if not flushed:
            right = database.set_up_writer

            def wrong(conn: sqlite3.Connection, right: Any = right) -> None:
                right(conn)
                conn.execute("PRAGMA synchronous = NORMAL")

            monkeypatch.setattr(database, "set_up_writer", wrong)
        village = World(1).village(NAMES[0])
        village.now(lambda tx: facts.keep(tx, "a", "1"))
        village.conn.lose_power()
        assert (village.look(lambda view: facts.read(view, "a")) == "1") == flushed


@pytest.mark.parametrize("at_commit", [True, False])
def test_a_full_disk_takes_nothing_and_loses_nothing(at_commit: bool) -> None:
    village = World(1).village(NAMES[0])
    village.conn.fill(at_commit)
    before = list(village.conn.iterdump())
    with pytest.raises(DiskFull):
        village.now(lambda tx: facts.keep(tx, "a", "1" * 100_000))
    assert list(village.conn.iterdump()) == before
    village.conn.free()
    village.now(lambda tx: facts.keep(tx, "a", "1" * 100_000))


def test_a_copy_of_a_disk_is_another_disk() -> None:
    world = World(1)
    village = world.village(NAMES[0])
    image = village.conn.copy()
    village.now(lambda tx: facts.keep(tx, "a", "1"))
    again = Village(world, NAMES[0], image)
    assert again.look(lambda view: facts.read(view, "a")) is None
    assert disk.new(image).changed() == set()


# What is counted


def test_a_seed_that_does_not_do_its_part_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Federation, "_trouble", lambda *_: iter(()))
    with pytest.raises(runs.NotTried, match="lacks"):
        runs.once(plan.of(1).changed("faults=crash,full disk"))


def test_a_federation_without_faults_settles_nearly_everything() -> None:
    played = play(plan.of(3).changed("villages=4;seats=4;bursts=2;faults=;manners="))
    assert played.counts["COMMIT"] > 12
    assert not any(played.counts[fault] for fault in FAULTS)


def test_whatever_else_breaks_is_no_law(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(council, "quorum", lambda seats: 1 // 0)
    with pytest.raises(LawBroken) as raised:
        play(plan.of(1))
    assert raised.value.law == "own assertion"
