"""What a member is shown of a lying neighbour's proposals: all that is to be paid, and pages that
open whatever is kept."""

import jinja2
import msgspec
import pytest

from edge import commands, trade_escrow
from edge.core import limits, trade, words
from edge.core.trade import NOTHING, Quantity, Terms
from edge.core.words import describe
from edge.errors import Malformed
from edge.storage import audit, ledger, trades
from edge.storage.trades import Trade
from edge.web import views
from edge.web.desk_trade_views import Asked, gather
from edge.web.views import TradeView
from tests.integration.liar import (
    HUNDRED,
    Liar,
    accept,
    alice,
    digest,
    honest_village,
    look_at,
    the_trade,
)
from tests.simulation.world import Village

FAR = (limits.DEADLINE_MINUTE_MAX + 1, 2**40 - 1)
ONE = Quantity("AT", "token", 2, 1_00)


@pytest.fixture
def honest() -> Village:
    return honest_village()


@pytest.fixture
def liar(honest: Village) -> Liar:
    made = Liar(honest)
    made.say()
    return made


def shown(village: Village, known: Trade) -> TradeView:
    return village.look(lambda view: views.shown(view, known, village.clock_ms()))


def card_of(seen: TradeView) -> str:
    """Return a trade with its buttons as the pages show it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("edge.web"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.globals["nothing"] = words.NOTHING
    environment.globals["form_id"] = lambda: "0" * 32
    source = '{% import "parts.html" as parts with context %}{{ parts.card(trade, "token") }}'
    return environment.from_string(source).render(trade=seen)


# Fees


@pytest.mark.parametrize(
    ("changes", "button", "sentence"),
    [
        (
            {"request": ONE, "to_fee": 399_00},
            "Accept: give 1.00 AT and the fee of 399.00 AT, get 1 Solar Panel",
            "your 1.00 AT and the fee of 399.00 AT are held",
        ),
        (
            {"request": NOTHING, "to_fee": 399_00},
            "Accept: give fee of 399.00 AT, get 1 Solar Panel",
            "your fee of 399.00 AT is held",
        ),
        (
            {"request": HUNDRED, "from_fee": 7_00},
            "Accept: give 100.00 AT, get 1 Solar Panel",
            "your 100.00 AT are held",
        ),
        ({"request": NOTHING}, "Accept the gift: 1 Solar Panel", "a gift to you"),
    ],
)
def test_what_accepting_costs_is_on_the_button(
    honest: Village, liar: Liar, changes: dict[str, object], button: str, sentence: str
) -> None:
    """With the fee that the terms make the acceptor pay, whoever wrote them."""
    liar.say(liar.proposal(liar.terms(**changes)))
    known = the_trade(honest)
    seen = shown(honest, known)
    assert f"<button>{button}</button>" in card_of(seen)
    assert sentence in seen.sentence
    steward_sees = honest.look(lambda view: commands.trade_shown(view, known))
    assert steward_sees["fee"] == f"{known.terms.to_fee // 100}.00"
    accept(honest, known)
    held = honest.look(lambda view: ledger.balances(view, alice(honest).account)["AT"])
    assert held.debits_pending == known.terms.request.amount + known.terms.to_fee


# Times


@pytest.mark.parametrize("minute", FAR)
def test_a_deadline_that_no_calendar_has_is_refused(
    honest: Village, liar: Liar, minute: int
) -> None:
    before = digest(honest)
    with pytest.raises(Malformed, match="malformed deadline"):
        liar.say(liar.proposal(liar.terms(deadline_minute=minute)))
    assert digest(honest) == before


@pytest.mark.parametrize("minute", FAR)
def test_one_that_is_kept_from_before_shuts_no_page(
    honest: Village, liar: Liar, minute: int
) -> None:
    """Nor the desk, nor `trade list`, nor the exchange with the neighbour, nor the clock's work."""
    known = keep(liar, liar.terms(deadline_minute=minute))
    home = honest.look(lambda view: views.home(view, alice(honest), honest.clock_ms()))
    assert [each.id for each in home.trades] == [known.id]
    assert "9575" in home.trades[0].sentence
    told = honest.look(lambda view: commands.trade_shown(view, known))
    assert "9575" in str(told["message"])
    assert len(honest.look(lambda view: gather(view, Asked())).rows) == 1
    assert honest.now(trade_escrow.expire) == 0
    liar.say(liar.about(known))
    liar.say(liar.about(known, withdrawn="cancelled"))
    assert look_at(honest, known).status == "CANCELLED"
    honest.look(audit.audit)


def keep(liar: Liar, terms: Terms) -> Trade:
    """Have the honest village keep a proposal to Alice as it comes."""
    text = trade.encode_terms(terms)
    people = ("Bob", "Alice")
    member = alice(liar.honest).id
    return liar.honest.now(
        lambda tx: trades.add(tx, text, terms, "to", liar.key.sign(text), people, member, False)
    )


def test_any_deadline_can_be_described(liar: Liar) -> None:
    for minute in (1, limits.DEADLINE_MINUTE_MAX, *FAR):
        terms = msgspec.structs.replace(liar.terms(), deadline_minute=minute)
        assert "UTC" in describe("to", trade.Status.PENDING, terms, "Bob", "Alice")
