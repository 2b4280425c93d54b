"""This village's catalogue and a neighbour's: an asset is traded if both mean the same by it."""

from typing import Final

from edge.core import limits, names, trade
from edge.core.accounts import Asset
from edge.core.trade import Quantity
from edge.errors import InvalidInput, UnknownAsset
from edge.storage import facts, logs
from edge.storage.neighbours import Neighbour
from edge.storage.tx import OWN_LOG, Tx

# What is taken over from a neighbour's catalogue without a step of the own steward.
TAKEN_CHARS_MAX: Final = 24
TAKEN_WORDS_MAX: Final = 3
TAKEN_DECIMALS_MAX: Final = 3
TAKEN_PER_DAY_MAX: Final = 8
_TAKEN: Final = "codes_taken"  # the day, and how many were on it


def quantity(tx: Tx, neighbour: Neighbour, name: str, amount: str) -> Quantity:
    """Return an amount as people write it, of an asset that both villages have or that one of them
    approved; what only the neighbour has is taken over.

    Raises UnknownAsset, InvalidAmount, or InvalidInput if the two have different decimals.
    """
    code = names.asset_code(name)
    own = logs.asset_in(tx, OWN_LOG, code)
    there = logs.asset_in(tx, neighbour.log, code)
    if own is None and there is None:
        raise UnknownAsset(
            f"neither this village's catalogue nor that of {neighbour.village}, as last synced, "
            f"has {names.asset_text(code)}",
            asset=code,
        )
    if own is None and there is not None:
        _take_over(tx, there)
        own = there
    assert own is not None
    if there is not None and there != own:
        raise InvalidInput(
            f"{names.asset_text(code)} has {own.decimals} decimals here and {there.decimals} in "
            f"{neighbour.village}"
        )
    return Quantity(code, own.kind, own.decimals, names.amount(amount, own.decimals, code))


def check(tx: Tx, neighbour: Neighbour, asked: Quantity) -> None:
    """Check that a trade's asset is the same here, taking over what the neighbour approved.

    Raises UnknownAsset, or InvalidInput if its decimals differ.
    """
    own = logs.asset_in(tx, OWN_LOG, asked.asset)
    if own is None:
        own = logs.asset_in(tx, neighbour.log, asked.asset)
        if own is None:
            shown = names.asset_text(asked.asset)
            raise UnknownAsset(f"{shown} is in neither catalogue", asset=asked.asset)
        _take_over(tx, own)
    if not trade.same_asset(asked, own):
        raise InvalidInput(
            f"{names.asset_text(asked.asset)} has {own.decimals} decimals here and "
            f"{asked.decimals} in the trade"
        )


def _take_over(tx: Tx, asset: Asset) -> None:
    """Put what a neighbour's steward approved into the own catalogue, since a member trades it.

    A code is text of the neighbour's choice, in this village's log for ever. So what does not look
    like the name of a good, and what is more than a few a day, waits for the own steward.
    """
    if not names.is_asset_code(asset.code) or asset.kind != "resource":
        raise UnknownAsset("that is not an asset that can be traded")
    words = asset.code.split("-")
    looks_plain = (
        len(asset.code) <= TAKEN_CHARS_MAX
        and len(words) <= TAKEN_WORDS_MAX
        and all(word.isalpha() for word in words)
        and asset.decimals <= TAKEN_DECIMALS_MAX
    )
    if not looks_plain or not _is_among_the_first(tx):
        raise UnknownAsset(
            f"{names.asset_text(asset.code)} is not in this village's catalogue: a steward must "
            "approve it first",
            asset=asset.code,
        )
    logs.append_asset(tx, asset)


def _is_among_the_first(tx: Tx) -> bool:
    """Count what is taken over today; tell whether it is not too much."""
    today = tx.stamp_ms // limits.DAY_MS
    day, _, count = (facts.read(tx, _TAKEN) or "0 0").partition(" ")
    number = int(count) + 1 if int(day) == today else 1
    facts.keep(tx, _TAKEN, f"{today} {number}")
    return number <= TAKEN_PER_DAY_MAX
