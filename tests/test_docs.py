"""Every command in the documentation is run, as written, in an empty folder.

A page's `sh` blocks are run in order. HTML comments before a block steer it, see CONTRIBUTING.md: `test:` adds arguments
that make an `rlzoo` command short, `file:` writes the block to a file that later commands use, `scale:` leaves the block, with its
arguments, to tests/scale: its commands need packages of a cluster.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import architectures

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PAGES = sorted(str(p.relative_to(ROOT)) for p in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
BLOCK = re.compile(
    r"(?:^<!-- (?P<directive>test|file|scale): (?P<value>.*?) -->\n)?^```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SHELL = {"sh", "bash", "shell", "console"}
RUN = {"rlzoo", "make", "torchrun", "accelerate", ".venv/bin/pytest"}
COMMANDS = r"(?:rlzoo|make|torchrun|accelerate|python3?|pytest|\.venv/bin/\w+)"
BENCHMARK = re.compile(r"`(python (?:-m benchmarks\.|benchmarks/)[^`]+)`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    directive: str | None
    value: str
    language: str
    body: str

    @property
    def commands(self) -> list[list[str]]:
        """Of shell blocks: one list of words a line; comments left out, backslashes at line ends joined."""
        if self.language not in SHELL:
            return []
        lines = self.body.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line.removeprefix("$ "), comments=True))]


def blocks(text: str) -> Iterator[Block]:
    for match in BLOCK.finditer(text):
        found = match.groupdict()
        yield Block(
            directive=found["directive"], value=found["value"] or "", language=found["language"], body=found["body"]
        )


def page(name: str) -> list[Block]:
    return list(blocks((ROOT / name).read_text(encoding="utf-8")))


def check_make(words: list[str]) -> None:
    """The target exists and its commands can be listed. The targets themselves are run by CI and by `make demo`."""
    done = subprocess.run(
        ["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def check_pytest(words: list[str]) -> None:
    """It finds tests there. They are run with all others."""
    done = subprocess.run(
        [BIN / "pytest", *words[1:], "--collect-only", "-q", "-n", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout


LAUNCHERS = {
    "torchrun": ["-m", "torch.distributed.run"],
    "accelerate": ["-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu"],
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def on_two_ranks(words: list[str]) -> list[list[str]]:
    """The commands of a launcher, one a machine. As many processes as a page says need as many GPUs; two show that they find each other."""
    at = words.index("-m")
    options = dict(zip(words[at % 2 : at : 2], words[at % 2 + 1 : at : 2], strict=True))
    options.pop("accelerate", None)
    machines = int(options.get("--nnodes", "1"))
    short = {"--nproc-per-node": str(2 // machines), "--num_processes": "2", "--master-addr": "127.0.0.1"}
    short |= {"--master-port": str(free_port()), "--main_process_port": str(free_port())}
    options = {name: short.get(name, value) for name, value in options.items()}
    commands = []
    for machine in range(machines):
        options |= {"--node-rank": str(machine)} if machines > 1 else {}
        spelt = [word for pair in options.items() for word in pair]
        commands.append([sys.executable, *LAUNCHERS[words[0]], *spelt, *words[at:]])
    return commands


def run_rlzoo(words: list[str], folder: Path) -> None:
    if words[0] in LAUNCHERS:
        *others, words = on_two_ranks(words)
        started = [subprocess.Popen(other, cwd=folder) for other in others]
        try:
            run_rlzoo(words, folder)
            assert [process.wait(60) for process in started] == [0] * len(others)
        finally:
            for process in started:
                process.terminate()
        return
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"


# ------------------------------------------------------------------------------------------------------------ quick


@pytest.mark.parametrize("name", PAGES)
def test_blocks_are_read_whole(name: str) -> None:
    """Each fence is one that the pattern understands, so that no command hides; and nothing but known commands is shown."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = page(name)
    assert 2 * len(found) == len(re.findall(r"^ *```", text, re.MULTILINE))
    assert len(re.findall(r"^<!-- (?:test|file|scale):", text, re.MULTILINE)) == sum(
        b.directive is not None for b in found
    )
    for block in found:
        if block.language not in SHELL:
            assert not re.search(rf"^\$? ?{COMMANDS} ", block.body, re.MULTILINE), (
                f"a command outside sh:\n{block.body}"
            )
        for words in block.commands:
            assert words[0] in RUN, f"{name}: {shlex.join(words)} is run by no test"
    loose = re.search(rf"^(?: {{4,}}|\t)\$? ?{COMMANDS} .*", BLOCK.sub("", text), re.MULTILINE)
    assert not loose, f"{name}: a command in an indented block, which no test reads: {loose[0]}"


@pytest.mark.parametrize("name", PAGES)
def test_make_targets_and_tests_exist(name: str) -> None:
    for block in page(name):
        for words in block.commands:
            if words[0] == "make":
                check_make(words)
            elif words[0] == ".venv/bin/pytest":
                check_pytest(words)


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
        assert ((ROOT / name).parent / target).exists(), target


def test_a_broken_command_would_be_seen(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="--alog"):
        run_rlzoo(["rlzoo", "train", "--alog", "grpo"], tmp_path)
    with pytest.raises(AssertionError, match="no-such-target"):
        check_make(["make", "no-such-target"])
    with pytest.raises(AssertionError, match="test_of_nothing"):
        check_pytest([".venv/bin/pytest", "tests/test_of_nothing.py"])


# ------------------------------------------------------------------------------------------------------------- long


@pytest.mark.long
@pytest.mark.parametrize(
    "command",
    sorted({" ".join(c.split()) for n in PAGES for c in BENCHMARK.findall((ROOT / n).read_text(encoding="utf-8"))}),
)
def test_benchmarks_take_the_options_that_pages_name(command: str) -> None:
    """tests/test_benchmarks_run.py runs them."""
    _, *words = command.split()
    start = words[:2] if words[0] == "-m" else words[:1]
    reader = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [sys.executable, *start, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=reader,
    )
    assert done.returncode == 0, done.stderr
    assert [word for word in words if word.startswith("--") and f"{word} " not in done.stdout.replace("]", " ")] == []


@pytest.mark.long
@pytest.mark.parametrize("name", [n for n in PAGES if any(w[0] == "rlzoo" for b in page(n) for w in b.commands)])
def test_commands_run_as_written(name: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "rlzoo" / "models" / "tiny", tmp_path / "my-model")
    architectures.make(architectures.TRAINED["qwen3"], tmp_path / "my-qwen3")
    for block in page(name):
        if block.directive == "file":
            (tmp_path / block.value).write_text(block.body, encoding="utf-8")
    for block in page(name):
        if block.directive == "scale":
            continue
        extra = shlex.split(block.value) if block.directive == "test" else []
        for words in block.commands:
            if words[0] in ("rlzoo", "torchrun"):
                run_rlzoo([*words, *extra], tmp_path)
