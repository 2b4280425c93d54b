"""What a box that was set back knows of that."""

from edge.storage import facts
from edge.storage.tx import Tx


def mark_restored(tx: Tx) -> None:
    """Note that this database is older than what the village has said by now, perhaps."""
    facts.keep(tx, "running", "yes")  # nobody knows which requests were taken since
