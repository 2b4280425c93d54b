"""The only module that asks the machine for randomness."""

import os


def random_bytes(count: int) -> bytes:
    """Return bytes from the operating system's generator."""
    return os.urandom(count)
