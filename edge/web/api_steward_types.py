"""What the JSON API answers to stewards alone; the rules of api_types hold here, too."""

from edge.appliance.health import ClockState, Disk
from edge.web.api_types import Amount, Balance, Struct


class LogShown(Struct, frozen=True):
    """The own log's newest checkpoint, and how far others have cosigned it: the neighbours in
    `cosigners` so many records each, at `cosigned_ms` by their clocks (0 for never). `newest_ms`:
    of its newest record, to the minute."""

    size: int
    root: str
    newest_ms: int
    cosigned_size: int
    cosigned_by: list[str]
    cosigners: dict[str, int]
    cosigned_ms: dict[str, int]


class Contact(Struct, frozen=True):
    """A neighbour as it was last heard (0 for never). `clock_difference_s`: how far ahead its clock
    is, 0 within the bound."""

    village: str
    last_contact_ms: int
    is_silent: bool
    clock_difference_s: int
    trouble: str


class Misbehaviour(Struct, frozen=True):
    """A village of which proof is kept that it broke the rules of councils in a trade: `what`, in
    words; `source`: the neighbour that told of it, empty if this box found it."""

    village: str
    trade: str
    subject: str
    what: str
    source: str
    kept_ms: int


class BoxStatus(Struct, frozen=True):
    """`health` in one sentence; `reasons`: why not all is well, none if it is. `deciding`: how many
    open trades of other villages this one helps to decide; `misbehaviour`: the latest first."""

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
    log: LogShown
    neighbours: list[Contact]
    open_trades: int
    deciding: int
    misbehaviour: list[Misbehaviour]


class Line(Struct, frozen=True):
    """How this village stands with a neighbour in one asset. `balance` below zero is what the
    neighbour owes; it may go down to minus `line`. Open trades have taken `on_hold` of that, and
    `room` is left."""

    asset: str
    balance: Balance
    on_hold: Amount
    line: Amount
    room: Balance


class Neighbour(Struct, frozen=True):
    village: str
    name: str
    addresses: list[str]
    last_contact_ms: int
    trouble: str
    records_held: int
    open_trades: int
    lines: list[Line]


class Neighbours(Struct, frozen=True):
    neighbours: list[Neighbour]
