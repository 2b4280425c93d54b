"""The audit: nothing to say of a sound village; of each changed row, where it is."""

import re
import sqlite3
from pathlib import Path
from typing import Final

import pytest

from edge import desk
from edge.core import limits, records
from edge.storage import database, ledger, logs, members
from edge.storage.audit import AuditReport, audit
from edge.storage.tx import OWN_LOG, View, position
from tests.storage import villages
from tests.storage.tampering import COPY, Story, agreed, flip_text, flipped, found_in

# A sound village


def test_a_sound_village_agrees(story: Story) -> None:
    report = audit(story.a.view)
    assert report == AuditReport(
        village="ose-missouri-001",
        size=logs.size_of(story.a.view, OWN_LOG),
        root=logs.head_of(story.a.view, OWN_LOG).root,
        sealed=9,
        lost=0,
        settled=1,
        aborted=0,
        open=2,
        accounts=5,
        assets=3,
        copies=report.copies,
    )
    [copy] = report.copies
    known = logs.size_of(story.a.view, COPY)
    assert (copy.village, copy.size, copy.checkpoint_size) == ("ose-california-001", known, known)


def test_the_story_has_every_record_kind(story: Story) -> None:
    kinds = {
        type(records.decode(record))
        for village in story
        for (record,) in village.conn.execute("SELECT record FROM entry")
    }
    later = {records.DeliveredRecord, records.DisputedRecord}  # these have a story of their own
    assert kinds == set(records.Record.__args__) - later
    report = audit(story.b.view)
    assert (report.settled, report.aborted, report.open) == (1, 1, 2)


def test_progress_grows_to_the_whole(story: Story) -> None:
    seen: list[tuple[int, int]] = []
    audit(story.a.view, lambda done, total: seen.append((done, total)))
    sizes = [logs.size_of(story.a.view, log) for log in (OWN_LOG, COPY)]
    assert seen == [(sizes[0], sum(sizes)), (sum(sizes), sum(sizes))]


def test_an_erased_personal_part_is_no_difference(a: sqlite3.Connection) -> None:
    changed = a.execute("UPDATE sealed SET personal = NULL, personal_nonce = NULL").rowcount
    assert changed == 9
    agreed(a)


def test_a_row_of_an_account_that_has_nothing_is_no_difference(a: sqlite3.Connection) -> None:
    a.execute("INSERT INTO balance (account, asset, debit_limit) VALUES ('member:77', 'AT', 0)")
    agreed(a)


def test_a_limit_lowered_below_what_is_owed_is_no_difference() -> None:
    a, _ = villages.neighbours_with_goods()
    a.write(lambda tx: desk.set_limit(tx, "Carol", "AT", "20"))
    a.write(lambda tx: desk.pay(tx, "Carol", "Alice", "15"))
    a.write(lambda tx: desk.set_limit(tx, "Carol", "AT", "10"))
    audit(a.view)
    a.conn.execute("UPDATE balance SET debit_limit = 900 WHERE account = 'member:2'")
    assert found_in(a.conn) == "balance of member:2 in AT: limit: expected 1000, found 900"


def test_a_balance_used_to_the_last_cent_is_no_difference() -> None:
    """By payments, and by a trade that uses balances, goods and lines up on both sides."""
    a, b = villages.neighbours_with_goods()
    b.write(lambda tx: desk.declare(tx, "Bob", "Solar Panel", "1"))
    b.write(lambda tx: desk.set_limit(tx, a.name, "AT", "49999"))
    a.write(lambda tx: desk.set_limit(tx, "Carol", "AT", "10000000000"))
    a.write(lambda tx: desk.pay(tx, "Carol", "treasury", "10000000000"))
    a.write(lambda tx: desk.declare(tx, "Carol", "Gold", "0.000001", decimals=6))
    a.write(lambda tx: desk.consume(tx, "Carol", "Gold", "0.000001"))
    known = villages.propose(a, b, ("AT", "49999"), ("Solar Panel", "10"), fee=100)
    villages.sync(a, b)
    villages.accept(b, known.subject)
    audit(b.view)
    villages.sync(a, b)
    assert audit(a.view).settled == audit(b.view).settled == 1
    available = {
        (account, code): counters.available
        for village, account in ((a, "member:1"), (a, "member:2"), (b, "member:1"))
        for code, counters in ledger.balances(village.view, account).items()
        if counters.debits_posted
    }
    assert set(available.values()) == {0}


def test_a_database_without_a_village_is_named() -> None:
    village = villages.Village("ose-ohio-001", founded=False)
    expected = "the own log: its records: expected at least the village record, found none"
    assert found_in(village.conn) == expected


def test_a_part_of_a_copy_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that came before the rest of their checkpoint's: verified, kept, not yet signed."""
    a, b = villages.neighbours_with_goods()
    known = logs.size_of(b.view, COPY)
    a.write_all([lambda tx: desk.pay(tx, "Alice", "Carol", "1") for _ in range(11)])
    monkeypatch.setattr(limits, "PUSH_RECORDS_MAX", 3)
    assert villages.say(a, b)
    [copy] = audit(b.view).copies
    assert (copy.size, copy.checkpoint_size) == (known + 3, known)
    b.conn.execute("DROP TRIGGER entry_fixed")
    b.conn.execute(
        "UPDATE entry SET record = x'00' WHERE position = ?", (position(COPY, 0, known + 1),)
    )
    where = f"the copy of ose-missouri-001, record {known + 1}: its leaf hash"
    assert found_in(b.conn).startswith(where)


def test_chunks_agree_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs longer than a chunk, with checkpoints in, at and between its ends."""
    monkeypatch.setattr("edge.storage.audit.CHUNK_RECORDS", 4)
    a, b = villages.neighbours_with_goods()
    for count in (1, 2, 3, 5, 8, 1, 4, 9):
        a.write_all([lambda tx: desk.pay(tx, "Alice", "Carol", "1") for _ in range(count)])
    villages.sync(a, b)
    assert audit(a.view).size == audit(b.view).copies[0].size == 36
    a.conn.execute("DROP TRIGGER node_fixed")
    nodes = a.conn.execute("SELECT position FROM node WHERE position < 1 << 46").fetchall()
    assert len(nodes) == 36 - 2  # 36 is 32 + 4: two whole trees
    for (at,) in nodes:
        (before,) = a.conn.execute("SELECT hash FROM node WHERE position = ?", (at,)).fetchone()
        change = "UPDATE node SET hash = ? WHERE position = ?"
        a.conn.execute(change, (flipped(before), at))
        level, index = at >> 40, at & (1 << 40) - 1
        assert found_in(a.conn).startswith(f"the own log, tree node {index} of level {level}: its ")
        a.conn.execute(change, (before, at))
    agreed(a.conn)


def test_it_reads_one_state_beside_a_running_writer(tmp_path: Path) -> None:
    a, _ = villages.neighbours_with_goods(tmp_path / "ledger.db")
    size = logs.size_of(a.view, OWN_LOG)
    reader = database.open_reader(tmp_path / "ledger.db")

    def meanwhile(_done: int, _total: int) -> None:
        a.write(lambda tx: desk.pay(tx, "Alice", "Carol", "1"))

    assert audit(View(reader), meanwhile).size == size
    assert audit(View(reader)).size == size + 2  # one for each log that was read
    assert not reader.in_transaction
    reader.close()
    a.conn.close()


def test_the_first_difference_is_named(a: sqlite3.Connection) -> None:
    for index in (9, 4, 7):
        a.execute("UPDATE sealed SET posting = x'00' WHERE idx = ?", (index,))
    assert found_in(a).startswith("record 4: the commitment to its posting: expected ")


# Rows that were changed

CHANGES: Final[dict[str, tuple[str, str]]] = {
    # what is planted, and how the message begins
    "a leaf": (
        "UPDATE entry SET leaf = zeroblob(32) WHERE position = 3",
        "record 3: its leaf hash",
    ),
    "no node": (
        "DELETE FROM node WHERE position = 1 << 40 | 2",
        "tree node 2 of level 1: its hash",
    ),
    "a node too many": (
        "INSERT INTO node VALUES (5 << 40, zeroblob(32))",
        "table node: a place that no log has: expected none, found 5497558138880",
    ),
    "a node among the leaves": (
        "INSERT INTO node VALUES (2, zeroblob(32))",
        "table node: a place that no log has: expected none, found 2",
    ),
    "no record": ("DELETE FROM entry WHERE position = 6", "record 6: the record"),
    "a record far away": (
        "INSERT INTO entry VALUES (90, zeroblob(32), x'00')",
        "record 15: the record",
    ),
    "no last record": (
        (
            "DELETE FROM entry WHERE position = (SELECT max(position) FROM entry"
            " WHERE position < 1 << 40)"
        ),
        "the own log: a checkpoint's size: expected 14 at most, found 15",
    ),
    "an entry above the leaves": (
        "INSERT INTO entry VALUES (1 << 40, zeroblob(32), x'00')",
        "table entry: a place that no log has: expected none, found 1099511627776",
    ),
    "an entry of no log": (
        "INSERT INTO entry VALUES (7 << 46, zeroblob(32), x'00')",
        "table entry: a place that no log has: expected none, found 492581209243648",
    ),
    "an entry before all": (
        "INSERT INTO entry VALUES (-5, zeroblob(32), x'00')",
        "table entry: a place that no log has: expected none, found -5",
    ),
    "a node of no log": (
        "INSERT INTO node VALUES (7 << 46, zeroblob(32))",
        "table node: a place that no log has: expected none, found 492581209243648",
    ),
    "a node before all": (
        "INSERT INTO node VALUES (-5, zeroblob(32))",
        "table node: a place that no log has: expected none, found -5",
    ),
    "a checkpoint's root": (
        "UPDATE checkpoint SET root = zeroblob(32) WHERE log = 0 AND size = 2",
        "the own log, checkpoint 2: its root",
    ),
    "a checkpoint of the empty tree": (
        "INSERT INTO checkpoint SELECT 0, 0, root, note FROM checkpoint WHERE size = 2 AND log = 0",
        "the own log, checkpoint 0: its root",
    ),
    "another checkpoint's note": (
        (
            "UPDATE checkpoint SET note = (SELECT note FROM checkpoint WHERE log = 0 AND size = 3)"
            " WHERE log = 0 AND size = 2"
        ),
        "the own log, checkpoint 2: its note",
    ),
    "a checkpoint ahead": (
        "INSERT INTO checkpoint SELECT 0, 16, root, note FROM checkpoint WHERE log = 0 LIMIT 1",
        "the own log: a checkpoint's size",
    ),
    "a checkpoint of no log": (
        "INSERT INTO checkpoint VALUES (5, 1, zeroblob(32), '')",
        "table checkpoint: the log that a row names: expected one",
    ),
    "a cosignature of nothing": (
        "UPDATE cosignature SET size = size + 1000 WHERE log = 1",
        "table cosignature: the checkpoint that a row names: expected one",
    ),
    "an unknown cosigner": (
        "UPDATE cosignature SET village = 'a-b-001' WHERE log = 0 AND size = 3",
        "the own log, cosignature of a-b-001 on checkpoint 3: who cosigned",
    ),
    "another's cosignature": (
        "UPDATE cosignature SET village = 'ose-missouri-001' WHERE log = 0 AND size = 3",
        "the own log, cosignature of ose-missouri-001 on checkpoint 3: its signature",
    ),
    "no private row": ("DELETE FROM sealed WHERE idx = 3", "record 3: its private row"),
    "a private posting": (
        "UPDATE sealed SET posting = CAST(replace(posting, '1234', '1235') AS BLOB) WHERE idx = 3",
        "record 3: the commitment to its posting",
    ),
    "a nonce": (
        "UPDATE sealed SET posting_nonce = zeroblob(32) WHERE idx = 3",
        "record 3: the commitment to its posting",
    ),
    "a short nonce": (
        "UPDATE sealed SET posting_nonce = x'00' WHERE idx = 3",
        "record 3: the commitment to its posting: expected",
    ),
    "a note": (
        (
            "UPDATE sealed SET personal = CAST(replace(personal, 'cheese', 'butter') AS BLOB)"
            " WHERE idx = 3"
        ),
        "record 3: the commitment to its personal part",
    ),
    "a note without its nonce": (
        "UPDATE sealed SET personal_nonce = NULL WHERE idx = 3",
        "record 3: the commitment to its personal part: expected .*, found none",
    ),
    "a personal part that was never sealed": (
        "UPDATE sealed SET personal = x'00', personal_nonce = zeroblob(32) WHERE idx = 4",
        "record 4: the commitment to its personal part: expected none",
    ),
    "a private row of a public record": (
        "INSERT INTO sealed VALUES (0, zeroblob(32), x'00', NULL, NULL)",
        "record 0: its private row: expected none, found one",
    ),
    "a private row of no record": (
        "INSERT INTO sealed VALUES (50, zeroblob(32), x'00', NULL, NULL)",
        "record 50: a private row without a record",
    ),
    "a private row before the first": (
        "INSERT INTO sealed VALUES (-1, zeroblob(32), x'00', NULL, NULL)",
        "record -1: a private row without a record",
    ),
    "no balance": (
        "DELETE FROM balance WHERE account = 'treasury'",
        "balance of treasury in AT: its row",
    ),
    "a balance from nowhere": (
        "INSERT INTO balance VALUES ('member:9', 'AT', 0, 5, 0, 0, 0, 0, NULL)",
        "balance of member:9 in AT: credits_posted: expected 0, found 5",
    ),
    "an unused account with a limit": (
        "INSERT INTO balance (account, asset, debit_limit) VALUES ('member:9', 'AT', 5)",
        "balance of member:9 in AT: limit: expected 0, found 5",
    ),
    "a balance of an unknown asset": (
        "INSERT INTO balance (account, asset, debit_limit) VALUES ('member:9', 'GOLD', 0)",
        "balance of member:9 in GOLD: its asset",
    ),
    "no statement": (
        "DELETE FROM statement WHERE log = 0 AND kind = 'settle'",
        "record 13: its row",
    ),
    "another statement": (
        "UPDATE statement SET kind = 'hold' WHERE log = 0 AND kind = 'no-hold'",
        "record 14: its row among the statements: expected no-hold, found hold",
    ),
    "a statement too many": (
        (
            "INSERT INTO statement SELECT subject, log, 3, kind FROM statement"
            " WHERE log = 0 AND kind = 'hold'"
        ),
        "record 3: a row among the statements: expected none, found hold",
    ),
    "a statement beyond the end": (
        (
            "INSERT INTO statement SELECT subject, log, 55, kind FROM statement"
            " WHERE log = 0 AND kind = 'hold'"
        ),
        "record 55: a row among the statements: expected none, found hold",
    ),
    "a statement of no log": (
        "INSERT INTO statement VALUES (zeroblob(32), 7, 0, 'hold')",
        "table statement: the log that a row names: expected one, found 7",
    ),
    "no statement of a copy": (
        "DELETE FROM statement WHERE log = 1 AND kind = 'release'",
        "the copy of ose-california-001, record 7: its row among the statements",
    ),
    "an asset": (
        "UPDATE asset SET decimals = 2 WHERE log = 0 AND code = 'FLOUR'",
        "the own log, asset FLOUR: its row",
    ),
    "no asset": (
        "DELETE FROM asset WHERE log = 1 AND code = 'SOLAR-PANEL'",
        "the copy of ose-california-001, asset SOLAR-PANEL: its row",
    ),
    "an asset too many": (
        "INSERT INTO asset VALUES (0, 'GOLD', 'resource', 0)",
        "the own log, asset GOLD: its row: expected none",
    ),
    "an asset of no log": (
        "INSERT INTO asset VALUES (9, 'GOLD', 'resource', 0)",
        "table asset: the log that a row names: expected one, found 9",
    ),
    "a copied leaf": (
        "UPDATE entry SET leaf = zeroblob(32) WHERE position = (1 << 46) + 3",
        "the copy of ose-california-001, record 3: its leaf hash",
    ),
    "a copied node": (
        "UPDATE node SET hash = zeroblob(32) WHERE position = (1 << 46) + (1 << 40) + 1",
        "the copy of ose-california-001, tree node 1 of level 1: its hash",
    ),
    "a copied checkpoint": (
        "UPDATE checkpoint SET root = zeroblob(32) WHERE log = 1 AND size = 8",
        "the copy of ose-california-001, checkpoint 8: its root",
    ),
    "another key of a neighbour": (
        "UPDATE neighbour SET public_key = zeroblob(32)",
        "neighbour ose-california-001: the key of its log",
    ),
    "another key of a log": (
        "UPDATE log SET public_key = zeroblob(32) WHERE id = 0",
        "record 0: the key of the village",
    ),
    "another name of a log": (
        "UPDATE log SET village = 'a-b-001' WHERE id = 0",
        "the own log: its village",
    ),
    "no village": ("DELETE FROM fact WHERE name = 'village_id'", "the own log: its village"),
    "no own log": (
        "DELETE FROM log WHERE id = 0",
        "the own log: its records",
    ),
    "no log": ("DELETE FROM entry WHERE position < 1 << 40", "the own log: its records"),
    "a trade that is kept no more": (
        "DELETE FROM trade WHERE status = 'SETTLED'",
        "a vote \\(.*\\) about it: expected the trade's row",
    ),
    "a no-hold of an unknown trade": (
        (
            "DELETE FROM vote; DELETE FROM trade WHERE subject ="
            " (SELECT subject FROM statement WHERE log = 0 AND kind = 'no-hold')"
        ),
        "a statement \\(no-hold\\) about it",
    ),
    "settled, it says": (
        "UPDATE trade SET status = 'SETTLED' WHERE status = 'REJECTED'",
        "its status: expected CANCELLED or EXPIRED or PENDING or REJECTED, found SETTLED",
    ),
    "held, it says": (
        "UPDATE trade SET status = 'HELD' WHERE status = 'SETTLED'",
        "its status: expected DELIVERED or DISPUTED or SETTLED, found HELD",
    ),
    "an unknown status": (
        "UPDATE trade SET status = 'DONE' WHERE status = 'SETTLED'",
        "its row: expected one that can be read",
    ),
    "no certificate": (
        "UPDATE trade SET certificate = NULL WHERE status = 'SETTLED'",
        "its certificate's value: expected COMMIT, found none",
    ),
    "no longer set aside": (
        "UPDATE trade SET reserved = 0 WHERE reserved = 1",
        "whether it sets its offer aside: expected True, found False",
    ),
    "still set aside": (
        "UPDATE trade SET reserved = 1 WHERE status = 'SETTLED'",
        "whether it sets its offer aside: expected False, found True",
    ),
    "nobody's proposal": (
        "UPDATE trade SET member = NULL WHERE status = 'PENDING'",
        "whether it sets its offer aside: expected True, found True",
    ),
    "another member": (
        "UPDATE trade SET member = 2 WHERE status = 'SETTLED'",
        "its member: expected member:1, found member:2",
    ),
    "nobody's": (
        "UPDATE trade SET member = NULL WHERE status = 'SETTLED'",
        "its member: expected member:1, found none",
    ),
    "other terms": (
        (
            "UPDATE trade SET terms = (SELECT terms FROM trade WHERE status = 'REJECTED')"
            " WHERE status = 'SETTLED'"
        ),
        "the hash of its terms",
    ),
    "terms that cannot be read": (
        "UPDATE trade SET terms = x'00' WHERE status = 'SETTLED'",
        "its row: expected one that can be read",
    ),
    "another trade id": (
        "UPDATE trade SET trade_id = 'x' WHERE status = 'SETTLED'",
        "its id: ",
    ),
    "the other role": (
        "UPDATE trade SET role = 'to' WHERE status = 'SETTLED'",
        "its parties: ",
    ),
    "another neighbour": (
        "UPDATE trade SET neighbour = 'a-b-001' WHERE status = 'SETTLED'",
        "its parties: ",
    ),
    "a party's signature": (
        "UPDATE trade SET from_signature = zeroblob(64) WHERE status = 'PENDING'",
        "its signatures: expected ones that hold",
    ),
    "the other party's signature": (
        "UPDATE trade SET to_signature = zeroblob(64) WHERE status = 'SETTLED'",
        "its signatures: expected ones that hold",
    ),
    "an own vote": (
        "UPDATE vote SET signature = zeroblob(64) WHERE village = 'ose-missouri-001'",
        "the vote of ose-missouri-001: expected one that holds",
    ),
    "a neighbour's vote": (
        "UPDATE vote SET value = 'ABORT' WHERE village = 'ose-california-001' AND value = 'COMMIT'",
        "the vote of ose-california-001: expected one that holds",
    ),
    "the vote of no seat": (
        "UPDATE vote SET village = 'a-b-001' WHERE village = 'ose-california-001'",
        "the vote of a-b-001: expected one that holds",
    ),
    "the vote of another round": (
        "UPDATE vote SET round = 1 WHERE village = 'ose-california-001'",
        "the vote of ose-california-001: expected one that holds",
    ),
}


@pytest.mark.parametrize(("sql", "expected"), CHANGES.values(), ids=CHANGES)
def test_a_changed_row_is_named(a: sqlite3.Connection, sql: str, expected: str) -> None:
    before = a.total_changes
    for statement in sql.split("; "):
        a.execute(statement)
    assert a.total_changes > before
    assert re.search(f"(^|: |, ){expected}", found_in(a))


@pytest.mark.parametrize(
    "column",
    ["debits_posted", "credits_posted", "debits_pending", "credits_pending", "reserved"],
)
def test_each_counter_is_compared(b: sqlite3.Connection, column: str) -> None:
    for account, asset in b.execute("SELECT account, asset FROM balance").fetchall():
        where = "WHERE account = ? AND asset = ?"
        b.execute(f"UPDATE balance SET {column} = {column} + 1 {where}", (account, asset))
        assert found_in(b).startswith(f"balance of {account} in {asset}: {column}: expected ")
        b.execute(f"UPDATE balance SET {column} = {column} - 1 {where}", (account, asset))
    agreed(b)


def test_each_byte_of_each_record_counts(a: sqlite3.Connection) -> None:
    rows = a.execute("SELECT position, record FROM entry").fetchall()
    for at, record in rows:
        changed = flipped(record, at=at % len(record))
        a.execute("UPDATE entry SET record = ? WHERE position = ?", (changed, at))
        index = at & (1 << 40) - 1
        log = "" if at < 1 << 46 else "the copy of ose-california-001, "
        assert found_in(a).startswith(f"{log}record {index}: its leaf hash: ")
        a.execute("UPDATE entry SET record = ? WHERE position = ?", (record, at))


@pytest.mark.parametrize("log", [OWN_LOG, COPY])
def test_each_signature_counts(a: sqlite3.Connection, log: int) -> None:
    shown = "the own log" if log == OWN_LOG else "the copy of ose-california-001"
    for table, column, expected in (
        ("checkpoint", "note", "{}, checkpoint {}: its note"),
        ("cosignature", "line", "{}, cosignature of .* on checkpoint {}: its signature"),
    ):
        rows = a.execute(f"SELECT size, {column} FROM {table} WHERE log = ?", (log,)).fetchall()
        assert rows
        change = f"UPDATE {table} SET {column} = ? WHERE log = ? AND size = ?"
        for size, text in rows:
            a.execute(change, (flip_text(text, -20), log, size))
            assert re.match(expected.format(shown, size), found_in(a))
            a.execute(change, (text, log, size))
    agreed(a)


def test_a_missing_newest_checkpoint_is_named(a: sqlite3.Connection) -> None:
    (size,) = a.execute("SELECT max(size) FROM checkpoint WHERE log = 0").fetchone()
    a.execute("DELETE FROM cosignature WHERE log = 0 AND size = ?", (size,))
    a.execute("DELETE FROM checkpoint WHERE log = 0 AND size = ?", (size,))
    assert found_in(a).startswith(f"the own log: its newest checkpoint's size: expected {size}, ")


@pytest.mark.parametrize("value", ["COMMIT", "ABORT"])
def test_a_forged_certificate_is_named(a: sqlite3.Connection, value: str) -> None:
    a.execute(
        "UPDATE trade SET certificate = CAST(replace(certificate, 'COMMIT', ?) AS BLOB)"
        " WHERE status = 'SETTLED'",
        (value,),
    )
    if value == "COMMIT":
        [text] = a.execute("SELECT certificate FROM trade WHERE status = 'SETTLED'").fetchone()
        forged = flip_text(text.decode(), -20).encode()
        a.execute("UPDATE trade SET certificate = ? WHERE status = 'SETTLED'", (forged,))
    assert re.match(r"trade [0-9a-f]{16}: its certificate", found_in(a))


def test_a_certificate_without_a_hold_is_checked(a: sqlite3.Connection) -> None:
    """The proposer's side of an aborted trade has one, and nothing in its log that shows it."""
    [text] = a.execute(
        "SELECT certificate FROM trade WHERE status = 'CANCELLED' AND certificate IS NOT NULL"
    ).fetchone()
    forged = flip_text(text.decode(), -20).encode()
    a.execute("UPDATE trade SET certificate = ? WHERE certificate = ?", (forged, text))
    assert "its certificate: expected a quorum's votes" in found_in(a)


def test_an_open_proposal_is_set_aside(story: Story) -> None:
    """`reserved` is what the PENDING proposals of this village would debit."""
    alice = members.named(story.a.view, "Alice")
    reserved = {
        code: counters.reserved
        for code, counters in ledger.balances(story.a.view, alice.account).items()
    }
    assert reserved == {"AT": 700, "FLOUR": 500, "SOLAR-PANEL": 0}
