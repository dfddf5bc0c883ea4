"""Every command's help ends in an example that the command itself understands; names complete in a shell."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from rlzoo import __version__, configure, registry
from rlzoo.cli import completion, main

ROOT: Any = typer.main.get_command(main.app)


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


def parsed(words: list[str]) -> tuple[str, ...]:
    """The command that understands these words, options and all; raises where none does."""
    command: Any = ROOT
    path: tuple[str, ...] = ()
    context = command.make_context("rlzoo", list(words))
    while hasattr(command, "commands") and (rest := [*context._protected_args, *context.args]):
        name, command, rest = command.resolve_command(context, rest)
        path = (*path, name)
        context = command.make_context(name, rest, parent=context)
    return path


def examples(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main.run([*path, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [line.strip().removeprefix("Example: ") for line in lines if line.strip().startswith("Example: ")]


@pytest.mark.parametrize("path", list(commands(ROOT)), ids=lambda path: " ".join(path) or "rlzoo")
def test_every_help_ends_in_an_example_of_its_command(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (text,) = examples(path, capsys)
    words = shlex.split(text)
    assert words[0] == "rlzoo"
    found = parsed(words[1:])
    assert found[: len(path)] == path


def test_a_wrong_example_would_be_seen() -> None:
    with pytest.raises(Exception, match="alog"):
        parsed(["train", "--alog", "grpo"])
    with pytest.raises(Exception, match="tran"):
        parsed(["tran"])


def test_all_commands_were_looked_at() -> None:
    assert {("train",), ("runs",), ("show", "credit"), ("config", "schema"), ("check", "data")} <= set(commands(ROOT))


def test_the_version_has_a_short_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["-V"]) == 0
    assert capsys.readouterr().out == f"rlzoo {__version__}\n"


# -- completion -------------------------------------------------------------------------------------------


def offered(line: str, tmp_path: Path) -> list[str]:
    """What bash is offered at the end of a line."""
    words = line.split(" ")
    env = {**os.environ, "_RLZOO_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    script = "from rlzoo.cli.main import run; import sys; sys.exit(run([]))"
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rlzoo tra", ["train"]),
        ("rlzoo train --algo mcpo", ["mcpo-contrastive", "mcpo-mastery"]),
        ("rlzoo compare grpo ce", ["cepo"]),
        ("rlzoo train --recipe cpu-", ["cpu-default"]),
    ],
)
def test_bash_is_offered_names(line: str, expected: list[str], tmp_path: Path) -> None:
    assert offered(line, tmp_path) == expected


def test_what_completes() -> None:
    assert completion.objectives("") == sorted(registry.objectives.names())
    assert completion.verifiers("ma") == ["maths"] and "code" in completion.verifiers("")
    assert completion.recipes("") == sorted(configure.recipes())
    assert completion.presets("q") == ["quick"]
    assert completion.objectives("nothing-of-that-name") == []


def test_completion_loads_nothing_heavy() -> None:
    code = (
        "import sys; from rlzoo.cli import completion as c; c.objectives(''); c.verifiers(''); c.recipes(''); c.presets('');"
        "print([n for n in ('torch', 'transformers', 'numpy', 'pyarrow', 'rich') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_completion_can_be_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--help"]) == 0
    assert "--install-completion" in capsys.readouterr().out
