"""How a box stops: asked to, over a difference, over a broken law, over its database."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import pytest

from edge import app, control
from edge.errors import CorruptDatabase, StorageError
from edge.federation_client import FederationClient
from edge.storage.audit import AuditReport
from edge.storage.tx import View
from edge.storage.writer import CommitFailed, Writer
from tests.integration.boxes import until
from tests.integration.served import Served, cut_power, served

MISSOURI, CALIFORNIA = "ose-missouri-001", "ose-california-001"


def stopped_cleanly(folder: Path) -> bool:
    with closing(sqlite3.connect(folder / app.LEDGER)) as conn:
        (running,) = conn.execute("SELECT value FROM fact WHERE name = 'running'").fetchone()
    return bool(running == "no")


async def test_a_stop_is_noted_last(tmp_path: Path) -> None:
    folder = tmp_path / MISSOURI
    async with served(folder, MISSOURI):
        assert not stopped_cleanly(folder)
    assert stopped_cleanly(folder)


async def test_a_stop_breaks_off_a_long_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next start begins it again: nobody knows yet what it would have found."""
    folder = tmp_path / MISSOURI
    async with served(folder, MISSOURI):
        pass
    cut_power(folder)
    walked = 0

    def endless(_: View, progress: Callable[[int, int], None]) -> AuditReport:
        nonlocal walked
        while True:
            progress(walked, 1_000_000)
            walked += 1
            time.sleep(0.001)

    monkeypatch.setattr("edge.storage.audit.audit", endless)

    async def is_walking() -> bool:
        return walked > 3

    async with served(folder, MISSOURI) as box:
        await until(is_walking, "the audit is at work")
        assert (await box.ask(control.Status()))["serving"] is True  # beside it, the box serves
    assert not stopped_cleanly(folder)
    monkeypatch.undo()
    async with served(folder, MISSOURI) as box:
        await until(lambda: is_checked(box), "the audit has agreed")
    assert stopped_cleanly(folder)


async def is_checked(box: Served) -> bool:
    return box.app._is_checked


async def test_a_broken_law_in_a_neighbours_task_stops_the_box(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        served(tmp_path / MISSOURI, MISSOURI) as missouri,
        served(tmp_path / CALIFORNIA, CALIFORNIA) as california,
    ):
        line = (await missouri.ask(control.PeerInvite()))["invitation"]
        await california.ask(control.PeerAdd(line))

    async def break_law(self: FederationClient, village: str, why: object) -> NoReturn:
        raise AssertionError("a law is broken")

    monkeypatch.setattr(FederationClient, "exchange", break_law)
    with pytest.raises(AssertionError, match="a law is broken"):
        async with served(tmp_path / MISSOURI, MISSOURI, federation__heartbeat_s=0.05) as missouri:
            await until(lambda: has_stopped(missouri), "the box has stopped")


async def has_stopped(box: Served) -> bool:
    return box.app.fault is not None


async def test_a_failed_commit_stops_the_box_and_is_no_clean_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / MISSOURI

    def fail(self: Writer) -> NoReturn:
        raise CommitFailed("the disk is gone")

    async def lose_the_disk() -> None:
        async with served(folder, MISSOURI) as box:
            monkeypatch.setattr(Writer, "_commit", fail)
            with pytest.raises(StorageError, match="the disk is gone"):
                await box.ask(control.Issue("treasury", "1"))

    with pytest.raises(CorruptDatabase, match="the disk is gone"):
        await lose_the_disk()
    monkeypatch.undo()
    assert not stopped_cleanly(folder)
    async with served(folder, MISSOURI) as box:
        assert (await box.ask(control.Status()))["log"]["size"] == 2
        await until(lambda: is_checked(box), "the audit has agreed")


async def test_commands_that_wait_at_a_stop_are_answered(tmp_path: Path) -> None:
    """Each is done or refused: none is left without a word."""
    async with served(tmp_path / MISSOURI, MISSOURI) as box:
        asked = [
            asyncio.create_task(box.ask(control.Issue("treasury", "1", id=f"id {number}")))
            for number in range(20)
        ]
        await asked[0]
        box.app.stop()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        done = [each for each in answers if isinstance(each, dict)]
        assert done and all(isinstance(each, dict | StorageError) for each in answers), answers
    async with served(tmp_path / MISSOURI, MISSOURI) as box:
        assert (await box.ask(control.Status()))["log"]["size"] == 2 + len(done)
