"""Settings: one frozen value from `village.toml`, the environment and flags.

A setting `[listen] page` is VILLAGE_EDGE_LISTEN_PAGE in the environment and `--set listen.page=...`
on the command line; later ones win, and unknown ones are errors. firmware-notes/operations.md lists
them all.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec

from edge.core import limits, names, registry
from edge.errors import BoxError, ConfigError

FILE = "village.toml"
ENVIRONMENT_PREFIX = "VILLAGE_EDGE_"
FOLDER_VARIABLE = "VILLAGE_EDGE_DIR"  # where the village is: read by the commands, not a setting
FILE_BYTES_MAX = 65_536
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_LISTEN = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9](?:[a-z0-9.-]{0,252})):([0-9]{1,5})")


class VillageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who this village is. Degrees are kept to two decimals."""

    id: str
    name: str
    lat: float
    lon: float

    @property
    def location(self) -> registry.Location:
        return registry.Location(round(self.lat, 2), round(self.lon, 2))


class ListenSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the box listens, as host:port. Port 0 takes a free one; an empty page is off."""

    federation: str = "0.0.0.0:7440"  # TLS 1.3, for other villages
    page: str = "127.0.0.1:7480"  # plain HTTP, this machine only
    page_tls: str = "0.0.0.0:7443"  # HTTPS for the local network


class FederationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`advertise`: the host:port under which neighbours reach `listen.federation`; if empty, the
    address of this machine on its network."""

    advertise: tuple[str, ...] = ()
    heartbeat_s: Annotated[float, msgspec.Meta(ge=0.05, le=3_600)] = 60.0


class TradeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fee on an offer of AT, in hundredths of a percent, into this village's treasury."""

    fee_basis_points: Annotated[int, msgspec.Meta(ge=0, le=2_000)] = 0


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    village: VillageSettings
    listen: ListenSettings = ListenSettings()
    federation: FederationSettings = FederationSettings()
    trade: TradeSettings = TradeSettings()


_Settings = dict[str, dict[str, object]]  # by section and key
_SECTIONS: Final = {each.name: each.type for each in msgspec.structs.fields(Config)}


def load(folder: Path, environment: Mapping[str, str], flags: Sequence[str] = ()) -> Config:
    """Return the settings of a village's folder. `flags` are texts like `listen.page=`.

    Raises ConfigError naming the file, variable or flag and what is wrong with it.
    """
    path = folder / FILE
    settings: _Settings = {}
    for section, values in _read(path).items():
        for key, value in values.items():
            _set(settings, section, key, value, str(path))
    for name, section, key in _variables(environment):
        _set(settings, section, key, _typed(section, key, environment[name]), name, strict=False)
    for flag in flags:
        place, equals, value = flag.partition("=")
        section, _, key = place.partition(".")
        if not equals:
            raise ConfigError(f"--set {flag}: write it as section.key=value")
        _set(settings, section, key, _typed(section, key, value), f"--set {flag}", strict=False)
    return _checked(settings, path)


def check_environment(environment: Mapping[str, str]) -> None:
    """Raise ConfigError for a variable that looks like a setting and is none."""
    for name, section, key in _variables(environment):
        _type_of(section, key, name)


def to_toml(village: VillageSettings) -> str:
    """Return a new village's settings file."""
    return (
        "# Settings of this village's box. firmware-notes/operations.md lists them all.\n"
        "[village]\n"
        f"id = {_quoted(village.id)}\n"
        f"name = {_quoted(village.name)}\n"
        f"lat = {village.lat}\nlon = {village.lon}\n"
    )


def check_village(village: VillageSettings) -> None:
    """Raise ConfigError for an id, name or place that a village cannot have."""
    try:
        names.village_id(village.id)
        names.village_name(village.name)
    except BoxError as error:
        raise ConfigError(error.detail) from None
    if not (-90 <= village.lat <= 90 and -180 <= village.lon <= 180):
        raise ConfigError("a place has a latitude of -90 to 90 and a longitude of -180 to 180")


def _read(path: Path) -> dict[str, dict[str, object]]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"there is no village in {path.parent}: run village-edge init first"
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if len(text) > FILE_BYTES_MAX:
        raise ConfigError(f"{path} is over {FILE_BYTES_MAX} bytes")
    try:
        settings = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    for section, values in settings.items():
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: {section} stands outside a [section]")
        if section not in _SECTIONS:
            raise ConfigError(f"{path}: there is no section [{section}]")
    return settings


def _variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield the name, section and key of each variable that looks like a setting."""
    for name in sorted(environment):
        if name.startswith(ENVIRONMENT_PREFIX) and name != FOLDER_VARIABLE:
            section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
            yield name, section, key


def _typed(section: str, key: str, text: str) -> object:
    """Return what a text from a variable or a flag stands for: a list has commas between."""
    listed = (section, key) == ("federation", "advertise")
    return [each for each in text.split(",") if each] if listed else text


def _type_of(section: str, key: str, source: str) -> object:
    keys = msgspec.structs.fields(_SECTIONS[section]) if section in _SECTIONS else ()
    for each in keys:
        if each.name == key:
            return each.type
    raise ConfigError(f"{source}: there is no setting {section}.{key}")


def _set(
    settings: _Settings, section: str, key: str, value: object, source: str, strict: bool = True
) -> None:
    kind = _type_of(section, key, source)
    try:
        settings.setdefault(section, {})[key] = msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError:
        shown = repr(value)[:80]
        raise ConfigError(f"{source}: {section}.{key} is {_expected(kind)}, not {shown}") from None


def _expected(kind: object) -> str:
    match msgspec.inspect.type_info(kind):
        case msgspec.inspect.IntType(ge=low, le=high):
            return f"a whole number from {low} to {high}"
        case msgspec.inspect.FloatType(ge=low, le=high):
            return "a number" if low is None else f"a number from {low:g} to {high:g}"
        case msgspec.inspect.StrType():
            return "a text in quotes"
    return "a list of texts in quotes"


def _checked(settings: _Settings, path: Path) -> Config:
    for each in msgspec.structs.fields(VillageSettings):
        if each.name not in settings.get("village", {}):
            raise ConfigError(f"{path}: [village] {each.name} is missing")
    config = msgspec.convert(settings, Config)
    check_village(config.village)
    for name, address in msgspec.structs.asdict(config.listen).items():
        if address or name == "federation":
            parse_listen(address, f"listen.{name}")
    if config.listen.page and parse_listen(config.listen.page, "listen.page")[0] not in LOOPBACK:
        raise ConfigError(
            "listen.page is plain HTTP: it may only listen on 127.0.0.1, [::1] or localhost; "
            "listen.page_tls serves the network"
        )
    if len(config.federation.advertise) > limits.ADDRESSES_MAX:
        raise ConfigError(f"federation.advertise has at most {limits.ADDRESSES_MAX} addresses")
    for address in config.federation.advertise:
        if not names.accepts(names.address, address):
            raise ConfigError(f"federation.advertise: {address!r} is not host:port")
    return config


def parse_listen(address: str, name: str) -> tuple[str, int]:
    """Return (host, port) of a listening address; port 0 is a free one."""
    match = _LISTEN.fullmatch(address)
    if not match or int(match[2]) > 65_535:
        raise ConfigError(f"{name}: {address[:80]!r} is not host:port, in lower case")
    return match[1], int(match[2])


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()  # a JSON string is a TOML basic string
