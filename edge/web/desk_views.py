"""What the steward's desk shows, gathered from one consistent state of the ledger."""

from typing import Final

import msgspec

from edge import desk
from edge.core import limits, words
from edge.core.accounts import ISSUANCE, TREASURY
from edge.core.names import TOKEN, amount_text
from edge.core.trade import Status, id_of
from edge.errors import UnknownMember
from edge.health import CLOCK_TEXT, Contact, Health, clock_text, disk_text
from edge.storage import ledger, logs, members, misbehaviour, neighbours, trades
from edge.storage.members import Member
from edge.storage.misbehaviour import Known
from edge.storage.neighbours import Neighbour
from edge.storage.tx import OWN_LOG, View
from edge.web import views
from edge.web.views import Balance, Time

MEMBERS_SHOWN_MAX: Final = 500
ASSETS_SHOWN_MAX: Final = 1_000
SOURCES: Final = {"register": "offered itself", "import": "from a registry file"}


class Overview(msgspec.Struct, frozen=True):
    """`cosigned`: each neighbour, how much of the log it has cosigned, and when. `first_steps`:
    what a new village still has to do, of `members`, `issue` and `neighbours`."""

    health: Health
    disk: str
    clock: str
    now: Time
    newest: Time
    cosigned: list[tuple[str, str]]
    members: int
    stewards: list[str]
    first_steps: list[str]
    disputed: int


class People(msgspec.Struct, frozen=True):
    """`count`: all members whose name has what was looked for; the first of them are `shown`."""

    shown: list[desk.Listed]
    count: int
    names: list[str]
    treasury: list[str]
    resources: list[str]


class Person(msgspec.Struct, frozen=True):
    member: Member
    is_last_steward: bool
    balances: list[Balance]
    assets: list[str]


class Standing(msgspec.Struct, frozen=True):
    """One line in words: `balance` says who owes whom."""

    asset: str
    balance: str
    on_hold: str
    line: str
    room: str


class Broken(msgspec.Struct, frozen=True):
    """Proof that a village has broken the rules of councils; `source`: who brought it, empty if it
    was found here."""

    village: str
    trade: str
    what: str
    source: str
    at: Time


class NeighbourView(msgspec.Struct, frozen=True):
    village: str
    name: str
    addresses: list[str]
    heard: str
    heard_at: Time | None
    clock: str
    of_its_log: int
    of_ours: str
    is_silent: bool
    trouble: str
    broken: list[Broken]
    lines: list[Standing]
    open_trades: int


class Candidate(msgspec.Struct, frozen=True):
    village: str
    name: str
    how: str
    seen: Time


class Neighbourhood(msgspec.Struct, frozen=True):
    neighbours: list[NeighbourView]
    candidates: list[Candidate]
    assets: list[str]


def overview(view: View, health: Health, now_ms: int) -> Overview:
    return Overview(
        health,
        disk_text(health.disk),
        CLOCK_TEXT[health.clock],
        views.local_time(now_ms),
        views.local_time(health.log.time * 1000),
        [
            (village, _cosigned(size, health.log.size, health.log.cosigned_times[village]))
            for village, size in health.log.cosigners.items()
        ],
        len(members.everyone(view)),
        [each.name for each in members.stewards(view)],
        _first_steps(view),
        trades.count(view, Status.DISPUTED),
    )


def people(view: View, query: str) -> People:
    """Return the members whose name has `query` in it, and what forms need to know."""
    everyone = desk.members_listed(view)
    folded = members.fold(query)
    found = [each for each in everyone if folded in members.fold(each.name)]
    return People(
        found[:MEMBERS_SHOWN_MAX],
        len(found),
        [each.name for each in everyone][:MEMBERS_SHOWN_MAX],
        _treasury(view),
        [each for each in assets(view) if each != TOKEN],
    )


def person(view: View, id_: int) -> Person:
    """Return a member as the desk shows one. Raises UnknownMember."""
    member = member_by_id(view, id_)
    return Person(
        member,
        members.stewards(view) == [member],
        views.balances(view, member),
        assets(view),
    )


def member_by_id(view: View, id_: int) -> Member:
    """Return the member; raises UnknownMember."""
    member = members.by_id(view, id_)
    if member is None:
        raise UnknownMember("there is no such member here")
    return member


def assets(view: View) -> list[str]:
    """Return this village's catalogue in words, AT first."""
    codes = [each.code for each in logs.assets(view, OWN_LOG, ASSETS_SHOWN_MAX)]
    return [TOKEN, *(words.asset_text(code) for code in codes if code != TOKEN)]


def neighbourhood(view: View, health: Health, now_ms: int) -> Neighbourhood:
    contacts = {each.village: each for each in health.neighbours}
    return Neighbourhood(
        [
            _neighbour(view, each, contacts[each.village], health.log.size, now_ms)
            for each in neighbours.everyone(view)
        ],
        [
            Candidate(
                entry.village_id, entry.name, SOURCES.get(source, source), views.local_time(seen)
            )
            for entry, source, seen in neighbours.candidates(view)
        ],
        assets(view),
    )


def broken(found: Known) -> Broken:
    return Broken(
        found.village,
        id_of(found.subject),
        found.text,
        found.source,
        views.local_time(found.kept_ms),
    )


def _first_steps(view: View) -> list[str]:
    has_issued = ledger.counters(view, ISSUANCE, ledger.asset(view, TOKEN)).balance != 0
    done = {
        "members": len(members.everyone(view)) > 1,  # the steward is one
        "issue": has_issued,
        "neighbours": bool(neighbours.everyone(view)),
    }
    return [step for step, is_done in done.items() if not is_done]


def _amount(view: View, code: str, amount: int) -> str:
    if not amount:
        return words.NOTHING
    return f"{amount_text(amount, ledger.asset(view, code).decimals)} {words.asset_text(code)}"


def _treasury(view: View) -> list[str]:
    balances = ledger.balances(view, TREASURY).items()
    return [_amount(view, code, has.balance) for code, has in balances if has.balance]


def _cosigned(size: int, of: int, second: int) -> str:
    if not size:
        return "nothing yet"
    part = "all of it" if size == of else f"its first {size} records"
    return f"{part}, {views.local_time(second * 1000).text}"


def _neighbour(
    view: View, known: Neighbour, contact: Contact, own_size: int, now_ms: int
) -> NeighbourView:
    has_all = known.has_size >= own_size
    difference_s = contact.clock_difference_s
    return NeighbourView(
        known.village,
        known.entry.name,
        list(known.addresses),
        ago(now_ms - known.last_contact_ms) if known.last_contact_ms else "never",
        views.local_time(known.last_contact_ms) if known.last_contact_ms else None,
        f"{clock_text(difference_s)} this one" if difference_s else "agrees with this one",
        logs.size_of(view, known.log),
        f"all {own_size}" if has_all else f"{known.has_size} of {own_size}",
        contact.is_silent,
        known.trouble,
        [broken(found) for found in misbehaviour.of(view, known.village, known.key)],
        [_standing(each) for each in desk.lines(view, known.village)],
        trades.count_open(view, neighbour=known.village),
    )


def _standing(line: desk.Line) -> Standing:
    return Standing(
        words.asset_text(line.asset),
        words.owed_text(line.balance),
        line.on_hold,
        line.line,
        line.room,
    )


def ago(ms: int) -> str:
    """Return how long ago something was: `just now`, `5 minutes ago`."""
    for unit, length in (
        ("day", limits.DAY_MS),
        ("hour", 60 * limits.MINUTE_MS),
        ("minute", limits.MINUTE_MS),
    ):
        if ms >= 2 * length:
            return f"{ms // length} {unit}s ago"
    return "just now"
