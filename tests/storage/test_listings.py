"""Listings in the database: kept, taken out of, erased, looked through, and told to neighbours."""

import itertools
import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import desk, market
from edge.core import limits, listing
from edge.core.listing import Goods, Listing
from edge.core.trade import Quantity
from edge.errors import (
    Forbidden,
    InvalidAmount,
    InvalidInput,
    Malformed,
    NotFound,
    TooMany,
    UnknownAsset,
    WrongState,
)
from edge.market import Ask
from edge.storage import database, listings, members
from edge.storage.listings import Listed, Query
from edge.storage.tx import Tx
from tests.answering import answering
from tests.storage.villages import START_MS, Village

HERE: Final = "ose-missouri-001"
THERE: Final = "ose-california-001"
MINUTE: Final = START_MS // limits.MINUTE_MS
DAY: Final = 1_440
FLOUR: Final = Quantity("FLOUR", "resource", 3, 2_500)
AT: Final = Quantity("AT", "token", 2, 3_00)
FLOUR_FOR_AT: Final = Goods("offer", FLOUR, AT, "milled in May")

replace = msgspec.structs.replace


@pytest.fixture
def village() -> Village:
    made = Village(HERE)
    for name in ("Alice", "Bob"):
        made.write(lambda tx, name=name: desk.add_member(tx, name, "-"))  # type: ignore[misc]
    made.write(lambda tx: desk.declare(tx, "Alice", "Flour", "20.000", decimals=3))
    return made


def add(village: Village, goods: Goods = FLOUR_FOR_AT, member: int = 1, days: int = 30) -> str:
    return village.write(lambda tx: listings.add(tx, member, goods, tx.minute + days * DAY))


def take_back(village: Village, id_: str) -> None:
    village.write(lambda tx: listings.take_back(tx, HERE, id_))


def row(village: Village, id_: str, of: str = HERE) -> dict[str, Any]:
    found = village.conn.execute("SELECT * FROM listing WHERE village = ? AND id = ?", (of, id_))
    names = [column for column, *_ in found.description]
    values = found.fetchone()
    return dict(zip(names, values, strict=True)) if values else {}


def told(village: Village, since: int = 0) -> list[Listing]:
    return listings.changed(village.view, HERE, since)


def look(at: Village, **query: Any) -> list[Listed]:
    now_minute = query.pop("now_minute", at.now_ms // limits.MINUTE_MS)
    return listings.search(at.view, Query(**query), now_minute)


def assets(found: Iterable[Listed]) -> list[str]:
    return [each.goods.item.asset for each in found]


# Listing, taking out, taking back


def test_a_listing_is_kept_as_it_was_made(village: Village) -> None:
    id_ = add(village)
    found = listings.named(village.view, HERE, id_)
    assert listing.is_id(id_)
    assert found == Listed(HERE, id_, MINUTE + 30 * DAY, FLOUR_FOR_AT, 1, village.now_ms)
    assert told(village) == [Listing(id_, village.now_ms, MINUTE + 30 * DAY, FLOUR_FOR_AT)]
    with pytest.raises(NotFound):
        listings.named(village.view, THERE, id_)
    with pytest.raises(Forbidden):
        listings.owned(village.view, HERE, id_, 2)


def test_taken_back_nothing_is_left_of_it_but_that_it_is_gone(village: Village) -> None:
    id_ = add(village)
    before = row(village, id_)
    take_back(village, id_)
    after = row(village, id_)
    kept = {"village", "id", "ends_minute", "version", "changed_ms"}
    assert {name for name, value in after.items() if value is not None} == kept
    assert after["version"] > before["version"]
    assert (after["id"], after["ends_minute"]) == (id_, before["ends_minute"])
    assert told(village, before["version"]) == [
        Listing(id_, after["version"], after["ends_minute"])
    ]
    assert look(village) == look(village, member=1) == []
    with pytest.raises(NotFound, match="not there any more"):
        listings.named(village.view, HERE, id_)

    take_back(village, id_)  # again: it changes nothing
    assert row(village, id_) == after


def test_the_note_that_it_is_gone_stays_until_it_would_have_ended(village: Village) -> None:
    first, second = add(village, days=1), add(village, days=2)
    take_back(village, first)
    village.now_ms = START_MS + limits.DAY_MS
    assert village.write(listings.drop_ended) == 0
    village.now_ms += 2 * limits.MINUTE_MS
    assert village.write(listings.drop_ended) == 1
    assert (row(village, first), [each.id for each in told(village)]) == ({}, [second])


def test_its_text_is_not_in_the_file_any_more(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    village = Village(HERE, file)
    village.write(lambda tx: desk.add_member(tx, "Alice", "-"))
    id_ = add(village)

    def stored() -> bytes:
        village.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return file.read_bytes().lower()

    assert b"milled in may" in stored()
    take_back(village, id_)
    assert b"milled in may" not in stored()
    assert village.conn.execute("PRAGMA secure_delete").fetchone() == (1,)
    village.conn.close()


def test_no_copy_of_it_is_left_anywhere_a_day_later(tmp_path: Path) -> None:
    """Rows that come and go make SQLite rearrange pages, which leaves copies behind."""
    file = tmp_path / "ledger.sqlite"
    village = Village(HERE, file)
    rng = random.Random(2)
    there: list[str] = []
    version = 0

    def come_and_go() -> None:
        nonlocal version
        told, since = [], version
        for _ in range(rng.randrange(1, 6)):
            version += 1
            if there and rng.random() < 0.45:
                id_ = there.pop(rng.randrange(len(there)))
                told.append(Listing(id_, version, MINUTE + 30 * DAY))
            else:
                there.append(f"{rng.getrandbits(64):016x}")
                text = f"no. {version:06} {'.' * rng.randrange(400)}"
                goods = replace(FLOUR_FOR_AT, text=text)
                told.append(Listing(there[-1], version, MINUTE + 30 * DAY, goods))
        village.write(lambda tx: listings.keep(tx, THERE, since, told))

    def left_behind() -> set[str]:
        """Return the texts that are in the files and in no listing."""
        files = (file, file.with_name(f"{file.name}-wal"))
        found = re.findall(rb"no\. \d{6}", b"".join(each.read_bytes() for each in files))
        rows = village.view.all("SELECT text FROM listing WHERE side IS NOT NULL")
        return {text.decode() for text in found} - {text[:10] for (text,) in rows}

    for _ in range(20):
        for _ in range(50):
            come_and_go()
        village.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if left_behind():
            break
    assert left_behind()
    before = village.view.all("SELECT * FROM listing")

    village.now_ms = START_MS + listings.WIPE_AFTER_MS - 1_000
    assert not village.write(listings.wipe)
    village.now_ms += listings.WIPE_AFTER_MS
    reader = database.open_reader(file)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM listing").fetchone()
    assert village.write(listings.wipe) and not village.write(listings.wipe)
    reader.close()  # while it read, the write-ahead log could not be emptied
    village.now_ms += limits.MINUTE_MS
    village.write(lambda tx: None)
    assert left_behind() == set()
    assert village.view.all("SELECT * FROM listing") == before
    village.conn.close()


def test_taking_out_and_putting_back(village: Village) -> None:
    id_ = add(village)
    first = row(village, id_)

    def take(amount: int, side: Any = "offer", asset: str = "FLOUR") -> int | None:
        return village.write(lambda tx: listings.take(tx, id_, side, asset, amount))

    assert take(1_000) == 2_500
    assert row(village, id_) == first | {
        "quantity": 1_500,
        "version": village.now_ms,
        "changed_ms": village.now_ms,
    }
    assert take(-1_000) == 1_500
    assert (row(village, id_)["quantity"], row(village, id_)["version"]) == (2_500, village.now_ms)
    assert take(2_500) == 2_500
    assert (row(village, id_)["quantity"], take(0)) == (0, 0)

    last = row(village, id_)
    assert take(1) == 0  # not done: less is left
    assert take(1, asset="HONEY") is take(1, side="want") is None
    assert row(village, id_) == last
    take_back(village, id_)
    gone = row(village, id_)
    assert take(1) is take(-1) is None
    assert row(village, id_) == gone


def test_what_is_run_out_is_shown_to_its_member_alone(village: Village) -> None:
    id_ = add(village, replace(FLOUR_FOR_AT, item=replace(FLOUR, amount=1)))
    village.write(lambda tx: listings.take(tx, id_, "offer", "FLOUR", 1))
    assert look(village) == look(village, search="flour") == look(village, member=2) == []
    assert [each.id for each in look(village, member=1)] == [id_]


# Versions


def test_a_version_is_never_given_twice(village: Village) -> None:
    """In one batch, with a clock that stands or jumps back, after a restart, and when the latest
    listing has ended and is forgotten."""
    seen = [0]

    def add_and_see() -> str:
        id_ = add(village, days=1)
        assert row(village, id_)["version"] > max(seen)
        seen.append(row(village, id_)["version"])
        return id_

    for _ in range(3):
        village.now_ms -= 1_000  # the writer moves it on: it stands
        add_and_see()
    many = village.write_all(
        [lambda tx: listings.add(tx, 1, FLOUR_FOR_AT, tx.minute + 9) for _ in range(4)]
    )
    versions = sorted(row(village, str(id_))["version"] for id_ in many)
    assert len(set(versions)) == 4
    assert versions[0] > max(seen)
    seen += versions

    village.now_ms += 400 * limits.DAY_MS  # a clock far ahead
    latest = add_and_see()
    village.now_ms += 2 * limits.DAY_MS
    village.write(listings.drop_ended)
    assert row(village, latest) == {}
    village.now_ms = START_MS + limits.DAY_MS  # set right again
    village.start()
    id_ = add_and_see()
    take_back(village, id_)
    assert row(village, id_)["version"] > max(seen)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abttk"), st.integers(0, 5), st.integers(-9, 9))))
def test_whoever_asks_for_what_is_new_misses_nothing(steps: list[tuple[str, int, int]]) -> None:
    """However the clock goes, a copy kept up by versions is what is there."""
    village, copy, have = Village(HERE), dict[str, Goods | None](), 0
    village.write(lambda tx: desk.add_member(tx, "Alice", "-"))
    ids = [add(village)]
    for step, which, jump in steps:
        village.now_ms += jump * limits.MINUTE_MS
        id_ = ids[which % len(ids)]
        if step in "ab":
            ids.append(add(village))
        elif step == "t":
            village.write(lambda tx, id_=id_: listings.take(tx, id_, "offer", "FLOUR", 1))  # type: ignore[misc]
        else:
            take_back(village, id_)
        if step != "b":  # else it is not asked after each step
            fresh = told(village, have)
            copy |= {each.id: each.goods for each in fresh}
            have = max([have, *(each.version for each in fresh)])
    copy |= {each.id: each.goods for each in told(village, have)}
    there = {each.id: each.goods for each in look(village)}
    assert {id_: goods for id_, goods in copy.items() if goods} == there


# Looking


@pytest.fixture
def full(village: Village) -> Village:
    """Six listings, of two villages and members."""
    panel = Quantity("SOLAR-PANEL", "resource", 0, 4)
    wool = Quantity("WOOL", "resource", 1, 30)
    add(village, FLOUR_FOR_AT)
    add(village, Goods("want", panel, replace(FLOUR, amount=5), "For the school’s roof"), 2)
    add(village, Goods("offer", wool, None, "CRÈME, undyed"), 2)
    near = [
        Goods("offer", panel, AT, "100 W, à chercher"),
        Goods("want", FLOUR, AT, "rye, coarse"),
        Goods("offer", Quantity("STRASSEN-BESEN", "resource", 0, 1), None, ""),
    ]
    near_rows = [
        Listing(f"{number:016x}", number, MINUTE + DAY, goods)
        for number, goods in enumerate(near, 1)
    ]
    village.write(lambda tx: listings.keep(tx, THERE, 0, near_rows))
    return village


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["STRASSEN-BESEN", "FLOUR", "SOLAR-PANEL", "WOOL", "SOLAR-PANEL", "FLOUR"]),
        ({"side": "offer"}, ["STRASSEN-BESEN", "SOLAR-PANEL", "WOOL", "FLOUR"]),
        ({"side": "want"}, ["FLOUR", "SOLAR-PANEL"]),
        ({"village": HERE}, ["WOOL", "SOLAR-PANEL", "FLOUR"]),
        ({"village": THERE, "side": "want"}, ["FLOUR"]),
        ({"price": "gift"}, ["STRASSEN-BESEN", "WOOL"]),
        ({"price": "goods"}, ["SOLAR-PANEL"]),
        ({"price": "AT"}, ["FLOUR", "SOLAR-PANEL", "FLOUR"]),
        ({"price": "AT", "side": "offer", "village": HERE}, ["FLOUR"]),
        ({"member": 2}, ["WOOL", "SOLAR-PANEL"]),
        ({"member": 1, "side": "want"}, []),
        ({"search": "flour"}, ["FLOUR", "FLOUR"]),
        ({"search": "  FLOUR may "}, ["FLOUR"]),
        ({"search": "may flour"}, ["FLOUR"]),
        ({"search": "flour june"}, []),
        ({"search": "solar-panel"}, ["SOLAR-PANEL", "SOLAR-PANEL"]),
        ({"search": "Solar Panel chercher"}, ["SOLAR-PANEL"]),
        ({"search": "A CHERCHER"}, ["SOLAR-PANEL"]),
        ({"search": "à"}, ["STRASSEN-BESEN", "FLOUR", "SOLAR-PANEL", "SOLAR-PANEL", "FLOUR"]),
        ({"search": "creme"}, ["WOOL"]),
        ({"search": "Crème"}, ["WOOL"]),
        ({"search": "Straßenbesen"}, []),
        ({"search": "Straßen"}, ["STRASSEN-BESEN"]),
        (
            {"search": "-"},
            ["STRASSEN-BESEN", "FLOUR", "SOLAR-PANEL", "WOOL", "SOLAR-PANEL", "FLOUR"],
        ),
        ({"search": "%"}, []),
        ({"search": "_"}, []),
        ({"search": "'"}, []),
        ({"search": "\0"}, []),
        ({"search": "Alice"}, []),
    ],
)
def test_what_is_found(full: Village, query: dict[str, Any], expected: list[str]) -> None:
    found = look(full, **query)
    assert assets(found) == expected


def test_what_has_ended_is_not_found(full: Village) -> None:
    def at(minute: int) -> list[str]:
        return sorted(assets(look(full, now_minute=minute)))

    assert len(at(MINUTE + DAY)) == 6
    assert at(MINUTE + DAY + 1) == ["FLOUR", "SOLAR-PANEL", "WOOL"]
    assert at(MINUTE + 30 * DAY) == ["FLOUR", "SOLAR-PANEL", "WOOL"]
    assert at(MINUTE + 30 * DAY + 1) == []
    assert look(full, member=1, now_minute=MINUTE + 30 * DAY + 1) == []


def test_only_so_many_words_are_looked_for(full: Village) -> None:
    words = ["flour"] * listings.TERMS_MAX
    assert len(look(full, search=" ".join([*words, "nowhere"]))) == 2
    assert look(full, search=" ".join(["nowhere", *words])) == []
    assert look(full, search="x" * 100_000) == []


class Kept(msgspec.Struct, frozen=True):
    """A listing of the random market: in which batch, what it is, and what becomes of it."""

    batch: int
    side: str
    gift: bool
    near: bool
    fate: str


kept = st.builds(
    Kept,
    batch=st.integers(0, 3),
    side=st.sampled_from(("offer", "want")),
    gift=st.booleans(),
    near=st.booleans(),
    fate=st.sampled_from(("stays", "stays", "stays", "ends", "runs out", "is taken back")),
)


@settings(max_examples=30)
@given(st.lists(kept, max_size=14), st.integers(1, 5), st.sampled_from(("", "offer", "want")))
def test_page_by_page_each_is_seen_once(all_kept: list[Kept], page: int, side: str) -> None:
    village = Village(HERE)
    village.write(lambda tx: desk.add_member(tx, "Alice", "-"))
    numbers = itertools.count(1)
    expected = set()
    for number in range(4):
        batch = [each for each in all_kept if each.batch == number]
        ids = village.write_all(
            [lambda tx, each=each: _keep(tx, each, next(numbers)) for each in batch]  # type: ignore[misc]
        )
        for each, id_ in zip(batch, ids, strict=True):
            if each.fate == "stays" and side in ("", each.side):
                expected.add(id_)
    query = Query(side=side or None)  # type: ignore[arg-type]
    seen: list[str] = []
    while found := listings.search(village.view, query, MINUTE + 5, page):
        assert len(found) <= page
        seen += [each.id for each in found]
        last = found[-1]
        query = replace(query, before=(last.listed_ms, last.village, last.id))
    assert len(seen) == len(set(seen))
    assert set(seen) == expected


def _keep(tx: Tx, each: Kept, number: int) -> str:
    """Keep one as its fate says, all of a batch under one stamp; return its id."""
    amount = 0 if each.fate == "runs out" else 2_500
    price = None if each.gift else AT
    goods = Goods(each.side, replace(FLOUR, amount=amount), price, "")  # type: ignore[arg-type]
    ends_minute = MINUTE + (1 if each.fate == "ends" else DAY)
    if each.near:
        id_ = f"{number:016x}"
        said = Listing(id_, number, ends_minute, goods)
        listings.keep(tx, THERE, number - 1, [said])
        if each.fate == "is taken back":
            gone = replace(said, version=number + 1, goods=None)
            listings.keep(tx, THERE, number, [gone])
        return id_
    id_ = listings.add(tx, 1, goods, ends_minute)
    if each.fate == "is taken back":
        listings.take_back(tx, HERE, id_)
    return id_


# Bounds


def test_a_member_has_only_so_many(village: Village) -> None:
    made = [add(village) for _ in range(limits.LISTINGS_PER_MEMBER_MAX)]
    with pytest.raises(TooMany, match="take one back first"):
        add(village)
    add(village, member=2)
    take_back(village, made[7])
    add(village)
    with pytest.raises(TooMany):
        add(village)


def test_a_village_has_only_so_many(village: Village, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LISTINGS_OWN_MAX", 3)
    made = [add(village, days=1), add(village), add(village, member=2)]
    with pytest.raises(TooMany, match="the village has 3 listings"):
        add(village)
    take_back(village, made[1])
    add(village)
    with pytest.raises(TooMany):
        add(village)
    village.now_ms += 2 * limits.DAY_MS
    village.write(listings.drop_ended)
    add(village)


def test_one_member_cannot_take_all_the_room(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By listing and taking back: of the notes of that the latest are kept, and all listings."""
    monkeypatch.setattr(limits, "LISTINGS_OWN_MAX", 3)
    theirs = add(village, member=2)
    since = row(village, theirs)["version"]
    taken = [add_and_take_back(village) for _ in range(10)]
    add(village, member=2)
    gone = [each.id for each in told(village, since) if each.goods is None]
    assert gone == taken[-3:]
    assert [each.id for each in look(village, member=2)][-1] == theirs
    (count,) = village.conn.execute("SELECT count(*) FROM listing").fetchone()
    assert count == 2 + 3


def add_and_take_back(village: Village) -> str:
    id_ = add(village)
    take_back(village, id_)
    return id_


def near(number: int, **changes: Any) -> Listing:
    """A neighbour's listing, of which the number is id and version."""
    made = Listing(f"{number:016x}", number, MINUTE + DAY, FLOUR_FOR_AT)
    return replace(made, **changes)


def test_of_a_neighbour_only_so_many_are_kept(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LISTINGS_PER_NEIGHBOUR_MAX", 3)

    def keep(since: int, *said: Listing) -> list[int]:
        have = village.write(lambda tx: listings.keep(tx, THERE, since, said))
        assert have == max(each.version for each in said)
        return sorted(int(each.id, 16) for each in look(village))

    add(village)
    village.conn.execute("UPDATE listing SET quantity = 0")  # an own one takes nobody's place
    assert keep(0, *(near(number) for number in range(1, 6))) == [1, 2, 3]
    assert keep(5, near(6)) == [1, 2, 3]
    assert keep(6, near(2, version=7, goods=None), near(8)) == [1, 3, 8]
    assert keep(8, near(9), near(1, version=10, goods=None), near(11)) == [3, 8, 11]
    less = replace(FLOUR_FOR_AT, item=replace(FLOUR, amount=1))
    assert keep(11, near(3, version=12, goods=less)) == [3, 8, 11]
    assert keep(12, near(4, version=13)) == [3, 8, 11]
    village.write_all([lambda tx: listings.keep(tx, "ose-texas-001", 0, [near(77)])])
    assert 77 in {int(each.id, 16) for each in look(village)}


def test_of_what_a_neighbour_took_back_only_so_many_notes_are_kept(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LISTINGS_PER_NEIGHBOUR_MAX", 3)
    for number in range(1, 20, 2):
        gone = near(number, version=number + 1, goods=None)
        village.write(lambda tx, n=number, g=gone: listings.keep(tx, THERE, n - 1, [near(n), g]))  # type: ignore[misc]
    (count,) = village.conn.execute("SELECT count(*) FROM listing").fetchone()
    assert (count, look(village)) == (3, [])


# A neighbour's


def test_a_later_word_of_a_neighbour_counts_an_earlier_does_not(village: Village) -> None:
    def keep(*said: Listing, since: int = 0) -> int:
        return village.write(lambda tx: listings.keep(tx, THERE, since, said))

    more = replace(FLOUR_FOR_AT, item=replace(FLOUR, amount=9_000), text="more of it")
    assert keep(near(5)) == 5
    listed_ms = row(village, near(5).id, THERE)["listed_ms"]
    assert keep(near(5, version=7, goods=more), since=5) == 7
    keep(near(5, version=6), near(5, version=7), since=7)
    [found] = look(village)
    assert (found.goods, found.listed_ms) == (more, listed_ms)
    assert keep(near(5, version=9, goods=None), since=7) == 9
    keep(near(5, version=8, goods=more), since=9)
    assert look(village) == []


def test_what_was_taken_back_does_not_come_again_with_a_late_message(village: Village) -> None:
    """Two exchanges cross: the earlier words arrive last, of listings never known here."""
    late = [near(1), near(2)]
    village.write(lambda tx: listings.keep(tx, THERE, 0, [near(1, version=3, goods=None)]))
    village.write(lambda tx: listings.keep(tx, THERE, 3, late))
    assert look(village) == []


def test_a_neighbours_listing_stays_no_longer_than_one_may(village: Village) -> None:
    far = near(1, ends_minute=limits.DEADLINE_MINUTE_MAX)
    village.write(lambda tx: listings.keep(tx, THERE, 0, [far]))
    [found] = look(village)
    ahead_s = (found.ends_minute - village.now_ms // limits.MINUTE_MS) * 60
    assert ahead_s == limits.LISTING_S_MAX + limits.CLOCKS_APART_S_MAX


def test_a_text_that_cannot_be_shown_here_is_passed_over(village: Village) -> None:
    """As one in letters that a newer box knows; all else in the message is heard."""
    bad = [replace(FLOUR_FOR_AT, text=text) for text in ("a\x1b[2J", "\U0003fffd", "b\u202ec", " ")]
    said = [near(number, goods=goods) for number, goods in enumerate(bad, 1)]
    assert village.write(lambda tx: listings.keep(tx, THERE, 0, [*said, near(9)])) == 9
    assert [each.id for each in look(village)] == [near(9).id]


def test_one_that_is_none_is_refused_with_all_others(village: Village) -> None:
    for bad in (near(2, id="x"), near(2, version=0), near(2, goods=replace(FLOUR_FOR_AT, item=AT))):
        with pytest.raises(Malformed):
            village.write(lambda tx, bad=bad: listings.keep(tx, THERE, 0, [near(1), bad]))  # type: ignore[misc]
    assert look(village) == []


# What members may list


def list_goods(village: Village, ask: Ask, name: str = "Alice") -> str:
    return village.write(lambda tx: market.list_goods(tx, members.named(tx, name), ask))


def test_a_member_lists_what_it_has_and_wants(village: Village) -> None:
    ask = Ask("offer", "flour", "2.5", price="3", text="milled in May", days=30)
    id_ = list_goods(village, ask)
    assert listings.named(village.view, HERE, id_).goods == FLOUR_FOR_AT
    gift = list_goods(village, replace(ask, price="", days=limits.LISTING_S_MAX // 86_400))
    assert listings.named(village.view, HERE, gift).goods.price is None
    want = list_goods(village, replace(ask, side="want", quantity="99999"), "Bob")
    assert [each.id for each in look(village, member=2)] == [want]
    for each in told(village):
        listing.check(each)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"quantity": "0"}, InvalidAmount),
        ({"quantity": "-1"}, InvalidAmount),
        ({"quantity": "1.0001"}, InvalidAmount),
        ({"quantity": "20.001"}, InvalidInput),  # more than Alice has
        ({"price": "0"}, InvalidAmount),
        ({"price": "0.001"}, InvalidAmount),
        ({"price": "1", "price_asset": "Flour"}, InvalidInput),
        ({"price": "1", "price_asset": "Gold"}, UnknownAsset),
        ({"item": "AT"}, InvalidInput),
        ({"item": "AT", "price_asset": "Flour", "price": "1", "side": "want"}, InvalidInput),
        ({"item": "Gold"}, UnknownAsset),
        ({"text": "two\nlines"}, InvalidInput),
        ({"text": "x" * 501}, InvalidInput),
        ({"days": 0}, InvalidInput),
        ({"days": 91}, InvalidInput),
    ],
)
def test_what_a_member_may_not_list(
    village: Village, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        list_goods(village, replace(Ask("offer", "Flour", "1", price="1"), **changes))
    assert told(village) == []


def test_only_who_listed_it_takes_it_back(village: Village) -> None:
    id_ = list_goods(village, Ask("offer", "Flour", "1"))
    bob, alice = (members.named(village.view, name) for name in ("Bob", "Alice"))
    with pytest.raises(Forbidden):
        village.write(lambda tx: market.take_back(tx, bob, id_))
    village.write(lambda tx: market.take_back(tx, alice, id_))
    with pytest.raises(NotFound):
        village.write(lambda tx: market.take_back(tx, alice, id_))


def test_what_its_maker_has_none_of_just_now_is_not_asked_for(village: Village) -> None:
    id_ = list_goods(village, Ask("offer", "Flour", "2.5", price="3.33"))
    wanted = list_goods(village, Ask("want", "Flour", "900", price="3.33"))

    def is_out(of: str) -> bool:
        return market.is_out(village.view, listings.named(village.view, HERE, of))

    village.write(lambda tx: desk.consume(tx, "Alice", "Flour", "19"))
    assert not is_out(id_)
    with pytest.raises(WrongState, match="has not that much of it just now"):
        answering(village.view, HERE, id_, "1.001")
    assert answering(village.view, HERE, id_, "1").request == ("FLOUR", "1.000")
    village.write(lambda tx: desk.consume(tx, "Alice", "Flour", "1"))
    assert (is_out(id_), is_out(wanted)) == (True, False)
    with pytest.raises(WrongState, match="has none of it just now"):
        answering(village.view, HERE, id_, "1")
    assert answering(village.view, HERE, wanted, "1").offer == ("FLOUR", "1.000")


def test_a_proposal_that_answers_a_listing(village: Village) -> None:
    id_ = list_goods(village, Ask("offer", "Flour", "2.5", price="3.33"))
    made = answering(village.view, HERE, id_, "0.001")
    assert (made.offer, made.request) == (("AT", "0.01"), ("FLOUR", "0.001"))
    assert (made.to_user, made.listing) == ("", id_)
    with pytest.raises(WrongState, match=r"only 2\.500 Flour left"):
        answering(village.view, HERE, id_, "2.501")
    for amount in ("0", "-1", "1.0001", "x"):
        with pytest.raises(InvalidAmount):
            answering(village.view, HERE, id_, amount)
    with pytest.raises(NotFound):
        answering(village.view, THERE, id_, "1")
    dearer = list_goods(village, Ask("offer", "Flour", "2.5", price="333"))
    cheap = listings.named(village.view, HERE, id_).goods
    with pytest.raises(WrongState, match="has changed since it was shown"):
        market.proposal(village.view, HERE, dearer, "1", listing.digest(cheap))
