"""Members and their private rows; answers already given to requests that carry an id."""

import unicodedata
from collections.abc import Callable
from typing import Final

import msgspec

from edge.core import crypto, limits
from edge.core.accounts import TREASURY, member_account
from edge.errors import Conflict, UnknownMember
from edge.storage.tx import Tx, View

ANSWERS_KEPT_MS: Final = 30 * limits.DAY_MS
ANSWERS_KEPT_MAX: Final = 10_000  # of one member, or of the steward's commands


class Member(msgspec.Struct, frozen=True):
    id: int
    name: str
    pin_hash: str
    session_epoch: int
    steward: bool = False

    @property
    def account(self) -> str:
        return member_account(self.id)


_COLUMNS = "SELECT id, name, pin_hash, session_epoch, steward FROM member"


def add(tx: Tx, name: str, pin_hash: str, steward: bool = False) -> Member:
    """Add a member; raises Conflict if the name is taken, in any case of letters."""
    if find(tx, name) is not None or fold(name) == TREASURY:
        raise Conflict(f"there is already a member called {name}")
    tx.run(
        "INSERT INTO member (name, folded, pin_hash, steward) VALUES (?, ?, ?, ?)",
        name,
        fold(name),
        pin_hash,
        int(steward),
    )
    return named(tx, name)


def set_pin(tx: Tx, member: Member, pin_hash: str) -> Member:
    """Give a member another PIN, which ends the sessions opened with the old one; return the
    member as now kept."""
    tx.run(
        "UPDATE member SET pin_hash = ?, session_epoch = session_epoch + 1 WHERE id = ?",
        pin_hash,
        member.id,
    )
    return named(tx, member.name)


def end_sessions(tx: Tx, id_: int) -> None:
    """Sign a member out everywhere."""
    tx.run("UPDATE member SET session_epoch = session_epoch + 1 WHERE id = ?", id_)


def set_steward(tx: Tx, member: Member, steward: bool) -> None:
    """Make a member a steward or not; a steward's tokens end with the office, for good."""
    tx.run("UPDATE member SET steward = ? WHERE id = ?", int(steward), member.id)
    if not steward:
        tx.run("DELETE FROM api_token WHERE member = ? AND scopes LIKE '%steward%'", member.id)


def stewards(view: View) -> list[Member]:
    return [_member(row) for row in view.all(f"{_COLUMNS} WHERE steward = 1 ORDER BY folded")]


def find(view: View, name: str) -> Member | None:
    row = view.one(f"{_COLUMNS} WHERE folded = ?", fold(name))
    return _member(row) if row else None


def named(view: View, name: str) -> Member:
    """Return the member; raises UnknownMember."""
    member = find(view, name)
    if member is None:
        raise UnknownMember(f"there is no member called {name!r} here")
    return member


def by_id(view: View, id_: int) -> Member | None:
    row = view.one(f"{_COLUMNS} WHERE id = ?", id_)
    return _member(row) if row else None


def everyone(view: View) -> list[Member]:
    return [_member(row) for row in view.all(f"{_COLUMNS} ORDER BY folded")]


def account_named(view: View, name: str) -> str:
    """Return the account of a member, or `treasury`; raises UnknownMember."""
    return TREASURY if fold(name) == TREASURY else named(view, name).account


def once(tx: Tx, scope: str, id_: str, asked: bytes, do: Callable[[], bytes]) -> bytes:
    """Do what a request asks once, and give the same answer to the same request as long as that is
    remembered (see `forget_answers`).

    Raises Conflict if the id was used for something else. An empty id asks for no such memory.
    """
    if not id_:
        return do()
    row = tx.one("SELECT digest, answer FROM request WHERE scope = ? AND id = ?", scope, id_)
    digest = crypto.sha256(asked)
    if row is None:
        answer = do()
        tx.run(
            "INSERT INTO request (scope, id, digest, answer, stamp_ms) VALUES (?, ?, ?, ?, ?)",
            scope,
            id_,
            digest,
            answer,
            tx.stamp_ms,
        )
        return answer
    if row[0] != digest:
        raise Conflict("a request with this id has asked for something else before")
    return bytes(row[1])


def forget_answers(tx: Tx) -> None:
    """Forget the answers to requests after ANSWERS_KEPT_MS, and of each scope the oldest beyond
    ANSWERS_KEPT_MAX."""
    tx.run("DELETE FROM request WHERE stamp_ms < ?", tx.stamp_ms - ANSWERS_KEPT_MS)
    kept = ANSWERS_KEPT_MAX
    for (scope,) in tx.all("SELECT scope FROM request GROUP BY scope HAVING count(*) > ?", kept):
        tx.run(
            "DELETE FROM request WHERE rowid IN (SELECT rowid FROM request WHERE scope = ?"
            " ORDER BY stamp_ms DESC, rowid DESC LIMIT -1 OFFSET ?)",
            scope,
            kept,
        )


def answered(view: View, scope: str, id_: str) -> bytes | None:
    """Return the answer that a request with this id got, None if there was no such request."""
    row = view.one("SELECT answer FROM request WHERE scope = ? AND id = ?", scope, id_)
    return bytes(row[0]) if row else None


def fold(name: str) -> str:
    """Return the form in which two names are the same name: without case, width and ligatures
    (Unicode's NFKC_Casefold)."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return unicodedata.normalize("NFKC", folded)


def _member(row: tuple[int, str, str, int, int]) -> Member:
    return Member(*row[:4], bool(row[4]))
