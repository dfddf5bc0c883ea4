"""Gradients of domains: each over its own rows, the parts of a loss over rows that see each other included."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rlzoo.engine.clock import Clock
from rlzoo.engine.diagnostics import Diagnostics, embeddings_arrays, representation_statistics
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.recorder import Recorder
from rlzoo.engine.reporting import Silent
from rlzoo.engine.sampling.base import Decoding
from rlzoo.engine.sampling.noise import row_key
from rlzoo.engine.step import Step
from rlzoo.laws.lab import DOMAINS, Bench, toy_groups, toy_policy, toy_tokenizer
from rlzoo.runs.folder import RunDir
from rlzoo.types import Group, Pooling, Problem, RolloutBatch

GROUPS = toy_groups(policy=toy_policy())


def measured(section: str | dict[str, Any], **changes: Any) -> tuple[Bench, Step, Diagnostics]:
    bench = Bench(section, **changes)
    nobody: Any = None  # interference samples and records nothing
    return bench, bench.step(GROUPS), Diagnostics(bench.config, bench.learner, nobody, nobody, nobody)


def whole(bench: Bench, step: Step) -> Tensor:
    """The policy's own gradient of one update of all rows; heads come last."""
    return bench.gradient(step)[: sum(p.numel() for p in bench.policy.parameters())]


def test_parts_of_a_coupled_loss_add_up_to_the_whole() -> None:
    """A domain's part is per row of its own: weighted by its share of rows, what the coupled loss adds sums to its gradient."""
    parts, gradients = [], []
    for section in ("mcpo-contrastive", "grpo"):
        bench, step, diagnostics = measured(section)
        gradients.append(whole(bench, step))
        parts.append(diagnostics.gradients(step))
        rows = step.batch.domain_ids_B
    added = torch.zeros_like(gradients[0])
    for i, name in enumerate(DOMAINS):
        added += (parts[0][name] - parts[1][name]) * float((rows == i).double().mean())
    assert float(added.norm()) > 1e-3
    torch.testing.assert_close(added, gradients[0] - gradients[1], rtol=1e-9, atol=1e-12)


def test_a_domain_has_cosine_one_with_itself_in_float32() -> None:
    _, step, diagnostics = measured("mcpo-contrastive", dtype=torch.float32)
    found = diagnostics.interference(step)
    assert found["domains"] == list(DOMAINS)
    assert all(abs(found["cosine"][i][i] - 1) < 1e-9 for i in range(len(DOMAINS)))


def test_measuring_leaves_gradients_and_counts_as_they_were() -> None:
    bench, step, diagnostics = measured("mcpo-contrastive")
    before = replace(step.costs)
    diagnostics.interference(step)
    passes = 3 * sum(step.sequences.lengths)  # forward and backward over every row, as forward passes
    assert step.costs.train_tokens == before.train_tokens
    assert 0 < step.costs.extra_tokens - before.extra_tokens <= passes
    assert all(p.grad is None for p in bench.policy.parameters())


class Asked:
    """Answers problems with one toy rollout each, of a group that is all right and one that is all wrong in turn; keeps what it was asked."""

    def __init__(self) -> None:
        self.keys: list[list[list[int]]] = []

    def ask(self, problems: Sequence[Problem], keys: Callable[[int], list[int]], decoding: Decoding) -> list[Group]:
        self.keys.append([keys(i) for i in range(len(problems))])
        return [
            replace(GROUPS[i % 2], problem=problem, rollouts=GROUPS[i % 2].rollouts[:1])
            for i, problem in enumerate(problems)
        ]


def test_drift_retention_and_embeddings_by_hand(tmp_path: Path) -> None:
    """GROUPS[0] is all right, GROUPS[1] all wrong. The mastered prompt is asked again after each step, with noise of its own."""
    bench = Bench("grpo", diagnostics={"every": 1}, policy=toy_policy())
    nobody: Any = None
    run = RunDir(tmp_path)
    recorder = Recorder(bench.config, run, Ranks(), Silent(), toy_tokenizer(), nobody)
    asked: Any = Asked()
    diagnostics = Diagnostics(bench.config, bench.learner, asked, recorder, Clock(Silent(), torch.device("cpu")))
    for number in (1, 2):
        step = bench.step(GROUPS, number)
        early = diagnostics.before(step)
        assert early is not None
        with torch.no_grad():
            for parameter in bench.policy.parameters():
                parameter.mul_(1.01)
        diagnostics.after(step, early)
    seed, problem = bench.config.seed, GROUPS[0].problem.id
    assert asked.keys == [
        [[row_key("drift-1", seed, problem)]],
        [[row_key("drift-2", seed, problem)]],
        [[row_key("retention-2", seed, problem)]],
    ]
    first, second = [json.loads(line) for line in run.diagnostics_file.read_text().splitlines()]
    assert "retention" not in first and second["retention"] == {"problems": 1, "accuracy": 1.0}
    solved = range(len(GROUPS[0].rollouts))
    now = bench.scorer.pass_over(bench.store, step.sequences.take(list(solved)), width=8).logps_BT
    terms = [
        math.exp(float(now[i, t]) - old) - 1 - (float(now[i, t]) - old)
        for i in solved
        for t, old in enumerate(GROUPS[0].rollouts[i].sampler_logps)
    ]
    assert second["drift"]["kl"] == pytest.approx(sum(terms) / len(terms), rel=1e-9) != 0
    assert {key: second["drift"][key] for key in ("prompts", "accuracy_before", "accuracy_after")} == {
        "prompts": 1, "accuracy_before": 1.0, "accuracy_after": 1.0,
    }  # fmt: skip
    kept = np.load(run.path / "representations" / "step-000001.npz")
    torch.testing.assert_close(
        torch.from_numpy(kept["embeddings"]).double(), before_first(bench, GROUPS), rtol=1e-3, atol=1e-3
    )


def before_first(bench: Bench, groups: Sequence[Group]) -> Tensor:
    """Embeddings of all rows by the weights of the beginning. [B, H]"""
    fresh = Bench("grpo", policy=toy_policy())
    step = fresh.step(groups)
    found = fresh.scorer.pass_over(fresh.store, step.sequences, pooling=Pooling(), logps=False).embeddings_BH
    assert found is not None
    return found.double()


ANGLES = (0, 60, 90, 180, 280)
"""Where rollouts lie on the unit circle, in degrees: two of the first domain, two of the second, one of the third."""


def on_a_circle() -> tuple[Tensor, RolloutBatch]:
    """Of the second domain one is wrong; a sixth rollout was judged by nobody. Lengths differ, which says nothing."""
    batch = Bench("grpo").step(GROUPS).batch.rows(torch.arange(6))
    batch = replace(
        batch,
        domain_ids_B=torch.tensor([0, 0, 1, 1, 2, 2]),
        correct_B=torch.tensor([True, True, True, False, True, True]),
        judged_B=torch.tensor([True] * 5 + [False]),
    )
    turns = torch.tensor([*ANGLES, 45.0], dtype=torch.float64).deg2rad()
    return torch.stack([turns.cos(), turns.sin()], dim=1) * torch.arange(1, 7)[:, None], batch


def test_representations_by_hand() -> None:
    """Squared distances are 2 - 2 cos of the angle between. The third rollout lies nearer to the first domain than to what is left of its own; where nothing is left of it, the middle of the circle stands there."""
    z, batch = on_a_circle()
    found = representation_statistics(z, batch)
    pairs = [2 - 2 * math.cos(math.radians(a - b)) for i, a in enumerate(ANGLES) for b in ANGLES[:i]]
    assert found["alignment"] == pytest.approx(1.0)
    assert found["uniformity"] == pytest.approx(math.log(sum(math.exp(-2 * square) for square in pairs) / 10))
    assert found["separability"] == pytest.approx(4 / 5)
    two = replace(batch, judged_B=torch.tensor([True, False, True, False, False, False]))
    assert representation_statistics(z, two) == pytest.approx(
        {"alignment": 0.0, "uniformity": -4.0, "separability": 1.0}, abs=1e-9
    )
    assert representation_statistics(z, replace(two, judged_B=torch.arange(6) == 0)) == {}


def test_arrays_of_representations_name_the_domains() -> None:
    z, batch = on_a_circle()
    arrays = embeddings_arrays(z, batch)
    assert arrays["embeddings"].dtype == np.float32 and arrays["embeddings"].shape == (6, 2)
    assert arrays["domain"].tolist() == [DOMAINS[i] for i in (0, 0, 1, 1, 2, 2)]
    assert arrays["correct"].tolist() == [True, True, True, False, True, True]


def test_gradients_of_domains_are_those_of_their_rows_and_cost_three_passes() -> None:
    """Every second of three domains' six groups; cosines, and how many are negative, by hand from the three gradients."""
    bench, step, diagnostics = measured("grpo", learner={"skip": False})
    before = replace(step.costs)
    found = diagnostics.gradients(step)
    assert list(found) == list(DOMAINS)
    assert step.costs.extra_tokens - before.extra_tokens == 3 * sum(step.sequences.lengths)
    assert step.costs.train_tokens == before.train_tokens and step.costs.heavier == before.heavier
    for i, name in enumerate(DOMAINS):
        own = bench.gradient(step, (step.batch.domain_ids_B == i).nonzero().squeeze(1))
        torch.testing.assert_close(found[name], own[: len(found[name])], rtol=1e-9, atol=1e-12)
    told = diagnostics.interference(step)
    vectors = [found[name] / found[name].norm() for name in DOMAINS]
    cosine = [[float(one @ other) for other in vectors] for one in vectors]
    assert told["cosine"] == [pytest.approx(row, abs=1e-9) for row in cosine]
    assert told["negative"] == sum(cosine[i][j] < 0 for i, j in ((1, 0), (2, 0), (2, 1)))
    assert diagnostics.interference(bench.step(GROUPS[::3])) == {}, "one domain alone has nothing to interfere with"


def test_measurements_are_due_every_so_many_steps() -> None:
    nobody: Any = None
    for every, due in ((0, []), (1, [1, 2, 3, 4]), (2, [2, 4])):
        bench = Bench("grpo", diagnostics={"every": every})
        clock = Clock(Silent(), torch.device("cpu"))
        diagnostics = Diagnostics(bench.config, bench.learner, nobody, nobody, clock)
        step = bench.step(GROUPS[:2])
        found = [number for number in (1, 2, 3, 4) if diagnostics.before(replace(step, number=number)) is not None]
        assert found == due
        diagnostics.after(step, None)  # nothing is recorded where nothing was due


def test_a_pass_for_embeddings_is_made_and_charged_where_the_objective_asked_for_none() -> None:
    for section, charged in (("grpo", True), ("mcpo-contrastive", False)):
        _, step, diagnostics = measured(section)
        before = step.costs.extra_tokens
        found = diagnostics._embeddings(step)
        assert (found is step.batch.embeddings_BH) == (not charged)
        assert step.costs.extra_tokens - before == charged * sum(step.sequences.lengths)


def test_mastered_problems_are_kept_up_to_a_number_and_by_checkpoints() -> None:
    bench = Bench("grpo", diagnostics={"every": 1, "retained": 2})
    asked, nobody = Asked(), None
    diagnostics = Diagnostics(bench.config, bench.learner, asked, nobody, nobody)  # type: ignore[arg-type]
    solved = [
        replace(GROUPS[0], problem=replace(GROUPS[0].problem, id=f"p{at}", metadata={"at": at}, level="2"))
        for at in range(3)
    ]
    step = bench.step([GROUPS[1], *solved])
    record = diagnostics.drift(step)
    assert record["drift"]["prompts"] == 3 and record["drift"]["accuracy_after"] == 2 / 3
    assert "retention" not in record
    assert diagnostics.mastered == {f"p{at}": solved[at].problem for at in range(2)}
    passed = sum(step.sequences.lengths[len(GROUPS[1].rollouts) :])
    answers = [GROUPS[at % 2].rollouts[0] for at in range(3)]
    assert step.costs.extra_tokens == passed + sum(len(r.prompt_tokens) + len(r.response_tokens) for r in answers)
    again = Diagnostics(bench.config, bench.learner, asked, nobody, nobody)  # type: ignore[arg-type]
    again.load_state_dict(json.loads(json.dumps(diagnostics.state_dict())))
    assert again.mastered == diagnostics.mastered
    nothing = again.drift(bench.step([GROUPS[1]]))
    assert nothing == {"retention": {"problems": 2, "accuracy": 0.5}}
