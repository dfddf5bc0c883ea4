"""Who holds the weights, by the settings: refusals before a model loads, and one rank that holds them in a piece of its own."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest
import torch

from rlzoo import configure
from rlzoo.engine.extending import goes_on
from rlzoo.engine.model.weights import holding
from rlzoo.engine.model.weights.holding import check_holding, recompute_layers, remarks
from rlzoo.engine.model.weights.pieces import emptied, filled, layers_of, names_of
from rlzoo.engine.ranks import Ranks
from rlzoo.errors import ConfigError
from rlzoo.laws.lab import Bench, relative_difference, toy_groups, toy_policy
from rlzoo.runs.folder import RunDir
from rlzoo.training_config import LearnerConfig
from tests.support import small_config

GROUPS = toy_groups(policy=toy_policy())
ENGINE = Path(__file__).resolve().parents[1] / "rlzoo" / "engine"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["learner.offload=true"], r"offload is set, but shard is 'none'.*Set learner\.shard=fsdp2"),
        (
            ["learner.shard=zero3", "model.dtype=float64"],
            r"'float64' and learner\.shard is 'zero3'.*Use learner\.shard=fsdp2",
        ),
        (
            ["learner.shard=zero1", "model.dtype=bfloat16"],
            r"'bfloat16' and learner\.shard is 'zero1'.*Use learner\.shard=zero2",
        ),
        (["learner.shard=zero4"], r"learner\.shard"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        configure.load(algo="grpo", assignments=settings)


def test_zero_without_deepspeed_is_refused_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"'zero2'.*not installed.*pip install 'rlzoo\[deepspeed\]'"):
        check_holding(LearnerConfig(shard="zero2"))
    check_holding(LearnerConfig(shard="fsdp2"))


@pytest.mark.parametrize(("found", "fits"), [("0.18.9", False), ("0.19.8", True), ("1.0", True)])
def test_an_older_deepspeed_is_refused(monkeypatch: pytest.MonkeyPatch, found: str, fits: bool) -> None:
    monkeypatch.setattr(holding, "find_spec", lambda name: importlib.util.find_spec("torch"))
    monkeypatch.setattr(holding, "version", lambda name: found)
    if fits:
        return check_holding(LearnerConfig(shard="zero3"))
    with pytest.raises(ConfigError, match=r"deepspeed is 0\.18\.9, and before 0\.19"):
        check_holding(LearnerConfig(shard="zero3"))


def test_one_rank_is_told_what_it_gains() -> None:
    assert remarks(LearnerConfig(), Ranks()) == []
    assert remarks(LearnerConfig(shard="fsdp2"), Ranks(0, 2)) == []
    assert "shard=none is faster" in remarks(LearnerConfig(shard="fsdp2"), Ranks())[0]
    assert "host memory" in remarks(LearnerConfig(shard="fsdp2", offload=True), Ranks())[0]


def test_a_run_goes_on_with_its_weights_in_other_hands(tmp_path: Path) -> None:
    """Alone or beside another budget; with any other setting it is another run."""
    before, run = small_config(), RunDir(tmp_path)
    assert goes_on(run, before, small_config("learner.shard=zero2", "learner.offload=true"))
    assert goes_on(run, before, small_config("learner.shard=fsdp2", steps=9))
    assert not goes_on(run, before, small_config("learner.shard=fsdp2", "learner.lr=1e-5"))
    assert not goes_on(run, before, small_config())


def test_recomputed_layers_give_the_same_gradient_from_fewer_kept_tensors() -> None:
    kept: dict[bool, int] = {}
    gradients = []
    for again in (False, True):
        bench, count = Bench("grpo", learner={"activation_checkpointing": again}), [0]

        def keep(tensor: torch.Tensor, count: list[int] = count) -> torch.Tensor:
            count[0] += 1
            return tensor

        step = bench.step(GROUPS)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            bench.store.forward(step.sequences)
        kept[again] = count[0]
        gradients.append(bench.gradient(step))
    assert relative_difference(*gradients) <= 1e-12
    assert kept[True] < kept[False] / 2


def test_a_shell_has_the_policys_names_and_ties_and_no_weights() -> None:
    policy = toy_policy()
    shell = emptied(policy)
    assert names_of(shell) == names_of(policy)
    assert names_of(policy)["model.model.embed_tokens.weight"] == [
        "model.model.embed_tokens.weight",
        "model.lm_head.weight",
    ]
    assert all(p.is_meta for p in shell.parameters())
    assert shell.output.weight is shell.model.get_input_embeddings().weight
    assert not any(p.is_meta for p in policy.parameters())
    assert len(layers_of(policy)) == 2
    again = filled(shell, {name: p.detach() for name, p in policy.named_parameters()})
    rows = Bench("grpo").step(GROUPS).sequences
    assert torch.equal(again(rows).logps_K, policy(rows).logps_K)
    recompute_layers(again)
    assert torch.equal(again(rows).logps_K, policy(rows).logps_K)


def test_replicated_weights_are_told_by_all_their_names() -> None:
    store = Bench("grpo").store
    with store.whole() as policy:
        assert [name for name, _ in store.full()] == list(policy.model.state_dict())
    assert "lm_head.weight" in dict(store.full())


ALLOWED = {
    "model/weights": None,
    "model/heads.py": None,
    "learning/in_batch.py": "gradients of representations, which are no weights",
}


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=lambda p: str(p.relative_to(ENGINE)))
def test_nothing_else_touches_gradients_or_copies_of_weights(path: Path) -> None:
    """`.grad`, `.optimizer` and `deepcopy` stand where the weights are held, and nowhere else in the engine."""
    where = str(path.relative_to(ENGINE))
    if any(where.startswith(allowed) for allowed in ALLOWED):
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not attributes & {"grad", "optimizer", "deepcopy"}
