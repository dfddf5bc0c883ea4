"""Rows laid end to end: no row sees another, and every gradient is that of padded rows.

What this does not show: FlashAttention, which takes all rows in one line and needs a CUDA device.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlzoo.engine.model import suitability
from rlzoo.engine.model.loading import load_policy, open_other
from rlzoo.engine.model.passes import microbatches
from rlzoo.engine.model.policy import Policy
from rlzoo.engine.model.sequences import Sequences, pack
from rlzoo.engine.model.suitability import check_packing, packing_gap
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.trainer import train
from rlzoo.errors import UnfitModel
from rlzoo.laws.lab import Bench, relative_difference, toy_groups, toy_policy, with_logps
from rlzoo.runs.folder import RunDir
from rlzoo.types import Group, Pooling
from tests import architectures
from tests.support import final_weights, small_config


def ragged() -> list[Group]:
    """The laboratory's groups, every other one behind a prompt of four times the length, so that short rows fill long lines."""
    return with_logps(
        [
            replace(
                group,
                rollouts=tuple(replace(r, prompt_tokens=r.prompt_tokens * (1 + 3 * (i % 2))) for r in group.rollouts),
            )
            for i, group in enumerate(toy_groups())
        ],
        toy_policy(),
    )


GROUPS = ragged()


def test_rows_are_laid_into_lines_as_long_as_the_longest() -> None:
    """Rows of 2, 5 and 3 tokens: the longest alone, the others behind each other; what a response token is called stays."""
    rows = Sequences([(1,), (2, 3), (4,)], [(5,), (6, 7, 8), (9, 10)])
    packed = pack(rows, torch.device("cpu"), one_line=False)
    assert packed.ids_LS.tolist() == [[2, 3, 6, 7, 8], [4, 9, 10, 1, 5]]
    assert packed.more["position_ids"].tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 0, 1]]
    assert packed.rows_K.tolist() == [0, 1, 1, 1, 2, 2]
    assert packed.lines_K.tolist() == [1, 0, 0, 0, 1, 1]
    assert packed.places_K.tolist() == [4, 2, 3, 4, 1, 2]
    assert packed.targets_K.tolist() == [5, 6, 7, 8, 9, 10]
    one = pack(rows, torch.device("cpu"), one_line=True)
    assert one.ids_LS.tolist() == [[2, 3, 6, 7, 8, 4, 9, 10, 1, 5]]
    assert one.more["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 0, 1]]
    slack = pack(rows.take([1, 2]), torch.device("cpu"), one_line=False)
    assert slack.more["position_ids"].tolist()[1] == [0, 1, 2, 0, 1], "the rest of a line is nobody's"


def test_a_micro_batch_counts_real_tokens() -> None:
    """Of 5, 2, 2 and 1 tokens, 10 are real: padded to the longest, two rows fill a budget of 10."""
    lengths = [5, 2, 2, 1]
    assert list(microbatches(lengths, 10)) == [[0, 1], [2, 3]]
    assert list(microbatches(lengths, 10, packed=True)) == [[0, 1, 2, 3]]
    assert list(microbatches(lengths, 9, packed=True)) == [[0], [1, 2, 3]]
    assert list(microbatches(lengths, 4, packed=True)) == [[0], [1, 2], [3]], "a row that is too long stands alone"
    assert list(microbatches([2, 3, 5], 5, packed=True)) == [[2], [1, 0]], "a short row fills the line of a longer one"


@pytest.mark.parametrize(
    "section",
    [
        "grpo",
        {"name": "grpo", "kl_coef": 0.1},
        "mcpo-contrastive",
        "mcpo-mastery",
        "cepo",
        "tests/seam_objectives.py:Distils",
        "tests/user_ppo.py:Ppo",
    ],
    ids=str,
)
def test_gradients_are_those_of_padded_rows(section: Any) -> None:
    """Embeddings, heads, divergences and signals included."""
    vectors, lines = [], []
    for packing in (False, True):
        bench = Bench(section, learner={"packing": packing, "tokens_per_microbatch": 4096})
        seen: list[tuple[int, ...]] = []
        bench.policy.model.register_forward_pre_hook(
            lambda module, args, given, seen=seen: seen.append(tuple(given["input_ids"].shape)), with_kwargs=True
        )
        vectors.append(bench.gradient(bench.step(GROUPS)))
        lines.append(sum(shape[0] for shape in seen))
    assert float(vectors[0].norm()) > 1e-3
    assert relative_difference(vectors[1], vectors[0]) < 1e-12
    assert lines[1] < lines[0], "some rows share a line"


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("one_line", [False, True])
def test_both_ways_of_masking_keep_rows_apart(
    implementation: str, one_line: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlzoo.engine.model import policy as module

    policy = toy_policy()
    policy.model.set_attn_implementation(implementation)
    rows = Sequences([(3, 4, 5), (6,), (7,)], [(7, 8, 1), (9, 10, 1), (1,)])  # of 6, 4 and 2 tokens: two share a line
    pooling = Pooling()
    plain = policy(rows, pooling=pooling)
    policy.packing = True
    monkeypatch.setattr(module, "pack", lambda rows, device, **_: pack(rows, device, one_line=one_line))
    packed = policy(rows, pooling=pooling)
    rounding = {"sdpa": 1e-13, "eager": 1e-6}[implementation]  # eager attention takes its softmax in float32
    for one, other in (
        (packed.logps_K, plain.logps_K),
        (packed.entropy_K, plain.entropy_K),
        (packed.embeddings_BH, plain.embeddings_BH),
    ):
        assert float((one - other).detach().abs().max()) < rounding


@pytest.mark.parametrize("name", sorted(architectures.TRAINED))
def test_architectures(name: str, tmp_path: Path) -> None:
    """Rows longer than a sliding window of 8, several to a line."""
    folder = architectures.make(architectures.TRAINED[name], tmp_path / name)
    config = small_config(f"model.path={folder}", "learner.packing=true")
    policy = load_policy(config)
    check_packing(policy, name)
    lengths = (40, 21, 17, 12, 9)
    rows = Sequences(
        [tuple(range(5, 9))] * 5, [tuple((7 * i + 3 * n) % 200 + 5 for i in range(n - 4)) for n in lengths]
    )
    packed = policy(rows).logps_K.detach()
    policy.packing = False
    torch.testing.assert_close(packed, policy(rows).logps_K.detach(), rtol=1e-4, atol=1e-4)  # float32, large weights


class Leaks(Policy):
    """The seeded mistake: positions that go on from row to row, so that nothing keeps them apart."""

    def _lay(self, sequences: Sequences) -> Any:
        laid = super()._lay(sequences)
        width = laid.ids_LS.shape[1]
        return laid._replace(more={"position_ids": torch.arange(width).expand(laid.ids_LS.shape)})


def test_rows_that_would_see_each_other_are_refused() -> None:
    policy = toy_policy()
    policy.packing = True
    assert packing_gap(policy) < 1e-12
    check_packing(policy, "toy")
    leaking = Leaks(policy.model, packing=True)
    with pytest.raises(UnfitModel, match="rows laid end to end see each other"):
        check_packing(leaking, "toy")
    policy.model.config.layer_types = ["full_attention", "chunked_attention"]
    with pytest.raises(UnfitModel, match="layers of the kind chunked_attention"):
        check_packing(policy, "toy")


def test_a_teacher_that_cannot_be_packed_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suitability, "packing_gap", lambda policy: 1.0)
    with pytest.raises(UnfitModel, match=r"'tiny-clean' is .* rows laid end to end see each other"):
        open_other(small_config("learner.packing=true"), "tiny-clean", Ranks())


def test_a_run_packs(tmp_path: Path) -> None:
    """Trained tokens are counted as before; log-probs agree with the sampler's; weights differ by rounding only."""
    weights: list[Tensor] = []
    for packing in ("false", "true"):
        out = tmp_path / packing
        settings = ("eval.at_start=false", "eval.at_end=false", f"learner.packing={packing}")
        train(small_config(*settings, steps=1), out)
        line = RunDir(out).metrics()[-1]
        assert line["mismatch/max"] < 1e-4
        weights.append(torch.tensor(line["cost/train_tokens"]))
    assert torch.equal(*weights)
    assert final_weights(tmp_path / "true")
