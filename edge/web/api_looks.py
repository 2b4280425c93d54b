"""What the JSON API reads: one function over a consistent state for each operation."""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from edge import desk, trade_escrow
from edge.core import limits, names, receipt
from edge.core.accounts import Asset
from edge.core.trade import ENDED, Status, id_of
from edge.errors import UnknownTrade
from edge.health import MISBEHAVIOUR_SHOWN_MAX
from edge.storage import (
    changes,
    listings,
    logs,
    members,
    misbehaviour,
    movements,
    neighbours,
    swaps,
)
from edge.storage import trades as trades_kept
from edge.storage.changes import Position
from edge.storage.deals import Deal
from edge.storage.listings import Query
from edge.storage.tokens import SCOPES
from edge.storage.tx import OWN_LOG, View
from edge.web import api_shown, cursors
from edge.web import api_steward_types as steward_types
from edge.web import api_types as types
from edge.web.history import KINDS
from edge.web.operations import Call

T = TypeVar("T")
_OPEN: Final = swaps.OPEN


def me(view: View, call: Call[types.NoQuery]) -> types.Me:
    shop, token = call.shop, call.token
    return types.Me(
        call.member.name,
        shop.village,
        shop.village_name,
        call.member.steward,
        token.name,
        [scope for scope in SCOPES if scope in token.scopes],
    )


def balances(view: View, call: Call[types.NoQuery]) -> types.Balances:
    return types.Balances(api_shown.held(view, call.member.account))


def history(view: View, call: Call[types.HistoryQuery]) -> types.History:
    asked = call.asked
    wanted = movements.Wanted(
        asset=names.asset_code(asked.asset) if asked.asset else "",
        operations=KINDS[asked.kind][1],
        direction=asked.direction,
        since_ms=asked.since_ms,
        until_ms=asked.until_ms,
    )
    before = cursors.number(cursors.decode(asked.next, 1)[0]) if asked.next else None
    page = movements.page(view, call.member.account, wanted, asked.limit, before)
    return types.History(
        [api_shown.movement(view, call.member, row) for row in page.rows],
        cursors.encode(page.older) if page.older is not None else "",
    )


def trades(view: View, call: Call[types.TradesQuery]) -> types.Trades:
    asked, village = call.asked, call.shop.village
    statuses = {"": frozenset(Status), "open": _OPEN, "ended": ENDED}[asked.state]
    if asked.status:
        statuses &= {Status(asked.status)}
    wanted = swaps.Wanted(
        statuses, {"": None, village: ""}.get(asked.village, asked.village or None)
    )
    before = None
    if asked.next:
        stamp, id_ = cursors.decode(asked.next, 2)
        before = (cursors.number(stamp), id_)
    found = swaps.page(view, call.member, wanted, asked.limit + 1, before)
    page = found[: asked.limit]
    now_ms = call.shop.now_ms()
    return types.Trades(
        [api_shown.swap(view, each, call.member, village, now_ms) for each in page],
        cursors.encode(*swaps.place_of(page[-1])) if len(found) > len(page) else "",
    )


def trade(view: View, call: Call[types.NoQuery]) -> types.Trade:
    return show_trade(view, call, call.path["id"])


def show_trade(view: View, call: Call[Any], id_: str) -> types.Trade:
    found = api_shown.own_swap(view, call.member, id_)
    return api_shown.swap(view, found, call.member, call.shop.village, call.shop.now_ms())


def trade_receipt(view: View, call: Call[types.NoQuery]) -> bytes:
    found = api_shown.own_swap(view, call.member, call.path["id"])
    if isinstance(found, Deal):
        raise UnknownTrade("a trade at home has no receipt: it is one record of one log")
    return receipt.encode(trade_escrow.receipt(view, found))


def villages(view: View, call: Call[types.NoQuery]) -> types.Villages:
    own = types.VillageShown(
        call.shop.village, call.shop.village_name, True, call.shop.now_ms(), ""
    )
    others = [
        types.VillageShown(each.village, each.entry.name, False, each.last_contact_ms, each.trouble)
        for each in neighbours.everyone(view)
    ]
    return types.Villages([own, *others])


def assets(view: View, call: Call[types.PageQuery]) -> types.Assets:
    logs_of = [(OWN_LOG, call.shop.village)]
    logs_of += [(each.log, each.village) for each in neighbours.everyone(view)]
    found: dict[Asset, list[str]] = {}
    for log, village in logs_of:
        for asset in logs.assets(view, log):
            if names.is_asset_code(asset.code):
                found.setdefault(asset, []).append(village)
    rows = sorted(found.items(), key=lambda item: (item[0].code, item[0].kind, item[0].decimals))
    page, next_ = _page(
        rows, call.asked, lambda item: f"{item[0].code} {item[0].kind} {item[0].decimals}"
    )
    return types.Assets([api_shown.asset(*row) for row in page], next_)


def people(view: View, call: Call[types.PageQuery]) -> types.Names:
    everyone = [each.name for each in members.everyone(view)]
    page, next_ = _page(everyone, call.asked, members.fold)
    return types.Names(page, next_)


def listed(view: View, call: Call[types.ListingsQuery]) -> types.Listings:
    asked = call.asked
    before = None
    if asked.next:
        stamp, village, id_ = cursors.decode(asked.next, 3)
        before = (cursors.number(stamp), village, id_)
    query = Query(
        asked.search,
        asked.side or None,
        asked.village,
        asked.price,
        call.member.id if asked.mine else None,
        before,
    )
    minute = call.shop.now_ms() // limits.MINUTE_MS
    found = listings.search(view, query, minute, asked.limit + 1)
    page = found[: asked.limit]
    last = page[-1] if len(found) > len(page) else None
    return types.Listings(
        [api_shown.listing(view, each, call.member) for each in page],
        cursors.encode(last.listed_ms, last.village, last.id) if last else "",
    )


def listing(view: View, call: Call[types.NoQuery]) -> types.Listing:
    found = listings.named(view, call.path["village"], call.path["id"])
    return api_shown.listing(view, found, call.member)


def changed(
    view: View, call: Call[Any], position: Position, limit: int
) -> tuple[types.Changes, list[Position | None]]:
    """Return what has changed for a member after a position, and where that leads to, change by
    change (storage.changes)."""
    found = changes.since(view, call.member, position, limit)
    village, now_ms = call.shop.village, call.shop.now_ms()
    shown: list[types.Change] = []
    for row in found.rows:
        if row.kind == "listing":
            shown.append(api_shown.listing_change(view, row.village, row.key, call.member))
            continue
        swap = api_shown.own_swap(view, call.member, row.key[:16])
        shown.append(types.TradeChange(api_shown.swap(view, swap, call.member, village, now_ms)))
    shown += [
        types.MovementChange(api_shown.movement(view, call.member, each)) for each in found.moved
    ]
    places = found.places(position)
    return types.Changes(shown, found.position.to_text(), found.more), places


# For stewards


def status(view: View, call: Call[types.NoQuery]) -> steward_types.BoxStatus:
    found = call.shop.health(view)
    heard_ms = {each.village: each.last_contact_ms for each in neighbours.everyone(view)}
    log = found.log
    return steward_types.BoxStatus(
        village=found.village,
        name=found.name,
        version=found.version,
        health=found.health,
        reasons=found.reasons,
        serving=found.serving,
        federation_url=found.federation_url,
        page_urls=found.page_urls,
        verifier_key=found.verifier_key,
        disk=found.disk,
        clock=found.clock,
        log=steward_types.LogShown(
            log.size,
            log.root,
            log.time * 1000,
            log.cosigned_size,
            log.cosigned_by,
            log.cosigners,
            {village: second * 1000 for village, second in log.cosigned_times.items()},
        ),
        neighbours=[
            steward_types.Contact(
                each.village,
                heard_ms[each.village],
                each.is_silent,
                each.clock_difference_s,
                each.trouble,
            )
            for each in found.neighbours
        ],
        open_trades=found.open_trades,
        deciding=found.deciding,
        misbehaviour=[
            steward_types.Misbehaviour(
                each.village,
                id_of(each.subject),
                each.subject.hex(),
                each.text,
                each.source,
                each.kept_ms,
            )
            for each in misbehaviour.everything(view, MISBEHAVIOUR_SHOWN_MAX)
        ],
    )


def all_members(view: View, call: Call[types.PageQuery]) -> types.Members:
    page, next_ = _page(
        members.everyone(view), call.asked, lambda member: members.fold(member.name)
    )
    return types.Members(
        [
            types.MemberBalances(each.name, each.steward, api_shown.held(view, each.account))
            for each in page
        ],
        next_,
    )


def all_neighbours(view: View, call: Call[types.NoQuery]) -> steward_types.Neighbours:
    return steward_types.Neighbours(
        [
            steward_types.Neighbour(
                each.village,
                each.entry.name,
                list(each.addresses),
                each.last_contact_ms,
                each.trouble,
                logs.size_of(view, each.log),
                trades_kept.count_open(view, neighbour=each.village),
                [
                    steward_types.Line(line.asset, line.balance, line.on_hold, line.line, line.room)
                    for line in desk.lines(view, each.village)
                ],
            )
            for each in neighbours.everyone(view)
        ]
    )


def _page(
    rows: Iterable[T], asked: types.PageQuery, key: Callable[[T], str]
) -> tuple[list[T], str]:
    """Return a page of a list that is sorted by `key`, and the cursor of the next one."""
    after = cursors.decode(asked.next, 1)[0] if asked.next else ""
    rest = [row for row in rows if key(row) > after]
    page = rest[: asked.limit]
    return page, cursors.encode(key(page[-1])) if len(rest) > len(page) else ""
