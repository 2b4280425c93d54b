"""Single values about this village: its id and its registry entry."""

from edge.core import registry
from edge.errors import ConfigError
from edge.storage.tx import Tx, View


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


def stop(tx: Tx) -> None:
    """Note that the box has stopped cleanly."""
    keep(tx, "running", "no")
