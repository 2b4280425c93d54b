"""This village's catalogue and a neighbour's: an asset is traded if both mean the same by it."""

from edge.core import names, trade
from edge.core.accounts import Asset
from edge.core.trade import Quantity
from edge.errors import InvalidInput, UnknownAsset
from edge.storage import logs
from edge.storage.neighbours import Neighbour
from edge.storage.tx import OWN_LOG, Tx


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
            f"has {code}",
            asset=code,
        )
    if own is None and there is not None:
        _take_over(tx, there)
        own = there
    assert own is not None
    if there is not None and there != own:
        raise InvalidInput(
            f"{code} has {own.decimals} decimals here and {there.decimals} in {neighbour.village}"
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
            raise UnknownAsset(f"{asked.asset} is in neither catalogue", asset=asked.asset)
        _take_over(tx, own)
    if not trade.same_asset(asked, own):
        raise InvalidInput(
            f"{asked.asset} has {own.decimals} decimals here and {asked.decimals} in the trade"
        )


def _take_over(tx: Tx, asset: Asset) -> None:
    if not names.is_asset_code(asset.code) or asset.kind != "resource":
        raise UnknownAsset("that is not an asset that can be traded")
    logs.append_asset(tx, asset)
