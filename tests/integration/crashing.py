"""`village-edge` with a runner that kills its own process at a named point of a trade.

CRASH_AT is `before STAGE` (the transaction is done but not committed) or `after STAGE` (it is on
disk, and nobody has been told). A stage is what a transaction brings about on this side.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from edge import app, cli
from edge.core.trade import Status
from edge.storage import trades
from edge.storage.store import Store
from edge.storage.tx import Tx, View

T = TypeVar("T")
STAGES: dict[str, Callable[[View, trades.Trade], bool]] = {
    "kept": lambda view, trade: trade.status is Status.PENDING,
    "told": lambda view, trade: trade.status is Status.PENDING and trade.told,
    "accepted": lambda view, trade: trade.status is Status.ACCEPTED,
    "held": lambda view, trade: trade.status is Status.HELD,
    "voted": lambda view, trade: len(trades.votes(view, trade.subject)) > 0,
    "settled": lambda view, trade: trade.status is Status.SETTLED,
    "closed": lambda view, trade: trade.status is Status.SETTLED and trade.closed,
}
LATER_STAGES: dict[str, Callable[[View, trades.Trade], bool]] = {
    "delivered": lambda view, trade: trade.status is Status.DELIVERED,
    "disputed": lambda view, trade: trade.status is Status.DISPUTED,
}
_when, _, _stage = os.environ.get("CRASH_AT", "").partition(" ")


class CrashingStore(Store):
    async def write(self, fn: Callable[[Tx], T]) -> T:
        reached = False

        def run(tx: Tx) -> T:
            nonlocal reached
            was = _is_reached(tx)
            result = fn(tx)
            reached = not was and _is_reached(tx)
            if reached and _when == "before":
                _die()
            return result

        result = await super().write(run)
        if reached:
            _die()
        return result


def _is_reached(view: View) -> bool:
    is_reached = (STAGES | LATER_STAGES)[_stage]
    return any(is_reached(view, trade) for trade in trades.everyone(view))


def _die() -> Any:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


if __name__ == "__main__":
    opened = app.opened
    app.opened = lambda folder, config: opened(folder, config, CrashingStore)  # type: ignore[assignment,misc]
    sys.exit(cli.main())
