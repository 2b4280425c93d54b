"""How far a long command is, said on a terminal and nowhere else."""

import argparse
import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from edge.appliance.clock import Clock

T = TypeVar("T")
QUIET_S = 1.0  # what takes no longer than this says nothing


def of_records(arguments: argparse.Namespace) -> Callable[[int, int], None] | None:
    if arguments.json or not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        _say(f"{done:,} of {total:,} records", is_last=done == total)

    return show


def of_parts(arguments: argparse.Namespace) -> Callable[[str, int, int], None]:
    """Return what is told what is being done, how much of it is, and in all."""
    clock = Clock()
    began_s = clock.monotonic_s()
    is_shown = sys.stderr.isatty() and not arguments.json

    def show(what: str, done: int, total: int) -> None:
        if is_shown and clock.monotonic_s() - began_s >= QUIET_S:
            _say(f"{what}: {100 * done // max(1, total)} %", is_last=done >= total)

    return show


async def patiently(work: Awaitable[T]) -> T:
    """Do the work; after a second, say on a terminal that it goes on."""
    task = asyncio.ensure_future(work)
    for seconds in itertools.count(1):
        done, _ = await asyncio.wait({task}, timeout=1)
        if done:
            break
        if sys.stderr.isatty():
            _say(f"Working for {seconds} s ...")
    if seconds > 1 and sys.stderr.isatty():
        _say("", is_last=True)
    return await task


def _say(text: str, *, is_last: bool = False) -> None:
    wiped = "\r\033[K" if is_last else ""  # what follows begins the line anew
    sys.stderr.write(f"\r\033[K{text}{wiped}")
    sys.stderr.flush()
