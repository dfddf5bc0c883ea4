"""Run folders that no training made, written with the functions that training uses: plausible, small, and seeded."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from rlzoo.runs.comparison import ComparisonSpec, run_name, run_of
from rlzoo.runs.folder import RunDir, append_line, write_json, write_text
from rlzoo.runs.identity import settings_digest, text_digest

DOMAINS = ("maths", "code", "logic")
SETTINGS: dict[str, Any] = {
    "objective": {"name": "grpo", "base": None},
    "model": {"path": "tiny", "dtype": "float32", "jitter": 0.0},
    "data": {"sources": [{"name": name, "weight": 1.0, "options": {}} for name in DOMAINS]},
    "sampling": {"prompts_per_step": 6, "group_size": 4, "temperature": 1.0, "max_response": 48, "stream": 0},
    "learner": {"lr": 1e-4},
    "control": {"reward": "true", "frozen": False},
    "eval": {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "samples": 4},
    "checkpoint": {"keep_best": False},
    "budget": {"steps": 12, "gen_tokens": None},
    "seed": 0,
}
PROVENANCE: dict[str, Any] = {
    "rlzoo": "0.1.0",
    "code": "c0de",
    "python": "3.11.7",
    "libraries": {"torch": "2.13.0"},
    "machine": {"cpu": "c", "threads": 1, "ranks": 1},
    "device": "cpu",
    "sampler": "transformers",
    "initial_weights": "1417",
    "parameters": 866304,
    "tokenizer": "70c",
    "data": "da7a",
    "order": "0rde4",
    "verifiers": "7e41",
    "verdicts": {"maths": {"version": 1, "extraction": "final", "equality": "strict"}},
    "sandbox": "namespaces (seccomp)",
}
SOURCE = "class Grpo:\n    clip = 0.2\n"
"""What an objective's file held, unless said otherwise."""
TEXTS = {"good": "37 + 4 = 41, so the answer is 41", "bad": "I think it is 40"}


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(base)
    for key, value in more.items():
        below = found.get(key)
        found[key] = merged(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return found


def evaluation(step: int, seed: int, skill: Mapping[str, float], noise: int, *, problems: int = 40) -> dict[str, Any]:
    """Each problem has a difficulty; a response is right where skill beats it. Equal skill and noise give equal records."""
    hard, luck = random.Random(99), random.Random(seed * 1000 + noise)
    rows = []
    for domain in skill:
        for i in range(problems):
            difficulty = hard.random()
            right = [difficulty + luck.gauss(0, 0.15) < skill[domain] for _ in range(4)]
            rows.append(
                {
                    "id": f"{domain}/test/1/{i}",
                    "domain": domain,
                    "level": "1",
                    "status": ["correct" if good else "wrong" for good in right],
                    "answers": ["41" if good else "40" for good in right],
                    "tokens": [20] * 4,
                }
            )
    return {
        "step": step,
        "split": "test",
        "samples": 4,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "max_response": 48,
        "seed": seed,
        "suite": "5u17e",
        "problems": rows,
        "time/seconds": 3.0,
    }


def write_run(
    folder: Path,
    *,
    objective: str = "grpo",
    seed: int = 0,
    gain: float | Mapping[str, float] = 0.2,
    start: float | Mapping[str, float] = 0.4,
    steps: int = 12,
    noise: int = 1,
    settings: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    state: str = "done",
    metrics: Mapping[str, float] | None = None,
    texts: Sequence[str] = (),
    diagnostics: bool = False,
    domains: Sequence[str] = DOMAINS,
    rollouts: bool = True,
    code: Sequence[str] = (SOURCE,),
) -> RunDir:
    """A finished run whose skill rises by `gain`; `steps=0` is a run that trains nothing.

    `code`: what the file of its objective held, one text a stretch of its steps.
    """
    run = RunDir(folder)
    gains = dict.fromkeys(domains, gain) if isinstance(gain, (int, float)) else dict(gain)
    starts = dict.fromkeys(domains, start) if isinstance(start, (int, float)) else dict(start)
    config = merged(merged(SETTINGS, {"objective": {"name": objective}, "seed": seed}), settings or {})
    write_text(run.path / "config.yaml", yaml.safe_dump(config, sort_keys=False))
    write_provenance(run, config, code, provenance or {})
    append_line(run.evals_file, evaluation(0, seed, starts, 0))
    shake = random.Random(f"{objective}{seed}")
    for step in range(1, steps + 1):
        done = step / steps
        share = sum(starts[d] + done * gains[d] for d in domains) / len(domains)
        line = {
            "step": step,
            "reward/mean": share + shake.gauss(0, 0.02),
            "correct/mean": share + shake.gauss(0, 0.02),
            "status/correct": share,
            "groups/mixed": 0.6,
            "length/mean": 21.0,
            "policy/entropy": 0.4 - 0.1 * done,
            "trained/kl_old": 1e-4,
            "trained/clipped": 0.01,
            "grad/norm": 0.3,
            "mismatch/kl": 1e-7,
            "cost/prompts": 6.0 * step,
            "cost/rollouts": 24.0 * step,
            "cost/gen_tokens": 480.0 * step,
            "cost/train_tokens": 400.0 * step,
            "cost/extra_tokens": 0.0,
            "cost/flops": 1e9 * step,
            "time/device_seconds": 2.0 * step * (1 + shake.random() / 20),
            **(metrics or {}),
        }
        append_line(run.metrics_file, line)
    if steps:
        ends = {domain: starts[domain] + gains[domain] for domain in domains}
        append_line(run.evals_file, evaluation(steps, seed, ends, noise))
        if rollouts:
            run.write_rollouts(steps, rollout_table(steps, seed, objective, texts, domains))
    if diagnostics:
        write_diagnostics(run, steps, domains, seed)
    run.write_status(state, step=steps, reason="budget.steps is spent" if state == "done" else "killed")
    return run


def write_provenance(run: RunDir, config: Mapping[str, Any], code: Sequence[str], more: Mapping[str, Any]) -> None:
    name = f"zoo.{config['objective']['name']}"
    whole = {**PROVENANCE, "order": f"order-{config['seed']}", "settings": settings_digest(config), **more}
    whole["ran"] = [
        {"after_step": 4 * i, "rlzoo": whole["rlzoo"], "code": whole["code"], "sources": {name: text_digest(text)}}
        for i, text in enumerate(code)
    ]
    write_json(run.path / "provenance.json", whole)
    for text in code:
        write_text(run.path / "code" / f"{name}-{text_digest(text)}.py", text)


def rollout_table(step: int, seed: int, objective: str, texts: Sequence[str], domains: Sequence[str]) -> pa.Table:
    luck = random.Random(int(hashlib.sha256(f"{objective}{seed}".encode()).hexdigest()[:8], 16))
    rows = []
    for group in range(6):
        domain = domains[group % len(domains)]
        for rollout in range(4):
            good = luck.random() < 0.5
            text = texts[(group + rollout) % len(texts)] if texts else TEXTS["good" if good else "bad"]
            pieces = [text[i : i + 5] for i in range(0, len(text), 5)]
            rows.append(
                {
                    "step": step,
                    "problem_id": f"{domain}/train/1/{seed}-{group}",
                    "domain": domain,
                    "level": "1",
                    "group": group,
                    "rollout": rollout,
                    "visit": 0,
                    "prompt_text": f"What is {37 + group} + 4?",
                    "text": text,
                    "tokens": list(range(len(pieces))),
                    "token_texts": pieces,
                    "status": "correct" if good else "wrong",
                    "reason": "the answer is the expected one" if good else "40 is not 41",
                    "extracted": "41" if good else "40",
                    "reward": float(good),
                    "correct": good,
                    "truncated": False,
                    "sampler_logps": [-0.1] * len(pieces),
                    "advantages": [(1.0 if good else -1.0) * (1 + i / 10) for i in range(len(pieces))],
                }
            )
    return pa.Table.from_pylist(rows)


def write_diagnostics(run: RunDir, steps: int, domains: Sequence[str], seed: int) -> None:
    luck = np.random.default_rng(seed)
    for step in (max(1, steps // 2), steps):
        append_line(
            run.path / "diagnostics.jsonl",
            {
                "step": step,
                "interference": {
                    "domains": list(domains),
                    "cosine": [[1.0 if a == b else -0.1 for b in domains] for a in domains],
                    "negative": 3,
                },
                "representations": {"alignment": 0.4 / step, "uniformity": -1.5, "separability": 0.9},
                "drift": {"prompts": 3, "kl": 0.01, "accuracy_before": 1.0, "accuracy_after": 0.9},
                "retention": {"problems": 5, "accuracy": 0.8},
            },
        )
    ids = np.arange(60) % len(domains)
    centres = luck.normal(size=(len(domains), 16))
    target = run.path / "representations" / f"step-{steps:06d}.npz"
    target.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        target,
        embeddings=(centres[ids] + 0.4 * luck.normal(size=(60, 16))).astype(np.float32),
        domain=np.array(domains)[ids],
        correct=luck.random(60) < 0.5,
    )


GAINS = {"grpo": (0.15, 0.16, 0.17), "cepo": (0.30, 0.31, 0.325), "mcpo-mastery": (0.12, 0.22, 0.16)}


def write_comparison(
    folder: Path,
    *,
    gains: Mapping[str, Sequence[float]] | None = None,
    frozen: bool = False,
    **more: Any,
) -> Path:
    """A finished comparison of three arms over three seeds; `more` goes to every run."""
    gains = gains or GAINS
    seeds = range(len(next(iter(gains.values()))))
    arms = [{"name": name, "assignments": [f"objective.name={name}"], "control": False} for name in gains]
    for number, (name, rises) in enumerate(gains.items()):
        for seed, gain in zip(seeds, rises, strict=True):
            write_run(
                folder / "runs" / f"{name}-seed{seed}", objective=name, seed=seed, gain=gain, noise=number + 1, **more
            )
    if frozen:
        arms.append({"name": "frozen", "assignments": ["control.frozen=true"], "control": True})
        for seed in seeds:
            write_run(
                folder / "runs" / f"frozen-seed{seed}", seed=seed, steps=0, settings={"control": {"frozen": True}}
            )
    spec = {
        "sets": [],
        "config": {},
        "threads": 1,
        "jobs": 1,
        "settings": None,
        "arms": arms,
        "baseline": "grpo",
        "seeds": list(seeds),
        "recipe": "quick",
        "margin": 2.0,
        "command": "rlzoo compare grpo cepo mcpo-mastery --seeds 3 --budget steps=12",
        "budget": {"steps": 12},
    }
    write_json(folder / "compare.json", spec)
    return plan(folder)


def plan(folder: Path, **changes: Any) -> Path:
    """Make the comparison one of which exactly the present runs were planned; `changes` go into compare.json too."""
    spec = json.loads((folder / "compare.json").read_text(encoding="utf-8")) | changes
    names = [run_name(arm, seed) for arm in ComparisonSpec.of(spec).names for seed in spec["seeds"]]
    runs = {name: run_of(folder, name) for name in names}
    settings = {name: settings_digest(run.settings()) for name, run in runs.items() if run.exists()}
    write_json(folder / "compare.json", spec | {"settings": settings})
    return folder
