"""A process that writes as fast as it can and prints what is acknowledged, until it is killed.

Arguments: the database file, and the number of writers. Each line is `<index> <amount>`, printed
once the record at that index of the log, with that amount, is said to be on disk.
"""

import asyncio
import itertools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from edge import desk
from edge.storage.store import Store
from edge.storage.tx import Tx
from tests.storage.villages import Village


async def write(path: Path, writers: int) -> None:
    identity = Village("ose-missouri-001", founded=False).identity
    now_ms = lambda: time.time_ns() // 1_000_000  # noqa: E731 - a clock is a function
    store = await Store.open(path, identity, now_ms, os.urandom)
    amounts = itertools.count(1)

    async def one() -> None:
        while True:
            amount = next(amounts)
            index = await store.write(paying(amount))
            os.write(1, f"{index} {amount}\n".encode())  # one whole line or none

    await asyncio.gather(*(one() for _ in range(writers)))


def paying(amount: int) -> Callable[[Tx], int]:
    text = f"{amount // 100}.{amount % 100:02}"
    return lambda tx: desk.pay(tx, "Alice", "Carol", text)


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2])))
