"""Double entry: accounts, four counters each, one limit rule.

An entry's amount is signed, in minor units: above zero a credit, below zero a debit. A posting's
entries sum to zero for each asset. Balance = credits - debits. Nothing is edited; corrections are
new records.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from edge.core import limits, names
from edge.errors import LimitExceeded

TREASURY = "treasury"
ISSUANCE = "issuance"
CLEARING = "clearing:"
MEMBER = "member:"

AssetKind = Literal["token", "resource"]


class Asset(msgspec.Struct, frozen=True):
    code: str
    kind: AssetKind
    decimals: int


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One leg of a posting."""

    account: str
    asset: str
    amount: int


class Counters(msgspec.Struct, frozen=True):
    """What an account has of one asset, in minor units. `limit` is how far it may go below zero."""

    debits_posted: int = 0
    credits_posted: int = 0
    debits_pending: int = 0
    credits_pending: int = 0
    reserved: int = 0
    limit: int = 0

    @property
    def balance(self) -> int:
        return self.credits_posted - self.debits_posted

    @property
    def on_hold(self) -> int:
        """What is set aside or held and may still leave the account."""
        return self.debits_pending + self.reserved

    @property
    def available(self) -> int:
        """What may be spent now: the one rule, solved for a new debit."""
        return self.limit - (
            self.debits_posted + self.debits_pending + self.reserved - self.credits_posted
        )


def member_account(member: int) -> str:
    """Return the account of the member with this number."""
    return f"{MEMBER}{member}"


def is_inside(account: str) -> bool:
    """Tell whether an account is a member's or the treasury's."""
    return account.startswith(MEMBER) or account == TREASURY


def clearing_account(village: str) -> str:
    """Return the account of what passes between us and a neighbour."""
    return f"{CLEARING}{village}"


def default_limit(account: str, asset: Asset) -> int:
    """The limit before any record sets one. A clearing account's limit is the line: what this
    village may be owed by that neighbour."""
    if account == ISSUANCE:
        return limits.COUNTER_MINOR_MAX
    if account.startswith(CLEARING):
        if asset.kind == "token":
            return limits.LINE_TOKEN_MINOR_DEFAULT
        return limits.LINE_RESOURCE_MINOR_DEFAULT * int(10**asset.decimals)
    return 0


def check_debit(counters: Counters, amount: int, account: str, asset: Asset, shown: str) -> None:
    """Raise LimitExceeded if `amount` more would break the one rule. `shown` names the account to
    people."""
    if amount <= counters.available:
        return
    what = names.asset_text(asset.code)
    more: dict[str, str | int] = {"asset": asset.code, "available_minor": counters.available}
    if account.startswith(CLEARING):
        raise LimitExceeded(
            f"the line for {account.removeprefix(CLEARING)} does not allow this much {what}",
            **more,
        )
    raise LimitExceeded(f"{shown} does not have enough {what}", **more)


def debits(entries: Iterable[Entry]) -> list[Entry]:
    """Return what each account gives, merged, as entries below zero."""
    total: dict[tuple[str, str], int] = defaultdict(int)
    for entry in entries:
        if entry.amount < 0:
            total[entry.account, entry.asset] += entry.amount
    return [Entry(account, asset, amount) for (account, asset), amount in total.items()]


def is_balanced(entries: Sequence[Entry]) -> bool:
    """Tell whether the entries sum to zero for each asset and none is zero."""
    sums: dict[str, int] = {}
    for entry in entries:
        amount = entry.amount
        if amount == 0 or abs(amount) > 2 * limits.AMOUNT_MINOR_MAX:
            return False
        sums[entry.asset] = sums.get(entry.asset, 0) + amount
    return not any(sums.values())
