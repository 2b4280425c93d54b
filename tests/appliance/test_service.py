"""The systemd unit as text, and what systemd itself says of it."""

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
UNIT: Final = ROOT / "systemd/village-edge.service"
MANUAL: Final = ROOT / "firmware-notes/operations.md"
EXPOSURE_MAX: Final = 1.5  # of 10, as `systemd-analyze security` counts
SELF_EXPLAINING: Final = ("Description",)


def settings() -> list[tuple[str, str]]:
    """Return each key and value, in their order."""
    lines = (line.partition("=") for line in UNIT.read_text().splitlines() if line[:1].isalpha())
    return [(key, value) for key, _, value in lines]


def value_of(key: str) -> str:
    (found,) = (value for name, value in settings() if name == key)
    return found


def analyze(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments, str(UNIT)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout


@pytest.mark.needs("systemd-analyze")
def test_systemd_finds_nothing_wrong_with_it() -> None:
    """An unknown key is only said, and the exit code is 0 all the same."""
    assert analyze("verify") == (0, "")


@pytest.mark.needs("systemd-analyze")
def test_systemd_counts_it_among_the_least_exposed() -> None:
    code, said = analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX * 10:.0f}")
    level = re.search(r"Overall exposure level for village-edge\.service: ([0-9.]+)", said)
    assert level is not None, said
    assert code == 0 and float(level[1]) <= EXPOSURE_MAX, said


def test_each_line_has_its_reason_above_it() -> None:
    before = ""
    for line in UNIT.read_text().splitlines():
        key = line.partition("=")[0]
        if line[:1].isalpha() and key not in SELF_EXPLAINING:
            assert before.startswith("# "), f"no reason for {line}"
        before = line


def test_it_is_watched_and_told_when_the_box_listens() -> None:
    assert value_of("Type") == "notify"
    assert value_of("NotifyAccess") == "main"
    assert int(value_of("WatchdogSec")) == 60
    assert value_of("Restart") == "on-failure"


def test_the_manual_installs_what_the_unit_starts() -> None:
    manual = MANUAL.read_text()
    variables = dict(each.split("=", 1) for key, each in settings() if key == "Environment")
    *python, file, command = value_of("ExecStart").split()
    assert python[0] == "/usr/bin/python3" and command == "serve"
    assert f"{variables['VILLAGE_EDGE_DIR']}/village.toml" == value_of("ConditionPathExists")
    assert variables["VILLAGE_EDGE_DIR"].startswith(f"/var/lib/{value_of('StateDirectory')}/")
    named = [f"{name}={value}" for name, value in variables.items()]
    named += [file, f"/var/lib/{value_of('StateDirectory')}", UNIT.name]
    named += [f"useradd --system --user-group --home-dir /var/lib/{value_of('User')}"]
    assert [each for each in named if each not in manual] == []
