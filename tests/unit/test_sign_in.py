"""How often a name and PIN may be tried."""

from edge.core import crypto
from edge.errors import TooMany
from edge.web.sign_in import (
    FORGET_S,
    KEYS_MAX,
    NOBODYS_PIN_HASH,
    WAIT_S_MAX,
    WAIT_S_MIN,
    Tries,
)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def wait_of(tries: Tries, key: str = "alice") -> int:
    """Return how long a try must wait now."""
    try:
        tries.check(key)
    except TooMany as error:
        return int(error.more["retry_after_s"])
    return 0


def test_waits_begin_after_the_free_tries_and_grow_to_a_bound() -> None:
    clock = Clock()
    tries = Tries(3, clock)
    waits = []
    for _ in range(12):
        waits.append(wait_of(tries))
        clock.now_s += waits[-1]
        assert wait_of(tries) == 0
        tries.count("alice")
    assert waits[:3] == [0, 0, 0]
    assert waits[3] == WAIT_S_MIN + 1
    assert waits[4] == 2 * WAIT_S_MIN + 1
    assert max(waits) == waits[-1] == WAIT_S_MAX + 1


def test_others_are_not_touched() -> None:
    tries = Tries(1, Clock())
    tries.count("alice")
    assert wait_of(tries, "alice") > 0
    assert wait_of(tries, "bob") == 0


def test_success_and_time_forget() -> None:
    clock = Clock()
    tries = Tries(1, clock)
    tries.count("alice")
    tries.forget("alice")
    assert wait_of(tries) == 0
    for _ in range(8):
        tries.count("alice")
    clock.now_s += FORGET_S + 1
    tries.count("alice")
    assert wait_of(tries) == WAIT_S_MIN + 1


def test_a_count_can_be_taken_back() -> None:
    tries = Tries(2, Clock())
    for _ in range(5):
        tries.count("address")
        tries.take_back("address")
    assert wait_of(tries, "address") == 0
    tries.take_back("unknown")


def test_the_table_is_bounded_and_the_longest_untouched_goes_first() -> None:
    tries = Tries(1, Clock())
    tries.count("first")
    tries.count("second")
    for number in range(KEYS_MAX - 2):
        tries.count(str(number))
    tries.count("first")
    tries.count("one more")
    assert wait_of(tries, "first") > 0
    assert wait_of(tries, "second") == 0


def test_an_unknown_name_takes_as_long_as_a_wrong_pin() -> None:
    """Both check an Argon2id hash of the same cost."""
    algorithm, version, cost = crypto.hash_pin("1234").split("$")[1:4]
    assert NOBODYS_PIN_HASH.split("$")[1:4] == [algorithm, version, cost]
    assert not crypto.check_pin(NOBODYS_PIN_HASH, "1234")
