"""What one CUDA device does in a GRPO step of models of 0.5 and 1.5 G parameters with random weights, in under 8 minutes.

    python -m benchmarks.gpu                           both shapes: as they are, packed, and with adapters where peft is installed
    python -m benchmarks.gpu --trl-python ENV/bin/python      TRL beside it, in an environment of its own with trl==1.16.0
    python -m benchmarks.gpu --dry                     the same path on a CPU with a tiny shape, in under a minute

Shapes are those of Qwen2.5. A token ends its response with a chance of one in 151,936, so nearly all are whole. Each arm is a process of
its own and prints a line of JSON: medians over its steps after two of warm-up. `mfu` is 2 x parameters a sampled or scored token and
6 x a trained one (4 x below adapters), over the seconds of its stage and over what a large product of the same precision reaches here.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import string
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_QWEN = {"vocab_size": 151_936, "num_key_value_heads": 2, "tie_word_embeddings": True}
SHAPES: dict[str, dict[str, Any]] = {
    "0.5B": {
        **_QWEN,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
    },
    "1.5B": {
        **_QWEN,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
    },
    "dry": {
        **_QWEN,
        "vocab_size": 500,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    },
}
ARMS: dict[str, tuple[str, ...]] = {
    "full": (),
    "packed": ("learner.packing=true",),
    "lora": ("lora.rank=32",),
}
"""What differs between arms, as settings."""
PROMPT = "12+34*56-78=?abc"
WARM_UP = 2
STEP = {"prompts": 16, "group": 8, "tokens": 512}
DRY = {"prompts": 2, "group": 2, "tokens": 8}


def device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def ceiling(dtype: str) -> float:
    """FLOP/s of a large product in `dtype` here, the best of five."""
    import torch

    size = 8192 if device() == "cuda" else 512
    a = torch.randn(size, size, device=device(), dtype=getattr(torch, dtype))
    best = 0.0
    for _ in range(5):
        _wait()
        started = time.perf_counter()
        a @ a
        _wait()
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best


def _wait() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_mb() -> float:
    """Of this process: on the device, or resident where there is none."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make_model(folder: Path, shape: str, dtype: str) -> None:
    """Random weights of a shape, and a character tokenizer whose end token is the last of the table."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    rows = SHAPES[shape]["vocab_size"]
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<unk>", *string.printable[:94]])} | {"</s>": rows - 1}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(**SHAPES[shape], bos_token_id=None, eos_token_id=rows - 1, pad_token_id=0)
    with torch.device(device()):
        Qwen2ForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(folder)


def run_rlzoo(folder: Path, steps: int, size: dict[str, int], dtype: str, settings: tuple[str, ...]) -> dict[str, Any]:
    """Steps as a run makes them, without a checkpoint at the end."""
    from rlzoo import configure, registry
    from rlzoo.engine.opening import open_folder, open_parts
    from rlzoo.engine.plan import make_plan
    from rlzoo.engine.ranks import Ranks
    from rlzoo.engine.reporting import Silent
    from rlzoo.engine.supply import build_supply
    from rlzoo.engine.trainer import Trainer
    from rlzoo.runs.folder import RunDir
    from rlzoo.runs.lock import FolderLock

    rows = [
        {"prompt": f"{i:02d}{PROMPT[2:]}", "answer": "1", "domain": "maths", "verifier": "maths"} for i in range(40)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = configure.load(
        algo="grpo",
        assignments=[
            f"budget.steps={steps}",
            f"model={{path: {folder}, dtype: {dtype}}}",
            f"data.sources=[{{name: file, options: {{path: {folder / 'rows.jsonl'}}}}}]",
            f"sampling={{prompts_per_step: {size['prompts']}, group_size: {size['group']}, max_response: {size['tokens']}}}",
            "learner={updates_per_step: 1, skip: false, tokens_per_microbatch: 16384, logit_elements: 67108864}",
            "control.reward=random",
            "eval={at_start: false, at_end: false, curve: 0}",
            "checkpoint.every=0",
            "log.rollouts_every=0",
            *settings,
        ],
    )
    run = RunDir(folder / "run")
    objective, supply = registry.build_objective(config.objective), build_supply(config)
    plan = make_plan(config, objective, supply)
    with ExitStack() as stack:
        lock = stack.enter_context(FolderLock(run.path))
        open_folder(run, config, lock, resume=False, overwrite=False, claim=lambda: None)
        trainer = Trainer(open_parts(config, run, plan, supply, objective, Ranks(), Silent(), stack))
        for _ in range(steps):
            trainer.step()
            _wait()
        parameters, frozen = trainer.spent.parameters, trainer.spent.frozen
    lines = run.metrics()[min(WARM_UP, steps - 1) :]
    generated = size["prompts"] * size["group"] * size["tokens"]
    trained = generated + size["prompts"] * size["group"] * len(PROMPT)

    def median(name: str) -> float:
        values = sorted(float(line.get(name, 0.0)) for line in lines)
        return values[len(values) // 2]

    best, sample, update = ceiling(dtype), median("time/sample"), median("time/update")
    return {
        "parameters": parameters,
        "seconds_a_step": median("time/step"),
        "sampled_tokens_per_s": generated / sample,
        "trained_tokens_per_s": trained / update,
        "sampling_mfu": 2.0 * parameters * generated / sample / best,
        "training_mfu": (6.0 * parameters - 2.0 * frozen) * trained / update / best,
        "ceiling_tflops": best / 1e12,
        "peak_mb": peak_mb(),
    }


def run_trl(folder: Path, steps: int, size: dict[str, int], dtype: str) -> dict[str, Any]:
    """The same step in TRL, which decodes with transformers."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc, unused-ignore]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            _wait()
            ends.append(time.perf_counter())

    chance, rows = random.Random(0), size["prompts"] * size["group"]
    at_once = min(rows, max(1, 16384 // (len(PROMPT) + size["tokens"])))
    while rows % at_once:
        at_once -= 1
    arguments = GRPOConfig(
        output_dir=str(folder / "trl"),
        max_steps=steps,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=rows // at_once,
        num_generations=size["group"],
        max_completion_length=size["tokens"],
        learning_rate=1e-6,
        beta=0.0,
        loss_type="grpo",
        use_cpu=device() == "cpu",
        bf16=dtype == "bfloat16",
        gradient_checkpointing=False,
        save_strategy="no",
        report_to=[],
        logging_steps=1000,
    )
    trainer = GRPOTrainer(
        model=str(folder),
        reward_funcs=lambda completions, **_: [float(chance.random() < 0.5) for _ in completions],
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": f"{i:02d}{PROMPT[2:]}"} for i in range(40)] * 20),
        callbacks=[Clock()],
    )
    started = time.perf_counter()
    trainer.train()
    seconds = sorted(
        [end - before for before, end in zip([started, *ends], ends, strict=False)][min(WARM_UP, steps - 1) :]
    )
    return {"seconds_a_step": seconds[len(seconds) // 2], "peak_mb": peak_mb()}


def one(arm: str, shape: str, steps: int) -> dict[str, Any]:
    """One arm, in this process."""
    dtype, size = ("bfloat16", STEP) if device() == "cuda" else ("float32", DRY)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder, shape, dtype)
        if arm == "trl":
            found = run_trl(folder, steps, size, dtype)
        else:
            found = run_rlzoo(folder, steps, size, dtype, ARMS[arm])
    return {"arm": arm, "shape": shape, "device": device(), "dtype": dtype, **size, **found}


def plan(*, dry: bool, trl: bool) -> list[tuple[str, str]]:
    """Arms and shapes, the dearest last."""
    arms = [arm for arm in ARMS if arm != "lora" or find_spec("peft") is not None] + (["trl"] if trl else [])
    return [(arm, shape) for shape in (["dry"] if dry else ["0.5B", "1.5B"]) for arm in arms]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", action="store_true", help="a tiny shape on the CPU")
    parser.add_argument("--steps", type=int, default=6, help="of each arm, two of warm-up among them")
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="arms that have not ended by then are left out, by name"
    )
    parser.add_argument("--trl-python", help="the Python of an environment with TRL")
    parser.add_argument("--arm", choices=[*ARMS, "trl"], help=argparse.SUPPRESS)
    parser.add_argument("--shape", choices=list(SHAPES), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.arm:
        print(json.dumps(one(given.arm, given.shape, given.steps)))
        return 0
    if not given.dry and device() == "cpu":
        print("error: torch sees no CUDA device here. --dry runs the same path on a CPU.", file=sys.stderr)
        return 2
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""} if given.dry else dict(os.environ)
    deadline, failed = time.monotonic() + 60 * given.minutes, 0
    for arm, shape in plan(dry=given.dry, trl=given.trl_python is not None):
        python = given.trl_python if arm == "trl" else sys.executable
        command = [python, __file__, "--arm", arm, "--shape", shape, "--steps", str(2 if given.dry else given.steps)]
        try:
            left = max(1.0, deadline - time.monotonic())
            done = subprocess.run(command, timeout=left, stdout=subprocess.PIPE, env=environment, check=False)
            failed += done.returncode != 0
            print(done.stdout.decode().strip().splitlines()[-1] if done.returncode == 0 else f"{arm} {shape}: failed")
        except subprocess.TimeoutExpired:
            failed += 1
            print(f"{arm} {shape}: left out, since {given.minutes:g} minutes are over")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
