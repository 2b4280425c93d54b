"""What was said, for people: the messages of one trade, with what happened between them."""

import re
from collections.abc import Iterator

from edge.core import messages, records, trade
from edge.core.messages import CouncilMessage, Exchange, SubjectMessage
from edge.errors import BoxError

LINES_MAX = 120
_MESSAGE = re.compile(r"([<>=]) (?:(\d+) )?(\S+) (\S+) ([0-9a-f]{12})$")
_WORDS = {">": "sends", "<": "has reached", "=": "answers"}


class Journal:
    """Keeps what happens, with the virtual time, and the messages' bytes by their digests."""

    def __init__(self) -> None:
        self.lines: list[tuple[float, str]] = []
        self.bodies: dict[str, bytes] = {}

    def show(self, subject: bytes | None) -> Iterator[str]:
        """Yield the messages that speak of a trade, or the last ones of all if it is None."""
        shown = [line for at_s, event in self.lines for line in self._line(at_s, event, subject)]
        if len(shown) > LINES_MAX:
            yield f"({len(shown) - LINES_MAX} lines before these are left out)"
        yield from shown[-LINES_MAX:]

    def _line(self, at_s: float, event: str, subject: bytes | None) -> Iterator[str]:
        found = _MESSAGE.match(event)
        if found is None:
            yield f"{at_s:10.3f}  {event}"
            return
        mark, number, sender, receiver, digest = found.groups()
        said = list(said_in(self.bodies.get(digest, b""), subject))
        if said or subject is None:
            arrow = f"{sender} {_WORDS[mark]} {receiver}" + (f" #{number}" if number else "")
            yield f"{at_s:10.3f}  {arrow}: {'; '.join(said) if mark != '<' else digest}"


def said_in(body: bytes, subject: bytes | None) -> Iterator[str]:
    """Yield what a message says of a trade, or what it says at all if it is None."""
    try:
        message = messages.decode_exchange(body)
    except BoxError:
        yield f"no message: {body[:60]!r}"
        return
    if subject is None:
        counts = len(message.subjects), len(message.councils)
        yield "has {}, {} trades, {} councils".format(message.have, *counts)
    yield from _pushed(message, subject)
    for each in message.subjects:
        if subject in (None, trade.subject_of(bytes(each.terms))):
            yield _of_trade(each)
    for council in message.councils:
        if subject in (None, council.subject):
            yield _of_council(council)


def _pushed(message: Exchange, subject: bytes | None) -> Iterator[str]:
    if message.push is None:
        return
    for index, bytes_ in enumerate(message.push.records, message.push.start):
        try:
            record = records.decode(bytes_)
        except BoxError:
            continue
        if isinstance(record, records.HoldRecord | records.NoHoldRecord):
            about = trade.subject_of(bytes(record.terms))
        elif isinstance(record, records.SettleRecord | records.ReleaseRecord):
            about = record.subject
        else:
            continue
        if subject in (None, about):
            kind = type(record).__name__.removesuffix("Record").lower()
            yield f"record {index} is its {kind}"


def _of_trade(said: SubjectMessage) -> str:
    parts = [said.withdrawn or "", "names" if said.names else ""]
    parts += [f"{vote.village} votes {vote.value}" for vote in said.votes]
    if said.certificate:
        parts.append(f"certificate to {said.certificate.value}")
    return "the trade: " + (", ".join(filter(None, parts)) or "it is open")


def _of_council(said: CouncilMessage) -> str:
    parts = ["opening"] if said.opening else []
    parts += [f"proof of {each.village}'s record {each.index}" for each in said.evidence]
    parts += [f"{each.village} misses {each.about}" for each in said.absents]
    parts += [f"{each.village} proposes {each.value} r{each.round}" for each in said.proposals]
    parts += [f"{each.village} {each.step}s {each.value} r{each.round}" for each in said.votes]
    if said.certificate:
        parts.append(f"certificate to {said.certificate.value} of r{said.certificate.round}")
    return f"the council in r{said.round}: " + ", ".join(parts)
