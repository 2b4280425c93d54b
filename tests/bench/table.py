"""Rows of a bench and how they are shown: aim, measured, ratio."""

import json
import platform
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec


class Row(msgspec.Struct, frozen=True):
    """One figure. `better` says which way is good; `aim` is None for a figure without one."""

    name: str
    measured: float
    unit: str
    aim: float | None = None
    better: Literal["more", "less"] = "more"
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Above 1 is better than the aim."""
        if self.aim is None or not self.measured:
            return None
        return self.measured / self.aim if self.better == "more" else self.aim / self.measured


def show(rows: Sequence[Row]) -> str:
    lines = [f"{'what':<52} {'aim':>12} {'measured':>12} {'ratio':>6}  unit"]
    lines.append("-" * 100)
    for row in rows:
        aim = "" if row.aim is None else _number(row.aim)
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        text = f"{row.name:<52} {aim:>12} {_number(row.measured):>12} {ratio:>6}  {row.unit}"
        lines.append(text + (f"  ({row.note})" if row.note else ""))
    return "\n".join(lines)


def save(rows: Sequence[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "machine": platform.machine(),
        "kernel": platform.release(),
    }
    figures = [msgspec.structs.asdict(row) | {"ratio": row.ratio} for row in rows]
    path.write_text(json.dumps({"machine": machine, "rows": figures}, indent=2) + "\n")


def _number(value: float) -> str:
    if value >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"
