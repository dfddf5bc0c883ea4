"""A laboratory: a tiny random policy and invented rollouts, wired to the real scorer and learner.

Contract checks and tests run an objective here exactly as a run would, in milliseconds and in any precision.
"""

from __future__ import annotations

import random
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing import connection
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessRaisedException
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from rlzoo import registry
from rlzoo.config import RunConfig
from rlzoo.configure import merge, validate
from rlzoo.engine.learning.batch import build_batch
from rlzoo.engine.learning.in_batch import InBatch, with_in_batch
from rlzoo.engine.learning.learner import Learner
from rlzoo.engine.learning.optimizer import adamw
from rlzoo.engine.learning.update import build_update
from rlzoo.engine.model.copies import PolicyCopies
from rlzoo.engine.model.heads import Heads
from rlzoo.engine.model.lora import AdaptedPolicy
from rlzoo.engine.model.passes import score
from rlzoo.engine.model.policy import Policy
from rlzoo.engine.model.rendering import Renderer
from rlzoo.engine.model.room import PromptLimit
from rlzoo.engine.model.sequences import sequences_of
from rlzoo.engine.model.weights.adapted import Adapted
from rlzoo.engine.model.weights.base import WeightStore
from rlzoo.engine.model.weights.holding import hold
from rlzoo.engine.model.weights.replicated import Replicated
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.scorer import Scorer
from rlzoo.engine.step import Step
from rlzoo.objective import Objective, ObjectiveConfig, checked_needs
from rlzoo.types import Credit, Group, Problem, Rollout, Status, Verdict
from rlzoo.verifiers.starting import worker_context

ALPHABET = "0123456789+-=# "
DOMAINS = ("maths", "code", "logic")


def toy_tokenizer() -> Any:
    """One character, one token; `</s>` ends and `<pad>` pads."""
    vocabulary = {token: i for i, token in enumerate(["<pad>", "</s>", "<unk>", *ALPHABET])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


def toy_policy(
    seed: int = 0, *, dtype: torch.dtype = torch.float64, logit_elements: int = 1 << 22, hidden: int = 16
) -> Policy:
    """A random two-layer model over the toy vocabulary; large weights, so that gradients are far from zero."""
    config = Qwen2Config(
        vocab_size=len(ALPHABET) + 3,
        hidden_size=hidden,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        initializer_range=0.3,
        pad_token_id=0,
        eos_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = Qwen2ForCausalLM(config)
    for name, module in list(model.named_modules()):
        if type(module).__name__ == "Qwen2RMSNorm":  # the library's own norm rounds to float32 whatever the weights are
            model.set_submodule(name, nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps))
    model = model.to(dtype)
    return Policy(model, logit_elements=logit_elements).eval()


def toy_config(objective: ObjectiveConfig | Mapping[str, Any] | str, **changes: Any) -> RunConfig:
    """Settings of a toy step: 6 prompts of 4 rollouts, two updates; `changes` by part, for example `learner={...}`."""
    section = {"name": objective} if isinstance(objective, str) else objective
    base: dict[str, Any] = {
        "objective": section if isinstance(section, Mapping) else section.model_dump(),
        "model": {"dtype": "float64", "device": "cpu"},
        "data": {"sources": [{"name": name} for name in DOMAINS]},
        "sampling": {"prompts_per_step": 6, "group_size": 4, "max_response": 8},
        "learner": {"updates_per_step": 2, "lr": 1e-3},
        "budget": {"steps": 10},
    }
    return validate(merge(base, changes))


def toy_groups(
    seed: int = 0,
    *,
    prompts: int = 6,
    rollouts: int = 4,
    max_response: int = 8,
    unjudged: bool = True,
    policy: Policy | None = None,
) -> list[Group]:
    """Invented groups over three domains: mixed ones, one all correct, one all wrong, ragged lengths, an unjudged rollout.

    Sampler log-probs are the policy's own where one is given, else invented.
    """
    chance = random.Random(seed)
    tokenizer = toy_tokenizer()
    groups = []
    for p in range(prompts):
        rate = {0: 1.0, 1: 0.0}.get(p, 0.5)
        question = "".join(chance.choice(ALPHABET) for _ in range(chance.randint(2, 6)))
        answer = str(chance.randint(0, 9))
        made = []
        for i in range(rollouts):
            correct = chance.random() < rate if p in (0, 1) else i % 2 == p % 2 or chance.random() < 0.2
            text = "".join(chance.choice(ALPHABET) for _ in range(chance.randint(0, max_response - 2)))
            extracted = answer if correct else str((int(answer) + chance.randint(1, 8)) % 10)
            text = f"{text}#{extracted}"[-(max_response - 1) :]
            tokens = (*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id)
            status: Status = "error" if unjudged and p == 2 and i == rollouts - 1 else "correct" if correct else "wrong"
            verdict = Verdict(status=status, reason="invented", reward=float(status == "correct"), extracted=extracted)
            made.append(
                Rollout(
                    prompt_tokens=tuple(tokenizer.encode(question, add_special_tokens=False)),
                    response_tokens=tokens,
                    sampler_logps=tuple(-chance.random() for _ in tokens),
                    text=text,
                    truncated=False,
                    verdict=verdict,
                )
            )
        problem = Problem(
            id=f"toy-{seed}-{p}",
            domain=DOMAINS[p % len(DOMAINS)],
            messages=({"role": "user", "content": question},),
            verifier="maths",
            answer=answer,
            solution=f"#{answer}",
        )
        groups.append(Group(problem=problem, rollouts=tuple(made)))
    return groups if policy is None else with_logps(groups, policy)


def with_logps(groups: Sequence[Group], policy: Policy) -> list[Group]:
    """The groups with the policy's own log-probs as the sampler's."""
    sequences = sequences_of(groups)
    scores = score(Replicated(policy), sequences, width=sequences.width, budget=4096)
    values = iter(scores.logps_BT.tolist())
    return [
        replace(
            g,
            rollouts=tuple(replace(r, sampler_logps=tuple(next(values)[: len(r.response_tokens)])) for r in g.rollouts),
        )
        for g in groups
    ]


def frozen(policy: Policy) -> Replicated:
    """Weights that are not trained."""
    return Replicated(policy.requires_grad_(False))


class Bench:
    """An objective on the toy policy, with the real scorer and learner."""

    def __init__(
        self,
        objective: Objective[Any] | str | Mapping[str, Any],
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        ranks: Ranks | None = None,
        policy: Policy | None = None,
        logit_elements: int = 1 << 22,
        **changes: Any,
    ) -> None:
        if isinstance(objective, Objective):
            self.objective, section = objective, objective.config
            self.config = toy_config("grpo", **changes).model_copy(update={"objective": section})
        else:
            self.config = toy_config(objective, **changes)
            self.objective = registry.build_objective(self.config.objective)
        self.policy = policy or toy_policy(seed, dtype=dtype, logit_elements=logit_elements)
        self.policy.packing = self.config.learner.packing
        self.ranks = ranks or Ranks()
        holding = partial(hold, settings=self.config.learner, ranks=self.ranks)
        make = partial(adamw, settings=self.config.learner)
        self.store: WeightStore = (
            Adapted(self.policy, optimizer=make, ranks=self.ranks)
            if isinstance(self.policy, AdaptedPolicy)
            else holding(self.policy, optimizer=make)
        )
        self.heads = Heads(
            self.objective,
            self.store.hidden,
            device=self.store.device,
            dtype=self.store.wide,
            seed=self.config.seed,
            ranks=self.ranks,
        )
        initial = (
            self.store.initial
            if isinstance(self.store, Adapted)
            else lambda: holding(toy_policy(seed, dtype=dtype), optimizer=None)
        )
        copies = PolicyCopies(self.store, initial, lambda other: frozen(toy_policy(seed + 1, dtype=dtype)))
        self.renderer = Renderer(toy_tokenizer(), PromptLimit(tokens=128))
        self.scorer = Scorer(
            copies, self.renderer, self.objective, self.heads, self.ranks, budget=256, packed=self.policy.packing
        )
        self.learner = Learner(self.config, self.ranks, self.scorer)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Of the policy, then of the heads, in the order of `gradient`."""
        return [*self.policy.parameters(), *self.heads.parameters()]

    def step(self, groups: Sequence[Group], number: int = 1) -> Step:
        """Score the groups and assign credit."""
        step = self.score(groups, number)
        return replace(step, credit=self.objective.assign_credit(step.batch))

    def score(self, groups: Sequence[Group], number: int = 1) -> Step:
        """The groups as the objective will see them, before it does."""
        batch = build_batch(
            groups,
            domains=DOMAINS,
            max_response=self.config.sampling.max_response,
            step=number,
            total_steps=10,
            dtype=self.store.wide,
        )
        step = Step(
            number=number,
            needs=checked_needs(self.objective, number),
            groups=groups,
            batch=batch,
            sequences=sequences_of(groups),
            credit=Credit.nothing(batch.sampler_logps_BT),
        )
        return self.scorer.score(step)

    def update(self, step: Step, index_N: Tensor | None = None, old_logps_BT: Tensor | None = None) -> InBatch:
        """An update of the rows at `index_N` (all by default), in-batch losses included."""
        chosen_N = torch.arange(len(step.sequences)) if index_N is None else index_N
        update = build_update(step, chosen_N, old_logps_BT)
        return with_in_batch(update, step.needs, self.scorer, step.costs, fresh=True)

    def gradient(self, step: Step, index_N: Tensor | None = None, old_logps_BT: Tensor | None = None) -> Tensor:
        """The gradient of one update over all parameters, heads included, as one vector. [parameters] float64"""
        paired = self.update(step, index_N, old_logps_BT)
        self.learner.backward(paired.update, step.needs, step.costs)
        heads = [p.grad.reshape(-1).double() for p in self.heads.parameters() if p.grad is not None]
        vector = torch.cat([self.store.gradient(), *heads])
        self.store.clear()
        self.heads.clear()
        return vector


def relative_difference(one: Tensor, other: Tensor) -> float:
    """|one - other| / |other|, 0 where both are zero."""
    scale = float(other.norm())
    return float((one - other).norm()) / scale if scale else float(one.norm())


def gradient_on_ranks(
    section: str | Mapping[str, Any],
    *,
    world: int = 2,
    seed: int = 0,
    groups_seed: int = 0,
    only_first: bool = False,
    **changes: Any,
) -> Tensor:
    """`Bench.gradient` of a whole step, computed by `world` processes over gloo; the first rank's. [parameters]

    `only_first`: keep only one row active, so that every other rank has nothing of its own to do.
    """
    with tempfile.TemporaryDirectory() as folder:
        _run_ranks(world, Path(folder), section, seed, groups_seed, only_first, changes)
        gradient: Tensor = torch.load(f"{folder}/gradient.pt", weights_only=True)
    return gradient


def _run_ranks(world: int, folder: Path, *args: Any) -> None:
    """`_rank` in so many processes, all ended when the first has failed.

    Raises: ProcessRaisedException, its text that rank's traceback.
    """
    context: Any = worker_context([__name__, Qwen2ForCausalLM.__module__])
    processes = [
        context.Process(target=_told, args=(rank, world, folder, *args), name=f"rank {rank}", daemon=True)
        for rank in range(world)
    ]
    try:
        for process in processes:
            process.start()
        waiting = {process.sentinel: process for process in processes}
        while waiting:
            ended = [waiting.pop(sentinel) for sentinel in connection.wait(list(waiting))]
            for process in ended:
                process.join()
            if any(process.exitcode for process in ended):
                raise _fault(processes, folder)
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
                process.join()


def _fault(processes: Sequence[Any], folder: Path) -> ProcessRaisedException:
    """What went wrong first, a rank that ended without a word or the first to tell: others then fail for want of it."""
    faults = {int(path.name.removeprefix("fault-")): path for path in folder.glob("fault-*")}
    silent = [rank for rank, process in enumerate(processes) if process.exitcode and rank not in faults]
    if silent:
        rank = silent[0]
        text = f"rank {rank} ended with exit code {processes[rank].exitcode}"
    else:
        rank = min(faults, key=lambda rank: faults[rank].stat().st_mtime_ns)
        text = faults[rank].read_text(encoding="utf-8")
    return ProcessRaisedException(text, rank, processes[rank].pid)


def _told(rank: int, world: int, folder: Path, *args: Any) -> None:
    """`_rank`, its traceback left in a file."""
    try:
        _rank(rank, world, folder, *args)
    except BaseException:
        (folder / f"fault-{rank}").write_text(traceback.format_exc(), encoding="utf-8")
        raise SystemExit(1) from None


def _rank(
    rank: int,
    world: int,
    folder: Path,
    section: Any,
    seed: int,
    groups_seed: int,
    only_first: bool,
    changes: Mapping[str, Any],
) -> None:
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    bench = Bench(section, seed=seed, ranks=Ranks(rank, world), **changes)
    step = bench.step(toy_groups(groups_seed, policy=toy_policy(seed)))
    if only_first:
        step = one_active_row(step)
    gradient = bench.gradient(step)
    if rank == 0:
        torch.save(gradient, f"{folder}/gradient.pt")
    dist.barrier()
    dist.destroy_process_group()


def one_active_row(step: Step) -> Step:
    """The step with every term's scale zero but for one row."""
    row = int((step.credit.advantages_BT != 0).any(1).nonzero()[0])
    terms = {}
    for name, term in step.credit.terms.items():
        loss_weight_BT = torch.zeros_like(term.loss_weight_BT)
        loss_weight_BT[row] = term.loss_weight_BT[row]
        terms[name] = replace(term, loss_weight_BT=loss_weight_BT)
    return replace(step, credit=replace(step.credit, terms=terms))
