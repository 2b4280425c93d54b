"""Two neighbours with every kind of record, and copies of their databases to tamper with."""

import sqlite3
from collections.abc import Iterator

import pytest

from tests.storage import villages
from tests.storage.tampering import Evil, Story, tampered


@pytest.fixture(scope="module")
def story() -> Story:
    return Story(*villages.every_record_kind())


@pytest.fixture
def a(story: Story) -> Iterator[sqlite3.Connection]:
    yield from tampered(story.a)


@pytest.fixture
def b(story: Story) -> Iterator[sqlite3.Connection]:
    yield from tampered(story.b)


@pytest.fixture
def evil_a(story: Story, a: sqlite3.Connection) -> Evil:
    return Evil(story.a, a)


@pytest.fixture
def evil_b(story: Story, b: sqlite3.Connection) -> Evil:
    return Evil(story.b, b)
