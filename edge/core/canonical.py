"""JSON in one accepted form: decode strictly, print again, compare.

Everything signed or logged is JSON with fixed field order and no spaces; bytes are base64 (RFC 4648
section 4) with padding. Two different byte strings never mean the same thing.
"""

from typing import Final, Generic, TypeVar

import msgspec

from edge.errors import Malformed, TooLarge

T = TypeVar("T")

# All that decoding may raise over bytes that are not the message: msgspec leaves text that is not
# UTF-8 to Python's own error.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_encoder = msgspec.json.Encoder(decimal_format="string")


def encode(value: object) -> bytes:
    """Return the one accepted form of `value`."""
    return _encoder.encode(value)


class Codec(Generic[T]):
    """Encoder and strict decoder for one type."""

    __slots__ = ("_bytes_max", "_decoder", "_name")

    def __init__(self, type_: type[T], name: str, bytes_max: int) -> None:
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(type_)
        self._name = name
        self._bytes_max = bytes_max

    def decode(self, data: bytes) -> T:
        """Return the value. Raises TooLarge above the limit, Malformed if not in canonical form."""
        if len(data) > self._bytes_max:
            raise TooLarge(f"{self._name} is over {self._bytes_max} bytes")
        try:
            value = self._decoder.decode(data)
        except UNREADABLE as error:
            raise Malformed(f"{self._name}: {str(error)[:200]}") from None
        if _encoder.encode(value) != data:
            raise Malformed(f"{self._name} is not in canonical form")
        return value
