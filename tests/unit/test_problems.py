"""Errors to problem documents and back."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import errors
from edge.core import limits
from edge.errors import BoxError, PeerError, Refused, Unreachable
from edge.transport import problems


def kinds(root: type[BoxError] = BoxError) -> Iterator[type[BoxError]]:
    yield root
    for kind in root.__subclasses__():
        yield from kinds(kind)


@pytest.mark.parametrize("kind", [*kinds()], ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_and_a_slug_of_its_own(kind: type[BoxError]) -> None:
    assert kind.__module__ == errors.__name__
    assert "slug" in vars(kind)
    assert [other for other in kinds() if other.slug == kind.slug] == [kind]
    parents = [each for each in kind.__mro__ if each in problems.ERROR_STATUS]
    assert parents[0] is not BoxError or kind is BoxError, "a status of its own family"
    assert problems.status_of(kind) >= 400


@pytest.mark.parametrize("kind", [*kinds(Refused), *kinds(PeerError)], ids=lambda kind: kind.slug)
def test_there_and_back(kind: type[BoxError]) -> None:
    status, body = problems.to_problem(kind("no such thing", known_size=4_217, nonce="abc"))
    error = problems.from_problem(status, body, "ose-texas-001")
    assert type(error) is kind
    assert error.detail == f"ose-texas-001 answered {status}: no such thing"
    assert error.more == {"known_size": 4_217, "nonce": "abc"}


def test_the_document() -> None:
    status, body = problems.to_problem(errors.StaleCheckpoint("behind", known_size=7))
    assert json.loads(body) == {
        "type": "urn:village-edge:problem:stale-checkpoint",
        "title": "Stale checkpoint",
        "status": 409,
        "detail": "behind",
        "known_size": 7,
    }
    assert status == 409


def test_our_own_faults_tell_nothing_of_ours() -> None:
    status, body = problems.to_problem(errors.CorruptDatabase("/var/lib/box.db, page 7", page=7))
    assert status == 500
    assert b"box.db" not in body
    assert b"page" not in body


def test_a_fault_of_theirs_leaves_the_outcome_unknown() -> None:
    for kind in (errors.DiskFull, errors.AuditDifference, errors.Unreachable, BoxError):
        assert type(problems.from_problem(*problems.to_problem(kind("x")))) is Unreachable
    assert type(problems.from_problem(502, b"<html>bad gateway</html>")) is Unreachable


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not found",
        b"[1]",
        b'{"type": 3}',
        b'{"type": "about:blank"}',
        b'{"type": "urn:village-edge:problem:disk-full"}',
        b'{"type": "urn:village-edge:problem:of-tomorrow"}',
        b"[" * 10_000,
        b'{"a":' * 3_000 + b"1" + b"}" * 3_000,
        b'{"type": "urn:village-edge:problem:malformed", "x": "' + b"y" * 20_000 + b'"}',
        b'\xff{"type": "\xff"}',
    ],
)
def test_any_other_answer_is_a_plain_peer_error(body: bytes) -> None:
    assert type(problems.from_problem(404, body)) is PeerError


def test_members_are_taken_strictly() -> None:
    members = {
        "type": "urn:village-edge:problem:conflict",
        "self": "x",
        "detail": "two\nlines\x1b[31m",
        "Upper": 1,
        "flag": True,
        "list": [1],
        "float": 1.5,
        "huge": 10**30,
        "long": "x" * 2_000,
        "size": 5,
    }
    error = problems.from_problem(409, json.dumps(members).encode())
    assert type(error) is errors.Conflict
    assert error.more == {"size": 5}
    assert error.detail.isprintable()
    many = {f"m{n}": n for n in range(100)}
    assert len(problems.from_problem(400, json.dumps(many).encode()).more) == (
        limits.PROBLEM_MEMBERS_MAX
    )


@given(st.binary(max_size=300), st.integers(300, 599))
def test_any_bytes_give_an_error(body: bytes, status: int) -> None:
    assert isinstance(problems.from_problem(status, body), BoxError)


def test_a_detail_made_of_header_bytes() -> None:
    _, body = problems.to_problem(errors.Malformed("Host: \udcff\r\n" + "x" * 9_999))
    assert json.loads(body)["detail"] == "Host:    " + "x" * 1_015


def test_more_cannot_hide_a_standard_member() -> None:
    with pytest.raises(AssertionError):
        problems.to_problem(BoxError("x", status=200))
