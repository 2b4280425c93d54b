"""The sending side of requests between villages."""

import asyncio
import io
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

import aiohttp
from yarl import URL

from edge.core import limits
from edge.core.crypto import SecretKey
from edge.errors import StaleRequest, TooLarge, Unreachable, WrongPin
from edge.transport import httpsig, problems, tls

_HEADERS: Final = {
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": "village-edge",
}
_AT_ONCE_BYTES_MAX: Final = 65_536


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a village answers, as `host:port`, the likeliest first, and its 32-byte SPKI pin."""

    addresses: tuple[str, ...]
    pin: bytes


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for one address to connect, for it to answer, and for all addresses."""

    connect_s: float = limits.CONNECT_S_MAX
    answer_s: float = limits.ANSWER_S_MAX
    exchange_s: float = limits.EXCHANGE_S_MAX


class PeerClient:
    """Signed requests to other villages, over connections that are kept. Close it at the end.

    `endpoint_of` raises for a village that we have no address of. Make it within the running loop.
    """

    def __init__(
        self,
        village: str,
        key: SecretKey,
        endpoint_of: Callable[[str], Endpoint],
        now_s: Callable[[], int],
        random_bytes: Callable[[int], bytes],
        timeouts: Timeouts | None = None,
    ) -> None:
        self._village = village
        self._key = key
        self._endpoint_of = endpoint_of
        self._now_s = now_s
        self._random_bytes = random_bytes
        self._timeouts = timeouts or Timeouts()
        self._answered_at: dict[str, str] = {}
        self._differences_s: dict[str, int] = {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(keepalive_timeout=limits.IDLE_CONNECTION_S_MAX),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=self._timeouts.answer_s, sock_connect=self._timeouts.connect_s
            ),
            auto_decompress=False,
        )

    async def exchange(self, village: str, path: str, body: bytes) -> bytes:
        """POST `body` to a village, signed, and return its answer's body.

        Raises Unreachable if no address gave an answer (what happened there is unknown; send the
        same request id again), WrongPin if only other keys answered, else what the village
        answered: a PeerError or Refused. A connection that breaks is tried once more, so a request
        may arrive twice, each time under a signature of its own.
        """
        return await self._exchange(village, self._endpoint_of(village), path, body, signed=True)

    async def read(self, village: str, endpoint: Endpoint, path: str, bytes_max: int) -> bytes:
        """GET what a village serves to anybody, up to `bytes_max`. Raises as `exchange` does."""
        request = _Request(village, path, b"", False, None, "GET", bytes_max)
        return await self._within_time(endpoint, request)

    async def post_to(
        self, village: str, endpoint: Endpoint, path: str, body: bytes, *, signed: bool = True
    ) -> bytes:
        """Like `exchange`, for a first contact at the addresses and pin of an invitation."""
        return await self._exchange(village, endpoint, path, body, signed=signed)

    def clock_difference_s(self, village: str) -> int | None:
        """Return how far a village's clock is ahead of ours, if its last answer said so.

        None while it accepts our time: the two are then within CLOCK_SKEW_S_MAX.
        """
        return self._differences_s.get(village)

    async def close(self) -> None:
        await self._session.close()

    async def _exchange(
        self, village: str, endpoint: Endpoint, path: str, body: bytes, *, signed: bool
    ) -> bytes:
        """Send; if our time is stale there, send again with the nonce that it issued."""
        request = _Request(village, path, body, signed, None)
        try:
            answer = await self._within_time(endpoint, request)
        except StaleRequest as stale:
            nonce, theirs_s = stale.more.get("nonce"), stale.more.get("now")
            if not signed or not isinstance(theirs_s, int) or not httpsig.is_nonce(nonce):
                raise
            self._differences_s[village] = theirs_s - self._now_s()
            return await self._with_issued_nonce(endpoint, replace(request, issued_nonce=nonce))
        self._differences_s.pop(village, None)
        return answer

    async def _with_issued_nonce(self, endpoint: Endpoint, request: "_Request") -> bytes:
        try:
            return await self._within_time(endpoint, request)
        except StaleRequest as stale:
            # Used up, maybe by a try whose answer was lost: what happened there is unknown.
            raise Unreachable(stale.detail) from None

    async def _within_time(self, endpoint: Endpoint, request: "_Request") -> bytes:
        try:
            async with asyncio.timeout(self._timeouts.exchange_s):
                return await self._try_addresses(endpoint, request)
        except TimeoutError:
            raise Unreachable(
                f"{request.village} does not answer within {self._timeouts.exchange_s:g} s"
            ) from None

    async def _try_addresses(self, endpoint: Endpoint, request: "_Request") -> bytes:
        failures: list[Unreachable] = []
        for address in self._in_order(endpoint, request.village):
            try:
                answer = await self._try_address(address, endpoint.pin, request)
            except Unreachable as failure:
                failures.append(failure)
            else:
                self._answered_at[request.village] = address
                return answer
        if not failures:
            raise Unreachable(f"{request.village} has no known address")
        kind = WrongPin if all(isinstance(each, WrongPin) for each in failures) else Unreachable
        raise kind("; ".join(failure.detail for failure in failures))

    def _in_order(self, endpoint: Endpoint, village: str) -> list[str]:
        """Return the addresses, the one that answered last time first."""
        last = self._answered_at.get(village)
        addresses = endpoint.addresses[: limits.ADDRESSES_MAX]
        return sorted(addresses, key=lambda address: address != last)

    async def _try_address(self, address: str, pin: bytes, request: "_Request") -> bytes:
        try:
            try:
                return await self._post(address, pin, request)
            except aiohttp.ClientConnectorError:
                raise
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                return await self._post(address, pin, request)  # a kept connection had died
        except RuntimeError:
            if not self._session.closed:
                raise
            raise Unreachable(f"{request.village} was not asked: this box is stopping") from None
        except tls.PinMismatch as mismatch:
            raise WrongPin(
                f"at {address} answers another box than {request.village}: {mismatch.reason}"
            ) from None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unreachable(
                f"{request.village} does not answer at {address}: {_reason(error)}"
            ) from None

    async def _post(self, address: str, pin: bytes, request: "_Request") -> bytes:
        async with self._session.request(
            request.method,
            URL(f"https://{address}{request.path}", encoded=True),
            data=request.payload() if request.method == "POST" else None,
            headers=self._headers(request),
            ssl=tls.SpkiPin(pin),
            allow_redirects=False,
        ) as response:
            if response.status == HTTPStatus.OK:
                return await _read(response, request.answer_bytes_max)
            try:
                problem = await _read(response, limits.PROBLEM_BYTES_MAX)
            except TooLarge:
                problem = b""
            raise problems.from_problem(response.status, problem, request.village)

    def _headers(self, request: "_Request") -> dict[str, str]:
        headers = _HEADERS | {"Host": request.village}
        if not request.signed:
            return headers
        message = httpsig.Message("POST", request.village, request.path, request.body)
        fresh = httpsig.nonce_text(self._random_bytes(limits.NONCE_BYTES))
        return headers | httpsig.sign(
            message,
            self._key,
            self._village,
            nonce=request.issued_nonce or fresh,
            created_s=None if request.issued_nonce else self._now_s(),
        )


@dataclass(frozen=True, slots=True)
class _Request:
    village: str
    path: str
    body: bytes
    signed: bool
    issued_nonce: str | None
    method: str = "POST"
    answer_bytes_max: int = limits.BODY_BYTES_MAX

    def payload(self) -> bytes | io.BytesIO:
        """Return the body as aiohttp writes it best: a small one at once, a large one in parts."""
        return self.body if len(self.body) <= _AT_ONCE_BYTES_MAX else io.BytesIO(self.body)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "not in time"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return str(error)


async def _read(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > bytes_max:
            response.close()
            raise TooLarge(f"the answer is over {bytes_max} bytes")
    return bytes(body)
