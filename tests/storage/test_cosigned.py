"""What is shown of who has cosigned the own log: how much of it, and when by their own clocks."""

from datetime import datetime

import msgspec

from edge.core import checkpoint, limits, messages
from edge.core.accounts import Asset
from edge.core.checkpoint import Checkpoint
from edge.health import own_log
from edge.storage import logs, neighbours
from edge.storage.tx import OWN_LOG
from edge.web import views
from tests.storage.villages import Village, neighbours_with_goods


def cosign(village: Village, by: Village, time_s: int) -> None:
    """Have a neighbour cosign a new record."""
    village.write(lambda tx: logs.append_asset(tx, Asset(f"A{time_s}"[:32], "resource", 0)))
    size, root, _ = logs.last_checkpoint(village.view, OWN_LOG) or (0, b"", "")
    head = Checkpoint(village.name, size, root)
    line = checkpoint.cosign(head, by.name, by.identity.key, time_s).to_text()
    made = messages.CosignatureLine(size, line)
    key = by.identity.key.public
    assert village.write(lambda tx: logs.keep_cosignature(tx, by.name, key, made))


def test_a_cosignature_shows_its_time() -> None:
    a, b = neighbours_with_goods()
    everyone = neighbours.everyone(a.view)
    shown = own_log(a.view, everyone)
    assert shown.cosigners == {b.name: shown.size}
    assert abs(shown.cosigned_times[b.name] - b.now_ms // 1000) < 60
    cosign(a, b, 1_760_000_123)
    assert own_log(a.view, everyone).cosigned_times == {b.name: 1_760_000_123}


def test_who_has_never_cosigned_has_no_time() -> None:
    a, _ = neighbours_with_goods()
    [known] = neighbours.everyone(a.view)
    stranger = msgspec.structs.replace(known, village="ose-ohio-001")
    assert own_log(a.view, [stranger]).cosigned_times == {"ose-ohio-001": 0}


def test_a_time_that_no_calendar_has_can_be_shown() -> None:
    """A neighbour's clock is its own: its cosignature counts, whatever it says of the time."""
    a, b = neighbours_with_goods()
    everyone = neighbours.everyone(a.view)
    for time_s in (0, limits.DEADLINE_MINUTE_MAX * 60, checkpoint.TIMESTAMP_S_MAX):
        cosign(a, b, time_s)
        shown = own_log(a.view, everyone)
        assert shown.cosigned_size == shown.size
        second = shown.cosigned_times[b.name]
        assert second == min(time_s, limits.DEADLINE_MINUTE_MAX * 60)
        assert datetime.fromisoformat(views.local_time(second * 1000).iso).year >= 1969
