"""Public means listed in `__all__`; all else is `_private`. List, code and use agree in every module of every room."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {"storage": "tracker.storage", "query": "tracker.query", "cli": "tracker.cli", "tracker": "tracker"}


def modules() -> dict[str, Path]:
    """Installed name to file, packages and `__main__` left out."""
    found = {}
    for room, name in ROOMS.items():
        for path in sorted((ROOT / room).rglob("*.py")):
            if path.name not in ("__init__.py", "__main__.py"):
                found[".".join([name, *path.relative_to(ROOT / room).with_suffix("").parts])] = path
    return found


MODULES = modules()


def parsed(path: Path) -> tuple[ast.Module, list[str] | None]:
    """The module's tree, and its `__all__`."""
    tree = ast.parse(path.read_text())
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                return tree, ast.literal_eval(value)
    return tree, None


def top_level_names(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import() | ast.ImportFrom():
                names |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.Name(id=name, ctx=ast.Store())
            ):
                names.add(name)
    return names


@pytest.mark.parametrize("module", MODULES)
def test_functions_and_classes_without_underscore_are_listed_and_the_list_is_real(module: str) -> None:
    tree, listed = parsed(MODULES[module])
    assert listed is not None, "no __all__"
    assert len(listed) == len(set(listed))
    public = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    assert public <= set(listed), f"public by name, but not listed: {sorted(public - set(listed))}"
    assert set(listed) <= top_level_names(tree), f"listed, but not there: {sorted(set(listed) - top_level_names(tree))}"


@pytest.mark.parametrize("module", MODULES)
def test_only_listed_names_are_imported_from_other_modules(module: str) -> None:
    tree, _ = parsed(MODULES[module])
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            listed = parsed(MODULES[node.module])[1] or []
            wrong += [f"{node.module}.{alias.name}" for alias in node.names if alias.name not in listed]
    assert wrong == []
