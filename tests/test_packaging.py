"""What is installed is what is in the tree: package lists, links, wheel, and the installed command in an empty folder.

The wheel tests do not show that the pinned versions install from an index: `make test` itself does that.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
LINKED: dict[str, str] = SETUPTOOLS["package-dir"]


def tree() -> Iterator[Path]:
    """Every file of the package, through its links, relative to the root: rlzoo/algorithms/grpo.py."""
    for folder, folders, files in os.walk(ROOT / "rlzoo", followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (Path(folder, name).relative_to(ROOT) for name in files)


def modules() -> list[Path]:
    return [path for path in tree() if path.suffix == ".py"]


def data_files() -> list[Path]:
    return [path for path in tree() if path.suffix not in {".py", ".pyc"}]


# ------------------------------------------------------------------------------------------ the tree and its lists


def test_listed_packages_are_the_folders_with_modules() -> None:
    folders = {".".join(path.parent.parts) for path in modules()}
    assert sorted(SETUPTOOLS["packages"]) == sorted(folders), "tool.setuptools.packages in pyproject.toml"


def test_every_package_has_an_init() -> None:
    missing = [p for p in SETUPTOOLS["packages"] if not (ROOT / p.replace(".", "/") / "__init__.py").is_file()]
    assert missing == []


def test_links_point_where_the_mapping_says() -> None:
    links = {f"rlzoo.{path.name}": os.readlink(path) for path in (ROOT / "rlzoo").iterdir() if path.is_symlink()}
    assert links == {package: f"../{folder}" for package, folder in LINKED.items()}


def test_no_folder_of_the_root_shadows_a_package() -> None:
    """`verifiers` and `evals` are other people's packages too. Fails under `python -m pytest`: run `pytest`, from the root."""
    for name in LINKED.values():
        spec = importlib.util.find_spec(name)
        assert spec is None or ROOT not in Path(spec.origin or "").parents, f"import {name} finds {spec}"


# --------------------------------------------------------------------------------------------------- dependencies


def imported_by(path: Path) -> set[str]:
    """Top-level names that the module imports anywhere, type-checking blocks included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_import_is_a_declared_dependency() -> None:
    groups = [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
    declared = {normalised(Requirement(text).name) for group in groups for text in group}
    providers = importlib.metadata.packages_distributions()
    foreign = set().union(*(imported_by(ROOT / path) for path in modules())) - set(sys.stdlib_module_names) - {"rlzoo"}
    # A package that is not installed here (vllm, ray) is known by its own name.
    undeclared = {
        name
        for name in foreign
        if declared.isdisjoint(normalised(provider) for provider in providers.get(name, [name]))
    }
    assert undeclared == set()


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if "@" in line or line.startswith("-e") or "://" in line]
    return dict(line.split("==") for line in lines if "==" in line)


@pytest.mark.parametrize(("extra", "locks"), [(None, ["lock.txt"]), ("dev", ["lock.txt", "lock-dev.txt"])])
def test_pins_satisfy_the_declared_ranges(extra: str | None, locks: list[str]) -> None:
    pinned = {name: version for lock in locks for name, version in pins(lock).items()}
    project = PROJECT["project"]
    for text in project["optional-dependencies"][extra] if extra else project["dependencies"]:
        requirement = Requirement(text)
        version = pinned.get(normalised(requirement.name))
        assert version is not None, f"{requirement.name} is not pinned: run `make lock`"
        assert Version(version) in requirement.specifier, f"{requirement} against {version}"


# -------------------------------------------------------------------------------------------------------- the wheel


def quiet(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, (
        f"{' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the sdist of a copy of the tree, as an index would get it."""
    copy = tmp_path_factory.mktemp("source") / "rlzoo"
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")
    left = {"runs", "build", "dist"}  # of the root alone: rlzoo/runs is a package

    def ignore(folder: str, names: list[str]) -> set[str]:
        return unwanted(folder, names) | (left if Path(folder) == ROOT else set())

    shutil.copytree(ROOT, copy, symlinks=True, ignore=ignore)
    out = tmp_path_factory.mktemp("dist")
    quiet(sys.executable, "-P", "-m", "build", "--no-isolation", "--outdir", out, copy, cwd=out)
    assert len(list(out.glob("*.tar.gz"))) == 1
    (built,) = out.glob("*.whl")
    return built


def test_wheel_made_from_the_sdist_holds_the_whole_tree(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == {path.as_posix() for path in (*modules(), *data_files())}
    assert {name.partition("/")[0] for name in packed} == {"rlzoo"}, "nothing but rlzoo at the top"


def test_wheel_holds_the_data_that_a_run_reads(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert {"rlzoo/py.typed", "rlzoo/recipes/cpu-default.yaml"} <= packed
    for model in ("tiny", "tiny-clean"):
        files = {Path(name).name for name in packed if name.startswith(f"rlzoo/models/{model}/")}
        assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= files, model


# ------------------------------------------------------------------------------------------ installed, elsewhere


MINE = '''
from dataclasses import replace

from rlzoo.algorithms.grpo import Grpo


class Mine(Grpo):
    """GRPO that never pushes down."""

    def assign_credit(self, batch):
        credit = super().assign_credit(batch)
        return replace(credit, advantages_BT=credit.advantages_BT.clamp(min=0))
'''


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment of its own into which the wheel was installed.

    Its dependencies are those of this environment, reached through a .pth file: a fresh copy would take a minute and
    1.4 GB. Python processes .pth files only in real site folders, so this environment's editable rlzoo (itself a .pth
    file) is not reached, and the wheel's rlzoo stands first on the path. Undeclared dependencies have a test above.
    """
    home = tmp_path_factory.mktemp("elsewhere")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    quiet(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=home)
    (site,) = home.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    found = quiet(python, "-P", "-c", "import rlzoo; print(rlzoo.__file__)", cwd=home).stdout
    assert Path(found.strip()).is_relative_to(site), f"rlzoo comes from {found}"
    return home / "bin"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    return tmp_path


@pytest.mark.long  # runs alone there, so that its clock is fair
def test_installed_help_answers_at_once(installed: Path, empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quiet(installed / "rlzoo", "--help", cwd=empty)  # compiles the modules once
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        done = quiet(installed / "rlzoo", "--help", cwd=empty)
        seconds.append(time.perf_counter() - start)
        assert "train" in done.stdout
    with capsys.disabled():
        print(f"\nrlzoo --help, installed, from an empty folder: best of 5 {min(seconds):.2f} s")
    assert min(seconds) < 0.3


def test_installed_lists_every_objective(installed: Path, empty: Path) -> None:
    listed = quiet(installed / "rlzoo", "algos", cwd=empty).stdout
    for name in PROJECT["project"]["entry-points"]["rlzoo.objectives"]:
        assert name in listed
    assert list(empty.iterdir()) == []


@pytest.mark.long
@pytest.mark.parametrize("algo", ["grpo", "./mine.py:Mine"])
def test_installed_trains_from_an_empty_folder(installed: Path, empty: Path, algo: str) -> None:
    """From recipe, model and data of the wheel alone. Two steps do not show that anything is learned."""
    if algo.startswith("./"):
        (empty / "mine.py").write_text(MINE, encoding="utf-8")
    quiet(installed / "rlzoo", "train", "--algo", algo, "--steps", "2", "--out", "run", cwd=empty)
    run = empty / "run"
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(metrics) == 2
    named = algo.replace("./", f"{empty.resolve()}/")
    assert f"name: {named}" in (run / "config.yaml").read_text(encoding="utf-8")
    assert json.loads((run / "status.json").read_text(encoding="utf-8"))["state"] == "done"
    assert list(run.glob("checkpoints/step-*/model.safetensors"))


@pytest.mark.long
def test_installed_trains_with_no_other_argument(installed: Path, empty: Path) -> None:
    """`rlzoo train --algo grpo` names its own run folder; cut short here by a setting in a file."""
    (empty / "short.yaml").write_text("budget: {steps: 1}\neval: {at_start: false, at_end: false}\n", encoding="utf-8")
    for _ in range(2):
        quiet(installed / "rlzoo", "train", "--algo", "grpo", "--config", "short.yaml", cwd=empty)
    assert len(list((empty / "runs").glob("*/config.yaml"))) == 2, "a second run takes a folder of its own"
