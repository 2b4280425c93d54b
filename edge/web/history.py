"""A member's history in words: lines, the filter of the wallet's page, and statements of a stretch
of days, as a page or as comma-separated values."""

import csv
import io
import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Final, Self

import msgspec

from edge.core import limits, names, records, trade, words
from edge.core.accounts import ISSUANCE, TREASURY, Entry
from edge.core.records import Operation
from edge.errors import InvalidInput
from edge.storage import deals, ledger, logs, movements, trades
from edge.storage.members import Member
from edge.storage.movements import Direction, Movement, Wanted
from edge.storage.tx import OWN_LOG, View
from edge.web.views import Time, holder, local_time

STATEMENT_LINES_MAX: Final = 5_000
MONTHS_OFFERED: Final = 12

# What a member may ask for, and the operations that it means.
KINDS: Final[Mapping[str, tuple[str, tuple[Operation, ...]]]] = {
    "": ("Everything", ()),
    "payments": ("Payments", ("pay",)),
    "trades": ("Trades", ("trade", "deal")),
    "goods": ("Goods declared or used up", ("declare", "consume")),
    "issued": ("Issued by the village", ("issue",)),
}
DIRECTIONS: Final[Mapping[Direction, str]] = {"": "In and out", "in": "Came in", "out": "Went out"}

# What happened, by operation and whether it came in; a name follows where there is one.
PHRASES: Final[Mapping[tuple[str, bool], str]] = {
    ("pay", True): "Received from",
    ("pay", False): "Paid to",
    ("issue", True): "Issued by the village",
    ("declare", True): "Declared",
    ("consume", False): "Used up",
}
CSV_COLUMNS: Final = (
    "time",
    "what",
    "other party",
    "village",
    "note",
    "asset",
    "amount",
    "balance",
    "fee included",
    "trade",
    "record",
)


class Line(msgspec.Struct, frozen=True):
    """A movement in words. `amount` and `balance` are as people write them, with a minus where one
    belongs. `village`: the other party's, if it is another one. `path`: of the trade, if it was
    one."""

    index: int
    when: Time
    operation: str
    what: str
    party: str
    village: str
    note: str
    code: str
    asset: str
    amount: str
    balance: str
    fee: str
    path: str


class Asked(msgspec.Struct, frozen=True):
    """What somebody wants to see of the history, as the page's address says it."""

    asset: str = ""
    kind: str = ""
    direction: str = ""
    since: str = ""
    until: str = ""
    before: str = ""

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Self:
        return cls(**{name: query.get(key, "").strip() for name, key in _KEYS.items()})

    def fields(self) -> dict[str, str]:
        """Return what the address says, but for the place in the list."""
        found = {_KEYS[name]: value for name, value in msgspec.structs.asdict(self).items()}
        return {key: value for key, value in found.items() if value and key != "before"}

    @property
    def wanted(self) -> Wanted:
        """Raises InvalidInput."""
        direction = next((each for each in DIRECTIONS if each == self.direction), None)
        if direction is None or self.kind not in KINDS:
            raise InvalidInput("this is not a choice of this page")
        return Wanted(
            names.asset_code(self.asset) if self.asset else "",
            KINDS[self.kind][1],
            direction,
            day_ms(day(self.since)) if self.since else None,
            day_ms(day(self.until), 1) if self.until else None,
        )

    @property
    def place(self) -> int | None:
        """Return the record before which the list goes on. Raises InvalidInput."""
        if self.before and not _NUMBER.fullmatch(self.before):
            raise InvalidInput("this is not a place in the history")
        return int(self.before) if self.before else None


_KEYS: Final = {  # by attribute; `from` is no name in Python
    "asset": "asset",
    "kind": "kind",
    "direction": "direction",
    "since": "from",
    "until": "to",
    "before": "before",
}


class Days(msgspec.Struct, frozen=True):
    """A stretch of days in the box's time zone, both ends in it."""

    first: date
    last: date

    @classmethod
    def from_query(cls, query: Mapping[str, str], now_ms: int) -> Self:
        """Read `month=2026-11`, or `from` and `to`; this month if there is neither. Raises
        InvalidInput."""
        since, until = query.get("from", ""), query.get("to", "")
        if since or until:
            if not since or not until:
                raise InvalidInput("a statement needs its first day and its last")
            return cls._checked(day(since), day(until))
        month = query.get("month", "") or f"{_today(now_ms):%Y-%m}"
        return cls.of_month(day(f"{month}-01"))

    @classmethod
    def of_month(cls, first: date) -> Self:
        """Return the month that begins on that day."""
        return cls(first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1))

    @classmethod
    def _checked(cls, first: date, last: date) -> Self:
        if last < first:
            raise InvalidInput("the last day of the statement is before the first")
        return cls(first, last)

    @property
    def text(self) -> str:
        """Return `November 2026`, `23 November 2026`, or both days."""
        if self == Days.of_month(self.first.replace(day=1)):
            return f"{self.first:%B %Y}"
        first, last = (f"{each.day} {each:%B %Y}" for each in (self.first, self.last))
        return first if first == last else f"{first} to {last}"

    @property
    def bounds_ms(self) -> tuple[int, int]:
        return day_ms(self.first), day_ms(self.last, 1)


class Part(msgspec.Struct, frozen=True):
    """A statement's lines in one asset, and what there was before and after them."""

    asset: str
    opening: str
    lines: list[Line]
    closing: str


class Statement(msgspec.Struct, frozen=True):
    days: Days
    made: Time
    parts: list[Part]


def line(view: View, account: str, found: Movement) -> Line:
    """Put a movement into words, as its account's owner may read them."""
    said = movements.said_by(view, found.index, found.operation)
    party, village, path, entries = "", "", "", list(said.entries)
    if found.operation == "trade":
        known = trades.find(view, said.subject)
        if known is not None:
            ours = known.role == "from"
            party = (known.to_user if ours else known.from_user) or "a member"
            village, path = known.neighbour, f"/trades/{known.id}"
            entries = trade.member_entries(known.terms, known.role, account)
    else:
        others = {entry.account for entry in entries} - {account, ISSUANCE}
        party = ", ".join(holder(view, other) for other in sorted(others))
        deal = deals.of_record(view, found.index) if found.operation == "deal" else None
        path = f"/deals/{deal.id}" if deal else ""
    asset = ledger.asset(view, found.asset)
    return Line(
        index=found.index,
        when=_short(found.stamp_ms),
        operation=found.operation,
        what=_phrase(found, account, entries),
        party=party,
        village=village,
        note=said.note,
        code=asset.code,
        asset=words.asset_text(asset.code),
        amount=names.amount_text(found.amount, asset.decimals),
        balance=names.amount_text(found.balance, asset.decimals),
        fee=_fee(found, account, entries),
        path=path,
    )


def statement(view: View, member: Member, days: Days, now_ms: int) -> Statement:
    """Return all that moved on these days; InvalidInput if that is too much for one page."""
    period = movements.between(view, member.account, *days.bounds_ms, STATEMENT_LINES_MAX)
    if period is None:
        raise InvalidInput(
            f"there are more than {STATEMENT_LINES_MAX} movements: choose fewer days"
        )
    lines = [line(view, member.account, row) for row in period.rows]
    parts = []
    for code in period.closing:
        decimals = ledger.asset(view, code).decimals
        parts.append(
            Part(
                words.asset_text(code),
                names.amount_text(period.opening.get(code, 0), decimals),
                [each for each in lines if each.code == code],
                names.amount_text(period.closing[code], decimals),
            )
        )
    return Statement(days, local_time(now_ms), parts)


def to_csv(shown: Statement) -> bytes:
    """Return a statement's lines, oldest first, as comma-separated values (RFC 4180, UTF-8)."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(CSV_COLUMNS)
    lines = (each for part in shown.parts for each in part.lines)
    for each in sorted(lines, key=lambda found: (found.index, found.code)):
        text = (each.what, each.party, each.village, each.note, each.code)
        trade_id = each.path.rpartition("/")[2]
        numbers = (each.amount, each.balance, each.fee, cell(trade_id), each.index)
        writer.writerow((each.when.iso, *map(cell, text), *numbers))
    return out.getvalue().encode()


def cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula, wherever it may divide the cell."""
    return _FORMULA.sub(r"\1'", text)


def day(text: str) -> date:
    """Read a day, `2026-11-23`. Raises InvalidInput."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        found = date.min
    if found.isoformat() != text or not _YEAR_MIN <= found.year <= _YEAR_MAX:
        raise InvalidInput(f"{text[:40]!r} is not a day: write it like 2026-11-23")
    return found


def day_ms(which: date, days_later: int = 0) -> int:
    """Return when a day begins in the box's own time zone."""
    begins = datetime.combine(which + timedelta(days=days_later), time())
    return int(begins.astimezone().timestamp()) * 1000


def months(now_ms: int, began_ms: int = 0) -> list[tuple[str, str]]:
    """Return the latest months as the address of a statement and people call them, this one first,
    none before the one in which the village began."""
    first, earliest = (_today(ms).replace(day=1) for ms in (now_ms, began_ms))
    found = [_month(first)]
    while len(found) < MONTHS_OFFERED and first > earliest:
        first = (first - timedelta(days=1)).replace(day=1)
        found.append(_month(first))
    return found


def began_ms(view: View) -> int:
    """Return the stamp of the village's first record."""
    return records.decode(logs.record_at(view, OWN_LOG, 0)).minute * limits.MINUTE_MS


def _month(first: date) -> tuple[str, str]:
    return f"{first:%Y-%m}", f"{first:%B %Y}"


def zone(now_ms: int) -> str:
    """Return what people call the box's time zone."""
    return words.moment(now_ms).astimezone().tzname() or "local time"


def _short(ms: int) -> Time:
    at = words.moment(ms).astimezone()
    return Time(f"{at.day} {at:%b %Y}, {at:%H:%M}", at.isoformat(timespec="minutes"))


def _today(now_ms: int) -> date:
    return words.moment(now_ms).astimezone().date()


def _phrase(found: Movement, account: str, entries: list[Entry]) -> str:
    if found.operation in ("trade", "deal"):
        if account == TREASURY and found.operation == "trade":
            return "Fee of a trade with"
        ways = {entry.amount > 0 for entry in entries if entry.account == account}
        if ways == {True}:
            return "A gift from"
        return "Given to" if ways == {False} else "Traded with"
    return PHRASES.get((found.operation, found.amount > 0), found.operation.capitalize())


def _fee(found: Movement, account: str, entries: list[Entry]) -> str:
    """Return the fee that an amount of AT includes, nothing if there is none."""
    if account == TREASURY or found.operation != "trade" or found.asset != names.TOKEN:
        return ""
    fee = sum(entry.amount for entry in entries if entry.account == TREASURY)
    return names.amount_text(fee, names.TOKEN_DECIMALS) if fee else ""


_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,14}")
_YEAR_MIN, _YEAR_MAX = 1971, 9_998
# A sign with which a formula begins, in its plain or wide form, at the start of a text or of what a
# spreadsheet that divides by other signs would take for a cell of its own.
_FORMULA: Final = re.compile(r"((?:^|[\t;,|\r\n])\s*\"?)(?=[=+\-@＝＋－＠\t\r\n])")
