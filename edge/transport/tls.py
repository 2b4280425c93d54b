"""Certificates, pins and TLS contexts: the only module that knows `ssl` and `cryptography`.

`cryptography` costs 8 MB and 35 ms, so it is imported where a certificate is made or read.
"""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp

from edge.core import crypto
from edge.errors import ConfigError, Malformed

if TYPE_CHECKING:
    from cryptography import x509

PIN_BYTES: Final = 32
_PEM_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"


def make_certificate(village: str, hosts: Iterable[str] = ()) -> tuple[bytes, bytes]:
    """Return (private key, self-signed certificate) as PEM, for ECDSA P-256.

    It names localhost, both loopback addresses, the village id with and without `.local`, and
    `hosts` (names or IP addresses). It is valid from 2000 to 2099: peers pin the key, and a box
    that wakes with a wrong clock must still be reachable. Key and serial are the library's random.
    Raises ConfigError for a host that no certificate can name.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, village)])
    own = ("localhost", "127.0.0.1", "::1", village, f"{village}.local")
    alternatives = dict.fromkeys([*own, *hosts])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2099, 12, 31, 23, 59, 59, tzinfo=datetime.UTC))
        .add_extension(
            x509.SubjectAlternativeName([_general_name(host) for host in alternatives]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return key_pem, certificate.public_bytes(serialization.Encoding.PEM)


def spki_pin(certificate: bytes) -> bytes:
    """Return the 32-byte SHA-256 of the SubjectPublicKeyInfo of a PEM or DER certificate.

    Raises Malformed if it cannot be read.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = certificate.lstrip().startswith(_PEM_BEGIN)
    try:
        read = (x509.load_pem_x509_certificate if pem else x509.load_der_x509_certificate)(
            certificate
        )
        key = read.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Malformed(f"the certificate cannot be read: {error}") from None
    return crypto.sha256(key)


def federation_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the server's context for other villages: TLS 1.3 only. Raises ConfigError."""
    context = _server_context(certificate, key, ssl.TLSVersion.TLSv1_3)
    context.num_tickets = 0  # a village keeps its connection instead of resuming a session
    return context


def page_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the server's context for the page on the LAN: TLS 1.2 and 1.3. Raises ConfigError.

    Phones before Android 10 and iOS 12.2 have no TLS 1.3, and the page is to open on them.
    """
    return _server_context(certificate, key, ssl.TLSVersion.TLSv1_2)


class SpkiPin(aiohttp.Fingerprint):
    """Give it to aiohttp as `ssl=`: no byte of a request leaves before the peer's key is checked.

    aiohttp then verifies no certificate chain; TLS 1.3 itself proves that the peer holds the key.
    Equal pins share a connection pool, other pins at the same address never do.
    """

    def check(self, transport: asyncio.Transport) -> None:
        """Raise PinMismatch unless the peer speaks TLS 1.3 with the pinned key."""
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        version = tls.version() if tls else None
        if tls is None or version != "TLSv1.3":
            raise self._mismatch(transport, b"", f"it speaks {version}, not TLS 1.3")
        try:
            seen = spki_pin(tls.getpeercert(binary_form=True) or b"")
        except Malformed as error:
            raise self._mismatch(transport, b"", error.detail) from None
        if not crypto.same(seen, self.fingerprint):
            raise self._mismatch(
                transport, seen, f"expected key {self.fingerprint.hex()}, seen {seen.hex()}"
            )

    def _mismatch(self, transport: asyncio.Transport, seen: bytes, reason: str) -> "PinMismatch":
        host, port, *_ = transport.get_extra_info("peername") or ("?", 0)
        return PinMismatch(self.fingerprint, seen, host, port, reason)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SpkiPin) and other.fingerprint == self.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)


class PinMismatch(aiohttp.ServerFingerprintMismatch):
    """The exception that aiohttp expects of a Fingerprint (it closes the connection), and why."""

    def __init__(self, expected: bytes, got: bytes, host: str, port: int, reason: str) -> None:
        super().__init__(expected, got, host, port)
        self.reason = reason


def _server_context(certificate: Path, key: Path, minimum: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"cannot load the TLS key from {certificate} and {key}: {error}"
        ) from None
    return context


def _general_name(host: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError:
        raise ConfigError(f"a certificate cannot name the host {host!r}") from None
