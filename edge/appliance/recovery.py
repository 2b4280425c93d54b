"""The recovery phrase: twelve words from which a village's identity key derives (BIP 39)."""

from edge.core import crypto
from edge.errors import InvalidInput

ENTROPY_BYTES = 16
IDENTITY_PURPOSE = "village-edge/identity/v1"


def phrase_of(entropy: bytes) -> str:
    """Return the twelve words for ENTROPY_BYTES random bytes."""
    from mnemonic import Mnemonic

    assert len(entropy) == ENTROPY_BYTES
    return Mnemonic("english").to_mnemonic(entropy)


def identity_seed(phrase: str) -> bytes:
    """Return the 32-byte seed of the identity key. Raises InvalidInput if a word or the phrase's
    checksum is wrong."""
    from mnemonic import Mnemonic

    words = " ".join(phrase.lower().split())
    if not Mnemonic("english").check(words):
        raise InvalidInput("this is not a recovery phrase: check the words and their order")
    return crypto.derive(Mnemonic.to_seed(words), IDENTITY_PURPOSE)
