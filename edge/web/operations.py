"""What an operation of the JSON API is: the routes, the checks before it and its place in the
OpenAPI document are all made from this."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Generic, TypeVar

import msgspec

from edge import errors
from edge.errors import BoxError
from edge.storage.members import Member
from edge.storage.tokens import Scope, Token
from edge.storage.tx import Tx, View
from edge.transport import problems
from edge.web.api_types import NoQuery, Struct
from edge.web.handlers import Shop

A = TypeVar("A", bound=Struct | None)
Errors = tuple[type[BoxError], ...]


@dataclass(frozen=True, slots=True)
class Call(Generic[A]):
    """One request: whose, with which token, what its path names, and what it asks: its query if it
    reads, its body if it changes something. `prepared` is what was made before the transaction."""

    shop: Shop
    member: Member
    token: Token
    path: Mapping[str, str]
    asked: A
    prepared: str = ""


@dataclass(frozen=True, slots=True)
class Looking:
    """Reads, in one transaction with the check of the token."""

    look: Callable[[View, Call[Any]], object]


@dataclass(frozen=True, slots=True)
class Doing:
    """Changes something, once for each Idempotency-Key. `do` returns what `show` finds it by, which
    is kept with the key. `prepare` does before it what takes no transaction. `is_trade`: the
    neighbour is told, and given a moment to answer; `is_listing`: the neighbours are told.
    `is_secret`: what `do` returns is shown in the one answer and kept nowhere; sent again, the
    request is refused."""

    do: Callable[[Tx, Call[Any]], str]
    show: Callable[[View, Call[Any], str], object]
    prepare: Callable[[Call[Any]], Awaitable[str]] | None = None
    is_trade: bool = False
    is_listing: bool = False
    is_secret: bool = False


@dataclass(frozen=True, slots=True)
class Following:
    """Waits for changes: as one answer, or as a stream of events."""

    is_stream: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """Reads, and answers with a file of that type as it stands."""

    look: Callable[[View, Call[Any]], bytes]


Act = Looking | Doing | Following | File


@dataclass(frozen=True, slots=True)
class Operation:
    """`path` is under API_PATH. `refusals`: what may go wrong beside what may with any."""

    method: str
    path: str
    scope: Scope
    summary: str
    act: Act
    answer: type
    query: type[Struct] = NoQuery
    body: type[Struct] | None = None
    status: HTTPStatus = HTTPStatus.OK
    refusals: Errors = ()

    @property
    def id(self) -> str:
        """How programs that read the OpenAPI document call it: `post_trades_id_accept`."""
        words = self.path.replace("{", "").replace("}", "").replace("-", "_").split("/")
        return "_".join([self.method.lower(), *filter(None, words)])

    @property
    def has_head(self) -> bool:
        """Tell whether HEAD is answered, as GET is: a stream has no end, and so no length."""
        endless = isinstance(self.act, Following) and self.act.is_stream
        return self.method == "GET" and not endless

    @property
    def needs_body(self) -> bool:
        """Tell whether there is something that it must be told in a body."""
        fields = msgspec.structs.fields(self.body) if self.body is not None else ()
        return any(each.required for each in fields)

    @property
    def kinds(self) -> set[type[BoxError]]:
        """With which errors it may answer, each class for itself alone."""
        found = {*_ANY, *self.refusals}
        if isinstance(self.act, Doing):
            found |= {errors.Conflict, errors.Malformed, errors.TooLarge}
        if self.body is not None:
            found |= {errors.WrongMediaType}
        if isinstance(self.act, Following):
            found |= {errors.TooMany, errors.Conflict}
        return found | {each for root in _FAMILIES & found for each in root.__subclasses__()}

    @property
    def statuses(self) -> list[HTTPStatus]:
        """With which problems' statuses it may answer."""
        return sorted({problems.status_of(kind) for kind in self.kinds})


_ANY: Errors = (
    errors.InvalidInput,
    errors.NotSignedIn,
    errors.Forbidden,
    BoxError,
    errors.StorageError,
    errors.CorruptDatabase,
    errors.DiskFull,
)
# Where one of these may come, so may the more exact ones.
_FAMILIES: frozenset[type[BoxError]] = frozenset({errors.InvalidInput, errors.NotFound})
