"""How much of a neighbour's log this village takes in, and what happens to what is over it."""

from collections.abc import Iterator

import pytest

from edge import desk
from edge.core import limits
from edge.core.trade import Status
from edge.errors import WrongState
from edge.storage import allowance, logs, neighbours, trades
from edge.storage.audit import audit
from tests.storage.villages import Village, accept, neighbours_with_goods, propose, say, sync

SMALL = 20_000


@pytest.fixture
def pair() -> tuple[Village, Village]:
    return neighbours_with_goods()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, pair: tuple[Village, Village]) -> Iterator[None]:
    for name in ("FIRST_BYTES", "DAILY_BYTES", "BOUND_BYTES"):
        monkeypatch.setattr(allowance, name, SMALL)
    yield
    for village in pair:
        audit(village.view)


def chatter(village: Village, records: int) -> None:
    for _ in range(records):
        village.write(lambda tx: desk.declare(tx, "Bob", "Solar Panel", "1"))


def copied(a: Village, b: Village) -> int:
    return logs.size_of(a.view, neighbours.log_of(a.view, b.name))


def trouble(a: Village, b: Village) -> str:
    return neighbours.named(a.view, b.name).trouble


def flood(a: Village, b: Village) -> int:
    """Have B write, push by push, until A takes no more; return how much A has taken."""
    for _ in range(100):
        before = copied(a, b)
        chatter(b, 20)
        say(b, a)
        if copied(a, b) == before:
            return before
    raise AssertionError("it is all taken in")


def test_what_is_over_the_allowance_waits_and_comes_later(pair: tuple[Village, Village]) -> None:
    a, b = pair
    before = copied(a, b)
    taken = flood(a, b) - before
    assert 20 < taken * (allowance.RECORD_BYTES + 100) < 2 * SMALL
    assert trouble(a, b) == allowance.TROUBLE
    with pytest.raises(WrongState, match="more records than this box takes in a day"):
        propose(a, b)
    sync(a, b)
    assert copied(a, b) < logs.size_of(b.view, 0)
    for _ in range(3):
        a.now_ms += limits.DAY_MS
        say(b, a)
    assert copied(a, b) == logs.size_of(b.view, 0)
    assert trouble(a, b) == ""
    assert propose(a, b).status is Status.PENDING


def test_a_quiet_neighbour_is_never_held_back(pair: tuple[Village, Village]) -> None:
    a, b = pair
    for _ in range(10):
        chatter(b, 40)
        sync(a, b)
        a.now_ms += limits.DAY_MS
    assert copied(a, b) == logs.size_of(b.view, 0) > 400
    assert trouble(a, b) == ""


def test_a_trade_that_is_bound_still_ends(pair: tuple[Village, Village]) -> None:
    a, b = pair
    known = propose(a, b)
    sync(a, b)
    accept(b, known.subject)
    a.write(
        lambda tx: tx.run("UPDATE neighbour SET taken_bytes = ?, taken_ms = ?", SMALL, a.now_ms)
    )
    sync(a, b)
    for village in pair:
        assert trades.by_subject(village.view, known.subject).status is Status.SETTLED


def test_what_is_more_for_bound_trades_has_an_end_too(pair: tuple[Village, Village]) -> None:
    """A neighbour that keeps one trade open for ever gains no more by it."""
    a, b = pair
    propose(a, b)
    assert flood(a, b) < 3 * 2 * SMALL // (allowance.RECORD_BYTES + 100)
    assert trouble(a, b) == allowance.TROUBLE


def test_another_trouble_is_not_forgotten(pair: tuple[Village, Village]) -> None:
    a, b = pair
    a.write(lambda tx: neighbours.set_trouble(tx, b.name, "a fork"))
    flood(a, b)
    a.now_ms += 9 * limits.DAY_MS
    sync(a, b)
    assert trouble(a, b) == "a fork"
