"""Run by the .pyz when it is unpacked, before the box: say in one line if this Python cannot run
it, and take the unpacked files away again. Python 3.6 can still read this."""

import shutil
import sys
from importlib.machinery import EXTENSION_SUFFIXES


def shown(suffix):
    """Return `.cpython-311-aarch64-linux-gnu.so` as CPython 3.11 on aarch64-linux-gnu."""
    kind, version, machine = suffix.strip(".").split(".")[0].split("-", 2)
    kind = {"cpython": "CPython"}.get(kind, kind)
    return f"{kind} {version[0]}.{version[1:].rstrip('m')} on {machine}"


unpacked = globals()["site_packages"]  # shiv puts it there
here = EXTENSION_SUFFIXES[0]
made_for = [path.name[len("_core") :] for path in unpacked.glob("msgspec/_core.*.so")]
if here not in made_for:
    shutil.rmtree(str(unpacked.parent), ignore_errors=True)
    there = " or ".join(shown(suffix) for suffix in made_for)
    fault = f"this file is for {there}, and this is {shown(here)}: take the one made for it"
    sys.stderr.write(f"village-edge: {fault}\n")
    sys.exit(2)
