"""`python -m edge` is `village-edge`.

Ctrl-C ends it with 130 and no word, also while the rest is still being imported, which takes a
second on a small computer, and while the interpreter shuts down.
"""

import atexit
import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130


def main() -> int:
    """Run one command; return the exit code."""
    is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else it is ignored
    if is_ours:
        signal.signal(signal.SIGINT, _leave)
        # The interpreter takes its handlers down before it has ended: by then all is done.
        atexit.register(signal.pthread_sigmask, signal.SIG_BLOCK, {signal.SIGINT})
    from edge import cli

    try:
        if is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return cli.main()
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, _leave)


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Nothing has begun yet, or all is done: there is nothing to put away."""
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
