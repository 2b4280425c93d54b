"""The recovery phrase: BIP 39's own vectors, and a key that must never change silently."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.appliance import recovery
from edge.core.crypto import SecretKey
from edge.errors import InvalidInput

# github.com/trezor/python-mnemonic vectors.json, the reference vectors that BIP 39 names.
VECTORS = {
    "00000000000000000000000000000000": "abandon " * 11 + "about",
    "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f": (
        "legal winner thank year wave sausage worth useful legal winner thank yellow"
    ),
    "80808080808080808080808080808080": (
        "letter advice cage absurd amount doctor acoustic avoid letter advice cage above"
    ),
    "ffffffffffffffffffffffffffffffff": "zoo " * 11 + "wrong",
}
ABANDON = VECTORS["00000000000000000000000000000000"]

# Written down once, from the first version: a change here loses every village its key.
GOLDEN = {
    ABANDON: "e1458b8004117a630126e58e77346558964d110548390e339bf4c80d7dc0360c",
    VECTORS[
        "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f"
    ]: "7518df846fd5a145c022dccd3bfcaa6c029d51a5bfe17cd6ed03dc7c104cce95",
}


@pytest.mark.parametrize(("entropy", "phrase"), VECTORS.items())
def test_the_reference_vectors(entropy: str, phrase: str) -> None:
    assert recovery.phrase_of(bytes.fromhex(entropy)) == phrase


@pytest.mark.parametrize(("phrase", "public"), GOLDEN.items())
def test_the_derived_key_never_changes(phrase: str, public: str) -> None:
    assert SecretKey(recovery.identity_seed(phrase)).public.hex() == public


def test_the_derivation_is_what_it_says() -> None:
    """BIP 39's seed (PBKDF2, no passphrase), then HKDF-Expand under the purpose."""
    seed = hashlib.pbkdf2_hmac("sha512", ABANDON.encode(), b"mnemonic", 2_048)
    assert seed.hex().startswith("5eb00bbddcf06908")  # as BIP 39's examples have it
    expected = hmac.digest(seed, b"village-edge/identity/v1\x01", "sha256")
    assert recovery.identity_seed(ABANDON) == expected


@pytest.mark.parametrize(
    "written",
    [
        ABANDON.upper(),
        f"  {ABANDON}\n",
        ABANDON.replace(" ", "   "),
        ABANDON.replace(" ", "\n"),
        ABANDON.replace("about", "About\t"),
    ],
)
def test_how_it_is_written_does_not_matter(written: str) -> None:
    assert recovery.identity_seed(written) == recovery.identity_seed(ABANDON)


@pytest.mark.parametrize(
    "wrong",
    [
        "abandon " * 12,  # its checksum fails
        ABANDON.replace("about", "abouy"),  # no such word
        ABANDON.removesuffix(" about"),
        f"{ABANDON} about",
        "legal winner thank year wave sausage worth useful legal winner yellow thank",
        "",
        "\x00",
        "ab " * 5_000,
    ],
)
def test_a_wrong_phrase_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidInput, match="not a recovery phrase") as caught:
        recovery.identity_seed(wrong)
    assert "abandon" not in caught.value.detail  # a secret with one slip is nearly a secret


@given(st.binary(min_size=16, max_size=16))
def test_every_phrase_has_its_own_key(entropy: bytes) -> None:
    phrase = recovery.phrase_of(entropy)
    assert len(phrase.split()) == 12
    seed = recovery.identity_seed(phrase)
    assert len(seed) == 32
    other = bytes([entropy[0] ^ 1]) + entropy[1:]
    assert recovery.identity_seed(recovery.phrase_of(other)) != seed
