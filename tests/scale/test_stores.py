"""Who holds the weights, on two ranks: under FSDP2 and ZeRO every number is that of one process that holds them all.

Not shown: anything on a GPU, more than two ranks, or a model that one device cannot hold.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rlzoo.engine.ranks import Ranks
from rlzoo.laws.lab import relative_difference, toy_policy
from tests.scale import stores_ranks
from tests.scale.launching import launch

pytestmark = pytest.mark.scale
SCRIPT = Path(stores_ranks.__file__)
GRPO, CEPO = "rlzoo.algorithms.grpo:Grpo", "rlzoo.algorithms.cepo:Cepo"
MASTERY = "rlzoo.algorithms.mcpo_mastery:McpoMastery"
SEAMS = "tests/seam_objectives.py"
OBJECTIVES = {
    "grpo": GRPO,
    "contrastive": "rlzoo.algorithms.mcpo_contrastive:McpoContrastive",
    "mastery": MASTERY,
    "cepo": CEPO,
    "couples": f"{SEAMS}:Couples",
    "critic": f"{SEAMS}:Critic",
    "distils": f"{SEAMS}:Distils",
    "ppo": "tests/user_ppo.py:Ppo",
}
BUDGETS = (1, 40, 1 << 20)
PIECES = ("fsdp2", "zero1", "zero2", "zero3")
EXACT = {"float64": 1e-12, "float32": 1e-6}

Case = dict[str, Any]


def case(do: str, shard: str, name: str = "", **more: Any) -> Case:
    """One thing to try: in float64 where that can be held, so that only a mistake can differ."""
    dtype = more.pop("dtype", "float32" if shard.startswith("zero") else "float64")
    return {"id": f"{do}-{shard}-{name}-{dtype}", "do": do, "shard": shard, "dtype": dtype, **more}


def on_ranks(cases: list[Case], folder: Path, world: int = 2, seconds: int = 300) -> dict[str, Any]:
    """What `world` ranks found, one process each for all cases together."""
    (folder / "cases.json").write_text(json.dumps(cases))
    found = folder / f"found-{len(list(folder.iterdir()))}.pt"
    said = launch(str(SCRIPT), str(folder / "cases.json"), str(found), str(seconds - 10), world=world, seconds=seconds)
    assert not [line for each in said for line in each.splitlines() if "c10d_logger" in line]  # told at every call
    told: dict[str, Any] = torch.load(found, weights_only=True)
    return told


def alone(wanted: Case) -> Any:
    """The same in this process, which holds all weights."""
    return stores_ranks.DO[wanted["do"]]({**wanted, "shard": "none"}, Ranks())


def gradient_cases(shards: tuple[str, ...], names: dict[str, str], budgets: tuple[int, ...]) -> list[Case]:
    return [
        case("gradient", shard, f"{name}-{budget}", objective=path, learner={"tokens_per_microbatch": budget})
        for shard in shards
        for name, path in names.items()
        for budget in budgets
    ]


def agree(cases: list[Case], found: dict[str, Any]) -> None:
    for wanted in cases:
        expected = alone(wanted)
        assert expected.norm() > 0.01
        assert relative_difference(found[wanted["id"]], expected) <= EXACT[wanted["dtype"]], wanted["id"]


# -- the quick ones: one launch -----------------------------------------------------------------------------

QUICK = [
    *gradient_cases(("none", "fsdp2"), {"grpo": GRPO, "distils": OBJECTIVES["distils"]}, (40,)),
    *gradient_cases(("zero2", "zero3"), {"cepo": CEPO}, (40,)),
    case("gradient", "fsdp2", "one-row", objective=GRPO, one_row=True),
    case("gradient", "fsdp2", "recomputed", objective=GRPO, learner={"activation_checkpointing": True}),
]
REFUSED = [case("refused", shard, objective=GRPO) for shard in ("fsdp2", "zero3")]
OUTPUT = [case("output", shard, objective=GRPO, dtype="float32") for shard in ("fsdp2", "zero3")]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return on_ranks([*QUICK, *REFUSED, *OUTPUT], tmp_path_factory.mktemp("quick"))


def test_the_first_gradient_is_that_of_one_process(found: dict[str, Any]) -> None:
    agree(QUICK, found)


def test_an_update_that_is_not_finite_is_left_out_and_an_idle_one_steps(found: dict[str, Any]) -> None:
    for wanted in REFUSED:
        told = found[wanted["id"]]
        assert told["nonfinite"] == 2.0
        assert told["still"] == 0.0
        assert told["idle"] == 0.0  # no momentum yet: Adam has nothing to move by
        assert 1e-4 < told["moved"] < 1e-2


def test_weights_are_told_by_the_names_of_save_pretrained(found: dict[str, Any]) -> None:
    expected = alone(OUTPUT[0])["logps"]
    for wanted in OUTPUT:
        told = found[wanted["id"]]
        assert told["names"]
        assert told["same"]
        torch.testing.assert_close(told["logps"], expected)


MISTAKES = {
    "mean": (
        "from rlzoo.engine.model.weights import fsdp2\n"
        "fsdp2.FSDPModule.set_gradient_divide_factor = lambda self, factor: None\n"
        "fsdp2.FSDPModule.set_force_sum_reduction_for_comms = lambda self, enable: None\n"
    ),
    "missing": "from rlzoo.engine.scorer import Scorer\nScorer._padding = lambda self, sequences: []\n",
}


def mistaken(name: str, cases: list[Case], folder: Path, seconds: int) -> dict[str, Any]:
    """As `on_ranks`, with a mistake put into the engine first."""
    script = folder / "mistaken.py"
    text = f"{MISTAKES[name]}import runpy\nrunpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
    script.write_text(text)
    (folder / "cases.json").write_text(json.dumps(cases))
    launch(str(script), str(folder / "cases.json"), str(folder / "found.pt"), str(seconds - 10), seconds=seconds)
    told: dict[str, Any] = torch.load(folder / "found.pt", weights_only=True)
    return told


@pytest.mark.long
def test_a_mean_for_a_sum_is_noticed(tmp_path: Path) -> None:
    wanted = gradient_cases(("fsdp2",), {"grpo": GRPO}, (40,))
    with pytest.raises(AssertionError):
        agree(wanted, mistaken("mean", wanted, tmp_path, 300))


@pytest.mark.long
def test_a_pass_that_one_rank_does_not_make_is_noticed(tmp_path: Path) -> None:
    """Its rank goes on to another message, or the others wait until the deadline: either way the launch fails."""
    wanted = [case("uneven", "fsdp2", objective=GRPO)]
    with pytest.raises(AssertionError, match="ranks ended with"):
        mistaken("missing", wanted, tmp_path, 120)


# -- the whole matrix ---------------------------------------------------------------------------------------


@pytest.mark.long
def test_every_objective_under_every_store_and_cut(tmp_path: Path) -> None:
    cases = gradient_cases(("none", *PIECES), OBJECTIVES, BUDGETS)
    cases += [case("gradient", shard, "one-row", objective=GRPO, one_row=True) for shard in PIECES]
    cases += [case("gradient", s, "again", objective=GRPO, learner={"activation_checkpointing": True}) for s in PIECES]
    cases += [case("uneven", shard, objective=GRPO) for shard in PIECES]
    agree(cases, on_ranks(cases, tmp_path, seconds=1500))


LARGE = {"eps": 1e-5}
"""Of Adam, beside which gradients that are no more than rounding weigh nothing: at 1e-8 it divides them by their own size, and they are as
long as any other."""


@pytest.mark.long
def test_after_ten_steps_the_weights_are_those_of_one_process(tmp_path: Path) -> None:
    """Two updates a step on the same rollouts, with copies of the weights as they were; and with slices in host memory."""
    cases = [case("steps", shard, objective=MASTERY, steps=[1, 10]) for shard in PIECES]
    cases += [case("steps", s, "offload", objective=GRPO, steps=[1, 10], learner={"offload": True}) for s in PIECES]
    cases += [case("steps", s, "eps", objective=MASTERY, steps=[1, 10], dtype="float32", learner=LARGE) for s in PIECES]
    found = on_ranks(cases, tmp_path, seconds=900)
    for wanted in cases:
        learner = wanted.get("learner", {})
        plain = {**wanted, "learner": learner if learner == LARGE else {}}
        most = {"float64": 1e-9, "float32": 1e-6 if learner == LARGE else 5e-6}[wanted["dtype"]]
        gap = float((found[wanted["id"]] - alone(plain)).abs().max())
        print(f"{wanted['id']}: {gap:.1e}")
        assert gap <= most, wanted["id"]


MOVES = {
    "ranks": [("fsdp2", 2, 3), ("none", 1, 6), ("fsdp2", 2, 10)],
    "stores": [("none", 1, 3), ("fsdp2", 2, 6), ("zero2", 2, 8), ("none", 2, 10)],
    "zero3": [("zero3", 2, 5), ("zero1", 2, 10)],
}


@pytest.mark.long
@pytest.mark.parametrize("name", MOVES)
def test_a_run_moves_between_stores_and_ranks(name: str, tmp_path: Path) -> None:
    """Ten steps with pauses after which others hold the weights, against ten in one process: within 1e-5 of the way."""
    start = torch.cat([p.detach().reshape(-1).double() for p in toy_policy(dtype=torch.float32).parameters()])
    straight = alone(case("steps", "none", objective=CEPO, steps=[1, 10], dtype="float32"))
    done, before, weights = 0, None, start
    for shard, world, last in MOVES[name]:
        kept = str(tmp_path / f"{last}.pt")
        more: dict[str, Any] = {"from": before} if before else {}
        wanted = case("steps", shard, objective=CEPO, steps=[done + 1, last], dtype="float32", to=kept, **more)
        weights = on_ranks([wanted], tmp_path, world=world)[wanted["id"]]
        done, before = last, kept
    way = float((straight - start).norm())
    assert way > 0.01
    assert float((weights - straight).norm()) <= 1e-5 * way


@pytest.mark.long
def test_float32_masters_move_where_bfloat16_would_stand(tmp_path: Path) -> None:
    """AdamW moves a weight by about lr = 1e-6 an update; and masters start unrounded."""
    cases = [case("rounded", shard) for shard in ("none", "fsdp2", "zero2", "zero3")]
    for told in on_ranks(cases, tmp_path).values():
        if isinstance(told, dict):
            assert told["moved"] == pytest.approx(20e-6, rel=0.2)
            assert told["came"] == 0.0
            assert told["full"] == "torch.bfloat16"


@pytest.mark.long
def test_a_rank_holds_its_share(tmp_path: Path) -> None:
    """Bytes after a step at 20 M parameters, from the storages of all tensors; each store in processes of its own."""
    held: dict[str, float] = {}
    for shard in ("none", *PIECES):
        found = on_ranks([case("held", shard)], tmp_path)
        told = found[case("held", shard)["id"]]
        assert told["parameters"] > 19e6
        held[shard] = told["bytes"] / told["parameters"]
        print(f"{shard}: {held[shard]:.1f} bytes a parameter, peak {found['peak_mb']:.0f} MiB")
    assert held["none"] == pytest.approx(16, rel=0.05)  # weight, gradient and two moments of 4 bytes
    assert held["fsdp2"] <= 0.6 * held["none"]
    assert held["zero3"] <= 0.6 * held["none"]
