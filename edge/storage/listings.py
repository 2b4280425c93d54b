"""Offers and wants in the database: this village's own, and its neighbours' as last synced."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from edge.core import limits, listing, names, words
from edge.core.listing import Goods, Listing, Side
from edge.core.trade import Quantity
from edge.errors import Forbidden, NotFound, TooMany
from edge.storage import facts
from edge.storage.tx import Tx, View

PAGE: Final = 24
TERMS_MAX: Final = 8  # words of a search
WIPE_AFTER_MS: Final = limits.DAY_MS  # from an erasure until no page holds a copy
_ERASED: Final = "listings_erased_ms"  # the fact: since when something is to be wiped


class Listed(msgspec.Struct, frozen=True):
    """A listing as it is kept. `member`: who made it, if it is of this village."""

    village: str
    id: str
    ends_minute: int
    goods: Goods
    member: int | None
    listed_ms: int


class Query(msgspec.Struct, frozen=True):
    """What to look for. `before` is the place of the last one seen: (listed_ms, village, id)."""

    search: str = ""
    side: Side | None = None
    village: str = ""
    price: str = ""  # `gift`, `goods`, or AT
    member: int | None = None
    before: tuple[int, str, str] | None = None


_COLUMNS = (
    "SELECT village, id, ends_minute, side, asset, decimals, quantity, price_asset, price_kind,"
    " price_decimals, price, text, member, listed_ms FROM listing"
)


def add(tx: Tx, member: int, goods: Goods, ends_minute: int) -> str:
    """Keep a member's new listing; return its id.

    Raises TooMany, or Malformed for one that the neighbours would refuse, with all else that is
    said to them.
    """
    own = tx.one("SELECT count(*) FROM listing WHERE member = ?", member)[0]
    if own >= limits.LISTINGS_PER_MEMBER_MAX:
        raise TooMany(f"you have {limits.LISTINGS_PER_MEMBER_MAX} listings: take one back first")
    village = tx.identity.village
    if _count(tx, village) >= limits.LISTINGS_OWN_MAX:
        raise TooMany(f"the village has {limits.LISTINGS_OWN_MAX} listings: that is all there is")
    made = Listing(tx.random(listing.ID_BYTES).hex(), _next_version(tx), ends_minute, goods)
    listing.check(made)
    _keep(tx, village, made, member)
    return made.id


def take_back(tx: Tx, village: str, id_: str) -> None:
    """Erase an own listing. That it is gone is told until it would have ended; of more than
    LISTINGS_OWN_MAX such notes the oldest go first."""
    _erase(tx, village, id_, _next_version(tx))
    _forget_erased(tx, village, limits.LISTINGS_OWN_MAX)


def take(tx: Tx, id_: str, side: Side, asset: str, amount: int) -> int | None:
    """Take an amount out of what an own listing has left, or for an amount below zero put it back;
    return what was left before, None if that asset is not (any more) offered or wanted there."""
    found = find(tx, tx.identity.village, id_)
    if found is None or (found.goods.side, found.goods.item.asset) != (side, asset):
        return None
    left = found.goods.item.amount
    if amount <= left:
        tx.run(
            "UPDATE listing SET version = ?, changed_ms = ?, quantity = quantity - ?"
            " WHERE village = ? AND id = ?",
            _next_version(tx),
            tx.stamp_ms,
            amount,
            found.village,
            id_,
        )
    return left


def drop_ended(tx: Tx) -> int:
    """Forget the listings that have ended, and that they were taken back; return how many."""
    ended = tx.run("DELETE FROM listing WHERE ends_minute < ?", tx.minute)
    if ended:
        _note_erased(tx)
    return ended


def wipe(tx: Tx) -> bool:
    """Write all listings anew if something was erased a day ago; tell whether it was due.

    SQLite zeroes what is deleted (secure_delete), but a page that was rearranged before may still
    hold a copy of it. Pages that are freed whole are zeroed whole.
    """
    erased_ms = int(facts.read(tx, _ERASED) or 0)
    if not erased_ms or tx.stamp_ms - erased_ms < WIPE_AFTER_MS:
        return False
    tx.run("CREATE TABLE listing_aside AS SELECT * FROM listing")
    tx.run("DELETE FROM listing")
    tx.run("INSERT INTO listing SELECT * FROM listing_aside")
    tx.run("DROP TABLE listing_aside")
    facts.keep(tx, _ERASED, "0")
    tx.empties_wal = True
    return True


def find(view: View, village: str, id_: str) -> Listed | None:
    row = view.one(f"{_COLUMNS} WHERE village = ? AND id = ? AND side IS NOT NULL", village, id_)
    return _listed(row) if row else None


def named(view: View, village: str, id_: str) -> Listed:
    """Return a listing; raises NotFound, also for one that was taken back."""
    found = find(view, village, id_)
    if found is None:
        raise NotFound("this listing is not there any more")
    return found


def owned(view: View, village: str, id_: str, member: int) -> Listed:
    """Return a member's own listing; raises NotFound or Forbidden."""
    found = named(view, village, id_)
    if found.member != member:
        raise Forbidden("this listing is somebody else's")
    return found


def search(view: View, query: Query, now_minute: int, limit: int = PAGE) -> list[Listed]:
    """Return what matches, newest first; of a member's own also what has run out."""
    found: list[tuple[str, list[str | int]]] = [("ends_minute >= ?", [now_minute])]
    found.append(("side = ?", [query.side]) if query.side else ("side IS NOT NULL", []))
    if query.member is None:
        found.append(("quantity > 0", []))
    else:
        found.append(("member = ?", [query.member]))
    if query.village:
        found.append(("village = ?", [query.village]))
    if query.price:
        found.append(_PRICES[query.price])
    if query.before is not None:
        found.append(("(listed_ms, village, id) < (?, ?, ?)", [*query.before]))
    for term in listing.search_text(query.search).split()[:TERMS_MAX]:
        found.append(("instr(search, ?)", [term]))
    where = " AND ".join(condition for condition, _ in found)
    values = [value for _, each in found for value in each]
    rows = view.all(
        f"{_COLUMNS} WHERE {where} ORDER BY listed_ms DESC, village DESC, id DESC LIMIT ?",
        *values,
        limit,
    )
    return [_listed(row) for row in rows]


# Between villages


def changed(view: View, village: str, since: int) -> list[Listing]:
    """Return a village's listings that have changed after version `since`, oldest change first, as
    many as one message may carry."""
    rows = view.all(
        f"{_COLUMNS.replace('SELECT ', 'SELECT version, ')} WHERE village = ? AND version > ?"
        " ORDER BY version LIMIT ?",
        village,
        since,
        limits.LISTINGS_PER_MESSAGE_MAX,
    )
    return [Listing(row[2], row[0], row[3], _goods(row[4:13])) for row in rows]


def keep(tx: Tx, village: str, since: int, told: Sequence[Listing]) -> int:
    """Keep a neighbour's listings, told since a version; return the last version. Raises Malformed.

    Passed over are new ones beyond the bound, those whose text cannot be shown here, and those of a
    message that comes late: what is unknown and not newer than `since` has been taken back.
    """
    count = _count(tx, village)
    latest_minute = tx.minute + (limits.LISTING_S_MAX + limits.CLOCKS_APART_S_MAX) // 60
    for each in told:
        listing.check(each)
        version, is_there = tx.one(
            "SELECT version, side IS NOT NULL FROM listing WHERE village = ? AND id = ?",
            village,
            each.id,
        ) or (since, False)
        if each.version <= version or not _can_be_shown(each):
            continue
        if each.goods is None:
            _erase(tx, village, each.id, each.version)
            count -= is_there
        elif is_there or count < limits.LISTINGS_PER_NEIGHBOUR_MAX:
            count += not is_there
            until = min(each.ends_minute, latest_minute)
            _keep(tx, village, msgspec.structs.replace(each, ends_minute=until), None)
    _forget_erased(tx, village, limits.LISTINGS_PER_NEIGHBOUR_MAX)
    return max((each.version for each in told), default=since)


_PRICES: Final[dict[str, tuple[str, list[str | int]]]] = {
    "gift": ("price_asset IS NULL", []),
    "goods": ("price_kind = 'resource'", []),
    "AT": ("price_kind = 'token'", []),
}


def _next_version(tx: Tx) -> int:
    """Return a version greater than any before, of listings that have ended since, too."""
    last = int(facts.read(tx, "listings_version") or 0)
    version = max(tx.stamp_ms, last + 1)
    facts.keep(tx, "listings_version", str(version))
    return version


def _can_be_shown(told: Listing) -> bool:
    written = told.goods.text if told.goods is not None else ""
    return names.accepts(listing.text, written)


def _erase(tx: Tx, village: str, id_: str, version: int) -> None:
    tx.run(
        "UPDATE listing SET version = ?, changed_ms = ?, side = NULL, asset = NULL,"
        " decimals = NULL, quantity = NULL, price_asset = NULL, price_kind = NULL,"
        " price_decimals = NULL, price = NULL, text = NULL, search = NULL, member = NULL,"
        " listed_ms = NULL WHERE village = ? AND id = ? AND side IS NOT NULL",
        version,
        tx.stamp_ms,
        village,
        id_,
    )
    _note_erased(tx)


def _note_erased(tx: Tx) -> None:
    if not int(facts.read(tx, _ERASED) or 0):
        facts.keep(tx, _ERASED, str(tx.stamp_ms))


def _count(view: View, village: str) -> int:
    """Count a village's listings, without those that were taken back."""
    sql = "SELECT count(*) FROM listing WHERE village = ? AND side IS NOT NULL"
    count: int = view.one(sql, village)[0]
    return count


def _forget_erased(tx: Tx, village: str, kept: int) -> None:
    """Keep the notes of the latest that were taken back, no more than `kept`."""
    tx.run(
        "DELETE FROM listing WHERE village = ?1 AND id IN (SELECT id FROM listing"
        " WHERE village = ?1 AND side IS NULL ORDER BY changed_ms DESC, id LIMIT -1 OFFSET ?2)",
        village,
        kept,
    )


def _keep(tx: Tx, village: str, told: Listing, member: int | None) -> None:
    goods = told.goods
    assert goods is not None
    price = goods.price
    values: Iterable[object] = (
        village,
        told.id,
        told.version,
        told.ends_minute,
        goods.side,
        goods.item.asset,
        goods.item.decimals,
        goods.item.amount,
        price.asset if price else None,
        price.kind if price else None,
        price.decimals if price else None,
        price.amount if price else None,
        goods.text,
        listing.search_text(f"{words.asset_text(goods.item.asset)} {goods.text}"),
        member,
        tx.stamp_ms,
        tx.stamp_ms,
    )
    tx.run(
        "INSERT INTO listing (village, id, version, ends_minute, side, asset, decimals, quantity,"
        " price_asset, price_kind, price_decimals, price, text, search, member, listed_ms,"
        " changed_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (village, id) DO UPDATE SET version = excluded.version,"
        " ends_minute = excluded.ends_minute, side = excluded.side, asset = excluded.asset,"
        " decimals = excluded.decimals, quantity = excluded.quantity,"
        " price_asset = excluded.price_asset, price_kind = excluded.price_kind,"
        " price_decimals = excluded.price_decimals, price = excluded.price, text = excluded.text,"
        " search = excluded.search, listed_ms = coalesce(listed_ms, excluded.listed_ms),"
        " changed_ms = excluded.changed_ms",
        *values,
    )


def _listed(row: tuple[Any, ...]) -> Listed:
    goods = _goods(row[3:12])
    assert goods is not None
    return Listed(row[0], row[1], row[2], goods, row[12], row[13])


def _goods(row: tuple[Any, ...]) -> Goods | None:
    side, asset, decimals, quantity, price_asset, price_kind, price_decimals, price, text = row
    if side is None:
        return None
    item = Quantity(asset, "resource", decimals, quantity)
    paid = Quantity(price_asset, price_kind, price_decimals, price) if price_asset else None
    return Goods(side, item, paid, text)
