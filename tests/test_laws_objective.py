"""Every objective keeps the contract, and every seeded mistake is caught by a law that names it.

Shown on a two-layer random model with three-domain toy groups. Not shown: that a mistake of another kind would be caught.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rlzoo import registry
from rlzoo.cli import main
from rlzoo.errors import ConfigError, UnknownName
from rlzoo.laws import objective as contract
from rlzoo.laws.finding import Finding
from rlzoo.laws.subject import Subject, micro_of
from rlzoo.objective import locate_fault, refuse_stray, step_loss

BROKEN = Path(__file__).with_name("broken_objectives.py")
SLOW = ("ranks", "settings")
QUICK = [name for name in contract.LAWS if name not in SLOW]

SECTIONS: list[dict[str, Any]] = [
    *({"name": name} for name in registry.objectives.names()),
    {"name": "grpo", "kl_coef": 0.1, "reduction": "token", "dual_clip": 3.0},
    {"name": "grpo", "kl_coef": 0.1, "kl_form": "exact", "entropy_coef": 0.1, "entropy_top": 0.5},
    {"name": "grpo", "kl_coef": 0.1, "kl_form": "k1"},
    {"name": "mcpo-mastery", "hkl": {"anchor": "previous_step"}},
    {"name": "mcpo-contrastive", "mode": "both"},
    {"name": "mcpo-contrastive", "mode": "reward", "memory_bank": 16},
    {"name": "mcpo-contrastive", "transfer": {"rule": "all", "anchor": "group_centroid"}, "denominator": "supcon"},
    {"name": "cepo", "empty_negative": "rlsd", "teacher": "initial"},
    {"name": "cepo", "base": "mcpo-mastery"},
    {"name": "mcpo-contrastive", "base": "cepo"},
    {"name": "mcpo-contrastive", "base": "mcpo-mastery"},
    {"name": "mcpo-contrastive", "head": {"dim": 3}},
    {"name": "dapo", "overlong": 0.0, "dynamic_sampling": False},
    {"name": "gspo", "token": True},
    {"name": "reinforce-pp", "baseline": True},
    {"name": "cispo", "clip_low": 0.2, "clip_high": 0.28},
    {"name": "mcpo-mastery", "base": "dapo"},
    {"name": "cepo", "base": "dapo"},
    {"name": "mcpo-contrastive", "base": "gspo"},
    {"name": "rlsd", "base": "mcpo-mastery", "student": "old"},
    {"name": "rlsd", "base": "cispo"},
    {"name": "clipo", "form": "soft_nn", "tau": 0.5},
    {"name": "opsd", "form": "topk", "teacher": "ema"},
    {"name": "rlcsd", "base": "cepo", "wrong_siblings": 2},
    {"name": "ppo", "critic": {"trunk": True, "clip": None}, "length_alpha": 0.5, "whiten": False},
    {"name": "opd", "form": "divergence"},
    {"name": str(Path(__file__).with_name("user_ppo.py:Ppo"))},
]

MIXTURES: list[dict[str, Any]] = [
    {"name": "cepo", "base": ["mcpo-mastery", "dapo"], "dynamic_sampling": False},
    {"name": "mcpo-mastery", "base": ["cepo", "dapo"], "dynamic_sampling": False},
    {"name": "mcpo-contrastive", "base": "ppo"},
    {"name": "mcpo-contrastive", "base": "dpo"},
    {"name": "mcpo-contrastive", "base": "ppo", "mode": "both", "memory_bank": 16},
]
"""Mixtures that nobody ships, beside those with one base above."""

EXEMPTIONS: dict[str, set[str]] = {
    **{name: set() for name in ("cepo", "clipo", "grpo", "mcpo-contrastive", "mcpo-mastery", "rlcsd")},
    **{name: set() for name in ("bnpo", "dr-grpo", "gmpo", "max-rl", "rloo", "sapo")},
    "gspo": {"settings"},
    "luspo": {"settings"},
    "cispo": {"finite-differences"},
    "vespo": {"finite-differences"},
    "dapo": {"equal-groups"},
    "reinforce": {"equal-groups"},
    "reinforce-pp": {"equal-groups"},
    "rlsd": {"at-ratio-one", "finite-differences"},
    "opsd": {"reinforce", "learns"},
    "sdpo": {"reinforce", "learns", "detached", "finite-differences"},
    "dpo": set(),
    "ipo": set(),
    "opd": {"equal-groups", "reinforce", "learns"},
    "ppo": {"equal-groups"},
    "rft": {"equal-groups", "off-policy"},
}
"""Laws that a shipped objective need not keep. A new one is written here on purpose."""


def told(section: Mapping[str, Any]) -> str:
    """A section as the name of a test, the same in every folder."""
    return str({**section, "name": Path(section["name"]).name})


def broken(section: Mapping[str, Any], only: Sequence[str] = QUICK) -> dict[str, Finding]:
    return {finding.law: finding for finding in contract.check(section, only) if finding.state == "broken"}


@pytest.mark.parametrize("section", SECTIONS, ids=told)
def test_shipped_objectives_keep_every_law(section: dict[str, Any]) -> None:
    assert broken(section) == {}


def test_soft_transfer_has_another_slope() -> None:
    """Its weights follow the similarities, and are detached on purpose: they choose positives, they are not learned."""
    assert set(broken({"name": "mcpo-contrastive", "transfer": {"rule": "soft"}})) <= {"finite-differences"}


@pytest.mark.long
@pytest.mark.parametrize("section", [s for s in SECTIONS if len(s) == 1 or "base" in s], ids=told)
def test_shipped_objectives_keep_the_slow_laws(section: dict[str, Any]) -> None:
    assert broken(section, SLOW) == {}


@pytest.mark.long
@pytest.mark.parametrize("section", MIXTURES, ids=str)
def test_mixtures_by_config_alone_keep_every_law(section: dict[str, Any]) -> None:
    assert broken(section, [*contract.LAWS]) == {}


def test_exemptions_are_exactly_these() -> None:
    assert set(EXEMPTIONS) == set(registry.objectives.names())
    for name, expected in EXEMPTIONS.items():
        assert set(registry.objectives.load(name).exemptions) == expected


def test_exemptions_name_laws() -> None:
    for name in registry.objectives.names():
        assert set(registry.objectives.load(name).exemptions) <= set(contract.LAWS)


# -- ten mistakes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mistake", "laws"),
    [
        ("MeanPerMicroBatch", {"cut", "skipping", "at-ratio-one", "learns"}),
        ("IgnoresMask", {"masked-tokens", "padding"}),
        ("WrongSign", {"at-ratio-one", "reinforce", "learns"}),
        ("StaleOldLogps", {"at-ratio-one", "off-policy"}),
        ("NoRatio", {"off-policy"}),
        ("PaddingInLength", {"padding", "at-ratio-one"}),
        ("AttachedAdvantage", {"detached", "reinforce", "learns"}),
        ("StdOfOne", {"lone-rollouts"}),
        ("DividesTwice", {"at-ratio-one"}),
        ("LosesState", {"state"}),
        ("AliasesBatch", {"pure"}),
        ("AsWideAsItsHead", {"hidden-sizes"}),
        ("CentresOnce", {"pure"}),
        ("AsksForAnswers", {"needs"}),
        ("AsksForDivergence", {"needs"}),
    ],
)
@pytest.mark.filterwarnings("ignore:std")
def test_a_seeded_mistake_is_caught(mistake: str, laws: set[str]) -> None:
    """By exactly these laws, and told with a line inside the mistaken class."""
    found = broken({"name": f"{BROKEN}:{mistake}"})
    assert set(found) == laws
    first, last = lines_of(mistake)
    for finding in found.values():
        file, _, line = finding.where.rpartition(":")
        assert Path(file).name == BROKEN.name
        assert first <= int(line) <= last


@pytest.mark.long
def test_a_setting_that_nothing_reads_is_named() -> None:
    found = broken({"name": f"{BROKEN}:Idle"}, ["settings"])["settings"]
    assert found.detail == "nothing changes with objective.sharpness"
    assert code_at(found.where) == "def assign_credit(self, batch: RolloutBatch) -> Credit:"
    assert broken({"name": "mcpo-mastery"}, ["settings"]) == {}
    undefined = broken({"name": f"{BROKEN}:IdleBesideNan"}, ["settings"])["settings"]
    assert "objective.sharpness" in undefined.detail, "what is no number either way is the same"


def test_a_law_that_finds_nothing_to_be_tried_on_says_so() -> None:
    (finding,) = contract.check({"name": "dpo"}, ["off-policy"])
    assert finding.state == "untried" and "no rollout of the toy step has an advantage" in finding.detail


def lines_of(name: str) -> tuple[int, int]:
    import ast

    tree = ast.parse(BROKEN.read_text(encoding="utf-8"))
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return found.lineno, found.end_lineno or found.lineno


# -- what is no answer ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "words", "code"),
    [
        ("WrongShape", "expected [B=24, T=7]", "return replace(credit, advantages_BT=credit.advantages_BT[:, :-1])"),
        ("ShortLoss", "with shape [24], expected [24, 8]", "def token_losses"),
        ("Reduced", "with shape [], expected [24, 8]", "def token_losses"),
        ("NanCredit", "returned advantages_BT not finite at", "def assign_credit"),
        ("NanLoss", "returned 'policy' not finite at", "def token_losses"),
        ("UnknownTerm", "['bonus', 'policy']", "def token_losses"),
        ("Raises", "shapes cannot be multiplied", 'return {"policy": micro.logps_BT @ micro.old_logps_BT}'),
        ("ReturnsNothing", "returned NoneType, expected a Credit", "def assign_credit"),
        ("KeepsRows", "keep returned torch.bool [24], expected torch.bool [6]", "def keep"),
        (
            "CountsWithNumbers",
            "loss_mask_BT holds torch.float32, expected torch.bool",
            'return replace(credit, terms={"policy"',
        ),
        ("OneAdvantageARollout", "shape [24], expected a tensor [B, T]", "return replace(credit, advantages_BT="),
        ("BareCoupledLoss", "'spread' as a Tensor, expected an InBatchTerm", "def in_batch_losses"),
        ("NanCoupledLoss", "returned 'spread' as inf", "def in_batch_losses"),
        ("Exits", "SystemExit: 0", "raise SystemExit(0)"),
        ("Misspells", "no attribute 'log_probs_BT'", 'return {"policy": micro.log_probs_BT}'),
    ],
)
def test_a_fault_is_named_with_its_own_line(fault: str, words: str, code: str) -> None:
    asked, returned, *rest = contract.check({"name": f"{BROKEN}:{fault}"})
    assert (asked.state, returned.law, returned.state) == ("holds", "returns", "broken")
    assert words in returned.detail
    assert code_at(returned.where).startswith(code)
    assert {finding.state for finding in rest} == {"untried"}


@pytest.mark.parametrize(
    ("fault", "words", "code"),
    [
        ("ReadsWhatItDoesNotAskFor", "reads 'reference'", 'assert batch.signals["reference"] is not None'),
        ("ReadsEmbeddings", "reads embeddings_BH", "length_B1 = batch.embeddings_BH"),
        ("ReadsDivergence", "reads 'teacher', which needs() does not", 'return {"policy": super()'),
        ("ReadsValues", "reads 'value', which heads() does not declare", "values_BT = batch.values"),
        ("ReadsHead", "reads 'value', which heads() does not declare", 'values_BT = micro.heads["value"]'),
        ("CouplesUnasked", "in_batch_losses is never called", "def in_batch_losses"),
    ],
)
def test_what_was_not_asked_for_is_named(fault: str, words: str, code: str) -> None:
    first, *rest = contract.check({"name": f"{BROKEN}:{fault}"})
    assert (first.law, first.state) == ("undeclared", "broken")
    assert words in first.detail
    assert code_at(first.where).startswith(code)
    assert {finding.state for finding in rest} == {"untried"}


def test_what_the_engine_hands_over_not_finite_is_no_fault_of_the_objective() -> None:
    objective, micro, weights = micro_of(Subject({"name": f"{BROKEN}:AddsDivergence"}))
    diverged = replace(micro, divergences={"teacher": micro.divergences["teacher"] + torch.inf})
    told = step_loss(objective, diverged, weights)
    assert not told.total.isfinite()
    refuse_stray(objective, told.stray)


def code_at(where: str) -> str:
    file, _, line = where.rpartition(":")
    assert Path(file).name == BROKEN.name
    return BROKEN.read_text(encoding="utf-8").splitlines()[int(line) - 1].strip()


def test_what_is_asked_wrongly_is_no_broken_law() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'padding'"):
        list(contract.check({"name": "grpo"}, ["paddin"]))
    with pytest.raises(ConfigError, match="clip_low"):
        list(contract.check({"name": "grpo", "clip_low": -1}))


# -- the command ------------------------------------------------------------------------------------------


def command(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = main.run(["check", "objective", *args])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_report_names_law_and_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = command(capsys, f"{BROKEN}:WrongSign", "--only", "order", "--only", "at-ratio-one")
    assert code == 1
    assert 'exemptions = {"at-ratio-one": "WHY"}' in err
    verdict, _, shown = out.replace("\n    ", "").partition("broken  at-ratio-one")
    assert " ".join(verdict.split()).endswith("1 of 2 laws hold; broken: at-ratio-one")
    assert "order" not in verdict + shown
    assert f"broken_objectives.py:{lines_of('WrongSign')[0] + 3}" in shown
    _, out, _ = command(capsys, f"{BROKEN}:WrongSign", "--only", "order", "--only", "at-ratio-one", "--verbose")
    assert "holds   order" in out


def test_a_line_to_exempt_is_proposed_only_where_a_design_may_need_it(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = command(capsys, f"{BROKEN}:LosesState", "--only", "state")
    assert (code, err) == (1, "")


def test_json_is_one_finding_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = command(capsys, "grpo", "--only", "equal-groups", "--only", "unjudged", "--json")
    assert code == 0
    assert [(f["law"], f["state"]) for f in map(json.loads, out.splitlines())] == [
        ("equal-groups", "holds"),
        ("unjudged", "holds"),
    ]


def test_settings_reach_the_objective(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(capsys, "cepo", "--set", "objective.base=mcpo-mastery", "--only", "needs")[0] == 0
    code, _, err = command(capsys, "grpo", "--set", "objective.clip_lo=0.1", "--only", "needs")
    assert code == 2
    assert "did you mean 'clip_low'?" in err
    code, _, err = command(capsys, "grpo", "--set", "learner.lr=1")
    assert code == 2
    assert "is no setting of the objective" in err


def test_a_file_with_one_objective_needs_no_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.py"
    own.write_text("from rlzoo.algorithms.grpo import Grpo\n\n\nclass Own(Grpo):\n    pass\n", encoding="utf-8")
    assert command(capsys, str(own), "--only", "equal-groups")[0] == 0
    code, _, err = command(capsys, str(BROKEN))
    assert code == 2
    assert "Say which" in err
    code, _, err = command(capsys, "absent.py")
    assert code == 2
    assert "absent.py" in err


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("Raises", "micro.logps_BT @"),
        ("NanCredit", "def assign_credit"),
        ("NanLoss", "def token_losses"),
        ("KeepsRows", "def keep"),
    ],
)
def test_a_run_names_the_line_and_no_stack_of_ours(
    fault: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [
        "--set=sampling.prompts_per_step=2",
        "--set=learner.updates_per_step=2",
        "--set=sampling.group_size=4",
        "--set=eval.at_start=false",
    ]
    code = main.run(["train", "--algo", f"{BROKEN}:{fault}", "--steps", "1", "--out", str(tmp_path), *small])
    err = capsys.readouterr().err
    assert code == 1
    assert "Traceback" not in err
    assert "This is a bug" not in err
    number = int(err.split(f"{BROKEN.name}:")[-1].split(",")[0].split()[0])
    assert line in BROKEN.read_text(encoding="utf-8").splitlines()[number - 1]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("class Own:\n    pass\n", "is no objective. Make it a subclass"),
        ("from rlzoo.objective import Objective\nclass Own(Objective):\n    name = 'own'\n", "declares no settings"),
        (
            "from rlzoo.objective import Objective, ObjectiveConfig\nclass Own(Objective):\n    Config = ObjectiveConfig\n",
            "declares no name",
        ),
    ],
)
def test_what_has_not_the_form_of_an_objective_is_refused(
    source: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.py"
    own.write_text(source, encoding="utf-8")
    for asked in (["check", "objective"], ["explain"], ["train", "--dry-run", "--algo"]):
        assert main.run([*asked, f"{own}:Own"]) == 2
        assert words in capsys.readouterr().err


def test_explain_names_the_line_of_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["explain", f"{BROKEN}:Exits"]) == 1
    where = capsys.readouterr().err.split("See ")[1].split(",")[0]
    assert code_at(where) == "raise SystemExit(0)"


def test_a_module_of_the_present_folder_needs_no_packaging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "lying_here.py").write_text(
        "from rlzoo.algorithms.grpo import Grpo\n\n\nclass Own(Grpo):\n    pass\n", encoding="utf-8"
    )
    assert main.run(["train", "--dry-run", "--algo", "lying_here:Own"]) == 0
    assert main.run(["train", "--dry-run", "--algo", "lying_here.py"]) == 0
    assert main.run(["train", "--dry-run", "--algo", "not_here:Own"]) == 2
    capsys.readouterr()


@pytest.mark.long
def test_ranks_from_the_console_script(tmp_path: Path) -> None:
    """The law starts processes: they must come up from the installed command, in a folder that holds nothing."""
    script = Path(sys.executable).parent / "rlzoo"
    done = subprocess.run(
        [script, "check", "objective", f"{BROKEN}:WrongSign", "--only", "ranks", "--verbose"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 laws hold" in done.stdout
    assert "holds   ranks" in done.stdout


def test_a_fault_is_shown_from_where_the_reader_stands_or_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative below the present folder, in full elsewhere."""
    shown = f"{BROKEN.name}:"
    monkeypatch.chdir(BROKEN.parent)
    cls = registry.objective_class(f"{BROKEN}:WrongSign")
    here = locate_fault(cls, ValueError("x"))
    assert here.startswith(shown)
    monkeypatch.chdir(tmp_path)
    assert locate_fault(cls, ValueError("x")) == f"{BROKEN.parent}/{here}"
