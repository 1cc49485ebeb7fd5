"""Public means listed in `__all__`; all else is `_private`. List and reality agree in every module of every room."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    path for room in ("storage", "query", "tracker", "cli") for path in (ROOT / room).rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)  # fmt: skip


def _assigned(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Assign():
            return [name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case _:
            return []


def _imported(tree: ast.Module) -> set[str]:
    return {
        alias.asname or alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_all_names_what_is_public_and_only_that(path: Path) -> None:
    tree = ast.parse(path.read_text())
    listed: list[str] | None = None
    defined: set[str] = set()
    for node in tree.body:
        names = _assigned(node)
        if names == ["__all__"] and isinstance(node, ast.Assign):
            listed = ast.literal_eval(node.value)
        defined |= set(names)
    assert listed is not None, f"{path.name} has no __all__"
    assert len(listed) == len(set(listed))
    public = {name for name in defined if not name.startswith("_")}
    assert public <= set(listed), f"public by name, but not listed: {sorted(public - set(listed))}"
    assert set(listed) <= defined | _imported(tree), f"listed, but not there: {sorted(set(listed) - defined)}"
