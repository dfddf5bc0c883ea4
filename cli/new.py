"""`rlzoo new`: a small working package of the user's own to start from."""

from __future__ import annotations

import keyword
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from rlzoo.cli import options
from rlzoo.errors import RunConflict, UsageError

app = typer.Typer(help="Write a small package to start from.", invoke_without_command=True)


@app.callback()
def group(context: typer.Context) -> None:
    """Write a small package to start from."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the objective: small letters, digits and hyphens.")]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Where to write it; made if absent. [default: ./NAME]")
]


@app.command("objective", epilog=options.example("rlzoo new objective my-idea --out ideas/my-idea"))
def objective(name: Name, out: Out = None) -> None:
    """Write an objective that works, its test, and the entry point."""
    from rlzoo.cli import console

    files = package(name)
    folder = out or Path(name)
    taken = [str(folder / file) for file in files if (folder / file).exists()]
    if taken or (folder.exists() and not folder.is_dir()):
        what = (
            f"{folder} holds {', '.join(Path(file).name for file in taken)} already" if taken else f"{folder} is a file"
        )
        raise RunConflict(f"{what}; nothing was changed. Name another folder with --out.")
    try:
        for file, text in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunConflict(f"{folder} cannot be written: {error.strerror}. Name another folder with --out.") from error
    for file in files:
        console.print_line(str(folder / file))
    module, cls = names(name)
    console.hint(f"Next: rlzoo check objective {folder / module}.py:{cls}")


def names(name: str) -> tuple[str, str]:
    """Module and class for an objective's name."""
    from rlzoo import registry

    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise UsageError(
            f"{name!r} is no name for an objective. Use small letters, digits and hyphens: clipped-reinforce."
        )
    module = name.replace("-", "_")
    if keyword.iskeyword(module):
        raise UsageError(f"{name!r} is a word of Python's own and cannot name a module. Choose another.")
    if name in registry.objectives.names():
        raise UsageError(
            f"an objective is named {name!r} already. Choose another name, so that runs can be told apart."
        )
    if module in sys.stdlib_module_names or module == "rlzoo" or find_spec(module) is not None:
        raise UsageError(
            f"{name!r} would name the module {module!r}, which Python finds elsewhere already: one would hide the other. Choose another "
            f"name, {name}-objective for example."
        )
    return module, "".join(part.capitalize() for part in name.split("-"))


def package(name: str) -> dict[str, str]:
    """Text by file."""
    from importlib import resources

    module, cls = names(name)
    templates = resources.files("rlzoo.cli") / "templates"
    where = {
        "objective.py.txt": f"{module}.py",
        "test.py.txt": f"test_{module}.py",
        "pyproject.toml.txt": "pyproject.toml",
        "readme.md.txt": "README.md",
    }
    return {
        file: (templates / template)
        .read_text(encoding="utf-8")
        .replace("@name@", name)
        .replace("@module@", module)
        .replace("@Class@", cls)
        for template, file in where.items()
    }
