"""The counters of a ledger that is recomputed: what an account comes to have, entry by entry."""

from edge.core.accounts import Asset, default_limit, is_inside


class Account:
    """The four counters and the limit of one account and asset, in minor units."""

    __slots__ = (
        "asset",
        "credits_pending",
        "credits_posted",
        "debits_pending",
        "debits_posted",
        "is_inside",
        "limit",
        "name",
        "newest",
    )

    def __init__(self, name: str, asset: Asset) -> None:
        self.name, self.asset = name, asset
        self.is_inside = is_inside(name)
        self.debits_posted = self.credits_posted = 0
        self.debits_pending = self.credits_pending = 0
        self.limit = default_limit(name, asset)
        self.newest: int | None = None  # the last record that posted to it, if it has a history

    @property
    def net_debit(self) -> int:
        """What the one rule compares with the limit, but for what is softly set aside."""
        return self.debits_posted + self.debits_pending - self.credits_posted

    @property
    def beyond(self) -> "Account | None":
        """The account itself if it breaks the one rule."""
        return self if self.net_debit > self.limit else None


Moves = list[tuple[Account, int]]  # the entries of a posting, each with its account looked up


def debit(moves: Moves) -> Account | None:
    """Post the debits, before any credit of the same posting counts; return the first account that
    is beyond its limit then."""
    broken = None
    for account, amount in moves:
        if amount < 0:
            account.debits_posted -= amount
            broken = broken or account.beyond
    return broken


def credit(moves: Moves) -> None:
    """Post the credits."""
    for account, amount in moves:
        if amount > 0:
            account.credits_posted += amount


def hold(moves: Moves) -> Account | None:
    """Make entries pending; return the first account that is beyond its limit then."""
    broken = None
    for account, amount in moves:
        if amount > 0:
            account.credits_pending += amount
        else:
            account.debits_pending -= amount
            broken = broken or account.beyond
    return broken


def end(moves: Moves, settled: bool) -> None:
    """Take entries out of pending, and post them if they are settled."""
    for account, amount in moves:
        if amount > 0:
            account.credits_pending -= amount
            account.credits_posted += amount if settled else 0
        else:
            account.debits_pending += amount
            account.debits_posted -= amount if settled else 0
