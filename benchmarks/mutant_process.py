"""A copy of the tree and pytest in it, in a fork that has loaded the libraries and nothing of the project."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[1]

LIMIT_S = 60.0
"""For one mistake."""

LIBRARIES = (
    "torch",
    "transformers:Qwen2ForCausalLM",
    "transformers:PreTrainedTokenizerFast",
    "transformers:AutoModelForCausalLM",
    "transformers:AutoTokenizer",
    "hypothesis",
    "xdist",
    "scipy.optimize",
    "pydantic",
    "typer",
    "rich",
    "pyarrow.parquet",
    "sympy",
    "matplotlib",
)


def copied(root: Path, target: Path) -> Path:
    """The tree as git would commit it, links as links, and the virtual environment as one."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source = root / name
        if source.is_symlink() or source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name, follow_symlinks=False)
    if not (target / ".venv").is_symlink():
        (target / ".venv").symlink_to(Path(sys.prefix))
    return target


def environment(copy: Path) -> dict[str, str]:
    """Of a process that runs the copy's tests."""
    # PYTHONSAFEPATH keeps the copy's folders off the path twice; no bytecode, so that none is older than its source.
    return os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def run(arguments: Sequence[str], copy: Path, limit_s: float = LIMIT_S) -> tuple[int | None, str]:
    """pytest in a process of its own: exit code and output; no code where the limit ran out, and then nothing it started lives on.

    The process is a fork of this one, which has loaded the libraries and nothing of the project.
    """
    with tempfile.TemporaryFile() as told:
        child = os.fork()
        if not child:
            _pytest(arguments, copy, told.fileno())
        end = time.monotonic() + limit_s
        while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < end:
            time.sleep(0.05)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(ended[1] if ended[0] else os.waitpid(child, 0)[1])
        told.seek(0)
        return (code if ended[0] else None), told.read().decode(errors="replace")


def _pytest(arguments: Sequence[str], copy: Path, out: int) -> NoReturn:
    """What the fork does."""
    code = 70
    try:
        os.setsid()
        os.chdir(copy)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout = sys.stderr = os.fdopen(1, "w", encoding="utf-8", errors="replace", closefd=False)
        os.environ.update(environment(copy))
        for name in [name for name in sys.modules if name.partition(".")[0] in ("benchmarks", "rlzoo", "tests")]:
            del sys.modules[name]
        sys.path[:] = [str(copy), *(place for place in sys.path if place not in ("", str(ROOT)))]
        sys.dont_write_bytecode = True
        code = int(pytest.main([*arguments]))
    finally:
        sys.stdout.flush()
        os._exit(code)


def load_libraries() -> None:
    """What the tests would each load for themselves."""
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")
    for name in LIBRARIES:
        module, _, part = name.partition(":")
        loaded = importlib.import_module(module)
        if part:
            getattr(loaded, part)
