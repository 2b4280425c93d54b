"""Keys, signatures, sealing, PIN hashes: the only module that knows libsodium (PyNaCl)."""

import hashlib
import hmac
from functools import lru_cache
from typing import Final

import nacl.bindings
import nacl.exceptions
import nacl.pwhash

from edge.errors import BadSignature, InvalidInput

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
NONCE_BYTES: Final = 32
REMEMBERED_BYTES_MAX: Final = 2_048


class SecretKey:
    """An Ed25519 key (RFC 8032) made from its 32-byte seed."""

    __slots__ = ("_expanded", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEY_BYTES:
            raise InvalidInput("an Ed25519 seed has 32 bytes")
        self.seed: Final = seed
        self.public, self._expanded = nacl.bindings.crypto_sign_seed_keypair(seed)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of `message`."""
        signed: bytes = nacl.bindings.crypto_sign(message, self._expanded)
        return signed[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"SecretKey(public={self.public.hex()})"


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether `signature` is the Ed25519 signature of `message` under `public`.

    Short messages are remembered, since seats pass on what others have signed.
    """
    if len(signature) != SIGNATURE_BYTES or len(public) != KEY_BYTES:
        return False
    if len(message) <= REMEMBERED_BYTES_MAX:
        return _verify_remembered(public, message, signature)
    return _verify(public, message, signature)


def _verify(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        nacl.bindings.crypto_sign_open(signature + message, public)
    except nacl.exceptions.BadSignatureError:
        return False
    return True


_verify_remembered = lru_cache(1_024)(_verify)


def sha256(data: bytes) -> bytes:
    """Return the 32-byte SHA-256 (FIPS 180-4)."""
    return hashlib.sha256(data).digest()


def commitment(nonce: bytes, private: bytes) -> bytes:
    """Return SHA-256(nonce || private bytes), the public side of a sealed part."""
    assert len(nonce) == NONCE_BYTES
    return hashlib.sha256(nonce + private).digest()


def derive(secret: bytes, purpose: str) -> bytes:
    """Return a 32-byte key for one purpose from a longer-lived secret (HKDF-Expand, RFC 5869)."""
    return hmac.digest(secret, purpose.encode() + b"\x01", "sha256")


def same(left: bytes, right: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(left, right)


class Sealer:
    """Seals a stream of parts under a 32-byte key (libsodium's secretstream, XChaCha20-Poly1305):
    none can be altered, left out, moved or cut off unseen. `header` goes before them; libsodium's
    own generator makes it."""

    __slots__ = ("_state", "header")

    def __init__(self, key: bytes) -> None:
        self._state = nacl.bindings.crypto_secretstream_xchacha20poly1305_state()
        self.header: Final[bytes] = nacl.bindings.crypto_secretstream_xchacha20poly1305_init_push(
            self._state, key
        )

    def seal(self, part: bytes, about: bytes = b"", *, is_last: bool = False) -> bytes:
        """Return the part sealed, SEAL_BYTES longer; `about` is not kept, but must be the same when
        it is opened."""
        tag = _LAST if is_last else _MORE
        sealed: bytes = nacl.bindings.crypto_secretstream_xchacha20poly1305_push(
            self._state, part, about or None, tag
        )
        return sealed


class Opener:
    """Opens what a Sealer has sealed, in order."""

    __slots__ = ("_state",)

    def __init__(self, key: bytes, header: bytes) -> None:
        self._state = nacl.bindings.crypto_secretstream_xchacha20poly1305_state()
        nacl.bindings.crypto_secretstream_xchacha20poly1305_init_pull(self._state, header, key)

    def open(self, sealed: bytes, about: bytes = b"") -> tuple[bytes, bool]:
        """Return the next part, and whether it is the last. Raises BadSignature."""
        try:
            part, tag = nacl.bindings.crypto_secretstream_xchacha20poly1305_pull(
                self._state, sealed, about or None
            )
        except (nacl.exceptions.CryptoError, ValueError):
            raise BadSignature("the part is not as it was sealed") from None
        return part, tag == _LAST


SEAL_HEADER_BYTES: Final[int] = nacl.bindings.crypto_secretstream_xchacha20poly1305_HEADERBYTES
SEAL_BYTES: Final[int] = nacl.bindings.crypto_secretstream_xchacha20poly1305_ABYTES
_LAST: Final[int] = nacl.bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL
_MORE: Final[int] = nacl.bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE


def hash_pin(pin: str) -> str:
    """Return an Argon2id hash in its own text form (RFC 9106).

    Takes tens of milliseconds and PIN_MEMORY_BYTES. The salt comes from libsodium's own
    generator, since the text form carries it.
    """
    return nacl.pwhash.argon2id.str(pin.encode(), opslimit=3, memlimit=PIN_MEMORY_BYTES).decode(
        "ascii"
    )


def check_pin(pin_hash: str, pin: str) -> bool:
    """Tell whether `pin` matches; takes as long as hashing."""
    try:
        return nacl.pwhash.verify(pin_hash.encode("ascii"), pin.encode())
    except nacl.exceptions.InvalidkeyError:
        return False


PIN_MEMORY_BYTES: Final = 16 * 1024 * 1024  # a 512 MB box may check two at a time


def signed_bytes(context: str, network: bytes, payload: bytes) -> bytes:
    """Return what is signed for a payload that does not itself begin with context and network."""
    return b"\n".join((context.encode(), network.hex().encode(), payload))
