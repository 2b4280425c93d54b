"""Signed requests between villages over real TLS on the loopback."""

import asyncio
import gzip
import logging
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from edge.core import limits
from edge.core.crypto import SecretKey
from edge.errors import (
    BadSignature,
    BoxError,
    ConfigError,
    Conflict,
    CorruptDatabase,
    Malformed,
    Misdirected,
    PeerError,
    ReplayedRequest,
    StaleRequest,
    TooLarge,
    UnknownVillage,
    Unreachable,
    WrongPin,
)
from edge.transport import httpsig, problems, signed, tls
from edge.transport.client import Endpoint, PeerClient, Timeouts
from edge.transport.replay import ReplayGuard

MISSOURI: Final = "ose-missouri-001"
CALIFORNIA: Final = "ose-california-001"
KEY: Final = SecretKey(bytes(range(32)))
PATH: Final = "/federation/sync"
BODY: Final = b'{"protocol":1}'
NOW_S: Final = 1_735_689_600
QUICK: Final = Timeouts(connect_s=2, answer_s=0.3, exchange_s=2)

Make = Callable[..., PeerClient]


class Certificate:
    """A key and certificate as files, and their pin."""

    def __init__(self, folder: Path, village: str) -> None:
        key_pem, self.pem = tls.make_certificate(village)
        self.key, self.certificate = folder / f"{village}.key", folder / f"{village}.pem"
        self.key.write_bytes(key_pem)
        self.certificate.write_bytes(self.pem)
        self.pin = tls.spki_pin(self.pem)

    def context(self) -> ssl.SSLContext:
        return tls.federation_context(self.certificate, self.key)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"), CALIFORNIA)


@pytest.fixture(scope="module")
def other_certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"), "ose-texas-001")


class Village:
    """California's federation port, with a clock that a test sets."""

    def __init__(self, certificate: Certificate) -> None:
        self.certificate = certificate
        self.now_s = NOW_S
        self.monotonic_s = 50.0
        self.known = {MISSOURI: KEY.public}
        self.guard = ReplayGuard(NOW_S - 100_000)
        self.received: list[tuple[str, bytes]] = []
        self.arrivals: list[dict[str, str]] = []
        self.connections: set[object] = set()
        self.raises: Exception | None = None
        self.laws_broken: list[AssertionError] = []
        self.hang = asyncio.Event()
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        middlewares = [problems.middleware(self.laws_broken.append)]
        app = web.Application(middlewares=middlewares, client_max_size=limits.BODY_BYTES_MAX)
        app.router.add_post(PATH, self._sync)
        app.router.add_post("/hang", self._hang)
        app.router.add_post("/raise", self._raise)
        app.router.add_post("/moved", self._moved)
        app.router.add_post("/large", self._large)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        context = self.certificate.context()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=context)
        await site.start()
        self.port = site.port

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint((self.address,), self.certificate.pin)

    async def _sync(self, request: web.Request) -> web.Response:
        self.connections.add(request.transport)
        self.arrivals.append(dict(request.headers))
        params = await signed.verify_sender(request, CALIFORNIA, self._key_of)
        body = await signed.read_signed_body(
            request,
            params,
            guard=self.guard,
            now_s=lambda: self.now_s,
            monotonic_s=lambda: self.monotonic_s,
            random_bytes=secrets.token_bytes,
        )
        signed.check_depth(body)
        self.received.append((params.keyid, body))
        return web.Response(body=b'{"got":%d}' % len(body))

    async def _key_of(self, village: str) -> bytes:
        if village not in self.known:
            raise UnknownVillage(f"{village} is not a neighbour of {CALIFORNIA}")
        return self.known[village]

    async def _hang(self, _: web.Request) -> web.Response:
        await self.hang.wait()
        return web.Response()

    async def _raise(self, _: web.Request) -> web.Response:
        assert self.raises is not None
        raise self.raises

    async def _moved(self, _: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(PATH)

    async def _large(self, _: web.Request) -> web.Response:
        return web.Response(body=b"x" * (limits.BODY_BYTES_MAX + 1))


@pytest.fixture
async def california(certificate: Certificate) -> AsyncIterator[Village]:
    village = Village(certificate)
    await village.start()
    yield village
    await village.stop()


@pytest.fixture
async def make(california: Village) -> AsyncIterator[Make]:
    """Make Missouri's client; by default it knows California's address and has its time."""
    clients: list[PeerClient] = []

    def make_client(
        endpoint: Endpoint | None = None,
        *,
        key: SecretKey = KEY,
        village: str = MISSOURI,
        ahead_s: int = 0,
        timeouts: Timeouts | None = None,
    ) -> PeerClient:
        client = PeerClient(
            village,
            key,
            lambda _: endpoint or california.endpoint,
            lambda: california.now_s + ahead_s,
            secrets.token_bytes,
            timeouts,
        )
        clients.append(client)
        return client

    yield make_client
    for client in clients:
        await client.close()


def headers_for(body: bytes = BODY, created_s: int | None = NOW_S) -> CIMultiDict[str]:
    message = httpsig.Message("POST", CALIFORNIA, PATH, body)
    nonce = httpsig.nonce_text(secrets.token_bytes(16))
    made = httpsig.sign(message, KEY, MISSOURI, nonce=nonce, created_s=created_s)
    return CIMultiDict({"Host": CALIFORNIA} | made)


async def raw_post(
    village: Village, headers: CIMultiDict[str], body: bytes | AsyncIterator[bytes] = BODY
) -> BoxError | None:
    """POST whatever the test made up; return the error that the answer stands for."""
    url = f"https://{village.address}{PATH}"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=headers, ssl=False) as response,
    ):
        if response.status == 200:
            return None
        assert response.content_type == problems.CONTENT_TYPE
        return problems.from_problem(response.status, await response.read())


async def raw_bytes(
    village: Village, version: str, headers: CIMultiDict[str], body: bytes
) -> bytes:
    """Send these very bytes; return the answer up to the end of its problem document."""
    context = ssl.create_default_context(cadata=village.certificate.pem.decode())
    reader, writer = await asyncio.open_connection("127.0.0.1", village.port, ssl=context)
    headers.setdefault("Content-Length", str(len(body)))
    lines = [f"POST {PATH} {version}", *(f"{name}: {headers[name]}" for name in headers), "", ""]
    writer.write("\r\n".join(lines).encode() + body)
    answer = await asyncio.wait_for(reader.readuntil(b"}"), 5)
    writer.close()
    return answer


# The good case


async def test_a_signed_request(california: Village, make: Make) -> None:
    assert await make().exchange(CALIFORNIA, PATH, BODY) == b'{"got":14}'
    assert california.received == [(MISSOURI, BODY)]


async def test_one_connection_is_kept(california: Village, make: Make) -> None:
    client = make()
    for _ in range(5):
        await client.exchange(CALIFORNIA, PATH, BODY)
    assert len(california.received) == 5
    assert len(california.connections) == 1


async def test_a_large_body(california: Village, make: Make) -> None:
    body = b"x" * limits.BODY_BYTES_MAX
    await make().exchange(CALIFORNIA, PATH, body)
    assert california.received == [(MISSOURI, body)]


async def test_a_large_body_of_a_village_without_a_clock(california: Village, make: Make) -> None:
    """It is sent again whole, with the nonce."""
    body = b"x" * limits.BODY_BYTES_MAX
    for _ in range(3):
        await make(ahead_s=-3_600).exchange(CALIFORNIA, PATH, body)
    assert california.received == [(MISSOURI, body)] * 3


async def test_first_contact_by_invitation(california: Village, make: Make) -> None:
    nowhere = make(Endpoint((), bytes(32)))
    await nowhere.post_to(CALIFORNIA, california.endpoint, PATH, BODY)
    assert california.received == [(MISSOURI, BODY)]
    with pytest.raises(Malformed, match="signed"):
        await nowhere.post_to(CALIFORNIA, california.endpoint, PATH, BODY, signed=False)
    assert not {"Signature", "Content-Digest"} & california.arrivals[-1].keys()


async def test_nothing_else_of_us_is_told(california: Village, make: Make) -> None:
    await make().exchange(CALIFORNIA, PATH, BODY)
    assert california.arrivals[0].keys() == {
        "Accept",
        "Accept-Encoding",
        "Content-Digest",
        "Content-Length",
        "Content-Type",
        "Host",
        "Signature",
        "Signature-Input",
        "User-Agent",
    }


# Keys and pins


async def test_wrong_pin_and_nothing_of_the_request_leaves(
    certificate: Certificate, other_certificate: Certificate, make: Make
) -> None:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.set_result(await reader.read())
        writer.close()

    async with serving(listen, other_certificate.context()) as address:
        client = make(Endpoint((address,), certificate.pin))
        with pytest.raises(WrongPin) as caught:
            await client.exchange(CALIFORNIA, PATH, BODY)
        assert await got == b""
    for told in (address, CALIFORNIA, certificate.pin.hex(), other_certificate.pin.hex()):
        assert told in caught.value.detail


async def test_another_pin_never_shares_a_connection(california: Village, make: Make) -> None:
    client = make()
    await client.exchange(CALIFORNIA, PATH, BODY)
    with pytest.raises(WrongPin):
        await client.post_to(CALIFORNIA, Endpoint((california.address,), bytes(32)), PATH, BODY)
    assert len(california.received) == 1


async def test_the_client_refuses_tls_1_2(certificate: Certificate, make: Make) -> None:
    context = tls.page_context(certificate.certificate, certificate.key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""
        writer.close()

    async with serving(listen, context) as address:
        with pytest.raises(WrongPin, match=r"TLSv1\.2"):
            await make(Endpoint((address,), certificate.pin)).exchange(CALIFORNIA, PATH, BODY)


async def test_the_federation_port_refuses_tls_1_2(california: Village) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.post(f"https://{california.address}{PATH}", data=BODY, ssl=context)
    assert not california.arrivals


async def test_the_page_port_takes_tls_1_2_and_a_browser_that_trusts_it(
    certificate: Certificate,
) -> None:
    context = ssl.create_default_context(cadata=certificate.pem.decode())
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    async def listen(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    page = tls.page_context(certificate.certificate, certificate.key)
    async with serving(listen, page) as address:
        host, _, port = address.partition(":")
        for name in (host, "localhost", CALIFORNIA, f"{CALIFORNIA}.local"):
            _, writer = await asyncio.open_connection(
                host, int(port), ssl=context, server_hostname=name
            )
            assert writer.get_extra_info("ssl_object").version() == "TLSv1.2"
            writer.close()


async def test_wrong_key(california: Village, make: Make) -> None:
    with pytest.raises(BadSignature, match=MISSOURI):
        await make(key=SecretKey(bytes(32))).exchange(CALIFORNIA, PATH, BODY)
    assert not california.received


async def test_unknown_village(california: Village, make: Make) -> None:
    with pytest.raises(UnknownVillage, match=r"ose-utah-001 is not a neighbour"):
        await make(village="ose-utah-001").exchange(CALIFORNIA, PATH, BODY)
    assert not california.received


async def test_a_request_for_another_village_is_not_taken(california: Village, make: Make) -> None:
    with pytest.raises(Misdirected, match=f"this is {CALIFORNIA}"):
        await make().exchange("ose-texas-001", PATH, BODY)
    assert not california.received


# Altered, unsigned, replayed


async def test_raw_requests_of_these_tests_are_good(california: Village) -> None:
    assert await raw_post(california, headers_for()) is None


async def test_altered_body(california: Village) -> None:
    error = await raw_post(california, headers_for(), b'{"protocol":2}')
    assert isinstance(error, BadSignature)
    assert not california.received


async def test_missing_digest(california: Village) -> None:
    headers = headers_for()
    del headers["Content-Digest"]
    error = await raw_post(california, headers)
    assert isinstance(error, Malformed)
    assert "content-digest" in error.detail


@pytest.mark.parametrize("name", ["Signature", "Signature-Input", "Content-Digest"])
async def test_a_header_twice(california: Village, name: str) -> None:
    headers = headers_for()
    headers.add(name, headers[name])
    assert isinstance(await raw_post(california, headers), Malformed)


async def test_no_signature(california: Village) -> None:
    assert isinstance(await raw_post(california, CIMultiDict()), Malformed)


async def test_replayed_request(california: Village) -> None:
    headers = headers_for()
    assert await raw_post(california, headers) is None
    assert isinstance(await raw_post(california, headers), ReplayedRequest)
    assert len(california.received) == 1


async def test_a_bad_signature_uses_up_no_nonce(california: Village) -> None:
    headers = headers_for()
    forged = headers.copy()
    forged["Signature"] = headers_for()["Signature"]
    assert isinstance(await raw_post(california, forged), BadSignature)
    assert await raw_post(california, headers) is None


async def test_a_compressed_body(california: Village) -> None:
    headers = headers_for()
    headers["Content-Encoding"] = "gzip"
    error = await raw_post(california, headers, gzip.compress(BODY))
    assert isinstance(error, Malformed)
    assert "compressed" in error.detail


async def test_no_host(california: Village) -> None:
    headers = headers_for()
    del headers["Host"]
    assert b"a request has one Host" in await raw_bytes(california, "HTTP/1.0", headers, BODY)
    assert not california.received


# Clocks


async def test_stale_date_then_the_issued_nonce_works_once(california: Village) -> None:
    stale = await raw_post(california, headers_for(created_s=NOW_S - 3_600))
    assert isinstance(stale, StaleRequest)
    assert stale.more["now"] == NOW_S
    message = httpsig.Message("POST", CALIFORNIA, PATH, BODY)
    nonce = str(stale.more["nonce"])
    again = httpsig.sign(message, KEY, MISSOURI, nonce=nonce, created_s=None)
    headers = CIMultiDict({"Host": CALIFORNIA} | again)
    assert await raw_post(california, headers) is None
    assert isinstance(await raw_post(california, headers), StaleRequest)
    assert len(california.received) == 1


@pytest.mark.parametrize("ahead_s", [-3_600, 3_600])
async def test_a_clock_an_hour_off(california: Village, make: Make, ahead_s: int) -> None:
    client = make(ahead_s=ahead_s)
    assert client.clock_difference_s(CALIFORNIA) is None
    for count in (1, 2):
        assert await client.exchange(CALIFORNIA, PATH, BODY) == b'{"got":14}'
        assert len(california.received) == count
        assert client.clock_difference_s(CALIFORNIA) == -ahead_s
    assert len(california.connections) == 1


async def test_a_clock_that_was_set_right_is_told_of_no_more(
    california: Village, make: Make
) -> None:
    ahead = make(ahead_s=3_600)
    await ahead.exchange(CALIFORNIA, PATH, BODY)
    ahead._now_s = lambda: california.now_s
    await ahead.exchange(CALIFORNIA, PATH, BODY)
    assert ahead.clock_difference_s(CALIFORNIA) is None


async def test_an_issued_nonce_that_was_used_up_leaves_the_outcome_unknown(
    certificate: Certificate, make: Make
) -> None:
    heads: list[bytes] = []
    stale = StaleRequest("stale", now=NOW_S, nonce=httpsig.nonce_text(bytes(16)))
    status, problem = problems.to_problem(stale)

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Call all requests stale, and lose the answer to the second."""
        heads.append(await reader.readuntil(BODY))
        if len(heads) != 2:
            head = f"HTTP/1.1 {status} No\r\nConnection: close\r\nContent-Length: {len(problem)}"
            writer.write(f"{head}\r\n\r\n".encode() + problem)
        writer.close()

    async with serving(listen, certificate.context()) as address:
        with pytest.raises(Unreachable, match="stale"):
            await make(Endpoint((address,), certificate.pin)).exchange(CALIFORNIA, PATH, BODY)
    assert [b";created=" in head for head in heads] == [True, False, False]


async def test_after_a_restart_nothing_older_is_taken(california: Village, make: Make) -> None:
    before = headers_for(created_s=NOW_S - 5)
    assert await raw_post(california, before) is None
    california.guard = ReplayGuard(started_s=NOW_S)
    assert isinstance(await raw_post(california, before), StaleRequest)
    await make().exchange(CALIFORNIA, PATH, BODY)  # the same second: through an issued nonce
    california.now_s += 1
    await make().exchange(CALIFORNIA, PATH, BODY)
    assert len(california.received) == 3


# Bounds


async def test_oversized_body(california: Village, make: Make) -> None:
    with pytest.raises(TooLarge):
        await make().exchange(CALIFORNIA, PATH, b"x" * (limits.BODY_BYTES_MAX + 1))
    assert not california.received


async def test_a_host_of_odd_bytes(california: Village) -> None:
    headers = headers_for()
    headers["Host"] = "caf\xe9"
    assert b":misdirected" in await raw_bytes(california, "HTTP/1.1", headers, BODY)


async def test_an_oversized_body_is_refused_before_it_comes(california: Village) -> None:
    headers = headers_for()
    headers["Content-Length"] = str(limits.BODY_BYTES_MAX + 1)
    assert b":too-large" in await raw_bytes(california, "HTTP/1.1", headers, b"")


async def test_oversized_body_of_untold_length(california: Village) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(limits.BODY_BYTES_MAX // 65_536 + 1):
            yield b"x" * 65_536

    headers = headers_for(b"x")
    assert isinstance(await raw_post(california, headers, chunks()), TooLarge)


async def test_deep_json(california: Village, make: Make) -> None:
    with pytest.raises(Malformed, match="deeper"):
        await make().exchange(CALIFORNIA, PATH, b"[" * 100_000 + b"]" * 100_000)


async def test_an_answer_that_is_too_large(make: Make) -> None:
    with pytest.raises(TooLarge):
        await make().exchange(CALIFORNIA, "/large", BODY)


async def test_a_body_that_comes_too_slowly(
    california: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BODY_READ_S_MAX", 0.1)
    answered = asyncio.Event()

    async def drip() -> AsyncIterator[bytes]:
        yield b"x"
        await answered.wait()

    async def watch() -> BoxError | None:
        try:
            return await raw_post(california, headers_for(b"x" * 9), drip())
        finally:
            answered.set()

    error = await asyncio.wait_for(watch(), 5)
    assert isinstance(error, Malformed)
    assert "took longer" in error.detail


# No answer


@asynccontextmanager
async def serving(
    listen: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    context: ssl.SSLContext,
) -> AsyncIterator[str]:
    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    async with server:
        yield "{}:{}".format(*server.sockets[0].getsockname())


async def test_connection_refused(california: Village, make: Make) -> None:
    await california.stop()
    with pytest.raises(Unreachable, match="Connection refused") as caught:
        await make().exchange(CALIFORNIA, PATH, BODY)
    assert california.address in caught.value.detail
    assert type(caught.value) is Unreachable


async def test_a_box_that_is_stopping_asks_nobody(california: Village, make: Make) -> None:
    client = make()
    await client.exchange(CALIFORNIA, PATH, BODY)
    await client.close()
    with pytest.raises(Unreachable, match="was not asked: this box is stopping"):
        await client.exchange(CALIFORNIA, PATH, BODY)


async def test_no_address(make: Make) -> None:
    with pytest.raises(Unreachable, match="no known address"):
        await make(Endpoint((), bytes(32))).exchange(CALIFORNIA, PATH, BODY)


async def test_slow_server(make: Make) -> None:
    client = make(timeouts=QUICK)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    with pytest.raises(Unreachable, match="not in time"):
        await client.exchange(CALIFORNIA, "/hang", BODY)
    assert loop.time() - began_s < QUICK.exchange_s


async def test_many_slow_addresses_are_bounded_together(california: Village, make: Make) -> None:
    slow = Endpoint((california.address,) * 8, california.certificate.pin)
    client = make(slow, timeouts=Timeouts(connect_s=2, answer_s=2, exchange_s=0.3))
    with pytest.raises(Unreachable, match=r"within 0\.3 s"):
        await client.exchange(CALIFORNIA, "/hang", BODY)


async def test_other_addresses_are_tried_and_the_good_one_remembered(
    california: Village, other_certificate: Certificate, make: Make
) -> None:
    knocks: list[object] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        knocks.append(reader)
        writer.close()

    async with serving(listen, other_certificate.context()) as another_box:
        addresses = ("127.0.0.1:1", another_box, california.address)
        client = make(Endpoint(addresses, california.certificate.pin))
        for _ in range(3):
            await client.exchange(CALIFORNIA, PATH, BODY)
    assert len(california.received) == 3
    assert len(knocks) == 1


async def test_another_box_among_dead_addresses_is_no_fault_of_the_village(
    california: Village, make: Make
) -> None:
    endpoint = Endpoint(("127.0.0.1:1", california.address), bytes(32))
    with pytest.raises(Unreachable) as caught:
        await make(endpoint).exchange(CALIFORNIA, PATH, BODY)
    assert type(caught.value) is Unreachable
    assert "Connection refused" in caught.value.detail
    assert "another box" in caught.value.detail


async def test_a_restarted_server_is_reached_again(california: Village, make: Make) -> None:
    client = make()
    await client.exchange(CALIFORNIA, PATH, BODY)
    await california.stop()
    with pytest.raises(Unreachable):
        await client.exchange(CALIFORNIA, PATH, BODY)
    await california.start()
    await client.exchange(CALIFORNIA, PATH, BODY)
    assert len(california.received) == 2


async def test_a_kept_connection_that_died_is_made_anew(
    certificate: Certificate, make: Make
) -> None:
    heads: list[list[bytes]] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request; close when the second one comes."""
        seen: list[bytes] = []
        heads.append(seen)
        seen.append(await reader.readuntil(BODY))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        seen.append(await reader.readuntil(BODY))
        writer.close()

    async with serving(listen, certificate.context()) as address:
        client = make(Endpoint((address,), certificate.pin))
        assert await client.exchange(CALIFORNIA, PATH, BODY) == b"{}"
        assert await client.exchange(CALIFORNIA, PATH, BODY) == b"{}"
        await client.close()
    assert [len(seen) for seen in heads] == [2, 1]
    assert heads[0][1] != heads[1][0], "signed anew"


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"]
)
async def test_no_answer_in_http(certificate: Certificate, make: Make, answer: bytes) -> None:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(BODY)
        writer.write(answer)
        writer.close()

    async with serving(listen, certificate.context()) as address:
        with pytest.raises(Unreachable):
            await make(Endpoint((address,), certificate.pin)).exchange(CALIFORNIA, PATH, BODY)


async def test_no_redirect_is_followed(california: Village, make: Make) -> None:
    with pytest.raises(PeerError, match="307"):
        await make().exchange(CALIFORNIA, "/moved", BODY)
    assert not california.arrivals


# Errors as problem documents


async def test_an_error_carries_what_is_needed_next(california: Village, make: Make) -> None:
    california.raises = Conflict("another trade has this id", trade="t1")
    with pytest.raises(Conflict, match="another trade has this id") as caught:
        await make().exchange(CALIFORNIA, "/raise", BODY)
    assert caught.value.more == {"trade": "t1"}


@pytest.mark.parametrize("fault", [ValueError("s3cret"), CorruptDatabase("/secret/box.db")])
async def test_a_fault_is_logged_and_not_told(
    california: Village, make: Make, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    california.raises = fault
    with caplog.at_level(logging.ERROR), pytest.raises(Unreachable, match="500") as caught:
        await make().exchange(CALIFORNIA, "/raise", BODY)
    assert str(fault) not in caught.value.detail
    assert str(fault) in caplog.text
    assert not california.laws_broken


async def test_a_broken_law_reaches_the_composition_root(california: Village, make: Make) -> None:
    california.raises = AssertionError("tokens were lost")
    with pytest.raises(Unreachable):
        await make().exchange(CALIFORNIA, "/raise", BODY)
    assert california.laws_broken == [california.raises]


async def test_http_errors_are_problems_too(california: Village) -> None:
    async with aiohttp.ClientSession() as session:
        for method, path, status in (("POST", "/nowhere", 404), ("GET", PATH, 405)):
            url = f"https://{california.address}{path}"
            async with session.request(method, url, ssl=False) as response:
                assert response.status == status
                assert response.content_type == problems.CONTENT_TYPE
                document = await response.json(content_type=problems.CONTENT_TYPE)
                assert document["type"] == "about:blank"
                assert ("Allow" in response.headers) == (status == 405)


# Certificates


def test_what_the_certificate_says() -> None:
    _, pem = tls.make_certificate(CALIFORNIA, ["box.lan", "10.0.0.7", "localhost"])
    certificate = x509.load_pem_x509_certificate(pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    hosts = ["localhost", CALIFORNIA, f"{CALIFORNIA}.local", "box.lan"]
    assert names.get_values_for_type(x509.DNSName) == hosts
    addresses = [str(each) for each in names.get_values_for_type(x509.IPAddress)]
    assert addresses == ["127.0.0.1", "::1", "10.0.0.7"]
    assert certificate.not_valid_before_utc.isoformat() == "2000-01-01T00:00:00+00:00"
    assert certificate.not_valid_after_utc.isoformat() == "2099-12-31T23:59:59+00:00"


def test_a_host_that_no_certificate_can_name() -> None:
    with pytest.raises(ConfigError, match="k\xfcche"):
        tls.make_certificate(CALIFORNIA, ["k\xfcche"])


def test_the_pin_is_the_key_and_not_the_certificate(certificate: Certificate) -> None:
    der = ssl.PEM_cert_to_DER_cert(certificate.pem.decode())
    assert tls.spki_pin(der) == tls.spki_pin(certificate.pem) == certificate.pin
    assert len(certificate.pin) == tls.PIN_BYTES


def test_equal_pins_are_one_key_of_the_connection_pool() -> None:
    assert len({tls.SpkiPin(bytes(32)), tls.SpkiPin(bytes(32))}) == 1
    assert tls.SpkiPin(bytes(32)) != tls.SpkiPin(b"x" * 32)
    assert tls.SpkiPin(bytes(32)) != aiohttp.Fingerprint(bytes(32))


@given(st.binary(max_size=200))
def test_any_other_certificate_is_malformed(data: bytes) -> None:
    for certificate in (data, b"-----BEGIN CERTIFICATE-----\n" + data):
        with pytest.raises(Malformed):
            tls.spki_pin(certificate)


def test_missing_tls_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"box\.pem"):
        tls.federation_context(tmp_path / "box.pem", tmp_path / "box.key")
