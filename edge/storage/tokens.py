"""What a member's own programs show in place of a PIN: random tokens, kept as hashes."""

from typing import Final, Literal, get_args

import msgspec

from edge.core import crypto, limits, names
from edge.errors import Forbidden, InvalidInput, NotFound, NotSignedIn, TooMany
from edge.storage import members
from edge.storage.members import Member
from edge.storage.tx import Tx, View

Scope = Literal["read", "trade", "steward"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
PREFIX: Final = "ve_"  # so that people and scanners of files know one when they see it
SECRET_BYTES: Final = 32
NAME_CHARS_MAX: Final = 40
PER_MEMBER_MAX: Final = 20
_TEXT_CHARS: Final = len(PREFIX) + 2 * SECRET_BYTES


class Token(msgspec.Struct, frozen=True):
    """`used_ms`: when it was last used, to the hour; 0 for never."""

    id: int
    name: str
    scopes: frozenset[Scope]
    created_ms: int
    used_ms: int


_COLUMNS = "SELECT id, name, scopes, created_ms, used_ms FROM api_token"


def create(tx: Tx, member: Member, name: str, scopes: frozenset[Scope]) -> str:
    """Make a token and return it, `ve_` and 64 hex digits: kept nowhere, so never shown again.

    Raises InvalidInput, Forbidden for a scope that the member has not, TooMany.
    """
    names.line(name, "token's name", NAME_CHARS_MAX)
    if not scopes:
        raise InvalidInput("a token without a scope is good for nothing: choose one")
    if "steward" in scopes and not member.steward:
        raise Forbidden("only a steward's token has the scope steward")
    if tx.one("SELECT count(*) FROM api_token WHERE member = ?", member.id)[0] >= PER_MEMBER_MAX:
        raise TooMany(f"you have {PER_MEMBER_MAX} tokens: revoke one first")
    text = PREFIX + tx.random(SECRET_BYTES).hex()
    tx.run(
        "INSERT INTO api_token (member, digest, name, scopes, created_ms) VALUES (?, ?, ?, ?, ?)",
        member.id,
        crypto.sha256(text.encode()),
        name,
        " ".join(scope for scope in SCOPES if scope in scopes),
        tx.stamp_ms,
    )
    return text


def revoke(tx: Tx, member: Member, id_: int) -> None:
    """Forget a member's token; from then on it opens nothing. Raises NotFound."""
    if not tx.run("DELETE FROM api_token WHERE id = ? AND member = ?", id_, member.id):
        raise NotFound("you have no such token, or not any more")


def revoke_all(tx: Tx, member: int) -> None:
    tx.run("DELETE FROM api_token WHERE member = ?", member)


def of_member(view: View, member: Member) -> list[Token]:
    """Return a member's tokens, the newest first."""
    return [
        _token(row) for row in view.all(f"{_COLUMNS} WHERE member = ? ORDER BY id DESC", member.id)
    ]


def holder(view: View, text: str) -> tuple[Member, Token]:
    """Return whose token this is, with the scopes that it has now: a member who is no steward any
    more has none of that. Raises NotSignedIn."""
    row = None
    if len(text) == _TEXT_CHARS and text.isascii():
        digest = crypto.sha256(text.encode())
        row = view.one(f"{_COLUMNS.replace(' FROM', ', member FROM')} WHERE digest = ?", digest)
    member = members.by_id(view, row[5]) if row else None
    if row is None or member is None:
        raise NotSignedIn("this is not a token of this box, or it has been revoked")
    token = _token(row[:5])
    if not member.steward:
        token = msgspec.structs.replace(token, scopes=token.scopes - {"steward"})
    return member, token


def note_use(tx: Tx, id_: int, now_ms: int) -> None:
    """Note that a token is used, to the hour."""
    tx.run("UPDATE api_token SET used_ms = ? WHERE id = ?", hour_of(now_ms), id_)


def hour_of(ms: int) -> int:
    return ms - ms % limits.HOUR_MS


def _token(row: tuple[int, str, str, int, int]) -> Token:
    id_, name, scopes, created_ms, used_ms = row
    found = frozenset(scope for scope in SCOPES if scope in scopes.split(" "))
    return Token(id_, name, found, created_ms, used_ms)
