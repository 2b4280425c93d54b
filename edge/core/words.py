"""A trade's state in plain words, for pages and terminals: whom it waits for, what is set aside or
held, and when that comes back."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from edge.core import limits, names
from edge.core.council import quorum
from edge.core.names import TOKEN, TOKEN_DECIMALS
from edge.core.trade import CARRIED_OUT, Addressed, Quantity, Role, Status, Terms

NOTHING: Final = "nothing"
asset_text = names.asset_text
_FREE = "{Your} {gives} {are} free again."
_ENDS_ITSELF = (
    "This ends by itself as soon as that box is reached; until then no clock ends it, and neither "
    "side can take it back."
)
_BY_COUNCIL = (
    "Any {deciding} decide it together. This ends by itself as soon as that many of them have "
    "reached each other; until then neither side can take it back."
)
_IF_NOT_SHOWN = (
    "Waiting for {boxes} to show what is held there to the other villages. If {they} not come "
    "back, this ends by itself soon after {absent_from}, once any {deciding} have reached each "
    "other, and what is held comes back; until then neither side can take it back."
)
_TO_CONFIRM = "Waiting for the box of {village} to confirm. "
_ONLY_IF = "Only if the offer had ended before it heard of this does what is held come back. "
_IF_NEVER = "If it never does, what is held comes back soon after {absent_from}. "
_BOUND = "Both villages are bound, and {your} {gives} {are} held. " + _TO_CONFIRM + _ENDS_ITSELF
_DONE = "Done, in both ledgers: {you} gave {gives} and got {gets}."
_DONE_GIFT = "Done, in both ledgers: {you} gave {gives} as a gift."
_NOT_DONE = "Not carried out: {reason}. "
_ENDED = "Ended: {reason}. "

SENTENCES: Final[dict[tuple[Role, Status], str]] = {
    ("from", Status.PENDING): (
        "Waiting for {other} to accept or decline. {Your} {gives} {are} set aside, and {come} back "
        "if {them} declines, if the offer is withdrawn, or if nobody has accepted it by {deadline}."
    ),
    ("from", Status.ACCEPTED): _BOUND,
    ("from", Status.HELD): _BOUND,
    ("from", Status.SETTLED): _DONE,
    ("from", Status.DELIVERED): _DONE,
    ("from", Status.DISPUTED): _DONE,
    ("from", Status.ABORTED): _NOT_DONE + _FREE,
    ("from", Status.REJECTED): _ENDED + _FREE,
    ("from", Status.CANCELLED): _ENDED + _FREE,
    ("from", Status.EXPIRED): _ENDED + _FREE,
    ("to", Status.PENDING): (
        "Waiting for {your} answer. Once accepted, {your} {gives} {are} held until the trade has "
        "ended. Nothing is held now, and without an answer the offer ends after {deadline}."
    ),
    ("to", Status.ACCEPTED): (
        "{You} accepted: this village is bound, and {your} {gives} {are} held. "
        + _TO_CONFIRM
        + _ONLY_IF
        + _ENDS_ITSELF
    ),
    ("to", Status.HELD): _BOUND,
    ("to", Status.SETTLED): _DONE,
    ("to", Status.DELIVERED): _DONE,
    ("to", Status.DISPUTED): _DONE,
    ("to", Status.ABORTED): _NOT_DONE + _FREE,
    ("to", Status.REJECTED): _ENDED + "Nothing was held.",
    ("to", Status.CANCELLED): _ENDED + "Nothing was held.",
    ("to", Status.EXPIRED): _ENDED + "Nothing was held.",
}
_WAITS = "Both villages are bound. " + _TO_CONFIRM + _ENDS_ITSELF
# The same for whoever gives nothing: what comes is a gift.
GIVES_NOTHING: Final[dict[tuple[Role, Status], str]] = {
    ("from", Status.PENDING): (
        "Waiting for {other} to accept or decline, until {deadline}. Nothing of {yours} is set "
        "aside: this is a gift to {you}."
    ),
    ("from", Status.ACCEPTED): _WAITS,
    ("from", Status.HELD): _WAITS,
    ("from", Status.ABORTED): _NOT_DONE,
    ("from", Status.REJECTED): _ENDED,
    ("from", Status.CANCELLED): _ENDED,
    ("from", Status.EXPIRED): _ENDED,
    ("to", Status.PENDING): (
        "Waiting for {your} answer: this is a gift to {you}. Without an answer the offer ends "
        "after {deadline}."
    ),
    ("to", Status.ACCEPTED): _WAITS.replace("Both villages are", "This village is"),
    ("to", Status.HELD): _WAITS,
    ("from", Status.SETTLED): "Done, in both ledgers: {you} got {gets} as a gift.",
    ("to", Status.SETTLED): "Done, in both ledgers: {you} got {gets} as a gift.",
    ("to", Status.ABORTED): _NOT_DONE,
}
# A trade within the village: no box to wait for, and nobody is bound before it is done.
DEALS: Final[dict[tuple[Role, Status], str]] = {
    ("from", Status.PENDING): (
        "Waiting for {other} to accept or decline. {Your} {gives} {are} set aside, and {come} back "
        "if {other} declines, if the offer is withdrawn, or if nobody has accepted it by "
        "{deadline}."
    ),
    ("to", Status.PENDING): (
        "Waiting for {your} answer. Once accepted, both sides change hands at once. Nothing of "
        "{yours} is held now, and without an answer the offer ends after {deadline}."
    ),
    ("from", Status.SETTLED): "Done: {you} gave {gives} and got {gets}.",
    ("to", Status.SETTLED): "Done: {you} gave {gives} and got {gets}.",
    ("from", Status.REJECTED): "Ended: {other} declined it. " + _FREE,
    ("to", Status.REJECTED): "Ended: {you} declined it.",
    ("from", Status.CANCELLED): "Ended: {you} withdrew it. " + _FREE,
    ("to", Status.CANCELLED): "Ended: {other} withdrew it.",
    ("from", Status.EXPIRED): "Ended: nobody accepted it in time. " + _FREE,
    ("to", Status.EXPIRED): "Ended: it was not accepted in time.",
}
# The same for whoever gives nothing, and for whoever gets nothing.
GIFTS_IN: Final[dict[tuple[Role, Status], str]] = {
    ("from", Status.PENDING): GIVES_NOTHING["from", Status.PENDING],
    ("to", Status.PENDING): GIVES_NOTHING["to", Status.PENDING],
    ("from", Status.SETTLED): "Done: {you} got {gets} as a gift.",
    ("to", Status.SETTLED): "Done: {you} got {gets} as a gift.",
    ("from", Status.REJECTED): "Ended: {other} declined it.",
    ("from", Status.CANCELLED): "Ended: {you} withdrew it.",
    ("from", Status.EXPIRED): "Ended: nobody accepted it in time.",
}
GIFTS_OUT: Final[dict[tuple[Role, Status], str]] = {
    ("to", Status.PENDING): (
        "Waiting for {your} answer: {other} asks for this as a gift. Once accepted, it changes "
        "hands at once. Nothing of {yours} is held now, and without an answer this ends after "
        "{deadline}."
    ),
    ("from", Status.SETTLED): "Done: {you} gave {gives} as a gift.",
    ("to", Status.SETTLED): "Done: {you} gave {gives} as a gift.",
}
_TO_NOBODY = (
    "Addressed to {name}, and nobody here has that name: nobody can accept it. Nothing is held, "
    "and it ends by itself after {deadline}."
)
_CHECK_THE_NAME = (
    " That village does not say who its members are: if nobody answers, check the name."
)
_UNREACHED = " The box of {village} has not been reached yet; this box keeps trying."
_SILENT = " That box was last heard from on {silent_since}."


def describe(
    role: Role,
    status: Status,
    terms: Terms,
    from_user: str,
    to_user: str,
    reason: str = "",
    *,
    deadline: str = "",
    yours: bool = True,
    told: bool = True,
    silent_since: str = "",
    addressed: Addressed = "name",
    missing: Sequence[str] = (),
    absent_from: str = "",
) -> str:
    """Return one side's trade as sentences: to its member, or if not `yours` to anybody else here.

    `deadline` is when a proposal ends, in the reader's time zone; if empty, it is shown in UTC.
    `told`: the neighbour has stored this state. `silent_since`: when a neighbour that has gone
    silent was last heard from. `missing`: the parties to a council's trade whose hold is not proven
    here, which may be said to be absent from `absent_from` on, the same as `deadline` if empty.
    """
    given, fee = _given(terms, role)
    deadline = deadline or when(moment(terms.deadline_minute * limits.MINUTE_MS))
    status = Status.SETTLED if status in CARRIED_OUT else status
    sentence = SENTENCES[role, status]
    gets = quantity_text(terms.request if role == "from" else terms.offer)
    if not given.amount and not fee:
        sentence = GIVES_NOTHING.get((role, status), sentence)
    elif gets == NOTHING and status is Status.SETTLED:
        sentence = _DONE_GIFT
    if (role, status, addressed) == ("to", Status.PENDING, "nobody"):
        sentence = _TO_NOBODY
    waits = status in (Status.ACCEPTED, Status.HELD)
    if len(terms.seats) > 2:
        if missing:
            sentence = sentence.replace(_TO_CONFIRM, "").replace(_ONLY_IF, "")
            sentence = sentence.replace(_ENDS_ITSELF, _IF_NOT_SHOWN)
        sentence = sentence.replace(_ENDS_ITSELF, _BY_COUNCIL).replace(_ONLY_IF, _IF_NEVER)
        if status is Status.HELD:
            sentence = sentence.replace(_TO_CONFIRM, "")
    if role == "from" and status is Status.PENDING and not told:
        sentence, waits = sentence + _UNREACHED, True
    elif role == "from" and status is Status.PENDING and addressed == "name":
        sentence += _CHECK_THE_NAME
    if waits and silent_since:
        sentence += _SILENT
    me, them = (from_user, to_user) if role == "from" else (to_user, from_user)
    village = terms.village_of("to" if role == "from" else "from")
    gives = gives_text(terms, role)
    one = gives.startswith(("1 ", "fee ")) and " and " not in gives
    your = "your" if yours else f"{me or 'the member'}'s"
    return sentence.format(
        your=your,
        Your=capital(your),
        yours="yours" if yours else f"{me or 'the member'}'s",
        you="you" if yours else me or "the member",
        You="You" if yours else me or "The member",
        other=f"{them or 'a member'} of {village}",
        them=them or "the other side",
        name=me or "somebody",
        village=village,
        gives=gives,
        gets=gets,
        are="is" if one else "are",
        come="comes" if one else "come",
        deadline=deadline,
        absent_from=absent_from or deadline,
        boxes=f"the {'box' if len(missing) == 1 else 'boxes'} of {together(missing or [village])}",
        they="it does" if len(missing) == 1 else "they do",
        silent_since=silent_since,
        deciding=deciding_text(terms),
        reason=reason or "it came to nothing",
    )


def describe_deal(
    role: Role,
    status: Status,
    gives: str,
    gets: str,
    other: str,
    deadline: str,
    me: str = "",
    reason: str = "",
) -> str:
    """Return one member's side of a trade within the village as sentences: to that member, or to
    anybody else here if it says who `me` is. `reason`: why, if somebody else ended it."""
    if reason:
        return _ENDED.format(reason=reason).strip()
    sentence = DEALS[role, status]
    if gives == NOTHING:
        sentence = GIFTS_IN.get((role, status), sentence)
    elif gets == NOTHING:
        sentence = GIFTS_OUT.get((role, status), sentence)
    one = gives.startswith("1 ")
    your = f"{me}'s" if me else "your"
    return sentence.format(
        your=your,
        Your=capital(your),
        yours=f"{me}'s" if me else "yours",
        you=me or "you",
        other=other,
        gives=gives,
        gets=gets,
        are="is" if one else "are",
        come="comes" if one else "come",
        deadline=deadline,
    )


def exchange(gives: str, gets: str) -> str:
    """Return a trade's name to one side: `Your 1 Solar Panel for 100.00 AT`, `Your 1 Solar Panel as
    a gift`, `1 Solar Panel as a gift to you`."""
    if gives == NOTHING:
        return f"{gets} as a gift to you"
    return f"Your {gives} as a gift" if gets == NOTHING else f"Your {gives} for {gets}"


def offered(giver: str, gives: str, gets: str, taker: str) -> str:
    """Return a proposal to whoever is on neither side: `Alice gives 100.00 AT for 1 Solar Panel of
    Bob`, and of a gift who gives it."""
    if gives == NOTHING:
        return f"{giver} asks for {gets} of {taker} as a gift"
    if gets == NOTHING:
        return f"{giver} gives {gives} to {taker} as a gift"
    return f"{giver} gives {gives} for {gets} of {taker}"


def gives_text(terms: Terms, role: Role) -> str:
    """Return what the member of that role gives: `100.00 AT and the fee of 1.00 AT`."""
    quantity, fee = _given(terms, role)
    if fee and not quantity.amount:
        return f"fee of {token_text(fee)}"
    return quantity_text(quantity) + (f" and the fee of {token_text(fee)}" if fee else "")


def deciding_text(terms: Terms) -> str:
    """Return who decides a trade: `3 of the 4 villages A, B, C and D`."""
    count = len(terms.seats)
    villages = together([seat.village for seat in terms.seats])
    return f"{quorum(count)} of the {count} villages {villages}"


def asked_text(village: str, why_not: str) -> str:
    """Return whether a village answered just now: `ose-texas-001 answered`, or why it did not."""
    if not why_not:
        return f"{village} answered"
    if why_not.startswith(f"{village} "):
        return why_not
    return f"{village}: {why_not}"


def together(villages: Sequence[str]) -> str:
    """Return `A`, `A and B`, `A, B and C`."""
    *others, last = villages
    return f"{', '.join(others)} and {last}" if others else last


def quantity_text(quantity: Quantity) -> str:
    """Return `1 Solar Panel` or `100.00 AT`; `nothing` for the empty side of a gift."""
    if not quantity.amount:
        return NOTHING
    amount = names.amount_text(quantity.amount, quantity.decimals)
    return f"{amount} {asset_text(quantity.asset)}"


def token_text(minor: int) -> str:
    """Return an amount of the token, such as `100.00 AT`."""
    return f"{names.amount_text(minor, TOKEN_DECIMALS)} {TOKEN}"


def owed_text(balance: str) -> str:
    """Return in words what a neighbour's clearing balance means, as people write amounts."""
    owes, amount = balance.startswith("-"), balance.removeprefix("-")
    if not amount.strip("0."):
        return "even"
    return f"it owes {amount}" if owes else f"it is owed {amount}"


def moment(ms: int) -> datetime:
    """Return a stamp as UTC; one beyond what calendars can show, as the last that they can."""
    shown_ms = max(0, min(ms, limits.DEADLINE_MINUTE_MAX * limits.MINUTE_MS))
    return datetime.fromtimestamp(shown_ms / 1000, UTC)


def when(time: datetime) -> str:
    """Return `Tue 24 Nov 2026, 08:50 UTC`."""
    return f"{time:%a} {time.day} {time:%b %Y}, {time:%H:%M} {time.tzname()}"


def sentence(text: str) -> str:
    """Return an error's detail as a sentence: with a capital and a full stop."""
    ended = text if text.endswith((".", "!", "?")) else f"{text}."
    return capital(ended)


def spoken_to(detail: str, name: str) -> str:
    """Return what is said of somebody as it is said to them: `you do not have enough AT`."""
    for third, second in (("does not have", "do not have"), ("has", "have")):
        if detail.startswith(f"{name} {third} "):
            return f"you {second}{detail.removeprefix(f'{name} {third}')}"
    return detail


def capital(text: str) -> str:
    """Return text that begins with a capital."""
    return text[:1].upper() + text[1:]


def _given(terms: Terms, role: Role) -> tuple[Quantity, int]:
    """Return what that side gives, and the fee that it pays on it in AT minor units."""
    return (terms.offer, terms.from_fee) if role == "from" else (terms.request, terms.to_fee)
