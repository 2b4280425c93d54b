"""Signed requests between villages: one strict profile of RFC 9421 and RFC 9530. Pure.

    Host: ose-california-001
    Content-Digest: sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:
    Signature-Input: sig=("@method" "@authority" "@path" "@query" "content-digest");created=
        1735689600;keyid="ose-missouri-001";nonce="AAECAwQFBgcICQoLDA0ODw";tag="village-edge"
    Signature: sig=:<64 bytes, base64>:

(one line each). `Host` is the receiver's village id, whatever the address: a signed request cannot
be passed on to a third village. The digest is there exactly when there is a body. A village without
a clock leaves out `created` and signs a nonce that the receiver issued. All else is Malformed.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeGuard

from edge.core import crypto, limits, names
from edge.errors import BadSignature, InvalidInput, Malformed

TAG: Final = "village-edge"
Fields: TypeAlias = Iterable[tuple[str, str]]  # header lines, a repeated one repeated

_METHOD = re.compile(r"[A-Z]{1,16}")
_AUTHORITY = re.compile(r"[a-z0-9._:%\[\]-]{1,255}")
_TARGET = re.compile(r"/[!\"$-~]*")  # visible ASCII without '#'
_INPUT = re.compile(
    r"sig=\(([^()]*)\)(?:;created=(0|[1-9][0-9]{0,14}))?"
    r';keyid="([^"]*)";nonce="([^"]*)";tag="village-edge"'
)
_DIGEST = re.compile(r"sha-256=:[A-Za-z0-9+/]{43}=:")
_NONCE = re.compile(r"[A-Za-z0-9_-]{21}[AQgw]")  # 16 bytes, base64url, no stray bits
_FIELDS: Final = ("content-digest", "signature-input", "signature")


@dataclass(frozen=True, slots=True)
class Head:
    """What a signature covers of a request's head, beside the digest of its body. `path_qs` is the
    target as it stands on the wire."""

    method: str
    authority: str
    path_qs: str


@dataclass(frozen=True, slots=True)
class Message(Head):
    """A whole request."""

    body: bytes


@dataclass(frozen=True, slots=True)
class SignatureParams:
    """Who signed, when by its clock (seconds since 1970), and the nonce.

    Without `created_s` the nonce is one that the receiver issued.
    """

    keyid: str
    created_s: int | None
    nonce: str

    def to_text(self, covered: Sequence[str]) -> str:
        """Return the value of `@signature-params`."""
        created = "" if self.created_s is None else f";created={self.created_s}"
        known = f'{created};keyid="{self.keyid}";nonce="{self.nonce}";tag="{TAG}"'
        return covered_list(covered) + known


def sign(
    message: Message, key: crypto.SecretKey, keyid: str, *, nonce: str, created_s: int | None
) -> dict[str, str]:
    """Return the header fields that sign `message`; its authority must be the receiver's id."""
    values = _covered(message, content_digest(message.body) if message.body else None)
    params = SignatureParams(keyid, created_s, nonce).to_text([name for name, _ in values])
    signature = base64.b64encode(key.sign(signature_base(values, params))).decode("ascii")
    digest = {"Content-Digest": content_digest(message.body)} if message.body else {}
    return digest | {"Signature-Input": f"sig={params}", "Signature": f"sig=:{signature}:"}


def parse(fields: Fields) -> SignatureParams:
    """Return who claims to have signed, so that the key can be looked up. Raises Malformed.

    Nothing is verified yet.
    """
    return _parse_input(_collect(fields))[0]


def verify(message: Message, fields: Fields, public: bytes) -> SignatureParams:
    """Return the parameters of a valid signature over all of `message`: its head, then its body."""
    params = verify_head(message, fields, public)
    check_body(fields, message.body)
    return params


def verify_head(head: Head, fields: Fields, public: bytes) -> SignatureParams:
    """Return the parameters of a valid signature over a request's head and the digest that stands
    there, before any of the body is read; `check_body` does the rest.

    Raises Malformed for any other form or coverage, BadSignature for another key or target. Whether
    it is fresh is for ReplayGuard to tell.
    """
    found = _collect(fields)
    params, covered = _parse_input(found)
    signature = _parse_signature(found)
    values = _covered(head, _parse_digest(found))
    expected = [name for name, _ in values]
    if covered != covered_list(expected):
        if '"content-digest"' in covered and "content-digest" not in found:
            raise Malformed("content-digest is missing: the signature covers it")
        raise Malformed(f"the signature must cover {' '.join(expected)}, in this order")
    if not crypto.verify(public, signature_base(values, params.to_text(expected)), signature):
        raise BadSignature(f"the signature is not {params.keyid}'s over this request")
    return params


def check_body(fields: Fields, body: bytes) -> None:
    """Check a body against the digest of a verified head. Raises Malformed if only one of the two
    is there, BadSignature if the digest is another body's."""
    digest = _parse_digest(_collect(fields))
    if digest is None and body:
        raise Malformed("a request with a body needs content-digest")
    if digest is not None and not body:
        raise Malformed("content-digest must stand with a body")
    if digest is not None and digest != content_digest(body):
        raise BadSignature("the body is not the one that content-digest was made from")


def signature_base(values: Sequence[tuple[str, str]], params: str) -> bytes:
    """Return the bytes to sign for components and their values (RFC 9421 section 2.5)."""
    lines = [f'"{name}": {value}' for name, value in values]
    return "\n".join([*lines, f'"@signature-params": {params}']).encode("ascii")


def covered_list(names_: Sequence[str]) -> str:
    """Return the inner list of component names, as it stands in `Signature-Input`."""
    return "(" + " ".join(f'"{name}"' for name in names_) + ")"


def derived(head: Head) -> dict[str, str]:
    """Return the derived components of a request (RFC 9421 section 2.2). Raises Malformed."""
    if not _METHOD.fullmatch(head.method):
        raise Malformed("the method must be upper-case letters")
    if not _AUTHORITY.fullmatch(head.authority):
        raise Malformed("Host must be lower-case")
    if len(head.path_qs) > limits.TARGET_CHARS_MAX or not _TARGET.fullmatch(head.path_qs):
        raise Malformed("the target must be a path in visible ASCII")
    path, _, query = head.path_qs.partition("?")
    return {
        "@method": head.method,
        "@authority": head.authority,
        "@path": path,
        "@query": f"?{query}",
    }


def content_digest(body: bytes) -> str:
    """Return the one accepted `Content-Digest` of `body` (RFC 9530)."""
    return f"sha-256=:{base64.b64encode(crypto.sha256(body)).decode('ascii')}:"


def nonce_text(random: bytes) -> str:
    """Return NONCE_BYTES random bytes as they stand in `nonce`: base64url without padding."""
    assert len(random) == limits.NONCE_BYTES
    return base64.urlsafe_b64encode(random).decode("ascii").rstrip("=")


def is_nonce(text: object) -> TypeGuard[str]:
    """Tell whether `text` is the text of a nonce."""
    return isinstance(text, str) and _NONCE.fullmatch(text) is not None


def _covered(head: Head, digest: str | None) -> list[tuple[str, str]]:
    values = list(derived(head).items())
    return values if digest is None else [*values, ("content-digest", digest)]


def _collect(fields: Fields) -> dict[str, str]:
    """Return the fields of this profile, by lower-case name; each may stand there once."""
    found: dict[str, str] = {}
    for name, value in fields:
        if (lower := name.lower()) not in _FIELDS:
            continue
        if lower in found:
            raise Malformed(f"{lower} stands there twice")
        if len(value) > limits.SIGNATURE_HEADER_CHARS_MAX:
            raise Malformed(f"{lower} is over {limits.SIGNATURE_HEADER_CHARS_MAX} characters")
        found[lower] = value
    return found


def _parse_input(found: dict[str, str]) -> tuple[SignatureParams, str]:
    """Return the parameters and the covered list as text."""
    match = _INPUT.fullmatch(_required(found, "signature-input"))
    if not match:
        raise Malformed(
            "signature-input must be sig=(...) with created, keyid, nonce and tag, in this order"
        )
    covered, created, keyid, nonce = match.groups()
    try:
        names.village_id(keyid)
    except InvalidInput as error:
        raise Malformed(f"keyid: {error.detail}") from None
    if not is_nonce(nonce):
        raise Malformed(f"nonce must be {limits.NONCE_BYTES} bytes in base64url without padding")
    return SignatureParams(keyid, None if created is None else int(created), nonce), f"({covered})"


def _parse_signature(found: dict[str, str]) -> bytes:
    text = _required(found, "signature")
    try:
        signature = base64.b64decode(text[len("sig=:") : -1], validate=True)
    except ValueError:  # binascii.Error, or not ASCII
        signature = b""
    if text != f"sig=:{base64.b64encode(signature).decode('ascii')}:":
        raise Malformed("signature must be sig=:<base64>:")
    return signature


def _parse_digest(found: dict[str, str]) -> str | None:
    digest = found.get("content-digest")
    if digest is not None and not _DIGEST.fullmatch(digest):
        raise Malformed("content-digest must be sha-256=:<base64>:")
    return digest


def _required(found: dict[str, str], name: str) -> str:
    if name not in found:
        raise Malformed(f"{name} is missing: requests between villages are signed")
    return found[name]
