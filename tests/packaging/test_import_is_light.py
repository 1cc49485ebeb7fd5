"""`import tracker` and `tracker --version` load nothing heavy: they are on everybody's way."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ["duckdb", "fsspec", "gcsfs", "numpy", "pandas", "polars", "pyarrow", "pydantic", "rich", "s3fs", "typer"]


def loaded_after(code: str) -> list[str]:
    """Which of HEAVY a fresh interpreter has in `sys.modules` after `code`."""
    probe = f"{code}\nimport sys\nprint('LOADED', *[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("LOADED")[-1].split()


def test_the_probe_sees_what_is_loaded() -> None:
    assert loaded_after("import pyarrow") == ["pyarrow"] or "pyarrow" in loaded_after("import pyarrow")


@pytest.mark.parametrize(
    "code",
    [
        "import tracker",
        "import tracker; tracker.__version__",
        "import tracker; dir(tracker)",
        "from tracker.storage import names, events, errors, clock, port",
        "import tracker.cli.main",
        "import sys\nsys.argv = ['tracker', '--version']\nfrom tracker.cli.main import main\nmain()",
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    assert loaded_after(code) == []
