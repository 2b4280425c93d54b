"""The ledger recomputed: what a log and its private rows add up to, record by record.

Nothing is read here. `Replay.take` is given the own log's records in order, each with its private
row, and raises AuditDifference at the first one that breaks a rule. What it has added up by the end
is there to be compared with what the box derived. `said_in` is the little that another village's
record says here.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from edge.core import council, crypto, delivery, limits, names, records, tally, trade
from edge.core.accounts import (
    CLEARING,
    ISSUANCE,
    MEMBER,
    Asset,
    Counters,
    Entry,
    is_balanced,
)
from edge.core.records import LimitChange, Posting
from edge.core.tally import Account, Moves
from edge.errors import AuditDifference, PeerError, Refused

SHOWN_CHARS_MAX: Final = 120


# A sealed record's private row: the posting's nonce and bytes, the personal part's nonce and bytes,
# which may have been erased.
Private = tuple[bytes, bytes, bytes | None, bytes | None]


class Statement(NamedTuple):
    """A hold, no-hold, settle or release."""

    subject: bytes
    kind: str


class Delivery(NamedTuple):
    """That goods of a trade were `delivered`, or are `disputed`."""

    subject: bytes
    kind: str
    asset: str


Said = Statement | Delivery | Asset | None


def difference(where: str, what: str, expected: object, found: object) -> AuditDifference:
    """Return the error that names a difference: where it is, what differs, and both values."""
    wanted, seen = _shown(expected), _shown(found)
    return AuditDifference(
        f"{where}: {what}: expected {wanted}, found {seen}",
        where=where,
        what=what,
        expected=wanted,
        found=seen,
    )


def said_in(record: bytes) -> Said:
    """Return what a record of another village's log says of trades, deliveries or catalogue.

    None for all else, and for what cannot be read here: kept as opaque bytes, it means nothing.
    """
    if record.startswith(_SEALED_PREFIX):
        return None
    try:
        decoded = records.decode(record)
    except PeerError:
        return None
    if isinstance(decoded, records.AssetRecord):
        return _asset_of(decoded)
    if isinstance(decoded, records.DeliveredRecord | records.DisputedRecord):
        return _delivery_of(decoded)
    return _statement_of(decoded)


# Account, asset, amount, balance with it, index of the one before, operation, stamp_ms.
Moved = tuple[str, str, int, int, int | None, str, int]


class Hold(NamedTuple):
    """What is needed to end a hold, and its entries."""

    terms: trade.Terms
    role: trade.Role
    moves: Moves


class Replay:
    """The own ledger as its records and private rows make it; `open` are the holds not ended, and
    `moved` is what the last record posted to members and the treasury, in order.

    `lost`: the records whose private rows are gone, and to whom each hold among them is booked.
    What they say publicly counts, and no limit is asked of it."""

    __slots__ = (
        "_key",
        "_lost",
        "_minute",
        "_owed",
        "_stamp_ms",
        "_stamp_ms_min",
        "_village",
        "accounts",
        "assets",
        "lost",
        "lowered",
        "moved",
        "open",
        "sealed",
    )

    def __init__(
        self, village: str, key: bytes, lost: Mapping[int, str] = MappingProxyType({})
    ) -> None:
        self.accounts: dict[tuple[str, str], Account] = {}
        self.assets: dict[str, Asset] = {}
        self.open: dict[bytes, Hold] = {}
        self.lowered: set[tuple[str, str]] = set()  # where the one rule may not hold: a limit went
        # down, or goods were delivered
        self.moved: list[Moved] = []
        self.sealed = self.lost = 0
        self._village = village
        self._key = key
        self._lost = lost
        self._minute = 0
        self._owed = delivery.Owed()
        self._stamp_ms = self._stamp_ms_min = 0

    def take(self, index: int, record: bytes, private: Private | None) -> Said:
        """Add one record and return what it says publicly. Raises AuditDifference."""
        try:
            decoded = records.decode(record)
        except PeerError as error:
            raise _fault(index, "it cannot be read", "a record in canonical form", error) from None
        if decoded.minute < self._minute:
            raise _fault(index, "its minute goes back", f"{self._minute} or later", decoded.minute)
        self._minute = decoded.minute
        kind = type(decoded)
        if (index == 0) != (kind is records.VillageRecord):
            expected = "village" if index == 0 else "anything but village"
            raise _fault(index, "its kind", expected, decoded.__struct_config__.tag)
        if private is not None and kind not in _WITH_PRIVATE:
            raise _fault(index, "its private row", None, "one")
        self.moved = []
        said: Said = _TAKE[kind](self, index, decoded, private)
        return said

    def counters(self, account: str, code: str, reserved: int) -> Counters:
        """Return what an account has, with what is softly set aside; the asset is known."""
        found = self.accounts.get((account, code)) or Account(account, self.assets[code])
        return Counters(
            found.debits_posted,
            found.credits_posted,
            found.debits_pending,
            found.credits_pending,
            reserved,
            found.limit,
        )

    def commit(self) -> None:
        """A checkpoint stands here: what was written together, under one stamp, ends."""
        self._stamp_ms_min = self._stamp_ms + 1

    def _village_record(self, index: int, record: records.VillageRecord, _: None) -> None:
        if record.village_id != self._village:
            raise _fault(index, "the village that it names", self._village, record.village_id)
        if record.key != self._key:
            raise _fault(index, "the key of the village", self._key, record.key)

    def _asset_record(self, index: int, record: records.AssetRecord, _: None) -> Asset:
        asset = _asset_of(record)
        if asset is None:
            raise _fault(index, "its asset", "a well-formed one", record.code)
        is_token = asset == Asset(names.TOKEN, "token", names.TOKEN_DECIMALS)
        if not is_token and (asset.code == names.TOKEN or asset.kind == "token"):
            raise _fault(index, "its asset", f"{names.TOKEN} as the only token", asset)
        if asset.code in self.assets:
            raise _fault(index, "its asset", "one that is new here", asset.code)
        self.assets[asset.code] = asset
        return asset

    def _sealed_record(
        self, index: int, record: records.SealedRecord, private: Private | None
    ) -> None:
        if private is None and index in self._lost:
            self.lost += 1
            return
        posting = self._unseal(index, record, private)
        moves = self._moves(index, posting.entries)
        if not _has_its_form(posting, moves):
            raise _fault(index, "its posting", f"the form of {posting.operation}", posting)
        _check_limit(index, tally.debit(moves))
        tally.credit(moves)
        self.moved = _moved(index, moves, posting.operation, posting.stamp_ms)
        for change in posting.limits:
            self._set_limit(index, change)

    def _hold_record(
        self, index: int, record: records.HoldRecord, private: Private | None
    ) -> Statement:
        terms, statement = self._terms(index, record)
        role: trade.Role = "from" if terms.from_village == self._village else "to"
        is_lost = private is None and index in self._lost
        member = self._lost[index] if is_lost else self._bound(index, record, terms, private)
        if not member.startswith(MEMBER):
            raise _fault(index, "who is bound by it", "a member", member)
        if terms.deadline_minute < record.minute:
            raise _fault(index, "its minute", f"{terms.deadline_minute} at most", record.minute)
        for quantity in (terms.offer, terms.request):
            if not trade.same_asset(quantity, self._asset(index, quantity.asset)):
                raise _fault(index, "its asset", self.assets[quantity.asset], quantity)
        if statement.subject in self.open:
            raise _fault(index, "a second hold of one trade", "one hold", "two")
        moves = self._moves(index, trade.entries(terms, role, member))
        beyond = tally.hold(moves)
        if is_lost:
            self.lost += 1
            self.lowered |= {(each.name, each.asset.code) for each, _ in moves}
        else:
            _check_limit(index, beyond)
        try:
            self._owed.hold(terms)
        except Refused as error:
            raise _fault(index, "what it refunds", "goods that have not come", error) from None
        self.open[statement.subject] = Hold(terms, role, moves)
        return statement

    def _bound(
        self,
        index: int,
        record: records.HoldRecord,
        terms: trade.Terms,
        private: Private | None,
    ) -> str:
        """Return whose account the sealed legs of a hold are of, all of which are checked."""
        posting = self._unseal(index, record, private)
        role: trade.Role = "from" if terms.from_village == self._village else "to"
        member = posting.entries[0].account if posting.entries else ""
        legs = tuple(trade.member_entries(terms, role, member))
        if posting.operation != "trade" or posting.limits or posting.entries != legs:
            raise _fault(index, "its sealed legs", legs, posting)
        return member

    def _no_hold_record(self, index: int, record: records.NoHoldRecord, _: None) -> Statement:
        terms, statement = self._terms(index, record)
        if terms.from_village != self._village:
            raise _fault(index, "who says no-hold", terms.from_village, self._village)
        if statement.subject in self.open:
            raise _fault(index, "a no-hold of a trade that is held", "one or the other", "both")
        return statement

    def _end_record(
        self, index: int, record: records.SettleRecord | records.ReleaseRecord, _: None
    ) -> Statement:
        settles = isinstance(record, records.SettleRecord)
        hold = self.open.get(record.subject)
        if hold is None:
            raise _fault(index, "the hold that it ends", record.subject, None)
        value: council.Value = "COMMIT" if settles else "ABORT"
        if record.certificate.value != value:
            raise _fault(index, "its certificate's value", value, record.certificate.value)
        place = hold.terms.network, record.subject, hold.terms.seats
        try:
            council.verify_certificate(record.certificate, *place)
        except PeerError as error:
            raise _fault(index, "its certificate", "a quorum's votes", error) from None
        tally.end(hold.moves, settles)
        if settles:
            self.moved = _moved(index, hold.moves, "trade", record.minute * limits.MINUTE_MS)
        self._owed.end(record.subject, hold.terms, hold.role, value)
        del self.open[record.subject]
        return Statement(record.subject, "settle" if settles else "release")

    def _delivery_record(
        self, index: int, record: records.DeliveredRecord | records.DisputedRecord, _: None
    ) -> Delivery:
        """A *delivered* asks no limit: what the other village owes may pass its line by it."""
        try:
            if isinstance(record, records.DisputedRecord):
                self._owed.dispute(record.subject, record.asset)
                return Delivery(record.subject, "disputed", record.asset)
            moves = self._moves(index, self._owed.deliver(record.subject, record.asset))
        except Refused as error:
            raise _fault(index, "its trade", "goods that have not come", error) from None
        tally.debit(moves)
        tally.credit(moves)
        self.lowered |= {(each.name, each.asset.code) for each, amount in moves if amount < 0}
        return Delivery(record.subject, "delivered", record.asset)

    def _terms(
        self, index: int, record: records.HoldRecord | records.NoHoldRecord
    ) -> tuple[trade.Terms, Statement]:
        """Check the terms that a statement carries, and both signatures over them."""
        raw = bytes(record.terms)
        try:
            terms = trade.decode_terms(raw)
            trade.verify_party(terms, raw, "from", record.from_signature)
            trade.verify_party(terms, raw, "to", record.to_signature)
        except PeerError as error:
            raise _fault(index, "its terms", "well-formed ones, signed by both", error) from None
        if self._village not in (terms.from_village, terms.to_village):
            raise _fault(
                index, "the parties", self._village, (terms.from_village, terms.to_village)
            )
        if terms.key_of(self._village) != self._key:
            raise _fault(index, "this village's seat", self._key, terms.key_of(self._village))
        kind = "hold" if isinstance(record, records.HoldRecord) else "no-hold"
        return terms, Statement(trade.subject_of(raw), kind)

    def _unseal(
        self,
        index: int,
        record: records.SealedRecord | records.HoldRecord,
        private: Private | None,
    ) -> Posting:
        """Check the private row against the record's commitments; return its posting."""
        if private is None:
            raise _fault(index, "its private row", "one", None)
        self.sealed += 1
        nonce, private_bytes, personal_nonce, personal = private
        _check_commitment(index, "posting", record.posting, nonce, private_bytes)
        if personal is not None:
            _check_commitment(index, "personal part", record.personal, personal_nonce, personal)
        try:
            posting = records.decode_posting(private_bytes)
            if personal is not None:
                records.decode_personal(personal)
        except PeerError as error:
            raise _fault(index, "its private row", "the canonical form", error) from None
        stamp_ms = posting.stamp_ms
        if stamp_ms // limits.MINUTE_MS != record.minute:
            raise _fault(index, "its sealed stamp", f"in minute {record.minute}", stamp_ms)
        if stamp_ms < self._stamp_ms_min:
            raise _fault(index, "its stamp goes back", f"{self._stamp_ms_min} or later", stamp_ms)
        self._stamp_ms = self._stamp_ms_min = stamp_ms
        return posting

    def _moves(self, index: int, entries: Sequence[Entry]) -> Moves:
        """Look up the accounts of a posting, which must be balanced."""
        if not is_balanced(entries):
            raise _fault(index, "its entries", "a sum of zero for each asset", entries)
        return [(self._account(index, each.account, each.asset), each.amount) for each in entries]

    def _set_limit(self, index: int, change: LimitChange) -> None:
        account = self._account(index, change.account, change.asset)
        if change.limit < account.limit:
            self.lowered.add((change.account, change.asset))
        account.limit = change.limit

    def _account(self, index: int, name: str, code: str) -> Account:
        found = self.accounts.get((name, code))
        if found is None:
            found = self.accounts[name, code] = Account(name, self._asset(index, code))
        return found

    def _asset(self, index: int, code: str) -> Asset:
        try:
            return self.assets[code]
        except KeyError:
            raise _fault(index, "its asset", "one in the catalogue", code) from None


_SUBJECT_BYTES: Final = 32
_SEALED_PREFIX: Final = b'{"kind":"sealed",'
_WITH_PRIVATE: Final = frozenset({records.SealedRecord, records.HoldRecord})
_TAKE: Final[Mapping[type, Callable[..., Said]]] = {
    records.VillageRecord: Replay._village_record,
    records.AssetRecord: Replay._asset_record,
    records.SealedRecord: Replay._sealed_record,
    records.HoldRecord: Replay._hold_record,
    records.NoHoldRecord: Replay._no_hold_record,
    records.SettleRecord: Replay._end_record,
    records.ReleaseRecord: Replay._end_record,
    records.DeliveredRecord: Replay._delivery_record,
    records.DisputedRecord: Replay._delivery_record,
}

_LIMIT_OF: Final[Mapping[str, str]] = {"limit": MEMBER, "line": CLEARING}
_KIND_MOVED_BY: Final[Mapping[str, str]] = {
    "issue": "token",
    "declare": "resource",
    "consume": "resource",
}


def _has_its_form(posting: Posting, moves: Moves) -> bool:
    """Tell whether a sealed posting does what its operation says and nothing else."""
    operation = posting.operation
    if operation in _LIMIT_OF:
        return bool(posting.limits) and not moves and _are_limits(posting)
    if posting.limits or not moves:
        return False
    if operation in ("pay", "deal"):
        return all(account.is_inside for account, _ in moves)
    sign = -1 if operation == "consume" else 1  # which end of it is a member's
    return all(
        account.asset.kind == _KIND_MOVED_BY.get(operation)
        and (account.is_inside if amount * sign > 0 else account.name == ISSUANCE)
        for account, amount in moves
    )


def _are_limits(posting: Posting) -> bool:
    return all(
        change.account.startswith(_LIMIT_OF[posting.operation])
        and 0 <= change.limit <= limits.AMOUNT_MINOR_MAX
        for change in posting.limits
    )


def _moved(index: int, moves: Moves, operation: str, stamp_ms: int) -> list[Moved]:
    """Return what has just been posted to each member and the treasury, in order."""
    sums: dict[tuple[str, str], tuple[Account, int]] = {}
    for account, amount in moves:
        place = (account.name, account.asset.code)
        sums[place] = account, amount + (sums[place][1] if place in sums else 0)
    found = []
    for place, (account, amount) in sorted(sums.items()):
        if account.is_inside:
            balance = account.credits_posted - account.debits_posted
            found.append((*place, amount, balance, account.newest, operation, stamp_ms))
            account.newest = index
    return found


def _check_limit(index: int, broken: Account | None) -> None:
    if broken is not None:
        what = f"the net debit of {broken.name} in {broken.asset.code}"
        raise _fault(index, what, f"{broken.limit} at most", broken.net_debit)


def _asset_of(record: records.AssetRecord) -> Asset | None:
    if not 0 <= record.decimals <= limits.DECIMALS_MAX or not names.is_asset_code(record.code):
        return None
    return Asset(record.code, record.asset_kind, record.decimals)


def _delivery_of(record: records.DeliveredRecord | records.DisputedRecord) -> Delivery | None:
    if len(record.subject) != _SUBJECT_BYTES or not names.is_asset_code(record.asset):
        return None
    kind = "delivered" if isinstance(record, records.DeliveredRecord) else "disputed"
    return Delivery(record.subject, kind, record.asset)


def _statement_of(record: records.Record) -> Statement | None:
    match record:
        case records.HoldRecord() if _is_signed(record):
            return Statement(trade.subject_of(bytes(record.terms)), "hold")
        case records.NoHoldRecord() if _is_signed(record):
            return Statement(trade.subject_of(bytes(record.terms)), "no-hold")
        case records.SettleRecord() if len(record.subject) == _SUBJECT_BYTES:
            return Statement(record.subject, "settle")
        case records.ReleaseRecord() if len(record.subject) == _SUBJECT_BYTES:
            return Statement(record.subject, "release")
    return None


def _is_signed(record: records.HoldRecord | records.NoHoldRecord) -> bool:
    """Tell whether both parties have signed the terms: without that a hold is no acceptance."""
    raw = bytes(record.terms)
    try:
        terms = trade.decode_terms(raw)
        trade.verify_party(terms, raw, "from", record.from_signature)
        trade.verify_party(terms, raw, "to", record.to_signature)
    except PeerError:
        return False
    return True


def _check_commitment(
    index: int, part: str, expected: bytes | None, nonce: bytes | None, private: bytes
) -> None:
    found = None
    if nonce is not None and len(nonce) == crypto.NONCE_BYTES:
        found = crypto.commitment(nonce, private)
    if expected is None or found != expected:
        raise _fault(index, f"the commitment to its {part}", expected, found)


def _fault(index: int, what: str, expected: object, found: object) -> AuditDifference:
    return difference(f"record {index}", what, expected, found)


def _shown(value: object) -> str:
    if value is None:
        return "none"
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}..."
