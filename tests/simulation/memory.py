"""Pure functions of the product, remembered: in one process a signature that one village has
checked need not be checked again for the next, and what was read need not be parsed again.

What raises is not remembered, and the same arguments give the same answer as ever.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest import mock

from edge.core import checkpoint, crypto, note, receipt, registry
from edge.storage import database
from edge.storage.tx import Tx
from tests.simulation import disk
from tests.simulation.disk import Disk

KEPT_MAX: Final = 200_000
_kept: dict[tuple[Any, ...], Any] = {}


@contextmanager
def remembered() -> Iterator[None]:
    """Remember while this lasts, from one time to the next."""
    if len(_kept) > KEPT_MAX:
        _kept.clear()
    with ExitStack() as stack:
        for owner, name, key in (
            (crypto, "verify", None),
            (checkpoint, "open_checkpoint", None),
            (checkpoint, "without_others", None),
            (checkpoint, "verify_cosignature", None),
            (registry, "decode", None),
            (registry, "verify", None),
            (receipt, "statement_of", lambda evidence, _, text: (evidence, text)),
        ):
            right = getattr(owner, name)
            stack.enter_context(mock.patch.object(owner, name, _once(right, key)))
        right_note = note.Note.from_text.__func__  # type: ignore[attr-defined]
        fast = _once(lambda text: right_note(note.Note, text), None)
        stack.enter_context(mock.patch.object(note.Note, "from_text", staticmethod(fast)))
        stack.enter_context(mock.patch.object(Tx, "run", _noted_run))
        stack.enter_context(mock.patch.object(database, "migrate", disk.migrate))
        yield


def _noted_run(self: Tx, sql: str, *values: object) -> int:
    """Do as Tx.run does, and tell the disk what was written."""
    rows = self.conn.execute(sql, values).rowcount
    if isinstance(self.conn, Disk):
        self.conn.note(sql, rows)
    return rows


def _once(
    right: Callable[..., Any], key: Callable[..., tuple[Any, ...]] | None
) -> Callable[..., Any]:
    kept = _kept

    def again(*arguments: Any) -> Any:
        place = (right, *(key(*arguments) if key else arguments))
        try:
            return kept[place]
        except KeyError:
            found = kept[place] = right(*arguments)
            return found

    return again
