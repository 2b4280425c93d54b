"""Single values about this village: its id and its registry entry."""

from typing import Final

from edge.core import registry
from edge.errors import ConfigError
from edge.storage.tx import Tx, View

CLOCK_STEP_MS: Final = 10_000


def read(view: View, name: str) -> str | None:
    row = view.one("SELECT value FROM fact WHERE name = ?", name)
    return row[0] if row else None


def keep(tx: View, name: str, value: str) -> None:
    tx.conn.execute(
        "INSERT INTO fact (name, value) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def own_entry(view: View) -> registry.RegistryEntry:
    """Return this village's signed registry entry."""
    entry = read(view, "entry")
    if entry is None:
        raise ConfigError("this village has no registry entry yet: start the box once")
    return registry.decode(entry.encode())


def keep_own_entry(tx: Tx, entry: registry.RegistryEntry) -> None:
    keep(tx, "entry", registry.encode(entry).decode())


def start(tx: Tx) -> bool:
    """Note that the box runs; tell whether it had stopped cleanly before."""
    clean = read(tx, "running") != "yes"
    keep(tx, "running", "yes")
    return clean


def stop(tx: Tx, heard_until_s: int) -> None:
    """Note that the box has stopped cleanly, and when the latest request it took was signed."""
    keep(tx, "running", "no")
    keep(tx, "heard_until_s", str(heard_until_s))


def is_clock_set_back(tx: Tx) -> bool:
    """Tell whether the clock was set back since this was last asked. A little of that, less than
    CLOCK_STEP_MS, may go unseen: not each time is it noted what the clock says."""
    seen_ms = int(read(tx, "clock_ms") or 0)
    if seen_ms <= tx.now_ms < seen_ms + CLOCK_STEP_MS:
        return False
    keep(tx, "clock_ms", str(tx.now_ms))
    return tx.now_ms < seen_ms


def heard_until_s(view: View) -> int | None:
    """Return when the latest request that was ever taken was signed, 0 if there was none; None
    after a stop that was not clean: then nobody knows."""
    if read(view, "running") == "yes":
        return None
    return int(read(view, "heard_until_s") or 0)
