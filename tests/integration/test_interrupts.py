"""Ctrl-C and SIGTERM at many moments: real processes, their last words and what they leave behind.

A terminal sends Ctrl-C to all processes of a command, so each command runs in a group of its own.
"""

import os
import pty
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from edge import app
from edge.config import VillageSettings
from edge.demo import INTERRUPTED
from tests.integration.boxes import WAIT_S_MAX, Done, environment_of

SEED: Final = 20_261_123
MOMENTS: Final = 10
COMMAND_S: Final = 0.6
WAITING: Final = "Ctrl-C stops both boxes"
LINES: Final = (  # of the demo, each a moment
    "ose-missouri-001) runs",
    "are members of ose-california-001",
    "Alice offers",
    "ose-california-001: SETTLED",
    "village-edge audit, ose-missouri-001",
    "village-edge audit, ose-california-001",
    WAITING,
)


class Running:
    """A command in a process group of its own, with what it has printed so far."""

    def __init__(
        self,
        *arguments: str | Path,
        python: tuple[str, ...] = (),
        before: Callable[[], object] | None = None,
        **environment: str,
    ) -> None:
        self.out, self.err = "", ""
        self._ended = 0  # of the two streams
        self._heard = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, *python, "-m", "edge", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment_of(environment),
            process_group=0,
            preexec_fn=before,  # noqa: PLW1509 - one call, and it takes no lock
            text=True,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(name,)) for name in ("out", "err")
        ]
        for each in self._readers:
            each.start()

    def until(self, text: str, seconds: float = WAIT_S_MAX) -> bool:
        """Wait until the text was printed or the command has ended; tell whether it was."""
        with self._heard:
            self._heard.wait_for(lambda: text in self.out + self.err or self._ended == 2, seconds)
            return text in self.out + self.err

    def signal(self, number: int = signal.SIGINT) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def done(self) -> Done:
        code = self._process.wait(WAIT_S_MAX)
        for each in self._readers:
            each.join()
        return Done(code, self.out, self.err)

    def _read(self, name: str) -> None:
        with self._process.stdout if name == "out" else self._process.stderr as pipe:  # type: ignore[union-attr]
            for line in pipe:
                with self._heard:
                    setattr(self, name, getattr(self, name) + line)
                    self._heard.notify_all()
        with self._heard:
            self._ended += 1
            self._heard.notify_all()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted") / "village"
    app.create_village(folder, VillageSettings("ose-missouri-001", "Farm", 38.45, -93.85))
    return folder


# Commands


@pytest.mark.parametrize("line", ["status", "audit", "issue treasury 1", "--help"])
def test_a_command_that_is_interrupted_says_nothing_and_is_130(home: Path, line: str) -> None:
    """From its first import on: `-X importtime` tells when those begin, and its lines are not the
    command's own."""
    at = () if line == "--help" else ("--dir", home)
    moments = random.Random(f"{SEED} {line}")

    def interrupted(delay: float) -> Done:
        running = Running(*line.split(), *at, python=("-X", "importtime"))
        assert running.until(" argparse")
        running.until("nothing prints this", delay)
        running.signal()
        return running.done()

    with ThreadPoolExecutor(2) as pool:
        delays = [moments.uniform(0, COMMAND_S) for _ in range(MOMENTS)]
        ends = list(pool.map(interrupted, [0.0, *delays]))
    for delay, end in zip([0.0, *delays], ends, strict=True):
        said = [text for text in end.err.splitlines() if not text.startswith("import time:")]
        assert (said, end.code in (0, INTERRUPTED)) == ([], True), (delay, end.code, said)
    assert INTERRUPTED in {end.code for end in ends}


def test_a_box_that_is_interrupted_ends_well(home: Path) -> None:
    listen = [f"--set=listen.{name}=127.0.0.1:0" for name in ("federation", "page", "page_tls")]
    running = Running("serve", "--dir", home, *listen, PYTHONUNBUFFERED="1")
    assert running.until("federation")
    running.signal()
    done = running.done()
    assert (done.code, done.err) == (0, "")


# The demo


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Where a demo keeps its folders, by a name short enough for a socket; nothing may stay."""
    with tempfile.TemporaryDirectory(prefix="ve-") as made:
        yield Path(made)
        assert list(Path(made).iterdir()) == []


def boxes_of(out: str) -> list[int]:
    return [int(found) for found in re.findall(r"runs, process (\d+)\.", out)]


def assert_ended(done: Done, is_waiting: bool) -> None:
    assert done.err == "", done
    assert "Traceback" not in done.out and "did not settle" not in done.out, done
    if is_waiting:
        assert done.code == 0, done
        assert done.out.endswith("\nBoth boxes have stopped, and their folders are gone.\n"), done
    else:
        assert done.code == INTERRUPTED, done
        assert done.out.endswith("\nThe demo was ended before it was through.\n"), done
    for process in boxes_of(done.out):
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


@pytest.mark.parametrize("line", LINES)
def test_the_demo_ends_at_ctrl_c(scratch: Path, line: str) -> None:
    """At once and a little later; twice, as impatient people do. Only while it waits for people is
    that its proper end."""

    def ended(delay: float) -> Done:
        running = Running("demo", TMPDIR=str(scratch))
        assert running.until(line), running.done()
        running.until("nothing prints this", delay)
        running.signal()
        running.signal()
        return running.done()

    with ThreadPoolExecutor(2) as pool:
        for done in pool.map(ended, (0.0, random.Random(f"{SEED} {line}").uniform(0, 0.4))):
            assert_ended(done, is_waiting=WAITING in done.out)


@pytest.mark.parametrize("line", ["ose-missouri-001) runs", "Alice offers", WAITING])
def test_sigterm_ends_a_demo_that_was_started_deaf_to_ctrl_c(scratch: Path, line: str) -> None:
    """As a script's `&` starts it."""
    deaf = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)  # noqa: E731
    running = Running("demo", before=deaf, TMPDIR=str(scratch))
    assert running.until(line), running.done()
    running.signal()
    running.signal(signal.SIGTERM)
    assert_ended(running.done(), line == WAITING)


# A terminal


def typed(command: str, home: Path, *lines: bytes) -> tuple[int, str]:
    """Return the exit code and the screen of a command with these lines typed."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "edge", *command.split(), "--dir", str(home)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment_of({}),
            start_new_session=True,
        )
        os.close(theirs)
        screen = b""
        for line in lines:
            screen += read_until(ours, b": ")
            os.write(ours, line)
        screen += read_until(ours, None)
        return process.wait(WAIT_S_MAX), screen.decode()
    finally:
        os.close(ours)


def read_until(terminal: int, end: bytes | None) -> bytes:
    """Read a terminal until what it shows ends so; with None, until its program has ended."""
    screen = b""
    while end is None or not screen.endswith(end):
        try:
            screen += os.read(terminal, 1_024)
        except OSError:  # the program has ended
            break
    return screen


def test_a_typed_pin_is_asked_for_twice(home: Path) -> None:
    code, screen = typed("member add Zoe", home, b"2468\n", b"2469\n")
    assert (code, "the two PINs differ: nothing was done" in screen) == (2, True), screen
    code, screen = typed("member add Zoe", home, b"24\n")
    assert (code, "a PIN has 4 to 64 characters" in screen) == (2, True), screen
    code, screen = typed("member add Zoe", home, b"\x04")
    assert (code, "no PIN was typed" in screen) == (2, True), screen
    code, screen = typed("member add Zoe", home, b"2468\n", b"2468\n")
    assert (code, "Zoe is a member now." in screen) == (0, True), screen
    assert "2468" not in screen


def test_progress_leaves_no_trace_on_the_screen(home: Path) -> None:
    code, screen = typed("audit", home)
    *progress, answer = screen.split("\r\x1b[K")
    assert code == 0 and "".join(progress) and screen.startswith("\r")
    assert answer.startswith("ose-missouri-001: log, signatures and balances agree."), screen
