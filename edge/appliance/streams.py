"""The standard streams, which whoever starts a command may have closed or sent to a full disk."""

import contextlib
import errno
import os
import sys
from typing import Final

_OF_WRITING: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


def fill_gaps() -> bool:
    """Open /dev/null for each standard stream that is closed, since the next file or socket would
    come to stand there; tell whether there is an output."""
    has_output = sys.stdout is not None
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    return has_output


def is_of_output(error: OSError) -> bool:
    """Tell whether an error is of writing to standard output: those of files name the file."""
    return error.filename is None and error.errno in _OF_WRITING


def drop_output() -> None:
    """Send the rest to /dev/null: else the interpreter tries it once more when it ends."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
