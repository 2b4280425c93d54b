"""The composition root: makes a village's folder, builds every part of its box once, starts and
stops them."""

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
from aiohttp import web
from aiohttp.http import HttpProcessingError

from edge import commands, control, desk, peering, steward, trade_escrow
from edge.appliance import files, health, recovery
from edge.appliance.clock import Clock
from edge.appliance.randomness import random_bytes
from edge.appliance.watchdog import NOBODY, Supervisor
from edge.catching_up import CatchingUp
from edge.config import FILE as SETTINGS
from edge.config import Config, VillageSettings, check_village, parse_listen, to_toml
from edge.core import crypto, limits, messages
from edge.errors import BoxBusy, BoxError, ConfigError, CorruptDatabase, Malformed
from edge.federation_client import FederationClient
from edge.health import Health, Now, gather
from edge.peering import Profile
from edge.steward import Box
from edge.storage import audit, database, facts
from edge.storage.store import Store
from edge.storage.tx import Identity, View
from edge.storage.writer import Writer, last_stamp_ms
from edge.transport import tls
from edge.transport.client import Endpoint, PeerClient
from edge.transport.connections import (
    BOUNDS,
    PEOPLE_MAX,
    PEOPLE_PER_ADDRESS_MAX,
    VILLAGES_MAX,
    VILLAGES_PER_ADDRESS_MAX,
    Connections,
    Site,
    raise_descriptors,
)
from edge.transport.replay import ReplayGuard
from edge.transport.routes import FederationRoutes
from edge.web.handlers import Shop
from edge.web.pages import make_page

LEDGER = "ledger.db"
IDENTITY = "identity.key"
TLS_KEY = "tls.key"
TLS_CERTIFICATE = "tls.crt"
LOCK_S_MAX, LOCK_TRY_S = 5.0, 0.1
SESSION_PURPOSE = "village-edge/session/v1"
_log = logging.getLogger(__name__)
_http_log = logging.getLogger(f"{__name__}.http")


def create_village(
    folder: Path, village: VillageSettings, show: Callable[[str], None] = lambda phrase: None
) -> str:
    """Make a village's folder whole or not at all; return its recovery phrase, kept nowhere.

    `show` is given the phrase before the folder is there: if it fails, so does all. Raises
    ConfigError if the settings are not a village's or the folder is in use.
    """
    check_village(village)
    phrase = recovery.phrase_of(random_bytes(recovery.ENTROPY_BYTES))
    key = crypto.SecretKey(recovery.identity_seed(phrase))
    with files.new_folder(folder, SETTINGS) as draft:
        _fill(draft, village, key)
        show(phrase)
    return phrase


def _fill(draft: Path, village: VillageSettings, key: crypto.SecretKey) -> None:
    files.write(draft / IDENTITY, identity_text(key))
    tls_key, certificate = tls.make_certificate(village.id, [socket.gethostname()])
    files.write(draft / TLS_KEY, tls_key)
    files.write(draft / TLS_CERTIFICATE, certificate, 0o644)
    files.write(draft / SETTINGS, to_toml(village).encode(), 0o644)
    path = draft / LEDGER
    conn = database.open_writer(path, create=True)
    try:
        path.chmod(0o600)
        writer = Writer(conn, Identity(village.id, key), random_bytes, path)
        [(_, error)] = writer.run([desk.found_village], Clock().now_ms())
        if error is not None:
            raise error
    finally:
        conn.close()


def identity_text(key: crypto.SecretKey) -> bytes:
    """Return what stands in the file that `read_identity` reads."""
    return key.seed.hex().encode() + b"\n"


def read_identity(folder: Path) -> crypto.SecretKey:
    """Return the village's key from its private file. Raises ConfigError."""
    text = files.read_private(folder / IDENTITY).strip()
    try:
        return crypto.SecretKey(bytes.fromhex(text.decode("ascii")))
    except (ValueError, BoxError):
        raise ConfigError(f"{folder / IDENTITY} is not a village's key") from None


def _read_pin(path: Path) -> bytes:
    try:
        return tls.spki_pin(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except Malformed as error:
        raise ConfigError(f"{path}: {error.detail}") from None


def _is_ours(record: logging.LogRecord) -> bool:
    """Leave out requests that are no HTTP: with them a stranger could fill the log."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)


_http_log.addFilter(_is_ours)


class _Stopping(Exception):
    """The box stops, and what it was doing in the background is not finished."""


class App:
    """A village's box: parts, and while serving its listeners. Make it with `opened`."""

    def __init__(
        self, folder: Path, config: Config, key: crypto.SecretKey, store: Store, clock: Clock
    ) -> None:
        self.folder = folder
        self.pin = _read_pin(folder / TLS_CERTIFICATE)
        self.config = config
        self.clock = clock
        self.store = store
        self.identity = Identity(config.village.id, key)
        self.transport = PeerClient(
            config.village.id, key, self._endpoint_of, self.clock.now_s, random_bytes
        )
        heartbeat_s = config.federation.heartbeat_s
        self.catching_up = CatchingUp(store, self.transport, self.identity, heartbeat_s)
        self.client = FederationClient(
            store, self.catching_up, trade_escrow, random_bytes, heartbeat_s
        )
        self.federation_port = 0
        self.page_urls: list[str] = []
        self.fault: BaseException | None = None
        self._is_checked = False
        self._guard = ReplayGuard(0)
        self._connections_max = raise_descriptors()
        self._stop = asyncio.Event()

    def profile(self) -> Profile:
        """What this village says of itself, with the port it really listens on."""
        endpoints = self.config.federation.advertise
        if not endpoints and self.federation_port:
            host = parse_listen(self.config.listen.federation, "listen.federation")[0]
            endpoints = (f"{_reachable(host)}:{self.federation_port}",)
        return Profile(
            self.config.village.name,
            self.config.village.location,
            endpoints,
            self.pin,
        )

    async def box(self, serving: bool) -> Box:
        """Return the parts that commands use, with the registry entry brought up to date."""
        profile = self.profile()
        if not serving:
            known = await self.store.read(lambda view: facts.read(view, "entry"))
            if known is not None and not profile.endpoints:
                entry = await self.store.read(facts.own_entry)
                profile = msgspec.structs.replace(profile, endpoints=entry.endpoints)
        await self.store.write(lambda tx: peering.refresh_entry(tx, profile))
        return Box(
            runner=self.store,
            client=self.client,
            post_to=self.transport.post_to,
            profile=profile,
            fee_basis_points=self.config.trade.fee_basis_points,
            health=self.health,
            serving=serving,
        )

    def health(self, view: View) -> Health:
        """Return what `status` and the steward's desk show."""
        now = Now(
            ms=self.clock.now_ms(),
            disk=health.disk_of(self.folder),
            clock=health.clock_state(self.clock),
            serving=bool(self.federation_port),
            is_checked=self._is_checked or not self.federation_port,
            page_urls=tuple(self.page_urls),
            heartbeat_s=self.config.federation.heartbeat_s,
            clock_difference_s=self.transport.clock_difference_s,
        )
        return gather(view, now)

    async def serve(self, ready: Callable[["App"], None], supervisor: Supervisor = NOBODY) -> None:
        """Serve until `stop`; `ready` and the supervisor are told once everything listens. Raises
        ConfigError for a port in use, CorruptDatabase, or whatever broke the box."""
        self.store.failed.add_done_callback(lambda _: self._stop.set())
        async with contextlib.AsyncExitStack() as stack:
            await self._listen(stack)
            speaking = self.catching_up.run(self.client.run)
            client = asyncio.create_task(speaking, name="federation")
            client.add_done_callback(self._on_end)
            stack.push_async_callback(_cancelled, client)
            await stack.enter_async_context(supervisor.told(self._round_trip))
            ready(self)
            await self._stop.wait()
        if self.store.failed.done():
            raise CorruptDatabase(f"the box stopped: {self.store.failed.exception()}")
        if self.fault is not None:
            raise self.fault

    def stop(self) -> None:
        self._stop.set()

    async def _round_trip(self) -> None:
        """Through the queue to the one that writes, and back, with nothing to write."""
        await self.store.write(lambda _: None)

    async def _listen(self, stack: contextlib.AsyncExitStack) -> None:
        """Take all ports first, then serve them: whoever connects finds a box that is whole."""
        listen = self.config.listen
        certificate, key = self.folder / TLS_CERTIFICATE, self._tls_key()
        federation = _bind(stack, listen.federation, "listen.federation")
        page = _bind(stack, listen.page, "listen.page") if listen.page else None
        page_tls = _bind(stack, listen.page_tls, "listen.page_tls") if listen.page_tls else None
        self.federation_port = federation.getsockname()[1]
        await self._note_start(stack)
        await self.catching_up.at_start()
        box = await self.box(serving=True)
        context = tls.federation_context(certificate, key)
        neighbours = Connections(
            min(VILLAGES_MAX, self._connections_max // 2), VILLAGES_PER_ADDRESS_MAX
        )
        application = self._federation_application(box, neighbours)
        await self._serve_at(stack, application, [(federation, context)], neighbours)
        pages: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        if page is not None:
            pages.append((page, None))
            self.page_urls.append(f"http://localhost:{page.getsockname()[1]}/")
        if page_tls is not None:
            pages.append((page_tls, tls.page_context(certificate, key)))
            host, port = page_tls.getsockname()[:2]
            self.page_urls.append(f"https://{_reachable(host)}:{port}/")
        people = Connections(min(PEOPLE_MAX, self._connections_max // 2), PEOPLE_PER_ADDRESS_MAX)
        await self._serve_at(stack, make_page(self._shop(box)), pages, people)
        await self._listen_for_commands(stack, box)

    def _tls_key(self) -> Path:
        files.read_private(self.folder / TLS_KEY)
        return self.folder / TLS_KEY

    async def _listen_for_commands(self, stack: contextlib.AsyncExitStack, box: Box) -> None:
        path = self.folder / control.SOCKET
        path.unlink(missing_ok=True)
        application = control.application(
            lambda command: commands.run(box, command), self._on_broken_law
        )
        runner = await self._runner(stack, application)
        before = os.umask(0o177)
        try:
            await web.UnixSite(runner, str(path)).start()
        except OSError as error:
            raise ConfigError(f"cannot listen on {path}: {error}") from error
        finally:
            os.umask(before)
        stack.callback(path.unlink, missing_ok=True)

    async def _serve_at(
        self,
        stack: contextlib.AsyncExitStack,
        application: web.Application,
        sockets: list[tuple[socket.socket, ssl.SSLContext | None]],
        connections: Connections,
    ) -> None:
        application.middlewares.insert(0, connections.middleware)
        runner = await self._runner(stack, application)
        for bound, context in sockets:
            await Site(runner, bound, connections, context).start()

    async def _runner(
        self, stack: contextlib.AsyncExitStack, application: web.Application
    ) -> web.AppRunner:
        runner = web.AppRunner(
            application,
            access_log=None,
            logger=_http_log,
            shutdown_timeout=2,
            auto_decompress=False,
            **BOUNDS,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        return runner

    def _federation_application(self, box: Box, connections: Connections) -> web.Application:
        async def register(message: messages.Register) -> messages.Registered:
            answered = await self.store.write(lambda tx: peering.answer(tx, message, box.profile))
            if answered.signature is not None:
                self.client.kick_all()  # the others learn whom this village trusts now
            return answered

        return FederationRoutes(
            self.identity.village,
            self.store,
            self.catching_up.answering(self.client.answer),
            register,
            self._guard,
            connections.trust,
            self.clock.now_s,
            self.clock.monotonic_s,
            random_bytes,
        ).application(self._on_broken_law)

    def _replay_floor_s(self, view: View) -> int:
        """Requests signed up to here may have been taken before this start."""
        heard_until_s = facts.heard_until_s(view)
        if heard_until_s is not None:
            return heard_until_s
        return max(self.clock.now_ms(), last_stamp_ms(view)) // 1000 + limits.CLOCK_SKEW_S_MAX

    async def _note_start(self, stack: contextlib.AsyncExitStack) -> None:
        """Note that the box runs, until it has stopped cleanly; recompute everything, in the
        background, if it had not."""
        self._guard = ReplayGuard(await self.store.read(self._replay_floor_s))
        self._is_checked = await self.store.write(facts.start)
        stack.push_async_callback(self._note_stop)
        if not self._is_checked:
            checking = asyncio.create_task(self._check(), name="audit")
            checking.add_done_callback(self._on_end)
            stack.push_async_callback(_cancelled, checking)

    async def _note_stop(self) -> None:
        """A stop is clean unless the database failed or an audit that was due has not agreed."""
        if self._is_checked and not self.store.failed.done():
            await self.store.write(lambda tx: facts.stop(tx, self._guard.latest_s))

    async def _check(self) -> None:
        """Stop the box if the ledger differs from its log: nothing more is built on it then."""
        _log.info("the box was not stopped cleanly: auditing in the background")
        await self.catching_up.may_speak()  # what is being taken back does not agree by itself
        try:
            report = await self.store.read(lambda view: audit.audit(view, self._go_on))
        except _Stopping:
            return
        self._is_checked = True
        _log.info("the audit agrees: %d records", report.size)

    def _go_on(self, _done: int, _total: int) -> None:
        """Break the audit off when the box stops: a stop does not wait for a long one."""
        if self._stop.is_set():
            raise _Stopping

    def _shop(self, box: Box) -> Shop:
        return Shop(
            runner=self.store,
            committed=self.store.committed,
            kick=self.client.kick,
            announce=self.client.kick_all,
            join=lambda line: steward.join(box, line),
            health=self.health,
            session_key=crypto.derive(self.identity.key.seed, SESSION_PURPOSE),
            village=self.config.village.id,
            village_name=self.config.village.name,
            fee_basis_points=self.config.trade.fee_basis_points,
            run_blocking=asyncio.to_thread,
            now_ms=self.clock.now_ms,
            monotonic_s=self.clock.monotonic_s,
            random=random_bytes,
            on_broken_law=self._on_broken_law,
        )

    def _endpoint_of(self, village: str) -> Endpoint:
        known = self.client.known[village]
        return Endpoint(known.addresses, known.entry.spki_sha256)

    def _on_broken_law(self, error: AssertionError) -> None:
        self.fault = error
        self._stop.set()

    def _on_end(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            self.fault = task.exception()
            self._stop.set()


@contextlib.asynccontextmanager
async def locked(folder: Path) -> AsyncIterator[None]:
    """Own a village's folder, waiting LOCK_S_MAX for a short command to end. Raises BoxBusy."""
    with contextlib.ExitStack() as stack:
        lock = files.FolderLock(folder)
        for _ in range(round(LOCK_S_MAX / LOCK_TRY_S)):
            with contextlib.suppress(BoxBusy):
                stack.enter_context(lock)
                break
            await asyncio.sleep(LOCK_TRY_S)
        else:
            stack.enter_context(lock)
        yield


@contextlib.asynccontextmanager
async def opened(
    folder: Path, config: Config, store_kind: type[Store] = Store
) -> AsyncIterator[App]:
    """Open a village's box without its listeners. The caller holds the folder's lock.

    Raises ConfigError, CorruptDatabase, StorageError.
    """
    key = read_identity(folder)
    clock = Clock()
    identity = Identity(config.village.id, key)
    store = await store_kind.open(folder / LEDGER, identity, clock.now_ms, random_bytes)
    try:
        await store.read(lambda view: _check_village_id(view, identity, folder))
        app = App(folder, config, key, store, clock)
        try:
            yield app
        finally:
            await app.transport.close()
    finally:
        await store.close()


def own_address() -> str:
    """Return this machine's address on its network, 127.0.0.1 if it has none. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # documentation address, RFC 5737
            address: str = probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"
    return address


def _reachable(host: str) -> str:
    """Return where others reach what listens at `host`."""
    return own_address() if host in ("0.0.0.0", "[::]", "::") else host  # noqa: S104


def _check_village_id(view: View, identity: Identity, folder: Path) -> None:
    kept = facts.read(view, "village_id")
    if kept != identity.village:
        raise ConfigError(
            f"{folder / SETTINGS} says {identity.village}, but the ledger is of {kept}"
        )
    if facts.read(view, "key") not in (None, identity.key.public.hex()):
        raise ConfigError(f"{folder / IDENTITY} is not the key of this ledger")


def _bind(stack: contextlib.AsyncExitStack, address: str, name: str) -> socket.socket:
    """Take a host:port. Raises ConfigError naming the setting if it is taken."""
    host, port = parse_listen(address, name)
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, place = found[0]
        bound = socket.socket(family, kind, protocol)
        stack.callback(bound.close)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(place)
        bound.listen(128)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"cannot listen on {address} ({getattr(error, 'strerror', error)}): "
            f"choose another port with --set {name}=HOST:PORT"
        ) from None
    return bound


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
