"""Which times are believed: three sources that a test can turn."""

from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge.appliance.clock import Clock
from edge.core.limits import DAY_MS

START_MS = 1_760_000_000_000


class Machine:
    """A wall clock that can jump, and one that cannot."""

    def __init__(self) -> None:
        self.wall_ms = START_MS
        self.monotonic_ms = 5_000
        self.synchronized = False
        self.clock = Clock(lambda: self.wall_ms, lambda: self.monotonic_ms, self.is_synchronized)

    def is_synchronized(self) -> bool:
        return self.synchronized

    def wait(self, ms: int) -> None:
        self.wall_ms += ms
        self.monotonic_ms += ms

    def jump(self, ms: int) -> None:
        self.wall_ms += ms


def test_time_goes_on() -> None:
    machine = Machine()
    machine.wait(1_500)
    assert machine.clock.now_ms() == START_MS + 1_500
    assert machine.clock.now_s() == (START_MS + 1_500) // 1_000
    assert machine.clock.monotonic_s() == 6.5
    assert machine.clock.not_believed_ms is None


def test_a_jump_of_more_than_a_day_without_a_time_service_is_not_believed() -> None:
    machine = Machine()
    machine.jump(DAY_MS + 1)
    machine.wait(2_000)
    assert machine.clock.now_ms() == START_MS + 2_000
    assert machine.clock.not_believed_ms == START_MS + DAY_MS + 2_001
    machine.wait(3_000)  # and it stays so, time going on from before
    assert machine.clock.now_ms() == START_MS + 5_000
    machine.wait(3 * DAY_MS)
    assert machine.clock.now_ms() == START_MS + 5_000 + 3 * DAY_MS
    assert machine.clock.not_believed_ms is not None


def test_a_time_service_is_believed() -> None:
    machine = Machine()
    machine.jump(400 * DAY_MS)
    assert machine.clock.now_ms() == START_MS
    machine.synchronized = True
    assert machine.clock.now_ms() == START_MS + 400 * DAY_MS
    assert machine.clock.not_believed_ms is None
    machine.synchronized = False  # from here on, time goes on from there
    machine.wait(10)
    assert machine.clock.now_ms() == START_MS + 400 * DAY_MS + 10


def test_smaller_jumps_are_believed_both_ways() -> None:
    machine = Machine()
    machine.jump(DAY_MS)
    assert machine.clock.now_ms() == START_MS + DAY_MS
    machine.jump(-3 * DAY_MS)
    assert machine.clock.now_ms() == START_MS - 2 * DAY_MS
    assert machine.clock.not_believed_ms is None


def test_a_clock_set_right_again_clears_the_flag() -> None:
    machine = Machine()
    machine.jump(DAY_MS * 30)
    machine.clock.now_ms()
    machine.jump(-DAY_MS * 30)
    machine.wait(1_000)
    assert machine.clock.now_ms() == START_MS + 1_000
    assert machine.clock.not_believed_ms is None


def test_a_long_silence_is_no_jump() -> None:
    machine = Machine()
    machine.wait(DAY_MS * 10)  # asked again after ten days of running
    assert machine.clock.now_ms() == START_MS + DAY_MS * 10
    assert machine.clock.not_believed_ms is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from((Machine.wait, Machine.jump)), st.integers(0, 2 * DAY_MS), st.booleans()
        ),
        max_size=30,
    )
)
def test_without_a_time_service_no_step_is_over_a_day(
    steps: list[tuple[Callable[[Machine, int], None], int, bool]],
) -> None:
    """Between two looks the clock never gains more than a day on the one that cannot jump."""
    machine = Machine()
    seen = [(machine.clock.now_ms(), machine.monotonic_ms)]
    for act, ms, back in steps:
        act(machine, -ms if back and act is Machine.jump else ms)
        seen.append((machine.clock.now_ms(), machine.monotonic_ms))
    for (before, monotonic_before), (after, monotonic_after) in pairwise(seen):
        assert after - before - (monotonic_after - monotonic_before) <= DAY_MS


def test_the_machine_itself_has_a_time() -> None:
    clock = Clock()
    assert clock.now_ms() > START_MS
    assert clock.monotonic_s() <= clock.monotonic_s()
