"""Who holds the weights: masters under bfloat16, the gradient's sum, and an output layer that answers within the model's own call."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from rlzoo.engine.learning.micro import Micro
from rlzoo.engine.learning.optimizer import adamw
from rlzoo.engine.learning.tally import Tally
from rlzoo.engine.learning.update import schedule
from rlzoo.engine.model.policy import OutputLayer
from rlzoo.engine.model.sequences import Sequences
from rlzoo.engine.model.weights.replicated import Replicated
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.trainer import train
from rlzoo.laws.lab import Bench, toy_groups, toy_policy
from rlzoo.runs.folder import RunDir
from rlzoo.training_config import LearnerConfig
from tests.support import small_config

ROWS = Sequences([(3, 4, 5), (6,)], [(7, 8, 1), (9, 10, 11, 1)])
GROUPS = toy_groups(policy=toy_policy())


def trained(dtype: torch.dtype, lr: float = 1e-6) -> Replicated:
    make = partial(adamw, settings=LearnerConfig(lr=lr))
    return Replicated(toy_policy(dtype=torch.float32), dtype=dtype, optimizer=make)


def moved(store: Replicated, updates: int, lr: float) -> tuple[Tensor, Tensor]:
    """How far masters and weights are from where they stood, after updates along one gradient. Largest differences; scalars"""
    before = {name: (store.masters[name].detach().clone(), p.detach().clone()) for name, p in store.named.items()}
    for _ in range(updates):
        store.begin()
        outputs = store.forward(ROWS)
        store.backward(-outputs.logps_K.sum(), last=True)
        store.step(lr, 1.0)
    masters = [(store.masters[n].detach() - m).abs().max() for n, (m, _) in before.items()]
    weights = [(store.named[n].detach().float() - w.float()).abs().max() for n, (_, w) in before.items()]
    return torch.stack(masters).max(), torch.stack(weights).max()


def test_a_small_learning_rate_moves_bfloat16_weights() -> None:
    """AdamW moves a weight by about lr an update. Around 0.3 bfloat16 has steps of 2e-3: alone it would never move."""
    store = trained(torch.bfloat16)
    assert {p.dtype for p in store.named.values()} == {torch.bfloat16}
    assert {p.dtype for p in store.masters.values()} == {torch.float32}
    masters, weights = moved(store, 20, 1e-6)
    assert float(masters) == pytest.approx(20e-6, rel=0.2)
    rounded = [torch.equal(store.named[n].detach(), m.detach().bfloat16()) for n, m in store.masters.items()]
    assert all(rounded)
    assert float(weights) > 0, (
        "the smallest weights move by less than their own rounding, and are brought up to the masters"
    )
    alone = trained(torch.float32)
    assert all(master is alone.named[name] for name, master in alone.masters.items())


def test_bfloat16_without_masters_would_stand_still() -> None:
    """The seeded mistake: an optimizer on the rounded weights themselves."""
    policy = toy_policy(dtype=torch.float32).to(torch.bfloat16)
    weight = policy.model.get_input_embeddings().weight
    before = weight.detach().clone()
    optimizer = adamw(policy.parameters(), LearnerConfig(lr=1e-6))
    for _ in range(20):
        policy.zero_grad()
        (-policy(ROWS).logps_K.sum()).backward()
        optimizer.step()
    large = before.abs() > 0.01
    assert torch.equal(weight.detach()[large], before[large])


def test_masters_survive_a_checkpoint() -> None:
    store, other = trained(torch.bfloat16), trained(torch.bfloat16)
    moved(store, 3, 1e-4)
    other.policy.load_state_dict(store.policy.state_dict())
    other.load(store.state())
    moved(store, 2, 1e-4)
    moved(other, 2, 1e-4)
    for name, master in store.masters.items():
        assert torch.equal(master, other.masters[name])


def test_gradients_of_many_micro_batches_are_summed_in_float32() -> None:
    """256 equal gradients of 1 + 2^-7: summed in bfloat16 the sum stops growing at 256."""
    store = trained(torch.bfloat16)
    name, weight = next(iter(store.named.items()))
    store.begin()
    for _ in range(300):
        store.backward((weight * (1 + 2**-7)).sum(), last=False)
    grad = store.masters[name].grad
    assert grad is not None
    torch.testing.assert_close(grad, torch.full_like(grad, 300 * (1 + 2**-7)))


@pytest.mark.long
def test_a_bfloat16_run_resumes_where_it_stood(tmp_path: Path) -> None:
    settings = ("model.dtype=bfloat16", "checkpoint.every=1", "checkpoint.keep_last=4", "learner.lr=1e-6")
    train(small_config(*settings, steps=3), tmp_path / "whole")
    train(small_config(*settings, steps=3), tmp_path / "cut")
    import shutil

    for step in (2, 3):
        shutil.rmtree(RunDir(tmp_path / "cut").checkpoint(step))
    train(small_config(*settings, steps=3), tmp_path / "cut", resume=True)
    files = [RunDir(tmp_path / run).checkpoint(3) / "model.safetensors" for run in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()
    first = RunDir(tmp_path / "whole").checkpoint(1) / "trainer" / "state.pt"
    masters = torch.load(first, weights_only=True)["learner"]["weights"]["masters"]
    assert masters
    assert {m.dtype for m in masters.values()} == {torch.float32}


# -- the model's own call ---------------------------------------------------------------------------------


def test_hooks_of_the_model_and_its_output_layer_run() -> None:
    """Whoever gathers weights around a call, as sharding does, is heard; and the answer comes out of that very call."""
    policy, heard = toy_policy(), list[str]()
    policy.model.register_forward_hook(lambda module, given, out: heard.append("model"))
    policy.output.register_forward_pre_hook(lambda module, given: heard.append("gather"))
    policy.output.register_forward_hook(lambda module, given, out: heard.append("release"))
    outputs = policy(ROWS)
    assert heard == ["gather", "release", "model"]
    assert len(outputs.logps_K) == 7
    heard.clear()
    policy.last_hidden(input_ids=torch.tensor([[3, 4]]), use_cache=False)
    assert heard == ["gather", "release", "model"]


def test_an_output_layer_whose_weight_is_there_only_within_its_call() -> None:
    """As under sharding: log-probs and their gradient come from the gathered weight, not from what lies about between calls."""
    whole, gathered = toy_policy(), toy_policy()
    weight = gathered.output.weight.detach().clone()
    gathered.model.tie_weights = lambda: None
    table = gathered.model.get_input_embeddings()
    table.weight = nn.Parameter(weight.clone())
    gathered.output.weight = nn.Parameter(torch.full_like(weight, torch.nan))

    def gather(module: OutputLayer, given: Any) -> None:
        module.weight.data.copy_(weight)

    gathered.output.register_forward_pre_hook(gather)
    torch.testing.assert_close(gathered(ROWS).logps_K, whole(ROWS).logps_K)


def test_the_output_layer_is_the_models_own_again_afterwards() -> None:
    policy = toy_policy()
    ids = torch.tensor([[3, 4, 5]])
    before = policy.model(input_ids=ids).logits
    policy(ROWS)
    assert torch.equal(policy.model(input_ids=ids).logits, before)
    assert before.shape == (1, 3, policy.output.out_features)
    with pytest.raises(RuntimeError, match="no answer"), policy.output.asking(_refuses):
        policy.model(input_ids=ids)
    assert torch.equal(policy.model(input_ids=ids).logits, before)


def _refuses(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    raise RuntimeError("no answer")


def test_opaque_inputs_ride_along_with_their_rows() -> None:
    """What the model takes besides tokens goes with each row through every cut. Here: positions moved by 5."""
    policy = toy_policy()
    width = max(ROWS.lengths)
    shifted = [{"position_ids": torch.arange(width)[None] + shift} for shift in (0, 5)]
    with_inputs = Sequences(ROWS.prompts, ROWS.responses, shifted)
    plain, moved_ = policy(ROWS), policy(with_inputs)
    first = plain.rows_K == 0
    torch.testing.assert_close(moved_.logps_K[first], plain.logps_K[first])
    alone = policy(Sequences(ROWS.prompts[1:], ROWS.responses[1:], [{"position_ids": torch.arange(5)[None] + 5}]))
    torch.testing.assert_close(moved_.logps_K[~first], alone.logps_K)
    assert with_inputs.take([1]).model_inputs == [shifted[1]]


# -- nothing waits for the device -------------------------------------------------------------------------


class Waits(TorchDispatchMode):
    """Refuses what would read a tensor back to the host, or need its values for a shape."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        masks = [t for t in _flat(args) if isinstance(t, Tensor) and t.dtype == torch.bool]
        reads = ("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.unique", "aten.equal")
        if name.startswith(reads) or (name.startswith("aten.index.") and masks and args[1:] and _masked(args[1])):
            raise AssertionError(f"{name} waits for the device")
        return func(*args, **(kwargs or {}))


def _flat(items: Any) -> list[Any]:
    return [leaf for item in items for leaf in (_flat(item) if isinstance(item, (list, tuple)) else [item])]


def _masked(index: Any) -> bool:
    return any(isinstance(t, Tensor) and t.dtype == torch.bool for t in index)


@pytest.mark.parametrize(
    "section", ["grpo", "mcpo-mastery", "cepo", "tests/seam_objectives.py:Distils", "tests/user_ppo.py:Ppo"]
)
def test_a_micro_batch_makes_no_host_synchronisation(section: str) -> None:
    bench = Bench(section, learner={"mismatch": {"mode": "tis"}})
    step = bench.step(GROUPS)
    update = bench.update(step, old_logps_BT=step.batch.sampler_logps_BT).update
    passes = schedule(update, bench.config.learner, Ranks())
    micro, tally = Micro(bench.scorer, step.needs, bench.config.learner.mismatch), Tally()
    share, waits = passes.shares[0], Waits()
    library = (
        bench.policy.model.base_model
    )  # looks at its positions for packed rows, and waits for that; not ours to change
    library.register_forward_pre_hook(lambda module, given: waits.__exit__(None, None, None))
    library.register_forward_hook(lambda module, given, out: waits.__enter__() and None)
    with waits:
        loss = micro.loss(update, share, tally)
    assert loss.requires_grad
    with pytest.raises(AssertionError, match="waits for the device"), Waits():
        float(loss)
