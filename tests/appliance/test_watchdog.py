"""What a service manager hears of a box: ready, alive while loop and ledger answer, stopping."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from edge import app, control
from edge.appliance.watchdog import Supervisor
from edge.config import VillageSettings
from edge.errors import ConfigError, StorageError, TooMany
from tests.appliance.manager import HEAR_S_MAX, Manager
from tests.integration.boxes import environment_of
from tests.integration.served import served

MISSOURI: Final = "ose-missouri-001"
ALLOWED_S: Final = 1.0
ALIVE: Final = "WATCHDOG=1"
HANGS: Final = "STATUS=the ledger does not answer"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify", ALLOWED_S)
    yield made
    made.close()


async def hears(manager: Manager, line: str, seconds: float = HEAR_S_MAX) -> bool:
    return await asyncio.to_thread(manager.hears, line, seconds)


# A box


def test_a_box_is_ready_when_it_listens_and_says_when_it_stops(
    tmp_path: Path, manager: Manager
) -> None:
    with serving(tmp_path / "village", manager, page="127.0.0.1:0") as process:
        assert manager.hears("READY=1")
        status = asyncio.run(
            control.ask(tmp_path / "village" / control.SOCKET, control.Status()),
        )
        for url in (status["federation_url"], *status["page_urls"]):
            host, _, port = url.strip("/").rpartition("/")[2].partition(":")
            socket.create_connection((host, int(port)), timeout=5).close()
        assert len(status["page_urls"]) == 2
        assert manager.hears(ALIVE) and manager.hears(ALIVE)
        manager.heard()
        process.send_signal(signal.SIGTERM)
        assert manager.hears("STOPPING=1")
        assert process.wait(HEAR_S_MAX) == 0
        assert manager.heard() == []


def test_a_box_that_cannot_listen_is_never_ready(tmp_path: Path, manager: Manager) -> None:
    """The port that is taken is the last one of all."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        page = f"127.0.0.1:{taken.getsockname()[1]}"
        with serving(tmp_path / "village", manager, page=page) as process:
            assert process.wait(HEAR_S_MAX) == 2
    assert manager.heard() == []


def test_a_frozen_box_says_nothing(tmp_path: Path, manager: Manager) -> None:
    with serving(tmp_path / "village", manager) as process:
        assert manager.hears(ALIVE)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        manager.heard()
        assert not manager.hears(ALIVE, ALLOWED_S)
        process.send_signal(signal.SIGCONT)
        assert manager.hears(ALIVE)


@contextlib.contextmanager
def serving(folder: Path, manager: Manager, page: str = "") -> Iterator["subprocess.Popen[bytes]"]:
    """Run a new village's box as this manager's service."""
    app.create_village(folder, VillageSettings(MISSOURI, "Factor e Farm", 38.45, -93.85))
    settings = {"federation": "127.0.0.1:0", "page": "127.0.0.1:0", "page_tls": page}
    command = [sys.executable, "-m", "edge", "serve", "--dir", str(folder)]
    command += [f"--set=listen.{name}={value}" for name, value in settings.items()]
    process = subprocess.Popen(command, env=environment_of(manager.environment))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


# What hangs is not alive


async def test_a_box_whose_writer_hangs_is_not_alive(tmp_path: Path, manager: Manager) -> None:
    holding, release = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        holding.set()
        release.wait(HEAR_S_MAX)

    async with served(tmp_path / MISSOURI, MISSOURI, supervisor=manager.supervisor()) as box:
        assert await hears(manager, ALIVE)
        held = asyncio.create_task(box.app.store.write(hold))
        await asyncio.to_thread(holding.wait)
        assert await hears(manager, HANGS)
        assert not await hears(manager, ALIVE, ALLOWED_S)
        release.set()
        await held
        assert await hears(manager, ALIVE)
    assert await hears(manager, "STOPPING=1")


async def test_a_box_whose_loop_hangs_is_not_alive(tmp_path: Path, manager: Manager) -> None:
    async with served(tmp_path / MISSOURI, MISSOURI, supervisor=manager.supervisor()):
        assert await hears(manager, ALIVE)
        manager.heard()
        assert not manager.hears(ALIVE, ALLOWED_S)  # nothing else runs while this waits
        assert await hears(manager, ALIVE)


async def test_a_sign_of_life_writes_nothing_to_the_disk(tmp_path: Path, manager: Manager) -> None:
    """A card that is written to each half minute, for nothing, wears out."""
    folder = tmp_path / MISSOURI
    async with served(folder, MISSOURI, supervisor=manager.supervisor()):
        assert await hears(manager, ALIVE)
        before = {path.name: path.stat().st_mtime_ns for path in folder.glob("ledger.db*")}
        assert await hears(manager, ALIVE) and await hears(manager, ALIVE)
        after = {path.name: path.stat().st_mtime_ns for path in folder.glob("ledger.db*")}
    assert before == after and "ledger.db-wal" in before


# The supervisor alone


def answering() -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


async def test_an_abstract_socket_is_one_too() -> None:
    manager = Manager(f"@village-edge-test-{os.getpid()}", allowed_s=0.02)
    async with manager.supervisor().told(answering):
        assert await hears(manager, "READY=1")
        assert await hears(manager, ALIVE) and await hears(manager, ALIVE)
    assert await hears(manager, "STOPPING=1")
    manager.close()


async def test_a_refused_ping_is_no_sign_of_life(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A writer that hangs has a full queue soon: that is no answer of the writer's."""
    manager = Manager(tmp_path / "notify", allowed_s=0.02)
    refusals: list[Exception] = [TooMany("the queue is full"), StorageError("it is stopping")] * 2
    refused = asyncio.Event()

    async def ping() -> None:
        if refusals:
            raise refusals.pop()
        refused.set()
        await asyncio.to_thread(looked.wait)

    looked = threading.Event()
    async with manager.supervisor().told(ping):
        await refused.wait()
        assert ALIVE not in "".join(manager.heard())
        looked.set()
        assert await hears(manager, ALIVE)
    assert "the queue is full" in caplog.text and "it is stopping" in caplog.text
    manager.close()


async def test_who_is_not_watched_gives_no_signs_of_life(tmp_path: Path) -> None:
    """No WATCHDOG_USEC, or the one of a parent that the variables were meant for."""
    watched = Manager(tmp_path / "watched", allowed_s=0.02)
    for name, more in (("plain", {}), ("child", {"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"})):
        other = Manager(tmp_path / name)
        other.environment |= more
        async with other.supervisor().told(answering), watched.supervisor().told(answering):
            for _ in range(3):
                assert await hears(watched, ALIVE)
        assert [text.split("\n")[0] for text in other.heard()] == ["READY=1", "STOPPING=1"]
        other.close()
    watched.close()


async def test_a_manager_that_is_gone_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with Supervisor({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).told(answering):
        pass
    assert "was not told READY=1: " in caplog.text
    assert "was not told STOPPING=1: " in caplog.text


async def test_without_a_manager_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    async with Supervisor({}).told(answering):
        pass
    assert caplog.text == ""


@pytest.mark.parametrize(
    "environment",
    [
        {"NOTIFY_SOCKET": "run/notify"},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "-1"},
        {"WATCHDOG_USEC": "+60000000"},
        {"WATCHDOG_USEC": "60_000_000"},
        {"WATCHDOG_USEC": "60s"},
        {"WATCHDOG_USEC": "9" * 17},
    ],
)
def test_what_no_manager_sets_is_an_error(environment: dict[str, str]) -> None:
    (name,) = environment
    with pytest.raises(ConfigError, match=name):
        Supervisor(environment)
