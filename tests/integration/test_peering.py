"""How villages meet, over real loopback TLS: invitations, registry entries, and strangers."""

import asyncio
import contextlib
import json
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from edge import commands, control, peering
from edge.core import canonical, crypto, invitation, limits, messages, names, registry
from edge.core.crypto import SecretKey
from edge.core.invitation import Invitation
from edge.core.messages import CosignatureLine, Push, Register
from edge.errors import (
    BadSignature,
    BoxError,
    InvalidInput,
    Malformed,
    NotFound,
    Unreachable,
    WrongPin,
)
from edge.federation_client import SYNC_PATH, TRADE_PATH
from edge.storage import facts, neighbours
from edge.storage.tx import Tx
from edge.transport.routes import VILLAGES_PATH
from tests.integration.boxes import RealBox, befriend, until
from tests.integration.served import (
    Answered,
    Served,
    call,
    cut_power,
    entry_of,
    exchange_of,
    served,
    signed,
)

MISSOURI, CALIFORNIA, TEXAS = "ose-missouri-001", "ose-california-001", "ose-texas-001"
STRANGER: Final = SecretKey(bytes(range(32)))
HOUR_S: Final = 3_600


@pytest.fixture
async def missouri(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / MISSOURI, MISSOURI) as box:
        yield box


@pytest.fixture
async def california(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / CALIFORNIA, CALIFORNIA) as box:
        yield box


@pytest.fixture
async def texas(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / TEXAS, TEXAS) as box:
        yield box


async def villages_of(box: Served) -> list[str]:
    """Return a box's neighbours."""
    return [each["village"] for each in (await box.ask(control.PeerList()))["neighbours"]]


async def candidates_of(box: Served) -> list[str]:
    return [each["village"] for each in (await box.ask(control.PeerList()))["candidates"]]


async def charters_of(box: Served) -> list[tuple[str, str]]:
    """Return each neighbour with the charter that is shared with it."""
    everyone = await box.app.store.read(neighbours.everyone)
    return [(each.village, each.charter.hex()) for each in everyone]


async def taken_up(joiner: Served, line: str) -> bytes:
    """Return what a joiner sends for an invitation."""
    invited = invitation.from_text(line)
    return messages.encode(await joiner.app.store.write(lambda tx: peering.take_up(tx, invited)))


def altered(line: str, **changes: Any) -> str:
    """Return an invitation that says something else, its checksum made again."""
    return invitation.to_text(msgspec.structs.replace(invitation.from_text(line), **changes))


# Invitations


async def test_an_invitation_makes_neighbours_of_two(missouri: Served, california: Served) -> None:
    line = await missouri.invitation()
    assert await california.ask(control.PeerAdd(line)) == {"neighbour": MISSOURI}
    assert await villages_of(missouri) == [CALIFORNIA]
    assert await villages_of(california) == [MISSOURI]
    [(_, here)], [(_, there)] = await charters_of(missouri), await charters_of(california)
    assert here == there
    await california.app.client.exchange(MISSOURI)  # with the cosignature, as at every heartbeat
    for box in (missouri, california):
        status = await box.ask(control.Status())
        assert status["log"]["cosigned_size"] == status["log"]["size"] == 2


async def test_an_invitation_taken_up_twice_gives_the_same_answer(
    missouri: Served, california: Served
) -> None:
    line = await missouri.invitation()
    body = await taken_up(california, line)
    assert await taken_up(california, line) == body
    first, again = [await call(missouri.endpoint, peering.REGISTER_PATH, body) for _ in range(2)]
    assert first.status == 200
    assert first == again or first.body == again.body
    before = await charters_of(missouri)
    for _ in range(2):
        assert await california.ask(control.PeerAdd(line)) == {"neighbour": MISSOURI}
    assert await charters_of(missouri) == before
    assert [each for _, each in await charters_of(california)] == [each for _, each in before]


async def test_used_unknown_and_expired_invitations_get_one_answer(tmp_path: Path) -> None:
    """A stranger who guesses learns nothing."""
    ahead_s = 0
    async with (
        served(tmp_path / MISSOURI, MISSOURI, ahead_s=lambda: ahead_s) as missouri,
        served(tmp_path / CALIFORNIA, CALIFORNIA) as california,
        served(tmp_path / TEXAS, TEXAS) as texas,
    ):
        used = await missouri.invitation()
        unused = (await missouri.ask(control.PeerInvite(1)))["invitation"]
        await california.ask(control.PeerAdd(used))
        unknown = altered(unused, secret=bytes(16))
        answers = [
            await call(missouri.endpoint, peering.REGISTER_PATH, await taken_up(texas, line))
            for line in (used, unknown)
        ]
        late = await taken_up(texas, unused)
        ahead_s = 2 * HOUR_S
        answers.append(await call(missouri.endpoint, peering.REGISTER_PATH, late))
        assert {(each.status, each.body) for each in answers} == {(404, answers[0].body)}
        assert answers[0].slug == NotFound.slug
        with pytest.raises(NotFound, match="unknown, used up or expired"):
            await texas.ask(control.PeerAdd(used))
        assert await villages_of(missouri) == [CALIFORNIA]
        assert await villages_of(texas) == []
        # Who has used it before its end gets the same answer after it, too.
        assert await california.ask(control.PeerAdd(used)) == {"neighbour": MISSOURI}


async def test_an_expired_invitation_is_not_even_sent(missouri: Served, california: Served) -> None:
    line = await missouri.invitation()
    minute = invitation.from_text(line).expires_minute - 8 * 24 * 60
    before = await missouri.disk()
    with pytest.raises(InvalidInput, match="has expired"):
        await california.ask(control.PeerAdd(altered(line, expires_minute=minute)))
    assert await missouri.disk() == before


async def test_an_altered_line_is_noticed(missouri: Served, california: Served) -> None:
    """Every letter of it, and every way to cut it short."""
    line = await missouri.invitation()
    before = await california.disk()
    for at, char in enumerate(line):
        for other in {"A", "b", "-", "=", " ", "é"} - {char}:
            with pytest.raises(InvalidInput):
                invitation.from_text(line[:at] + other + line[at + 1 :])
    for end in range(len(line)):
        with pytest.raises(InvalidInput):
            invitation.from_text(line[:end])
    with pytest.raises(InvalidInput):
        await california.ask(control.PeerAdd(line[:-1]))
    assert await california.disk() == before
    assert invitation.from_text(f"  {line}\n") == invitation.from_text(line)


async def test_a_lost_answer_is_asked_for_again(missouri: Served, california: Served) -> None:
    """The inviter is bound, the joiner does not know: the same line brings both to one charter."""
    line = await missouri.invitation()
    post_to = california.app.transport.post_to

    async def lose(*sent: Any, **more: Any) -> bytes:
        await post_to(*sent, **more)
        raise Unreachable("the answer was lost")

    box = await california.app.box(serving=True)
    with pytest.raises(Unreachable):
        await commands.run(msgspec.structs.replace(box, post_to=lose), control.PeerAdd(line))
    assert await villages_of(missouri) == [CALIFORNIA]
    assert await villages_of(california) == []
    with pytest.raises(BoxError):  # until then, the inviter's own words are a stranger's
        await missouri.app.client.exchange(CALIFORNIA)
    assert await california.ask(control.PeerAdd(line)) == {"neighbour": MISSOURI}
    [(_, here)], [(_, there)] = await charters_of(missouri), await charters_of(california)
    assert here == there
    await missouri.app.client.exchange(CALIFORNIA)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"spki_sha256": bytes(32)}, WrongPin, "another box than ose-missouri-001"),
        ({"key": STRANGER.public}, Malformed, "not of the two of us"),
        ({"village_id": TEXAS}, Malformed, "not of the two of us"),
        ({"addresses": ("127.0.0.1:1",)}, Unreachable, "Connection refused"),
        ({"council_seats": 7}, Malformed, "not for councils of 4"),
        ({"addresses": ("no-such-host.invalid:1",)}, Unreachable, "no-such-host.invalid"),
    ],
)
async def test_a_wrong_invitation_makes_nobody_a_neighbour_and_spoils_nothing(
    missouri: Served, california: Served, changes: dict[str, Any], error: type[BoxError], said: str
) -> None:
    line = await missouri.invitation()
    before = await missouri.disk()
    with pytest.raises(error, match=said):
        await california.ask(control.PeerAdd(altered(line, **changes)))
    assert await missouri.disk() == before
    assert await villages_of(california) == []
    assert await california.ask(control.PeerAdd(line)) == {"neighbour": MISSOURI}


async def test_the_address_that_answers_is_used(missouri: Served, california: Served) -> None:
    line = await missouri.invitation()
    addresses = ("127.0.0.1:1", *missouri.endpoint.addresses)
    await california.ask(control.PeerAdd(altered(line, addresses=addresses)))
    assert await villages_of(california) == [MISSOURI]


async def test_an_inviter_that_is_down_is_asked_later(tmp_path: Path, california: Served) -> None:
    async with served(tmp_path / MISSOURI, MISSOURI) as missouri:
        line = await missouri.invitation()
        address = missouri.endpoint.addresses[0]
    with pytest.raises(Unreachable, match="Connection refused"):
        await california.ask(control.PeerAdd(line))
    assert await california.ask(control.PeerList()) == {"neighbours": [], "candidates": []}
    sent = await taken_up(california, line)
    async with served(tmp_path / MISSOURI, MISSOURI, listen__federation=address) as missouri:
        assert await california.ask(control.PeerAdd(line)) == {"neighbour": MISSOURI}
        again = messages.decode_register(await taken_up(california, line))
        assert again.joining == messages.decode_register(sent).joining
        assert await villages_of(missouri) == [CALIFORNIA]


async def test_a_village_cannot_invite_itself(missouri: Served) -> None:
    with pytest.raises(InvalidInput, match="own"):
        await missouri.ask(control.PeerAdd(await missouri.invitation()))


async def test_another_key_under_a_neighbours_id_is_refused(
    tmp_path: Path, missouri: Served, california: Served
) -> None:
    """Here a second California, with an invitation of its own; there a second Missouri invites."""
    await california.ask(control.PeerAdd(await missouri.invitation()))
    before = await charters_of(missouri)
    async with (
        served(tmp_path / "false-california", CALIFORNIA) as false_california,
        served(tmp_path / "false-missouri", MISSOURI) as false_missouri,
    ):
        with pytest.raises(BadSignature, match="under another key"):
            await false_california.ask(control.PeerAdd(await missouri.invitation()))
        with pytest.raises(BadSignature, match="under another key"):
            await california.ask(control.PeerAdd(await false_missouri.invitation()))
    assert await charters_of(missouri) == before


@pytest.mark.parametrize("change", ["signature", "entry", "none", "other village"])
async def test_an_inviters_false_answer_is_refused(
    missouri: Served, california: Served, change: str
) -> None:
    line = await missouri.invitation()
    invited = invitation.from_text(line)

    async def false_answer(*sent: Any, **more: Any) -> bytes:
        answered = messages.decode_registered(await california.app.transport.post_to(*sent, **more))
        assert answered.entry is not None
        changes: dict[str, dict[str, Any]] = {
            "signature": {"signature": bytes(64)},
            "entry": {"entry": msgspec.structs.replace(answered.entry, name="Another")},
            "none": {"signature": None},
            "other village": {"entry": entry_of(TEXAS, STRANGER)},
        }
        return messages.encode(msgspec.structs.replace(answered, **changes[change]))

    box = await california.app.box(serving=True)
    with pytest.raises((BadSignature, Malformed)):
        await commands.run(
            msgspec.structs.replace(box, post_to=false_answer), control.PeerAdd(line)
        )
    assert await villages_of(california) == []
    assert await california.ask(control.PeerAdd(line)) == {"neighbour": MISSOURI}
    assert invited.village_id == MISSOURI


# Strangers


async def test_who_only_registers_is_a_candidate_and_no_neighbour(
    missouri: Served, texas: Served
) -> None:
    entry = await texas.app.store.read(facts.own_entry)
    body = messages.encode(Register(limits.PROTOCOL_VERSION, entry))
    answer = await call(missouri.endpoint, peering.REGISTER_PATH, body)
    assert (answer.status, json.loads(answer.body)["status"]) == (200, "candidate")
    assert await villages_of(missouri) == []
    (candidate,) = (await missouri.ask(control.PeerList()))["candidates"]
    assert candidate.keys() == {"village", "name", "source", "seen"}
    assert (candidate["village"], candidate["source"]) == (TEXAS, "register")

    body = messages.encode(exchange_of(TEXAS, bytes(32)))
    for path in (SYNC_PATH, TRADE_PATH):
        headers = signed(path, body, MISSOURI, texas.key, TEXAS)
        refused = await call(missouri.endpoint, path, body, headers)
        assert (refused.status, refused.slug) == (403, "unknown-village")


async def test_candidates_are_bounded(missouri: Served) -> None:
    def offer(number: int, stamp_ms: int = 1) -> bytes:
        entry = entry_of(f"ose-stranger{number}-001", STRANGER, stamp_ms=stamp_ms)
        return messages.encode(Register(limits.PROTOCOL_VERSION, entry))

    async def register(body: bytes) -> Answered:
        return await call(missouri.endpoint, peering.REGISTER_PATH, body)

    for start in range(0, limits.CANDIDATES_MAX, 32):
        bodies = [offer(number) for number in range(start, start + 32)]
        answers = await asyncio.gather(*map(register, bodies))
        assert {answer.status for answer in answers} == {200}
    full = await register(offer(limits.CANDIDATES_MAX))
    assert (full.status, full.slug) == (429, "too-many")
    assert len(await candidates_of(missouri)) == limits.CANDIDATES_MAX
    assert (await register(offer(0, stamp_ms=2))).status == 200  # one of them may say it anew
    assert len(await candidates_of(missouri)) == limits.CANDIDATES_MAX


async def test_a_candidate_is_forgotten_after_thirty_days(missouri: Served) -> None:
    def keep(name: str, days: int) -> Callable[[Tx], None]:
        def do(tx: Tx) -> None:
            tx.stamp_ms += days * limits.DAY_MS
            neighbours.keep_candidate(tx, entry_of(name, STRANGER), "import")

        return do

    await missouri.app.store.write(keep("ose-early-001", 0))
    await missouri.app.store.write(keep("ose-late-001", 29))
    assert await candidates_of(missouri) == ["ose-early-001", "ose-late-001"]
    await missouri.app.store.write(keep("ose-later-001", 31))
    assert await candidates_of(missouri) == ["ose-late-001", "ose-later-001"]


async def test_a_neighbour_that_registers_stays_a_neighbour(
    missouri: Served, california: Served
) -> None:
    await california.ask(control.PeerAdd(await missouri.invitation()))
    await quiet(missouri, california)
    moved = entry_of(CALIFORNIA, california.key, stamp_ms=2**52, endpoints=("moved.example:1",))
    body = messages.encode(Register(limits.PROTOCOL_VERSION, moved))
    answer = await call(missouri.endpoint, peering.REGISTER_PATH, body)
    assert (answer.status, json.loads(answer.body)["status"]) == (200, "neighbour")
    peers = await missouri.ask(control.PeerList())
    assert peers["neighbours"][0]["addresses"] == ["moved.example:1"]
    assert peers["candidates"] == []
    before = await missouri.disk()
    false = messages.encode(Register(limits.PROTOCOL_VERSION, entry_of(CALIFORNIA, STRANGER)))
    answer = await call(missouri.endpoint, peering.REGISTER_PATH, false)
    assert (answer.status, answer.slug) == (401, "bad-signature")
    assert await missouri.disk() == before


async def test_the_registry_is_the_missions_json(missouri: Served, california: Served) -> None:
    await california.ask(control.PeerAdd(await missouri.invitation()))
    answer = await call(missouri.endpoint, VILLAGES_PATH, method="GET")
    assert (answer.status, answer.type) == (200, "application/json")
    assert answer.headers["cache-control"] == "public, max-age=10"
    own, other = json.loads(answer.body)
    mission: dict[str, type] = {
        "village_id": str,
        "name": str,
        "location": dict,
        "public_key": str,
        "federation_enabled": bool,
        "trusted_villages": list,
        "last_sync": int,
    }
    ours = {"protocol": int, "endpoints": list, "spki_sha256": str, "stamp_ms": int}
    for entry in (own, other):
        assert {name: type(value) for name, value in entry.items()} == mission | ours | {
            "signature": str
        }
        assert {name: type(value) for name, value in entry["location"].items()} == {
            "lat": float,
            "lon": float,
        }
        assert entry["federation_enabled"] is True
    assert (own["village_id"], own["trusted_villages"]) == (MISSOURI, [CALIFORNIA])
    assert (other["village_id"], other["trusted_villages"]) == (CALIFORNIA, [MISSOURI])
    assert own["last_sync"] == 0 and other["last_sync"] > 1_700_000_000
    assert own["location"] == {"lat": 38.45, "lon": -93.85}
    assert own["endpoints"] == list(missouri.endpoint.addresses)
    for entry in registry.decode_list(answer.body):
        assert names.village_id(entry.village_id)
    exported = await missouri.ask(control.ExportRegistry())
    assert json.loads(exported) == [own, other]


# What is no message


class Neighbours:
    """Missouri, and California as its neighbour whose requests a test writes itself."""

    def __init__(self, missouri: Served, california: Served, network: bytes) -> None:
        self.missouri = missouri
        self.key = california.key
        self.network = network

    async def say(
        self, body: bytes, path: str = SYNC_PATH, drop: str = "", **changes: str
    ) -> Answered:
        """Post a signed request, with some header fields changed, and one dropped."""
        headers = signed(path, body, MISSOURI, self.key, CALIFORNIA) | {
            name.replace("_", "-"): value for name, value in changes.items()
        }
        headers.pop(drop, None)
        return await call(self.missouri.endpoint, path, body, headers)

    def message(self, **changes: Any) -> bytes:
        return messages.encode(exchange_of(CALIFORNIA, **({"network": self.network} | changes)))


async def quiet(missouri: Served, california: Served) -> None:
    """Wait until the two have nothing left to say. There is one exchange at a time, so those that
    began by themselves are over then."""
    for _ in range(2):
        await missouri.app.client.exchange(CALIFORNIA)
        await california.app.client.exchange(MISSOURI)


@pytest.fixture
async def pair(missouri: Served, california: Served) -> Neighbours:
    await california.ask(control.PeerAdd(await missouri.invitation()))
    await quiet(missouri, california)
    (known,) = await missouri.app.store.read(neighbours.everyone)
    return Neighbours(missouri, california, known.network)


@pytest.mark.parametrize("path", [SYNC_PATH, TRADE_PATH])
async def test_what_is_no_signed_message_changes_nothing(pair: Neighbours, path: str) -> None:
    good = pair.message()
    assert (await pair.say(good, path)).status == 200
    before = await pair.missouri.disk()
    there = pair.missouri.endpoint

    async def post(body: bytes, headers: dict[str, str]) -> Answered:
        return await call(there, path, body, headers)

    stranger = signed(path, good, MISSOURI, STRANGER, TEXAS)
    other_key = signed(path, good, MISSOURI, STRANGER, CALIFORNIA)
    elsewhere = signed(path, good, TEXAS, pair.key, CALIFORNIA)
    late = signed(path, good, MISSOURI, pair.key, CALIFORNIA, ahead_s=-HOUR_S)
    other_path = signed("/federation/other", good, MISSOURI, pair.key, CALIFORNIA)
    big = b'{"protocol":1,"sender":"%s"}' % (b"x" * limits.BODY_BYTES_MAX)
    deep = b"[" * 100 + b"]" * 100
    for what, answer, status, slug in (
        ("unsigned", await post(good, {}), 400, "malformed"),
        ("no digest", await pair.say(good, path, drop="Content-Digest"), 400, "malformed"),
        ("no input", await pair.say(good, path, drop="Signature-Input"), 400, "malformed"),
        ("no signature", await pair.say(good, path, drop="Signature"), 400, "malformed"),
        ("odd signature", await pair.say(good, path, Signature="sig=:!:"), 400, "malformed"),
        ("compressed", await pair.say(good, path, Content_Encoding="gzip"), 400, "malformed"),
        ("unknown village", await post(good, stranger), 403, "unknown-village"),
        ("another key", await post(good, other_key), 401, "bad-signature"),
        ("another village's", await post(good, elsewhere), 421, "misdirected"),
        ("another path's", await post(good, other_path), 401, "bad-signature"),
        ("an hour old", await post(good, late), 401, "stale-request"),
        ("oversized", await pair.say(big, path), 413, "too-large"),
        ("deep", await pair.say(deep, path), 400, "malformed"),
        ("unbalanced", await pair.say(b"}{", path), 400, "malformed"),
        ("no JSON", await pair.say(b"hello", path), 400, "malformed"),
        ("no UTF-8", await pair.say(b'{"protocol":1,"sender":"\xff"}', path), 400, "malformed"),
        ("null", await pair.say(b"null", path), 400, "malformed"),
        ("a register", await pair.say(b'{"protocol":1,"entry":{}}', path), 400, "malformed"),
    ):
        assert (answer.status, answer.slug) == (status, slug), (what, answer.body)
        if slug == "stale-request":
            assert answer.problem["now"] > 1_700_000_000 and len(answer.problem["nonce"]) == 22
    altered_body = signed(path, good, MISSOURI, pair.key, CALIFORNIA)
    assert (await post(good.replace(b'"have":0', b'"have":1'), altered_body)).status == 401
    assert (await post(good, altered_body)).status == 200  # the refusal used up no nonce
    assert (await post(good, altered_body)).slug == "replayed-request"
    assert await pair.missouri.disk() == after_contact(before, await pair.missouri.disk())


@pytest.mark.parametrize(
    ("change", "slug"),
    [
        ({"protocol": 2}, "wrong-version"),
        ({"protocol": 0}, "wrong-version"),
        ({"protocol": 2**70}, "wrong-version"),
        ({"protocol": "1"}, "malformed"),
        ({"protocol": None}, "malformed"),
        ({"sender": MISSOURI}, "malformed"),
        ({"sender": TEXAS}, "malformed"),
        ({"sender": 7}, "malformed"),
        ({"sender": "x" * 100_000}, "malformed"),
        ({"network": ""}, "malformed"),
        ({"network": "!"}, "malformed"),
        ({"network": canonical.encode(bytes(32)).decode().strip('"')}, "malformed"),
        ({"have": -1}, "malformed"),
        ({"have": 2**40}, "malformed"),
        ({"have": 2**70}, "malformed"),
        ({"have": 1.5}, "malformed"),
        ({"have": True}, "malformed"),
        ({"entry_stamp_ms": -1}, "malformed"),
        ({"entry_stamp_ms": 2**70}, "malformed"),
        ({"entry_stamp_ms": "now"}, "malformed"),
        ({"entry": {}}, "malformed"),
        ({"entry": 1}, "malformed"),
        ({"push": []}, "malformed"),
        ({"push": {"start": 0, "records": [], "proof": [], "checkpoint": ""}}, "malformed"),
        ({"push": {"start": -1, "records": [], "proof": [], "checkpoint": ""}}, "too-large"),
        (
            {"push": {"start": 0, "records": [], "proof": ["AA=="] * 64, "checkpoint": ""}},
            "too-large",
        ),
        ({"push": {"start": 0, "records": ["!"], "proof": [], "checkpoint": ""}}, "malformed"),
        ({"cosignature": {"size": 2**70, "line": ""}}, "malformed"),
        ({"cosignature": {"size": 99, "line": ""}}, "bad-proof"),
        ({"cosignature": {"size": 2, "line": "— x y\n"}}, "malformed"),
        ({"subjects": [{}]}, "malformed"),
        ({"subjects": [{"terms": {}, "from_signature": ""}]}, "malformed"),
        ({"subjects": [{"terms": {}, "from_signature": ""}] * 65}, "too-large"),
        ({"subjects": "none"}, "malformed"),
        ({"more": 1}, "malformed"),
    ],
)
async def test_a_message_with_one_thing_wrong_changes_nothing(
    pair: Neighbours, change: dict[str, Any], slug: str
) -> None:
    before = await pair.missouri.disk()
    fields = msgspec.json.decode(pair.message()) | change
    for path in (SYNC_PATH, TRADE_PATH):
        answer = await pair.say(msgspec.json.encode(fields), path)
        assert answer.slug == slug, answer.body
        assert answer.status == {"too-large": 413, "bad-proof": 422}.get(slug, 400)
        if slug == "wrong-version":
            assert answer.problem["protocol"] == limits.PROTOCOL_VERSION
    assert await pair.missouri.disk() == before


async def test_what_others_have_signed_wrongly_changes_nothing(pair: Neighbours) -> None:
    before = await pair.missouri.disk()
    false_entry = entry_of(CALIFORNIA, STRANGER, stamp_ms=2**52)
    unsigned = msgspec.structs.replace(false_entry, public_key=pair.key.public)
    for changes, status, slug in (
        ({"entry": false_entry}, 401, "bad-signature"),
        ({"entry": unsigned}, 401, "bad-signature"),
        ({"entry": entry_of(TEXAS, STRANGER)}, 401, "bad-signature"),
        ({"network": crypto.sha256(b"another")}, 400, "malformed"),
        ({"cosignature": CosignatureLine(2, "— x AAAAAAAA\n")}, 400, "malformed"),
        ({"push": Push(0, (b"{}",), (), "ose-california-001\n1\nAAAA\n\n")}, 400, "malformed"),
    ):
        answer = await pair.say(pair.message(**changes))
        assert (answer.status, answer.slug) in ((status, slug), (401, "bad-signature")), answer
    assert await pair.missouri.disk() == before


async def test_what_is_no_offer_changes_nothing(missouri: Served, texas: Served) -> None:
    entry = entry_of(TEXAS, STRANGER)
    good: dict[str, Any] = msgspec.json.decode(
        messages.encode(Register(limits.PROTOCOL_VERSION, entry))
    )
    line = await missouri.invitation()
    joining: dict[str, Any] = msgspec.json.decode(await taken_up(texas, line))
    before = await missouri.disk()

    def offer(**changes: Any) -> bytes:
        return msgspec.json.encode(good | {"entry": good["entry"] | changes})

    def join(**changes: Any) -> bytes:
        return msgspec.json.encode(joining | {"joining": joining["joining"] | changes})

    other_charter = dict(joining["joining"]["charter"], number=1)
    cases: list[tuple[bytes, int, str]] = [
        (b"", 400, "malformed"),
        (b"[]", 400, "malformed"),
        (b"[" * 100 + b"]" * 100, 400, "malformed"),
        (b"{" * 100_000, 413, "too-large"),
        (msgspec.json.encode(good | {"protocol": 2}), 400, "wrong-version"),
        (msgspec.json.encode(good | {"more": 1}), 400, "malformed"),
        (msgspec.json.encode(good | {"joining": {}}), 400, "malformed"),
        (offer(name="Another"), 401, "bad-signature"),
        (offer(name="two\nlines"), 400, "malformed"),
        (offer(village_id="Texas"), 400, "malformed"),
        (offer(public_key="AAAA"), 400, "malformed"),
        (offer(signature=""), 401, "bad-signature"),
        (offer(location={"lat": 91, "lon": 0}), 400, "malformed"),
        (offer(location={"lat": 1.234, "lon": 0}), 400, "malformed"),
        (offer(endpoints=["no port"]), 400, "malformed"),
        (offer(endpoints=["h:1"] * 9), 400, "malformed"),
        (offer(trusted_villages=["ose-a-001"] * 65), 400, "malformed"),
        (offer(stamp_ms=2**53), 400, "malformed"),
        (offer(stamp_ms=-1), 400, "malformed"),
        (offer(stamp_ms=2**70), 400, "malformed"),
        (offer(protocol=2), 400, "malformed"),
        (offer(more=1), 400, "malformed"),
        (join(secret=""), 404, "not-found"),
        (join(secret="AAAA"), 404, "not-found"),
        (join(signature=""), 401, "bad-signature"),
        (join(charter={}), 400, "malformed"),
        (join(charter=other_charter), 400, "malformed"),
    ]
    for body, status, slug in cases:
        answer = await call(missouri.endpoint, peering.REGISTER_PATH, body)
        assert (answer.status, answer.slug) == (status, slug), (body[:300], answer.body)
    own = await missouri.app.store.read(facts.own_entry)
    body = messages.encode(Register(limits.PROTOCOL_VERSION, own))
    answer = await call(missouri.endpoint, peering.REGISTER_PATH, body)
    assert (answer.status, answer.slug) == (400, "malformed")
    assert await missouri.disk() == before
    assert await texas.ask(control.PeerAdd(line)) == {"neighbour": MISSOURI}


async def test_other_paths_and_methods_are_problems_too(missouri: Served) -> None:
    for method, path, status in (
        ("GET", SYNC_PATH, 405),
        ("GET", TRADE_PATH, 405),
        ("GET", peering.REGISTER_PATH, 405),
        ("POST", VILLAGES_PATH, 405),
        ("DELETE", VILLAGES_PATH, 405),
        ("GET", "/", 404),
        ("GET", "/federation/villages/", 404),
        ("GET", "/federation/../", 404),
        ("POST", "/", 404),
    ):
        answer = await call(missouri.endpoint, path, method=method)
        assert (answer.status, answer.problem["type"]) == (status, "about:blank"), (method, path)
        assert ("allow" in answer.headers) == (status == 405)


def after_contact(before: list[str], now: list[str]) -> list[str]:
    """Return the lines before, but for the one that says when a neighbour was last heard from."""
    return [
        new if new.startswith('INSERT INTO "neighbour"') and old != new else old
        for old, new in zip(before, now, strict=True)
    ]


# Clocks, moves and restarts


@pytest.mark.parametrize("ahead_s", [0, 30])
@pytest.mark.parametrize("stop", ["clean", "power cut"])
async def test_a_captured_request_is_worth_nothing_even_after_a_restart(
    tmp_path: Path, stop: str, ahead_s: int
) -> None:
    """Signed at once, or by a clock that is a little ahead, as is allowed."""
    async with (
        served(tmp_path / MISSOURI, MISSOURI) as missouri,
        served(tmp_path / CALIFORNIA, CALIFORNIA) as california,
    ):
        await california.ask(control.PeerAdd(await missouri.invitation()))
        (known,) = await missouri.app.store.read(neighbours.everyone)
        body = messages.encode(exchange_of(CALIFORNIA, known.network))
        captured = signed(SYNC_PATH, body, MISSOURI, california.key, CALIFORNIA, ahead_s=ahead_s)
        assert (await call(missouri.endpoint, SYNC_PATH, body, captured)).status == 200
        again = await call(missouri.endpoint, SYNC_PATH, body, captured)
        assert (again.status, again.slug) == (401, "replayed-request")
        address = missouri.endpoint.addresses[0]
    if stop == "power cut":
        cut_power(tmp_path / MISSOURI)
    async with served(tmp_path / MISSOURI, MISSOURI, listen__federation=address) as missouri:
        before = await missouri.disk()
        again = await call(missouri.endpoint, SYNC_PATH, body, captured)
        assert (again.status, again.slug) == (401, "stale-request")
        assert await missouri.disk() == before
        async with served(tmp_path / CALIFORNIA, CALIFORNIA) as california:
            await california.app.client.exchange(MISSOURI)  # who has the key gets on, by the nonce


async def test_a_restart_with_the_clock_set_back_takes_no_old_request(tmp_path: Path) -> None:
    """A Raspberry Pi wakes in the past: what its own log shows is the floor."""
    async with (
        served(tmp_path / MISSOURI, MISSOURI) as missouri,
        served(tmp_path / CALIFORNIA, CALIFORNIA) as california,
    ):
        await california.ask(control.PeerAdd(await missouri.invitation()))
        (known,) = await missouri.app.store.read(neighbours.everyone)
        body = messages.encode(exchange_of(CALIFORNIA, known.network))
        captured = signed(SYNC_PATH, body, MISSOURI, california.key, CALIFORNIA)
        captured_early = signed(SYNC_PATH, body, MISSOURI, california.key, CALIFORNIA, ahead_s=-30)
        for headers in (captured, captured_early):
            assert (await call(missouri.endpoint, SYNC_PATH, body, headers)).status in (200, 401)
        await missouri.ask(control.Issue("treasury", "1"))
    async with served(tmp_path / MISSOURI, MISSOURI, ahead_s=lambda: -45) as missouri:
        again = await call(missouri.endpoint, SYNC_PATH, body, captured_early)
        assert (again.status, again.slug) == (401, "stale-request")


async def test_a_neighbour_that_moves_tells_where(tmp_path: Path) -> None:
    """Another port, told by the registry entry in the mover's first words."""
    async with served(tmp_path / MISSOURI, MISSOURI) as missouri:
        async with served(tmp_path / CALIFORNIA, CALIFORNIA) as california:
            await california.ask(control.PeerAdd(await missouri.invitation()))
            old = california.endpoint.addresses[0]
            await missouri.app.client.exchange(CALIFORNIA)
        with pytest.raises(Unreachable, match="Connection refused"):
            await missouri.app.client.exchange(CALIFORNIA)
        async with served(tmp_path / CALIFORNIA, CALIFORNIA) as california:
            assert california.endpoint.addresses[0] != old
            await until(lambda: addresses_are(missouri, california), "the new address is known")
            await missouri.app.client.exchange(CALIFORNIA)
            answer = await call(missouri.endpoint, VILLAGES_PATH, method="GET")
            assert json.loads(answer.body)[1]["endpoints"] == list(california.endpoint.addresses)


async def addresses_are(box: Served, other: Served) -> bool:
    peers = (await box.ask(control.PeerList()))["neighbours"]
    return [each["addresses"] for each in peers] == [list(other.endpoint.addresses)]


@pytest.mark.parametrize("odd", ["clock +3600", "clock -3600"])
async def test_a_box_an_hour_off_syncs_and_trades_and_says_so(tmp_path: Path, odd: str) -> None:
    """Real processes: one's clock is right, the other's is not."""
    right, wrong = RealBox(tmp_path, MISSOURI), RealBox(tmp_path, CALIFORNIA)
    try:
        await asyncio.gather(right.start(), wrong.start(odd=odd))
        await befriend(right, wrong)
        await right.ask(control.MemberAdd("Alice", "1234"))
        await right.ask(control.Issue("Alice", "500"))
        await wrong.ask(control.MemberAdd("Bob", "1234"))
        await wrong.ask(control.Declare("Bob", "Solar Panel", "1"))
        await until(lambda: holds(right, 4), "the other's log is here")
        offer, request = ("AT", "100"), ("Solar Panel", "1")
        made = await right.ask(control.TradePropose("Alice", "Bob", CALIFORNIA, offer, request))
        await until(lambda: wrong.trade(made["id"]), "the proposal has come")
        await wrong.ask(control.TradeAccept(made["id"]))
        for box in (right, wrong):
            await until(partial(has_settled, box, made["id"]), f"{box.village} has settled")
        seconds = int(odd.removeprefix("clock "))
        for box, expected in ((right, seconds), (wrong, -seconds)):
            seen = await until(partial(difference_of, box), "the clocks differ")
            assert abs(seen - expected) <= 5
        wrong.stop()
        await wrong.start()
        await until(lambda: is_right(right), "the clock was set right, and is told of no more")
    finally:
        right.end()
        wrong.end()
    for box in (right, wrong):
        assert "agree" in box.audit()


async def holds(box: RealBox, records: int) -> bool:
    peers = (await box.ask(control.PeerList()))["neighbours"]
    return bool(peers) and peers[0]["records_held"] >= records


async def has_settled(box: RealBox, id_: str) -> bool:
    found = await box.trade(id_)
    return found is not None and found["status"] == "SETTLED"


async def difference_of(box: RealBox) -> int:
    (neighbour,) = (await box.ask(control.Status()))["neighbours"]
    return int(neighbour["clock_difference_s"])


async def is_right(box: RealBox) -> bool:
    return await difference_of(box) == 0


def test_the_least_invitation_has_all_fields() -> None:
    """What `altered` changes is all there is: a new field needs a case above."""
    assert set(Invitation.__struct_fields__) == {
        *("village_id", "key", "spki_sha256", "addresses", "network", "charter"),
        *("expires_minute", "secret", "council_seats"),
    }


async def test_strangers_bytes_leave_no_fault_in_the_log(
    pair: Neighbours, caplog: pytest.LogCaptureFixture
) -> None:
    """A stranger can send what it likes for ever: that must not fill the box's log."""
    caplog.set_level(logging.INFO)
    there = pair.missouri.endpoint
    host, port = there.addresses[0].split(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    garbage = (
        b"\x00" * 100,
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /federation/sync HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /federation/sync HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /federation/register HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nshort",
        b"GET /%ff%fe HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    )
    for tls_context in (context, None):
        for sent in garbage:
            reader, writer = await asyncio.open_connection(host, int(port), ssl=tls_context)
            with contextlib.suppress(OSError):
                writer.write(sent)
                writer.write_eof() if tls_context is None else None
                await writer.drain()
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await reader.read()
                await writer.wait_closed()
    for encoding in ("gzip", "deflate", "br", "x"):
        answer = await pair.say(b"hello", Content_Encoding=encoding)
        assert (answer.status, answer.slug) == (400, "malformed")
    assert (await pair.say(pair.message())).status == 200
    assert [each.getMessage() for each in caplog.records] == []
