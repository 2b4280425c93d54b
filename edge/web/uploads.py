"""A browser's form that brings a file: `multipart/form-data` (RFC 7578), read strictly and whole,
since both the file and the form are small."""

import re
from typing import Final, TypeVar

import msgspec
from aiohttp import web

from edge.errors import InvalidInput
from edge.transport.signed import read_body
from edge.web import forms
from edge.web.forms import Form

CONTENT_TYPE: Final = "multipart/form-data"
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=?-]{1,70}")
_DISPOSITION: Final = re.compile(
    rb'Content-Disposition: form-data; name="([a-z_]{1,32})"(; filename="[^"\r\n]{0,1000}")?',
    re.IGNORECASE,
)
F = TypeVar("F", bound=Form)


async def read(request: web.Request, kind: type[F], file_bytes_max: int) -> F:
    """Return the form that a request carries, with a file or as a plain form without one.

    A field of the type `bytes` is a file's. Raises as `forms.read` does.
    """
    if request.content_type != CONTENT_TYPE:
        return await forms.read(request, kind)
    boundary = request.headers.get("Content-Type", "").partition("boundary=")[2].strip('"')
    body = await read_body(request, file_bytes_max + forms.BODY_BYTES_MAX)
    fields = parse(body, boundary)
    if any(len(each) > file_bytes_max for each in fields.values()):
        raise InvalidInput(f"a file here has at most {file_bytes_max} bytes")
    return _form(fields, kind)


def parse(body: bytes, boundary: str) -> dict[str, bytes]:
    """Return each field's content. Raises InvalidInput for what no browser sends, and for a field
    that is there twice."""
    if not _BOUNDARY.fullmatch(boundary):
        raise _refused("its parts have no boundary")
    mark = b"--" + boundary.encode()
    begin, end = mark + b"\r\n", b"\r\n" + mark + b"--"
    whole = body.removesuffix(b"\r\n")
    if not whole.startswith(begin) or not whole.endswith(end):
        raise _refused("it is broken off")
    parts = whole[len(begin) : -len(end)].split(b"\r\n" + begin)
    if len(parts) > forms.FIELDS_MAX:
        raise _refused("it has too many fields")
    fields: dict[str, bytes] = {}
    for part in parts:
        head, is_whole, content = part.partition(b"\r\n\r\n")
        found = [match for line in head.split(b"\r\n") if (match := _DISPOSITION.fullmatch(line))]
        if not is_whole or len(found) != 1:
            raise _refused("a part of it has no name")
        name = found[0][1].decode()
        if name in fields:
            raise _refused("a field is there twice")
        fields[name] = content
    return fields


def _form(fields: dict[str, bytes], kind: type[F]) -> F:
    files = {each.name for each in msgspec.structs.fields(kind) if each.type is bytes}
    try:
        texts = {
            name: content if name in files else forms.tidy(content.decode())
            for name, content in fields.items()
        }
        form = msgspec.convert(texts, kind, builtin_types=(bytes,))
    except ValueError as error:  # msgspec's and Unicode's errors are such, too
        raise _refused(str(error)[:200]) from None
    return forms.with_id(form)


def _refused(why: str) -> InvalidInput:
    return InvalidInput(f"not a form of this page: {why}")
