"""How a box is, in one sentence, and what stands behind it."""

from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from edge import health
from edge.appliance.clock import Clock
from edge.appliance.health import Disk, clock_state, disk_of
from edge.core.limits import DAY_MS
from edge.errors import StorageError
from edge.health import Contact, Now

TEXAS: Final = "ose-texas-001"
WELL: Final = Now(
    ms=1_795_423_800_000,
    disk=Disk(20_000_000_000, 30_000_000_000),
    clock="synchronized",
    serving=True,
    is_checked=True,
    page_urls=(),
    heartbeat_s=60,
    clock_difference_s=lambda _: None,
)
HEARD: Final = Contact(TEXAS, 1_795_423_700, False, 0, "")


def said(contact: Contact = HEARD, **changed: Any) -> str:
    now = msgspec.structs.replace(WELL, **changed)
    return health.sentence(list(health.reasons_of(now, [contact])))


def test_all_is_well() -> None:
    assert said() == "All is well."
    assert said(clock="unconfirmed") == "All is well."  # no time service need run


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"serving": False}, "the box is not running"),
        (
            {"disk": Disk(150_000_000, 1_000_000_000)},
            "the disk has only 150 MB (15 %) left",
        ),
        (
            {"clock": "doubted"},
            "the clock jumped more than a day ahead without a time service: it is not used",
        ),
        (
            {"is_checked": False},
            "the box was not stopped cleanly, and its ledger is still being recomputed",
        ),
    ],
)
def test_what_a_box_suffers_from(changed: dict[str, Any], reason: str) -> None:
    assert said(HEARD, **changed) == f"Not all is well: {reason}."


def test_what_neighbours_are_up_to() -> None:
    never = Contact(TEXAS, 0, True, 0, "")
    assert said(never) == f"Not all is well: {TEXAS} has never been heard from."
    assert said(never, serving=False) == "Not all is well: the box is not running."
    silent = said(Contact(TEXAS, 1_795_400_000, True, 0, ""))
    assert silent.startswith(f"Not all is well: {TEXAS} has not been heard from since Mon 23 Nov")
    trouble = said(Contact(TEXAS, 1_795_423_700, False, -7_200, "it has signed two logs"))
    assert trouble == (
        f"Not all is well: no new trades with {TEXAS}: it has signed two logs; "
        f"the clock of {TEXAS} is 2 hours behind this one."
    )


@pytest.mark.parametrize(
    ("difference_s", "text"),
    [
        (61, "61 seconds ahead of"),
        (-119, "119 seconds behind"),
        (120, "2 minutes ahead of"),
        (-7_199, "119 minutes behind"),
        (200_000, "2 days ahead of"),
    ],
)
def test_how_far_a_clock_is(difference_s: int, text: str) -> None:
    assert health.clock_text(difference_s) == text


@pytest.mark.parametrize(
    ("free", "total", "is_low", "text"),
    [
        (199_999_999, 1_000_000_000, True, "199 MB (19 %)"),
        (200_000_000, 1_000_000_000, False, "200 MB (20 %)"),
        (4_999_999_999, 100_000_000_000, True, "5.0 GB (4 %)"),
        (5_000_000_000, 100_000_000_000, False, "5.0 GB (5 %)"),
        (0, 0, True, "0 MB (0 %)"),
    ],
)
def test_a_disk_is_low_below_either_bound(free: int, total: int, is_low: bool, text: str) -> None:
    disk = Disk(free, total)
    assert disk.is_low is is_low
    assert health.disk_text(disk) == text


def test_the_disk_of_a_folder(tmp_path: Path) -> None:
    disk = disk_of(tmp_path)
    assert 0 < disk.free_bytes <= disk.total_bytes
    with pytest.raises(StorageError, match="no-such-folder"):
        disk_of(tmp_path / "no-such-folder")


def test_the_state_of_a_clock() -> None:
    wall, confirmed = 1_000_000, False
    clock = Clock(lambda: wall, lambda: 0, lambda: confirmed)
    assert clock_state(clock) == "unconfirmed"
    wall += DAY_MS + 1
    assert clock_state(clock) == "doubted"
    confirmed = True
    assert clock_state(clock) == "synchronized"
