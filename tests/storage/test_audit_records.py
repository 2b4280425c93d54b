"""The audit of records that are well hashed and signed, and should not be there."""

import sqlite3
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
import pytest

from edge import desk
from edge.core import canonical, checkpoint, council, crypto, merkle, records, trade
from edge.core.accounts import AssetKind, Entry
from edge.core.records import LimitChange, Posting
from edge.storage import ledger, logs, trades
from edge.storage.tx import OWN_LOG, Tx, View, position
from tests.storage.tampering import COPY, Evil, Story, agreed, flipped, found_in
from tests.storage.villages import START_MS, Village


def sealed(
    tx: Tx, posting: Posting, minute: int | None = None, personal: bytes | None = None
) -> None:
    """Append a sealed record without asking anything."""
    private = (bytes(32), canonical.encode(posting))
    part = None if personal is None else (bytes(32), personal)
    record = records.SealedRecord(
        tx.minute if minute is None else minute,
        crypto.commitment(*private),
        None if part is None else crypto.commitment(*part),
    )
    tx.keep_sealed(tx.append(record), private, part)


def moved(operation: records.Operation, *entries: tuple[str, str, int]) -> Callable[[Tx], None]:
    return lambda tx: sealed(
        tx, Posting(operation, tx.stamp_ms, tuple(Entry(*entry) for entry in entries))
    )


def limited(operation: records.Operation, account: str, limit: int) -> Callable[[Tx], None]:
    change = LimitChange(account, "AT", limit)
    return lambda tx: sealed(tx, Posting(operation, tx.stamp_ms, (), (change,)))


def raw(record: bytes) -> Callable[[Tx], None]:
    """Append bytes that are no record."""

    def append(tx: Tx) -> None:
        index = tx.append(records.AssetRecord(0, "A", "resource", 0))
        tx._appended[-1] = (position(OWN_LOG, 0, index), merkle.leaf_hash(record), record)

    return append


def issued_in_the_history(tx: Tx) -> None:
    """The treasury's row of it is kept, and what it has; the other account's balance is not."""
    stamp_ms, index = tx.stamp_ms, tx.next_index
    moved("issue", ("issuance", "AT", -5), ("treasury", "AT", 5))(tx)
    ledger.post(tx, index, "issue", [Entry("treasury", "AT", 5)], stamp_ms)


ALICE, CAROL, PANEL = "member:1", "member:2", "SOLAR-PANEL"
CLEARING = "clearing:ose-california-001"
EVIL: Final[dict[str, tuple[Callable[[Tx], Any], str]]] = {
    "bytes": (raw(b"\xff"), "it cannot be read"),
    "spaces": (
        raw(b'{"kind":"asset", "minute":29333335,"code":"A","asset_kind":"resource","decimals":0}'),
        "it cannot be read: expected a record in canonical form",
    ),
    "a village record": (
        lambda tx: tx.append(records.VillageRecord(tx.minute, "a-b-001", bytes(32))),
        "its kind: expected anything but village, found village",
    ),
    "a minute back": (
        lambda tx: tx.append(records.AssetRecord(START_MS // 60_000 - 1, "A", "resource", 0)),
        "its minute goes back",
    ),
    "a stamp of another minute": (
        lambda tx: sealed(tx, Posting("limit", tx.stamp_ms), tx.minute + 1),
        "its sealed stamp",
    ),
    "an asset again": (
        lambda tx: tx.append(records.AssetRecord(tx.minute, "FLOUR", "resource", 3)),
        "its asset: expected one that is new here, found FLOUR",
    ),
    "a second token": (
        lambda tx: tx.append(records.AssetRecord(tx.minute, "GOLD", "token", 2)),
        "its asset: expected AT as the only token",
    ),
    "an ill-named asset": (
        lambda tx: tx.append(records.AssetRecord(tx.minute, "gold", "resource", 2)),
        "its asset: expected a well-formed one, found gold",
    ),
    "too many decimals": (
        lambda tx: tx.append(records.AssetRecord(tx.minute, "GOLD", "resource", 7)),
        "its asset: expected a well-formed one, found GOLD",
    ),
    "a one-sided posting": (moved("pay", (ALICE, "AT", -5)), "its entries: expected a sum of zero"),
    "an unbalanced posting": (
        moved("pay", (ALICE, "AT", -5), (CAROL, "AT", 6)),
        "its entries: expected a sum of zero",
    ),
    "one asset for another": (
        moved("pay", (ALICE, "AT", -5), (CAROL, "FLOUR", 5)),
        "its entries: expected a sum of zero",
    ),
    "an entry of zero": (
        moved("pay", (ALICE, "AT", -5), (CAROL, "AT", 5), (CAROL, "FLOUR", 0)),
        "its entries: expected a sum of zero",
    ),
    "an unknown asset": (
        moved("pay", (ALICE, "GOLD", -5), (CAROL, "GOLD", 5)),
        "its asset: expected one in the catalogue, found GOLD",
    ),
    "too much": (
        moved("pay", (CAROL, "AT", -2_000_00), (ALICE, "AT", 2_000_00)),
        "the net debit of member:2 in AT: expected 2000 at most",
    ),
    "too much twice": (
        moved("pay", *[(CAROL, "AT", -3), (ALICE, "AT", 3)] * 100),
        "the net debit of member:2 in AT: expected 2000 at most",
    ),
    "credit first": (
        moved("pay", (ALICE, PANEL, 3), (ALICE, PANEL, -3)),
        "the net debit of member:1 in SOLAR-PANEL: expected 0 at most, found ",
    ),
    "a payment out of clearing": (
        moved("pay", (CLEARING, "AT", -5), (ALICE, "AT", 5)),
        "its posting: expected the form of pay",
    ),
    "a payment out of issuance": (
        moved("pay", ("issuance", "AT", -5), (ALICE, "AT", 5)),
        "its posting: expected the form of pay",
    ),
    "an empty payment": (moved("pay"), "its posting: expected the form of pay"),
    "an issue from a member": (
        moved("issue", (ALICE, "AT", -5), (CAROL, "AT", 5)),
        "its posting: expected the form of issue",
    ),
    "issued flour": (
        moved("issue", ("issuance", "FLOUR", -5), (CAROL, "FLOUR", 5)),
        "its posting: expected the form of issue",
    ),
    "declared tokens": (
        moved("declare", ("issuance", "AT", -5), (CAROL, "AT", 5)),
        "its posting: expected the form of declare",
    ),
    "consumed by issuance": (
        moved("consume", ("issuance", "FLOUR", -5), (CAROL, "FLOUR", 5)),
        "its posting: expected the form of consume",
    ),
    "a trade without a hold": (
        moved("trade", (ALICE, "AT", -5), (CAROL, "AT", 5)),
        "its posting: expected the form of trade",
    ),
    "a limit of nothing": (
        lambda tx: sealed(tx, Posting("limit", tx.stamp_ms)),
        "its posting: expected the form of limit",
    ),
    "the treasury's limit": (limited("limit", "treasury", 5), "its posting: expected the form of"),
    "a line of a member": (limited("line", ALICE, 5), "its posting: expected the form of line"),
    "a negative limit": (limited("limit", ALICE, -5), "its posting: expected the form of limit"),
    "a limit and more": (
        lambda tx: sealed(
            tx,
            Posting(
                "limit",
                tx.stamp_ms,
                (Entry(ALICE, "AT", -5), Entry(CAROL, "AT", 5)),
                (LimitChange(ALICE, "AT", 5),),
            ),
        ),
        "its posting: expected the form of limit",
    ),
    "a payment and a limit": (
        lambda tx: sealed(
            tx,
            Posting(
                "pay",
                tx.stamp_ms,
                (Entry(ALICE, "AT", -5), Entry(CAROL, "AT", 5)),
                (LimitChange(ALICE, "AT", 5),),
            ),
        ),
        "its posting: expected the form of pay",
    ),
    "a personal part that is none": (
        lambda tx: sealed(
            tx, Posting("limit", tx.stamp_ms, (), (LimitChange(ALICE, "AT", 5),)), None, b"{ }"
        ),
        "its private row: expected the canonical form",
    ),
    "a limit that is kept nowhere": (
        limited("limit", ALICE, 5),
        "balance of member:1 in AT: limit",
    ),
    "a payment that is kept nowhere": (
        moved("pay", (ALICE, "AT", -5), (CAROL, "AT", 5)),
        "movement of member:1 in AT by record 15: its row: expected one, found none",
    ),
    "an issue that only the history knows": (
        issued_in_the_history,
        "balance of issuance in AT: debits_posted",
    ),
}


@pytest.mark.parametrize(("fn", "expected"), EVIL.values(), ids=EVIL)
def test_an_evil_record_is_named(evil_a: Evil, fn: Callable[[Tx], Any], expected: str) -> None:
    index = evil_a.size
    evil_a.write(fn)
    where = "" if expected.startswith(("balance", "movement")) else f"record {index}: "
    assert found_in(evil_a.conn).startswith(where + expected)


def test_a_log_of_another_village_is_named(a: sqlite3.Connection, story: Story) -> None:
    """All signatures and hashes hold, but the first record is not this village's."""
    stranger = Village("ose-ohio-001", founded=False)
    own = stranger.identity

    def found(tx: Tx) -> None:
        logs.add_log(tx, OWN_LOG, own.village, own.key.public)
        tx.run("INSERT INTO fact VALUES ('village_id', ?)", own.village)
        tx.append(records.VillageRecord(tx.minute, "ose-missouri-001", own.key.public))

    stranger.write(found)
    expected = "record 0: the village that it names: expected ose-ohio-001, found ose-missouri-001"
    assert found_in(stranger.conn) == expected


@pytest.mark.parametrize(("kind", "decimals"), [("resource", 2), ("token", 3), ("resource", 0)])
def test_another_token_is_named(kind: AssetKind, decimals: int) -> None:
    stranger = Village("ose-ohio-001", founded=False)
    own = stranger.identity

    def found(tx: Tx) -> None:
        logs.add_log(tx, OWN_LOG, own.village, own.key.public)
        tx.run("INSERT INTO fact VALUES ('village_id', ?)", own.village)
        tx.append(records.VillageRecord(tx.minute, own.village, own.key.public))
        tx.append(records.AssetRecord(tx.minute, "AT", kind, decimals))

    stranger.write(found)
    assert found_in(stranger.conn).startswith("record 1: its asset: expected AT as the only token")


def test_a_log_without_a_village_record_is_named() -> None:
    stranger = Village("ose-ohio-001", founded=False)
    own = stranger.identity

    def found(tx: Tx) -> None:
        logs.add_log(tx, OWN_LOG, own.village, own.key.public)
        tx.run("INSERT INTO fact VALUES ('village_id', ?)", own.village)
        tx.append(records.AssetRecord(tx.minute, "AT", "token", 2))

    stranger.write(found)
    assert found_in(stranger.conn) == "record 0: its kind: expected village, found asset"


def test_stamps_grow_from_batch_to_batch(evil_a: Evil) -> None:
    """Records of one batch share a stamp; the next batch's is greater."""
    stamp_ms = START_MS + 200_000
    posting = Posting("limit", stamp_ms, (), (LimitChange(ALICE, "AT", 0),))

    def write(tx: Tx) -> None:
        sealed(tx, posting, stamp_ms // 60_000)

    def write_both(tx: Tx) -> None:
        write(tx)
        write(tx)

    evil_a.write(write_both, later_ms=150_000)
    agreed(evil_a.conn)
    index = evil_a.size
    evil_a.write(write, later_ms=150_001)
    expected = f"record {index}: its stamp goes back: expected {stamp_ms + 1} or later, found "
    assert found_in(evil_a.conn).startswith(expected)


def test_a_stamp_that_goes_back_in_its_batch_is_named(evil_a: Evil) -> None:
    def write(tx: Tx) -> None:
        for stamp_ms in (tx.stamp_ms, tx.stamp_ms - 1):
            sealed(tx, Posting("limit", stamp_ms, (), (LimitChange(ALICE, "AT", 0),)))

    index = evil_a.size
    evil_a.write(write)
    assert found_in(evil_a.conn).startswith(f"record {index + 1}: its stamp goes back")


# Holds and their ends


def votes_for(story: Story, subject: bytes, value: council.Value) -> council.Certificate:
    """A certificate that both villages have signed, whatever they have signed before."""
    terms = trades.by_subject(story.a.view, subject).terms
    signed = [
        council.precommit(village.identity.key, village.name, terms.network, subject, value)
        for village in story
    ]
    certificate = council.certificate_of(signed, terms.seats)
    assert certificate is not None
    return certificate


def end(
    kind: type[records.SettleRecord | records.ReleaseRecord],
    subject: bytes,
    certificate: council.Certificate,
) -> Callable[[Tx], None]:
    def append(tx: Tx) -> None:
        index = tx.append(kind(tx.minute, subject, certificate))
        name = "settle" if kind is records.SettleRecord else "release"
        logs.keep_statement(tx, OWN_LOG, index, subject, name)

    return append


def open_subject(conn: sqlite3.Connection) -> bytes:
    """The trade that B has accepted, and of which A has not heard."""
    subject: bytes
    (subject,) = conn.execute("SELECT subject FROM trade WHERE status = 'ACCEPTED'").fetchone()
    return subject


def test_a_second_settle_is_named(evil_a: Evil) -> None:
    settle, index = evil_a.record("settle"), evil_a.size
    evil_a.write(end(records.SettleRecord, settle.subject, settle.certificate))
    assert found_in(evil_a.conn) == (
        f"record {index}: the hold that it ends: expected {settle.subject.hex()}, found none"
    )


def test_a_settle_without_a_hold_is_named(evil_a: Evil, story: Story) -> None:
    subject, index = open_subject(story.b.conn), evil_a.size
    certificate = votes_for(story, subject, "COMMIT")
    evil_a.write(end(records.SettleRecord, subject, certificate))
    assert found_in(evil_a.conn).startswith(f"record {index}: the hold that it ends: ")


@pytest.mark.parametrize(
    ("kind", "value"), [(records.SettleRecord, "ABORT"), (records.ReleaseRecord, "COMMIT")]
)
def test_an_end_against_its_certificate_is_named(
    evil_b: Evil, story: Story, kind: Any, value: council.Value
) -> None:
    subject, index = open_subject(evil_b.conn), evil_b.size
    evil_b.write(end(kind, subject, votes_for(story, subject, value)))
    assert found_in(evil_b.conn).startswith(f"record {index}: its certificate's value: expected ")


def _one_vote(whole: council.Certificate) -> council.Certificate:
    return msgspec.structs.replace(whole, precommits=whole.precommits[:1])


def _one_vote_twice(whole: council.Certificate) -> council.Certificate:
    return msgspec.structs.replace(whole, precommits=whole.precommits[:1] * 2)


def _forged(whole: council.Certificate) -> council.Certificate:
    (village, signature), other = whole.precommits
    return msgspec.structs.replace(whole, precommits=((village, flipped(signature)), other))


def _of_another_round(whole: council.Certificate) -> council.Certificate:
    return msgspec.structs.replace(whole, round=1)


def _of_a_stranger(whole: council.Certificate) -> council.Certificate:
    (_, signature), other = whole.precommits
    return msgspec.structs.replace(whole, precommits=(("ose-ohio-001", signature), other))


@pytest.mark.parametrize(
    "spoil", [_one_vote, _one_vote_twice, _forged, _of_another_round, _of_a_stranger]
)
def test_a_settle_without_a_certificate_is_named(
    evil_b: Evil, story: Story, spoil: Callable[[council.Certificate], council.Certificate]
) -> None:
    subject, index = open_subject(evil_b.conn), evil_b.size
    spoilt = spoil(votes_for(story, subject, "COMMIT"))
    evil_b.write(end(records.SettleRecord, subject, spoilt))
    expected = f"record {index}: its certificate: expected a quorum's votes, found "
    assert found_in(evil_b.conn).startswith(expected)


def test_an_end_that_the_rows_do_not_know_is_named(evil_b: Evil, story: Story) -> None:
    """The record is as it should be; balances, and the trade's row, are not."""
    subject = open_subject(evil_b.conn)
    evil_b.write(end(records.SettleRecord, subject, votes_for(story, subject, "COMMIT")))
    where = f"movement of member:1 in AT by record {evil_b.size - 1}"
    assert found_in(evil_b.conn) == f"{where}: its row: expected one, found none"
    evil_b.write(lambda tx: post_in_the_history(tx, subject))
    expected = "its status: expected DELIVERED or DISPUTED or SETTLED, found ACCEPTED"
    assert found_in(evil_b.conn) == f"trade {subject.hex()[:16]}: {expected}"
    evil_b.write(
        lambda tx: tx.run(
            "UPDATE trade SET status = 'SETTLED', certificate = ? WHERE subject = ?",
            canonical.encode(votes_for(story, subject, "COMMIT")),
            subject,
        )
    )
    assert found_in(evil_b.conn).startswith(
        "balance of clearing:ose-missouri-001 in AT: debits_posted: "
    )


def post_in_the_history(tx: Tx, subject: bytes) -> None:
    """Move the member's and the treasury's legs of a trade, as the log's last record says."""
    known, index = trades.by_subject(tx, subject), tx.next_index - 1
    legs = trade.member_entries(known.terms, known.role, f"member:{known.member}")
    minute = records.decode(logs.record_at(tx, OWN_LOG, index)).minute
    ledger.post(tx, index, "trade", legs, minute * 60_000)


def append_hold(
    tx: Tx, terms_bytes: bytes, signatures: tuple[bytes, bytes], posting: Posting
) -> None:
    """Append a hold record and keep its rows; the balances are left alone."""
    private = (bytes(32), canonical.encode(posting))
    record = records.HoldRecord(
        tx.minute, msgspec.Raw(terms_bytes), *signatures, crypto.commitment(*private)
    )
    index = tx.append(record)
    tx.keep_sealed(index, private, None)
    logs.keep_statement(tx, OWN_LOG, index, trade.subject_of(terms_bytes), "hold")


def held_again(
    tx: Tx, terms_bytes: bytes, signatures: tuple[bytes, bytes], legs: list[Entry]
) -> None:
    append_hold(tx, terms_bytes, signatures, Posting("trade", tx.stamp_ms, tuple(legs)))


class Deal(NamedTuple):
    """Terms between the two villages, and both signatures over them."""

    terms: trade.Terms
    encoded: bytes
    signatures: tuple[bytes, bytes]
    legs: list[Entry]


def deal(story: Story, member: str = ALICE, **changes: object) -> Deal:
    [known] = [
        each for each in trades.everyone(story.a.view) if each.status is trade.Status.SETTLED
    ]
    terms = msgspec.structs.replace(known.terms, nonce=bytes(16), **changes)
    encoded = trade.encode_terms(terms)
    signed = (story.a.identity.key.sign(encoded), story.b.identity.key.sign(encoded))
    role: trade.Role = "from" if terms.from_village == story.a.name else "to"
    return Deal(terms, encoded, signed, trade.member_entries(terms, role, member))


def test_a_hold_twice_is_named(evil_a: Evil, story: Story) -> None:
    made, index = deal(story), evil_a.size
    evil_a.write(lambda tx: held_again(tx, made.encoded, made.signatures, made.legs))
    evil_a.write(lambda tx: held_again(tx, made.encoded, made.signatures, made.legs), 200_000)
    expected = f"record {index + 1}: a second hold of one trade: expected one hold, found two"
    assert found_in(evil_a.conn) == expected


def test_a_hold_after_the_end_is_named(evil_a: Evil) -> None:
    hold = evil_a.record("hold")
    terms = trade.decode_terms(bytes(hold.terms))
    legs = trade.member_entries(terms, "from", ALICE)
    signatures = (hold.from_signature, hold.to_signature)
    evil_a.write(lambda tx: held_again(tx, bytes(hold.terms), signatures, legs))
    expected = "its status: expected no such log: ('hold', 'settle', 'hold'), found SETTLED"
    assert found_in(evil_a.conn).endswith(expected)


def test_a_hold_after_a_no_hold_is_named(evil_a: Evil) -> None:
    no_hold = evil_a.record("no-hold")
    terms = trade.decode_terms(bytes(no_hold.terms))
    legs = trade.member_entries(terms, "from", ALICE)
    signatures = (no_hold.from_signature, no_hold.to_signature)
    evil_a.write(lambda tx: held_again(tx, bytes(no_hold.terms), signatures, legs))
    assert "its status: expected no such log: ('no-hold', 'hold')" in found_in(evil_a.conn)


def no_hold_of(made: Deal) -> Callable[[Tx], None]:
    def append(tx: Tx) -> None:
        record = records.NoHoldRecord(tx.minute, msgspec.Raw(made.encoded), *made.signatures)
        subject = trade.subject_of(made.encoded)
        logs.keep_statement(tx, OWN_LOG, tx.append(record), subject, "no-hold")

    return append


def test_a_no_hold_after_a_hold_is_named(evil_a: Evil, story: Story) -> None:
    made, index = deal(story), evil_a.size
    evil_a.write(lambda tx: held_again(tx, made.encoded, made.signatures, made.legs))
    evil_a.write(no_hold_of(made), later_ms=200_000)
    assert found_in(evil_a.conn).startswith(
        f"record {index + 1}: a no-hold of a trade that is held"
    )


def test_a_no_hold_by_the_other_side_is_named(evil_b: Evil, story: Story) -> None:
    made, index = deal(story), evil_b.size
    evil_b.write(no_hold_of(made))
    expected = f"record {index}: who says no-hold: expected ose-missouri-001, found ose-california"
    assert found_in(evil_b.conn).startswith(expected)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda made: made._replace(legs=made.legs[:1]), "its sealed legs"),
        (lambda made: made._replace(legs=[]), "its sealed legs"),
        (
            lambda made: made._replace(legs=trade.member_entries(made.terms, "from", "treasury")),
            "who is bound by it: expected a member, found treasury",
        ),
        (
            lambda made: made._replace(signatures=made.signatures[::-1]),
            "its terms: expected well-f",
        ),
        (
            lambda made: made._replace(encoded=b"[" + made.encoded + b"]"),
            "its terms: expected well-fo",
        ),
    ],
    ids=["fewer legs", "no legs", "treasury", "signatures", "terms"],
)
def test_a_hold_that_does_not_follow_from_its_terms_is_named(
    evil_a: Evil, story: Story, spoil: Callable[[Deal], Deal], expected: str
) -> None:
    made, index = spoil(deal(story)), evil_a.size
    evil_a.write(lambda tx: held_again(tx, made.encoded, made.signatures, made.legs))
    assert found_in(evil_a.conn).startswith(f"record {index}: {expected}")


@pytest.mark.parametrize(
    ("operation", "changes"),
    [("pay", ()), ("trade", (LimitChange(ALICE, "AT", 5),))],
)
def test_a_hold_with_another_posting_is_named(
    evil_a: Evil,
    story: Story,
    operation: records.Operation,
    changes: tuple[LimitChange, ...],
) -> None:
    made, index = deal(story), evil_a.size

    def hold(tx: Tx) -> None:
        posting = Posting(operation, tx.stamp_ms, tuple(made.legs), changes)
        append_hold(tx, made.encoded, made.signatures, posting)

    evil_a.write(hold)
    assert found_in(evil_a.conn).startswith(f"record {index}: its sealed legs: ")


def test_a_hold_in_the_minute_of_its_deadline_is_in_time(evil_a: Evil, story: Story) -> None:
    minute = (evil_a.village.now_ms + 100_000) // 60_000
    made = deal(story, deadline_minute=minute)
    evil_a.write(lambda tx: held_again(tx, made.encoded, made.signatures, made.legs))
    assert "a statement (hold) about it" in found_in(evil_a.conn)  # that is all that is wrong


@pytest.mark.parametrize("raised", [False, True])
def test_more_set_aside_than_there_is_is_named(evil_a: Evil, story: Story, raised: bool) -> None:
    """The rows agree with each other, but not with the one rule."""
    amount = 90_000_00
    made = deal(story, offer=trade.Quantity("AT", "token", 2, amount), from_fee=0, trade_id="evil")

    def propose(tx: Tx) -> None:
        if raised:
            desk.set_limit(tx, "Alice", "AT", "1")
        people = ("Alice", "Bob")
        signature = made.signatures[0]
        trades.add(tx, made.encoded, made.terms, "from", signature, people, 1, reserved=True)
        for account, asset, more in ((ALICE, "AT", amount), (CLEARING, PANEL, 1)):
            tx.run(
                "UPDATE balance SET reserved = reserved + ? WHERE account = ? AND asset = ?",
                more,
                account,
                asset,
            )

    evil_a.write(propose)
    expected = "balance of member:1 in AT: what is left of its limit: expected 0 or more, found -"
    assert found_in(evil_a.conn).startswith(expected)


SEAT_KEYS = tuple(crypto.SecretKey(bytes([n] * 32)) for n in (1, 2))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"deadline_minute": START_MS // 60_000}, "its minute: expected "),
        (
            {"request": trade.Quantity("SOLAR-PANEL", "resource", 1, 10)},
            "its asset: expected ",
        ),
        ({"request": trade.Quantity("GOLD", "resource", 0, 1)}, "its asset: expected one in the "),
        (
            {"offer": trade.Quantity("AT", "token", 2, 90_000_00)},
            "the net debit of member:1 in AT: expected 0 at most",
        ),
        (
            {"request": trade.Quantity("SOLAR-PANEL", "resource", 0, 11)},
            "the net debit of clearing:ose-california-001 in SOLAR-PANEL: expected 10 at most",
        ),
    ],
    ids=["deadline", "decimals", "unknown asset", "overdraft", "line"],
)
def test_a_hold_that_should_not_have_been_is_named(
    evil_a: Evil, story: Story, changes: dict[str, Any], expected: str
) -> None:
    made, index = deal(story, **changes), evil_a.size
    evil_a.write(lambda tx: held_again(tx, made.encoded, made.signatures, made.legs))
    assert found_in(evil_a.conn).startswith(f"record {index}: {expected}")


def test_a_hold_of_others_is_named(evil_a: Evil, story: Story) -> None:
    seats = tuple(
        council.Seat(name, key.public)
        for name, key in zip(("ose-ohio-001", "ose-texas-001"), SEAT_KEYS, strict=True)
    )
    made = deal(story, from_village="ose-ohio-001", to_village="ose-texas-001", seats=seats)
    index = evil_a.size
    signatures = (SEAT_KEYS[0].sign(made.encoded), SEAT_KEYS[1].sign(made.encoded))
    evil_a.write(lambda tx: held_again(tx, made.encoded, signatures, made.legs))
    assert found_in(evil_a.conn).startswith(f"record {index}: the parties: ")


def test_a_hold_with_another_key_in_our_seat_is_named(evil_a: Evil, story: Story) -> None:
    [seat, other] = deal(story).terms.seats
    made = deal(story, seats=(council.Seat(seat.village, SEAT_KEYS[0].public), other))
    index = evil_a.size
    signatures = (SEAT_KEYS[0].sign(made.encoded), made.signatures[1])
    evil_a.write(lambda tx: held_again(tx, made.encoded, signatures, made.legs))
    assert found_in(evil_a.conn).startswith(f"record {index}: this village's seat: ")


def test_a_hold_that_no_row_knows_is_named(evil_a: Evil, story: Story) -> None:
    made = deal(story)
    evil_a.write(lambda tx: held_again(tx, made.encoded, made.signatures, made.legs))
    subject = trade.subject_of(made.encoded).hex()[:16]
    expected = f"trade {subject}: a statement (hold) about it: expected the trade's row, found none"
    assert found_in(evil_a.conn) == expected


def test_another_key_in_our_seat_of_a_proposal_is_named(evil_a: Evil, story: Story) -> None:
    [seat, other] = deal(story).terms.seats
    seats = (council.Seat(seat.village, SEAT_KEYS[0].public), other)
    made = deal(story, seats=seats, trade_id="evil")
    signature = SEAT_KEYS[0].sign(made.encoded)

    def propose(tx: Tx) -> None:
        trades.add(tx, made.encoded, made.terms, "from", signature, ("", ""), 1, reserved=True)

    evil_a.write(propose)
    assert "this village's seat: expected " in found_in(evil_a.conn)


def test_held_before_the_other_side_is_bound_is_named(b: sqlite3.Connection) -> None:
    b.execute("UPDATE trade SET status = 'HELD' WHERE status = 'ACCEPTED'")
    assert found_in(b).endswith("its status: expected ACCEPTED, found HELD")


def test_another_certificate_than_the_records_is_named(b: sqlite3.Connection) -> None:
    """It holds too, with its votes in another order: but it is not what was appended."""
    for status in ("SETTLED", "ABORTED"):
        where = "WHERE status = ?"
        [text] = b.execute(f"SELECT certificate FROM trade {where}", (status,)).fetchone()
        stored = msgspec.json.decode(text, type=council.Certificate)
        turned = msgspec.structs.replace(stored, precommits=stored.precommits[::-1])
        change = f"UPDATE trade SET certificate = ? {where}"
        b.execute(change, (canonical.encode(turned), status))
        assert ": its certificate: expected Certificate(value=" in found_in(b)
        b.execute(change, (text, status))
    agreed(b)


# What another village's log says


def told_by(evil: Evil, hearer: Village, copy: sqlite3.Connection) -> None:
    """Push an evil village's log to the other's database."""
    push = logs.push_for(View(evil.conn), logs.size_of(View(copy), COPY))
    assert push is not None
    identity = evil.village.identity

    def take(tx: Tx) -> None:
        logs.take_in(tx, COPY, identity.village, identity.key.public, push)

    Evil(hearer, copy).write(take)


def test_what_a_neighbour_contradicts_without_a_certificate_is_its_own_affair(
    evil_a: Evil, story: Story, b: sqlite3.Connection
) -> None:
    settle = evil_a.record("settle")
    evil_a.write(end(records.ReleaseRecord, settle.subject, settle.certificate))
    unsigned = msgspec.structs.replace(settle.certificate, precommits=())
    for kind in (records.SettleRecord, records.ReleaseRecord):
        evil_a.write(end(kind, bytes(32), unsigned))
    told_by(evil_a, story.b, b)
    agreed(b)


def test_a_certificate_of_another_value_is_named(
    evil_a: Evil, story: Story, b: sqlite3.Connection
) -> None:
    settle, index = evil_a.record("settle"), evil_a.size
    other = votes_for(story, settle.subject, "ABORT")
    evil_a.write(end(records.SettleRecord, settle.subject, other))
    told_by(evil_a, story.b, b)
    assert found_in(b) == (
        f"trade {settle.subject.hex()[:16]}: the certificate in record {index} of "
        "ose-missouri-001: expected COMMIT, found ABORT"
    )


def test_what_means_nothing_in_another_log_is_left_alone(
    evil_a: Evil, story: Story, b: sqlite3.Connection
) -> None:
    """Opaque bytes, an end without a certificate: the neighbour's doing, and no difference here."""
    settle = evil_a.record("settle")
    forged = _forged(votes_for(story, settle.subject, "ABORT"))

    def write(tx: Tx) -> None:
        raw(b"\xff\x00")(tx)
        end(records.SettleRecord, settle.subject, forged)(tx)

    evil_a.write(write)
    evil_a.write(
        lambda tx: tx.append(records.SettleRecord(tx.minute, b"short", settle.certificate)),
        later_ms=300_000,
    )
    told_by(evil_a, story.b, b)
    agreed(b)


def test_a_copy_that_begins_with_another_record_is_named(b: sqlite3.Connection) -> None:
    key = crypto.SecretKey(bytes(32))
    record = records.encode(records.VillageRecord(1, "ose-ohio-001", bytes(32)))
    head = checkpoint.Checkpoint("ose-texas-001", 1, merkle.leaf_hash(record))
    b.execute("INSERT INTO log VALUES (2, 'ose-texas-001', ?)", (key.public,))
    row = (position(2, 0, 0), merkle.leaf_hash(record), record)
    b.execute("INSERT INTO entry VALUES (?, ?, ?)", row)
    note = checkpoint.sign_checkpoint(head, key)
    b.execute("INSERT INTO checkpoint VALUES (2, 1, ?, ?)", (head.root, note))
    assert found_in(b).startswith("the copy of ose-texas-001, record 0: whose log it is: expected ")
    asset = records.encode(records.AssetRecord(1, "AT", "token", 2))
    for other in (b"\x00", asset):
        change = "UPDATE entry SET leaf = ?, record = ? WHERE position = ?"
        b.execute(change, (merkle.leaf_hash(other), other, position(2, 0, 0)))
        where = "the copy of ose-texas-001, record 0: whose log it is: expected "
        assert found_in(b).startswith(where)
