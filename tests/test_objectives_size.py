"""An objective fits in the head: at most 80 lines of code. Imports, declared settings, docstrings, comments and blanks are not counted."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 80


def code_lines(source: str) -> set[int]:
    """Lines that hold code: all but blanks, comments, docstrings, and the classes that only declare settings."""
    tree = ast.parse(source)
    lines = source.splitlines()
    counted = {n for n, line in enumerate(lines, 1) if line.strip() and not line.strip().startswith("#")}
    for node in ast.walk(tree):
        declares = isinstance(node, ast.ClassDef) and all(
            isinstance(part, ast.AnnAssign) or is_text(part) for part in node.body
        )
        if declares or is_text(node):
            assert isinstance(node, (ast.ClassDef, ast.Expr))
            counted -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            counted -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return counted


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@pytest.mark.parametrize("path", sorted((ROOT / "algorithms").glob("*.py")), ids=lambda path: path.stem)
def test_an_objective_has_at_most_80_code_lines(path: Path):
    assert len(code_lines(path.read_text(encoding="utf-8"))) <= LIMIT


def test_what_is_counted():
    source = '"""Doc."""\nimport os\n\n# why\nclass C(Settings):\n    """Doc."""\n    x: int = 1\n    """What."""\n\ndef f():\n    """Doc."""\n    return (\n        1\n    )\n'
    assert code_lines(source) == {10, 12, 13, 14}
