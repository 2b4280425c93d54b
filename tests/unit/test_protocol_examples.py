"""firmware-notes/federation-protocol.md against the code: every example decodes and verifies, and
every table of the page is the code's. An example is a fenced block with a name behind its language.
"""

import base64
import json
import re
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from edge.appliance import recovery
from edge.core import (
    canonical,
    charter,
    checkpoint,
    council,
    crypto,
    invitation,
    limits,
    listing,
    log_proof,
    merkle,
    messages,
    note,
    receipt,
    records,
    registry,
    tiles,
    trade,
    witness,
)
from edge.errors import PeerError, Refused, StaleRequest, by_slug
from edge.storage.members import Member
from edge.transport import httpsig, problems, tls
from edge.web import member_trade

PAGE: Final = Path(__file__).parents[2] / "firmware-notes" / "federation-protocol.md"
BLOCK: Final = re.compile(r"^```[a-z]+ ([a-z0-9-]+)\n(.*?)\n```$", re.M | re.S)
MISSOURI: Final = "ose-missouri-001"
CALIFORNIA: Final = "ose-california-001"
NOW_S: Final = 1_800_000_000
LATER: Final = ("california-8", "missouri-delivered", "missouri-disputed")
LOG: Final = tuple(f"missouri-{index}" for index in range(7))
MESSAGES: Final = (
    "sync-request",
    "sync-answer",
    *(f"{kind}-{number}" for number in range(1, 5) for kind in ("message", "answer")),
)


@cache
def text() -> str:
    return PAGE.read_text(encoding="utf-8")


@cache
def blocks() -> dict[str, str]:
    found = BLOCK.findall(text())
    assert len(found) == len({name for name, _ in found}), "two examples have one name"
    return dict(found)


def example(name: str) -> bytes:
    return blocks()[name].encode()


def parsed(name: str) -> Any:
    return json.loads(blocks()[name])


def key(village: str) -> crypto.SecretKey:
    name = "identity-missouri" if village == MISSOURI else "identity-california"
    return crypto.SecretKey(bytes.fromhex(parsed(name)["seed32"]))


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading."""
    table = re.search(r"^(\|.*\|\n)+", text().split(f"\n{heading}\n", 1)[1], re.M)
    assert table is not None, f"no table under {heading}"
    lines = table[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def subjects(name: str) -> tuple[messages.SubjectMessage, ...]:
    return messages.decode_exchange(example(name)).subjects


def the_terms() -> trade.Terms:
    return trade.decode_terms(example("terms"))


def test_no_example_is_left_unread() -> None:
    """Each named block is read by a test here: a new one needs its check."""
    own = Path(__file__).read_text(encoding="utf-8")
    read = {name for name in blocks() if f'"{name}"' in own} | {*LOG, *MESSAGES}
    assert blocks().keys() == read


@pytest.mark.parametrize("name", ["identity-missouri", "identity-california"])
def test_a_key_follows_from_its_phrase(name: str) -> None:
    known = parsed(name)
    assert recovery.phrase_of(bytes.fromhex(known["entropy"])) == known["phrase"]
    seed = recovery.identity_seed(known["phrase"])
    assert seed.hex() == known["seed32"]
    assert crypto.derive(bytes.fromhex(known["seed64"]), "village-edge/identity/v1") == seed
    assert crypto.SecretKey(seed).public.hex() == known["public_key"]


def test_the_pin_is_of_the_certificates_key() -> None:
    pin = tls.spki_pin(example("certificate-missouri"))
    assert f"`{pin.hex()}`" in text()
    assert registry.decode(example("entry")).spki_sha256 == pin


@pytest.mark.parametrize("name", [*LOG, *LATER])
def test_a_record_is_canonical(name: str) -> None:
    assert records.encode(records.decode(example(name))) == example(name)


def test_every_kind_of_record_has_an_example() -> None:
    shown = {type(records.decode(example(name))) for name in (*LOG, *LATER)}
    assert shown == set(records.Record.__args__)


def test_the_tree() -> None:
    tree = parsed("tree")
    leaves = [merkle.leaf_hash(example(name)) for name in LOG]
    assert tree["leaves"] == [leaf.hex() for leaf in leaves]
    roots = [merkle.root_from_edge(merkle.extend(0, [], leaves[:n])[0]) for n in range(8)]
    assert tree["roots"] == [root.hex() for root in roots]
    path = [bytes.fromhex(each) for each in tree["inclusion of record 4 in 7"]]
    merkle.verify_inclusion(4, 7, leaves[4], path, roots[7])
    path = [bytes.fromhex(each) for each in tree["consistency of 3 with 7"]]
    merkle.verify_consistency(3, 7, path, roots[3], roots[7])


def test_the_checkpoint_and_its_cosignature() -> None:
    verifier = note.VerifierKey.from_text(blocks()["verifier-key"])
    assert (verifier.name, verifier.public) == (MISSOURI, key(MISSOURI).public)
    signed = blocks()["checkpoint"] + "\n"
    head = checkpoint.open_checkpoint(signed, verifier.name, verifier.public)
    assert (head.size, head.root.hex()) == (7, parsed("tree")["roots"][7])
    [_, line] = note.Note.from_text(signed).signatures
    public = key(CALIFORNIA).public
    assert checkpoint.verify_cosignature(head, line, CALIFORNIA, public) == NOW_S
    assert checkpoint.cosigned_message(head, NOW_S) == example("cosigned") + b"\n"


def test_the_tiles() -> None:
    paths = [tile.to_path() for tile in tiles.tiles_of(70_000)]
    assert blocks()["tile-paths"].split("\n") == paths[272:]
    found = [example(name) for name in LOG]
    made = {
        tiles.Tile(0, 0, 7).to_path(): b"".join(map(merkle.leaf_hash, found)),
        tiles.Tile(tiles.ENTRIES, 0, 7).to_path(): tiles.encode_entries(found),
    }
    shown = {path: [len(data), crypto.sha256(data).hex()] for path, data in made.items()}
    assert parsed("tiles") == shown


def test_the_proof_of_a_record() -> None:
    proof = log_proof.LogProof.from_text(blocks()["log-proof"] + "\n")
    assert (proof.index, proof.extra) == (1, example(LOG[1]))
    log, witness = (
        note.VerifierKey(village, note.ED25519, key(village).public)
        for village in (MISSOURI, CALIFORNIA)
    )
    proven = log_proof.verify(proof, example(LOG[1]), log, [witness])
    assert (proven.head.size, proven.cosigned) == (7, ((CALIFORNIA, NOW_S),))


def test_add_checkpoint_and_its_answer() -> None:
    asked = witness.AddCheckpoint.from_body(example("add-checkpoint") + b"\n")
    witness.check_signed(asked, key(MISSOURI).public)
    roots = [bytes.fromhex(each) for each in parsed("tree")["roots"]]
    assert (asked.old, asked.head.size) == (3, 7)
    verdict = witness.decide(asked, witness.Known(3, roots[3], roots[7]))
    assert (verdict.refusal, verdict.is_fork) == (None, False)
    line = note.NoteSignature.from_text(blocks()["add-checkpoint-answer"] + "\n")
    assert checkpoint.verify_cosignature(asked.head, line, CALIFORNIA, key(CALIFORNIA).public)


@pytest.mark.parametrize(
    ("name", "sealed"), [("missouri-2", "sealed-2"), ("missouri-4", "sealed-4")]
)
def test_sealed_parts_are_what_the_record_commits_to(name: str, sealed: str) -> None:
    record, parts = records.decode(example(name)), parsed(sealed)
    assert isinstance(record, records.SealedRecord | records.HoldRecord)
    posting, personal = parts["posting"].encode(), parts["personal"].encode()
    assert record.posting == crypto.commitment(bytes.fromhex(parts["posting_nonce"]), posting)
    assert record.personal == crypto.commitment(bytes.fromhex(parts["personal_nonce"]), personal)
    assert records.decode_posting(posting).stamp_ms // limits.MINUTE_MS == record.minute
    assert records.decode_personal(personal) != records.Personal()


def test_a_holds_posting_is_the_members_leg_and_the_fee() -> None:
    posting = records.decode_posting(parsed("sealed-4")["posting"].encode())
    assert list(posting.entries) == trade.member_entries(the_terms(), "from", "member:1")


def test_the_registry_entry() -> None:
    entry = registry.decode(example("entry"))
    assert entry.public_key == key(MISSOURI).public
    assert crypto.verify(entry.public_key, example("entry-signed"), entry.signature)
    assert registry.decode_list(b"[%s]" % example("entry")) == (entry,)


def test_invitation_charter_and_register() -> None:
    invited = invitation.from_text(blocks()["invitation"])
    assert (invited.village_id, invited.key) == (MISSOURI, key(MISSOURI).public)
    register = messages.decode_register(example("register"))
    registry.verify(register.entry)
    assert messages.encode(register) == example("register")
    assert register.joining is not None
    assert register.joining.secret == invited.secret
    assert bytes(register.joining.charter) == example("charter")
    charter.verify_founder(example("charter"), CALIFORNIA, register.joining.signature)
    answer = messages.decode_registered(example("registered"))
    assert messages.encode(answer) == example("registered")
    assert answer.entry is not None and answer.signature is not None
    registry.verify(answer.entry)
    charter.verify_founder(example("charter"), MISSOURI, answer.signature)
    assert charter.digest(example("charter")) == the_terms().charter == the_terms().network


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_read_and_its_checkpoint_and_cosignature_hold(name: str) -> None:
    message = messages.decode_exchange(example(name))
    assert messages.encode(message) == example(name)
    assert message.network == charter.digest(example("charter"))
    if message.entry is not None:
        registry.verify(message.entry)
    assert message.push is not None
    head = checkpoint.open_checkpoint(
        message.push.checkpoint, message.sender, key(message.sender).public
    )
    assert message.push.start + len(message.push.records) == head.size
    for record in message.push.records:
        records.decode(record)
    if message.cosignature is not None:
        assert note.NoteSignature.from_text(message.cosignature.line).name == message.sender


def test_the_messages_carry_the_trade_to_its_end() -> None:
    terms, subject = the_terms(), trade.subject_of(example("terms"))
    logs: dict[str, list[bytes]] = {MISSOURI: [], CALIFORNIA: []}
    certified = 0
    for name in MESSAGES:
        message = messages.decode_exchange(example(name))
        assert message.push is not None
        log = logs[message.sender]
        assert message.push.start <= len(log)
        log[message.push.start :] = message.push.records
        other = CALIFORNIA if message.sender == MISSOURI else MISSOURI
        assert message.have == len(logs[other])
        for said in message.subjects:
            assert bytes(said.terms) == example("terms")
            assert all(
                council.vote_is_valid(vote, terms.network, subject, terms.seats)
                for vote in said.votes
            )
            if said.certificate is not None:
                assert canonical.encode(said.certificate) == example("certificate")
                certified += 1
    assert certified == 3
    named = [name for name in MESSAGES for said in subjects(name) if said.names is not None]
    assert named == ["message-1"], "the people's names travel once, with the proposal"
    assert [log[-1] for log in logs.values()] == [example("missouri-5")] * 2


def test_terms_signatures_vote_and_certificate() -> None:
    terms, signed = the_terms(), parsed("terms-signed")
    subject = trade.subject_of(example("terms"))
    assert subject.hex() == signed["subject"]
    signatures: list[tuple[trade.Role, str]] = [("from", "from_signature"), ("to", "to_signature")]
    for role, name in signatures:
        trade.verify_party(terms, example("terms"), role, base64.b64decode(signed[name]))
    vote = msgspec.json.decode(example("vote"), type=council.Vote)
    assert council.vote_is_valid(vote, terms.network, subject, terms.seats)
    assert example("vote-signed") == council.vote_bytes(
        terms.network, subject, vote.round, vote.step, vote.value
    )
    certificate = msgspec.json.decode(example("certificate"), type=council.Certificate)
    council.verify_certificate(certificate, terms.network, subject, terms.seats)
    assert (vote.village, vote.signature) in certificate.precommits


def test_the_receipt_holds() -> None:
    assert receipt.verify(receipt.decode(example("receipt"))) == the_terms()


@pytest.mark.parametrize("name", ["signed-request", "issued-nonce-request"])
def test_a_request_is_signed_as_shown(name: str) -> None:
    request, *lines = blocks()[name].split("\n")
    method, target, _ = request.split(" ")
    fields = [(field, value) for field, _, value in (line.partition(": ") for line in lines)]
    message = httpsig.Message(method, dict(fields)["Host"], target, example("message-1"))
    params = httpsig.verify(message, fields, key(MISSOURI).public)
    assert int(dict(fields)["Content-Length"]) == len(message.body)
    assert params.keyid == MISSOURI
    if name == "signed-request":
        assert params.created_s == NOW_S
        assert crypto.verify(
            key(MISSOURI).public,
            example("signature-base"),
            base64.b64decode(dict(fields)["Signature"][len("sig=:") : -1]),
        )
    else:
        assert params.created_s is None
        assert params.nonce == parsed("stale")["nonce"]


def test_the_stale_request_problem() -> None:
    shown = parsed("stale")
    error = problems.from_problem(shown["status"], example("stale"))
    assert type(error) is StaleRequest
    assert error.more == {"now": shown["now"], "nonce": shown["nonce"]}


def test_a_members_program_posts_the_trade() -> None:
    posted = member_trade.decode(example("member-trade"))
    alice = Member(1, "Alice", "", session_epoch=0, steward=False)
    proposal = member_trade.proposal_of(posted, MISSOURI, alice)
    assert (proposal.to_village, proposal.to_user) == (CALIFORNIA, "Bob")
    assert (proposal.offer, proposal.request) == (("AT", "100"), ("SOLAR-PANEL", "1"))


def test_a_listing_is_one() -> None:
    shown = msgspec.json.decode(example("listing"), type=listing.Listing)
    listing.check(shown)
    assert canonical.encode(shown) == example("listing")


def test_the_status_table_is_the_codes() -> None:
    table = [(status, event, after) for status, event, after in rows("## A trade")]
    assert table == [(*step, after) for step, after in trade.TRANSITIONS.items()]


def test_each_problem_has_its_status() -> None:
    shown = {
        slug.strip(): int(status)
        for slugs, status, *_ in rows("## Problems")
        for slug in slugs.split(",")
    }
    for slug, status in shown.items():
        assert by_slug(slug).slug == slug
        assert problems.status_of(by_slug(slug)) == status
    theirs = {kind.slug for kind in PeerError.__subclasses__()}
    assert theirs - shown.keys() <= {"stale-checkpoint", "forked-log"}, "never answered"
    assert any(issubclass(by_slug(slug), Refused) for slug in shown)


def test_the_limits_are_the_codes() -> None:
    shown = {name: int(value.replace(",", "")) for name, value, _ in rows("## Limits")}
    assert shown == {name: value for name, value in vars(limits).items() if name.isupper()}
