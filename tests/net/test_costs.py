"""What a trade may cost, counted and not timed: bounds with room above what it costs today."""

from pathlib import Path

import pytest

from tests.bench.one_trade import Cost, Measured

TRADES = 4


async def test_a_trade_of_two_parties_costs_little(
    tmp_path: Path, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    bounds = Cost(24, 30, 7, 30_000, 0, 32_000)
    await check(await cost_of(tmp_path, 2), bounds, "two parties", pytestconfig, capsys)


async def test_a_trade_on_a_council_costs_a_few_times_as_much(
    tmp_path: Path, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    bounds = Cost(90, 140, 50, 190_000, 0, 120_000)
    await check(await cost_of(tmp_path, 4), bounds, "council of 4", pytestconfig, capsys)


async def cost_of(home: Path, count: int) -> Cost:
    async with Measured(home, count) as villages:
        return await villages.cost(TRADES)


async def check(
    cost: Cost,
    most: Cost,
    name: str,
    pytestconfig: pytest.Config,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What the operating system has written depends on when it does so, and is not bounded here."""
    with capsys.disabled():
        pytestconfig.get_terminal_writer().line(f"\n{name}: {cost}")
    for field in ("signed", "verified", "exchanges", "wire_bytes", "kept_bytes"):
        assert 0 < getattr(cost, field) <= getattr(most, field), field
