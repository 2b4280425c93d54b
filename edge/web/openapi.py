"""The OpenAPI 3.1 document of the JSON API, made from its table and the types that it decodes."""

import inspect
from http import HTTPStatus
from typing import Any, Final

import msgspec

from edge import __version__
from edge.transport import problems
from edge.web.api_table import OPERATIONS
from edge.web.api_types import AMOUNTS, PAGE_MAX, TIMES, Problem
from edge.web.feed import EVENT_STREAM, LAST_EVENT_ID, WAITING_MAX, WAITING_PER_MEMBER_MAX
from edge.web.operations import Doing, File, Following, Operation

PATH: Final = "/openapi.json"
API_PATH: Final = "/api/v1"
# What may stand in a path, for routes and readers.
PATH_PARTS: Final = {"id": "[0-9a-f]{16}", "village": "[a-z0-9-]{1,63}"}
_JSON: Final = "application/json"
_REFERENCE: Final = "#/components/schemas/{name}"
_DESCRIPTION: Final = f"""\
For members' own programs.

{TIMES}

{AMOUNTS}

A changing request with an `Idempotency-Key` is done once: sent again within 30 days it gets the \
same answer, and 409 with other content; only an invitation is never shown again. Unknown fields \
and parameters are errors. Errors are problem documents (RFC 9457).

At most {WAITING_PER_MEMBER_MAX} streams and waits at once for each member, {WAITING_MAX} on the \
box; lists give at most {PAGE_MAX} at once. HEAD is answered as GET is, but for streams; other \
methods, OPTIONS too, with 405 and `Allow`. There is no CORS on purpose: no page of another origin \
uses this. A receipt is a file of the federation's protocol, with its own units."""
_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "Idempotency-Key": {"type": "string", "pattern": r"^[\x21-\x7e]{1,64}$"},
    LAST_EVENT_ID: {"type": "string", "pattern": r"^[0-9]{1,15}\.[0-9]{1,15}$"},
}
_SAID_IN: Final = {
    HTTPStatus.UNAUTHORIZED: ("WWW-Authenticate", "string"),
    HTTPStatus.TOO_MANY_REQUESTS: ("Retry-After", "integer"),
}


def document() -> bytes:
    """Return the document as JSON, the same for the same version of the box."""
    whole = {
        "openapi": "3.1.1",
        "info": {
            "title": "Village box",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "AGPL-3.0-or-later", "identifier": "AGPL-3.0-or-later"},
        },
        "servers": [{"url": API_PATH}],
        "security": [{"token": []}],
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "responses": {
                str(int(status)): _problem(status)
                for status in sorted({each for one in OPERATIONS for each in one.statuses})
            },
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of yours, made on the page /tokens.",
                }
            },
        },
    }
    return msgspec.json.encode(whole)


def _paths() -> dict[str, dict[str, Any]]:
    paths: dict[str, dict[str, Any]] = {}
    for each in OPERATIONS:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    return paths


def _operation(operation: Operation) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": _described(operation),
        "tags": [operation.scope],
        "security": [{"token": [operation.scope]}],
        "parameters": [*_path_parameters(operation), *_query(operation), *_headers(operation)],
        "responses": {
            str(int(operation.status)): _answer(operation),
            **{
                str(int(status)): {"$ref": f"#/components/responses/{int(status)}"}
                for status in operation.statuses
            },
        },
    }
    if operation.body is not None:
        content = {_JSON: {"schema": _reference(operation.body)}}
        shown["requestBody"] = {"required": operation.needs_body, "content": content}
    return shown


def _described(operation: Operation) -> str:
    text = f"Needs the scope `{operation.scope}`."
    about = inspect.getdoc(operation.query)
    return f"{text} {' '.join(about.split())}" if about and _fields(operation) else text


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": f"^{pattern}$"},
        }
        for name, pattern in PATH_PARTS.items()
        if f"{{{name}}}" in operation.path
    ]


def _query(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in _fields(operation).items()
    ]


def _fields(operation: Operation) -> dict[str, Any]:
    _, components = msgspec.json.schema_components([operation.query], ref_template=_REFERENCE)
    fields: dict[str, Any] = components[operation.query.__name__]["properties"]
    return fields


def _headers(operation: Operation) -> list[dict[str, Any]]:
    wanted = {
        "Idempotency-Key": isinstance(operation.act, Doing),
        LAST_EVENT_ID: isinstance(operation.act, Following) and operation.act.is_stream,
    }
    return [
        {"name": name, "in": "header", "required": False, "schema": _HEADERS[name]}
        for name, is_taken in wanted.items()
        if is_taken
    ]


def _answer(operation: Operation) -> dict[str, Any]:
    if isinstance(operation.act, Following) and operation.act.is_stream:
        content: dict[str, Any] = {EVENT_STREAM: {"schema": {"type": "string"}}}
    elif isinstance(operation.act, File):
        content = {_JSON: {"schema": {"type": "object"}}}
    else:
        content = {_JSON: {"schema": _reference(operation.answer)}}
    return {"description": operation.status.phrase, "content": content}


def _problem(status: HTTPStatus) -> dict[str, Any]:
    kinds = {kind for each in OPERATIONS for kind in each.kinds}
    slugs = {kind.slug for kind in kinds if problems.status_of(kind) == status}
    types = [problems.TYPE_PREFIX + slug for slug in sorted(slugs)]
    schema = {
        "allOf": [_reference(Problem)],
        "properties": {"type": {"enum": types}, "status": {"const": int(status)}},
    }
    shown: dict[str, Any] = {
        "description": status.phrase,
        "content": {problems.CONTENT_TYPE: {"schema": schema}},
    }
    if status in _SAID_IN:
        name, of = _SAID_IN[status]
        shown["headers"] = {name: {"required": True, "schema": {"type": of}}}
    return shown


def _reference(kind: type) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_REFERENCE)
    return schema


def _schemas() -> dict[str, Any]:
    kinds = [each.answer for each in OPERATIONS if not isinstance(each.act, File)]
    kinds += [each.body for each in OPERATIONS if each.body is not None]
    _, components = msgspec.json.schema_components(
        [*dict.fromkeys(kinds), Problem], ref_template=_REFERENCE
    )
    return components
