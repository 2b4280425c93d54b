"""An event loop on which nothing takes time but what says so: it has no clock, no thread and no
socket, and what is due at one moment runs in the order in which it was asked for.

A task that belongs to a box (see `OWNER`) stops for good where that box loses its power, and each
of its steps is a point at which it may.
"""

import asyncio
import heapq
import itertools
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from typing import Any, Final, Protocol, TypeVar

T = TypeVar("T")


class Owner(Protocol):
    """A box, as the loop knows it: `incarnation` changes whenever it loses its power."""

    incarnation: int
    crash_in: int | None
    tasks: "dict[asyncio.Task[Any], None]"

    def crash_point(self, where: str) -> None: ...


OWNER: Final[ContextVar[Owner | None]] = ContextVar("OWNER", default=None)


class Crashed(BaseException):
    """The box lost its power here: nothing after this line runs in it."""


class Stuck(AssertionError):
    """Nothing will ever happen again, and something was waited for; or too much happens."""


class SimulatedLoop(asyncio.AbstractEventLoop):
    """Runs until a coroutine has ended. `steps` counts what has run; more than `steps_max` of them
    are Stuck."""

    def __init__(self, steps_max: int = 3_000_000) -> None:
        self.steps = 0
        self.steps_max = steps_max
        self.failure: BaseException | None = None  # whoever sets it ends all, and it is raised
        self._now_s = 0.0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()
        self._runs = False

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end and return its result."""
        task = self.create_task(coroutine)
        before = events._get_running_loop()
        events._set_running_loop(self)
        self._runs = True
        try:
            while not task.done() and self.failure is None:
                self._step()
        finally:
            self._runs = False
            events._set_running_loop(before)
        if self.failure is not None:
            raise self.failure
        result: T = task.result()
        return result

    def _step(self) -> None:
        if not self._ready:
            self._wait()
        handle = self._ready.popleft()
        if handle.cancelled():
            return
        self.steps += 1
        if self.steps > self.steps_max:
            raise Stuck(f"more than {self.steps_max} steps")
        handle._run()

    def _wait(self) -> None:
        """Let the time pass until something is due."""
        while self._timers:
            when_s, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled():
                self._now_s = max(self._now_s, when_s)
                self._ready.append(timer)
                return
        raise Stuck("nothing will ever happen again")

    # What asyncio asks of a loop

    def time(self) -> float:
        return self._now_s

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None
    ) -> "asyncio.Task[Any]":
        owner = OWNER.get() if context is None else context.get(OWNER)
        if owner is None:
            return _Task(coro, next(self._numbers), self, name, context)
        task = _Task(_Owned(coro, owner), next(self._numbers), self, name, context)
        owner.tasks[task] = None
        task.add_done_callback(lambda ended: _forget(owner, ended))
        return task

    def is_running(self) -> bool:
        return self._runs

    def is_closed(self) -> bool:
        return False

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """End all if a callback has failed. What nobody asked a future for is nobody's."""
        if "handle" in context and self.failure is None:
            self.failure = context.get("exception") or Stuck(context["message"])

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing: it is passed over when its time comes."""


def simulated_loop() -> SimulatedLoop:
    """Return a loop that knows only what is asked of it here."""
    return SimulatedLoop()  # type: ignore[abstract]


class _Task(asyncio.Task[Any]):
    """Sets of tasks are gone through in the order of their hashes: not by address, but by age."""

    def __init__(
        self,
        coro: Any,
        number: int,
        loop: asyncio.AbstractEventLoop,
        name: str | None,
        context: Context | None,
    ) -> None:
        self._number = number
        super().__init__(coro, loop=loop, name=name or f"task {number}", context=context)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class _Owned(Coroutine[Any, Any, Any]):
    """A box's coroutine. Each step is a crash point; a box that is no more takes none."""

    __slots__ = ("_incarnation", "_inner", "_owner")

    def __init__(self, inner: Coroutine[Any, Any, Any], owner: Owner) -> None:
        self._inner = inner
        self._owner = owner
        self._incarnation = owner.incarnation

    def send(self, value: Any) -> Any:
        owner = self._owner
        if owner.incarnation != self._incarnation:
            return self._inner.throw(Crashed("this box is no more"))
        if owner.crash_in is not None:
            try:
                owner.crash_point("at an await")
            except Crashed as crash:
                return self._inner.throw(crash)
        return self._inner.send(value)

    def throw(self, *error: Any) -> Any:
        if self._owner.incarnation != self._incarnation:
            return self._inner.throw(Crashed("this box is no more"))
        return self._inner.throw(*error)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError("a task's own")


def _forget(owner: Owner, task: "asyncio.Task[Any]") -> None:
    owner.tasks.pop(task, None)
    if not task.cancelled():
        task.exception()
