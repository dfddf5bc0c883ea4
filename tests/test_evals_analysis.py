"""Verdicts: which word differences earn, and what real folders of runs come to."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlzoo.errors import UsageError
from rlzoo.evals import analysis, gather, statistics, wording
from rlzoo.evals.judgement import judge, p_holm_text
from rlzoo.runs.comparison import Arm, ComparisonRefused, ComparisonSpec
from rlzoo.runs.folder import RunDir
from tests.fake_runs import GAINS, plan, write_comparison, write_run

# ------------------------------------------------------------------------------------------ words, from numbers


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([0.10, 0.11, 0.12], "better"),
        ([-0.10, -0.11, -0.12], "worse"),
        ([0.001, -0.002, 0.0015], "equivalent"),
        ([0.05, -0.03, 0.02], "inconclusive"),
        ([0.02, 0.02, 0.02], "inconclusive"),  # the same at every seed: a width of zero is not trusted
        ([0.0, 0.0, 0.0], "inconclusive"),  # alike in score, not shown alike in responses
        ([0.5], "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_word(values: list[float], word: str) -> None:
    found = judge({"arm": values}, margin=0.02)["arm"]
    assert found.word == word
    assert found.because or found.word in {"better", "worse"} or found.detectable is not None


def test_identical_needs_identical_responses() -> None:
    assert judge({"arm": [0.0, 0.0]}, margin=0.02, identical={"arm"})["arm"].word == "identical"


def test_a_small_but_sure_difference_says_so() -> None:
    found = judge({"arm": [0.0050, 0.0051, 0.0052]}, margin=0.02)["arm"]
    assert found.word == "better"
    assert "smaller than 2 points" in found.because


def test_equivalence_says_within_what_and_how_surely() -> None:
    found = judge({"arm": [0.001, -0.002, 0.0015]}, margin=0.02)["arm"]
    assert found.p_equivalent is not None and 0.001 <= found.p_equivalent <= 0.05
    assert found.because == (
        f"the difference is shown to be smaller than 2 points (TOST, Holm p {found.p_equivalent:.3f})"
    )


def test_more_arms_make_it_harder() -> None:
    """p = 0.037 alone; with two arms of noise beside it, Holm asks for 3 p <= 0.05."""
    values = [0.10, 0.16, 0.22, 0.05]
    assert judge({"arm": values}, margin=0.02)["arm"].word == "better"
    noise = {"second": [0.02, -0.03, 0.01, 0.0], "third": [-0.02, 0.03, 0.01, 0.0]}
    crowd = judge({"arm": values, **noise}, margin=0.02)["arm"]
    assert crowd.word == "inconclusive"
    assert crowd.interval is not None and crowd.interval.low < 0 < crowd.interval.high
    assert crowd.plain is not None and crowd.plain.low > 0


def test_open_verdict_says_what_would_settle_it() -> None:
    found = judge({"a": [0.05, -0.03, 0.02], "b": [0.01, -0.02, 0.03], "c": [0.0, 0.01, 0.04]}, margin=0.02)["a"]
    sd = float(np.std([0.05, -0.03, 0.02], ddof=1))
    assert found.detectable == pytest.approx(5.67 * sd, rel=0.01)
    assert found.seeds_needed == statistics.seeds_needed(0.02 / sd, 3)
    assert "would find 2" in wording.phrase(found, "grpo", 2.0)


def test_what_could_not_be_tested_has_no_number() -> None:
    """Nothing paired, one seed, the same at every seed: no interval, no p, no power, beside an arm that has them all."""
    found = judge(
        {"none": [], "one": [0.5], "still": [0.02] * 3, "open": [0.05, -0.03, 0.02]},
        margin=0.02,
        equivalence={"none": [], "one": [0.5], "still": [0.02] * 3, "open": [0.01, -0.02, 0.03]},
    )
    assert [each.difference and each.difference.n for each in found.values()] == [None, 1, 3, 3]
    for arm, each in found.items():
        numbers = [each.interval, each.plain, each.simultaneous, each.p, each.p_holm, each.p_equivalent]
        assert [number is None for number in (*numbers, each.detectable, each.seeds_needed)] == [arm != "open"] * 8
    seen = statistics.difference([0.05, -0.03, 0.02])
    assert found["open"].p == seen.p()
    assert found["open"].p_holm == pytest.approx(min(1.0, 4 * (seen.p() or 1)))
    assert found["open"].plain == seen.interval()
    assert found["open"].interval == found["open"].simultaneous == seen.interval(0.05 / 4)
    elsewhere = statistics.difference([0.01, -0.02, 0.03]).p_equivalent(0.02)
    assert found["open"].p_equivalent == pytest.approx(min(1.0, 4 * (elsewhere or 1)))


def test_equivalence_is_claimed_only_where_it_can_be_shown() -> None:
    values = [0.001, -0.002, 0.0015]
    shown = judge({"arm": values}, margin=0.02, equivalence={"arm": values})["arm"]
    assert shown.word == "equivalent"
    assert shown.p_equivalent == statistics.difference(values).p_equivalent(0.02)
    assert judge({"arm": values}, margin=0.02, equivalence={})["arm"].word == "inconclusive"
    wide = judge({"arm": values}, margin=0.02, equivalence={"arm": [0.1, -0.2, 0.15]})["arm"]
    assert (wide.word, wide.because) == ("inconclusive", "")
    assert wide.p_equivalent is not None and wide.p_equivalent > 0.05


def test_alike_at_every_seed_beside_an_arm_that_is_not() -> None:
    found = judge({"same": [0.0, 0.0], "one": [0.0], "up": [0.1, 0.1001]}, margin=0.02, identical={"same", "one"})
    assert {arm: each.word for arm, each in found.items()} == {
        "same": "identical",
        "one": "inconclusive",
        "up": "better",
    }
    assert found["same"].because == "the same verdict and answer to every test problem at every seed"
    assert "at this one, both gave the same verdict and answer" in found["one"].because
    alone = judge({"one": [0.0]}, margin=0.02)["one"].because
    assert "one seed shows no spread" in alone and "at this one" not in alone
    assert "exactly the same at all 2 seeds" in judge({"arm": [0.1, 0.1]}, margin=0.02)["arm"].because


def test_how_sure_is_told_in_three_places() -> None:
    given = (0.0421, 0.0015, 0.001, 0.0009)
    assert [p_holm_text(p)[7:] for p in given] == ["0.042", f"{0.0015:.3f}", "0.001", "< 0.001"]


def false_alarms(seed: int, *, adjusted: bool, runs: int = 1_000) -> float:
    """How often three arms equal to their baseline earn at least one better or worse."""
    rng = np.random.default_rng(seed)
    alarms = 0
    for _ in range(runs):
        base, arms = rng.normal(0.5, 0.02, 5), rng.normal(0.5, 0.02, (3, 5))
        gaps = {f"arm{i}": list(arm - base) for i, arm in enumerate(arms)}
        if adjusted:
            words = [each.word for each in judge(gaps, margin=0.02).values()]
        else:
            words = [judge({"arm": values}, margin=0.02)["arm"].word for values in gaps.values()]
        alarms += bool({"better", "worse"} & set(words))
    return alarms / runs


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_equal_arms_are_seldom_told_apart(seed: int) -> None:
    assert false_alarms(seed, adjusted=True) <= 0.064


def test_false_alarms_would_show_a_missing_adjustment() -> None:
    assert false_alarms(1, adjusted=False) > 0.08


# -------------------------------------------------------------------------------------------- folders of runs


def analysed(folder: Path, **options: bool) -> analysis.Comparison:
    return analysis.analyse(*gather.read(folder), **options)


def words(found: analysis.Comparison) -> dict[str, str]:
    return {verdict.arm: verdict.judgement.word for verdict in found.verdicts}


def test_a_whole_comparison(tmp_path: Path) -> None:
    found = analysed(write_comparison(tmp_path / "c", frozen=True, rollouts=False))
    assert words(found) == {"cepo": "better", "mcpo-mastery": "inconclusive", "frozen": "worse"}
    assert {verdict.arm: verdict.judgement.word for verdict in found.starts} == dict.fromkeys(GAINS, "better")
    lines = found.verdict_lines()
    assert lines[0] == "pass@1 over maths, code, logic · 3 paired seeds · equal steps · margin 2 points"
    assert any(line.startswith("cepo: better than grpo at these settings: +") for line in lines)
    assert any("would find 2" in line for line in lines if line.startswith("mcpo-mastery: inconclusive"))
    assert found.domains == ["maths", "code", "logic", "macro"]
    assert {verdict.arm for verdict in found.verdicts if verdict.control} == {"frozen"}
    assert [(verdict.without, verdict.collapsed) for verdict in found.verdicts] == [(None, ())] * 3
    assert [start.against for start in found.starts] == ["step 0"] * 3
    assert {verdict.seeds for verdict in (*found.verdicts, *found.starts)} == {(0, 1, 2)}


def test_scores_by_hand(tmp_path: Path) -> None:
    """The verdict's mean is the mean over seeds of the mean over domains of the mean over problems and samples."""
    found = analysed(write_comparison(tmp_path / "c", rollouts=False))

    def macro(arm: str, seed: int) -> float:
        lines = (tmp_path / "c" / "runs" / f"{arm}-seed{seed}" / "evals.jsonl").read_text(encoding="utf-8").splitlines()
        by_domain: dict[str, list[float]] = {}
        for problem in json.loads(lines[-1])["problems"]:
            by_domain.setdefault(problem["domain"], []).append(problem["status"].count("correct") / 4)
        return float(np.mean([np.mean(values) for values in by_domain.values()]))

    gaps = [macro("cepo", seed) - macro("grpo", seed) for seed in range(3)]
    cepo = found.verdicts[0]
    assert cepo.judgement.difference is not None
    assert cepo.judgement.difference.mean == pytest.approx(np.mean(gaps))
    assert cepo.judgement.difference.sd == pytest.approx(np.std(gaps, ddof=1))
    assert cepo.checkpoints is not None and cepo.checkpoints.value == pytest.approx(np.mean(gaps))
    assert cepo.correlation == pytest.approx(
        np.corrcoef([macro("cepo", s) for s in range(3)], [macro("grpo", s) for s in range(3)])[0, 1]
    )


def test_identical_arms_are_identical(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "c", gains={"grpo": GAINS["grpo"]}, rollouts=False)
    for seed, gain in enumerate(GAINS["grpo"]):
        write_run(folder / "runs" / f"again-seed{seed}", seed=seed, gain=gain, noise=1, rollouts=False)
    add_arm(folder, "again")
    (again,) = analysed(folder).verdicts
    assert again.judgement.word == "identical"
    assert "no arm learned" not in again.judgement.because


def add_arm(folder: Path, name: str, *, control: bool = False) -> None:
    path = folder / "compare.json"
    spec = json.loads(path.read_text(encoding="utf-8"))
    plan(folder, arms=[*spec["arms"], {"name": name, "assignments": [], "control": control}])


def test_controls_are_a_family_of_their_own(tmp_path: Path) -> None:
    """Adding a control costs the arms that claim something nothing."""
    alone = analysed(write_comparison(tmp_path / "a", rollouts=False)).verdicts
    beside = analysed(write_comparison(tmp_path / "b", frozen=True, rollouts=False)).verdicts
    assert [v.judgement for v in alone] == [v.judgement for v in beside if not v.control]


def test_one_seed_is_always_inconclusive(tmp_path: Path) -> None:
    found = analysed(write_comparison(tmp_path / "c", gains={"grpo": [0.1], "cepo": [0.5]}, rollouts=False))
    assert words(found) == {"cepo": "inconclusive"}
    assert "one seed" in found.verdict_lines()[1]
    assert found.starts[0].judgement.word == "inconclusive"


def test_one_seed_is_inconclusive_where_both_sides_are_alike(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "c", gains={"grpo": [0.1]}, rollouts=False)
    write_run(folder / "runs" / "again-seed0", gain=0.1, noise=1, rollouts=False)
    add_arm(folder, "again")
    found = analysed(folder)
    assert words(found) == {"again": "inconclusive"}
    assert "; at this one, both gave the same verdict and answer to every test problem" in found.verdict_lines()[1]


def test_the_heading_counts_the_seeds_that_are_paired(tmp_path: Path) -> None:
    """Three seeds were planned; cepo lacks one of them."""
    folder = write_comparison(tmp_path / "c", rollouts=False)
    assert " · 3 paired seeds · " in analysed(folder).heading()
    shutil.rmtree(folder / "runs" / "cepo-seed2")
    found = analysed(folder)
    assert [len(verdict.seeds) for verdict in found.verdicts] == [2, 3]
    assert " · 2 to 3 paired seeds · " in found.heading()
    shutil.rmtree(folder / "runs" / "grpo-seed1")
    shutil.rmtree(folder / "runs" / "grpo-seed2")
    assert " · 1 paired seed · " in analysed(folder).heading()


def test_a_collapsed_seed_is_kept_and_left_out_beside(tmp_path: Path) -> None:
    gains = {"grpo": (0.15, 0.16, 0.17, 0.16), "cepo": (0.30, 0.31, 0.32, -0.38)}
    found = analysed(write_comparison(tmp_path / "c", gains=gains, rollouts=False))
    (cepo,) = found.verdicts
    assert (cepo.seeds, cepo.collapsed) == ((0, 1, 2, 3), (3,))
    assert cepo.judgement.word == "inconclusive"
    assert cepo.without is not None and cepo.without.word == "better"
    assert "Without seed 3, where a run collapsed: better than grpo" in found.verdict_lines()[1]


def test_no_equivalence_at_the_ceiling(tmp_path: Path) -> None:
    """All arms near 100 %: equal scores there show nothing."""
    gains = {"grpo": (1.0, 1.01, 1.02), "cepo": (1.01, 1.03, 1.0)}
    found = analysed(write_comparison(tmp_path / "c", gains=gains, rollouts=False))
    assert set(found.saturated.values()) == {"ceiling"}
    assert found.verdicts[0].judgement.word != "equivalent"
    assert found.verdicts[0].judgement.p_equivalent is None
    add_arm(tmp_path / "c", "absent")
    assert words(analysed(tmp_path / "c"))["absent"] == "inconclusive"


def test_below_the_start_is_worse_than_the_start(tmp_path: Path) -> None:
    gains = {"grpo": (0.1, 0.11, 0.12), "cepo": (-0.10, -0.11, -0.12)}
    found = analysed(write_comparison(tmp_path / "c", gains=gains, rollouts=False))
    assert {v.arm: v.judgement.word for v in found.starts} == {"grpo": "better", "cepo": "worse"}


def test_strict_refuses_other_settings(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "c", gains={"grpo": GAINS["grpo"]}, rollouts=False)
    for seed in range(3):
        settings = {"learner": {"lr": 3e-4}}
        write_run(folder / "runs" / f"fast-seed{seed}", seed=seed, settings=settings, noise=4, rollouts=False)
    add_arm(folder, "fast")
    assert "fast" in words(analysed(folder))
    with pytest.raises(ComparisonRefused, match=r"learner\.lr is 0\.0003"):
        analysed(folder, strict=True)


def test_runs_made_one_by_one(tmp_path: Path) -> None:
    folders = []
    for seed in range(2):
        folders.append(write_run(tmp_path / f"g{seed}", seed=seed, rollouts=False).path)
        folders.append(write_run(tmp_path / f"c{seed}", seed=seed, objective="cepo", noise=2, rollouts=False).path)
        faster = {"learner": {"lr": 3e-4}}
        folders.append(write_run(tmp_path / f"f{seed}", seed=seed, settings=faster, noise=3, rollouts=False).path)
    folders.append(write_run(tmp_path / "z", steps=0, settings={"control": {"frozen": True}}).path)
    spec, runs = gather.from_runs(folders)
    assert spec.names == ["grpo", "cepo", "grpo learner.lr=0.0003", "grpo control.frozen=True"]
    assert (spec.baseline, spec.seeds, spec.controls) == ("grpo", (0, 1), {"grpo control.frozen=True"})
    assert sorted(runs["cepo"]) == [0, 1]
    found = analysis.analyse(spec, runs)
    assert found.verdicts[-1].judgement.word == "inconclusive"


def test_runs_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "a", rollouts=False), write_run(tmp_path / "b", rollouts=False)
    with pytest.raises(ComparisonRefused, match="same seed 0"):
        gather.from_runs([one.path, other.path])
    with pytest.raises(ComparisonRefused, match="holds no run"):
        gather.from_runs([tmp_path / "nowhere"])
    with pytest.raises(ComparisonRefused, match="no runs"):
        gather.from_runs([])


def test_a_folder_without_a_comparison_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no comparison"):
        gather.read(tmp_path)
    (tmp_path / "compare.json").write_text('{"arms": 3}', encoding="utf-8")
    with pytest.raises(UsageError, match="cannot be read"):
        gather.read(tmp_path)
    with pytest.raises(UsageError, match="none of the arms"):
        ComparisonSpec(arms=(Arm(name="grpo"),), baseline="gpro", seeds=(0,))


def test_nothing_finished_is_still_told(tmp_path: Path) -> None:
    spec = ComparisonSpec(arms=(Arm(name="grpo"), Arm(name="cepo")), baseline="grpo", seeds=(0, 1))
    runs = {name: {seed: RunDir(tmp_path / f"{name}{seed}") for seed in (0, 1)} for name in spec.names}
    found = analysis.analyse(spec, runs)
    assert words(found) == {"cepo": "inconclusive"}
    assert "no seed has a finished run on both sides" in found.verdict_lines()[1]
    assert found.heading() == "no run took part · 0 paired seeds · budgets not equal · margin 2 points"
    (cepo,) = found.verdicts
    assert (cepo.seeds, cepo.correlation, cepo.checkpoints, found.starts, found.cells) == ((), None, None, (), ())
    alone = analysis.analyse(replace(spec, arms=spec.arms[:1]), runs)
    assert (alone.verdicts, alone.heading().split(" · ")[1]) == ((), "0 paired seeds")


def test_comparing_loads_no_torch() -> None:
    code = "import sys, rlzoo.evals.analysis, rlzoo.evals.report.html; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False, timeout=120).returncode == 0


def test_alike_at_one_seed_is_not_identical(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "c", gains={"grpo": GAINS["grpo"][:2]}, rollouts=False)
    for seed, noise in ((0, 1), (1, 7)):
        write_run(
            folder / "runs" / f"again-seed{seed}", seed=seed, gain=GAINS["grpo"][seed], noise=noise, rollouts=False
        )
    add_arm(folder, "again")
    assert words(analysed(folder))["again"] != "identical"


def macro(found: analysis.Comparison, arm: str, seed: int, *domains: str) -> float:
    """Mean over these domains, or all, of a run's final share of right responses, from its record."""
    attempts = found.grid[arm][seed].final.attempts
    shares = []
    for domain in domains or ("maths", "code", "logic"):
        status = [each for attempt in attempts if attempt.domain == domain for each in attempt.status]
        shares.append(status.count("correct") / len(status))
    return float(np.mean(shares))


def test_a_collapse_of_the_baseline_is_left_out_beside_too(tmp_path: Path) -> None:
    gains = {"grpo": (0.15, 0.16, 0.17, -0.38), "cepo": (0.30, 0.31, 0.32, 0.31)}
    (cepo,) = analysed(write_comparison(tmp_path / "c", gains=gains, rollouts=False)).verdicts
    assert cepo.collapsed == (3,)
    assert cepo.without is not None and cepo.without.difference is not None
    assert cepo.without.difference.n == 3
    assert cepo.judgement.difference is not None and cepo.judgement.difference.n == 4


def test_equivalence_is_sought_where_there_is_room_for_a_difference(tmp_path: Path) -> None:
    """Maths is at the ceiling on both sides: it counts in the verdict's difference and in no test of equivalence."""
    high = {"maths": 1.0}
    gains = {
        name: [{**high, "code": rise, "logic": rise} for rise in rises]
        for name, rises in {"grpo": (0.10, 0.12, 0.11), "cepo": (0.11, 0.10, 0.13)}.items()
    }
    found = analysed(write_comparison(tmp_path / "c", gains=gains, rollouts=False))
    assert found.saturated == {"maths": "ceiling"}
    gaps = [macro(found, "cepo", s, "code", "logic") - macro(found, "grpo", s, "code", "logic") for s in range(3)]
    judgement = found.verdicts[0].judgement
    assert judgement.p_equivalent == pytest.approx(statistics.difference(gaps).p_equivalent(0.02))
    whole = [macro(found, "cepo", s) - macro(found, "grpo", s) for s in range(3)]
    assert judgement.difference is not None
    assert judgement.difference.mean == pytest.approx(np.mean(whole))
    assert judgement.p_equivalent != pytest.approx(statistics.difference(whole).p_equivalent(0.02))


def test_the_margin_is_in_points(tmp_path: Path) -> None:
    """TOST at 2 points is at 0.02 of a difference of shares, and settles how many seeds find it."""
    gains = {"grpo": (0.10, 0.12, 0.11), "cepo": (0.11, 0.10, 0.13)}
    found = analysed(write_comparison(tmp_path / "c", gains=gains, rollouts=False))
    gaps = statistics.difference([macro(found, "cepo", s) - macro(found, "grpo", s) for s in range(3)])
    judgement = found.verdicts[0].judgement
    assert found.saturated == {}
    assert gaps.sd is not None
    assert judgement.p_equivalent == pytest.approx(gaps.p_equivalent(0.02))
    assert judgement.seeds_needed == statistics.seeds_needed(0.02 / gaps.sd)
    assert judgement.plain == pytest.approx(gaps.interval())
    assert judgement.simultaneous == pytest.approx(gaps.interval())  # one arm is all arms


def test_cells_by_hand(tmp_path: Path) -> None:
    """Means over seeds by domain and over all: start, final, gain, and the difference to the baseline, each with its t interval."""
    found = analysed(write_comparison(tmp_path / "c", frozen=True, rollouts=False))
    cells = {(cell.arm, cell.domain): cell for cell in found.cells}
    assert set(cells) == {(arm, name) for arm in (*GAINS, "frozen") for name in ("maths", "code", "logic", "macro")}
    for domain in ("maths", "macro"):
        only = () if domain == "macro" else (domain,)
        finals = [macro(found, "cepo", seed, *only) for seed in range(3)]
        versus = [mine - macro(found, "grpo", seed, *only) for seed, mine in enumerate(finals)]
        untrained = [macro(found, "frozen", seed, *only) for seed in range(3)]  # its end is everybody's start
        gains = [mine - start for mine, start in zip(finals, untrained, strict=True)]
        cell = cells["cepo", domain]
        assert (cell.start, cell.final) == pytest.approx((np.mean(untrained), np.mean(finals)))
        assert (cell.gain, cell.versus) == pytest.approx((np.mean(gains), np.mean(versus)))
        assert cell.final_interval == pytest.approx(statistics.difference(finals).interval())
        assert cell.gain_interval == pytest.approx(statistics.difference(gains).interval())
        assert cell.versus_interval == pytest.approx(statistics.difference(versus).interval())
        assert (cell.seeds, cell.problems) == (3, 40 if only else 120)
        assert (cells["grpo", domain].versus, cells["grpo", domain].versus_interval) == (None, None)
        assert (cells["frozen", domain].gain, cells["frozen", domain].gain_interval) == (None, None)


def test_the_last_line_says_what_the_checks_found(tmp_path: Path) -> None:
    found = analysed(write_comparison(tmp_path / "c", rollouts=False))
    clean = [replace(finding, level="green") for finding in found.findings]
    assert replace(found, findings=tuple(clean)).verdict_lines()[-1] == f"validity: all {len(clean)} checks passed"
    flagged = [replace(clean[0], level="flag"), replace(clean[1], level="flag"), *clean[2:]]
    lines = replace(found, findings=tuple(flagged)).verdict_lines()
    names = f"{clean[0].check}, {clean[1].check}"
    assert lines[-1] == f"validity: 2 of {len(clean)} checks flagged: {names}"
    assert len(lines) == 1 + len(found.verdicts) + len(found.starts) + 1


def test_the_difference_is_the_arms_score_less_the_baselines(tmp_path: Path) -> None:
    found = analysed(write_comparison(tmp_path / "c", gains={"grpo": (0.3, 0.31), "cepo": (0.1, 0.12)}, rollouts=False))
    gaps = [macro(found, "cepo", seed) - macro(found, "grpo", seed) for seed in (0, 1)]
    (cepo,) = found.verdicts
    assert cepo.judgement.difference == statistics.Difference(
        n=2, mean=pytest.approx(np.mean(gaps)), sd=pytest.approx(np.std(gaps, ddof=1))
    )
    assert cepo.judgement.difference.mean < 0


def rewritten(run: Path, line: int, **changes: Any) -> None:
    """One of a run's evaluations changed, or taken out where nothing is given."""
    lines = (run / "evals.jsonl").read_text(encoding="utf-8").splitlines()
    lines[line] = json.dumps(json.loads(lines[line]) | changes)
    kept = [each for at, each in enumerate(lines) if changes or at != line]
    (run / "evals.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")


def test_runs_without_a_start_or_with_another_are_left_out_of_what_needs_one(tmp_path: Path) -> None:
    """cepo has no start at seed 0 and other problems in that of seed 1; mcpo-mastery has none at all."""
    folder = write_comparison(tmp_path / "c", rollouts=False)
    rewritten(folder / "runs" / "cepo-seed0", 0)
    rewritten(folder / "runs" / "cepo-seed1", 0, suite="0ther")
    for seed in range(3):
        rewritten(folder / "runs" / f"mcpo-mastery-seed{seed}", 0)
    one = folder / "runs" / "grpo-seed2"  # which lacks a problem, throughout
    for at, line in enumerate((one / "evals.jsonl").read_text(encoding="utf-8").splitlines()):
        rewritten(one, at, problems=json.loads(line)["problems"][1:])
    found = analysed(folder)
    assert {start.arm: start.seeds for start in found.starts} == {"grpo": (0, 1, 2), "cepo": (2,), "mcpo-mastery": ()}
    assert found.starts[2].judgement.word == "inconclusive"
    cells = {cell.arm: cell for cell in found.cells if cell.domain == "macro"}
    finals = [macro(found, "cepo", seed) for seed in (1, 2)]
    begun = [found.grid["cepo"][seed].scored[0]["macro"].value for seed in (1, 2)]
    assert cells["cepo"].start == pytest.approx(np.mean(begun))
    assert cells["cepo"].gain == pytest.approx(np.mean(finals) - np.mean(begun))
    assert cells["cepo"].seeds == 3
    none = cells["mcpo-mastery"]
    assert (none.start, none.gain, none.gain_interval) == (None, None, None)
    assert none.versus is not None

    def right(arm: str, seed: int) -> dict[str, float]:
        return {each.id: each.status.count("correct") / 4 for each in found.grid[arm][seed].final.attempts}

    changes: dict[str, list[float]] = {}
    for seed in range(3):
        mine, theirs = right("cepo", seed), right("grpo", seed)
        for problem in mine:
            if problem in theirs:  # all but one at seed 2
                changes.setdefault(problem, []).append(mine[problem] - theirs[problem])
    by_domain = [
        np.mean([np.mean(each) for problem, each in changes.items() if problem.startswith(domain)])
        for domain in ("maths", "code", "logic")
    ]
    checkpoints = found.verdicts[0].checkpoints
    assert checkpoints is not None
    assert checkpoints.value == pytest.approx(np.mean(by_domain))
    assert checkpoints.problems == 120
