"""What comes after a trade is settled, in two villages' databases."""

from collections.abc import Callable

import msgspec
import pytest

from edge import desk, trade_delivery, trade_escrow
from edge.core import limits, messages, records, trade
from edge.core.delivery import Leg
from edge.core.replay import Delivery
from edge.core.trade import Proposal, Status
from edge.errors import BoxError, Forbidden, InvalidInput, LimitExceeded, PeerError, WrongState
from edge.exchange import compose, receive
from edge.storage import audit, database, deliveries, holds, ledger, logs, members, trades
from edge.storage.trades import Trade
from edge.storage.tx import OWN_LOG, Tx
from tests.storage.tampering import Evil, found_in, tampered
from tests.storage.villages import Village, neighbours_with_goods, propose, say, sync

replace = msgspec.structs.replace
DAYS_30_MS = limits.UNDISPUTED_S_MAX * 1000
BARTER = (("Flour", "2.5"), ("Solar Panel", "2"))
REASON = "Two panels are cracked."


@pytest.fixture
def two() -> tuple[Village, Village]:
    a, b = neighbours_with_goods()
    a.write(lambda tx: desk.declare(tx, "Alice", "Flour", "9", decimals=3))
    sync(a, b)
    return a, b


def settled(
    a: Village,
    b: Village,
    offer: tuple[str, str] = ("AT", "100"),
    request: tuple[str, str] = ("Solar Panel", "1"),
    fee: int = 0,
) -> bytes:
    """Alice of A gives, and gets of Bob of B."""
    subject = propose(a, b, offer, request, fee).subject
    sync(a, b)
    answer(b, "Bob", subject, trade_escrow.accept)
    sync(a, b)
    assert status(a, subject) is status(b, subject) is Status.SETTLED
    return subject


def answer(
    village: Village, name: str, subject: bytes, do: Callable[..., Trade], *more: object
) -> Trade:
    return village.write(
        lambda tx: do(tx, members.named(tx, name), trades.by_subject(tx, subject), *more)
    )


def deliver(village: Village, name: str, subject: bytes) -> Trade:
    return answer(village, name, subject, trade_delivery.deliver)


def dispute(village: Village, name: str, subject: bytes, reason: str = REASON) -> Trade:
    return answer(village, name, subject, trade_delivery.dispute, reason)


def refund(village: Village, name: str, subject: bytes) -> Trade:
    """Propose the refund of a trade."""

    def do(tx: Tx) -> Trade:
        member = members.named(tx, name)
        proposal = trade_delivery.refund(tx, member, trades.by_subject(tx, subject))
        return trade_escrow.propose(tx, member, proposal)

    return village.write(do)


def status(village: Village, subject: bytes) -> Status:
    return trades.by_subject(village.view, subject).status


def steps(village: Village, subject: bytes) -> tuple[str, ...]:
    return trade_delivery.steps(village.view, trades.by_subject(village.view, subject))


def has(village: Village, account: str, code: str) -> int:
    found = ledger.balances(village.view, account).get(code)
    return found.balance if found else 0


def clearing(a: Village, b: Village, code: str) -> tuple[int, int]:
    return has(a, f"clearing:{b.name}", code), has(b, f"clearing:{a.name}", code)


def kinds(village: Village) -> list[type]:
    size = logs.size_of(village.view, OWN_LOG)
    found = logs.records_from(village.view, OWN_LOG, 0, size, 10**9)
    return [type(records.decode(record)) for record in found]


def audited(*villages: Village) -> None:
    for village in villages:
        audit.audit(village.view)


# Delivered


def test_goods_stand_in_clearing_until_they_have_come(two: tuple[Village, Village]) -> None:
    a, b = two
    subject = settled(a, b, fee=100)
    assert clearing(a, b, "SOLAR-PANEL") == (-1, 1) and clearing(a, b, "AT") == (10_000, -10_000)
    before = has(a, "issuance", "SOLAR-PANEL"), has(b, "issuance", "SOLAR-PANEL")
    assert deliver(a, "Alice", subject).status is Status.DELIVERED
    assert clearing(a, b, "SOLAR-PANEL") == (0, 1)
    audited(a, b)
    sync(a, b)
    assert status(b, subject) is Status.DELIVERED
    assert clearing(a, b, "SOLAR-PANEL") == (0, 0) and clearing(a, b, "AT") == (10_000, -10_000)
    after = has(a, "issuance", "SOLAR-PANEL"), has(b, "issuance", "SOLAR-PANEL")
    assert after == (before[0] - 1, before[1] + 1), "declared at A, ended at B"
    assert kinds(a)[-1] is kinds(b)[-1] is records.DeliveredRecord
    audited(a, b)


def test_it_is_said_once_by_whom_the_goods_come_to(two: tuple[Village, Village]) -> None:
    a, b = two
    subject = settled(a, b)
    assert steps(a, subject) == ("delivered", "dispute", "refund") and steps(b, subject) == (
        "refund",
    )
    for village, name in ((b, "Bob"), (a, "Carol")):
        with pytest.raises(Forbidden, match="to whom the goods come"):
            deliver(village, name, subject)
        with pytest.raises(Forbidden):
            dispute(village, name, subject)
    deliver(a, "Alice", subject)
    for again in (deliver, dispute):
        with pytest.raises(WrongState, match="has been delivered"):
            again(a, "Alice", subject)
    with pytest.raises(WrongState, match="nothing is to be refunded"):
        refund(a, "Alice", subject)
    assert steps(a, subject) == ()
    assert kinds(a).count(records.DeliveredRecord) == 1


def test_of_at_nothing_is_to_be_delivered(two: tuple[Village, Village]) -> None:
    a, b = two
    gift = Proposal(b.name, "Bob", ("AT", "5"), None)
    subject = a.write(lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), gift)).subject
    sync(a, b)
    answer(b, "Bob", subject, trade_escrow.accept)
    sync(a, b)
    for village, name in ((a, "Alice"), (b, "Bob")):
        assert status(village, subject) is Status.SETTLED and steps(village, subject) == ()
        with pytest.raises(WrongState, match="no goods come of it"):
            deliver(village, name, subject)
        with pytest.raises(WrongState, match="no goods that have not come"):
            refund(village, name, subject)
    a.now_ms += 2 * DAYS_30_MS
    a.write(trade_escrow.expire)
    assert status(a, subject) is Status.SETTLED
    audited(a, b)


def test_nothing_is_delivered_of_what_is_not_settled(two: tuple[Village, Village]) -> None:
    a, b = two
    subject = propose(a, b).subject
    with pytest.raises(WrongState, match="the trade waits to be accepted: nothing is to be"):
        deliver(a, "Alice", subject)
    assert steps(a, subject) == ()
    with pytest.raises(WrongState):
        refund(a, "Alice", subject)


def test_goods_for_goods_are_delivered_each_by_itself(two: tuple[Village, Village]) -> None:
    a, b = two
    subject = settled(a, b, *BARTER)
    assert deliver(b, "Bob", subject).status is Status.SETTLED
    sync(a, b)
    assert clearing(a, b, "FLOUR") == (0, 0) and clearing(a, b, "SOLAR-PANEL") == (-2, 2)
    assert dispute(a, "Alice", subject).status is Status.DISPUTED
    sync(a, b)
    assert status(b, subject) is Status.DISPUTED
    audited(a, b)
    assert deliver(a, "Alice", subject).status is Status.DELIVERED
    sync(a, b)
    assert status(b, subject) is Status.DELIVERED and clearing(a, b, "SOLAR-PANEL") == (0, 0)
    audited(a, b)


def test_a_dispute_that_is_over_leaves_the_other_goods(two: tuple[Village, Village]) -> None:
    a, b = two
    subject = settled(a, b, *BARTER)
    dispute(a, "Alice", subject)
    sync(a, b)
    assert deliver(a, "Alice", subject).status is Status.SETTLED
    sync(a, b)
    assert status(b, subject) is Status.SETTLED and steps(b, subject)[0] == "delivered"
    audited(a, b)


def test_undisputed_goods_count_as_delivered_after_30_days(two: tuple[Village, Village]) -> None:
    a, b = two
    subject, disputed = settled(a, b), settled(a, b)
    dispute(a, "Alice", disputed)
    a.now_ms += DAYS_30_MS - 3 * limits.MINUTE_MS
    a.write(trade_escrow.expire)
    assert status(a, subject) is Status.SETTLED
    b.now_ms += 2 * DAYS_30_MS
    b.write(trade_escrow.expire)
    assert status(b, subject) is Status.SETTLED, "the receiver's clock counts, nobody else's"
    a.now_ms += 4 * limits.MINUTE_MS
    assert a.write(trade_escrow.expire) >= 1
    assert status(a, subject) is Status.DELIVERED and status(a, disputed) is Status.DISPUTED
    assert a.write(trade_escrow.expire) == 0
    a.now_ms, b.now_ms = [max(a.now_ms, b.now_ms)] * 2
    sync(a, b)
    assert status(b, subject) is Status.DELIVERED and status(b, disputed) is Status.DISPUTED
    audited(a, b)


def test_a_giver_that_is_late_does_all_that_is_due(two: tuple[Village, Village]) -> None:
    """B has not heard that the trade is settled, and then hears of settle and delivery at once."""
    a, b = two
    subject = propose(a, b).subject
    sync(a, b)
    answer(b, "Bob", subject, trade_escrow.accept)
    say(b, a)
    said = compose(a.view, trade_escrow, b.name, (), 0)  # what A says is lost from here on
    while status(a, subject) is not Status.SETTLED:
        say(b, a)
    assert said is not None
    held = b.conn.execute("SELECT status FROM trade").fetchone()[0]
    deliver(a, "Alice", subject)
    sync(a, b)
    assert status(b, subject) is Status.DELIVERED and held in ("HELD", "SETTLED")
    audited(a, b)


def test_delivery_makes_room_on_the_line_and_may_pass_it(two: tuple[Village, Village]) -> None:
    a, b = two
    a.write(lambda tx: desk.approve(tx, "Solar Panel"))
    a.write(lambda tx: desk.set_limit(tx, b.name, "Solar Panel", "2"))
    b.write(lambda tx: desk.set_limit(tx, a.name, "Solar Panel", "0"))
    first = settled(a, b, request=("Solar Panel", "2"))
    with pytest.raises(LimitExceeded, match="the line"):
        propose(a, b)
    deliver(a, "Alice", first)
    sync(a, b)
    second = settled(a, b, request=("Solar Panel", "2"))
    settled(a, b, ("Solar Panel", "2"), ("AT", "7"))  # against the two that B owes
    assert clearing(a, b, "SOLAR-PANEL") == (0, 0)
    deliver(a, "Alice", second)
    sync(a, b)
    assert clearing(a, b, "SOLAR-PANEL") == (2, -2)
    left = ledger.counters(b.view, f"clearing:{a.name}", ledger.asset(b.view, "SOLAR-PANEL"))
    assert left.available == -2, "they have come, so A owes two and has no line for it"
    audited(a, b)


# Refunds


@pytest.mark.parametrize(("who", "name"), [(0, "Alice"), (1, "Bob")])
def test_a_refund_is_a_trade_the_other_way_round(
    two: tuple[Village, Village], who: int, name: str
) -> None:
    a, b = two
    had = has(a, "member:1", "AT"), has(b, "member:1", "SOLAR-PANEL")
    subject = settled(a, b, fee=100)
    made = refund(two[who], name, subject)
    assert made.terms.refund_of == subject and not made.terms.from_fee
    assert steps(two[who], subject) == (("dispute",) if who == 0 else ())
    with pytest.raises(WrongState, match="there is a refund of it"):
        refund(two[who], name, subject)
    sync(a, b)
    answer(two[1 - who], ("Bob", "Alice")[who], made.subject, trade_escrow.accept)
    sync(a, b)
    assert status(a, made.subject) is status(b, made.subject) is Status.SETTLED
    assert clearing(a, b, "SOLAR-PANEL") == clearing(a, b, "AT") == (0, 0)
    assert (has(a, "member:1", "AT"), has(b, "member:1", "SOLAR-PANEL")) == (had[0] - 100, had[1])
    for trade_, village in ((subject, a), (subject, b), (made.subject, a), (made.subject, b)):
        assert steps(village, trade_) == ()
    with pytest.raises(WrongState, match="it is refunded by trade"):
        deliver(a, "Alice", subject)
    with pytest.raises((WrongState, Forbidden)):
        deliver(two[1], "Bob", made.subject)
    with pytest.raises(WrongState, match=r"there is a refund|nothing is to be refunded"):
        refund(a, "Alice", subject)
    a.now_ms += 2 * DAYS_30_MS
    a.write(trade_escrow.expire)
    assert status(a, subject) is Status.SETTLED
    audited(a, b)


def test_a_refunds_hold_excludes_delivered_until_it_is_released(
    two: tuple[Village, Village],
) -> None:
    """The receiver has accepted a refund that the giver then does not want any more."""
    a, b = two
    subject = settled(a, b)
    made = refund(b, "Bob", subject)
    sync(a, b)
    answer(a, "Alice", made.subject, trade_escrow.accept)
    assert steps(a, subject) == ()
    with pytest.raises(WrongState, match="it is refunded by trade"):
        deliver(a, "Alice", subject)
    a.now_ms += 2 * DAYS_30_MS
    a.write(trade_escrow.expire)
    assert status(a, subject) is Status.SETTLED, "not by itself, either"
    answer(b, "Bob", made.subject, trade_escrow.cancel)
    audited(a, b)
    b.now_ms = a.now_ms
    sync(a, b)
    assert status(a, made.subject) is Status.ABORTED and status(b, made.subject) is Status.CANCELLED
    assert deliver(a, "Alice", subject).status is Status.DELIVERED
    sync(a, b)
    assert status(b, subject) is Status.DELIVERED
    audited(a, b)


def test_delivered_excludes_the_refund_that_crosses_it(two: tuple[Village, Village]) -> None:
    """The giver holds for a refund that the receiver proposed, who withdraws it meanwhile and says
    that the goods came: no-hold, and the giver reverses once its hold is released."""
    a, b = two
    subject = settled(a, b)
    made = refund(a, "Alice", subject)
    sync(a, b)
    answer(a, "Alice", made.subject, trade_escrow.cancel)
    deliver(a, "Alice", subject)
    answer(b, "Bob", made.subject, trade_escrow.accept)
    assert say(a, b), "B hears of the delivery while it is bound by the refund"
    sync(a, b)
    assert status(b, made.subject) is Status.ABORTED and status(a, made.subject) is Status.CANCELLED
    assert status(a, subject) is status(b, subject) is Status.DELIVERED
    assert clearing(a, b, "SOLAR-PANEL") == (0, 0)
    audited(a, b)


def test_while_its_own_refund_is_proposed_nothing_is_delivered(
    two: tuple[Village, Village],
) -> None:
    a, b = two
    subject = settled(a, b)
    made = refund(a, "Alice", subject)
    with pytest.raises(WrongState, match=f"withdraw trade {made.id} first"):
        deliver(a, "Alice", subject)
    assert steps(a, subject) == ("dispute",)
    assert status(a, subject) is Status.SETTLED
    answer(a, "Alice", made.subject, trade_escrow.cancel)
    assert steps(a, subject) == ("delivered", "dispute", "refund")
    deliver(a, "Alice", subject)
    sync(a, b)
    assert status(a, subject) is status(b, subject) is Status.DELIVERED
    audited(a, b)


def test_what_the_giver_alone_proposes_hinders_no_delivery(two: tuple[Village, Village]) -> None:
    a, b = two
    subject = settled(a, b)
    made = refund(b, "Bob", subject)
    sync(a, b)
    assert steps(a, subject) == ("delivered", "dispute")
    deliver(a, "Alice", subject)
    with pytest.raises(WrongState, match="it has been delivered"):
        answer(a, "Alice", made.subject, trade_escrow.accept)
    sync(a, b)
    assert status(b, subject) is Status.DELIVERED
    answer(b, "Bob", made.subject, trade_escrow.cancel)
    audited(a, b)


def test_nothing_counts_as_delivered_while_its_own_refund_is_proposed(
    two: tuple[Village, Village],
) -> None:
    """Neither by the clock: only once the proposal has run out, with the next look a day later."""
    a, b = two
    subject = settled(a, b)
    a.now_ms = b.now_ms = a.now_ms + DAYS_30_MS - 60 * limits.MINUTE_MS
    made = refund(a, "Alice", subject)
    a.now_ms += 61 * limits.MINUTE_MS
    a.write(trade_escrow.expire)
    assert status(a, subject) is Status.SETTLED and status(a, made.subject) is Status.PENDING
    audited(a)
    a.now_ms += limits.DAY_MS + limits.MINUTE_MS
    a.write(trade_escrow.expire)
    assert status(a, made.subject) is Status.EXPIRED
    assert status(a, subject) is Status.DELIVERED
    b.now_ms = a.now_ms
    sync(a, b)
    assert status(b, subject) is Status.DELIVERED
    assert clearing(a, b, "SOLAR-PANEL") == (0, 0)
    audited(a, b)


def test_of_goods_that_came_nothing_is_refunded(two: tuple[Village, Village]) -> None:
    a, b = two
    subject = settled(a, b, *BARTER)
    deliver(b, "Bob", subject)
    sync(a, b)
    made = refund(b, "Bob", subject)
    assert made.terms.offer == trade.NOTHING and made.terms.request.amount == 2
    sync(a, b)
    answer(a, "Alice", made.subject, trade_escrow.accept)
    sync(a, b)
    assert clearing(a, b, "SOLAR-PANEL") == clearing(a, b, "FLOUR") == (0, 0)
    assert has(b, "member:1", "SOLAR-PANEL") == 9 and has(b, "member:1", "FLOUR") == 2_500
    audited(a, b)


def test_a_made_up_refund_is_refused(two: tuple[Village, Village]) -> None:
    a, b = two
    subject = settled(a, b, request=("Solar Panel", "2"))
    panel, token = ("Solar Panel", "2"), ("AT", "100")
    evil: list[tuple[tuple[str, str] | None, tuple[str, str] | None, bytes, type[BoxError]]] = [
        (panel, token, bytes(32), WrongState),
        (token, panel, subject, InvalidInput),
        (("Solar Panel", "1"), token, subject, InvalidInput),
        (panel, ("AT", "100.01"), subject, InvalidInput),
        (("Flour", "2"), token, subject, InvalidInput),
        (None, token, subject, InvalidInput),
    ]
    for gives, gets, of, kind in evil:
        asked = Proposal(b.name, "Bob", gives, gets, refund_of=of)
        with pytest.raises(kind):
            a.write(lambda tx, p=asked: trade_escrow.propose(tx, members.named(tx, "Alice"), p))  # type: ignore[misc]
    less = Proposal(b.name, "Bob", panel, ("AT", "60"), refund_of=subject)
    made = a.write(lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), less))
    sync(a, b)
    answer(b, "Bob", made.subject, trade_escrow.accept)
    sync(a, b)
    assert clearing(a, b, "AT") == (4_000, -4_000), "a part of the AT, and all of the goods"
    audited(a, b)


def test_a_refund_of_a_lying_proposer_is_not_accepted(
    two: tuple[Village, Village], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = two
    subject = settled(a, b)
    deliver(a, "Alice", subject)
    sync(a, b)
    with monkeypatch.context() as patched:
        patched.setattr(trade_delivery, "check_refund", lambda *_: None)
        asked = Proposal(b.name, "Bob", ("Solar Panel", "1"), ("AT", "100"), refund_of=subject)
        made = a.write(lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), asked))
    sync(a, b)
    with pytest.raises(WrongState, match="it has been delivered"):
        answer(b, "Bob", made.subject, trade_escrow.accept)
    assert status(b, made.subject) is Status.PENDING


def test_a_refund_is_for_the_member_whose_trade_it_was(two: tuple[Village, Village]) -> None:
    """Another village could name anybody: who accepts would pay for what somebody else got."""
    a, b = two
    b.write(lambda tx: desk.add_member(tx, "Eve", "-"))
    b.write(lambda tx: desk.issue(tx, "Eve", "500"))
    subject = settled(a, b)

    def to_eve(tx: Tx) -> Trade:
        alice = members.named(tx, "Alice")
        asked = trade_delivery.refund(tx, alice, trades.by_subject(tx, subject))
        return trade_escrow.propose(tx, alice, replace(asked, to_user="Eve"))

    made = a.write(to_eve)
    sync(a, b)
    with pytest.raises(WrongState, match="for the same member"):
        answer(b, "Eve", made.subject, trade_escrow.accept)
    with pytest.raises(Forbidden):
        refund(a, "Carol", subject)


# Disputes


def test_a_dispute_is_in_the_log_and_what_is_written_beside_it(
    two: tuple[Village, Village],
) -> None:
    a, b = two
    subject = settled(a, b)
    with pytest.raises(InvalidInput, match="1 to 500 characters"):
        dispute(a, "Alice", subject, "x" * 501)
    with pytest.raises(WrongState, match="nothing is written"):
        dispute(a, "Alice", subject, "")
    assert dispute(a, "Alice", subject).status is Status.DISPUTED
    sync(a, b)
    assert status(b, subject) is Status.DISPUTED
    assert deliveries.written(b.view, subject) == {a.name: REASON}
    for village in two:
        for (record,) in village.conn.execute("SELECT record FROM entry"):
            assert b"cracked" not in record
    dispute(a, "Alice", subject, "One panel is cracked.")
    sync(a, b)
    assert deliveries.written(b.view, subject) == {a.name: "One panel is cracked."}
    assert kinds(a).count(records.DisputedRecord) == 1
    deliver(a, "Alice", subject)
    dispute(a, "Alice", subject, "")
    sync(a, b)
    for village in two:
        assert deliveries.written(village.view, subject) == {a.name: ""}
        assert not deliveries.untold(village.view, two[village is a].name)
        assert status(village, subject) is Status.DELIVERED
    audited(a, b)


@pytest.mark.parametrize(("who", "name"), [(0, "Alice"), (1, "Bob")])
def test_a_dispute_is_over_once_it_is_refunded(
    two: tuple[Village, Village], who: int, name: str
) -> None:
    a, b = two
    subject = settled(a, b)
    dispute(a, "Alice", subject)
    sync(a, b)
    made = refund(two[who], name, subject)
    sync(a, b)
    assert status(a, subject) is status(b, subject) is Status.DISPUTED
    answer(two[1 - who], ("Bob", "Alice")[who], made.subject, trade_escrow.accept)
    sync(a, b)
    for village in two:
        assert status(village, subject) is Status.SETTLED
        assert status(village, made.subject) is Status.SETTLED
        assert trades.count(village.view, Status.DISPUTED) == 0
    audited(a, b)
    for conn in tampered(a):
        conn.execute("UPDATE trade SET status = 'DISPUTED' WHERE subject = ?", (subject,))
        assert "its status: expected SETTLED" in found_in(conn)


def test_a_refund_that_comes_to_nothing_leaves_the_dispute(two: tuple[Village, Village]) -> None:
    a, b = two
    subject = settled(a, b)
    dispute(a, "Alice", subject)
    made = refund(a, "Alice", subject)
    sync(a, b)
    answer(b, "Bob", made.subject, trade_escrow.reject)
    sync(a, b)
    assert status(a, subject) is status(b, subject) is Status.DISPUTED
    assert deliver(a, "Alice", subject).status is Status.DELIVERED
    audited(a)


def test_of_goods_for_goods_the_other_dispute_stays(two: tuple[Village, Village]) -> None:
    """A refund that two members agree on of one of the goods."""
    a, b = two
    subject = settled(a, b, *BARTER)
    dispute(a, "Alice", subject)
    dispute(b, "Bob", subject)
    sync(a, b)
    back = Proposal(b.name, "Bob", ("Solar Panel", "2"), None, refund_of=subject)
    made = a.write(lambda tx: trade_escrow.propose(tx, members.named(tx, "Alice"), back))
    sync(a, b)
    answer(b, "Bob", made.subject, trade_escrow.accept)
    sync(a, b)
    assert status(a, made.subject) is Status.SETTLED
    assert status(a, subject) is status(b, subject) is Status.DISPUTED
    audited(a, b)
    assert deliver(b, "Bob", subject).status is Status.SETTLED
    sync(a, b)
    assert status(a, subject) is Status.SETTLED
    audited(a, b)


def test_a_dispute_of_before_that_was_refunded_is_over_with_the_next_exchange(
    two: tuple[Village, Village],
) -> None:
    a, b = two
    subject = settled(a, b)
    dispute(a, "Alice", subject)
    made = refund(a, "Alice", subject)
    sync(a, b)
    answer(b, "Bob", made.subject, trade_escrow.accept)
    sync(a, b)
    for village in two:
        village.conn.execute("UPDATE trade SET status = 'DISPUTED' WHERE subject = ?", (subject,))
        village.conn.execute("PRAGMA user_version = 9")
        database.migrate(village.conn)
    audited(a, b)
    propose(a, b)
    sync(a, b)
    for village in two:
        assert status(village, subject) is Status.SETTLED
    audited(a, b)


def test_a_village_that_only_answers_gets_its_words_across(two: tuple[Village, Village]) -> None:
    a, b = two
    subject = settled(a, b)
    dispute(a, "Alice", subject)
    say(b, a)
    assert deliveries.written(b.view, subject) == {a.name: REASON}
    assert deliveries.untold(a.view, b.name) == [subject]
    said = compose(b.view, trade_escrow, a.name, [subject], 0).message  # as it was asked about
    a.write(lambda tx: receive(tx, trade_escrow, said, None))
    assert not deliveries.untold(a.view, b.name)


def test_what_a_neighbour_may_not_write_is_refused(two: tuple[Village, Village]) -> None:
    a, b = two
    subject = settled(a, b)
    known = trades.by_subject(b.view, subject)
    for village, text in ((b.name, REASON), ("ose-texas-001", REASON)):
        said = compose(b.view, trade_escrow, a.name, [subject], 0).message
        [of_trade] = [each for each in said.subjects if bytes(each.terms) == known.terms_bytes]
        changed = replace(of_trade, disputes=(messages.DisputeText(village, text),))
        message = messages.decode_exchange(messages.encode(replace(said, subjects=(changed,))))
        with pytest.raises(PeerError, match="written by whom the goods were to come to"):
            a.write(lambda tx, m=message: receive(tx, trade_escrow, m, None))  # type: ignore[misc]


# The audit


@pytest.fixture
def after(two: tuple[Village, Village]) -> tuple[Village, Village, list[bytes]]:
    """Trades that were delivered, are disputed, refunded, and awaited, in this order."""
    a, b = two
    subjects = [settled(a, b) for _ in range(4)]
    deliver(a, "Alice", subjects[0])
    dispute(a, "Alice", subjects[1])
    made = refund(a, "Alice", subjects[2])
    sync(a, b)
    answer(b, "Bob", made.subject, trade_escrow.accept)
    sync(a, b)
    audited(a, b)
    return a, b, subjects


PLANTED = {
    "a row of another kind": (
        0,
        "UPDATE delivery SET kind = 'disputed' WHERE log = 0 AND kind = 'delivered'",
        "its row among the deliveries",
    ),
    "a row of a copy gone": (
        1,
        "DELETE FROM delivery WHERE log = 1 AND kind = 'delivered'",
        "its row among the deliveries",
    ),
    "a row too many": (
        1,
        "INSERT INTO delivery SELECT subject, 1, 3, 'disputed', 'SOLAR-PANEL' FROM trade LIMIT 1",
        "how many rows of deliveries it has",
    ),
    "another status": (
        0,
        "UPDATE trade SET status = 'SETTLED' WHERE status = 'DISPUTED'",
        "its status: expected DISPUTED, found SETTLED",
    ),
    "delivered without a word": (
        1,
        "UPDATE trade SET status = 'DELIVERED' WHERE status = 'DISPUTED'",
        "its status: expected DISPUTED, found DELIVERED",
    ),
    "no day": (0, "UPDATE trade SET deliver_minute = NULL", "when it counts as delivered"),
    "a day too soon": (
        0,
        "UPDATE trade SET deliver_minute = deliver_minute - 60",
        "when it counts as delivered",
    ),
    "a day of what is disputed": (
        0,
        "UPDATE trade SET deliver_minute = 99999999 WHERE status = 'DISPUTED'",
        "when it counts as delivered",
    ),
    "a day of what is refunded": (
        0,
        "UPDATE trade SET deliver_minute = 99999999 WHERE status = 'SETTLED'",
        "when it counts as delivered",
    ),
    "another refund": (
        0,
        (
            "UPDATE trade SET refund_of = zeroblob(32)"
            " WHERE subject = (SELECT min(subject) FROM trade)"
        ),
        "which trade it gives back",
    ),
    "a dispute of nobody's": (
        1,
        "INSERT INTO dispute SELECT subject, 'ose-texas-001', 'x', 1 FROM trade LIMIT 1",
        "who wrote of a dispute",
    ),
    "a dispute by the giver": (
        1,
        (
            "INSERT INTO dispute SELECT subject, 'ose-california-001', 'x', 1 FROM trade"
            " WHERE status = 'SETTLED' LIMIT 1"
        ),
        "who wrote of a dispute",
    ),
    "a long dispute": (
        0,
        "UPDATE dispute SET text = printf('%0501d', 7)",
        "what is written of a dispute",
    ),
    "clearing that was not reversed": (
        0,
        (
            "UPDATE balance SET credits_posted = credits_posted - 1"
            " WHERE account GLOB 'clearing:*' AND asset = 'SOLAR-PANEL'"
        ),
        "credits_posted",
    ),
}


@pytest.mark.parametrize(("who", "sql", "expected"), PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_found(
    after: tuple[Village, Village, list[bytes]], who: int, sql: str, expected: str
) -> None:
    for conn in tampered(after[:2][who]):
        conn.execute("PRAGMA foreign_keys = OFF")
        assert conn.execute(sql).rowcount, "nothing was planted"
        assert expected in found_in(conn)


def leg_of(known: Trade) -> Leg:
    return Leg(known.terms.request, "from")


def evil_records(subjects: list[bytes]) -> dict[str, Callable[[Tx], object]]:
    """What no box of ours writes, as the receiver."""

    def say_(kind: str, subject: bytes, asset: str = "SOLAR-PANEL") -> Callable[[Tx], None]:
        made = records.DeliveredRecord if kind == "delivered" else records.DisputedRecord

        def append(tx: Tx) -> None:
            index = tx.append(made(tx.minute, subject, asset))
            deliveries.keep(tx, OWN_LOG, index, Delivery(subject, kind, asset))

        return append

    delivered, disputed, refunded, awaited = subjects
    return {
        "delivered twice": say_("delivered", delivered),
        "disputed after it came": say_("disputed", delivered),
        "disputed twice": say_("disputed", disputed),
        "delivered and refunded": say_("delivered", refunded),
        "other goods": say_("delivered", awaited, "FLOUR"),
        "AT": say_("delivered", awaited, "AT"),
        "of no trade": say_("delivered", bytes(32)),
    }


@pytest.mark.parametrize("name", evil_records([b""] * 4))
def test_a_record_that_should_not_be_there_is_found(
    after: tuple[Village, Village, list[bytes]], name: str
) -> None:
    a, _, subjects = after
    for conn in tampered(a):
        evil = Evil(a, conn)
        index = evil.size
        evil.write(evil_records(subjects)[name])
        assert found_in(conn).startswith(f"record {index}: its trade: expected goods that have")


def test_a_giver_that_reverses_before_the_receiver_says_so_is_found(
    after: tuple[Village, Village, list[bytes]],
) -> None:
    _, b, subjects = after

    def reverse(tx: Tx) -> None:
        known = trades.by_subject(tx, subjects[3])
        holds.append_delivered(tx, known, leg_of(known))
        trades.advance(tx, known, trade.Event.DELIVER)

    for conn in tampered(b):
        Evil(b, conn).write(reverse)
        assert "what ose-missouri-001 said of it: expected delivered" in found_in(conn)


def test_a_giver_that_never_reverses_is_found(
    two: tuple[Village, Village], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = two
    subject = settled(a, b)
    deliver(a, "Alice", subject)
    monkeypatch.setattr(trade_delivery, "advance", lambda *_: set())
    sync(a, b)
    audited(b)  # it has still to act on it, and says so in the row
    b.conn.execute("UPDATE trade SET heard = 0")
    for conn in tampered(b):
        assert "its delivery, which ose-missouri-001 has" in found_in(conn)


def test_a_held_refund_of_what_came_is_found(
    two: tuple[Village, Village], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = two
    subject = settled(a, b)
    made = refund(b, "Bob", subject)
    sync(a, b)
    deliver(a, "Alice", subject)
    monkeypatch.setattr(trade_delivery, "check_refund", lambda *_: None)
    answer(a, "Alice", made.subject, trade_escrow.accept)
    for conn in tampered(a):
        assert "what it refunds: expected goods that have not come" in found_in(conn)


# An older database


def test_a_database_from_before_is_brought_up_to_date(
    two: tuple[Village, Village], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A box of before has settled, and its neighbour's newer one has said that goods came: to it
    these were opaque bytes."""
    a, b = two
    subject = settled(a, b)
    awaited = settled(a, b, ("Flour", "1"), ("AT", "2"))
    deliver(a, "Alice", subject)
    with monkeypatch.context() as patched:
        patched.setattr(deliveries, "keep_copied", lambda *_: None)
        say(a, b)
    b.conn.executescript(BACK)
    database.migrate(b.conn)
    known = trades.by_subject(b.view, subject)
    assert known.heard and known.status is Status.SETTLED
    assert (trades.by_subject(b.view, awaited).deliver_minute or 0) * limits.MINUTE_MS >= (
        b.now_ms + DAYS_30_MS - limits.MINUTE_MS
    )
    audited(b)
    sync(a, b)
    assert status(b, subject) is Status.DELIVERED
    audited(a, b)


BACK = """
DROP TABLE returned; DROP TABLE lost; DROP TABLE unsure; ALTER TABLE neighbour DROP COLUMN asked;
ALTER TABLE deal DROP COLUMN reason; DROP TABLE freshness;
DROP INDEX trade_open_of; DROP INDEX trade_by_id; DROP INDEX told_urgent;
ALTER TABLE told DROP COLUMN urgent_ms;
ALTER TABLE told ADD COLUMN urgent INTEGER NOT NULL DEFAULT 0 CHECK (urgent IN (0, 1));
CREATE INDEX told_urgent ON told (village) WHERE urgent = 1;
DROP TABLE delivery; DROP TABLE dispute;
DROP INDEX trade_refund; DROP INDEX trade_deliver; DROP INDEX trade_heard;
ALTER TABLE trade DROP COLUMN refund_of;
ALTER TABLE trade DROP COLUMN deliver_minute;
ALTER TABLE trade DROP COLUMN heard;
PRAGMA user_version = 4;
"""
