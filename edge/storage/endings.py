"""Sessions of the pages that a member has ended, until their cookies would have ended anyway."""

from typing import Final

from edge.storage import members
from edge.storage.tx import Tx, View

ENDED_PER_MEMBER_MAX: Final = 64


def end(tx: Tx, member: int, id_: str, lasts_ms: int) -> None:
    """Note that a session has ended; its cookie is good for at most `lasts_ms` from now.

    A member with more than ENDED_PER_MEMBER_MAX of them is signed out everywhere instead.
    """
    tx.run("DELETE FROM ended_session WHERE ends_ms < ?", tx.stamp_ms)
    tx.run(
        "INSERT INTO ended_session (id, member, ends_ms) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        id_,
        member,
        tx.stamp_ms + lasts_ms,
    )
    (count,) = tx.one("SELECT count(*) FROM ended_session WHERE member = ?", member)
    if count > ENDED_PER_MEMBER_MAX:
        members.end_sessions(tx, member)
        tx.run("DELETE FROM ended_session WHERE member = ?", member)


def has_ended(view: View, id_: str) -> bool:
    return view.one("SELECT 1 FROM ended_session WHERE id = ?", id_) is not None
