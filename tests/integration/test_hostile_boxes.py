"""Real boxes with a lying neighbour: none of its bytes stops one, now or at the next start."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edge import control
from edge.core import limits, records
from edge.core.council import Certificate
from edge.errors import Malformed
from tests.integration.boxes import RealBox, until
from tests.integration.liar import HONEST, LIAR
from tests.integration.real_liar import RealLiar


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[RealBox]:
    made = RealBox(tmp_path, HONEST)
    await made.start()
    yield made
    made.end()


@pytest.fixture
async def liar(box: RealBox) -> AsyncIterator[RealLiar]:
    made = RealLiar(box)
    yield made
    await made.close()


async def neighbours_of(box: RealBox) -> list[Any]:
    found: list[Any] = (await box.ask(control.PeerList()))["neighbours"]
    return found


async def audited(box: RealBox) -> bool:
    """Tell whether the audit of a box that was killed has agreed."""
    assert box.process is not None
    assert box.process.poll() is None, box.log.read_text()
    return "the audit agrees" in box.log.read_text()


@pytest.mark.parametrize("address", ["[zzz]:1", "a..b:1", "a" * 64 + ":1"])
async def test_an_address_that_cannot_be_dialled(
    box: RealBox, liar: RealLiar, address: str
) -> None:
    """It makes nobody a neighbour; the box goes on, and takes the invitation with a good one."""
    with pytest.raises(Malformed, match="malformed endpoint"):
        await liar.join((address,))
    assert await neighbours_of(box) == []
    await liar.join()
    await liar.say()
    [known] = await neighbours_of(box)
    assert (known["village"], known["records_held"]) == (LIAR, 3)


async def test_ends_of_nothing_do_not_stop_the_next_start(box: RealBox, liar: RealLiar) -> None:
    """A settle and a release of one trade that nobody knows, with a certificate of nobody."""
    await liar.join()
    for kind in (records.SettleRecord, records.ReleaseRecord):
        liar.append(kind(liar.minute, bytes(range(32)), Certificate("COMMIT", 0, ())))
    await liar.say()
    box.kill()
    await box.start()
    await until(lambda: audited(box), "the audit has agreed")
    [known] = await neighbours_of(box)
    assert (known["records_held"], known["trouble"]) == (5, "")
    assert box.stop() == 0


async def test_a_deadline_after_the_end_of_calendars(box: RealBox, liar: RealLiar) -> None:
    await liar.join()
    await box.ask(control.MemberAdd("Alice", "1234"))
    far = limits.DEADLINE_MINUTE_MAX + 1
    assert await liar.refused(liar.proposal(deadline_minute=far)) == "malformed"
    assert await liar.refused(liar.proposal(deadline_minute=2**40)) == "malformed"
    assert await box.ask(control.TradeList()) == []
    far = limits.DEADLINE_MINUTE_MAX
    answer = await liar.say(liar.proposal(trade_id="b", deadline_minute=far))
    assert [each.withdrawn for each in answer.subjects] == ["rejected"]
    [shown] = await box.ask(control.TradeList())
    assert "seven days" in shown["message"]
