"""`rlzoo doctor`: what is here is found without loading it; what is missing or does not fit is told with what repairs it.

Missing and unfit packages are played by metadata in a folder that comes first on the path. No GPU is here: its line is made of a folder too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from rlzoo.cli import installed, main

HEAVY = ("torch", "transformers", "accelerate", "pandas", "pyarrow", "scipy", "ray", "vllm")
SCRIPT = (
    "import sys; from rlzoo.cli.main import run; code = run(['doctor', *sys.argv[1:]]); "
    f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr); sys.exit(code)"
)


def examined(first: Path | None = None, *args: str) -> subprocess.CompletedProcess[str]:
    """Doctor in a process of its own; `first` comes first on its path. What it loaded of the heavy stands on standard error."""
    before = [str(first)] if first is not None else []
    path = os.pathsep.join([*before, *filter(None, [os.environ.get("PYTHONPATH", "")])])
    env = {**os.environ, "PYTHONPATH": path, "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, *args], env=env, capture_output=True, text=True, timeout=120, check=False
    )


def distribution(folder: Path, name: str, version: str, *requires: str, module: str = "") -> None:
    """Metadata as pip leaves it; and a module that must not be loaded."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {text}" for text in requires)]) + "\n")
    if module:
        (folder / f"{module}.py").write_text("raise RuntimeError('loaded')\n")


def part(done: subprocess.CompletedProcess[str], name: str) -> dict[str, str]:
    return next(part for part in json.loads(done.stdout)["parts"] if part["name"] == name)


def test_this_environment_works_and_nothing_heavy_is_loaded() -> None:
    done = examined(None, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "[]\n"
    told = json.loads(done.stdout)
    assert told["ok"] is True
    base = {part["name"]: part for part in told["parts"] if part["group"] == "base"}
    required = {text.split(">")[0].split("<")[0] for text in metadata.requires("rlzoo") or [] if "extra" not in text}
    assert set(base) == {"Python", "rlzoo", *required}
    assert base["torch"]["found"] == metadata.version("torch")
    assert {part["state"] for part in base.values()} == {"ok"}
    assert part(done, "cores")["found"] == str(len(os.sched_getaffinity(0)))
    assert part(done, "sandbox")["state"] == "ok" and part(done, "sandbox")["found"]
    assert part(done, "ray")["state"] == "absent" and part(done, "ray")["install"] == "pip install 'rlzoo[ray]'"
    assert {"sleep and wake", "NCCL, CUDA IPC", "FlashAttention", "MFU"} == set(told["not_yet_run"])


def test_it_reads_well_in_eighty_columns() -> None:
    done = examined()
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    headings = ["What every run needs", "This machine", "What can be added", "Not yet run: only a GPU can show it"]
    assert [line for line in lines if line in headings] == headings
    at = lines.index("absent  vllm")
    assert lines[at + 1].startswith("    would enable: sampling.backend=vllm")
    assert "    do: pip install 'rlzoo[vllm]'" in lines[at:]
    assert "The base works." in done.stderr


def test_a_base_part_that_does_not_fit_fails(tmp_path: Path) -> None:
    distribution(tmp_path, "torch", "2.5.1")
    done = examined(tmp_path, "--json")
    assert done.returncode == 1
    torch = part(done, "torch")
    assert (torch["state"], torch["found"]) == ("unfit", "2.5.1")
    assert torch["why"] == "rlzoo needs <3,>=2.9" and torch["install"] == "pip install 'torch<3,>=2.9'"
    told = examined(tmp_path)
    assert told.returncode == 1
    assert "broken  torch  2.5.1\n    why: rlzoo needs <3,>=2.9\n" in told.stdout
    assert "Runs will fail until these are repaired: torch." in told.stderr


def test_a_base_part_that_is_missing_fails(tmp_path: Path) -> None:
    distribution(tmp_path, "rlzoo", "0.1.0", "torch>=2.9", "no-such-part>=1.2", 'ray>=2.50; extra == "ray"')
    done = examined(tmp_path, "--json")
    assert done.returncode == 1
    missing = part(done, "no-such-part")
    assert (missing["state"], missing["install"]) == ("absent", "pip install 'no-such-part>=1.2'")
    assert part(done, "torch")["state"] == "ok"


def test_added_parts_that_do_not_fit_are_named_and_the_base_still_works(tmp_path: Path) -> None:
    distribution(tmp_path, "ray", "2.6.0", module="ray")
    distribution(tmp_path, "vllm", "0.32.0", "torch<2", 'numpy<1; extra == "old"', module="vllm")
    distribution(tmp_path, "peft", "0.21.2", "torch>=1.13.0", "transformers", module="peft")
    distribution(tmp_path, "deepspeed", "0.19.8")
    done = examined(tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    assert part(done, "ray")["why"] == "rlzoo needs >=2.50"  # 2.6 is older than 2.50
    assert part(done, "vllm")["why"] == f"it needs torch<2, and {metadata.version('torch')} is here"
    assert part(done, "deepspeed")["why"] == "its metadata is here, but no module 'deepspeed'"
    assert [part(done, name)["state"] for name in ("ray", "vllm", "deepspeed", "peft")] == [*["unfit"] * 3, "ok"]
    assert part(done, "peft")["install"] == ""
    assert "this does not fit: vllm, deepspeed, ray." in examined(tmp_path).stderr


@pytest.mark.parametrize(
    ("version", "wanted", "expected"),
    [
        ("2.13.0+cpu", ">=2.9,<3", True),  # 13 is more than 9
        ("2.9", ">=2.9.0", True),
        ("3.0", ">=2.9,<3", False),
        ("2.9.1", "<=2.9", False),
        ("1.0", "!=1.0.0", False),
        ("1.4.2", "==1.4.*", True),
        ("1.5", "==1.4.*", False),
        ("1.4.2", "~=1.4.1", True),
        ("1.5.0", "~=1.4.1", False),
        ("0.1", "", True),
    ],
)
def test_ranges_by_hand(version: str, wanted: str, expected: bool) -> None:
    assert installed.fits(version, wanted) is expected


def test_gpus_and_a_pytorch_that_cannot_use_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "information").write_text("Model: \t\t NVIDIA H200\nIRQ: 33\n")
    found = installed.gpus(tmp_path)
    assert found == ["NVIDIA H200", "NVIDIA H200"]
    assert installed.gpus(tmp_path / "none") == []
    monkeypatch.setattr(installed, "gpus", lambda: found)
    monkeypatch.setattr(installed, "cuda_of_torch", lambda: None)
    gpu = next(part for part in installed.machine() if part.name == "GPU")
    assert (gpu.state, gpu.found) == ("unfit", "2 × NVIDIA H200") and "CPU build" in gpu.why
    monkeypatch.setattr(installed, "cuda_of_torch", lambda: "12.8")
    gpu = next(part for part in installed.machine() if part.name == "GPU")
    assert (gpu.state, gpu.found) == ("ok", "2 × NVIDIA H200, PyTorch built for CUDA 12.8")


def test_the_build_of_torch_is_read_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise RuntimeError('loaded')\n")
    for line, expected in (("cuda: Optional[str] = '13.0'", "13.0"), ("cuda: Optional[str] = None", None)):
        (tmp_path / "torch" / "version.py").write_text(f"from typing import Optional\n__version__ = '3'\n{line}\n")
        monkeypatch.setattr(
            installed, "find_spec", lambda name: type("Spec", (), {"origin": str(tmp_path / "torch" / "__init__.py")})
        )
        assert installed.cuda_of_torch() == expected


def test_asked_wrongly() -> None:
    assert main.run(["doctor", "--jsn"]) == 2
