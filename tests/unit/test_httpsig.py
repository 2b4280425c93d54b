"""The strict profile of RFC 9421 against the RFC's own vector and against everything else."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.crypto import SecretKey
from edge.core.crypto import verify as verify_bytes
from edge.errors import BadSignature, Malformed
from edge.transport import httpsig
from edge.transport.httpsig import Message, SignatureParams

VECTORS: Final = Path(__file__).parents[1] / "vectors"
KEY: Final = SecretKey(bytes(range(32)))
NONCE: Final = httpsig.nonce_text(bytes(16))
BODY: Final = b'{"hello": "world"}'
POST: Final = Message("POST", "ose-california-001", "/federation/sync?since=3", BODY)


@pytest.fixture(scope="module")
def vector() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((VECTORS / "rfc9421_ed25519.json").read_text())
    return found


def signed(message: Message = POST, created_s: int | None = 1_735_689_600) -> dict[str, str]:
    return httpsig.sign(message, KEY, "ose-missouri-001", nonce=NONCE, created_s=created_s)


def check(headers: dict[str, str], message: Message = POST) -> SignatureParams:
    return httpsig.verify(message, headers.items(), KEY.public)


# The RFC's vector


def test_signature_base_of_b_2_6(vector: dict[str, Any]) -> None:
    names = ["date", "@method", "@path", "@authority", "content-type", "content-length"]
    headers = {name.lower(): value for name, value in vector["test_request"]["headers"]}
    body = vector["test_request"]["body"].encode()
    request = Message("POST", "example.com", "/foo?param=Value&Pet=dog", body)
    known = headers | httpsig.derived(request)
    params = httpsig.covered_list(names) + ';created=1618884473;keyid="test-key-ed25519"'
    base = httpsig.signature_base([(name, known[name]) for name in names], params)
    assert base.decode() == vector["B.2.6"]["signature_base"]
    assert f"sig-b26={params}" == vector["B.2.6"]["signature_input"]

    key = SecretKey(base64.urlsafe_b64decode(vector["key"]["seed_b64url"] + "="))
    assert f"sig-b26=:{base64.b64encode(key.sign(base)).decode()}:" == vector["B.2.6"]["signature"]
    tagged = httpsig.signature_base(
        [(name, known[name]) for name in names], params + ';tag="tag-b27"'
    )
    signature = base64.b64decode(vector["pyauth_tag_case"]["signature"].split(":")[1])
    assert verify_bytes(key.public, tagged, signature)


def test_content_digest_of_the_rfc(vector: dict[str, Any]) -> None:
    for case in vector["content_digest"]:
        assert httpsig.content_digest(case["body"].encode()) == case["sha-256"]


# What is accepted


def test_one_accepted_form() -> None:
    assert signed()["Signature-Input"] == (
        'sig=("@method" "@authority" "@path" "@query" "content-digest")'
        ';created=1735689600;keyid="ose-missouri-001";nonce="AAAAAAAAAAAAAAAAAAAAAA"'
        ';tag="village-edge"'
    )
    assert check(signed()) == SignatureParams("ose-missouri-001", 1_735_689_600, NONCE)


def test_issued_nonce_in_place_of_created() -> None:
    headers = signed(created_s=None)
    assert "created" not in headers["Signature-Input"]
    assert check(headers) == SignatureParams("ose-missouri-001", None, NONCE)


def test_without_a_body_there_is_no_digest() -> None:
    message = Message("GET", "ose-california-001", "/federation/villages", b"")
    headers = signed(message)
    assert set(headers) == {"Signature-Input", "Signature"}
    assert check(headers, message).keyid == "ose-missouri-001"


def test_parse_tells_whose_key_to_look_up() -> None:
    assert httpsig.parse(signed().items()) == check(signed())


@given(
    method=st.sampled_from(["GET", "POST", "PUT"]),
    target=st.from_regex(r"/[a-z0-9/%.~_-]{0,40}(\?[a-z0-9=&%?]{0,40})?", fullmatch=True),
    body=st.binary(max_size=200),
    random=st.binary(min_size=16, max_size=16),
    created_s=st.one_of(st.none(), st.integers(0, 10**15 - 1)),
)
def test_what_is_signed_verifies(
    method: str, target: str, body: bytes, random: bytes, created_s: int | None
) -> None:
    message = Message(method, "ose-california-001", target, body)
    nonce = httpsig.nonce_text(random)
    headers = httpsig.sign(message, KEY, "a-001", nonce=nonce, created_s=created_s)
    assert check(headers, message) == SignatureParams("a-001", created_s, nonce)


# What is not


@pytest.mark.parametrize(
    "other",
    [
        Message("PUT", POST.authority, POST.path_qs, BODY),
        Message("POST", "ose-texas-001", POST.path_qs, BODY),
        Message("POST", POST.authority, "/federation/trade?since=3", BODY),
        Message("POST", POST.authority, "/federation/sync?since=4", BODY),
        Message("POST", POST.authority, "/federation/sync", BODY),
        Message("POST", POST.authority, POST.path_qs, BODY + b" "),
    ],
)
def test_another_request_is_refused(other: Message) -> None:
    with pytest.raises(BadSignature):
        check(signed(), other)


def test_another_key_is_refused() -> None:
    with pytest.raises(BadSignature, match="ose-missouri-001"):
        httpsig.verify(POST, signed().items(), SecretKey(bytes(32)).public)


def test_digest_of_another_body_is_refused_though_the_body_was_swapped_with_it() -> None:
    other = Message("POST", POST.authority, POST.path_qs, b"{}")
    headers = signed() | {"Content-Digest": httpsig.content_digest(b"{}")}
    with pytest.raises(BadSignature):
        check(headers, other)


def test_a_body_needs_a_digest() -> None:
    headers = signed()
    del headers["Content-Digest"]
    with pytest.raises(Malformed, match="content-digest"):
        check(headers)


def test_a_body_needs_a_digest_that_is_covered() -> None:
    """The whole family of faults in which a body goes along that nobody signed."""
    bare = Message("POST", POST.authority, POST.path_qs, b"")
    with pytest.raises(Malformed, match="content-digest"):
        check(signed(bare))
    with pytest.raises(Malformed, match="must cover"):
        check(signed(bare) | {"Content-Digest": httpsig.content_digest(BODY)})


def test_a_digest_without_a_body_is_refused() -> None:
    bare = Message("POST", POST.authority, POST.path_qs, b"")
    with pytest.raises(Malformed):
        check(signed(bare) | {"Content-Digest": httpsig.content_digest(b"")}, bare)


def change_input(old: str, new: str) -> Callable[[dict[str, str]], None]:
    def change(headers: dict[str, str]) -> None:
        assert old in headers["Signature-Input"]
        headers["Signature-Input"] = headers["Signature-Input"].replace(old, new)

    return change


def change_field(name: str, to: Callable[[str], str]) -> Callable[[dict[str, str]], None]:
    def change(headers: dict[str, str]) -> None:
        assert to(headers[name]) != headers[name]
        headers[name] = to(headers[name])

    return change


def stray_bits(text: str) -> str:
    """Change bits of the last base64 character that stand for nothing."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    at = len(text.rstrip("=:")) - 1
    return text[:at] + letters[letters.index(text[at]) ^ 1] + text[at + 1 :]


MALFORMED: Final = {
    "component twice": change_input('"@method" ', '"@method" "@method" '),
    "unknown component": change_input('"@method" ', '"@method" "date" '),
    "component left out": change_input('"@query" ', ""),
    "components in another order": change_input('"@method" "@authority"', '"@authority" "@method"'),
    "component with a parameter": change_input('"@method"', '"@method";req'),
    "two spaces": change_input('"@path" ', '"@path"  '),
    "unknown parameter": change_input(";tag", ";expires=9;tag"),
    "alg": change_input(";keyid", ';alg="ed25519";keyid'),
    "parameters in another order": change_input(
        ';created=1735689600;keyid="ose-missouri-001"',
        ';keyid="ose-missouri-001";created=1735689600',
    ),
    "created twice": change_input(";keyid", ";created=1735689600;keyid"),
    "created with a sign": change_input("=1735689600", "=+1735689600"),
    "created with a zero in front": change_input("=1735689600", "=01735689600"),
    "created in other digits": change_input("=1735689600", "=\N{ARABIC-INDIC DIGIT ONE}"),
    "created as a decimal": change_input("=1735689600", "=1735689600.0"),
    "created beyond all bounds": change_input("=1735689600", "=" + "9" * 16),
    "no nonce": change_input(f';nonce="{NONCE}"', ""),
    "short nonce": change_input(NONCE, NONCE[:-1]),
    "nonce with stray bits": change_input(NONCE, NONCE[:-1] + "B"),
    "padded nonce": change_input(NONCE, NONCE + "=="),
    "another tag": change_input("village-edge", "other"),
    "no tag": change_input(';tag="village-edge"', ""),
    "keyid that is no village id": change_input("ose-missouri-001", "Ose Missouri"),
    "long keyid": change_input("ose-missouri-001", "a" * 80 + "-001"),
    "another label": change_input("sig=", "sig1="),
    "a second signature": change_field("Signature-Input", lambda text: f"{text}, b=()"),
    "trailing newline": change_field("Signature-Input", lambda text: text + "\n"),
    "signature of another label": change_field("Signature", lambda text: "x" + text[1:]),
    "signature unpadded": change_field("Signature", lambda text: text.replace("==:", ":")),
    "signature with stray bits": change_field("Signature", stray_bits),
    "signature beside spaces": change_field("Signature", lambda text: text + " "),
    "two members": change_field("Signature", lambda text: f"{text}, {text}"),
    "empty signature field": change_field("Signature", lambda _: ""),
    "digest with stray bits": change_field("Content-Digest", lambda text: text[:-3] + "/=:"),
    "sha-512": change_field("Content-Digest", lambda text: text.replace("sha-256", "sha-512")),
    "two digests": change_field("Content-Digest", lambda text: f"{text}, {text}"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_every_other_form_is_refused(name: str) -> None:
    headers = signed()
    MALFORMED[name](headers)
    with pytest.raises((Malformed, BadSignature)) as caught:
        check(headers)
    assert caught.type is (BadSignature if name == "digest with stray bits" else Malformed)


@pytest.mark.parametrize("name", ["Content-Digest", "Signature-Input", "Signature"])
def test_a_field_that_stands_there_twice_is_refused(name: str) -> None:
    fields = [*signed().items(), (name.upper(), signed()[name])]
    with pytest.raises(Malformed, match="twice"):
        httpsig.verify(POST, fields, KEY.public)


@pytest.mark.parametrize("name", ["Content-Digest", "Signature-Input", "Signature"])
def test_a_field_is_bounded(name: str) -> None:
    with pytest.raises(Malformed, match="over 1024 characters"):
        check(signed() | {name: "x" * 1_025})


@pytest.mark.parametrize("name", ["Signature-Input", "Signature"])
def test_an_unsigned_request_is_refused(name: str) -> None:
    headers = signed()
    del headers[name]
    with pytest.raises(Malformed, match=f"{name.lower()} is missing"):
        check(headers)


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    text = base64.b64encode(bytes(length)).decode()
    with pytest.raises(BadSignature):
        check(signed() | {"Signature": f"sig=:{text}:"})


@pytest.mark.parametrize(
    "target",
    ["", "federation", "/a b", "/a\nb", "/a#b", "/\N{SNOWMAN}", "https://x/y", "/" * 2_049],
)
def test_an_odd_target_is_refused(target: str) -> None:
    with pytest.raises(Malformed):
        httpsig.derived(Message("GET", "a-001", target, b""))


@pytest.mark.parametrize("authority", ["", "A-001", "a-001\n", "a 001", "x" * 256])
def test_an_odd_authority_is_refused(authority: str) -> None:
    with pytest.raises(Malformed):
        httpsig.derived(Message("GET", authority, "/", b""))


@given(st.text(max_size=120))
def test_any_text_gives_malformed_and_nothing_else(text: str) -> None:
    for name in ("Signature-Input", "Signature", "Content-Digest"):
        with pytest.raises((Malformed, BadSignature)):
            check(signed() | {name: text})
