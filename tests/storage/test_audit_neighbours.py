"""The audit finds what was changed about neighbours, and around the logs: who they are, what was
signed with them, what was said on their logs, and the schema itself."""

import sqlite3

import pytest

from edge.core import registry
from edge.errors import AuditDifference
from edge.storage.audit import audit
from edge.storage.tx import View, position
from tests.storage.tampering import COPY, Story, agreed, flipped, found_in

SETTLED = "(SELECT subject FROM trade WHERE status = 'SETTLED')"

# What is done to A's database, and what the audit says.
LIES = {
    "another addressee": (
        "UPDATE neighbour SET addresses = '[\"evil:1\"]'",
        "neighbour ose-california-001: its addresses: ",
    ),
    "an entry that cannot be read": (
        "UPDATE neighbour SET entry = x'00'",
        "neighbour ose-california-001: its row: ",
    ),
    "more of the log than there is": (
        "UPDATE neighbour SET has_size = 99999",
        "neighbour ose-california-001: how much it holds of this log: ",
    ),
    "a charter signed by nobody": (
        "UPDATE charter_signature SET signature = x'00'",
        "the charter with ose-california-001: its signatures: ",
    ),
    "a charter that one has not signed": (
        "DELETE FROM charter_signature WHERE village = 'ose-california-001'",
        "the charter with ose-california-001: its signatures: ",
    ),
    "another network": (
        "UPDATE charter SET network = zeroblob(32)",
        "a charter: the network that it founds: ",
    ),
    "an acceptance that nobody signed": (
        f"UPDATE trade SET to_signature = NULL WHERE subject IN {SETTLED}",
        "the acceptor's signature: expected one, found none",
    ),
    "no votes": (
        f"DELETE FROM vote WHERE subject IN {SETTLED}",
        "this village's votes: expected ['COMMIT'], found []",
    ),
    "no cosignatures on the copy": (
        "DELETE FROM cosignature WHERE log = 1",
        "the cosignature of this village: expected one, found none",
    ),
    "no cosignatures by the neighbour": (
        "DELETE FROM cosignature WHERE log = 0",
        "what both logs prove, cosigned: expected ",
    ),
    "an open trade of which all is said": (
        "UPDATE trade SET closed = 1 WHERE status = 'PENDING'",
        "whether all is said of it: expected no, found yes",
    ),
    "another member's proposal": (
        "UPDATE trade SET member = 2 WHERE status = 'REJECTED'",
        "the name of its member: expected Alice, found Carol",
    ),
    "a name that nobody has": (
        "UPDATE trade SET from_user = 'Mallory' WHERE status = 'PENDING'",
        "the name of its member: expected Mallory, found Alice",
    ),
    "a trigger that is not the product's": (
        "CREATE TRIGGER evil AFTER INSERT ON entry BEGIN UPDATE member SET pin_hash = 'z'; END",
        "the schema's trigger evil: it: expected none, found CREATE TRIGGER evil",
    ),
    "a view that is not the product's": (
        "CREATE VIEW more AS SELECT 1",
        "the schema's view more: it: expected none, ",
    ),
    "no index": (
        "DROP INDEX trade_open",
        "the schema's index trade_open: it: expected CREATE INDEX trade_open",
    ),
    "a log without a place": (
        "INSERT INTO log VALUES (300000, 'ose-x-001', zeroblob(32))",
        "table log: a log's number: expected 0 to 131071, found 300000",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_named(a: sqlite3.Connection, lie: str) -> None:
    sql, says = LIES[lie]
    a.execute(sql)
    assert says in found_in(a)


def test_a_missing_trigger_is_named(a: sqlite3.Connection) -> None:
    """A copy from which the tests took the triggers that forbid to change the log."""
    with pytest.raises(AuditDifference, match="the schema's trigger ballot_fixed"):
        audit(View(a))


def test_an_entry_that_the_neighbour_did_not_sign_is_named(a: sqlite3.Connection) -> None:
    (entry,) = a.execute("SELECT entry FROM neighbour").fetchone()
    known = registry.decode(entry)
    for changed in (entry.replace(b"Village ose", b"Village osx"), flipped(entry, -10)):
        a.execute("UPDATE neighbour SET entry = ?", (changed,))
        assert found_in(a).startswith("neighbour ose-california-001: its ")
    a.execute("UPDATE neighbour SET entry = ?", (entry,))
    assert known.village_id == "ose-california-001"
    agreed(a)


def test_a_charter_that_is_another_text_is_named(a: sqlite3.Connection) -> None:
    (text,) = a.execute("SELECT charter FROM charter").fetchone()
    a.execute("UPDATE charter SET charter = ?", (flipped(text),))
    assert found_in(a).startswith("a charter: its digest: ")


def test_a_copy_that_was_cut_off_below_a_settled_trade_is_named(a: sqlite3.Connection) -> None:
    """All of it consistent, but for what this village has voted on."""
    first = position(COPY, 0, 0)
    for sql in (
        "DELETE FROM cosignature WHERE log = 1 AND size > 1",
        "DELETE FROM checkpoint WHERE log = 1 AND size > 1",
        f"DELETE FROM entry WHERE position > {first}",
        f"DELETE FROM node WHERE position >= {first}",
        "DELETE FROM statement WHERE log = 1",
        "DELETE FROM asset WHERE log = 1",
    ):
        a.execute(sql)
    found = found_in(a)
    assert found.startswith("trade ")
    assert "expected COMMIT, found none" in found or "expected hold, found none" in found


def test_a_box_that_was_set_back_is_told_so_by_its_neighbour_and_not_by_the_audit(
    a: sqlite3.Connection,
) -> None:
    a.execute("UPDATE neighbour SET has_size = 99999, trouble = 'the box was set back'")
    agreed(a)


def test_what_a_sound_village_says_of_its_neighbours_agrees(story: Story) -> None:
    for village in story:
        audit(village.view)
