"""The steward's manual against the code: every command, flag, setting, variable and exit code."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

import msgspec
import pytest

from edge import cli, config, control, errors

MANUAL: Final = Path(__file__).parents[2] / "firmware-notes" / "operations.md"
WITHOUT_A_BOX: Final = frozenset({"init", "serve", "audit", "verify", "demo", "backup"})
ARGUMENTS: Final = {
    "to": ["Bob@ose-california-001"],
    "--offer": ["1", "AT"],
    "--request": ["1", "Solar Panel"],
    "--reason": ["It is cracked."],
    "--lat": ["1"],
    "--lon": ["1"],
}


def commands(
    parser: argparse.ArgumentParser | None = None, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Return each command that does something, such as `peer invite`, and its parser."""
    parser = parser or cli.parser()
    groups = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    if not groups:
        yield " ".join(path), parser
    for group in groups:
        for name, made in group.choices.items():
            yield from commands(made, (*path, name))


def flags(parser: argparse.ArgumentParser) -> set[str]:
    named = {option for each in parser._actions for option in each.option_strings}
    return {option for option in named if option.startswith("--")} - {"--help"}


def settings() -> Iterator[tuple[str, object]]:
    """Return each setting, such as `listen.page`, and its default or msgspec.NODEFAULT."""
    for section in msgspec.structs.fields(config.Config):
        for key in msgspec.structs.fields(section.type):
            yield f"{section.name}.{key.name}", key.default


def variable_of(setting: str) -> str:
    return config.ENVIRONMENT_PREFIX + setting.replace(".", "_").upper()


def known() -> dict[str, str]:
    """Return a pattern for each thing that the manual has to name."""
    names = {f"village-edge {name}" for name, _ in commands()}
    for name, parser in commands():
        names |= {f"--{flag.removeprefix('--')}" for flag in flags(parser)}
        assert flags(parser), f"{name} has no flag: not even --dir"
    names |= {"--version", config.FOLDER_VARIABLE}
    for setting, _ in settings():
        section, _, key = setting.partition(".")
        names |= {variable_of(setting), f"[{section}]", key}
    exact = {name: rf"(?<![\w.-]){re.escape(name)}(?![\w-])" for name in names}
    return exact | {f"exit code {code}": rf"(?m)^\W*{code}\b" for code in sorted(exit_codes())}


def exit_codes() -> set[int]:
    return {0, *cli.EXIT_CODES.values()}


def missing(text: str) -> list[str]:
    """Return what a manual does not name."""
    return sorted(name for name, pattern in known().items() if not re.search(pattern, text))


def shown_default(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_the_manual_names_everything() -> None:
    assert missing(MANUAL.read_text("utf-8")) == []


def test_the_manual_gives_each_default() -> None:
    text = MANUAL.read_text("utf-8")
    defaults = {
        name: shown_default(value)
        for name, value in settings()
        if value is not msgspec.NODEFAULT and shown_default(value)
    }
    assert {name: value for name, value in defaults.items() if value not in text} == {}


def test_the_manual_names_nothing_else() -> None:
    text = MANUAL.read_text("utf-8")
    variables = {variable_of(setting) for setting, _ in settings()} | {config.FOLDER_VARIABLE}
    assert set(re.findall(r"VILLAGE_EDGE_[A-Z_]+[A-Z]", text)) <= variables
    firsts = {name.split()[0] for name, _ in commands()} | {"--version", "--help"}
    assert set(re.findall(r"(?m)(?:^|`)village-edge ([a-z-]+)", text)) <= firsts


def test_what_is_missing_can_be_told() -> None:
    """The helper finds a flag in running text, and not where it is only a part of a word."""
    everything = "\n".join([*known(), *(f"- {code}" for code in exit_codes())])
    assert missing(everything) == []
    assert "--json" in missing(everything.replace("--json", "--jsonl"))
    assert "VILLAGE_EDGE_LISTEN_PAGE" in missing(
        everything.replace("VILLAGE_EDGE_LISTEN_PAGE\n", "")
    )
    assert "village-edge peer add" in missing(everything.replace("peer add", "peer adding"))
    assert "exit code 3" in missing(everything.replace("\n- 3", ""))


def test_each_command_of_the_box_can_be_typed_and_each_typed_one_is_a_command() -> None:
    tags = {
        str(msgspec.inspect.type_info(kind).tag)  # type: ignore[attr-defined]
        for kind in get_args(control.AnyCommand)
    }
    typed = {name for name, _ in commands()}
    assert typed - tags == WITHOUT_A_BOX
    assert tags - typed == set()


@pytest.mark.parametrize("name", sorted({name for name, _ in commands()} - WITHOUT_A_BOX))
def test_what_is_typed_is_what_is_asked(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("[]")
    line = [*name.split()]
    for action in dict(commands())[name]._actions:
        flag = next(iter(action.option_strings), "")
        if action.required or flag in ("--pin", "--offer"):
            value = ARGUMENTS.get(flag or action.dest, ["7"])
            value = [str(tmp_path / "file")] if action.dest == "file" else value
            line += [flag, *value] if flag else value
    parsed = cli.parser().parse_args(line)
    command = parsed.ask(parsed)
    assert msgspec.to_builtins(command)["command"] == name
    control.check(command)


def test_data_is_printed_as_json_too() -> None:
    silent = {name for name, parser in commands() if "--json" not in flags(parser)}
    exports = {name for name, _ in commands() if name.startswith("export ")}  # JSON as it is
    assert silent == {"serve", "demo"} | exports


def test_every_class_of_error_has_an_exit_code() -> None:
    kinds = [errors.BoxError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    codes = {kind.__name__: cli.exit_code(kind("")) for kind in kinds}
    assert set(codes.values()) | {0} == exit_codes()
    assert codes["InvalidAmount"] == 2 and codes["LimitExceeded"] == 1
    assert codes["WrongPin"] == 3 and codes["CorruptDatabase"] == 4 and codes["BoxBusy"] == 2
    assert codes["AuditDifference"] == 5 and codes["Malformed"] == 1
