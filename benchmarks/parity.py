"""Loss and gradient of objectives that TRL has too, on the same model, responses, advantages and old log-probs.

    python -m benchmarks.parity FOLDER --engine rlzoo      here: writes model, batch and our numbers into FOLDER
    python -m benchmarks.parity FOLDER --engine trl        in an environment of its own with trl==1.16.0: runs TRL's loss code on them
    python -m benchmarks.parity FOLDER                     here: the table of differences; ends with 1 where a gradient is off by more than 1e-5
    python -m benchmarks.parity FOLDER --keep              here: TRL's numbers, told in few, written to tests/golden/trl.json

One micro-batch and one optimizer step of 24 responses in float32, a random two-layer Qwen2. Old log-probs differ from the policy's
so that ratios and clips act, the sampler's differ from the old ones where a correction is on. Advantages are ours, handed to TRL's
`_compute_loss`; how each package makes them is not compared. TRL's default multiplies the KL by the ratio, which is switched off here. The ratios of TRL's corrections are made as its `vllm_importance_sampling_mode`
says, since that code is not a function of its own. A gradient's difference is relative to its norm.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LIMIT = 1e-5
DRIFT, GAP = 0.25, 0.4
"""Standard deviations, in log-probs, of policy against old policy and of sampler against old policy."""
ROLLOUTS = 4
GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden" / "trl.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing that both have: our objective and learner settings, TRL's settings, and its correction."""

    ours: Mapping[str, Any]
    trl: Mapping[str, Any]
    mismatch: Mapping[str, Any] = field(default_factory=dict)
    correction: str = ""
    """TRL's `vllm_importance_sampling_mode`; empty is none."""
    bounds: tuple[float | None, float | None] = (None, None)


CLIPS = {"epsilon": 0.2, "epsilon_high": 0.2}
SEQUENCE = {"importance_sampling_level": "sequence"}
PLAIN = {"name": "dapo", "dynamic_sampling": False, "overlong": 0.0}
CASES: dict[str, Case] = {
    "grpo": Case(ours={"name": "grpo"}, trl={"loss_type": "grpo", **CLIPS}),
    "grpo, KL to the initial policy": Case(
        ours={"name": "grpo", "kl_coef": 0.1},
        trl={"loss_type": "grpo", "beta": 0.1, "use_bias_correction_kl": False, **CLIPS},
    ),
    "grpo, dual clip": Case(ours={"name": "grpo", "dual_clip": 1.3}, trl={"loss_type": "grpo", "delta": 1.3, **CLIPS}),
    "grpo with a token mean (TRL's bnpo)": Case(
        ours={"name": "grpo", "reduction": "token"}, trl={"loss_type": "bnpo", **CLIPS}
    ),
    "dr-grpo": Case(ours={"name": "dr-grpo"}, trl={"loss_type": "dr_grpo", **CLIPS}),
    "dapo": Case(ours=PLAIN, trl={"loss_type": "dapo", "epsilon": 0.2, "epsilon_high": 0.28}),
    "cispo": Case(ours={"name": "cispo"}, trl={"loss_type": "cispo", "epsilon": 0.2, "epsilon_high": 5.0}),
    "sapo": Case(ours={"name": "sapo"}, trl={"loss_type": "sapo", **CLIPS}),
    "gspo": Case(ours={"name": "gspo"}, trl={"loss_type": "grpo", "epsilon": 3e-4, "epsilon_high": 4e-4, **SEQUENCE}),
    "luspo": Case(
        ours={"name": "luspo"}, trl={"loss_type": "luspo", "epsilon": 2e-3, "epsilon_high": 2.5e-3, **SEQUENCE}
    ),
    "vespo": Case(ours={"name": "vespo"}, trl={"loss_type": "vespo", **CLIPS}),
    "vespo, TIS a token": Case(
        ours={"name": "vespo"},
        trl={"loss_type": "vespo", **CLIPS},
        mismatch={"mode": "tis", "cap": 1.5},
        correction="token_truncate",
        bounds=(None, 1.5),
    ),
    "grpo, TIS a token": Case(
        ours={"name": "grpo"},
        trl={"loss_type": "grpo", **CLIPS},
        mismatch={"mode": "tis", "cap": 1.5},
        correction="token_truncate",
        bounds=(None, 1.5),
    ),
    "grpo, TIS a response": Case(
        ours={"name": "grpo"},
        trl={"loss_type": "grpo", **CLIPS},
        mismatch={"mode": "tis", "level": "sequence", "cap": 1.5},
        correction="sequence_truncate",
        bounds=(None, 1.5),
    ),
    "grpo, IcePop a token": Case(
        ours={"name": "grpo"},
        trl={"loss_type": "grpo", **CLIPS},
        mismatch={"mode": "icepop", "low": 0.7, "high": 1.5},
        correction="token_mask",
        bounds=(0.7, 1.5),
    ),
    "grpo, mask a response": Case(
        ours={"name": "grpo"},
        trl={"loss_type": "grpo", **CLIPS},
        mismatch={"mode": "icepop", "level": "sequence", "low": 0.5, "high": 1.5},
        correction="sequence_mask",
        bounds=(0.5, 1.5),
    ),
}


def ours(folder: Path) -> None:
    """Model, batch and our numbers, written to the folder."""
    import torch
    from safetensors.torch import save_file

    from rlzoo.laws.lab import Bench, toy_groups, toy_policy, toy_tokenizer, with_logps
    from rlzoo.types import Group, Rollout

    policy = toy_policy(1, dtype=torch.float32)
    policy.model.save_pretrained(folder / "model")
    toy_tokenizer().save_pretrained(folder / "model")
    noise = torch.Generator().manual_seed(3)
    groups = with_logps(toy_groups(unjudged=False), policy)
    width = Bench({"name": "grpo"}, policy=policy).config.sampling.max_response
    shape = (len(groups) * ROLLOUTS, width)
    drift_BT, gap_BT = (size * torch.randn(shape, generator=noise) for size in (DRIFT, GAP))
    rows = [rollout for group in groups for rollout in group.rollouts]

    def shifted(at: int, rollout: Rollout) -> Rollout:
        shift = (drift_BT + gap_BT)[at].tolist()
        return Rollout(
            **{
                **_fields(rollout),
                "sampler_logps": tuple(a + b for a, b in zip(rollout.sampler_logps, shift, strict=False)),
            }
        )

    numbered = iter(range(len(rows)))
    moved = [Group(problem=g.problem, rollouts=tuple(shifted(next(numbered), r) for r in g.rollouts)) for g in groups]
    told: dict[str, Any] = {}
    tensors: dict[str, torch.Tensor] = {}
    for name, case in CASES.items():
        learner = {"mismatch": dict(case.mismatch), "tokens_per_microbatch": 1 << 20}
        bench = Bench(case.ours, policy=policy, dtype=torch.float32, learner=learner)
        step = bench.step(moved)
        old_BT = (step.batch.sampler_logps_BT - gap_BT) * step.batch.response_mask_BT
        update = bench.update(step, old_logps_BT=old_BT).update
        sums = bench.learner.backward(update, step.needs, step.costs).sums
        told[name] = sum(term.coef * sums[f"loss/{term_name}"] for term_name, term in step.credit.terms.items())
        tensors |= {
            f"{name}/gradient/{leaf.removeprefix('model.')}": parameter.grad.detach().clone()
            for leaf, parameter in policy.named_parameters()
            if parameter.grad is not None
        }
        bench.store.clear()
        tensors[f"{name}/advantages"] = step.credit.advantages_BT.contiguous()
        reference = step.batch.signals.get("reference")
        if reference is not None:
            tensors[f"{name}/reference"] = reference.contiguous()
        tensors["sampler"], tensors["old"] = step.batch.sampler_logps_BT, old_BT
    save_file(tensors, folder / "ours.safetensors")
    lists = {"prompts": [r.prompt_tokens for r in rows], "responses": [r.response_tokens for r in rows]}
    (folder / "ours.json").write_text(json.dumps({"losses": told, "max_response": width, **lists}), encoding="utf-8")


def _fields(rollout: Any) -> dict[str, Any]:
    from dataclasses import fields

    return {each.name: getattr(rollout, each.name) for each in fields(rollout)}


def trl(folder: Path) -> None:
    """TRL's numbers for the same, written to the folder."""
    import torch
    from datasets import Dataset
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    given, tensors = json.loads((folder / "ours.json").read_text()), load_file(folder / "ours.safetensors")
    width, rows = given["max_response"], len(given["prompts"])
    mask_BT = torch.tensor([[t < len(r) for t in range(width)] for r in given["responses"]])
    longest = max(map(len, given["prompts"]))
    inputs: dict[str, Any] = {
        "prompt_ids": torch.tensor([[0] * (longest - len(p)) + p for p in given["prompts"]]),
        "prompt_mask": torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in given["prompts"]]),
        "completion_ids": torch.tensor([r + [0] * (width - len(r)) for r in given["responses"]]),
        "completion_mask": mask_BT.long(),
        "old_per_token_logps": tensors["old"],
        "num_items_in_batch": mask_BT.sum(),
    }
    told: dict[str, float] = {}
    gradients: dict[str, torch.Tensor] = {}
    for name, case in CASES.items():
        settings = GRPOConfig(
            output_dir=str(folder / "trl"),
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=1,
            steps_per_generation=1,
            num_generations=ROLLOUTS,
            max_completion_length=width,
            use_cpu=True,
            bf16=False,
            report_to=[],
            **case.trl,
        )
        trainer = GRPOTrainer(
            model=str(folder / "model"),
            reward_funcs=lambda completions, **more: [0.0] * len(completions),
            args=settings,
            train_dataset=Dataset.from_list([{"prompt": "1"}] * rows),
            processing_class=AutoTokenizer.from_pretrained(folder / "model"),
        )
        trainer.current_gradient_accumulation_steps = 1
        if case.correction:
            trainer.use_vllm = trainer.vllm_importance_sampling_correction = True
            inputs["importance_sampling_ratio"] = correction(tensors, mask_BT, case)
        inputs["advantages"] = tensors[f"{name}/advantages"]
        inputs["ref_per_token_logps"] = tensors.get(f"{name}/reference")
        trainer.model.train()
        loss = trainer._compute_loss(trainer.model, inputs)
        loss.backward()
        told[name] = float(loss.detach())
        gradients |= {
            f"{name}/gradient/{leaf}": parameter.grad.detach().clone()
            for leaf, parameter in trainer.model.named_parameters()
            if parameter.grad is not None
        }
        inputs.pop("importance_sampling_ratio", None)
    save_file(gradients, folder / "trl.safetensors")
    (folder / "trl.json").write_text(json.dumps({"losses": told}), encoding="utf-8")


def correction(tensors: Mapping[str, Any], mask_BT: Any, case: Case) -> Any:
    """The ratio of old policy to sampler as TRL's mode of that name makes it. [B, T] or [B, 1]"""
    import torch

    log_BT = (tensors["old"] - tensors["sampler"]) * mask_BT
    ratio = torch.exp(log_BT.sum(-1, keepdim=True) if case.correction.startswith("sequence") else log_BT)
    low, high = case.bounds
    if case.correction.endswith("truncate"):
        return ratio.clamp(min=low, max=high)
    outside = (ratio < (low if low is not None else -torch.inf)) | (ratio > (high if high is not None else torch.inf))
    return ratio.masked_fill(outside, 0.0)


def compared(folder: Path) -> list[tuple[str, float, float, float]]:
    """By case: our loss, TRL's, and the distance of the gradients over the norm of TRL's."""
    import torch
    from safetensors.torch import load_file

    losses = [json.loads((folder / f"{side}.json").read_text())["losses"] for side in ("ours", "trl")]
    here, there = (load_file(folder / f"{side}.safetensors") for side in ("ours", "trl"))
    found = []
    for name in CASES:
        leaves = [leaf for leaf in there if leaf.startswith(f"{name}/gradient/")]
        if {leaf for leaf in here if leaf.startswith(f"{name}/gradient/")} != set(leaves):
            raise SystemExit(f"error: {name}: the two sides have gradients of different parameters")
        mine, other = (torch.cat([side[leaf].double().reshape(-1) for leaf in leaves]) for side in (here, there))
        found.append((name, losses[0][name], losses[1][name], float((mine - other).norm() / other.norm())))
    return found


def told_in_few(folder: Path, side: str) -> dict[str, dict[str, Any]]:
    """By case: the loss, the gradient's norm, and what it is along four directions drawn by a seed, each of length one."""
    import torch
    from safetensors.torch import load_file

    losses, tensors = (
        json.loads((folder / f"{side}.json").read_text())["losses"],
        load_file(folder / f"{side}.safetensors"),
    )
    found = {}
    for name in CASES:
        leaves = sorted(leaf for leaf in tensors if leaf.startswith(f"{name}/gradient/"))
        gradient = torch.cat([tensors[leaf].double().reshape(-1) for leaf in leaves])
        drawn = torch.randn(4, len(gradient), generator=torch.Generator().manual_seed(11), dtype=torch.float64)
        along = (drawn / drawn.norm(dim=1, keepdim=True)) @ gradient
        found[name] = {"loss": losses[name], "norm": float(gradient.norm()), "along": along.tolist()}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--engine", choices=["rlzoo", "trl"])
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.engine:
        (ours if args.engine == "rlzoo" else trl)(args.folder)
        return 0
    if args.keep:
        GOLDEN.write_text(json.dumps(told_in_few(args.folder, "trl"), indent=1) + "\n", encoding="utf-8")
    rows = compared(args.folder)
    print("| | loss here | loss in TRL | gradients apart |\n|---|---|---|---|")
    for name, here, there, apart in rows:
        print(f"| {name} | {here:.7f} | {there:.7f} | {apart:.1e} |")
    return 1 if any(not apart <= LIMIT for *_, apart in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
