"""A member's program: asks the JSON API with a token, and nothing else."""

from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
from multidict import CIMultiDictProxy

from edge.storage import members, tokens
from edge.storage.tokens import SCOPES, Scope
from edge.transport.problems import TYPE_PREFIX
from edge.web.api_types import Problem
from tests.integration.web_boxes import WebBox

API = "/api/v1"


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def slug(self) -> str:
        """The kind of problem that this is."""
        assert self.headers["Content-Type"].split(";")[0] == "application/problem+json", self
        problem = msgspec.json.decode(self.body, type=Problem)  # and no member beside those
        assert problem.status == self.status >= 400, self
        assert problem.type.startswith(TYPE_PREFIX), self
        return problem.type.removeprefix(TYPE_PREFIX)


class Program:
    """Enter it as an async context. `text` is its token; it may be changed."""

    def __init__(self, box: WebBox, text: str) -> None:
        self.text = text
        self._box = box
        self.session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self.session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.session.close()

    async def get(self, path: str, **more: Any) -> Answer:
        return await self.ask("GET", path, **more)

    async def post(self, path: str, body: object = None, key: str = "", **more: Any) -> Answer:
        headers = {"Idempotency-Key": key} if key else {}
        sent = {} if body is None else {"json": body}
        return await self.ask("POST", path, headers=headers, **sent, **more)

    async def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any
    ) -> Answer:
        authorization = {"Authorization": f"Bearer {self.text}"} if self.text else {}
        async with self.session.request(
            method,
            self.url(path),
            headers={**authorization, **(headers or {})},
            allow_redirects=False,
            **more,
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def done(self, path: str, body: object = None, **more: Any) -> Any:
        """Post and return the answer of what was done."""
        answer = await self.post(path, body, **more)
        assert answer.status in (200, 201), answer
        return answer.json

    async def found(self, path: str) -> Any:
        answer = await self.get(path)
        assert answer.status == 200, answer
        return answer.json

    def url(self, path: str) -> Any:
        return self._box.server.make_url(path if path.startswith("/openapi") else API + path)


async def make_token(box: WebBox, member: str, *scopes: Scope) -> str:
    wanted = frozenset(scopes or SCOPES[:2])
    return await box.store.write(
        lambda tx: tokens.create(tx, members.named(tx, member), "a test", wanted)
    )
