"""Which signed requests are fresh: windows, replays, issued nonces, bounds, fairness."""

import random
from collections.abc import Iterator
from typing import Final

import pytest

from edge.core import limits
from edge.errors import ReplayedRequest, StaleRequest
from edge.transport.httpsig import SignatureParams, nonce_text
from edge.transport.replay import ReplayGuard

NOW_S: Final = 1_735_689_600
STARTED_S: Final = NOW_S - 3_600


class Box:
    """A guard with its clocks, and a supply of nonces."""

    def __init__(self, started_s: int = STARTED_S) -> None:
        self.guard = ReplayGuard(started_s)
        self.now_s = NOW_S
        self.monotonic_s = 1_000.0
        self._numbers: Iterator[int] = iter(range(10**9))

    def nonce(self) -> str:
        return nonce_text(next(self._numbers).to_bytes(16, "big"))

    def accept(self, created_s: int | None, nonce: str, village: str = "ose-missouri-001") -> None:
        self.guard.accept(
            SignatureParams(village, created_s, nonce),
            now_s=self.now_s,
            monotonic_s=self.monotonic_s,
            fresh=next(self._numbers).to_bytes(16, "little"),
        )

    def issued(self, village: str = "ose-missouri-001") -> str:
        with pytest.raises(StaleRequest) as caught:
            self.accept(0, self.nonce(), village)
        assert caught.value.more["now"] == self.now_s
        return str(caught.value.more["nonce"])


def test_the_same_request_twice() -> None:
    box, nonce = Box(), nonce_text(b"0123456789abcdef")
    box.accept(NOW_S, nonce)
    with pytest.raises(ReplayedRequest):
        box.accept(NOW_S, nonce)
    box.accept(NOW_S, nonce, "ose-texas-001")  # nonces are each village's own


@pytest.mark.parametrize("off_s", [-60, 0, 60])
def test_within_the_window(off_s: int) -> None:
    box = Box()
    box.accept(NOW_S + off_s, box.nonce())


@pytest.mark.parametrize("off_s", [-NOW_S, -3_600, -61, 61, 3_600, 10**12])
def test_outside_the_window_our_time_and_a_nonce_come_back(off_s: int) -> None:
    box = Box()
    with pytest.raises(StaleRequest, match=f"{abs(off_s)} s") as caught:
        box.accept(NOW_S + off_s, box.nonce())
    assert caught.value.more["now"] == NOW_S
    box.accept(None, str(caught.value.more["nonce"]))


def test_an_issued_nonce_works_once() -> None:
    box = Box()
    nonce = box.issued()
    box.accept(None, nonce)
    with pytest.raises(StaleRequest):
        box.accept(None, nonce)


def test_an_issued_nonce_is_for_one_village() -> None:
    box = Box()
    with pytest.raises(StaleRequest):
        box.accept(None, box.issued("ose-texas-001"), "ose-missouri-001")


def test_an_issued_nonce_expires_by_the_monotonic_clock() -> None:
    box = Box()
    kept, expired = box.issued(), box.issued()
    box.now_s += 10**6
    box.monotonic_s += limits.ISSUED_NONCE_S_MAX
    box.accept(None, kept)
    box.monotonic_s += 1
    with pytest.raises(StaleRequest):
        box.accept(None, expired)


def test_what_was_signed_before_the_start_is_stale() -> None:
    box = Box(started_s=NOW_S)
    for created_s in (NOW_S - 30, NOW_S):
        with pytest.raises(StaleRequest):
            box.accept(created_s, box.nonce())
    box.accept(NOW_S + 1, box.nonce())


def test_a_clock_that_jumps_ahead_and_back_lets_no_replay_through() -> None:
    box, nonce = Box(), Box().nonce()
    box.accept(NOW_S, nonce)
    box.now_s += 86_400
    box.accept(box.now_s, nonce)  # drops what is older than the window
    box.now_s -= 86_400
    with pytest.raises((ReplayedRequest, StaleRequest)):
        box.accept(NOW_S, nonce)


def test_any_walk_of_the_clock_accepts_nothing_twice() -> None:
    for seed in range(50):
        rng, box = random.Random(seed), Box()
        accepted: set[tuple[int, str]] = set()
        sent = [(NOW_S + rng.randrange(-90, 90), box.nonce()) for _ in range(40)]
        for _ in range(200):
            box.now_s += rng.choice([0, 1, 10, -10, 100, -100])
            request = rng.choice(sent)
            try:
                box.accept(*request)
            except (ReplayedRequest, StaleRequest):
                continue
            assert request not in accepted, f"seed={seed}"
            accepted.add(request)


def test_a_village_that_floods_loses_its_own_room_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NONCES_KEPT_MAX", 100)
    box, quiet, first = Box(), Box().nonce(), Box().nonce()
    box.accept(NOW_S, quiet, "ose-texas-001")
    box.accept(NOW_S - 50, first)
    for n in range(1_000):
        box.accept(NOW_S - 40 + n // 20, box.nonce())
    with pytest.raises(ReplayedRequest):
        box.accept(NOW_S, quiet, "ose-texas-001")
    with pytest.raises(StaleRequest):  # forgotten, and yet no way in
        box.accept(NOW_S - 50, first)
    assert sum(peer.count for peer in box.guard._peers.values()) <= 100


def test_counts_are_what_is_kept() -> None:
    box = Box()
    for n in range(500):
        box.now_s += n % 7
        box.accept(box.now_s, box.nonce(), f"village-{n % 3:03}")
    for peer in box.guard._peers.values():
        assert peer.count == sum(map(len, peer.seen.values()))
        assert len(peer.seen) <= 2 * limits.CLOCK_SKEW_S_MAX + 1


def test_issued_nonces_are_bounded_and_shared_fairly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ISSUED_NONCES_MAX", 16)
    box = Box()
    kept = box.issued("ose-texas-001")
    for _ in range(100):
        box.issued("ose-missouri-001")
    assert sum(len(peer.issued) for peer in box.guard._peers.values()) == 16
    box.accept(None, kept, "ose-texas-001")
