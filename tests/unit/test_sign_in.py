"""How often a name and PIN may be tried."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from edge.core import crypto
from edge.errors import NotSignedIn, TooMany
from edge.storage import members
from edge.storage.members import Member
from edge.web.sign_in import (
    FORGET_S,
    KEYS_MAX,
    NOBODYS_PIN_HASH,
    TRIES_PER_NAME,
    TRIES_PER_NAME_ANYWHERE,
    WAIT_ANYWHERE_S_MAX,
    WAIT_S_MAX,
    WAIT_S_MIN,
    SignIn,
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


def test_who_waits_is_not_freed_by_tries_of_other_names() -> None:
    tries = Tries(TRIES_PER_NAME, Clock())
    for _ in range(TRIES_PER_NAME):
        tries.count("alice")
    for number in range(2 * KEYS_MAX):
        tries.count(str(number))
    assert wait_of(tries, "alice") > 0


async def member_or_none(sign_in: SignIn, name: str, pin: str, address: str) -> str:
    """Return how a try ends: the member's name, `wrong`, or `wait`."""
    try:
        return (await sign_in.check(name, pin, address)).name
    except NotSignedIn:
        return "wrong"
    except TooMany:
        return "wait"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sign_in(clock: Clock) -> Iterator[SignIn]:
    """Alice's PIN is `right`."""
    alice = Member(1, "Alice", "right", 0)

    class Members:
        async def read(self, look: Callable[[Any], Any]) -> Any:
            return look(None)

        async def write(self, do: Callable[[Any], Any]) -> Any:
            raise AssertionError

    async def check(look: Callable[[], bool]) -> bool:
        return look()

    with pytest.MonkeyPatch.context() as patched:
        find = lambda _, name: alice if members.fold(name) == "alice" else None  # noqa: E731
        patched.setattr(members, "find", find)
        patched.setattr(crypto, "check_pin", lambda hash_, pin: hash_ == pin)
        yield SignIn(Members(), check, clock)


async def test_a_stranger_keeps_no_member_out_at_another_address(sign_in: SignIn) -> None:
    tried = [await member_or_none(sign_in, "Alice", "wrong", "stranger") for _ in range(30)]
    assert tried == ["wrong"] * TRIES_PER_NAME + ["wait"] * (30 - TRIES_PER_NAME)
    assert await member_or_none(sign_in, "Alice", "right", "stranger") == "wait"
    assert await member_or_none(sign_in, "Alice", "right", "home") == "Alice"


async def test_guessing_from_many_addresses_is_slow_and_home_stays_open(
    sign_in: SignIn, clock: Clock
) -> None:
    assert await member_or_none(sign_in, "Alice", "right", "home") == "Alice"
    tried = [await member_or_none(sign_in, "Alice", "wrong", str(n)) for n in range(50)]
    assert tried.count("wrong") == TRIES_PER_NAME_ANYWHERE
    assert await member_or_none(sign_in, "Alice", "right", "home") == "Alice"
    guesses = 0
    for number in range(24 * 60):
        clock.now_s += 60
        outcome = await member_or_none(sign_in, "Alice", "wrong", f"again {number}")
        guesses += outcome == "wrong"
    assert guesses <= 86_400 // WAIT_ANYWHERE_S_MAX + 10
    clock.now_s += WAIT_ANYWHERE_S_MAX + 1
    assert await member_or_none(sign_in, "Alice", "right", "somewhere new") == "Alice"


async def test_other_names_free_no_member(sign_in: SignIn) -> None:
    """Nor is it told by the waiting who is a member."""
    for number in range(TRIES_PER_NAME_ANYWHERE):
        await member_or_none(sign_in, "Alice", "wrong", str(number))
        await member_or_none(sign_in, "Nobody", "wrong", str(number))
    assert await member_or_none(sign_in, "Nobody", "wrong", "another") == "wait"
    for number in range(2 * KEYS_MAX):
        await member_or_none(sign_in, f"name {number}", "wrong", f"address {number}")
    assert await member_or_none(sign_in, "Alice", "wrong", "another") == "wait"


def test_an_unknown_name_takes_as_long_as_a_wrong_pin() -> None:
    """Both check an Argon2id hash of the same cost."""
    algorithm, version, cost = crypto.hash_pin("1234").split("$")[1:4]
    assert NOBODYS_PIN_HASH.split("$")[1:4] == [algorithm, version, cost]
    assert not crypto.check_pin(NOBODYS_PIN_HASH, "1234")
