"""How often somebody may ask."""

import pytest

from edge.errors import TooMany
from edge.transport.rate import OWNERS_MAX, Rate


class Clock:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


def test_so_many_at_once_then_so_many_a_second() -> None:
    clock = Clock()
    rate = Rate(3, 2, clock)
    for _ in range(3):
        rate.take("a")
    with pytest.raises(TooMany) as caught:
        rate.take("a")
    assert caught.value.more == {"retry_after_s": 1}
    rate.take("b")
    clock.s += 0.5
    rate.take("a")
    with pytest.raises(TooMany):
        rate.take("a")
    clock.s += 1_000
    for _ in range(3):
        rate.take("a")
    with pytest.raises(TooMany):
        rate.take("a")


def test_who_is_refused_loses_nothing_by_asking() -> None:
    clock = Clock()
    rate = Rate(1, 1, clock)
    rate.take("a")
    for _ in range(9):
        clock.s += 0.1
        with pytest.raises(TooMany):
            rate.take("a")
    clock.s += 0.2
    rate.take("a")


def test_a_slow_rate_says_how_long_to_wait() -> None:
    clock = Clock()
    rate = Rate(1, 0.1, clock)
    rate.take("a")
    with pytest.raises(TooMany) as caught:
        rate.take("a")
    clock.s += int(caught.value.more["retry_after_s"])
    rate.take("a")


def test_it_remembers_so_many() -> None:
    rate = Rate(1, 1, Clock())
    for number in range(OWNERS_MAX):
        rate.take(f"{number}")
    with pytest.raises(TooMany):
        rate.take("0")
    rate.take("another")
    rate.take("1")  # was the one longest unheard
    with pytest.raises(TooMany):
        rate.take("0")
