"""What the steward's desk shows of trades: this village's own, and those of others that it helps to
decide."""

import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlencode

import msgspec

from edge import abandon, standing, trade_delivery
from edge.core import after_words, delivery, limits, names, records, words
from edge.core.names import amount_text
from edge.core.trade import ENDED, Role, Status, id_of
from edge.errors import InvalidInput
from edge.standing import SeatStanding
from edge.storage import (
    deciding,
    deliveries,
    ledger,
    logs,
    members,
    misbehaviour,
    neighbours,
    swaps,
)
from edge.storage.councils import Opened
from edge.storage.deals import Deal
from edge.storage.swaps import Swap
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, View
from edge.web import views
from edge.web.desk_views import Broken, broken
from edge.web.views import Time

PAGE: Final = 20
CAUGHT_SHOWN_MAX: Final = 100
SHOWS: Final[Mapping[str, str]] = {
    "": "Open",
    "answer": "Waiting for an answer",
    "bound": "Bound",
    "ended": "Ended",
    "disputed": "Disputed",
    "deciding": "Of others: not decided yet",
    "decided": "Of others: decided",
}
_STATUSES: Final[Mapping[str, frozenset[Status]]] = {
    "": swaps.OPEN,
    "answer": frozenset({Status.PENDING}),
    "bound": standing.BOUND,
    "ended": ENDED,
    "disputed": frozenset({Status.DISPUTED}),
}
_PLACE: Final = re.compile(r"([0-9]{1,15})\.([0-9a-f]{16}|[0-9a-f]{64})")
_TONES: Final = {"": "wait", "COMMIT": "done", "ABORT": "off"}
_DECIDED: Final = {"": "Not decided yet", "COMMIT": "Carried out", "ABORT": "Not carried out"}


class Asked(msgspec.Struct, frozen=True):
    """What a steward looks for, as the page's own address says it. `after`: the place of the last
    one seen."""

    show: str = ""
    village: str = ""
    after: str = ""

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "Asked":
        """Raises InvalidInput."""
        asked = cls(query.get("show", ""), query.get("village", ""), query.get("after", ""))
        known = (
            asked.show in SHOWS
            and (not asked.village or names.accepts(names.village_id, asked.village))
            and (not asked.after or _PLACE.fullmatch(asked.after))
        )
        if not known:
            raise InvalidInput("this is not a list of trades that the desk knows")
        return asked

    @property
    def is_of_others(self) -> bool:
        return self.show in ("deciding", "decided")

    def place(self) -> tuple[int, str] | None:
        match = _PLACE.fullmatch(self.after)
        return (int(match[1]), match[2]) if match else None

    def address(self, after: str = "") -> str:
        fields = {"show": self.show, "village": self.village, "after": after}
        query = urlencode({name: value for name, value in fields.items() if value})
        return f"/desk/trades?{query}" if query else "/desk/trades"


class SeatView(msgspec.Struct, frozen=True):
    """`role`: a party's, or that it helps to decide; `heard`: nothing for this village."""

    village: str
    role: str
    said: str
    heard: str


class DisputeView(msgspec.Struct, frozen=True):
    """What a member has against what came; an empty `text` was erased, or has not come yet."""

    who: str
    since: Time
    text: str


class TradeRow(msgspec.Struct, frozen=True):
    """A trade as the steward sees it: no side's own. `held`: what of this village; `evidence`: what
    is in hand of it."""

    id: str
    badge: str
    tone: str
    giver: str
    gives: str
    taker: str
    gets: str
    sentence: str
    waits_for: str
    since: Time
    held: str
    evidence: str
    ended: bool
    may_retry: bool
    has_receipt: bool
    is_of_others: bool = False
    is_at_home: bool = False
    disputes: tuple[DisputeView, ...] = ()


class TradePage(msgspec.Struct, frozen=True):
    """One trade in full. `fee`: to this village's treasury. `absent_from`: when the others may say
    that a hold is absent. `give_up`: `unbound`, `bound`, or nothing if there is nothing to give up;
    `why_not`: what a bound one needs."""

    row: TradeRow
    fee: str
    proposed: Time
    deadline: Time
    decided_by: str
    seats: list[SeatView]
    absent_from: Time | None
    give_up: str
    why_not: str


class TradesPage(msgspec.Struct, frozen=True):
    rows: list[TradeRow]
    older: str
    villages: list[str]
    undecided: int
    caught: list[Broken]


def gather(view: View, asked: Asked) -> TradesPage:
    rows, after = _others(view, asked) if asked.is_of_others else _own(view, asked)
    return TradesPage(
        rows,
        asked.address(after) if after else "",
        [each.village for each in neighbours.everyone(view)],
        deciding.count_undecided(view),
        [broken(found) for found in misbehaviour.everything(view, CAUGHT_SHOWN_MAX)],
    )


find = deciding.swap_or_subject


def in_full(view: View, found: Swap | Opened, now_ms: int) -> TradePage:
    """Return a trade's page; `now_ms` by the clock."""
    if isinstance(found, Deal):
        return _deal_in_full(view, found)
    terms = found.terms
    if isinstance(found, Opened):
        row, stands = of_others(view, found), standing.of_subject(view, found)
        fee, proposed, give_up, why_not = 0, found.opened_ms, "", ""
    else:
        row, stands = own(view, found), standing.of(view, found)
        fee = terms.from_fee if found.role == "from" else terms.to_fee
        proposed = found.created_ms
        give_up = "" if row.ended else "bound" if found.status in standing.BOUND else "unbound"
        why_not = abandon.why_not(view, found, now_ms) if give_up == "bound" else ""
    absent_ms = stands.absent_from_ms
    return TradePage(
        row,
        words.token_text(fee) if fee else "",
        views.local_time(proposed),
        views.local_time(terms.deadline_minute * limits.MINUTE_MS),
        f"any {words.deciding_text(terms)}" if len(terms.seats) > 2 else "",
        [_seat(each) for each in stands.seats],
        views.local_time(absent_ms) if absent_ms else None,
        give_up,
        why_not,
    )


def own(view: View, found: Trade) -> TradeRow:
    """Return a trade with another village, ended or not."""
    terms, stands, lacks = found.terms, standing.of(view, found), standing.unshown(view, found)
    beside = trade_delivery.after(view, found, lambda ms: views.local_time(ms).text)
    badge, tone = views.badge_of(found, beside)
    me, them = found.from_user, found.to_user
    if found.role == "to":
        me, them = them, me
    came = after_words.after(found.role, found.status, terms, beside, me, them, yours=False)
    said = words.describe(
        found.role,
        found.status,
        terms,
        found.from_user,
        found.to_user,
        found.reason,
        deadline=views.local_time(terms.deadline_minute * limits.MINUTE_MS).text,
        yours=False,
        told=found.told,
        addressed=found.addressed,
        missing=lacks.villages,
        absent_from=views.local_time(lacks.absent_from_ms).text,
    )
    ended, is_disputed = found.status in ENDED, found.status is Status.DISPUTED
    if found.status is Status.PENDING:
        badge, tone = "Waiting for an answer", "wait"
    return TradeRow(
        id=found.id,
        badge=badge,
        tone=tone,
        giver=f"{found.from_user or 'a member'} of {terms.from_village}",
        gives=words.quantity_text(terms.offer),
        taker=f"{found.to_user or 'a member'} of {terms.to_village}",
        gets=words.quantity_text(terms.request),
        sentence=f"{said} {came}".strip(),
        waits_for="its two members, to agree" if is_disputed else stands.waits_for,
        since=views.local_time(found.changed_ms),
        held=_held(found),
        evidence=stands.evidence,
        ended=ended,
        may_retry=not ended and (found.role == "from" or found.status in standing.BOUND),
        has_receipt=found.certificate is not None and found.to_signature is not None,
        disputes=tuple(_disputes(view, found)) if is_disputed else (),
    )


def of_others(view: View, opened: Opened) -> TradeRow:
    """Return a trade of others that this village helps to decide: the public terms, no people."""
    terms, stands = opened.terms, standing.of_subject(view, opened)
    return TradeRow(
        id=id_of(opened.id),
        badge=_DECIDED[stands.decided],
        tone=_TONES[stands.decided],
        giver=terms.from_village,
        gives=words.quantity_text(terms.offer),
        taker=terms.to_village,
        gets=words.quantity_text(terms.request),
        sentence=standing.in_words(stands),
        waits_for=stands.waits_for,
        since=views.local_time(opened.opened_ms),
        held="nothing: this village only helps to decide",
        evidence=stands.evidence,
        ended=bool(stands.decided),
        may_retry=not stands.decided,
        has_receipt=bool(stands.decided),
        is_of_others=True,
    )


def _own(view: View, asked: Asked) -> tuple[list[TradeRow], str]:
    wanted = swaps.Wanted(_STATUSES[asked.show], asked.village or None)
    found = swaps.of_everyone(view, wanted, PAGE + 1, asked.place())
    page = found[:PAGE]
    after = "{}.{}".format(*swaps.step_of(page[-1])) if len(found) > PAGE else ""
    return [_swap(view, each) for each in page], after


def _others(view: View, asked: Asked) -> tuple[list[TradeRow], str]:
    before = asked.place()
    place = (before[0], bytes.fromhex(before[1])) if before else None
    found = deciding.page(view, PAGE + 1, place, asked.show == "decided", asked.village)
    page = found[:PAGE]
    after = f"{page[-1].opened_ms}.{page[-1].id.hex()}" if len(found) > PAGE else ""
    return [of_others(view, each) for each in page], after


def _swap(view: View, found: Swap) -> TradeRow:
    return _deal(view, found) if isinstance(found, Deal) else own(view, found)


def _deal(view: View, found: Deal) -> TradeRow:
    giver, taker = (_name(view, id_) for id_ in (found.from_member, found.to_member))
    gives, gets = (_amount(view, *side) for side in (found.offer, found.request))
    badge, tone = views.BADGES["from", found.status]
    until = views.local_time(found.deadline_minute * limits.MINUTE_MS).text
    ended = found.status in ENDED
    return TradeRow(
        id=found.id,
        badge=badge,
        tone=tone,
        giver=giver,
        gives=gives,
        taker=taker,
        gets=gets,
        sentence=words.describe_deal(
            "from", found.status, gives, gets, taker, until, giver, found.reason
        )
        if ended
        else f"Within this village. It ends by itself if {taker} has not answered by {until}.",
        waits_for="nobody: it has ended" if ended else taker,
        since=views.local_time(found.changed_ms),
        held=f"{gives}, set aside" if found.reserved else "nothing",
        evidence="",
        ended=ended,
        may_retry=False,
        has_receipt=False,
        is_at_home=True,
    )


def _deal_in_full(view: View, found: Deal) -> TradePage:
    return TradePage(
        _deal(view, found),
        "",
        views.local_time(found.created_ms),
        views.local_time(found.deadline_minute * limits.MINUTE_MS),
        "its two members, who both are of this village",
        [],
        None,
        "" if found.status in ENDED else "unbound",
        "",
    )


def _seat(seat: SeatStanding) -> SeatView:
    said = []
    if seat.statement:
        said.append(f"{seat.statement}, {'proven' if seat.is_proven else 'not proven yet'}")
    if seat.voted:
        said.append(f"voted {seat.voted}")
    heard = views.local_time(seat.last_contact_ms).text if seat.last_contact_ms else "never"
    return SeatView(
        seat.village,
        "a party" if seat.party else "helps to decide",
        "; ".join(said) or "nothing yet",
        "" if seat.here else heard,
    )


def _held(found: Trade) -> str:
    what = words.gives_text(found.terms, found.role)
    if found.status in standing.BOUND:
        return f"{what}, held until it has ended"
    return f"{what}, set aside" if found.reserved else "nothing"


def _disputes(view: View, found: Trade) -> Iterator[DisputeView]:
    """Yield who disputes a trade: each is a side to which goods were to come."""
    other: Role = "to" if found.role == "from" else "from"
    own = found.terms.from_village if found.role == "from" else found.terms.to_village
    texts, stand = deliveries.written(view, found.subject), trade_delivery.stand(view, found)
    their_log = neighbours.log_of(view, found.neighbour)
    sides = ((OWN_LOG, found.role, own), (their_log, other, found.neighbour))
    for log, role, village in sides:
        leg = delivery.leg_of(found.terms, role)
        index = deliveries.disputed_at(view, found.subject, log)
        if leg is not None and index is not None and leg.goods.asset in stand.disputed:
            minute = records.decode(logs.record_at(view, log, index)).minute
            person = found.from_user if role == "from" else found.to_user
            since = views.local_time(minute * limits.MINUTE_MS)
            yield DisputeView(f"{person or 'a member'} of {village}", since, texts.get(village, ""))


def _name(view: View, member: int) -> str:
    found = members.by_id(view, member)
    return found.name if found else "a member"


def _amount(view: View, code: str, amount: int) -> str:
    if not amount:
        return words.NOTHING
    return f"{amount_text(amount, ledger.asset(view, code).decimals)} {words.asset_text(code)}"
