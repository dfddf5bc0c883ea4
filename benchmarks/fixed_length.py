"""One GRPO step of a 5 M-parameter model, 256 rollouts of exactly 70 tokens, in this package or in TRL.

    python -m benchmarks.fixed_length --engine rlzoo          here
    python -m benchmarks.fixed_length --engine trl            in an environment of its own with trl==1.16.0

Both sample 16 prompts x 16 rollouts, make one update in micro-batches of `--rows`, in float32, with random rewards. No
response ends early: here no token ends one, and TRL is told not to. Prints every step's seconds after two of warm-up, their median, and peak resident memory.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import string
import tempfile
import time
from pathlib import Path
from typing import Any

PROMPTS, GROUP, TOKENS = 16, 16, 70
PROMPT = "12+34*56-78=?abc"


def make_model(folder: Path) -> None:
    """A random Qwen2 of 5 M parameters and a character tokenizer."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    characters = ["<pad>", "<unk>", *string.printable[:94]]
    vocabulary = {token: i for i, token in enumerate([*characters, "</s>"])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(vocabulary),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=len(characters),
        pad_token_id=0,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)


def run_rlzoo(folder: Path, steps: int, rows_at_once: int) -> list[float]:
    from rlzoo import configure
    from rlzoo.engine.sampling import transformers
    from rlzoo.engine.trainer import train
    from rlzoo.runs.folder import RunDir

    nothing_ends: Any = lambda *_: (-1,)  # noqa: E731
    vars(transformers)["end_tokens"] = nothing_ends  # whatever is sampled, a response goes on

    rows = [{"prompt": PROMPT, "answer": "1", "domain": "maths", "verifier": "maths"} for _ in range(40)]
    for i, row in enumerate(rows):
        row["prompt"] = f"{i:02d}{PROMPT[2:]}"
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = configure.load(
        algo="grpo",
        assignments=[
            f"budget.steps={steps}",
            f"model.path={folder}",
            f"data.sources=[{{name: file, options: {{path: {folder / 'rows.jsonl'}}}}}]",
            f"sampling={{prompts_per_step: {PROMPTS}, group_size: {GROUP}, max_response: {TOKENS}}}",
            f"learner={{updates_per_step: 1, skip: false, tokens_per_microbatch: {rows_at_once * (len(PROMPT) + TOKENS)}}}",
            "control.reward=random",
            "eval={at_start: false, at_end: false, curve: 0}",
            "checkpoint.every=0",
            "log.rollouts_every=0",
        ],
    )
    train(config, folder / "run")
    return [line["time/step"] for line in RunDir(folder / "run").metrics()]


def run_trl(folder: Path, steps: int, rows_at_once: int) -> list[float]:
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc, unused-ignore]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    chance = random.Random(0)
    arguments = GRPOConfig(
        output_dir=str(folder / "trl"),
        max_steps=steps,
        per_device_train_batch_size=rows_at_once,
        gradient_accumulation_steps=PROMPTS * GROUP // rows_at_once,
        num_generations=GROUP,
        max_completion_length=TOKENS,
        learning_rate=1e-4,
        beta=0.0,
        loss_type="grpo",
        temperature=1.0,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        generation_kwargs={"min_new_tokens": TOKENS},
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
    return [end - before for before, end in zip([started, *ends], ends, strict=False)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=["rlzoo", "trl"], required=True)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--rows", type=int, default=32, help="of a micro-batch")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder)
        seconds = (run_rlzoo if given.engine == "rlzoo" else run_trl)(folder, given.steps, given.rows)[2:]
    result = {
        "engine": given.engine,
        "rows": given.rows,
        "seconds": [round(s, 3) for s in seconds],
        "median": sorted(seconds)[len(seconds) // 2],
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
