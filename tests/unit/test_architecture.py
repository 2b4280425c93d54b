"""The code as text: import directions, owners of libraries, and a few manners that can be checked.

The tables come first. A new module needs a line in LEVELS; a new library needs one in OWNERS.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]

# Imports go down only, and never between two units of one line. A unit is a module or a package;
# the longest name that fits counts, so `transport.routes` stands apart from the rest of transport.
LEVELS: Final = (
    ("edge.__main__",),
    ("edge.cli",),
    ("edge.cli_backup", "edge.cli_proofs", "edge.cli_trades"),
    ("edge.backup", "edge.cli_progress", "edge.demo", "edge.asked"),
    ("edge.app",),
    ("edge.web", "edge.transport.routes", "edge.commands", "edge.shown"),
    ("edge.transport.log_routes",),
    ("edge.after_settlement", "edge.exports"),
    ("edge.control", "edge.steward"),
    ("edge.abandon",),
    (
        "edge.federation_client",
        "edge.federation_hub",
        "edge.trade_escrow",
        "edge.desk",
        "edge.health",
        "edge.market",
        "edge.peering",
        "edge.standing",
    ),
    ("edge.catching_up",),
    ("edge.taking_back",),
    ("edge.exchange", "edge.trade_delivery", "edge.trade_receipt", "edge.trade_terms"),
    ("edge.council_words", "edge.trade_council", "edge.trade_seats"),
    ("edge.misbehaviour",),
    ("edge.told",),
    ("edge.storage", "edge.transport", "edge.discovery", "edge.appliance", "edge.config"),
    ("edge.core",),
    ("edge.errors",),
    ("edge",),  # the version
)

# Each library that is somebody's alone, and whose.
OWNERS: Final = {
    "aiohttp": (
        "edge.transport",
        "edge.web",
        "edge.federation_hub",
        "edge.control",
        "edge.app",
    ),
    "aiohttp_jinja2": ("edge.web",),
    "aiohttp_session": ("edge.web",),
    "aiosqlite": ("edge.storage",),
    "cryptography": ("edge.transport",),
    "jinja2": ("edge.web",),
    "mnemonic": ("edge.appliance",),
    "nacl": ("edge.core.crypto",),
    "random": ("edge.appliance.randomness",),
    "secrets": ("edge.appliance.randomness",),
    "sqlite3": ("edge.storage",),
    "time": ("edge.appliance.clock",),
    "uvloop": ("edge.appliance.event_loop",),
    "yarl": ("edge.transport", "edge.web", "edge.federation_hub", "edge.control", "edge.app"),
    "zeroconf": ("edge.discovery",),
}
ONE_MODULE_ONLY: Final = ("cryptography",)  # of its owner, one module

# The same for names inside a library that others may use.
NAME_OWNERS: Final = {
    "datetime.date.today": ("edge.appliance.clock",),
    "datetime.datetime.now": ("edge.appliance.clock",),
    "datetime.datetime.today": ("edge.appliance.clock",),
    "datetime.datetime.utcnow": ("edge.appliance.clock",),
    "nacl.bindings.randombytes": (),
    "nacl.utils.random": (),
    "os.getrandom": ("edge.appliance.randomness",),
    "os.urandom": ("edge.appliance.randomness",),
    "uuid.uuid1": (),
    "uuid.uuid4": (),
}

# All that the pure code may import: nothing that reads a clock, a die, a file or a socket.
CORE_MAY_IMPORT: Final = frozenset(
    """
    abc base64 binascii bisect collections collections.abc contextlib copy dataclasses datetime
    decimal enum fractions functools hashlib heapq hmac ipaddress itertools json math operator re
    string struct textwrap types typing unicodedata urllib.parse
    msgspec nacl edge.core edge.errors
    """.split()
)
CORE_MAY_NOT_CALL: Final = frozenset({"open", "print", "input", "exec", "eval", "__import__"})

MAY_PRINT: Final = ("edge.__main__", "edge.cli", "edge.demo")
LINES_MAX: Final = 500
TOP_LEVEL: Final = frozenset(
    """
    pyproject.toml edge systemd tests firmware-notes build
    README.md LICENSE CHANGELOG.md Makefile .gitignore .ci
    """.split()
)

# In two halves, so that this file does not name them either.
REGISTRY_HOSTS: Final = tuple(
    ".".join(halves)
    for halves in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("deb.debian", "org"),
        ("proxy.golang", "org"),
        ("crates", "io"),
    )
)


@dataclass(frozen=True, slots=True)
class Module:
    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def shown(self) -> str:
        return str(self.path.relative_to(ROOT))


def read_module(path: Path) -> Module:
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    text = path.read_text(encoding="utf-8")
    return Module(name, path, text, ast.parse(text, str(path)))


@cache
def modules(folder: str) -> tuple[Module, ...]:
    return tuple(read_module(path) for path in sorted((ROOT / folder).rglob("*.py")))


@cache
def project_files() -> tuple[Path, ...]:
    """Return every file that is, or is about to be, under version control."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = listed.stdout.decode().split("\0")
    return tuple(ROOT / name for name in names if name and (ROOT / name).is_file())


def is_within(name: str, units: Iterable[str]) -> bool:
    return any(name == unit or name.startswith(f"{unit}.") for unit in units)


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Yield the line and full name of all that a module imports, wherever in it the import stands.

    `from a import b` is `a.b`: whether b is a module or a name in one, it lies within the same unit
    as far as LEVELS can tell.
    """
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.shown}:{node.lineno}: relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def unit_of(name: str) -> tuple[int, str]:
    """Return the level (0 is the top) and the unit of a module of edge, or of a name in one."""
    units = [(level, unit) for level, line in enumerate(LEVELS) for unit in line]
    fitting = [(level, unit) for level, unit in units if is_within(name, [unit])]
    return max(fitting, key=lambda found: len(found[1]))


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for such an expression, else an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (left := dotted(node.value)):
        return f"{left}.{node.attr}"
    return ""


def names_used(module: Module) -> Iterator[tuple[int, str]]:
    """Yield the line and full name of each dotted name, with what it was imported as undone."""
    full_names: dict[str, str] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            full_names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            found = {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
            full_names |= found
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute | ast.Name) and (name := dotted(node)):
            head, _, rest = name.partition(".")
            head = full_names.get(head, head)
            yield node.lineno, f"{head}.{rest}" if rest else head


def calls(module: Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.lineno, node.func.id


def top_names(module: Module) -> Iterator[tuple[int, str]]:
    """Yield the line and name of each thing that a module defines at its top."""
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.lineno, node.target.id
        elif isinstance(node, ast.Assign):
            names = (target.id for target in node.targets if isinstance(target, ast.Name))
            yield from ((node.lineno, name) for name in names)


def words_used(module: Module) -> Iterator[str]:
    """Yield each name that is read, called or imported somewhere in a module."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


def fail_if(faults: Iterable[str]) -> None:
    found = sorted(faults)
    if found:
        pytest.fail("\n".join(["", *found]), pytrace=False)


def test_each_module_has_a_level() -> None:
    fail_if(
        f"{module.shown}: give it a line in LEVELS"
        for module in modules("edge")
        if module.name != "edge" and unit_of(module.name)[1] == "edge"
    )


def test_imports_go_down_only() -> None:
    faults = []
    for module in modules("edge"):
        level, unit = unit_of(module.name)
        for line, name in imports(module):
            if not is_within(name, ["edge"]):
                continue
            target_level, target = unit_of(name)
            if target != unit and target_level <= level:
                faults.append(f"{module.shown}:{line}: {unit} may not import {target}")
    fail_if(faults)


def test_each_library_has_its_owner() -> None:
    fail_if(
        f"{module.shown}:{line}: {library} belongs to {', '.join(owners)}"
        for module in modules("edge")
        for line, name in imports(module)
        for library, owners in OWNERS.items()
        if is_within(name, [library]) and not is_within(module.name, owners)
    )


@pytest.mark.parametrize("library", ONE_MODULE_ONLY)
def test_some_libraries_are_known_to_one_module(library: str) -> None:
    users = {
        module.shown
        for module in modules("edge")
        for _, name in imports(module)
        if is_within(name, [library])
    }
    assert len(users) <= 1


def test_clock_and_randomness_have_one_owner() -> None:
    fail_if(
        f"{module.shown}:{line}: {name} is not for this module"
        for module in modules("edge")
        for line, name in {*names_used(module), *imports(module)}
        if name in NAME_OWNERS and not is_within(module.name, NAME_OWNERS[name])
    )


def test_each_library_used_is_declared() -> None:
    """What a module imports is the standard library, this project, or a declared dependency."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    dependencies = tomllib.loads(text)["project"]["dependencies"]
    declared = {re.split(r"[<>=!~\[ ]", line)[0].replace("-", "_") for line in dependencies}
    known = declared | {"nacl", "edge"} | sys.stdlib_module_names
    fail_if(
        f"{module.shown}:{line}: {name} is not declared"
        for module in modules("edge")
        for line, name in imports(module)
        if name.partition(".")[0] not in known
    )


def test_core_is_pure() -> None:
    faults = []
    for module in modules("edge/core"):
        for line, name in imports(module):
            parts = name.split(".")
            if CORE_MAY_IMPORT.isdisjoint(".".join(parts[:n]) for n in range(1, len(parts) + 1)):
                faults.append(f"{module.shown}:{line}: core may not import {name}")
        for line, name in calls(module):
            if name in CORE_MAY_NOT_CALL:
                faults.append(f"{module.shown}:{line}: core may not call {name}")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.Global):
                faults.append(f"{module.shown}:{node.lineno}: core may not await or keep state")
    fail_if(faults)


def test_core_functions_state_their_contract() -> None:
    fail_if(
        f"{module.shown}:{node.lineno}: {node.name} has no docstring"
        for module in modules("edge/core")
        for node in module.tree.body
        if isinstance(node, ast.FunctionDef)
        and not node.name.startswith("_")
        and ast.get_docstring(node) is None
    )


def test_each_module_says_what_it_is_for() -> None:
    fail_if(
        f"{module.shown}: no docstring"
        for module in modules("edge")
        if module.tree.body and ast.get_docstring(module.tree) is None
    )


def test_what_is_public_is_told_by_its_name_alone() -> None:
    fail_if(
        f"{module.shown}:{line}: __all__"
        for module in modules("edge")
        for line, name in top_names(module)
        if name == "__all__"
    )


def test_nothing_is_defined_in_vain() -> None:
    """Each function, class and constant of edge is used somewhere, beside being defined."""
    if not (ROOT / "edge/cli.py").exists():
        return  # the parts come before what uses them
    everything = (*modules("edge"), *modules("tests"))
    used = {name for module in everything for name in words_used(module)}
    fail_if(
        f"{module.shown}:{line}: {name} is never used"
        for module in modules("edge")
        for line, name in top_names(module)
        if not name.startswith("__") and name not in used
    )


def test_only_the_commands_print() -> None:
    fail_if(
        f"{module.shown}:{line}: print"
        for module in modules("edge")
        for line, name in calls(module)
        if name == "print" and not is_within(module.name, MAY_PRINT)
    )


def test_files_stay_short() -> None:
    lengths = {module.shown: module.text.count("\n") for module in modules("edge")}
    fail_if(f"{name}: {lines} lines" for name, lines in lengths.items() if lines > LINES_MAX)


def test_each_waiver_says_what_it_waives() -> None:
    bare = re.compile(r"#\s*type:\s*ignore(?!\[)|#\s*noqa(?!: [A-Z])")
    fail_if(
        f"{module.shown}:{line}: {text.strip()}"
        for module in (*modules("edge"), *modules("tests"))
        for line, text in enumerate(module.text.splitlines(), 1)
        if bare.search(text)
    )


def test_nothing_is_left_for_later() -> None:
    later = re.compile("|".join(rf"\b{word}\b" for word in ("TO" + "DO", "FIX" + "ME", "X" + "XX")))
    fail_if(
        f"{module.shown}:{line}: {text.strip()}"
        for module in (*modules("edge"), *modules("tests"))
        for line, text in enumerate(module.text.splitlines(), 1)
        if later.search(text)
    )


def test_tests_skip_through_needs_only() -> None:
    skipping = re.compile(r"pytest\.(mark\.)?(skip|skipif|importorskip)\b")
    exempt = {ROOT / "tests/conftest.py", ROOT / "tests/unit/test_conftest.py"}
    fail_if(
        f"{module.shown}:{line}: {text.strip()}"
        for module in modules("tests")
        if module.path not in exempt
        for line, text in enumerate(module.text.splitlines(), 1)
        if skipping.search(text) and module.path != Path(__file__)
    )


def test_the_top_level_is_as_agreed() -> None:
    fail_if({path.relative_to(ROOT).parts[0] for path in project_files()} - TOP_LEVEL)


def test_no_file_names_a_registry_host() -> None:
    fail_if(
        f"{path.relative_to(ROOT)}: {host}"
        for path in project_files()
        for host in REGISTRY_HOSTS
        if host.encode() in path.read_bytes()
    )
