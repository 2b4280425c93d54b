"""`village-edge` on a machine with something odd about it, which ODD names.

`clock +3600`: its clock is an hour ahead. `unanswered`: it loses its power once a command is done,
and before anyone has been told. `rename 3`: it loses it instead of renaming a file for the third
time.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from edge import app, cli, commands, control
from edge.appliance.clock import Clock
from edge.steward import Box


def power_off() -> Any:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def turn_clock(seconds: int) -> None:
    def wall_ms() -> int:
        return time.time_ns() // 1_000_000 + seconds * 1_000

    app.Clock = lambda: Clock(wall_ms)  # type: ignore[assignment,misc,attr-defined]


def leave_unanswered() -> None:
    run = commands.run

    async def run_and_die(box: Box, command: control.AnyCommand) -> object:
        done = await run(box, command)
        return done if isinstance(command, control.Status) else power_off()

    commands.run = run_and_die


def die_at_rename(number: int) -> None:
    rename = Path.replace
    count = 0

    def replace(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        return power_off() if count == number else rename(self, target)

    Path.replace = replace  # type: ignore[assignment,method-assign]


if __name__ == "__main__":
    what, _, amount = os.environ["ODD"].partition(" ")
    if what == "clock":
        turn_clock(int(amount))
    elif what == "unanswered":
        leave_unanswered()
    elif what == "rename":
        die_at_rename(int(amount))
    else:
        raise SystemExit(f"ODD: unknown: {what}")
    sys.exit(cli.main())
