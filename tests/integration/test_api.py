"""The JSON API over real HTTP, with a real store and a neighbour in the same process."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import combinations
from pathlib import Path
from typing import Any, Final, get_args

import jsonschema_rs
import msgspec
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31

from edge import desk, errors
from edge import steward as stewards_work
from edge.core import invitation, limits, receipt, records
from edge.errors import Refused
from edge.storage import members, tokens
from edge.storage.tokens import SCOPES, Scope
from edge.web import api_types, feed, openapi
from edge.web.api_table import OPERATIONS
from edge.web.operations import Doing, Operation
from tests.integration.api_caller import API, Program, make_token
from tests.integration.boxes import until
from tests.integration.web_boxes import (
    CALIFORNIA,
    MISSOURI,
    Browser,
    WebBox,
    Wire,
    people_and_goods,
)

TEXAS: Final = "ose-texas-001"
NO_ID: Final = "0123456789abcdef"
ALICE_PAYS: Final = {"to": "Carol", "amount": "12.50", "note": "for the cheese"}
PANEL: Final = {"asset": "SOLAR-PANEL", "amount": "1"}


class Two:
    """Two neighbours with a program for each of their people; Alice is a steward of A."""

    def __init__(self, wire: Wire, a: WebBox, b: WebBox) -> None:
        self.wire, self.a, self.b = wire, a, b
        self.alice = self.carol = self.bob = Program(a, "")


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def two(stack: AsyncExitStack, tmp_path: Path) -> Two:
    wire = Wire()
    a = await stack.enter_async_context(WebBox(wire, tmp_path, MISSOURI, "Factor e Farm", 100))
    b = await stack.enter_async_context(WebBox(wire, tmp_path, CALIFORNIA, "Sonoma <Hills>"))
    await people_and_goods(a, b)
    await a.store.write(lambda tx: desk.set_steward(tx, "Alice", True))
    found = Two(wire, a, b)
    people = (("alice", a, "Alice", SCOPES), ("carol", a, "Carol", ()), ("bob", b, "Bob", ()))
    for attribute, box, name, scopes in people:
        text = await make_token(box, name, *scopes)
        setattr(found, attribute, await stack.enter_async_context(Program(box, text)))
    return found


def filled(operation: Operation) -> str:
    """Return a path of the operation that leads to nothing."""
    return operation.path.replace("{id}", NO_ID).replace("{village}", MISSOURI)


async def offered(two: Two, **more: Any) -> Any:
    """Return a trade that Alice has proposed to Bob."""
    body = {"to": "Bob", "village": CALIFORNIA, "offer": {"asset": "AT", "amount": "100"}}
    return await two.alice.done("/trades", {**body, "request": PANEL, "fee": "1", **more})


async def stands(who: Program, id_: str, status: str) -> Any:
    """Return a trade once its member sees it so."""

    async def look() -> Any:
        answer = await who.get(f"/trades/{id_}")
        return answer.json if answer.status == 200 and answer.json["status"] == status else None

    return await until(look, f"{id_} is {status}")


async def given(two: Two, amount: int = 1) -> Any:
    """Return a gift of hoes that Alice has proposed to Carol, at home."""
    await two.a.store.write(lambda tx: desk.declare(tx, "Alice", "Hoe", str(amount)))
    hoes = {"asset": "HOE", "amount": str(amount)}
    return await two.alice.done("/trades", {"to": "Carol", "offer": hoes, "request": None})


# The table


def test_document_is_openapi_and_has_every_operation() -> None:
    document = msgspec.json.decode(openapi.document())
    jsonschema_rs.validator_for(OPENAPI_31).validate(document)
    shown = {
        (method.upper(), path): each
        for path, item in document["paths"].items()
        for method, each in item.items()
    }
    assert shown.keys() == {(each.method, each.path) for each in OPERATIONS}
    assert len({each["operationId"] for each in shown.values()}) == len(OPERATIONS)
    for each in OPERATIONS:
        statuses = shown[each.method, each.path]["responses"].keys()
        assert statuses >= {str(int(each.status)), "400", "401", "403", "500"}
        assert len(statuses) == len(each.statuses) + 1
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    operation = document["components"]["schemas"]["Movement"]["properties"]["operation"]
    assert set(operation["enum"]) == set(get_args(records.Operation))
    for text in (api_types.TIMES, api_types.AMOUNTS, "no CORS on purpose"):
        assert text in document["info"]["description"]
    assert {  # the bounds of what one may ask for
        name: each["schema"]["maximum"]
        for each in shown["GET", "/changes"]["parameters"]
        for name in [each["name"]]
        if "maximum" in each["schema"]
    } == {"limit": api_types.PAGE_MAX, "wait_s": api_types.WAIT_S_MAX}
    assert f"At most {feed.WAITING_PER_MEMBER_MAX} streams" in document["info"]["description"]


COUNTS: Final = frozenset(
    "record records_held decimals open_trades deciding needed size cosigned_size cosigners"
    " status".split()
)
AMOUNTS: Final = frozenset("amount balance on_hold available limit line room fee quantity".split())


def test_times_and_amounts_have_one_form() -> None:
    """Each number says its unit, and no amount is one: in bodies, answers and problems."""
    schemas = msgspec.json.decode(openapi.document())["components"]["schemas"]
    seen = set()
    for kind, schema in schemas.items():
        for name, shown in schema.get("properties", {}).items():
            assert shown.get("type") != "number", (kind, name)
            if shown.get("type") == "integer" or "additionalProperties" in shown:
                assert name in COUNTS or re.search("_(ms|s|hours|bytes)$|^days$", name), (
                    kind,
                    name,
                )
                assert not name.endswith("_s") or name in LENGTHS_S, (kind, name)
            elif name in AMOUNTS:
                seen.add(name)
                is_reference = "$ref" in shown
                assert is_reference or shown["pattern"].startswith(("^(0|", "^-?(0|")), (kind, name)
    assert seen == AMOUNTS


LENGTHS_S: Final = frozenset("deadline_s clock_difference_s retry_after_s".split())


async def test_document_is_open_to_all(two: Two) -> None:
    stranger = Program(two.a, "")
    async with stranger:
        answer = await stranger.get("/openapi.json")
    assert answer.status == 200
    assert answer.body == openapi.document()
    assert answer.headers["Content-Type"] == "application/json"


async def test_every_operation(two: Two) -> None:
    """Each is used as it is meant to be, and answers with the status that the table says."""
    seen: set[tuple[str, str]] = set()

    async def use(who: Program, operation: str, body: object = None, **parts: str) -> Any:
        method, _, path = operation.partition(" ")
        [known] = [e for e in OPERATIONS if (e.method, e.path) == (method, path.partition("?")[0])]
        sent: dict[str, Any] = {} if body is None else {"json": body}
        answer = await who.ask(method, path.format(**parts), **sent)
        assert answer.status == known.status, answer
        seen.add((known.method, known.path))
        return answer.json

    alice, bob, carol = two.alice, two.bob, two.carol
    me = await use(alice, "GET /me")
    assert me == {
        "member": "Alice",
        "village": MISSOURI,
        "village_name": "Factor e Farm",
        "steward": True,
        "token": "a test",
        "scopes": ["read", "trade", "steward"],
    }
    assert (await use(alice, "GET /balances"))["balances"] == [
        {
            "asset": "AT",
            "balance": "500.00",
            "on_hold": "0.00",
            "available": "500.00",
            "limit": "0.00",
        }
    ]
    record = (await use(alice, "POST /payments", ALICE_PAYS))["record"]
    [row] = (await use(carol, "GET /history?limit=1"))["movements"]
    assert (row["record"], row["amount"], row["balance"]) == (record, "12.50", "12.50")
    assert (row["other"], row["note"], row["operation"]) == ("Alice", "for the cheese", "pay")

    # A trade with another village.
    proposed = await use(
        alice,
        "POST /trades",
        {
            "to": "Bob",
            "village": CALIFORNIA,
            "offer": {"asset": "AT", "amount": "100"},
            "request": PANEL,
            "fee": "1",
        },
    )
    assert (proposed["status"], proposed["fee"], proposed["steps"]) == (
        "PENDING",
        "1.00",
        ["cancel"],
    )
    [theirs] = (await use(bob, "GET /trades?state=open"))["trades"]
    assert (theirs["other"], theirs["village"], theirs["role"]) == ("Alice", MISSOURI, "to")
    settled = await use(bob, "POST /trades/{id}/accept", id=theirs["id"])
    assert settled["status"] == "SETTLED"
    ours = await use(alice, "GET /trades/{id}", id=proposed["id"])
    assert (ours["status"], ours["has_receipt"], ours["ended"]) == ("SETTLED", True, True)
    seats = [MISSOURI, CALIFORNIA]
    assert ours["decided_by"] == {"seats": seats, "needed": 2, "parties_alone": True}
    proof = await alice.get(f"/trades/{proposed['id']}/receipt")
    assert receipt.decode(proof.body).certificate.value == "COMMIT"
    await use(alice, "GET /trades/{id}/receipt", id=proposed["id"])

    # What comes after it.
    assert ours["steps"] == ["delivered", "dispute", "refund"] and settled["steps"] == ["refund"]
    assert ours["deliver_ms"] > two.a.now_ms and not settled["deliver_ms"]
    why = {"village": MISSOURI, "text": "It is cracked."}
    asked = {"reason": why["text"]}
    disputed = await use(alice, "POST /trades/{id}/dispute", asked, id=proposed["id"])
    assert (disputed["status"], disputed["disputes"]) == ("DISPUTED", [why])
    assert disputed["deliver_ms"] == 0
    assert (await stands(bob, theirs["id"], "DISPUTED"))["disputes"] == [why]
    back = await use(bob, "POST /trades/{id}/refund", id=theirs["id"])
    assert (back["refund_of"], back["fee"]) == (theirs["id"], "0.00")
    assert (back["offer"], back["request"]) == ({"asset": "AT", "amount": "100.00"}, PANEL)
    await stands(alice, back["id"], "PENDING")
    await use(alice, "POST /trades/{id}/accept", id=back["id"])
    refunded = await alice.found(f"/trades/{proposed['id']}")
    assert (refunded["refund"], refunded["steps"]) == (back["id"], [])
    second = await offered(two)
    await bob.done(f"/trades/{second['id']}/accept")
    came = await use(alice, "POST /trades/{id}/delivered", id=second["id"])
    assert (came["status"], came["steps"]) == ("DELIVERED", [])
    assert (await alice.post(f"/trades/{second['id']}/delivered")).slug == "wrong-state"
    assert (await stands(bob, second["id"], "DELIVERED"))["ended"]

    for who, step in ((bob, "reject"), (alice, "cancel")):
        again = await offered(two)
        ended = await use(who, f"POST /trades/{{id}}/{step}", id=again["id"])
        assert ended["ended"]

    # Goods, the market and a trade at home.
    await use(alice, "POST /steward/assets", {"asset": "Goat Cheese", "decimals": 1})
    await use(alice, "POST /declarations", {"asset": "Goat Cheese", "amount": "5.5"})
    await use(alice, "POST /consumptions", {"asset": "goat-cheese", "amount": "0.5"})
    listed = await use(
        alice,
        "POST /listings",
        {
            "side": "offer",
            "asset": "Goat Cheese",
            "quantity": "5",
            "price": {"asset": "AT", "amount": "2"},
            "text": "from this spring",
        },
    )
    assert (listed["mine"], listed["by"], listed["quantity"]) == (True, "Alice", "5.0")
    [found] = (await use(carol, "GET /listings?search=cheese&side=offer"))["listings"]
    assert found == {**listed, "mine": False}
    assert (
        await use(carol, "GET /listings/{village}/{id}", village=MISSOURI, id=listed["id"]) == found
    )
    answered = await use(
        carol,
        "POST /listings/{village}/{id}/answer",
        {"quantity": "2", "digest": listed["digest"]},
        village=MISSOURI,
        id=listed["id"],
    )
    assert answered["offer"] == {"asset": "AT", "amount": "4.00"}
    assert (answered["village"], answered["other"]) == (MISSOURI, "Alice")
    await use(alice, "POST /trades/{id}/accept", id=answered["id"])
    left = await alice.found(f"/listings/{MISSOURI}/{listed['id']}")
    assert left["quantity"] == "3.0"
    gone = await use(alice, "POST /listings/{id}/take-back", id=listed["id"])
    assert gone == {"kind": "listing", "village": MISSOURI, "id": listed["id"], "listing": None}

    # Who and what there is.
    assert [each["village"] for each in (await use(alice, "GET /villages"))["villages"]] == [
        MISSOURI,
        CALIFORNIA,
    ]
    assert (await use(alice, "GET /members"))["members"] == ["Alice", "Carol"]
    codes = [each["asset"] for each in (await use(alice, "GET /assets"))["assets"]]
    assert codes == ["AT", "GOAT-CHEESE", "SOLAR-PANEL"]
    changed = await use(alice, "GET /changes?since=0")
    assert {each["kind"] for each in changed["changes"]} == {"trade", "movement", "listing"}
    async with alice.session.get(
        alice.url("/events?since=0"), headers={"Authorization": f"Bearer {alice.text}"}
    ) as stream:
        assert (stream.status, stream.content_type) == (200, "text/event-stream")
        seen.add(("GET", "/events"))

    # A steward's.
    status = await use(alice, "GET /steward/status")
    assert (status["village"], status["deciding"], status["misbehaviour"]) == (MISSOURI, 0, [])
    assert status["log"]["newest_ms"] == two.a.now_ms - two.a.now_ms % limits.MINUTE_MS
    [heard] = [each for each in status["neighbours"] if each["village"] == CALIFORNIA]
    await use(alice, "POST /steward/members", {"name": "Dora", "pin": "123456"})
    await use(alice, "POST /steward/limits", {"member": "Dora", "amount": "50"})
    await use(alice, "POST /steward/issues", {"to": "Dora", "amount": "7"})
    await use(alice, "POST /steward/declarations", {"owner": "Dora", "asset": "Hoe", "amount": "2"})
    await use(alice, "POST /steward/consumptions", {"owner": "Dora", "asset": "Hoe"})
    everyone = (await use(alice, "GET /steward/members"))["members"]
    [dora] = [each for each in everyone if each["name"] == "Dora"]
    assert {each["asset"]: (each["balance"], each["limit"]) for each in dora["balances"]} == {
        "AT": ("7.00", "50.00"),
        "HOE": ("1", "0"),
    }
    await use(alice, "POST /steward/lines", {"village": CALIFORNIA, "amount": "250"})
    [neighbour] = (await use(alice, "GET /steward/neighbours"))["neighbours"]
    assert neighbour["lines"][0]["line"] == "250.00"
    assert neighbour["last_contact_ms"] >= heard["last_contact_ms"] > 10**12
    await use(alice, "POST /steward/invitations", {"valid_hours": 1})
    async with WebBox(two.wire, Path(two.a._path).parent, TEXAS, "Bastrop") as texas:
        await texas.store.write(lambda tx: desk.add_member(tx, "Tex", "x", steward=True))
        line = (await alice.done("/steward/invitations", {}))["invitation"]
        async with Program(texas, await make_token(texas, "Tex", "steward")) as tex:
            joined = await use(tex, "POST /steward/neighbours", {"invitation": line})
    assert joined == {"village": MISSOURI}

    assert seen == {(each.method, each.path) for each in OPERATIONS}


# Who may


async def test_scopes(two: Two) -> None:
    """Every operation with every set of scopes: it is open to those with its own, and to no one
    else; a token that is none, or is revoked, opens nothing."""
    sets = [set(chosen) for size in (1, 2, 3) for chosen in combinations(SCOPES, size)]
    for scopes in sets:
        ordered = tuple(scope for scope in SCOPES if scope in scopes)
        two.alice.text = await make_token(two.a, "Alice", *ordered)
        for each in OPERATIONS:
            if each.path == "/events" and "read" in scopes:
                continue  # does not end; it is in the tests of the feed
            answer = await two.alice.ask(each.method, filled(each))
            if each.scope in scopes:
                assert answer.status not in (401, 403), (each, answer)
                assert answer.status in (*each.statuses, each.status), (each, answer)
            else:
                assert (answer.status, answer.slug) == (403, "forbidden"), (each, scopes)
                assert answer.json["scope"] == each.scope
        await two.a.store.write(lambda tx: _revoke_all(tx, "Alice"))
        await all_refused(two.alice)
    for text in ("", "ve_", tokens.PREFIX + "0" * 64, "ve_" + "é" * 64, "x" * 5_000):
        two.alice.text = text
        await all_refused(two.alice)


async def all_refused(who: Program) -> None:
    for each in OPERATIONS:
        answer = await who.ask(each.method, filled(each))
        assert (answer.status, answer.slug) == (401, "not-signed-in"), each
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


def _revoke_all(tx: Any, name: str) -> None:
    member = members.named(tx, name)
    for token in tokens.of_member(tx, member):
        tokens.revoke(tx, member, token.id)


async def test_who_is_no_steward_any_more_has_no_stewards_token(two: Two) -> None:
    """Not even once made a steward again."""
    await two.a.store.write(lambda tx: desk.set_steward(tx, "Carol", True))
    assert (await two.alice.get("/steward/status")).status == 200
    for steward in (False, True):
        await two.a.store.write(lambda tx, now=steward: desk.set_steward(tx, "Alice", now))  # type: ignore[misc]
        assert (await two.alice.get("/steward/status")).status == 401


async def test_a_token_with_trade_alone_may_not_look(two: Two) -> None:
    two.alice.text = await make_token(two.a, "Alice", "trade")
    assert (await two.alice.get("/balances")).status == 403
    assert (await two.alice.post("/payments", ALICE_PAYS)).status == 201


async def test_a_cookie_opens_nothing_and_no_other_origin_is_let_in(
    two: Two, stack: AsyncExitStack
) -> None:
    browser = await stack.enter_async_context(Browser(two.a.server))
    await browser.sign_in("Alice")
    await browser.get(API + "/balances")
    assert browser.status == 401
    await browser.post_json(API + "/payments", ALICE_PAYS)
    assert browser.status == 401
    other = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    asked = await two.alice.ask("OPTIONS", "/payments", headers=other)
    assert asked.status == 405
    answer = await two.alice.get("/balances", headers=other)
    assert not [name for name in (*asked.headers, *answer.headers) if name.startswith("Access-")]
    assert "Set-Cookie" not in answer.headers


async def test_authorization_has_one_form(two: Two) -> None:
    text = two.alice.text
    two.alice.text = ""
    for header, status in {
        f"Bearer {text}": 200,
        f"bearer {text}": 200,
        f"Bearer  {text}": 401,
        f"Basic {text}": 401,
        text: 401,
        f"Bearer {text} ": 200,  # HTTP itself takes a space at a field's end away
        f"Bearer {text.upper()}": 401,
    }.items():
        answer = await two.alice.get("/me", headers={"Authorization": header})
        assert answer.status == status, header
    assert (await two.alice.get(f"/me?access_token={text}")).status == 401


async def test_others_trades_are_not_there(two: Two) -> None:
    made = await offered(two)
    home = await given(two)
    await two.a.member("Dora", "135790")
    async with Program(two.a, await make_token(two.a, "Dora")) as dora:
        for id_ in (made["id"], home["id"]):
            assert (await dora.get(f"/trades/{id_}")).slug == "unknown-trade"
            for step in ("accept", "reject", "cancel"):
                assert (await dora.post(f"/trades/{id_}/{step}")).slug == "unknown-trade"
        assert (await dora.found("/trades"))["trades"] == []
    assert (await two.carol.post(f"/trades/{home['id']}/cancel")).slug == "forbidden"


# What is done


async def test_idempotency(two: Two) -> None:
    first = await two.alice.post("/payments", ALICE_PAYS, key="cheese-1")
    spaced = await two.alice.ask(
        "POST",
        "/payments",
        headers={"Idempotency-Key": "cheese-1", "Content-Type": "application/json"},
        data=b'{"note": "for the cheese",  "amount": "12.50", "to": "Carol", "asset": "AT"}',
    )
    assert (first.status, first.body) == (spaced.status, spaced.body)
    for body, path in (
        ({**ALICE_PAYS, "amount": "12.5"}, "/payments"),
        ({"to": "Carol", "amount": "12.50", "note": "for the cheese"}, "/steward/issues"),
    ):
        other = await two.alice.post(path, body, key="cheese-1")
        assert (other.status, other.slug) == (409, "conflict")
        assert other.json["detail"] == "a request with this id has asked for something else before"
    other = await two.carol.post("/payments", {**ALICE_PAYS, "to": "Alice"}, key="cheese-1")
    assert other.status == 201, "a key is of one member"
    assert (await two.alice.post("/payments", ALICE_PAYS)).json != first.json
    assert (await two.carol.found("/balances"))["balances"][0]["balance"] == "12.50"
    for key in ("a b", "x" * 65, "é"):
        refused = await two.alice.post("/payments", ALICE_PAYS, key=key)
        assert refused.slug == "invalid-input", key


async def test_idempotency_of_all_that_changes_something(two: Two) -> None:
    """Sent eight times at once and then again, each is done once."""
    before = await two.alice.found("/trades")
    assert before["trades"] == []
    bodies: dict[str, object] = {
        "/payments": ALICE_PAYS,
        "/trades": {
            "to": "Bob",
            "village": CALIFORNIA,
            "offer": {"asset": "AT", "amount": "100"},
            "request": PANEL,
            "fee": "1",
        },
        "/steward/members": {"name": "Dora", "pin": "123456"},
        "/steward/issues": {"to": "Carol", "amount": "1"},
        "/steward/assets": {"asset": "Hoe"},
        "/declarations": {"asset": "Hoe", "amount": "3"},
        "/listings": {"side": "offer", "asset": "Hoe", "quantity": "3"},
    }
    for path, body in bodies.items():
        answers = await asyncio.gather(*(two.alice.post(path, body, key="one") for _ in range(8)))
        assert {each.status for each in answers} == ({201} if path == "/payments" else {409})
        answers = await asyncio.gather(*(two.alice.post(path, body, key=path) for _ in range(8)))
        answers.append(await two.alice.post(path, body, key=path))
        assert {each.status for each in answers} == {201}, answers
        kept = {str(each.json.get("id", each.body)) for each in answers}
        assert len(kept) == 1, kept
    assert len((await two.alice.found("/trades"))["trades"]) == 1
    assert len((await two.alice.found("/listings"))["listings"]) == 1


async def test_an_invitation_is_in_one_answer_and_kept_nowhere(two: Two) -> None:
    """Sent eight times at once and then again, one is made and one answer has it."""
    count = "SELECT count(*) FROM invitation"
    (before,) = await two.a.store.read(lambda view: view.one(count))
    sent = [two.alice.post("/steward/invitations", {}, key="new") for _ in range(8)]
    answers = await asyncio.gather(*sent)
    answers.append(await two.alice.post("/steward/invitations", {}, key="new"))
    [made] = [each for each in answers if each.status == 201]
    assert {each.slug for each in answers if each is not made} == {"wrong-state"}
    assert {each.status for each in answers if each is not made} == {409}
    other = await two.alice.post("/steward/invitations", {"valid_hours": 1}, key="new")
    assert (other.status, other.slug) == (409, "conflict")
    assert await two.a.store.read(lambda view: view.one(count)) == (before + 1,)
    line = made.json["invitation"]
    secret = invitation.from_text(line).secret
    dump = await two.a.store.read(lambda view: list(view.conn.iterdump()))
    for each in (line, secret.hex(), line.encode().hex()):
        assert not any(each in row or each.upper() in row for row in dump)
    fresh = await two.alice.post("/steward/invitations", {}, key="another")
    assert fresh.json["invitation"] != line


async def test_no_pin_can_be_guessed_from_what_is_kept(two: Two) -> None:
    """The digest of a request with a PIN is keyed: else trying all four digits finds it."""
    await two.alice.done("/steward/members", {"name": "Dora", "pin": "4711"}, key="dora")
    rows = await two.a.store.read(lambda view: view.all("SELECT digest, answer FROM request"))
    body = b'{"name":"Dora","pin":"4711","steward":false}'
    asked = b'["POST","/api/v1/steward/members",%s]' % body
    plain = {hashlib.sha256(text).digest() for text in (body, asked, b"4711")}
    assert rows and not plain & {bytes(digest) for digest, _ in rows}


async def test_a_fee_is_agreed_to_first(two: Two) -> None:
    body = {"to": "Bob", "village": CALIFORNIA, "offer": {"asset": "AT", "amount": "100"}}
    refused = await two.alice.post("/trades", {**body, "request": PANEL})
    assert (refused.status, refused.slug, refused.json["fee"]) == (422, "refused", "1.00")
    assert (await two.alice.found("/trades"))["trades"] == []
    made = await two.alice.done("/trades", {**body, "request": PANEL, "fee": "1.00"})
    assert made["fee"] == "1.00"
    [held] = (await two.alice.found("/balances"))["balances"]
    assert (held["on_hold"], held["available"]) == ("101.00", "399.00")


async def test_gifts_and_barter(two: Two) -> None:
    gift = await given(two, 5)
    assert (gift["request"], gift["village"]) == (None, MISSOURI)
    assert (await two.carol.done(f"/trades/{gift['id']}/accept"))["status"] == "SETTLED"
    assert (await two.carol.post(f"/trades/{gift['id']}/accept")).slug == "wrong-state"
    assert (await two.alice.get(f"/trades/{gift['id']}/receipt")).status == 404
    asked = await two.alice.done(
        "/trades", {"to": "Bob", "village": CALIFORNIA, "offer": None, "request": PANEL}
    )
    assert (await two.bob.done(f"/trades/{asked['id']}/accept"))["status"] == "SETTLED"
    for sides in ({"offer": None, "request": None}, {"offer": PANEL, "request": PANEL}):
        assert (await two.alice.post("/trades", {"to": "Carol", **sides})).slug == "invalid-input"


# Lists


async def test_paging(two: Two) -> None:
    for number in range(7):
        await two.alice.done("/payments", {**ALICE_PAYS, "amount": f"{number + 1}"})
        await given(two, number + 1)
        await two.alice.done("/steward/assets", {"asset": f"Thing {number}"})
        await two.alice.done("/listings", {"side": "want", "asset": "Thing 0", "quantity": "1"})
        await two.a.member(f"Member {number}", "123456")
    await offered(two)
    for path, name, key in (
        ("/history", "movements", "record"),
        ("/trades", "trades", "id"),
        ("/trades?state=open", "trades", "id"),
        ("/listings?mine=true", "listings", "id"),
        ("/assets", "assets", "asset"),
        ("/members", "members", None),
        ("/steward/members", "members", "name"),
    ):
        join = "&" if "?" in path else "?"
        whole = (await two.alice.found(f"{path}{join}limit=200"))[name]
        assert len(whole) >= 7
        for limit in (1, 3, len(whole) - 1, len(whole)):
            parts, next_ = [], ""
            while True:
                page = await two.alice.found(f"{path}{join}limit={limit}&next={next_}")
                assert len(page[name]) <= limit
                parts += page[name]
                next_ = page["next"]
                if not next_:
                    break
                assert len(page[name]) == limit
            assert parts == whole, (path, limit)
        keys = [each[key] if key else each for each in whole]
        assert len(set(keys)) == len(keys)


async def test_filters(two: Two) -> None:
    made = await offered(two)
    home = await given(two)
    await two.carol.done(f"/trades/{home['id']}/reject")
    both = [home["id"], made["id"]]

    async def ids(query: str) -> list[str]:
        return [each["id"] for each in (await two.alice.found(f"/trades{query}"))["trades"]]

    assert await ids("") == both
    assert await ids("?state=open") == await ids("?status=PENDING") == [made["id"]]
    assert await ids("?state=ended") == await ids(f"?village={MISSOURI}") == [home["id"]]
    assert await ids(f"?village={CALIFORNIA}") == [made["id"]]
    assert await ids(f"?village={CALIFORNIA}&state=ended") == await ids(f"?village={TEXAS}") == []
    assert await ids("?state=ended&status=PENDING") == []
    await two.alice.done("/payments", ALICE_PAYS)

    async def amounts(query: str) -> list[str]:
        found = await two.alice.found(f"/history{query}")
        return [each["amount"] for each in found["movements"]]

    assert await amounts("") == ["-12.50", "1", "500.00"]
    assert await amounts("?direction=in&asset=AT") == await amounts("?kind=issued") == ["500.00"]
    assert await amounts("?kind=payments") == ["-12.50"]
    assert await amounts("?asset=PANEL") == await amounts("?until_ms=1000") == []
    assert await amounts(f"?since_ms={two.a.now_ms + 1_000}") == []


# Bad input


BAD_BODIES: Final[list[bytes]] = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b"{}",
    b'{"to": "Carol"}',
    b'{"to": "Carol", "amount": 5}',
    b'{"to": "Carol", "amount": "5", "more": 1}',
    b'{"to": "Carol", "amount": "-5"}',
    b'{"to": "Carol", "amount": "05"}',
    b'{"to": "Carol", "amount": "5."}',
    b'{"to": "Carol", "amount": "5\\n"}',
    b'{"to": "Carol", "amount": "0"}',
    b'{"to": "Carol", "amount": "1e3"}',
    b'{"to": "Carol", "amount": "0.001"}',
    b'{"to": "Carol", "amount": "999999999999999999"}',
    '{"to": "Carol", "amount": "٣"}'.encode(),
    b'{"to": "", "amount": "5"}',
    b'{"to": "Carol", "amount": "5", "asset": ""}',
    b'{"to": "Carol", "amount": "5", "asset": "!"}',
    b'{"to": "Carol", "amount": "5", "note": "a\\u0000b"}',
    b'{"to": "Carol", "amount": "5", "note": "\\ud800"}',
    b'{"to": "Carol", "amount": "5", "note": "%s"}' % (b"x" * 201),
    b'{"to": "Carol\xff", "amount": "5"}',
    b"[" * 5_000 + b"]" * 5_000,
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: repr(body[:40]))
async def test_bad_bodies(two: Two, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await two.alice.ask("POST", "/payments", headers=headers, data=body)
    assert answer.status == 400, answer
    assert answer.slug in ("invalid-input", "invalid-amount", "malformed")
    assert "12.50" not in str((await two.carol.found("/balances"))["balances"])


async def test_names_that_nobody_has(two: Two) -> None:
    for name in ("Nobody", "a\0b", "x" * 60):
        answer = await two.alice.post("/payments", {"to": name, "amount": "5"})
        assert (answer.status, answer.slug) == (404, "unknown-member"), name
    surrogate = b'{"to": "\\ud800", "amount": "5"}'
    headers = {"Content-Type": "application/json"}
    assert (await two.alice.ask("POST", "/payments", headers=headers, data=surrogate)).status == 400


async def test_bad_queries(two: Two) -> None:
    for query in (
        "/balances?x=1",
        "/me?limit=5",
        "/trades?limit=0",
        "/trades?limit=201",
        "/trades?limit=+5",
        "/trades?limit=05",
        "/trades?limit=5.0",
        "/trades?limit=",
        "/trades?limit=5&limit=5",
        "/trades?state=closed",
        "/trades?status=pending",
        "/trades?next=x",
        "/trades?next=AAAA",
        "/trades?next=MQ",
        "/history?next=LTE",
        "/history?next=" + "A" * 161,
        "/history?since_ms=-1",
        "/history?asset=%00",
        "/listings?mine=1",
        "/listings?mine=True",
        "/listings?search=" + "x" * 101,
        "/changes?wait_s=31",
        "/changes?since=-1",
        "/changes?since=1",
        "/changes?since=01.1",
        "/changes?since=1.1%0A",
        "/events?since=x",
    ):
        answer = await two.alice.get(query)
        assert (answer.status, answer.slug) == (400, "invalid-input"), query
    for path in ("/payments?x=1", "/steward/issues?dry=1"):
        assert (await two.alice.post(path, ALICE_PAYS)).status == 400


async def test_bodies_have_a_kind_and_a_size(two: Two) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx"):
        answer = await two.alice.ask(
            "POST", "/payments", headers={"Content-Type": kind}, data=b'{"to":"Carol","amount":"1"}'
        )
        assert (answer.status, answer.slug) == (415, "wrong-media-type")
    headers = {"Content-Type": "application/json"}
    big = b'{"to": "Carol", "amount": "1", "note": "%s"}' % (b"x" * 17_000)
    answer = await two.alice.ask("POST", "/payments", headers=headers, data=big)
    assert (answer.status, answer.slug) == (413, "too-large")
    packed = {**headers, "Content-Encoding": "gzip"}
    assert (await two.alice.ask("POST", "/payments", headers=packed, data=b"x")).status == 400
    made = await offered(two)
    for path in (f"/trades/{made['id']}/cancel", f"/listings/{NO_ID}/take-back"):
        assert (await two.alice.post(path, {})).slug == "invalid-input"


async def test_addresses_that_lead_nowhere(two: Two) -> None:
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/trades/xyz", 404),
        ("GET", f"/trades/{NO_ID[:4]}", 404),
        ("GET", f"/trades/{NO_ID.upper()}", 404),
        ("GET", "/payments", 405),
        ("DELETE", "/trades", 405),
        ("PUT", "/me", 405),
        ("GET", f"/listings/..%2f/{NO_ID}", 404),
    ):
        answer = await two.alice.ask(method, path)
        slug = "unknown-path" if status == 404 else "wrong-method"
        assert (answer.status, answer.slug) == (status, slug), (method, path)
    for path in ("", "/", "/../v2/me", "/../nothing"):
        assert (await two.alice.get(path)).slug == "unknown-path", path
    refused = await two.alice.ask("PATCH", "/trades")
    assert refused.headers["Allow"] == refused.json["allow"] == "GET, HEAD, POST"
    refused = await two.alice.ask("POST", "/openapi.json")
    assert (refused.slug, refused.headers["Allow"]) == ("wrong-method", "GET, HEAD")


async def test_head_is_as_get_but_for_the_stream(two: Two) -> None:
    got, head = await two.alice.get("/balances"), await two.alice.ask("HEAD", "/balances")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(got.body))
    refused = await two.alice.ask("HEAD", "/events")
    assert (refused.status, refused.headers["Allow"]) == (405, "GET")
    for path in ("/balances", "/events"):
        refused = await two.alice.ask("OPTIONS", path)
        assert (refused.status, refused.slug) == (405, "wrong-method")


async def test_what_may_be_kept(two: Two) -> None:
    assert (await two.alice.get("/balances")).headers["Cache-Control"] == "no-store"
    first = await two.alice.get("/openapi.json")
    assert first.headers["Cache-Control"] == "no-cache"
    known = {"If-None-Match": f'"other", {first.headers["ETag"]}'}
    again = await two.alice.get("/openapi.json", headers=known)
    assert (again.status, again.body) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    other = await two.alice.get("/openapi.json", headers={"If-None-Match": '"other"'})
    assert (other.status, other.body) == (200, first.body)


async def test_a_body_that_is_all_optional_may_be_left_out(two: Two) -> None:
    paths = []
    for each in OPERATIONS:
        if each.body is None:
            continue
        bare = await two.alice.ask("POST", filled(each), skip_auto_headers=["Content-Type"])
        named = await two.alice.ask(
            "POST", filled(each), headers={"Content-Type": "application/json"}
        )
        assert bare.status == named.status
        if bare.status == 201:
            paths.append(each.path)
        else:
            assert (bare.status, bare.slug) == (400, "invalid-input"), each
        shown = msgspec.json.decode(openapi.document())["paths"][each.path]["post"]
        assert shown["requestBody"]["required"] == (bare.status != 201)
    assert paths == ["/steward/invitations"]


async def test_what_there_is_only_so_much_of_is_said_as_people_write_it(two: Two) -> None:
    much = {"asset": "AT", "amount": "500.01"}
    abroad = {"to": "Bob", "village": CALIFORNIA, "fee": "9"}
    await two.alice.done("/steward/assets", {"asset": "Hoe"})
    hoe = {"asset": "HOE", "amount": "1"}
    for path, body in (
        ("/payments", {"to": "Carol", "amount": "500.01"}),
        ("/trades", {"to": "Carol", "offer": much, "request": hoe}),
        ("/trades", {**abroad, "offer": much, "request": PANEL}),
    ):
        answer = await two.alice.post(path, body)
        assert (answer.status, answer.slug) == (422, "limit-exceeded"), answer
        assert (answer.json["asset"], answer.json["available"]) == ("AT", "500.00")


async def test_errors_name_the_field(two: Two) -> None:
    for path, field in (
        ("/trades?limit=0", "limit"),
        ("/trades?limit=05", "limit"),
        ("/trades?next=x", "next"),
        ("/balances?x=1", "x"),
        ("/changes?since=x", "since"),
    ):
        assert (await two.alice.get(path)).json["field"] == field, path
    for body, field in (
        ({"to": "Carol"}, "amount"),
        ({**ALICE_PAYS, "amount": 5}, "amount"),
        ({**ALICE_PAYS, "more": 1}, "more"),
    ):
        assert (await two.alice.post("/payments", body)).json["field"] == field, body
    for side, field in (({"asset": "AT"}, "offer.amount"), ({**PANEL, "x": 1}, "offer.x")):
        answer = await two.alice.post("/trades", {"to": "Carol", "offer": side, "request": None})
        assert answer.json["field"] == field, answer
    assert "field" not in (await two.alice.post("/payments", [])).json


async def test_a_neighbour_s_answer_to_an_invitation_is_not_of_this_token(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = (await two.alice.done("/steward/invitations", {}))["invitation"]
    said: Any = None

    async def join(_: str) -> str:
        raise said

    async with WebBox(two.wire, Path(two.a._path).parent, TEXAS, "Bastrop") as texas:
        await texas.store.write(lambda tx: desk.add_member(tx, "Tex", "x", steward=True))
        async with Program(texas, await make_token(texas, "Tex", "steward")) as tex:
            monkeypatch.setattr(stewards_work, "join", lambda box, line: join(line))
            for said, status, slug in (  # noqa: B007 - `join` raises it
                (errors.BadSignature("x", now=1), 422, "refused"),
                (errors.NotSignedIn("x"), 422, "refused"),
                (errors.NotFound("x", available=1), 404, "not-found"),
                (errors.TooMany("x", retry_after_s="soon"), 429, "too-many"),
                (errors.Unreachable("x"), 504, "unreachable"),
                (errors.WrongPin("x"), 502, "wrong-pin"),
            ):
                answer = await tex.post("/steward/neighbours", {"invitation": line})
                assert (answer.status, answer.slug) == (status, slug)
                assert ("Retry-After" in answer.headers) == (status == 429)


# Tokens


async def test_use_is_noted_once_an_hour(two: Two) -> None:
    writes = 0
    write = two.a.store.write

    async def counted(fn: Callable[[Any], Any]) -> Any:
        nonlocal writes
        writes += 1
        return await write(fn)

    two.a.store.write = counted  # type: ignore[method-assign]
    await asyncio.gather(*(two.alice.get("/balances") for _ in range(20)))
    assert writes == 1
    [token] = await two.a.store.read(lambda v: tokens.of_member(v, members.named(v, "Alice")))
    assert token.used_ms == two.a.now_ms - two.a.now_ms % limits.HOUR_MS
    two.a.now_ms += limits.HOUR_MS
    await two.alice.get("/balances")
    await two.alice.get("/balances")
    assert writes == 2


async def test_the_page_of_tokens(two: Two, stack: AsyncExitStack) -> None:
    browser = await stack.enter_async_context(Browser(two.a.server))
    await browser.get("/tokens")
    assert browser.status == 401
    await browser.sign_in("Carol")
    await browser.get("/tokens")
    assert 'name="steward"' not in browser.text, "Carol is no steward"
    fields = browser.hidden("/tokens#made")
    await browser.send("/tokens#made", name="my <books>", read="yes", trade="yes")
    assert browser.status == 200
    text = browser.text.split('id="token">', 1)[1].split("<", 1)[0]
    assert len(text) == len("ve_") + 64
    assert "my &lt;books&gt;" in browser.text
    async with Program(two.a, text) as program:
        me = await program.found("/me")
        assert (me["member"], me["token"], me["scopes"]) == (
            "Carol",
            "my <books>",
            ["read", "trade"],
        )
        again = await browser.post("/tokens", {**fields, "name": "my <books>", "read": "yes"})
        assert browser.status == 409 and text not in again, "a form works once"
        await browser.get("/tokens")
        assert text not in browser.text, "it is shown once"
        dump = await two.a.store.read(lambda view: "\n".join(view.conn.iterdump()))
        assert text not in dump and text[3:] not in dump and text[3:].upper() not in dump
        assert hashlib.sha256(text.encode()).hexdigest().upper() in dump.upper()
        action = browser.text.split('action="/tokens/')[1].split('"')[0]
        assert "last used" in browser.text
        await browser.send(f"/tokens/{action}")
        assert "my &lt;books&gt;" not in browser.text
        assert (await program.get("/me")).status == 401


async def test_what_the_page_of_tokens_refuses(two: Two, stack: AsyncExitStack) -> None:
    browser = await stack.enter_async_context(Browser(two.a.server))
    await browser.sign_in("Carol")
    for fields, status in (
        ({"name": "x"}, 400),
        ({"name": "", "read": "yes"}, 400),
        ({"name": "x" * 41, "read": "yes"}, 400),
        ({"name": "x", "steward": "yes"}, 403),
        ({"name": "x", "read": "yes", "admin": "yes"}, 400),
    ):
        await browser.get("/tokens")
        await browser.send("/tokens#made", **fields)
        assert browser.status == status, fields
        assert 'id="token"' not in browser.text
    assert await browser.status_of("/tokens", {"csrf": "x", "form": "0" * 32, "name": "x"}) == 403
    await browser.get("/tokens")
    fields = browser.hidden("/tokens#made")
    [alices] = await two.a.store.read(lambda v: tokens.of_member(v, members.named(v, "Alice")))
    assert await browser.status_of(f"/tokens/{alices.id}/revoke", fields) == 404
    assert (await two.alice.get("/me")).status == 200


async def test_a_member_has_at_most_twenty_tokens_and_none_after_a_reset(two: Two) -> None:
    made = [await make_token(two.a, "Carol") for _ in range(tokens.PER_MEMBER_MAX - 1)]
    with pytest.raises(Refused, match="20 tokens"):
        await make_token(two.a, "Carol")
    async with Program(two.a, made[0]) as program:
        assert (await program.get("/me")).status == 200
        await two.a.store.write(lambda tx: desk.reset_pin(tx, "Carol", "another hash"))
        assert (await program.get("/me")).status == 401


# Speed is for the bench; this is that nobody waits for somebody else.


async def test_many_at_once(two: Two) -> None:
    def ask(number: int) -> Awaitable[Any]:
        return two.alice.done("/payments", {**ALICE_PAYS, "amount": "1"}, key=f"pay-{number}")

    records = [each["record"] for each in await asyncio.gather(*map(ask, range(60)))]
    assert len(set(records)) == 60
    [row] = (await two.carol.found("/balances"))["balances"]
    assert row["balance"] == "60.00"


def test_each_changing_operation_takes_a_key_and_is_a_post() -> None:
    for each in OPERATIONS:
        assert isinstance(each.act, Doing) == (each.method == "POST"), each
        assert (each.scope == "steward") == each.path.startswith("/steward/"), each
    scopes: set[Scope] = {each.scope for each in OPERATIONS}
    assert scopes == set(SCOPES)
