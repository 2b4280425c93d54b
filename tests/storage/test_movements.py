"""Histories: what is kept beside each posting, how it is read, and that the audit sees a change."""

import sqlite3
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import desk
from edge.core import limits
from edge.core.accounts import Asset, Entry, is_inside
from edge.errors import LimitExceeded
from edge.storage import database, ledger, logs, movements, trades
from edge.storage.audit import audit
from edge.storage.movements import Movement, Wanted
from edge.storage.tx import Tx, View
from tests.storage import villages
from tests.storage.tampering import Story, found_in
from tests.storage.test_ledger import ASSETS, MEMBERS, Both, endow, fresh, steps
from tests.storage.villages import START_MS, Village

SCHEMA_1: Final = Path(__file__).parents[1] / "vectors" / "schema-1.sql"
ROWS: Final = "SELECT idx, account, asset, amount, balance FROM movement ORDER BY idx, account"


def history(view: View, account: str, **wanted: Any) -> list[Movement]:
    return movements.page(view, account, Wanted(**wanted), 10_000).rows


def shown(rows: list[Movement]) -> list[tuple[str, str, int, int]]:
    return [(row.operation, row.asset, row.amount, row.balance) for row in rows]


# What is kept


@pytest.fixture(scope="module")
def founded() -> Village:
    """A village of which two members have some of everything."""
    village = Village("ose-missouri-001")
    village.write(lambda tx: logs.append_asset(tx, Asset("PANEL", "resource", 0)))
    village.write(lambda tx: logs.append_asset(tx, Asset("FLOUR", "resource", 3)))
    for member in MEMBERS[:2]:
        for code in ASSETS:
            village.write(endow(member, code))
    return village


@given(todo=st.lists(steps, min_size=5, max_size=40), size=st.integers(1, 7))
def test_movements_add_up_to_the_balance(
    founded: Village, todo: list[tuple[Any, ...]], size: int
) -> None:
    village = fresh(founded)
    both = Both(village)
    for step in todo:
        both.step(step)
    posted = {
        (account, asset): balance
        for account, asset, balance in village.conn.execute(
            "SELECT account, asset, credits_posted - debits_posted FROM balance"
        )
    }
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for _, account, asset, amount, balance in village.conn.execute(ROWS):
        sums[account, asset] += amount
        assert balance == sums[account, asset]
    assert all(is_inside(account) for account, _ in sums)
    inside = {place: balance for place, balance in posted.items() if is_inside(place[0])}
    assert inside == {place: sums.get(place, 0) for place in inside}
    for account in {account for account, _ in sums}:
        check_reading(village.view, account, size)
    village.conn.close()


def check_reading(view: View, account: str, size: int) -> None:
    """What is read, in pages, by filter, forwards and by time, is what the table has."""
    kept = [
        Movement(*row)
        for row in view.all(
            "SELECT idx, asset, amount, balance, operation, stamp_ms FROM movement"
            " WHERE account = ? ORDER BY idx DESC, asset",
            account,
        )
    ]
    assert history(view, account) == kept
    pages, before = list[Movement](), None
    while True:
        page = movements.page(view, account, Wanted(), size, before)
        pages += page.rows
        if page.older is None:
            break
        assert len(page.rows) >= size
        before = page.older
    assert pages == kept
    middle = kept[len(kept) // 2]
    direction: movements.Direction = "in" if middle.amount >= 0 else "out"
    wanted = Wanted(middle.asset, (middle.operation,), direction)
    assert movements.page(view, account, wanted, 10_000).rows == [
        row
        for row in kept
        if (row.asset, row.operation) == (middle.asset, middle.operation)
        and (row.amount > 0 if direction == "in" else row.amount < 0)
    ]
    check_forwards(view, account, kept, size)
    check_period(view, account, kept, middle.stamp_ms)


def check_forwards(view: View, account: str, kept: list[Movement], size: int) -> None:
    seen, index, more = list[Movement](), 0, True
    while more:
        found, more = movements.since(view, account, index, size)
        seen += found
        index = found[-1].index + 1
    assert sorted(seen, key=lambda row: (-row.index, row.asset)) == kept
    assert index == movements.next_index(view, account)


def check_period(view: View, account: str, kept: list[Movement], since_ms: int) -> None:
    until_ms = since_ms + 10_000
    period = movements.between(view, account, since_ms, until_ms, 10_000)
    assert period is not None
    inside = [row for row in kept if since_ms <= row.stamp_ms < until_ms]
    assert sorted(period.rows, key=lambda row: (-row.index, row.asset)) == inside
    for asset, closing in period.closing.items():
        moved = sum(row.amount for row in inside if row.asset == asset)
        assert period.opening.get(asset, 0) + moved == closing
        assert closing == sum(
            row.amount for row in kept if row.asset == asset and row.stamp_ms < until_ms
        )
    if inside:
        assert movements.between(view, account, since_ms, until_ms, len(inside) - 1) is None


def test_a_history_in_order(story: Story) -> None:
    rows = history(story.a.view, "member:1")
    assert shown(rows) == [
        ("trade", "AT", -101_00, 49_916_66),
        ("trade", "SOLAR-PANEL", 1, 1),
        ("pay", "AT", 30_00, 50_017_66),
        ("consume", "FLOUR", -250, 2_250),
        ("declare", "FLOUR", 2_500, 2_500),
        ("pay", "AT", -12_34, 49_987_66),
        ("issue", "AT", 50_000_00, 50_000_00),
    ]
    assert shown(history(story.a.view, "treasury")) == [
        ("trade", "AT", 1_00, 1_05),
        ("pay", "AT", 5, 5),
    ]
    settled = rows[0]
    assert settled.stamp_ms % limits.MINUTE_MS == 0, "the log knows no more of its time"
    said = movements.said_by(story.a.view, settled.index, settled.operation)
    assert trades.by_subject(story.a.view, said.subject).status == "SETTLED"
    paid = next(row for row in rows if row.amount == -12_34)
    assert movements.said_by(story.a.view, paid.index, "pay").note == "for the cheese"


def test_nothing_held_or_given_back_is_in_a_history(story: Story) -> None:
    """B has held twice for what then ended otherwise, or not at all."""
    assert shown(history(story.b.view, "member:1")) == [
        ("trade", "AT", 100_00, 100_00),
        ("trade", "SOLAR-PANEL", -1, 8),
        ("declare", "SOLAR-PANEL", 9, 9),
    ]


def test_a_refused_write_leaves_no_row() -> None:
    a, _ = villages.neighbours_with_goods()
    before = a.conn.execute(ROWS).fetchall()

    def pay_and_fail(tx: Tx) -> None:
        desk.pay(tx, "Alice", "Carol", "1")
        desk.pay(tx, "Carol", "Alice", "999")

    outcomes = a.write_all([pay_and_fail, lambda tx: desk.pay(tx, "Alice", "Carol", "2")])
    assert isinstance(outcomes[0], LimitExceeded)
    rows = [row for row in a.conn.execute(ROWS).fetchall() if row not in before]
    assert [(row[1], row[3]) for row in rows] == [("member:1", -200), ("member:2", 200)]
    audit(a.view)


def test_several_payments_of_one_batch_are_linked() -> None:
    a, _ = villages.neighbours_with_goods()
    a.write_all([lambda tx: desk.pay(tx, "Alice", "Carol", "1") for _ in range(5)])
    assert shown(history(a.view, "member:2")) == [
        ("pay", "AT", 100, 100 * count) for count in (5, 4, 3, 2, 1)
    ]
    audit(a.view)


def test_both_sides_of_one_posting_are_one_row() -> None:
    """As of a trade whose fee is taken from what comes in."""
    a, _ = villages.neighbours_with_goods()
    entries = [
        Entry("member:1", "AT", -7),
        Entry("member:1", "AT", 10),
        Entry("member:2", "AT", -3),
    ]
    a.write(lambda tx: desk.pay(tx, "Alice", "Carol", "1"))
    a.write(lambda tx: ledger.append_sealed(tx, "pay", entries))
    assert history(a.view, "member:1")[0].amount == 3
    has = ledger.balances(a.view, "member:1")["AT"]
    assert (has.debits_posted, has.credits_posted) == (100 + 7, 50_000_00 + 10)
    audit(a.view)


# From schema 1


@pytest.fixture
def schema_1(tmp_path: Path) -> Path:
    """A ledger as it was left behind before there were histories."""
    path = tmp_path / "ledger.db"
    conn = sqlite3.connect(path, isolation_level=None)
    conn.executescript(SCHEMA_1.read_text("utf-8"))
    assert conn.execute("PRAGMA user_version").fetchone() == (1,)
    conn.close()
    return path


def test_a_ledger_of_schema_1_gets_its_histories(schema_1: Path, story: Story) -> None:
    database.open_writer(schema_1).close()
    a = Village("ose-missouri-001", schema_1, founded=False)
    assert a.conn.execute("PRAGMA user_version").fetchone() == (database.SCHEMA_VERSION,)
    for account in ("member:1", "member:2", "treasury"):
        assert shown(history(a.view, account)) == shown(history(story.a.view, account))
    assert a.conn.execute("SELECT count(*) FROM movement").fetchone() == (12,)
    assert audit(a.view).settled == 1
    a.now_ms = START_MS + 10_000_000
    a.write(lambda tx: desk.pay(tx, "Alice", "Carol", "1"))
    assert shown(history(a.view, "member:1"))[:2] == [
        ("pay", "AT", -1_00, 49_915_66),
        ("trade", "AT", -101_00, 49_916_66),
    ]
    audit(a.view)
    a.conn.close()


# The audit


TAMPERED: Final = {
    "an amount": (
        "UPDATE movement SET amount = amount + 1 WHERE account = 'member:2' AND amount = 1234",
        "movement of member:2 in AT by record 3: its amount: expected 1234, found 1235",
    ),
    "a balance": (
        "UPDATE movement SET balance = 0 WHERE account = 'treasury' AND operation = 'trade'",
        "movement of treasury in AT by record 13: its balance: expected 105, found 0",
    ),
    "a link": (
        "UPDATE movement SET previous = 2 WHERE account = 'member:1' AND amount = -10100",
        "movement of member:1 in AT by record 13: the one before it: expected 10, found 2",
    ),
    "an operation": (
        "UPDATE movement SET operation = 'pay' WHERE operation = 'issue'",
        "movement of member:1 in AT by record 2: its operation: expected issue, found pay",
    ),
    "a stamp": (
        "UPDATE movement SET stamp_ms = stamp_ms + 1 WHERE asset = 'SOLAR-PANEL'",
        "movement of member:1 in SOLAR-PANEL by record 13: its stamp: expected ",
    ),
    "no row": (
        "DELETE FROM movement WHERE account = 'member:2' AND amount = -5",
        "movement of member:2 in AT by record 4: its row: expected one, found none",
    ),
    "no rows": (
        "DELETE FROM movement",
        "movement of member:1 in AT by record 2: its row: expected one, found none",
    ),
    "a row too many": (
        "INSERT INTO movement VALUES (3, 'member:3', 'AT', 5, 5, NULL, 'pay', 0)",
        "movement of member:3 in AT by record 3: its row: expected none, found one",
    ),
    "a row of a record that moves nothing": (
        "INSERT INTO movement VALUES (0, 'member:1', 'AT', 5, 5, NULL, 'pay', 0)",
        "movement of member:1 in AT by record 0: its row: expected none, found one",
    ),
    "a row of another account": (
        "INSERT INTO movement VALUES (2, 'issuance', 'AT', 5, 5, NULL, 'pay', 0)",
        "movement of issuance in AT by record 2: its row: expected none, found one",
    ),
    "a row before the log": (
        "INSERT INTO movement VALUES (-1, 'member:1', 'AT', 5, 5, NULL, 'pay', 0)",
        "movement of member:1 in AT by record -1: its row: expected none, found one",
    ),
    "a row beyond the log": (
        "INSERT INTO movement VALUES (900, 'member:1', 'AT', 5, 5, NULL, 'pay', 0)",
        "movement of member:1 in AT by record 900: its row: expected none, found one",
    ),
    "another newest one": (
        "UPDATE balance SET newest = 2 WHERE account = 'member:1' AND asset = 'AT'",
        "balance of member:1 in AT: its newest movement: expected 13, found 2",
    ),
    "no newest one": (
        "UPDATE balance SET newest = NULL WHERE account = 'treasury'",
        "balance of treasury in AT: its newest movement: expected 13, found none",
    ),
    "a newest one without a history": (
        "UPDATE balance SET newest = 2 WHERE account = 'issuance' AND asset = 'AT'",
        "balance of issuance in AT: its newest movement: expected none, found 2",
    ),
}


@pytest.mark.parametrize(("sql", "says"), TAMPERED.values(), ids=TAMPERED)
def test_a_changed_history_is_named(a: sqlite3.Connection, sql: str, says: str) -> None:
    assert a.execute(sql).rowcount > 0
    assert found_in(a).startswith(says)


def test_a_ring_of_links_is_left(a: sqlite3.Connection) -> None:
    """A page of it ends, whatever the audit will say."""
    a.execute("UPDATE movement SET previous = idx")
    assert len(history(View(a), "member:1")) == 3
