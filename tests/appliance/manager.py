"""A service manager as a box sees one: a socket that hears what sd_notify(3) says."""

import socket
import time
from pathlib import Path

from edge.appliance.watchdog import Supervisor

HEAR_S_MAX = 30


class Manager:
    """Listens at a path, or in the abstract namespace at a name with `@` before it."""

    def __init__(self, address: Path | str, allowed_s: float = 0) -> None:
        self.environment = {"NOTIFY_SOCKET": str(address)}
        if allowed_s:
            self.environment["WATCHDOG_USEC"] = str(round(allowed_s * 1_000_000))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(address).replace("@", "\0", 1))

    def supervisor(self) -> Supervisor:
        return Supervisor(self.environment)

    def hears(self, line: str, seconds: float = HEAR_S_MAX) -> bool:
        """Wait for a message with this line, passing over others; tell whether it came in time."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                message = self._socket.recv(4_096)
            except TimeoutError:
                break
            if line in message.decode().split("\n"):
                return True
        return False

    def heard(self) -> list[str]:
        """Return each message that has come and was not looked at, one text with its lines."""
        self._socket.setblocking(False)
        found = []
        while True:
            try:
                found.append(self._socket.recv(4_096).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()
