"""What a page shows, gathered from one consistent state of the ledger."""

from typing import Final

import msgspec

from edge import desk, standing, trade_delivery
from edge.core import after_words, delivery, limits, words
from edge.core.accounts import MEMBER, TREASURY
from edge.core.names import TOKEN, TOKEN_DECIMALS, amount_text, is_asset_code
from edge.core.trade import ENDED, Role, Status
from edge.errors import UnknownTrade
from edge.storage import deals, deliveries, ledger, logs, members, neighbours, trades
from edge.storage.deals import Deal
from edge.storage.members import Member
from edge.storage.neighbours import Neighbour
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, View

SILENT_MS: Final = 180_000
MEMBERS_SHOWN_MAX: Final = 500
ASSETS_SHOWN_MAX: Final = 200

# In a word or two, and how the page colours it.
BADGES: Final[dict[tuple[Role, Status], tuple[str, str]]] = {
    ("from", Status.PENDING): ("Waiting for an answer", "wait"),
    ("to", Status.PENDING): ("Your answer, please", "act"),
    ("from", Status.ACCEPTED): ("Bound", "wait"),
    ("to", Status.ACCEPTED): ("Bound", "wait"),
    ("from", Status.HELD): ("Bound", "wait"),
    ("to", Status.HELD): ("Bound", "wait"),
    ("from", Status.SETTLED): ("Done", "done"),
    ("from", Status.DELIVERED): ("Delivered", "done"),
    ("from", Status.DISPUTED): ("Disputed", "act"),
    ("to", Status.SETTLED): ("Done", "done"),
    ("to", Status.DELIVERED): ("Delivered", "done"),
    ("to", Status.DISPUTED): ("Disputed", "act"),
    ("from", Status.ABORTED): ("Not carried out", "off"),
    ("to", Status.ABORTED): ("Not carried out", "off"),
    ("from", Status.REJECTED): ("Declined", "off"),
    ("to", Status.REJECTED): ("Declined", "off"),
    ("from", Status.CANCELLED): ("Withdrawn", "off"),
    ("to", Status.CANCELLED): ("Withdrawn", "off"),
    ("from", Status.EXPIRED): ("Ran out", "off"),
    ("to", Status.EXPIRED): ("Ran out", "off"),
}
STEPS: Final[dict[tuple[Role, Status], tuple[str, ...]]] = {
    ("from", Status.PENDING): ("cancel",),
    ("to", Status.PENDING): ("accept", "reject"),
}


class Time(msgspec.Struct, frozen=True):
    """A moment for people, in the box's own time zone, and for programs."""

    text: str
    iso: str


class Written(msgspec.Struct, frozen=True):
    """What somebody has written of a dispute."""

    who: str
    text: str
    mine: bool


class TradeView(msgspec.Struct, frozen=True):
    """A trade as one of its two members sees it, at `path`. `pays` is what they give and the fee on
    it. `other_user` is a name that this box cannot check if `named_by_them`; a trade within the
    village has no `other_village`. `decided_by`: the seats of a council, if there is one.

    Of what comes after it: `awaited`, the goods that are to come; what a refund `gives_back` and
    `gets_back`, and `tokens_back`, what of that is AT; `refund` and `refund_of`, the ids of trades,
    and whether it `is_given_back`, its refund settled; `deliver_ms`, when what is awaited counts as
    delivered."""

    id: str
    path: str
    badge: str
    tone: str
    sentence: str
    gives: str
    gets: str
    pays: str
    fee: str
    other_user: str
    other_village: str
    other_village_name: str
    named_by_them: bool
    proposed: Time
    deadline: Time
    steps: tuple[str, ...]
    has_receipt: bool
    ended: bool
    changed_ms: int
    decided_by: str = ""
    awaited: str = ""
    gives_back: str = ""
    gets_back: str = ""
    tokens_back: str = ""
    refund: str = ""
    refund_of: str = ""
    is_given_back: bool = False
    disputes: tuple[Written, ...] = ()
    deliver_ms: int = 0

    @property
    def title(self) -> str:
        return words.exchange(self.gives, self.gets)

    @property
    def buttons(self) -> tuple[str, ...]:
        """The steps that take no more than a button."""
        return tuple(step for step in self.steps if step not in ("dispute", "refund"))


class Balance(msgspec.Struct, frozen=True):
    code: str
    asset: str
    balance: str
    on_hold: str
    available: str
    lowest: str  # how far below zero it may go, if it may


class Place(msgspec.Struct, frozen=True):
    village: str
    name: str
    trouble: str


class Home(msgspec.Struct, frozen=True):
    """`trades`: those that wait for this member first, those that have ended last. `known`: assets
    in the catalogues here and of the neighbours."""

    balances: list[Balance]
    trades: list[TradeView]
    people: list[str]
    places: list[Place]
    known: list[str]

    @property
    def open_trades(self) -> int:
        return sum(not trade.ended for trade in self.trades)


def home(view: View, member: Member, now_ms: int) -> Home:
    everyone = neighbours.everyone(view)
    all_shown = [shown(view, found, now_ms) for found in trades.of_member(view, member.id)]
    all_shown += [deal_shown(view, found, member) for found in deals.of_member(view, member.id)]
    others = [each.name for each in members.everyone(view) if each.id != member.id]
    return Home(
        balances(view, member),
        sorted(all_shown, key=_first_seen),
        others[:MEMBERS_SHOWN_MAX],
        [Place(each.village, each.entry.name, each.trouble) for each in everyone],
        catalogue(view, everyone),
    )


def balances(view: View, member: Member) -> list[Balance]:
    """Return what a member has, the token first even if there is none."""
    zero = amount_text(0, TOKEN_DECIMALS)
    nothing = {"balance": zero, "on_hold": zero, "available": zero, "limit": zero}
    by_code: dict[str, dict[str, str | int]] = {TOKEN: {**nothing}}
    by_code |= {str(row["asset"]): row for row in desk.wallet(view, member)}
    return [
        Balance(
            code,
            words.asset_text(code),
            str(row["balance"]),
            str(row["on_hold"]),
            str(row["available"]),
            f"-{row['limit']}" if str(row["limit"]).strip("0.") else "",
        )
        for code, row in by_code.items()
    ]


def catalogue(view: View, everyone: list[Neighbour]) -> list[str]:
    """Return some assets that the catalogues here and of the neighbours have, in words."""
    found = {
        words.asset_text(asset.code)
        for log in (OWN_LOG, *(each.log for each in everyone))
        for asset in logs.assets(view, log, ASSETS_SHOWN_MAX)
        if is_asset_code(asset.code)
    }
    return sorted(found)[:ASSETS_SHOWN_MAX]


def own_trade(view: View, member: Member, id_: str) -> Trade:
    """Return a member's own trade; UnknownTrade for anybody else's, as for none."""
    found = trades.named(view, id_)
    if found.member != member.id:
        raise UnknownTrade(f"there is no trade {id_} here")
    return found


def shown(view: View, found: Trade, now_ms: int) -> TradeView:
    neighbour = neighbours.find(view, found.neighbour)
    role, terms = found.role, found.terms
    gives, gets = (terms.offer, terms.request) if role == "from" else (terms.request, terms.offer)
    fee = terms.from_fee if role == "from" else terms.to_fee
    deadline = local_time(terms.deadline_minute * limits.MINUTE_MS)
    me, them = found.from_user, found.to_user
    if role == "to":
        me, them = them, me
    beside = trade_delivery.after(view, found, lambda ms: local_time(ms).text)
    badge, tone = badge_of(found, beside)
    came = after_words.after(role, found.status, terms, beside, me, them, yours=True)
    later = trade_delivery.steps(view, found)
    leg, lacks = delivery.leg_of(terms, role), standing.unshown(view, found)
    back, tokens = ("", ""), ""
    if "refund" in later:
        sides = delivery.refund_sides(terms, role, beside.stand.delivered)
        back = (words.quantity_text(sides[0]), words.quantity_text(sides[1]))
        paid = sum(each.amount for each in sides if each.kind == "token")
        tokens = amount_text(paid, TOKEN_DECIMALS) if paid else ""
    return TradeView(
        id=found.id,
        path=f"/trades/{found.id}",
        badge=badge,
        tone=tone,
        sentence=_joined(
            words.describe(
                role,
                found.status,
                terms,
                found.from_user,
                found.to_user,
                found.reason,
                deadline=deadline.text,
                told=found.told,
                addressed=found.addressed,
                silent_since=_silent_since(neighbour, now_ms),
                missing=lacks.villages,
                absent_from=local_time(lacks.absent_from_ms).text,
            ),
            came,
        ),
        gives=words.quantity_text(gives),
        gets=words.quantity_text(gets),
        pays=words.gives_text(terms, role),
        fee=words.token_text(fee) if fee else "",
        other_user=them or "a member",
        other_village=found.neighbour,
        other_village_name=neighbour.entry.name if neighbour else "",
        named_by_them=role == "to",
        proposed=local_time(found.created_ms),
        deadline=deadline,
        steps=(*STEPS.get((role, found.status), ()), *later),
        decided_by=words.deciding_text(terms) if len(terms.seats) > 2 else "",
        has_receipt=found.certificate is not None and found.to_signature is not None,
        ended=found.status in ENDED,
        changed_ms=found.changed_ms,
        awaited=words.quantity_text(leg.goods) if leg else "",
        gives_back=back[0],
        gets_back=back[1],
        tokens_back=tokens,
        refund=beside.refund,
        refund_of=beside.refund_of,
        is_given_back=beside.refund_status is Status.SETTLED,
        disputes=_written(view, found, them),
        deliver_ms=(found.deliver_minute or 0) * limits.MINUTE_MS,
    )


def badge_of(found: Trade, beside: after_words.After) -> tuple[str, str]:
    """Return in a word or two how a trade with another village stands, and its colour."""
    if found.status is Status.SETTLED and beside.refund_status is Status.SETTLED:
        return "Given back", "done"
    return BADGES[found.role, found.status]


def _joined(*sentences: str) -> str:
    return " ".join(each for each in sentences if each)


def _written(view: View, found: Trade, them: str) -> tuple[Written, ...]:
    """Return what is written of a dispute, the other side's first."""
    theirs = found.neighbour
    texts = deliveries.written(view, found.subject)
    return tuple(
        Written(them or "a member" if village == theirs else "You", text, village != theirs)
        for village, text in sorted(texts.items(), key=lambda item: item[0] != theirs)
        if text
    )


def _first_seen(trade: TradeView) -> tuple[bool, bool, int]:
    return trade.ended, "accept" not in trade.steps, -trade.changed_ms


def deal_shown(view: View, found: Deal, member: Member) -> TradeView:
    """Return a trade within the village as one of its two members sees it."""
    role: Role = "from" if found.from_member == member.id else "to"
    badge, tone = BADGES[role, found.status]
    other = members.by_id(view, found.to_member if role == "from" else found.from_member)
    gives, gets = (_side(view, side) for side in (found.offer, found.request))
    if role == "to":
        gives, gets = gets, gives
    deadline = local_time(found.deadline_minute * limits.MINUTE_MS)
    name = other.name if other else "a member"
    return TradeView(
        id=found.id,
        path=f"/deals/{found.id}",
        badge=badge,
        tone=tone,
        sentence=words.describe_deal(
            role, found.status, gives, gets, name, deadline.text, reason=found.reason
        ),
        gives=gives,
        gets=gets,
        pays=gives,
        fee="",
        other_user=name,
        other_village="",
        other_village_name="",
        named_by_them=False,
        proposed=local_time(found.created_ms),
        deadline=deadline,
        steps=STEPS.get((role, found.status), ()),
        has_receipt=False,
        ended=found.status in ENDED,
        changed_ms=found.changed_ms,
    )


def _side(view: View, side: tuple[str, int]) -> str:
    asset, amount = side
    if not amount:
        return words.NOTHING
    decimals = ledger.asset(view, asset).decimals
    return f"{amount_text(amount, decimals)} {words.asset_text(asset)}"


def payment(view: View, member: Member, form: str) -> str:
    """Return in words what a payment form of this member did, nothing if it did nothing."""
    answer = members.answered(view, scope(member), f"pay:{form}")
    if answer is None:
        return ""
    posting = ledger.posting_of(view, int(answer))
    [entry] = [each for each in posting.entries if each.amount > 0]
    asset = ledger.asset(view, entry.asset)
    amount = f"{amount_text(entry.amount, asset.decimals)} {words.asset_text(asset.code)}"
    return f"Paid {amount} to {holder(view, entry.account)}."


def scope(member: Member) -> str:
    """Return whose ids the answers to this member's requests are kept under."""
    return f"member:{member.id}"


def local_time(ms: int) -> Time:
    time = words.moment(ms).astimezone()
    return Time(words.when(time), time.isoformat(timespec="minutes"))


def _silent_since(neighbour: Neighbour | None, now_ms: int) -> str:
    if neighbour is None or now_ms - neighbour.last_contact_ms < SILENT_MS:
        return ""
    return local_time(neighbour.last_contact_ms).text if neighbour.last_contact_ms else ""


def holder(view: View, account: str) -> str:
    """Return whose account it is, in words."""
    if account == TREASURY:
        return "the treasury"
    member = members.by_id(view, int(account.removeprefix(MEMBER)))
    return member.name if member else "a member"
