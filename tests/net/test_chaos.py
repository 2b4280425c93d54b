"""Four real boxes lose their power and their lines while their members trade: both or neither.

Environment: CHAOS_TRADES is how many trades there are, 40 if it is not set; 500 are the long run,
of some four minutes. CHAOS_SEED is the seed, 1 if it is not set.
"""

import os
from pathlib import Path

import pytest

from tests.net.chaos import Chaos


async def test_every_trade_has_one_end(
    tmp_path: Path, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    seed, count = os.environ.get("CHAOS_SEED", "1"), int(os.environ.get("CHAOS_TRADES", "40"))
    chaos = Chaos(tmp_path, seed)
    try:
        async with chaos.links:
            await chaos.settle_in()
            ends = await chaos.trade(count)
            await chaos.check()
    except BaseException:
        print(f"CHAOS_SEED={seed} {dict(chaos.counts)}\n{chaos.logs()}")  # noqa: T201
        raise
    assert chaos.counts["kill"] and chaos.counts["COMMIT"]
    with capsys.disabled():
        line = (
            f"{count} trades, seed {seed}: {dict(chaos.counts)}; {ends.left} sides open when it"
            f" healed, all ended after {ends.ended_s:.1f} s, all said after {ends.quiet_s:.1f} s"
        )
        pytestconfig.get_terminal_writer().line(f"\n{line}")
