"""What members and stewards ask of their own village's ledger, as functions over a transaction."""

from typing import Final

import msgspec

from edge.core import limits, names, records, words
from edge.core.accounts import (
    CLEARING,
    ISSUANCE,
    MEMBER,
    TREASURY,
    Asset,
    Entry,
    clearing_account,
)
from edge.core.names import TOKEN, TOKEN_DECIMALS
from edge.core.records import LimitChange, Personal
from edge.errors import ConfigError, Conflict, InvalidInput, NotFound, UnknownAsset, WrongState
from edge.storage import facts, ledger, logs, members, neighbours, tokens
from edge.storage.members import Member
from edge.storage.tx import OWN_LOG, Tx, View


def found_village(tx: Tx) -> None:
    """Begin the log: whose it is, and the token. Raises ConfigError if it has begun already."""
    if facts.read(tx, "village_id") is not None:
        raise ConfigError("this folder already holds a village")
    own = tx.identity
    logs.add_log(tx, OWN_LOG, own.village, own.key.public)
    facts.keep(tx, "village_id", own.village)
    facts.keep(tx, "key", own.key.public.hex())
    tx.append(records.VillageRecord(tx.minute, own.village, own.key.public))
    logs.append_asset(tx, Asset(TOKEN, "token", TOKEN_DECIMALS))


def add_member(tx: Tx, name: str, pin_hash: str, steward: bool = False) -> Member:
    return members.add(tx, names.new_member_name(name), pin_hash, steward)


def reset_pin(tx: Tx, name: str, pin_hash: str) -> Member:
    """Give a member another PIN; whoever is signed in as that member is so no longer, and the
    member's tokens are revoked: the old PIN may have been in wrong hands."""
    member = members.named(tx, name)
    tokens.revoke_all(tx, member.id)
    return members.set_pin(tx, member, pin_hash)


def set_steward(tx: Tx, name: str, steward: bool) -> Member:
    """Make a member a steward, or a steward a member like others.

    Raises WrongState for the last one: then nobody could open the desk.
    """
    member = members.named(tx, name)
    if not steward and members.stewards(tx) == [member]:
        raise WrongState(f"{member.name} is the only steward: make somebody else one first")
    members.set_steward(tx, member, steward)
    return member


def check_pin_text(pin: str) -> str:
    """Return the PIN if it is one that a member may have; raises InvalidInput."""
    if not limits.PIN_CHARS_MIN <= len(pin) <= limits.PIN_CHARS_MAX or not pin.isprintable():
        raise InvalidInput(f"a PIN has {limits.PIN_CHARS_MIN} to {limits.PIN_CHARS_MAX} characters")
    return pin


def pay(tx: Tx, payer: str, payee: str, amount: str, code: str = TOKEN, note: str = "") -> int:
    """Move an amount between two accounts of this village, named by member or `treasury`.

    Return the record's index. Raises UnknownMember, UnknownAsset, InvalidAmount, LimitExceeded.
    """
    from_account = members.account_named(tx, payer)
    to_account = members.account_named(tx, payee)
    if from_account == to_account:
        raise InvalidInput("payer and payee are the same")
    asset = ledger.asset(tx, names.asset_code(code))
    minor = names.amount(amount, asset.decimals, asset.code)
    personal = Personal(note=names.note_text(note))
    return _move(tx, "pay", from_account, to_account, asset, minor, personal)


def issue(tx: Tx, payee: str, amount: str, note: str = "") -> int:
    """Issue new tokens to a member or to `treasury`."""
    account = members.account_named(tx, payee)
    asset = ledger.asset(tx, TOKEN)
    minor = names.amount(amount, asset.decimals, TOKEN)
    personal = Personal(note=names.note_text(note))
    return _move(tx, "issue", ISSUANCE, account, asset, minor, personal)


def declare(tx: Tx, owner: str, resource: str, amount: str, decimals: int = 0) -> int:
    """Enter a resource that a member has. A new code goes into the catalogue: this is a steward's
    step. Raises InvalidInput for `AT` or if the code has other decimals."""
    account = members.account_named(tx, owner)
    code = names.asset_code(resource)
    if code == TOKEN:
        raise InvalidInput(f"{TOKEN} is issued, not declared")
    asset = logs.asset_in(tx, OWN_LOG, code) or approve(tx, code, decimals)
    minor = names.amount(amount, asset.decimals, code)
    return _move(tx, "declare", ISSUANCE, account, asset, minor, Personal())


def declare_known(tx: Tx, member: Member, resource: str, amount: str) -> int:
    """Enter a resource that a member has, as the member: only of what is in the catalogue already.

    Raises InvalidInput for `AT`, UnknownAsset, InvalidAmount.
    """
    code = names.asset_code(resource)
    if code != TOKEN and logs.asset_in(tx, OWN_LOG, code) is None:
        raise UnknownAsset(
            f"{words.asset_text(code)} is not in this village's catalogue: a steward approves new "
            "kinds of goods",
            asset=code,
        )
    return declare(tx, member.name, code, amount)


def approve(tx: Tx, resource: str, decimals: int = 0) -> Asset:
    """Put a new resource into the catalogue, which is public and only grows.

    Raises InvalidInput, or Conflict if the catalogue has it.
    """
    code = names.asset_code(resource)
    if logs.asset_in(tx, OWN_LOG, code) is not None:
        raise Conflict(f"{words.asset_text(code)} is in the catalogue already")
    if not 0 <= decimals <= limits.DECIMALS_MAX:
        raise InvalidInput(f"an asset has 0 to {limits.DECIMALS_MAX} decimals")
    asset = Asset(code, "resource", decimals)
    logs.append_asset(tx, asset)
    return asset


def consume(tx: Tx, owner: str, resource: str, amount: str) -> int:
    """Take a resource out of the ledger: it is used up, or left the village."""
    account = members.account_named(tx, owner)
    asset = ledger.asset(tx, names.asset_code(resource))
    if asset.kind != "resource":
        raise InvalidInput(f"{words.asset_text(asset.code)} is not a resource")
    minor = names.amount(amount, asset.decimals, asset.code)
    return _move(tx, "consume", account, ISSUANCE, asset, minor, Personal())


def set_limit(tx: Tx, who: str, code: str, amount: str) -> int:
    """Set a member's limit, or a neighbour's line if `who` is a village id."""
    if names.accepts(names.village_id, who):
        return set_line(tx, who, code, amount)
    return set_member_limit(tx, who, code, amount)


def set_member_limit(tx: Tx, name: str, code: str, amount: str) -> int:
    """Set how far below zero a member may go. Return the record's index."""
    account = members.account_named(tx, name)
    if account == TREASURY:
        raise InvalidInput("the treasury does not go below zero: issue to it")
    return _set_limit(tx, "limit", account, code, amount)


def set_line(tx: Tx, village: str, code: str, amount: str) -> int:
    """Set how much this village may be owed by a neighbour. Return the record's index."""
    account = clearing_account(neighbours.named(tx, village).village)
    return _set_limit(tx, "line", account, code, amount)


def done(view: View, index: int) -> str:
    """Return in words what an own sealed record did: `Paid 12.50 AT from Alice to Clara`."""
    posting = ledger.posting_of(view, index)
    if posting.limits:
        return _limit_done(view, posting.limits[0])
    giver, taker = sorted(posting.entries, key=lambda entry: entry.amount)
    amount = _amount_text(view, taker.asset, taker.amount)
    return _DONE[posting.operation].format(
        amount=amount, giver=_holder(view, giver.account), taker=_holder(view, taker.account)
    )


def wallet(view: View, member: Member) -> list[dict[str, str | int]]:
    """Return a member's balances as people read them: asset, balance, on hold, free to spend."""
    return [
        {
            "asset": code,
            "balance": names.amount_text(has.balance, _decimals(view, code)),
            "on_hold": names.amount_text(has.on_hold, _decimals(view, code)),
            "available": names.amount_text(has.available, _decimals(view, code)),
            "limit": names.amount_text(has.limit, _decimals(view, code)),
        }
        for code, has in ledger.balances(view, member.account).items()
    ]


class Listed(msgspec.Struct, frozen=True):
    """A member as a steward's list shows one: the balance of AT, and of how many assets there is
    something."""

    id: int
    name: str
    steward: bool
    balance: str
    assets: int


def members_listed(view: View) -> list[Listed]:
    totals = ledger.totals(view, TOKEN)
    return [
        Listed(
            each.id,
            each.name,
            each.steward,
            names.amount_text(totals.get(each.account, (0, 0))[0], TOKEN_DECIMALS),
            totals.get(each.account, (0, 0))[1],
        )
        for each in members.everyone(view)
    ]


class Line(msgspec.Struct, frozen=True):
    """How this village stands with a neighbour in one asset, as people write amounts. `balance`
    below zero is what the neighbour owes; it may go down to minus `line`. `on_hold` and `room`: how
    much of that open trades have taken already, and how much is left."""

    asset: str
    balance: str
    on_hold: str
    line: str
    room: str


def lines(view: View, village: str) -> list[Line]:
    """Return a neighbour's line in each asset that was traded or has one of its own, AT first."""
    account = clearing_account(village)
    token = ledger.asset(view, TOKEN)
    by_code = {TOKEN: ledger.counters(view, account, token), **ledger.balances(view, account)}
    return [
        Line(code, *(names.amount_text(amount, _decimals(view, code)) for amount in amounts))
        for code, has in by_code.items()
        for amounts in [(has.balance, has.on_hold, has.limit, has.available)]
    ]


_DONE: Final[dict[str, str]] = {
    "pay": "Paid {amount} from {giver} to {taker}",
    "issue": "Issued {amount} to {taker}",
    "declare": "Entered {amount} for {taker}",
    "consume": "Took out {amount} of {giver}",
}


def _limit_done(view: View, change: LimitChange) -> str:
    amount = _amount_text(view, change.asset, change.limit)
    if change.account.startswith(CLEARING):
        village = change.account.removeprefix(CLEARING)
        return f"{village} may come to owe this village {amount}"
    may_go = f"may go down to -{amount}" if change.limit else f"may not go below {amount}"
    return f"{_holder(view, change.account)} {may_go}"


def _amount_text(view: View, code: str, minor: int) -> str:
    return f"{names.amount_text(minor, _decimals(view, code))} {words.asset_text(code)}"


def _holder(view: View, account: str) -> str:
    if not account.startswith(MEMBER):
        return f"the {account}"
    member = members.by_id(view, int(account.removeprefix(MEMBER)))
    return member.name if member else "a member"


def _set_limit(tx: Tx, operation: records.Operation, account: str, code: str, amount: str) -> int:
    asset = ledger.asset(tx, names.asset_code(code))
    minor = names.signless_amount(amount, asset.decimals, asset.code)
    changes = [LimitChange(account, asset.code, minor)]
    return ledger.append_sealed(tx, operation, changes=changes)


def _move(
    tx: Tx,
    operation: records.Operation,
    from_account: str,
    to_account: str,
    asset: Asset,
    minor: int,
    personal: Personal,
) -> int:
    entries = [Entry(from_account, asset.code, -minor), Entry(to_account, asset.code, minor)]
    return ledger.append_sealed(tx, operation, entries, personal=personal)


def _decimals(view: View, code: str) -> int:
    asset = logs.asset_in(view, OWN_LOG, code)
    if asset is None:
        raise NotFound(f"{words.asset_text(code)} is not in the catalogue")
    return asset.decimals
