"""The texts that stand for things: village ids, members, asset codes, amounts.

Each parser has one accepted form for each value and raises InvalidInput for the rest.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

from edge.core import limits
from edge.errors import InvalidAmount, InvalidInput

Check = Callable[[str], str]

TOKEN = "AT"
TOKEN_DECIMALS = 2

_VILLAGE_ID = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*-[0-9]{3}")
_ASSET_CODE = re.compile(r"[A-Z][A-Z0-9]*(?:-[A-Z0-9]+)*")
_AMOUNT = re.compile(r"(0|[1-9][0-9]*)(?:\.([0-9]+))?")
_TRADE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ADDRESS = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]+)):([1-9][0-9]{0,4})")
HOST_CHARS_MAX = 253  # RFC 1035 section 2.3.4
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def village_id(text: str) -> str:
    """Check lower-case words and a three-digit number, a DNS label: `ose-missouri-001`."""
    if len(text) > limits.VILLAGE_ID_CHARS_MAX or not _VILLAGE_ID.fullmatch(text):
        raise InvalidInput(
            f"{_shown(text)} is not a village id: lower-case words and a three-digit number, "
            "such as ose-missouri-001"
        )
    return text


def member_name(text: str) -> str:
    """Check a person's name as shown to others: printable, trimmed, in Unicode's NFC form."""
    return line(text, "name", limits.MEMBER_NAME_CHARS_MAX)


def new_member_name(text: str) -> str:
    """Check the name of somebody who becomes a member: as `member_name`, and without the `@` that
    divides it from the village in NAME@VILLAGE."""
    if "@" in unicodedata.normalize("NFKC", text):
        raise InvalidInput(
            f"{_shown(text)} has an @ in it, by which others tell a name from its village: "
            "choose one without"
        )
    return member_name(text)


def village_name(text: str) -> str:
    """Check a village's name as shown to others: printable, trimmed, in Unicode's NFC form."""
    return line(text, "village name", limits.VILLAGE_NAME_CHARS_MAX)


def note_text(text: str) -> str:
    """Check a payment's note: one printable line, or nothing."""
    return line(text, "note", limits.NOTE_TEXT_CHARS_MAX) if text else ""


def trade_id(text: str) -> str:
    """Check what a program calls a trade: letters, digits, `.`, `_` and `-`."""
    if len(text) > limits.TRADE_ID_CHARS_MAX or not _TRADE_ID.fullmatch(text):
        raise InvalidInput(f"{_shown(text)} is not a trade id: letters, digits, '.', '_' and '-'")
    return text


def asset_code(text: str) -> str:
    """Return the catalogue code of a name: `Solar Panel` and `SOLAR-PANEL` give SOLAR-PANEL."""
    code = re.sub(r"[\s_-]+", "-", text.strip()).upper()
    if len(code) > limits.ASSET_CODE_CHARS_MAX or not _ASSET_CODE.fullmatch(code):
        raise InvalidInput(
            f"{_shown(text)} is not an asset: letters, digits and spaces, "
            f"at most {limits.ASSET_CODE_CHARS_MAX}"
        )
    return code


def is_asset_code(text: str) -> bool:
    """Tell whether this is a catalogue code in its one form: `SOLAR-PANEL`."""
    return len(text) <= limits.ASSET_CODE_CHARS_MAX and bool(_ASSET_CODE.fullmatch(text))


def asset_text(code: str) -> str:
    """Return `Solar Panel` for SOLAR-PANEL, which `asset_code` takes back; AT stays AT."""
    return code if code == TOKEN else code.replace("-", " ").title()


def address(text: str) -> str:
    """Check `host:port` or `[ipv6]:port`, lower-case."""
    match = _ADDRESS.fullmatch(text)
    well_formed = (
        len(text) <= limits.ADDRESS_CHARS_MAX
        and match is not None
        and int(match[3]) <= 65_535
        and (_is_ipv6(match[1]) if match[1] else _is_host(match[2]))
    )
    if not well_formed:
        raise InvalidInput(f"{_shown(text)} is not an address: host:port")
    return text


def amount(value: str | int | Decimal, decimals: int, asset: str) -> int:
    """Return the minor units of a positive amount written as `100`, `100.5` or `0.05`.

    Raises InvalidAmount for zero, negative, more decimals than the asset has, and anything above
    AMOUNT_MINOR_MAX.
    """
    minor = signless_amount(value, decimals, asset)
    if minor == 0:
        raise InvalidAmount(f"the amount of {asset_text(asset)} must be more than zero")
    return minor


def signless_amount(value: str | int | Decimal, decimals: int, asset: str) -> int:
    """Like `amount`, and zero is allowed (limits)."""
    text = plain_number(value)
    what = asset_text(asset)
    match = _AMOUNT.fullmatch(text)
    if not match:
        raise InvalidAmount(f"{_shown(text)} is not an amount of {what}: write it like 100 or 2.50")
    whole, part = match[1], match[2] or ""
    if len(part) > decimals:
        places = f"{decimals} decimals" if decimals else "no decimals"
        raise InvalidAmount(f"{_shown(text)} has too many decimals: {what} has {places}")
    if len(whole) > 18:
        raise InvalidAmount(f"the amount of {what} is too large")
    minor = int(whole + part.ljust(decimals, "0"))
    if minor > limits.AMOUNT_MINOR_MAX:
        raise InvalidAmount(f"the amount of {what} is too large")
    return minor


def amount_text(minor: int, decimals: int) -> str:
    """Return `100.00` for 10000 minor units of 2 decimals; negative with a leading minus."""
    sign, digits = ("-" if minor < 0 else ""), str(abs(minor)).rjust(decimals + 1, "0")
    return sign + (f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits)


def plain_number(value: object) -> str:
    """Return a number as digits: text as it is, 100 as `100`, 1E+2 as `100`, 100.10 as `100.10`.

    Raises InvalidAmount for anything else, NaN, infinity, and what is too long to be an amount.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise InvalidAmount("an amount is a number")
    if isinstance(value, int) and abs(value) > 10**30:
        raise InvalidAmount("the amount is too large")
    if isinstance(value, Decimal):
        try:
            if not value.is_finite() or abs(value.adjusted()) > 30:
                raise InvalidAmount("the amount is not a plain number")
            return format(value, "f")
        except InvalidOperation:
            raise InvalidAmount("the amount is not a plain number") from None
    return str(value)


def _is_ipv6(text: str) -> bool:
    try:
        return bool(ipaddress.IPv6Address(text))
    except ValueError:
        return False


def _is_ipv4(text: str) -> bool:
    try:
        return bool(ipaddress.IPv4Address(text))
    except ValueError:
        return False


def _is_host(text: str) -> bool:
    """Tell whether this is an IPv4 address, or a name of labels that DNS can carry."""
    labels = text.split(".")
    if labels[-1].isdigit():
        return _is_ipv4(text)
    return len(text) <= HOST_CHARS_MAX and all(_LABEL.fullmatch(label) for label in labels)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def line(text: str, what: str, chars_max: int) -> str:
    """Check one line of text, as people see it. `what` names it in the error."""
    if not text or len(text) > chars_max:
        raise InvalidInput(f"the {what} must have 1 to {chars_max} characters")
    if text != text.strip() or "  " in text:
        raise InvalidInput(f"the {what} must not begin or end with a space, or have two in a row")
    if unicodedata.normalize("NFC", text) != text:
        raise InvalidInput(f"the {what} is not in Unicode's NFC form")
    if any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for c in text):
        raise InvalidInput(f"the {what} has a character that cannot be shown")
    return text


def accepts(check: Check, text: str) -> bool:
    """Tell whether one of this module's checks takes `text`."""
    try:
        check(text)
    except InvalidInput:
        return False
    return True
