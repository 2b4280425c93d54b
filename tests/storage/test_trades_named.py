"""A trade has an id here and a trade_id that its proposer gave it: either finds it."""

import sqlite3

import pytest

from edge.errors import InvalidInput, UnknownTrade
from edge.storage import trades
from edge.storage.tx import View
from tests.storage.tampering import Story


def test_a_trade_is_found_by_its_id_or_its_trade_id_on_both_sides(story: Story) -> None:
    for village in (story.a, story.b):
        for known in trades.everyone(village.view):
            for name in (
                known.id,
                known.id[:6].upper(),
                known.subject.hex(),
                known.terms.trade_id,
            ):
                assert trades.named(village.view, name).subject == known.subject


def test_what_names_no_trade_is_refused(story: Story) -> None:
    known = trades.everyone(story.a.view)[0]
    for name in (known.terms.trade_id[:-1], "0" * 16, "../..", "trade_001", "é" * 4, "0" * 65):
        with pytest.raises(UnknownTrade, match="no trade"):
            trades.named(story.a.view, name)
    for name in ("", "5", known.id[:3]):
        with pytest.raises(InvalidInput, match="too short: give at least 4 letters"):
            trades.named(story.a.view, name)


def test_another_villages_trade_id_takes_no_trades_id_away(
    a: sqlite3.Connection, story: Story
) -> None:
    """A trade_id that looks like the id of another trade does not hide that one; one that two
    villages have given names neither."""
    first, second, *_ = trades.everyone(story.a.view)
    a.execute("UPDATE trade SET trade_id = ? WHERE subject = ?", (first.id, second.subject))
    assert trades.named(View(a), first.id).subject == first.subject
    a.execute(
        "UPDATE trade SET trade_id = 'twice', from_village = neighbour || idx FROM"
        " (SELECT subject AS which, row_number() OVER () AS idx FROM trade) numbered"
        " WHERE subject = which AND subject IN (?, ?)",
        (first.subject, second.subject),
    )
    with pytest.raises(UnknownTrade, match="more than one"):
        trades.named(View(a), "twice")
