"""The house as its plan says: how long things are, how often a name stands, and what a tensor's docstring must tell.

Measured on the source text; says nothing about whether a long function would read better in two.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("rlzoo", "algorithms", "verifiers", "evals", "cli")
FILES = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if not any(parent.is_symlink() for parent in path.relative_to(ROOT).parents if (ROOT / parent) != ROOT)
    and not (ROOT / folder / path.relative_to(ROOT / folder).parts[0]).is_symlink()
)
LONGEST = {"module": 400, "class": 200, "function": 60}
IGNORES = 16
"""`type: ignore` comments there may be, less one."""
SHAPE = re.compile(r"\[[A-Z][\w, |()+-]*\]|\[(?:parameters|head size)\]|[Ss]calars?\b|Any shape|[Ss]ame shape|Shape \[")
SAME_NAME = {  # the package says the difference
    "base",
    "code",
    "logic",
    "maths",
    "choice",
    "objective",
    "verifier",
    "config",
    "metrics",
}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(node: ast.AST, public: bool = True) -> Iterator[ast.FunctionDef]:
    """Public functions and methods of public classes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef) and not child.name.startswith("_"):
            yield child
        elif isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from functions(child)


def test_the_files_are_the_projects() -> None:
    assert len(FILES) > 150
    assert len({path.resolve() for path in FILES}) == len(FILES)


def test_nothing_is_longer_than_it_may_be() -> None:
    long: list[str] = []
    for path in FILES:
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > LONGEST["module"]:
            long.append(f"{named(path)}: {lines} lines")
        for node in ast.walk(tree(path)):
            kind = {ast.ClassDef: "class", ast.FunctionDef: "function"}.get(type(node))
            if kind and isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LONGEST[kind]:
                    long.append(f"{named(path)}:{node.lineno} {kind} {node.name}: {length} lines")
    assert long == []


def test_the_loop_is_short() -> None:
    """A step reads as its verbs, and the trainer holds in the head."""
    trainer = next(
        node
        for node in tree(ROOT / "rlzoo/engine/trainer.py").body
        if isinstance(node, ast.ClassDef) and node.name == "Trainer"
    )
    step = next(node for node in functions(trainer) if node.name == "step")
    assert (trainer.end_lineno or 0) - trainer.lineno < 150
    assert (step.end_lineno or 0) - step.lineno < 25


def test_types_are_seldom_ignored() -> None:
    found = [named(path) for path in FILES for _ in re.findall(r"#\s*type:\s*ignore", path.read_text(encoding="utf-8"))]
    assert len(found) < IGNORES, found


def test_no_class_name_stands_twice() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path in FILES:
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(named(path))
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}


def test_module_names_stand_twice_only_where_the_package_says_the_difference() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path in FILES:
        if path.stem not in ("__init__", "__main__"):
            homes[path.stem].append(named(path))
    twice = {name: files for name, files in homes.items() if len(files) > 1}
    assert {name: files for name, files in twice.items() if name not in SAME_NAME} == {}
    assert set(SAME_NAME) <= set(twice), "a name that stands once needs no exception"


def returns_a_tensor(node: ast.FunctionDef) -> bool:
    return bool(node.returns and re.search(r"\bTensor\b", ast.unparse(node.returns)))


TOLD = {
    node.name
    for path in FILES
    for node in functions(tree(path))
    if returns_a_tensor(node) and SHAPE.search(ast.get_docstring(node) or "")
}
"""Methods whose base names the shape: one that overrides them need not say it again."""


@pytest.mark.parametrize("path", [p for p in FILES if "Tensor" in p.read_text(encoding="utf-8")], ids=named)
def test_a_public_function_that_returns_a_tensor_names_its_shape(path: Path) -> None:
    bare = []
    for node in functions(tree(path)):
        told = ast.get_docstring(node)
        overrides = told is None and node.name in TOLD
        if returns_a_tensor(node) and not overrides and not SHAPE.search(told or ""):
            bare.append(f"{node.name}:{node.lineno}")
    assert bare == []


LISTED = ("rlzoo/experiment/presets.py",)
"""Where arms are listed, for a user to type one word."""
OF_OTHER_THINGS = {("rlzoo/laws/objective.py", "reinforce")}
"""A law of that name."""


def test_nothing_outside_algorithms_knows_an_objective_but_grpo() -> None:
    """So that one more needs a module and a line in pyproject.toml. GRPO is what all are measured against."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {*project["entry-points"]["rlzoo.objectives"]} - {"grpo"}
    assert len(names) > 20
    known, imported = set(), set()
    for path in FILES:
        if path.is_relative_to(ROOT / "algorithms"):
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names:
                known.add((named(path), node.value))
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            imported |= {(named(path), module) for module in modules if module.startswith("rlzoo.algorithms")}
    assert imported == set()
    assert {one for one in known if one[0] not in LISTED} == OF_OTHER_THINGS
