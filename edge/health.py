"""How a box is: one sentence, and the facts behind it, for `status` and for the steward's desk."""

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from edge import __version__, trade_seats
from edge.appliance.health import ClockState, Disk
from edge.core import checkpoint, limits, messages, note, records, words
from edge.storage import deciding, facts, logs, misbehaviour, neighbours, set_back, trades
from edge.storage.neighbours import Neighbour
from edge.storage.tx import OWN_LOG, View

SILENCE_S_MAX = 900
BEATS_MISSED_MAX = 3
MISBEHAVIOUR_SHOWN_MAX = 20
ALL_WELL = "All is well."
CLOCK_TEXT: Final[dict[ClockState, str]] = {
    "synchronized": "set by a time service",
    "unconfirmed": "as this machine has it; no time service says that it has set it",
    "doubted": "jumped more than a day ahead without a time service: not used",
}


class Now(msgspec.Struct, frozen=True):
    """What a box knows beside its ledger.

    `clock_difference_s`: how far ahead a neighbour's clock is, None within the bound. `is_checked`:
    the audit that follows an unclean stop has agreed, or none was due.
    """

    ms: int
    disk: Disk
    clock: ClockState
    serving: bool
    is_checked: bool
    page_urls: tuple[str, ...]
    heartbeat_s: float
    clock_difference_s: Callable[[str], int | None]


class OwnLog(msgspec.Struct, frozen=True):
    """The own log's newest checkpoint and how far others have cosigned it. `time`: of its newest
    record, in seconds of UTC, to the minute."""

    size: int
    root: str
    time: int
    cosigned_size: int
    cosigned_by: list[str]
    cosigners: dict[str, int]  # each neighbour, and how much of the log its cosignature covers
    cosigned_times: dict[str, int]  # when it was made, by that village's clock; 0: never


class Contact(msgspec.Struct, frozen=True):
    """A neighbour as it was last heard: when, in seconds of UTC (0 for never), and if that is too
    long ago. `decide_too`: which villages would decide a new trade with it beside the two."""

    village: str
    last_contact: int
    is_silent: bool
    clock_difference_s: int
    trouble: str
    decide_too: list[str] = []


class Misbehaviour(msgspec.Struct, frozen=True):
    """What a village has done against the rules of councils; `source`: the neighbour that brought
    the proof, empty if it was found here; `time`: when, in seconds of UTC."""

    village: str
    what: str
    subject: str
    source: str
    time: int


class Health(msgspec.Struct, frozen=True):
    """`reasons`: why not all is well; none if it is. `deciding`: how many trades of others wait for
    this village and others to decide them."""

    village: str
    name: str
    version: str
    health: str
    reasons: list[str]
    serving: bool
    federation_url: str
    page_urls: list[str]
    verifier_key: str
    disk: Disk
    clock: ClockState
    log: OwnLog
    neighbours: list[Contact]
    open_trades: int
    deciding: int
    misbehaviour: list[Misbehaviour]  # the newest first


def gather(view: View, now: Now) -> Health:
    """Return how the box is. Raises ConfigError for a village that has never been opened."""
    own = facts.own_entry(view)
    everyone = neighbours.everyone(view)
    contacts = [_contact(view, own.village_id, each, now) for each in everyone]
    reasons = [*reasons_of(now, contacts), *_set_back(view)]
    urls = [f"https://{address}" for address in own.endpoints]
    return Health(
        village=own.village_id,
        name=own.name,
        version=__version__,
        health=sentence(reasons),
        reasons=reasons,
        serving=now.serving,
        federation_url=urls[0] if urls else "",
        page_urls=list(now.page_urls),
        verifier_key=note.VerifierKey(own.village_id, note.ED25519, own.public_key).to_text(),
        disk=now.disk,
        clock=now.clock,
        log=own_log(view, everyone),
        neighbours=contacts,
        open_trades=sum(trades.count_open(view, neighbour=each.village) for each in everyone),
        deciding=deciding.count_undecided(view),
        misbehaviour=[
            Misbehaviour(
                found.village, found.text, found.subject.hex(), found.source, found.kept_ms // 1000
            )
            for found in misbehaviour.everything(view, MISBEHAVIOUR_SHOWN_MAX)
        ],
    )


def sentence(reasons: list[str]) -> str:
    """Return one sentence: all is well, or why not."""
    return words.sentence(f"not all is well: {'; '.join(reasons)}") if reasons else ALL_WELL


def reasons_of(now: Now, contacts: list[Contact]) -> Iterator[str]:
    """Yield what a steward should see to, the box's own first."""
    if not now.serving:
        yield "the box is not running"
    if now.disk.is_low:
        yield f"the disk has only {disk_text(now.disk)} left"
    if now.clock == "doubted":
        yield "the clock jumped more than a day ahead without a time service: it is not used"
    if not now.is_checked:
        yield "the box was not stopped cleanly, and its ledger is still being recomputed"
    for each in contacts:
        if each.trouble:
            yield f"no new trades with {each.village}: {each.trouble}"
        if now.serving and each.is_silent:
            yield _silence(each)
        if each.clock_difference_s:
            yield f"the clock of {each.village} is {clock_text(each.clock_difference_s)} this one"


def _set_back(view: View) -> Iterator[str]:
    """Yield what is missing of the own log, and what was never found again."""
    stood = set_back.standing(view)
    if stood is None:
        if lost := set_back.count_lost(view):
            yield (
                f"the private side of {lost} records was lost when this box was restored: enter"
                " again what is missing of members' balances"
            )
        return
    how = "was restored from a backup" if stood.why == "restored" else "lost what it had written"
    waits = f"; it waits for {words.together(stood.waits_for)}" if stood.waits_for else ""
    trouble = f" ({stood.trouble})" if stood.trouble else ""
    yield (
        f"the box {how}, and nothing is entered or said to other villages until its neighbours have"
        f" given back what the village has said since{waits}{trouble}"
    )


def disk_text(disk: Disk) -> str:
    """Return what is free: `12.3 GB (45 %)`."""
    free = disk.free_bytes
    size = f"{free / 1e9:.1f} GB" if free >= 1_000_000_000 else f"{free // 1_000_000} MB"
    return f"{size} ({disk.free_percent} %)"


def clock_text(difference_s: int) -> str:
    """Return how another clock stands to this one: `2 hours ahead of`, `90 seconds behind`."""
    seconds = abs(difference_s)
    units = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
    unit, length = next((each for each in units if seconds >= 2 * each[1]), units[-1])
    return f"{seconds // length} {unit}s {'ahead of' if difference_s > 0 else 'behind'}"


def own_log(view: View, everyone: list[Neighbour]) -> OwnLog:
    last = logs.last_checkpoint(view, OWN_LOG)
    assert last is not None, "a village's log begins with its first record"
    size, root, _ = last
    newest = records.decode(logs.record_at(view, OWN_LOG, size - 1))
    lines = {each.village: logs.cosignature_for(view, OWN_LOG, each.village) for each in everyone}
    cosigners = {village: line.size if line else 0 for village, line in lines.items()}
    return OwnLog(
        size,
        root.hex(),
        newest.minute * limits.MINUTE_MS // 1000,
        *logs.last_cosigned(view, OWN_LOG),
        cosigners,
        {village: _cosigned_s(line) for village, line in lines.items()},
    )


def _cosigned_s(line: messages.CosignatureLine | None) -> int:
    """Return when a neighbour says that it cosigned; a time that no calendar shows is its last."""
    if line is None:
        return 0
    time_s = checkpoint.cosigned_s(note.NoteSignature.from_text(line.line))
    return min(time_s, limits.DEADLINE_MINUTE_MAX * 60)


def _contact(view: View, own: str, known: Neighbour, now: Now) -> Contact:
    silence_s = (now.ms - known.last_contact_ms) / 1000
    return Contact(
        known.village,
        known.last_contact_ms // 1000,
        silence_s > max(SILENCE_S_MAX, BEATS_MISSED_MAX * now.heartbeat_s),
        now.clock_difference_s(known.village) or 0,
        known.trouble,
        [each.village for each in trade_seats.others_for(view, known, own, now.ms)],
    )


def _silence(contact: Contact) -> str:
    if not contact.last_contact:
        return f"{contact.village} has never been heard from"
    since = words.when(words.moment(contact.last_contact * 1000).astimezone())
    return f"{contact.village} has not been heard from since {since}"
