"""The answers to requests that are done once: for how long and how many of them are remembered."""

import sqlite3
from pathlib import Path

import pytest

from edge import desk, trade_escrow
from edge.core import limits
from edge.errors import Conflict
from edge.storage import database, members
from edge.storage.tx import Tx
from tests.storage.villages import START_MS, Village

SCHEMA_1 = Path(__file__).parents[1] / "vectors" / "schema-1.sql"


@pytest.fixture
def village() -> Village:
    return Village("ose-missouri-001")


def ask(village: Village, id_: str, scope: str = "member:1", asked: bytes = b"pay") -> str:
    """Ask for something once; return when it was done."""

    def do(tx: Tx) -> bytes:
        return members.once(tx, scope, id_, asked, lambda: str(tx.stamp_ms).encode())

    return village.write(do).decode()


def kept(village: Village) -> list[str]:
    rows = village.conn.execute("SELECT id FROM request ORDER BY stamp_ms, rowid").fetchall()
    return [id_ for (id_,) in rows]


def test_an_answer_is_given_for_thirty_days(village: Village) -> None:
    first = ask(village, "cheese")
    assert members.ANSWERS_KEPT_MS == 30 * limits.DAY_MS
    village.now_ms += members.ANSWERS_KEPT_MS - limits.MINUTE_MS
    village.write(trade_escrow.expire)
    assert ask(village, "cheese") == first
    with pytest.raises(Conflict, match="has asked for something else before"):
        ask(village, "cheese", asked=b"pay more")
    village.now_ms += 2 * limits.MINUTE_MS
    village.write(trade_escrow.expire)
    assert kept(village) == []
    assert ask(village, "cheese", asked=b"pay more") != first


def test_to_ask_again_does_not_make_it_newer(village: Village) -> None:
    """A key lives from its first use on, as programs are told."""
    ask(village, "cheese")
    for _ in range(31):
        village.now_ms += limits.DAY_MS
        village.write(trade_escrow.expire)
        before = kept(village)
        if before:
            ask(village, "cheese")
    assert kept(village) == []


def test_of_each_only_so_many_are_kept(village: Village, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go, and nobody else's."""
    monkeypatch.setattr(members, "ANSWERS_KEPT_MAX", 5)
    ask(village, "theirs", scope="member:2")
    for number in range(12):
        ask(village, f"mine {number}")
    for number in range(5):
        ask(village, f"command {number}", scope="steward")
    village.write(trade_escrow.expire)
    expected = [f"mine {number}" for number in range(7, 12)]
    assert kept(village) == ["theirs", *expected, *(f"command {number}" for number in range(5))]
    village.write(trade_escrow.expire)
    assert len(kept(village)) == 11


def test_the_oldest_go_first_within_one_commit_too(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "ANSWERS_KEPT_MAX", 2)

    def do(tx: Tx) -> None:
        for number in range(4):
            members.once(tx, "member:1", f"mine {number}", b"", lambda: b"")

    village.write(do)
    village.write(trade_escrow.expire)
    assert kept(village) == ["mine 2", "mine 3"]


def test_the_answers_of_schema_1_have_their_time_before_them(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    conn = sqlite3.connect(path, isolation_level=None)
    conn.executescript(SCHEMA_1.read_text("utf-8"))
    conn.execute("DELETE FROM request")
    conn.execute("INSERT INTO request VALUES ('member:1', 'cheese', x'00', x'00')")
    conn.close()
    database.open_writer(path).close()
    village = Village("ose-missouri-001", path, founded=False)
    (stamp_ms,) = village.conn.execute("SELECT stamp_ms FROM request").fetchone()
    assert START_MS < stamp_ms < START_MS + limits.DAY_MS
    village.now_ms = stamp_ms + members.ANSWERS_KEPT_MS - limits.MINUTE_MS
    village.write(trade_escrow.expire)
    assert kept(village) == ["cheese"]
    village.now_ms += limits.DAY_MS
    village.write(trade_escrow.expire)
    assert kept(village) == []
    village.write(lambda tx: desk.add_member(tx, "Dora", "-"))
