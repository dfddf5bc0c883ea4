"""`rlzoo explain` says what the code says, and no more."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlzoo import registry
from rlzoo.cli import algos, described, explain, main
from rlzoo.objective import Objective


def told(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert main.run(["explain", *args]) == 0
    return capsys.readouterr().out


def facts(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(capsys, *args, "--json"))
    return found


@pytest.mark.parametrize("name", registry.objectives.names())
def test_it_fits_80_columns_and_tells_everything_declared(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = told(capsys, name)
    assert max(map(len, out.splitlines())) <= 80
    flat = " ".join(out.split())
    cls = registry.objectives.load(name)
    for label in ("sets:", "normaliser:", "differs:"):
        assert label in flat
    for metric in cls.metrics:
        assert metric in flat
    parents = [above for above in cls.__mro__[1:] if issubclass(above, Objective) and "name" in vars(above)]
    inherited = [entry for above in parents for entry in described.describe(above.Config)]
    for entry in described.describe(cls.Config):
        if entry["path"] in ("name", "base"):
            continue
        assert entry["path"] + "=" in flat
        if entry not in inherited:
            assert f"[{entry['tag']}]" in flat
            assert " ".join(entry["source"].split()) in flat


def test_cepo_asks_for_nothing_once_its_schedule_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    """The 25 steps of the paper: lambda is 0 from step 26 on."""
    first, later = facts(capsys, "cepo")["needs"]
    assert (first["from_step"], later["from_step"]) == (1, 26)
    assert [signal["name"] for signal in first["asks"]["signals"]] == ["positive", "negative"]
    assert "signals" not in later["asks"]


def test_costs_are_those_of_the_toy_step(capsys: pytest.CaptureFixture[str]) -> None:
    """grpo costs nothing beyond itself; cepo reads the credited rows twice, which is more than one pass and at most two."""
    grpo, cepo = facts(capsys, "grpo")["cost"], facts(capsys, "cepo")["cost"]
    assert grpo["extra_forward_passes"] == 0
    assert 1 < cepo["extra_forward_passes"] < 2.2  # contexts are longer than the prompts by the answers
    assert facts(capsys, "cepo", "--set", "objective.teacher=initial")["cost"]["model_copies"] == 1
    contrastive = facts(capsys, "mcpo-contrastive")
    assert contrastive["cost"]["head_parameters"] == 16 * 16  # linear, no bias, hidden size 16
    assert [term["term"] for term in contrastive["terms"]] == ["policy", "cross", "intra"]


def test_normalisers_are_the_terms_own(capsys: pytest.CaptureFixture[str]) -> None:
    from rlzoo.types import REDUCTIONS

    terms = {term["term"]: term for term in facts(capsys, "mcpo-mastery")["terms"]}
    assert terms["policy"]["normaliser"] == REDUCTIONS["rollout"]
    assert terms["hinge_kl"]["normaliser"] == REDUCTIONS["group"]
    assert terms["hinge_kl"]["acts_on"] == 4  # one of the toy prompts is mastered by all its four rollouts


def test_a_composed_one_and_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    both = facts(capsys, "cepo", "--set", "objective.base=mcpo-mastery")
    assert {"policy", "hinge_kl"} == {term["term"] for term in both["terms"]}
    assert both["base_formula"] == facts(capsys, "mcpo-mastery")["formula"]
    assert both["adds_to"] == "mcpo-mastery"
    assert "normaliser" not in dict(both["notes"]), "the mean is the base's"
    added = {entry["path"] for entry in both["settings"] if entry["own"]}
    assert {"mix", "evidence_clip", "warm_steps"} <= added
    assert not {"scale_threshold", "hkl.beta", "kl_coef"} & added
    three = " ".join(told(capsys, "cepo", "--set", "objective.base=[mcpo-mastery,dapo]").split())
    assert three.startswith("cepo over mcpo-mastery over dapo ")
    over = " ".join(told(capsys, "rlsd", "--set", "objective.base=gspo").split())
    assert over.startswith("rlsd over gspo ")
    assert "over gspo: s_i = exp(" in over
    assert "Laws that it is exempt from settings: token tells only" in over
    own = tmp_path / "own.py"
    own.write_text(
        'from rlzoo.algorithms.grpo import Grpo\n\n\nclass Own(Grpo):\n    """A_i = R_i.\n\n    Sets: none.\n    """\n',
        encoding="utf-8",
    )
    found = facts(capsys, str(own))
    assert found["formula"] == "A_i = R_i."
    assert found["notes"] == [["sets", "none."]]


def test_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["explain", "gpro"]) == 2
    assert "Did you mean 'grpo'?" in capsys.readouterr().err


def test_a_docstring_without_paragraphs() -> None:
    class Bare:
        pass

    assert explain.docstring(Bare) == ("", [])


@pytest.mark.parametrize("name", registry.objectives.names())
def test_every_setting_says_in_one_line_what_it_does_and_where_its_default_is_from(name: str) -> None:
    for entry in described.describe(registry.objectives.load(name).Config):
        if entry["path"] not in ("name", "base"):
            assert entry["meaning"], entry["path"]
            assert "\n" not in entry["meaning"]
            assert entry["source"], entry["path"]


def test_what_was_borrowed_from_another_paper_is_not_called_exact() -> None:
    """Head, layer and pooling of MCPO are unpublished; CLIPO's stand in for them."""
    entries = described.describe(registry.objectives.load("mcpo-contrastive").Config)
    borrowed = [entry for entry in entries if "CLIPO" in entry["source"]]
    assert len(borrowed) >= 7
    assert {entry["tag"] for entry in borrowed} <= {"INFERRED", "OURS"}


def test_words_to_choose_from_are_listed() -> None:
    entries = {entry["path"]: entry for entry in described.describe(registry.objectives.load("cepo").Config)}
    assert entries["schedule"]["limits"] == "one of linear, constant"
    assert (
        entries["clip_high"]["meaning"] == "How far it may rise above 1."
    )  # the parent's: only the default is its own


def test_algos_gives_whole_formulas() -> None:
    formula = algos.about(registry.objectives.load("mcpo-contrastive"))["formula"]
    assert formula.endswith("s = cosine of head(mean hidden state).")
