"""What code a run is made with: every file that decides it is found, kept, and told apart when it changes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rlzoo.config import RunConfig
from rlzoo.engine import provenance
from rlzoo.engine.reporting import Silent
from rlzoo.engine.supply import build_supply
from rlzoo.engine.trainer import train
from rlzoo.errors import DataError
from rlzoo.runs.folder import RunDir
from rlzoo.runs.identity import Provenance, SourceFile, first_change, settings_digest
from tests.fake_runs import PROVENANCE
from tests.support import LEAST, small_config

ROOT = Path(__file__).resolve().parents[1]
MINE = """from rlzoo.algorithms.cepo import Cepo
import helping_hands.numbers

class Mine(Cepo):
    factor = helping_hands.numbers.TWO
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "helping_hands").mkdir()
    (tmp_path / "helping_hands" / "__init__.py").write_text("")
    (tmp_path / "helping_hands" / "numbers.py").write_text("from helping_hands import more\nTWO = more.ONE + 1\n")
    (tmp_path / "helping_hands" / "more.py").write_text("import json\nimport numpy\nONE = 1\n")
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "judge.py").write_text(
        "from rlzoo.verifiers.maths import Maths\n\n\nclass Judge(Maths):\n    name = 'judge'\n"
    )
    (tmp_path / "draw.py").write_text(
        "from rlzoo.engine.sampling.transformers import TransformersSampler\n\n\nclass Draw(TransformersSampler):\n    name = 'draw'\n"
    )
    (tmp_path / "pace.py").write_text("def pace(problem, progress):\n    return True\n")
    yield
    for name in [name for name in sys.modules if name.startswith(("helping_hands", "rlzoo_user_"))]:
        del sys.modules[name]


def files(config: RunConfig) -> Mapping[str, SourceFile]:
    return {source.name: source for source in provenance.code_of(config, build_supply(config)).sources}


def test_every_class_of_the_objective_counts_with_what_its_file_imports() -> None:
    found = files(small_config("objective.name=mine.py:Mine"))
    assert list(found) == [
        "mine.py",
        "helping_hands",
        "helping_hands.numbers",
        "helping_hands.more",
        "rlzoo.algorithms.cepo",
        "rlzoo.algorithms.grpo",
    ]
    assert found["mine.py"].text == MINE
    assert {source.role for source in found.values()} == {"objective"}


def test_an_addition_counts_with_its_base() -> None:
    found = files(small_config("objective.base=cepo", algo="mcpo-contrastive"))
    assert {"rlzoo.algorithms.mcpo_contrastive", "rlzoo.algorithms.cepo"} <= set(found)


def test_a_sampler_a_verifier_and_a_curriculum_from_outside_count_and_those_of_rlzoo_do_not() -> None:
    rows = Path("rows.jsonl")
    rows.write_text('{"prompt": "1+1=?", "answer": "2", "verifier": "judge.py:Judge"}\n' * 3)
    found = files(
        small_config("data.sources=[{name: file, options: {path: rows.jsonl}}]", "data.curriculum=pace.py:pace")
    )
    assert {name: source.role for name, source in found.items()} == {
        "rlzoo.algorithms.grpo": "objective",
        "judge.py": "verifier",
        "pace.py": "curriculum",
    }
    rows.write_text('{"prompt": "1+1=?", "answer": "2", "verifier": "router", "domain": "sums"}\n' * 3)
    routed = files(
        small_config(
            "data.sources=[{name: file, options: {path: rows.jsonl}}]",
            'verifier.router.routes={"sums": "judge.py:Judge"}',
        )
    )
    assert routed["judge.py"].role == "verifier"
    assert list(files(small_config("data.curriculum=ladder"))) == ["rlzoo.algorithms.grpo"]
    tested = small_config("eval.sources=[{name: file, options: {path: rows.jsonl}}]", "sampling.backend=draw.py:Draw")
    rows.write_text('{"prompt": "1+1=?", "answer": "2", "verifier": "judge.py:Judge"}\n' * 3)
    assert {name: source.role for name, source in files(tested).items()} == {
        "rlzoo.algorithms.grpo": "objective",
        "draw.py": "sampler",
        "judge.py": "verifier",
    }


# --------------------------------------------------------------------------------------------- the package's own


def test_every_module_of_the_project_has_a_fingerprint() -> None:
    mapping = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-dir"]
    assert set(mapping) == set(provenance.PACKAGES) - {"rlzoo"}
    expected = {
        Path(folder, name).relative_to(ROOT / "rlzoo").as_posix()
        for folder, _, names in os.walk(ROOT / "rlzoo", followlinks=True)
        for name in names
        if name.endswith(".py")
    }
    assert set(provenance.package_files()) == expected


WITHOUT_LINKS = """
import importlib.util, json, sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

class Mapped:
    # as an editable installation finds packages whose folders lie apart
    @staticmethod
    def find_spec(name, path=None, target=None):
        folder = {mapping}.get(name)
        if folder is None:
            return None
        return importlib.util.spec_from_file_location(name, Path({root!r}, folder, "__init__.py"), submodule_search_locations=[str(Path({root!r}, folder))])

sys.meta_path.insert(0, Mapped)
sys.path.insert(0, {root!r})
from rlzoo.engine import provenance
print(json.dumps(provenance.package_files()))
"""


def test_a_checkout_without_links_has_the_same_fingerprints(tmp_path: Path) -> None:
    """A checkout on Windows: `rlzoo/algorithms` is a text file. Read through links, changes of algorithms went unseen."""
    mapping = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-dir"]
    copy = tmp_path / "checkout"
    for name in ("rlzoo", *mapping.values()):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for link in [path for path in (copy / "rlzoo").iterdir() if path.is_symlink()]:
        target = os.readlink(link)
        link.unlink()
        link.write_text(target)

    def found() -> dict[str, str]:
        code = WITHOUT_LINKS.format(mapping=dict(mapping), root=str(copy))
        done = subprocess.run(
            [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert found() == provenance.package_files()
    with (copy / "algorithms" / "grpo.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    changed = {name for name, digest in found().items() if digest != provenance.package_files()[name]}
    assert changed == {"algorithms/grpo.py"}


# ------------------------------------------------------------------------------------------- start and resumption


class Heard(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def test_a_run_keeps_what_code_each_stretch_of_its_steps_ran_with() -> None:
    config = small_config(
        *LEAST,
        "objective.name=mine.py:Mine",
        "checkpoint.every=1",
        "checkpoint.keep_last=4",
        "eval.at_start=false",
        steps=2,
    )
    run = RunDir(Path("run"))
    train(config, run.path)
    begun = run.provenance()
    assert begun is not None and begun.settings == settings_digest(run.settings())
    (first,) = begun.ran
    assert (first.after_step, run.source("mine.py", first.sources["mine.py"])) == (0, MINE)

    for name in [name for name in sys.modules if name.startswith("rlzoo_user_")]:
        del sys.modules[name]  # another process would load the file again
    edited = MINE.replace("TWO", "TWO + 1")
    Path("mine.py").write_text(edited)
    shutil.rmtree(run.checkpoint(2))
    heard = Heard()
    train(config, run.path, resume=True, reporter=heard)
    resumed = run.provenance()
    assert resumed is not None
    assert [stretch.after_step for stretch in resumed.ran] == [0, 1]
    assert [run.source("mine.py", stretch.sources["mine.py"]) for stretch in resumed.ran] == [MINE, edited]
    assert resumed.ran[0] == first and resumed.initial_weights == begun.initial_weights
    (told,) = [text for text in heard.warnings if "code has changed" in text]
    assert "mine.py, line 5: 'factor = helping_hands.numbers.TWO' -> 'factor = helping_hands.numbers.TWO + 1'" in told

    shutil.rmtree(run.checkpoint(2))
    train(config, run.path, resume=True)  # again from step 1: what the second go made there is gone
    again = run.provenance()
    assert again is not None and [stretch.after_step for stretch in again.ran] == [0, 1]


def test_a_run_that_goes_on_in_other_surroundings_says_so() -> None:
    quiet = (*LEAST, "checkpoint.every=1", "checkpoint.keep_last=4", "eval.at_start=false", "eval.at_end=false")
    config, run, heard = small_config(*quiet, steps=2), RunDir(Path("run")), Heard()
    train(config, run.path)
    begun = run.provenance()
    assert begun is not None and begun.ran[0].within == begun.begun and not list(begun.moves())
    elsewhere = replace(begun.begun, device="NVIDIA H200", libraries={**begun.libraries, "torch": "1.0"})
    run.write_provenance(replace(begun, ran=(replace(begun.ran[0], within=elsewhere),)))
    shutil.rmtree(run.checkpoint(2))
    train(config, run.path, resume=True, reporter=heard)
    resumed = run.provenance()
    assert resumed is not None and [stretch.within for stretch in resumed.ran] == [elsewhere, begun.begun]
    told = [text for text in heard.warnings if "other surroundings" in text]
    assert [text.rpartition("say so: ")[2].partition(" ->")[0] for text in told] == [
        "device: NVIDIA H200",
        "libraries.torch: 1.0",
    ]


def test_a_record_without_surroundings_is_read_and_a_broken_one_refused() -> None:
    stretch = {"after_step": 0, "rlzoo": "0.1.0", "code": "c0de", "sources": {}}
    whole = {**PROVENANCE, "order": "0", "settings": "5e7"}
    read = Provenance.read({**whole, "ran": [stretch]})
    assert read.ran[0].within is None and not list(read.moves())
    for broken in (3, {"device": "cpu"}, {**PROVENANCE, "machine": "fast"}):
        with pytest.raises(DataError, match=r"provenance\.json cannot be read"):
            Provenance.read({**whole, "ran": [{**stretch, "within": broken}]})


def test_the_first_line_that_differs() -> None:
    assert str(first_change("a\nb\nc\n", "a\nB\nc\n")) == "line 2: 'b' -> 'B'"
    assert str(first_change("a\n", "a\nb\n")) == "line 2: no such line -> 'b'"
    assert first_change("a\n", "a\n") is None


def test_a_stretch_says_when_it_began_on_how_many_cores_and_at_which_commit() -> None:
    config, run = small_config(*LEAST, "eval.at_start=false", "eval.at_end=false", steps=1), RunDir(Path("run"))
    train(config, run.path)
    found = run.provenance()
    assert found is not None
    (stretch,) = found.ran
    age = datetime.now(UTC) - datetime.strptime(stretch.at, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    assert 0 <= age.total_seconds() < 120
    assert stretch.cores == os.cpu_count()
    asked = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    assert commit.startswith(stretch.revision.removesuffix("-dirty")) and bool(stretch.revision) == bool(commit)
