"""What a neighbour's catalogue can put into this village's own, which is public and only grows."""

import msgspec
import pytest

from edge import desk
from edge.core import crypto, records, trade
from edge.core.trade import Quantity, Status
from edge.errors import UnknownAsset
from edge.storage import logs, trades
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG
from tests.integration.liar import HUNDRED, Liar, accept, digest, honest_village
from tests.simulation.world import Village


@pytest.fixture
def honest() -> Village:
    return honest_village()


@pytest.fixture
def liar(honest: Village) -> Liar:
    return Liar(honest)


def offer_of(liar: Liar, code: str, decimals: int = 0) -> Trade:
    """The liar puts a code into its catalogue and offers one of it to Alice."""
    liar.append(records.AssetRecord(liar.minute, code, "resource", decimals))
    liar.say()
    nonce = crypto.sha256(code.encode())[:16]
    offer = Quantity(code, "resource", decimals, 1)
    terms = liar.terms(trade_id=nonce.hex(), nonce=nonce, offer=offer)
    terms = msgspec.structs.replace(terms, request=msgspec.structs.replace(HUNDRED, amount=1))
    liar.say(liar.proposal(terms))
    subject = trade.subject_of(trade.encode_terms(terms))
    return liar.honest.look(lambda view: trades.by_subject(view, subject))


def own_codes(village: Village) -> set[str]:
    return {asset.code for asset in village.look(lambda view: logs.assets(view, OWN_LOG))}


@pytest.mark.parametrize(
    ("code", "decimals"),
    [("BREAD", 6), ("ALICE-SMITH-OWES-BOB", 0), ("CALL-555-0100", 0), ("A" * 25, 0)],
)
def test_a_click_puts_no_text_of_a_neighbours_into_the_own_log(
    honest: Village, liar: Liar, code: str, decimals: int
) -> None:
    known = offer_of(liar, code, decimals)
    before = digest(honest)
    with pytest.raises(UnknownAsset, match="a steward must approve it first"):
        accept(honest, known)
    assert digest(honest) == before
    assert code not in own_codes(honest)
    honest.now(lambda tx: desk.approve(tx, code, decimals))
    assert accept(honest, known).status is Status.ACCEPTED


def test_a_few_plain_goods_a_day_are_taken_over_from_a_neighbours_catalogue(
    honest: Village, liar: Liar
) -> None:
    before = own_codes(honest)
    codes = [f"GOOD-{letter}" for letter in "ABCDEFGHI"]
    offers = [offer_of(liar, code) for code in codes]
    for known in offers[:8]:
        accept(honest, known)
    assert own_codes(honest) - before == set(codes[:8])
    with pytest.raises(UnknownAsset, match="a steward must approve"):
        accept(honest, offers[8])
