"""The depth of JSON, counted without decoding it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core import limits
from edge.errors import Malformed
from edge.transport.signed import check_depth

VALUES = st.recursive(
    st.none() | st.integers() | st.text(alphabet='a"\\[]{}\u2603', max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('"\\[{', max_size=4), inner)
    ),
    max_leaves=30,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES, st.integers(0, 20), st.booleans())
def test_depth_is_the_real_one(value: Any, wrappings: int, as_list: bool) -> None:
    for _ in range(wrappings):
        value = [value] if as_list else {"\\": value}
    body = json.dumps(value).encode()
    if depth(value) > limits.JSON_DEPTH_MAX:
        with pytest.raises(Malformed):
            check_depth(body)
    else:
        check_depth(body)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 50_000 + b"]" * 50_000,
        b"[",
        b"]",
        b'"\\\\"' + b"[" * 17,
        b'{"a":"\\\\\\"[","b":' + b"[" * 16 + b"]" * 16 + b"}",
    ],
)
def test_too_deep(body: bytes) -> None:
    with pytest.raises(Malformed):
        check_depth(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[" * 16 + b"]" * 16,
        b"[" + b"[{}]," * 100_000 + b"1]",
        json.dumps(["[" * 1_000, '"[[[[' * 100, "\\" * 33 + "[" * 50]).encode(),
    ],
)
def test_not_too_deep(body: bytes) -> None:
    check_depth(body)
