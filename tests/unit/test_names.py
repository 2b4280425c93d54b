"""The texts that stand for things: one accepted form each, and every look-alike refused."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core import limits, names
from edge.errors import InvalidAmount, InvalidInput

MAX = limits.AMOUNT_MINOR_MAX


# Amounts


@pytest.mark.parametrize(
    ("value", "decimals", "minor"),
    [
        ("1", 2, 100),
        ("1.5", 2, 150),
        ("1.50", 2, 150),
        ("0.05", 2, 5),
        ("100", 0, 100),
        ("0.000001", 6, 1),
        ("10000000000", 2, MAX),
        ("10000000000.00", 2, MAX),
        (100, 2, 10_000),
        (1, 0, 1),
        (Decimal("100.10"), 2, 10_010),
        (Decimal("1E+2"), 2, 10_000),
        (Decimal("5E-2"), 2, 5),
        (Decimal(1000000000000), 0, MAX),
    ],
)
def test_amounts(value: Any, decimals: int, minor: int) -> None:
    assert names.amount(value, decimals, "AT") == minor


LONGEST_HOST = ".".join(["a" * 63] * 3 + ["b" * 61])
BAD_AMOUNTS: list[Any] = [
    # zero and below, in every dress
    *("0", "0.0", "0.00", 0, Decimal(0), Decimal("0E+5"), Decimal("-0")),
    *("-1", "-0", -1, Decimal(-1), Decimal("-0.01")),
    # what Python would read as a number
    *("+7", "1_0", " 1", "1 ", "1\n", "\t1", "1e3", "1E3", "1.", ".5", "0x1", "0b1", "1j", "1L"),
    *("01", "00", "00.1", "1.0.0", "1,5", "1,000", "1 000", "1'000"),
    *("١", "１", "１.５", "²", "½", "Ⅷ", "1\u200b", "\u202d1", "1.٥"),
    *("NaN", "nan", "inf", "Infinity", "sNaN", "", " ", "-", ".", "AT"),
    # too many decimals
    *("1.001", "1.000", Decimal("0.001"), Decimal("1.000"), Decimal("1E-30")),
    # too much
    *("10000000000.01", "10000000001", "9" * 19, "9" * 5_000, "1" + "0" * 100_000),
    *(10**10 + 1, 10**18, 10**30, 10**31, 10**5_000, -(10**5_000)),
    *(Decimal("1E+30"), Decimal("1E+31"), Decimal("1E+999999"), Decimal("1E-999999")),
    *(Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("-Infinity")),
    # what is no number at all
    *(True, False, None, 1.0, float("nan"), b"1", [], ["1"], {}, ...),
]


@pytest.mark.parametrize(
    "value",
    BAD_AMOUNTS,
    ids=lambda value: (
        repr(value)[:24] if not isinstance(value, int) or abs(value) < 10**30 else "huge"
    ),
)
def test_bad_amounts(value: Any) -> None:
    with pytest.raises(InvalidAmount) as error:
        names.amount(value, 2, "AT")
    assert len(error.value.detail) < 200


def test_plain_numbers() -> None:
    """As digits, and nothing that would make a long text of a short one."""
    good = [("a", "a"), (100, "100"), (Decimal("1E+2"), "100"), (Decimal("100.10"), "100.10")]
    good += [(10**30, "1" + "0" * 30), (Decimal("1E+30"), "1" + "0" * 30)]
    for value, text in good:
        assert names.plain_number(value) == text
    bad: list[Any] = [True, 1.5, None, 10**30 + 1, Decimal("NaN"), Decimal("-Infinity")]
    for value in [*bad, Decimal("1E+31"), Decimal("1E-31"), Decimal("1E+999999")]:
        with pytest.raises(InvalidAmount):
            names.plain_number(value)


def test_zero_is_a_limit_but_no_amount() -> None:
    for zero in ("0", "0.00", 0, Decimal("0.0")):
        assert names.signless_amount(zero, 2, "AT") == 0
        with pytest.raises(InvalidAmount, match="the amount of AT must be more than zero"):
            names.amount(zero, 2, "AT")


def test_too_many_decimals_says_how_many_there_are() -> None:
    with pytest.raises(InvalidAmount, match=r"'1\.5' has too many decimals: Panel has no decimals"):
        names.amount("1.5", 0, "PANEL")
    with pytest.raises(InvalidAmount, match=r"'1\.505' has too many decimals: AT has 2 decimals"):
        names.amount("1.505", 2, "AT")


@given(st.integers(1, MAX), st.integers(0, limits.DECIMALS_MAX))
def test_what_is_shown_is_read(minor: int, decimals: int) -> None:
    text = names.amount_text(minor, decimals)
    assert names.amount(text, decimals, "AT") == minor
    assert names.amount(Decimal(text), decimals, "AT") == minor
    assert names.amount_text(-minor, decimals) == f"-{text}"


@given(st.text(), st.integers(0, limits.DECIMALS_MAX))
def test_any_text_is_an_amount_or_is_refused(text: str, decimals: int) -> None:
    try:
        minor = names.amount(text, decimals, "AT")
    except InvalidAmount:
        return
    assert Decimal(text).scaleb(decimals) == minor
    assert text.isascii()


@given(st.one_of(st.integers(), st.decimals(), st.floats(), st.booleans(), st.none(), st.binary()))
def test_any_value_is_an_amount_or_is_refused(value: Any) -> None:
    try:
        minor = names.amount(value, 2, "AT")
    except InvalidAmount:
        return
    assert isinstance(value, int | Decimal)
    assert minor == value * 100


@pytest.mark.parametrize(
    ("minor", "decimals", "text"),
    [
        (10_000, 2, "100.00"),
        (5, 2, "0.05"),
        (-5, 2, "-0.05"),
        (0, 2, "0.00"),
        (7, 0, "7"),
        (0, 0, "0"),
    ],
)
def test_amounts_as_they_are_shown(minor: int, decimals: int, text: str) -> None:
    assert names.amount_text(minor, decimals) == text


# Names

GOOD: list[tuple[names.Check, list[str]]] = [
    (names.village_id, ["ose-missouri-001", "a-000", "a1-b2-999", "x" * 59 + "-001"]),
    (names.new_member_name, ["Alice", "O'Neill"]),
    (names.member_name, ["Bad@name"]),
    (names.member_name, ["Alice", "Bob Smith", "Zoë", "Ὀδυσσεύς", "李雷", "O'Neill", "x" * 60]),
    (names.village_name, ["OSE Missouri", "x" * 80, "Dorf ☀"]),
    (names.note_text, ["", "for the cheese", "x" * 200, "50% → 5"]),
    (names.trade_id, ["a", "trade-1", "A.b_c-9", "x" * 64]),
    (
        names.address,
        [
            LONGEST_HOST + ":1",
            "a:1",
            "missouri.example:7440",
            "10.0.0.1:65535",
            "[2001:db8::1]:7440",
        ],
    ),
]
BAD: list[tuple[names.Check, list[str]]] = [
    (
        names.village_id,
        [
            *("", "ose", "001", "-001", "ose-1", "ose-01", "ose-0001", "ose-00a", "1ose-001"),
            *("Ose-001", "ose--001", "-ose-001", "ose-001-", "ose_missouri-001", "ose.a-001"),
            *("ose-001\n", " ose-001", "ose-٠٠١", "öse-001", "ose-001\x00", "x" * 60 + "-001"),
        ],
    ),
    (names.new_member_name, ["", "Bad@name", "@", "Bad＠name", " Alice"]),
    (names.member_name, ["", " ", "Al  ice", " Alice", "Alice ", "x" * 61, "A\x00", "A\u200dB"]),
    (
        names.member_name,
        ["A\nB", "A\u2028B", "A\u202eB", "Rene\u0301", "\ue000", "A\ud800", "\u0378"],
    ),
    (names.village_name, ["", "x" * 81, "a\tb"]),
    (names.note_text, [" ", "x" * 201, "a\nb", "a\x1bb"]),
    (names.trade_id, ["", "-a", ".a", "a b", "a/b", "é", "a\n", "x" * 65]),
    (
        names.address,
        [
            *("", "a", "a:", ":1", "a:0", "a:01", "a:65536", "a:123456", "A:1", "-a:1", "a-:1"),
            *("a b:1", "a:1\n", "http://a:1", "a:1/x", "::1:80", "[::1]", "[]:1", "[g h]:1"),
            *(
                "a:١",
                "a" * 300 + ":1",
                "a@b:1",
                "a:1:2",
                "[zzz]:1",
                "[fe80::1%eth0]:1",
                "[1.2.3.4]:1",
            ),
            *("a..b:1", ".a:1", "a.:1", "a" * 64 + ":1", "a-.b:1", "256.1.1.1:1", "1.2.3:1"),
            *("01.2.3.4:1", "b" + LONGEST_HOST + ":1"),
        ],
    ),
]


@pytest.mark.parametrize(("check", "text"), [(c, t) for c, texts in GOOD for t in texts])
def test_good_texts(check: names.Check, text: str) -> None:
    assert check(text) == text
    assert names.accepts(check, text)


@pytest.mark.parametrize(("check", "text"), [(c, t) for c, texts in BAD for t in texts])
def test_bad_texts(check: names.Check, text: str) -> None:
    with pytest.raises(InvalidInput) as error:
        check(text)
    assert len(error.value.detail) < 200
    assert not names.accepts(check, text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Solar Panel", "SOLAR-PANEL"),
        ("SOLAR-PANEL", "SOLAR-PANEL"),
        ("solar_panel", "SOLAR-PANEL"),
        ("  solar   panel ", "SOLAR-PANEL"),
        ("at", "AT"),
        ("M8 bolt", "M8-BOLT"),
        ("x" * 32, "X" * 32),
    ],
)
def test_asset_codes(text: str, code: str) -> None:
    assert names.asset_code(text) == code
    assert names.asset_code(code) == code
    assert names.is_asset_code(code)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-",
        "8 bolts",
        "Solar/Panel",
        "-A",
        "A-",
        "_a",
        "Panneau é",
        "ＡＴ",
        "А",
        "x" * 33,
        "A\x00",
    ],
)
def test_bad_asset_codes(text: str) -> None:
    with pytest.raises(InvalidInput):
        names.asset_code(text)
    assert not names.is_asset_code(text)
    assert not names.is_asset_code(text.upper() if len(text) > 1 else text)


@given(st.text())
def test_an_asset_code_stays_what_it_is(text: str) -> None:
    try:
        code = names.asset_code(text)
    except InvalidInput:
        return
    assert names.is_asset_code(code)
    assert names.asset_code(code) == code


@pytest.mark.parametrize("check", [check for check, _ in GOOD])
@given(text=st.text())
def test_any_text_is_one_or_is_refused(check: Callable[[str], str], text: str) -> None:
    try:
        found = check(text)
    except InvalidInput:
        return
    assert found == text
