"""Run all benches, or those named, and print one table."""

import sys
import tempfile
from pathlib import Path

import uvloop

from tests.bench import boxes, council, ledger, log, market, one_trade, table

BENCHES = {
    "ledger": ledger.rows,
    "boxes": boxes.rows,
    "council": council.rows,
    "one_trade": one_trade.rows,
    "market": market.rows,
    "log": log.rows,
}
RESULTS = Path(".bench/results.json")


async def main(names: list[str]) -> None:
    rows: list[table.Row] = []
    for name in names or list(BENCHES):
        print(f"{name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as folder:
            rows += await BENCHES[name](Path(folder).resolve())
    print(table.show(rows))
    table.save(rows, RESULTS)
    print(f"\nalso in {RESULTS}")


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
