"""Where the next page of a list begins: text that only the box reads."""

import base64
import binascii

from edge.errors import InvalidInput


def encode(*parts: str | int) -> str:
    """Return a cursor of some texts without a line break, and numbers."""
    text = "\n".join(str(part) for part in parts)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str, count: int) -> list[str]:
    """Return the parts of a cursor that was made of so many. Raises InvalidInput."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        parts = base64.urlsafe_b64decode(padded.encode("ascii")).decode().split("\n")
    except (binascii.Error, ValueError):
        raise _refused() from None
    if len(parts) != count or encode(*parts) != cursor:
        raise _refused()
    return parts


def number(text: str) -> int:
    """Return a part that was a number. Raises InvalidInput."""
    if not text.isascii() or not text.isdigit() or len(text) > 16 or str(int(text)) != text:
        raise _refused()
    return int(text)


def _refused() -> InvalidInput:
    return InvalidInput("`next` is not what a page before gave", field="next")
