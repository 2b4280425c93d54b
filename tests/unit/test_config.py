"""Settings: what is taken, from where, and how each mistake is named."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import config
from edge.config import (
    Config,
    FederationSettings,
    ListenSettings,
    TradeSettings,
    VillageSettings,
)
from edge.core import limits
from edge.errors import ConfigError

MISSOURI = VillageSettings("ose-missouri-001", "Factor e Farm", 38.45, -93.85)
VILLAGE = config.to_toml(MISSOURI)


def load(
    folder: Path,
    toml: str = "",
    environment: Mapping[str, str] | None = None,
    flags: Sequence[str] = (),
) -> Config:
    (folder / config.FILE).write_text(VILLAGE + toml)
    return config.load(folder, environment or {}, flags)


def refusal(
    folder: Path,
    toml: str = "",
    environment: Mapping[str, str] | None = None,
    flags: Sequence[str] = (),
) -> str:
    """Return why the settings are refused; it is one line."""
    with pytest.raises(ConfigError) as caught:
        load(folder, toml, environment, flags)
    assert "\n" not in caught.value.detail
    return caught.value.detail


def test_defaults(tmp_path: Path) -> None:
    assert load(tmp_path) == Config(
        village=MISSOURI,
        listen=ListenSettings(
            federation="0.0.0.0:7440", page="127.0.0.1:7480", page_tls="0.0.0.0:7443"
        ),
        federation=FederationSettings(advertise=(), heartbeat_s=60.0),
        trade=TradeSettings(fee_basis_points=0),
    )


def test_later_sources_win(tmp_path: Path) -> None:
    toml = '[listen]\npage = "127.0.0.1:1"\npage_tls = "0.0.0.0:1"\nfederation = "0.0.0.0:1"\n'
    environment = {
        "VILLAGE_EDGE_LISTEN_PAGE": "127.0.0.1:2",
        "VILLAGE_EDGE_LISTEN_PAGE_TLS": "0.0.0.0:2",
        "LISTEN_PAGE": "127.0.0.1:9",
    }
    flags = ["listen.page=127.0.0.1:3", "listen.page=127.0.0.1:4"]
    found = load(tmp_path, toml, environment, flags).listen
    assert (found.federation, found.page_tls, found.page) == (
        "0.0.0.0:1",
        "0.0.0.0:2",
        "127.0.0.1:4",
    )


def test_every_setting_can_come_from_everywhere(tmp_path: Path) -> None:
    """Each key of each section, in the file, the environment and as a flag."""
    values: dict[str, dict[str, object]] = {
        "village": {"id": "ose-texas-002", "name": "T", "lat": 1.5, "lon": 2.5},
        "listen": {"federation": "[::1]:1", "page": "localhost:2", "page_tls": "0.0.0.0:0"},
        "federation": {"advertise": ("a.example:1", "[::1]:2"), "heartbeat_s": 0.5},
        "trade": {"fee_basis_points": 7},
    }
    expected = msgspec.convert(values, Config)
    sections = {field.name: field.type for field in msgspec.structs.fields(Config)}
    assert values.keys() == sections.keys()
    environment, flags, toml = {}, [], ""
    for section, keys in values.items():
        assert keys.keys() == {each.name for each in msgspec.structs.fields(sections[section])}
        toml += f"[{section}]\n"
        for key, value in keys.items():
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            environment[f"VILLAGE_EDGE_{section}_{key}".upper()] = text
            flags.append(f"{section}.{key}={text}")
            listed = list(value) if isinstance(value, tuple) else value
            toml += f"{key} = {msgspec.json.encode(listed).decode()}\n"
    assert load(tmp_path, "", environment) == expected
    assert load(tmp_path, "", {}, flags) == expected
    (tmp_path / config.FILE).write_text(toml)
    assert config.load(tmp_path, {}) == expected


def test_an_empty_text_switches_a_page_off_and_empties_a_list(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        '[federation]\nadvertise = ["a.example:1"]\n',
        {"VILLAGE_EDGE_FEDERATION_ADVERTISE": "", "VILLAGE_EDGE_LISTEN_PAGE_TLS": ""},
        ["listen.page="],
    )
    assert (found.federation.advertise, found.listen.page, found.listen.page_tls) == ((), "", "")


def test_the_folder_variable_is_no_setting(tmp_path: Path) -> None:
    assert load(tmp_path, "", {config.FOLDER_VARIABLE: "elsewhere"}).village == MISSOURI


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("[lisen]\npage = ''", "lisen"),
        ("[listen]\npge = ''", "pge"),
        ("[trade]\nfee_basis_points = 1\nfee = 2", "fee"),
        ("top = 1", "top"),
        ("[listen]\npage = 5", "listen.page"),
        ("[listen]\npage = true", "listen.page"),
        ("[federation]\nheartbeat_s = '5'", "heartbeat_s"),
        ("[federation]\nheartbeat_s = nan", "heartbeat_s"),
        ("[federation]\nheartbeat_s = 0", "heartbeat_s"),
        ("[federation]\nheartbeat_s = 3601", "heartbeat_s"),
        ("[federation]\nadvertise = 'a:1'", "advertise"),
        ("[federation]\nadvertise = [1]", "advertise"),
        ("[trade]\nfee_basis_points = true", "fee_basis_points"),
        ("[trade]\nfee_basis_points = 1.5", "fee_basis_points"),
        ("[trade]\nfee_basis_points = -1", "fee_basis_points"),
        ("[trade]\nfee_basis_points = 2001", "fee_basis_points"),
        ("[listen]\n[listen]", "listen"),
        ("= 1", config.FILE),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, toml: str, named: str) -> None:
    detail = refusal(tmp_path, toml)
    assert named in detail and str(tmp_path / config.FILE) in detail


@pytest.mark.parametrize(
    ("flag", "named"),
    [
        ("lisen.page=", "lisen.page"),
        ("listen.pge=", "listen.pge"),
        ("listen=", "listen."),
        ("=", "--set ="),
        ("listen.page", "section.key=value"),
        ("village.lat=north", "village.lat is a number, not 'north'"),
        ("village.lat=nan", "latitude"),
        ("village.lon=181", "longitude"),
        ("village.lat=-90.1", "latitude"),
        ("village.id=Missouri", "'Missouri'"),
        ("village.name=", "name"),
        ("federation.heartbeat_s=soon", "heartbeat_s"),
        ("federation.heartbeat_s=inf", "heartbeat_s"),
        ("trade.fee_basis_points=1.5", "fee_basis_points"),
        ("trade.fee_basis_points=99999999999999999999", "fee_basis_points"),
    ],
)
def test_a_mistake_in_a_flag_or_variable_is_named(tmp_path: Path, flag: str, named: str) -> None:
    assert named in refusal(tmp_path, flags=[flag])
    place, equals, value = flag.partition("=")
    if equals and place.count(".") == 1:
        name = f"VILLAGE_EDGE_{place.replace('.', '_')}".upper()
        detail = refusal(tmp_path, environment={name: value})
        assert name in detail or named in detail


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[lisen]\n", "there is no section [lisen]"),
        ("[listen]\npge = ''", "there is no setting listen.pge"),
        ("[listen]\npage = 5", "listen.page is a text in quotes, not 5"),
        (
            "[federation]\nheartbeat_s = 0",
            "federation.heartbeat_s is a number from 0.05 to 3600, not 0",
        ),
        (
            "[federation]\nadvertise = 'a:1'",
            "federation.advertise is a list of texts in quotes, not 'a:1'",
        ),
        (
            "[trade]\nfee_basis_points = 2001",
            "trade.fee_basis_points is a whole number from 0 to 2000, not 2001",
        ),
    ],
)
def test_a_mistake_is_told_in_plain_words(tmp_path: Path, toml: str, said: str) -> None:
    assert refusal(tmp_path, toml) == f"{tmp_path / config.FILE}: {said}"


def test_what_is_missing_is_told_in_plain_words(tmp_path: Path) -> None:
    path = tmp_path / config.FILE
    path.write_text('[village]\nid = "ose-missouri-001"\nname = "Farm"\nlat = 1.0\n')
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path, {})
    assert caught.value.detail == f"{path}: [village] lon is missing"


def test_a_variable_that_is_no_setting_is_told_without_a_village() -> None:
    config.check_environment({"VILLAGE_EDGE_LISTEN_PAGE": "", config.FOLDER_VARIABLE: "x", "A": ""})
    with pytest.raises(ConfigError, match="VILLAGE_EDGE_LISTEN_PAG: there is no setting"):
        config.check_environment({"VILLAGE_EDGE_LISTEN_PAG": ""})


def test_the_source_of_a_wrong_value_is_named(tmp_path: Path) -> None:
    name = "VILLAGE_EDGE_TRADE_FEE_BASIS_POINTS"
    assert refusal(tmp_path, environment={name: "much"}).startswith(name)
    assert refusal(tmp_path, flags=["village.lat=x"]).startswith("--set village.lat=x")
    assert refusal(tmp_path, environment={"VILLAGE_EDGE_": "1"}).startswith("VILLAGE_EDGE_:")


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "192.168.1.2", "[::]", "village.local", "127.0.0.2", "localhost.example"]
)
def test_the_plain_page_is_for_this_machine_only(tmp_path: Path, host: str) -> None:
    detail = refusal(tmp_path, flags=[f"listen.page={host}:80"])
    assert "listen.page" in detail and "page_tls" in detail
    tls = f"{host}:80"
    assert load(tmp_path, flags=[f"listen.page_tls={tls}"]).listen.page_tls == tls


@pytest.mark.parametrize(
    "address",
    [
        "localhost",
        "localhost:",
        ":80",
        "localhost:65536",
        "localhost:-1",
        "localhost:+80",
        "localhost:8_0",
        "localhost:٨٠",
        "localhost: 80",
        "local host:80",
        "localhost:" + "9" * 5_000,
        "::1:80",
        "[::1:80",
        "LOCALHOST:80",
        "a\x00b:80",
        "x" * 300 + ":80",
        "http://localhost:80",
        "localhost:80/",
    ],
)
def test_a_malformed_listening_address_is_named(tmp_path: Path, address: str) -> None:
    for name in ("federation", "page", "page_tls"):
        detail = refusal(tmp_path, flags=[f"listen.{name}={address}"])
        assert f"listen.{name}" in detail


def test_federation_cannot_be_switched_off(tmp_path: Path) -> None:
    assert "listen.federation" in refusal(tmp_path, flags=["listen.federation="])


@pytest.mark.parametrize("address", ["host", "host:0", "Host:1", "host:65536", "a b:1", "::1:1"])
def test_a_malformed_advertised_address_is_named(tmp_path: Path, address: str) -> None:
    assert "federation.advertise" in refusal(tmp_path, flags=[f"federation.advertise={address}"])


def test_there_is_a_bound_on_advertised_addresses(tmp_path: Path) -> None:
    def listed(count: int) -> list[str]:
        return ["federation.advertise=" + ",".join(f"h{i}:1" for i in range(count))]

    assert len(load(tmp_path, flags=listed(limits.ADDRESSES_MAX)).federation.advertise) == 8
    assert "federation.advertise" in refusal(tmp_path, flags=listed(limits.ADDRESSES_MAX + 1))


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / config.FILE
    for content, said in (
        (b"#" * (config.FILE_BYTES_MAX + 1), "over"),
        (b"\xff\xfe", "decode"),
        (b"[village]\n", "id"),
        (b"", "village"),
    ):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=said) as caught:
            config.load(tmp_path, {})
        assert str(path) in caught.value.detail
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match="cannot read"):
        config.load(tmp_path, {})


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run village-edge init first") as caught:
        config.load(tmp_path / "nowhere", {})
    assert str(tmp_path / "nowhere") in caught.value.detail


@given(
    name=st.text(min_size=1, max_size=limits.VILLAGE_NAME_CHARS_MAX),
    lat=st.floats(-90, 90),
    lon=st.floats(-180, 180),
)
def test_a_new_file_says_what_was_asked(name: str, lat: float, lon: float) -> None:
    village = VillageSettings("ose-missouri-001", name, round(lat, 2), round(lon, 2))
    try:
        config.check_village(village)
    except ConfigError:
        return
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"test-config-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    path = folder / config.FILE
    try:
        path.write_text(config.to_toml(village), encoding="utf-8")
        assert config.load(folder, {}) == Config(village)
    finally:
        path.unlink()
        folder.rmdir()
