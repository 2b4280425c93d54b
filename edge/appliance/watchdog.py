"""What the box tells the service manager that started it: ready, alive, stopping (sd_notify(3)).

Alive is said twice in the time that the manager allows, and only while the event loop runs and the
ledger answers: a box in which either hangs is ended and started again.
"""

import asyncio
import contextlib
import logging
import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from edge.errors import BoxError, ConfigError

SEND_S_MAX = 1
SERVING = "STATUS=serving"
_MICROSECONDS = re.compile(r"[1-9][0-9]{0,15}")
_log = logging.getLogger(__name__)


class Supervisor:
    """The service manager that NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID speak of, if any.

    Raises ConfigError for variables that no service manager sets.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._beat_s = _beat_s(environment)

    @contextlib.asynccontextmanager
    async def told(self, ping: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
        """Say READY now, that the box is alive while `ping` returns, and STOPPING at the end."""
        self._tell("READY=1", SERVING)
        feeding = asyncio.create_task(self._feed(ping), name="watchdog")
        try:
            yield
        finally:
            self._tell("STOPPING=1", "STATUS=stopping")
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)

    async def _feed(self, ping: Callable[[], Awaitable[object]]) -> None:
        """No answer to a ping, no word: the manager's patience is the bound."""
        while self._beat_s:
            complaint = asyncio.get_running_loop().call_later(self._beat_s, self._complain)
            try:
                await ping()
                self._tell("WATCHDOG=1", SERVING)
            except BoxError as error:
                _log.warning("the ledger refuses a ping: %s", error.detail)
            finally:
                complaint.cancel()
            await asyncio.sleep(self._beat_s)

    def _complain(self) -> None:
        _log.warning("the ledger has not answered for %g s", self._beat_s)
        self._tell("STATUS=the ledger does not answer")

    def _tell(self, *lines: str) -> None:
        """Send one message. A manager that cannot be reached is no reason to stop."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.settimeout(SEND_S_MAX)
            try:
                out.sendto("\n".join(lines).encode(), self._address)
            except OSError as error:
                _log.warning("the service manager was not told %s: %s", lines[0], error)


def _address(name: str) -> str:
    """Return the address of a socket: a path, or a name in the abstract namespace."""
    if name and name[0] not in "/@":
        raise ConfigError(f"NOTIFY_SOCKET={name!r} is neither a path nor an abstract name")
    return f"\0{name[1:]}" if name.startswith("@") else name


def _beat_s(environment: Mapping[str, str]) -> float:
    """Return half of the time that the manager allows in seconds, 0 if it does not watch us."""
    allowed = environment.get("WATCHDOG_USEC", "")
    if not allowed or environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0
    if not _MICROSECONDS.fullmatch(allowed):
        raise ConfigError(f"WATCHDOG_USEC={allowed!r} is not a number of microseconds")
    return int(allowed) / 2_000_000


NOBODY = Supervisor({})
