"""How SQLite goes about a search: newest first along an index, sorting nothing but one member's."""

from collections.abc import Iterator

import pytest

from edge.storage import database, listings
from edge.storage.listings import Query
from edge.storage.tx import View

PLACE = (1, "v", "0" * 16)


class Explaining(View):
    """Keeps the plans of what it is asked for."""

    def __init__(self, view: View) -> None:
        super().__init__(view.conn)
        self.plans: list[str] = []

    def all(self, sql: str, *values: object) -> list[object]:
        plan = self.conn.execute(f"EXPLAIN QUERY PLAN {sql}", values)
        self.plans += [row[3] for row in plan]
        return super().all(sql, *values)


@pytest.fixture
def view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explaining]:
    conn = database.open_writer(tmp_path_factory.mktemp("plans") / "ledger.db", create=True)
    yield Explaining(View(conn))
    conn.close()


@pytest.mark.parametrize("before", [None, PLACE])
@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query(), "listing_newest"),
        (Query("some words"), "listing_newest"),
        (Query(side="want", price="gift"), "listing_newest"),
        (Query(price="goods"), "listing_newest"),
        (Query(village="v"), "listing_newest_of (village=?"),
        (Query("words", side="offer", village="v", price="AT"), "listing_newest_of (village=?"),
        (Query(member=1), "listing_member (member=?"),
    ],
)
def test_a_search_goes_along_an_index(
    view: Explaining, query: Query, index: str, before: tuple[int, str, str] | None
) -> None:
    place = Query(query.search, query.side, query.village, query.price, query.member, before)
    listings.search(view, place, 1)
    [first, *more] = view.plans
    assert f"USING INDEX {index}" in first
    assert more == (["USE TEMP B-TREE FOR ORDER BY"] if query.member else [])
    if before and not query.member:
        assert "<" in first, "it begins where the page before has ended"
