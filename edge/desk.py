"""What members and stewards ask of their own village's ledger, as functions over a transaction."""

from edge.core import limits, names, records
from edge.core.accounts import (
    ISSUANCE,
    TREASURY,
    Asset,
    Entry,
    clearing_account,
)
from edge.core.names import TOKEN, TOKEN_DECIMALS
from edge.core.records import LimitChange, Personal
from edge.errors import ConfigError, InvalidInput, NotFound
from edge.storage import facts, ledger, logs, members, neighbours
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


def add_member(tx: Tx, name: str, pin_hash: str) -> Member:
    return members.add(tx, names.member_name(name), pin_hash)


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
    asset = logs.asset_in(tx, OWN_LOG, code)
    if asset is None:
        if not 0 <= decimals <= limits.DECIMALS_MAX:
            raise InvalidInput(f"an asset has 0 to {limits.DECIMALS_MAX} decimals")
        asset = Asset(code, "resource", decimals)
        logs.append_asset(tx, asset)
    minor = names.amount(amount, asset.decimals, code)
    return _move(tx, "declare", ISSUANCE, account, asset, minor, Personal())


def consume(tx: Tx, owner: str, resource: str, amount: str) -> int:
    """Take a resource out of the ledger: it is used up, or left the village."""
    account = members.account_named(tx, owner)
    asset = ledger.asset(tx, names.asset_code(resource))
    if asset.kind != "resource":
        raise InvalidInput(f"{asset.code} is not a resource")
    minor = names.amount(amount, asset.decimals, asset.code)
    return _move(tx, "consume", account, ISSUANCE, asset, minor, Personal())


def set_limit(tx: Tx, who: str, code: str, amount: str) -> int:
    """Set how far below zero a member may go, or for a neighbour's village id its line: how much
    this village may be owed."""
    asset = ledger.asset(tx, names.asset_code(code))
    minor = names.signless_amount(amount, asset.decimals, asset.code)
    if names.accepts(names.village_id, who):
        account = clearing_account(neighbours.named(tx, who).village)
        return ledger.append_sealed(tx, "line", changes=[LimitChange(account, asset.code, minor)])
    account = members.account_named(tx, who)
    if account == TREASURY:
        raise InvalidInput("the treasury does not go below zero: issue to it")
    return ledger.append_sealed(tx, "limit", changes=[LimitChange(account, asset.code, minor)])


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
        raise NotFound(f"{code} is not in the catalogue")
    return asset.decimals
