"""Makes the models that ship with rlzoo: from scratch, on worked solutions, in minutes on two cores.

Two stages. `clean` trains on right solutions, and stops early. `flawed` goes on with a share of solutions that carry
one mistake and its consequences: headroom for RL that is the same for every objective. Some sequences show an answer
beforehand, the right one before right solutions and a flawed solution's own before flawed ones, so that contexts
that give an answer away mean something to the model.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from string import ascii_letters, digits, punctuation

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rlzoo.data.privileged import hint, reference_prompt
from rlzoo.data.procedural import Procedural, code, logic, maths
from rlzoo.types import Message, text_of

PAD, END, USER, ASSISTANT, UNKNOWN = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|unk|>"
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|assistant|>' if message.role == 'assistant' else '<|user|>' -}}"
    "{%- if message.content is string -%}{{- message.content -}}"
    "{%- else -%}{%- for part in message.content -%}{{- part.text -}}{%- endfor -%}{%- endif -%}"
    "{%- if message.role == 'assistant' -%}{{- '<|end|>' -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)
IGNORED = -100
"""Label of tokens that carry no loss."""
ROW = 160
"""Tokens of a packed row."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What one stage of training does."""

    steps: int
    lr: float
    """Of matrices."""
    embedding_lr: float
    """Of embeddings and norms."""
    weight_decay: float = 0.1
    """Of matrices. Keeps weights small, so that a step of RL's learning rate means something beside them."""
    flawed_frac: float = 0.0
    batch: int = 32
    warmup: int = 30
    final_lr_frac: float = 0.1
    insert_frac: float = 0.2
    """Share of sequences with an answer between generation header and response."""
    rewrite_frac: float = 0.05
    """Share of sequences whose prompt holds a reference solution; half of them an answer, half a whole working."""
    misled_frac: float = 0.5
    """Share of those two kinds that show a flawed solution's answer before that solution: what is shown then tells the model
    where it leads, wrong answers too."""
    level_weights: tuple[float, ...] = (1.2, 1.2, 1.0, 0.6)
    """How often each level comes up, easiest first, relative to the others."""


CLEAN = Recipe(steps=5000, lr=0.02, embedding_lr=0.01)
FLAWED = Recipe(steps=150, lr=0.003, embedding_lr=0.002, flawed_frac=0.35, insert_frac=0.15)
SOURCES: tuple[Procedural, ...] = (maths(), code(), logic())


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a character: printable ASCII, space and newline. Anything else is unknown."""
    special = [PAD, END, USER, ASSISTANT, UNKNOWN]
    vocabulary = [*special, *f"\n {digits}{ascii_letters}{punctuation}"]
    core = Tokenizer(models.WordLevel({token: index for index, token in enumerate(vocabulary)}, unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        additional_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=512,
    )


def untrained(words: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    """A Qwen3 of about 0.9 M parameters, embeddings tied, in float32."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(words),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,
        initializer_range=0.04,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        dtype="float32",
    )
    return Qwen3ForCausalLM(config)


@dataclass(frozen=True, slots=True)
class Example:
    """One training sequence, as text: loss falls on the response only."""

    messages: tuple[Message, ...]
    inserted: str
    response: str


def example(source: Procedural, index: int, recipe: Recipe, rng: Random) -> Example:
    """The worked solution of a training problem, right or flawed, with or without an answer shown beforehand."""
    problem = source.problem("train", index)
    solution, answer = problem.solution or "", problem.answer or ""
    shown = rng.random()
    told = shown < recipe.insert_frac + recipe.rewrite_frac
    if rng.random() < (recipe.misled_frac if told else recipe.flawed_frac):
        solution, answer = source.flawed("train", index, rng)
    if shown < recipe.insert_frac:
        return Example(problem.messages, hint(answer).text, solution)
    if told:
        reference = rng.choice((answer, solution))
        return Example(reference_prompt(problem, reference).messages, "", solution)
    return Example(problem.messages, "", solution)


def examples(sources: Sequence[Procedural], recipe: Recipe, seed: int) -> Iterator[Example]:
    """Endless; domains in turn."""
    rng = Random(f"warmstart/{seed}")
    while True:
        for source in sources:
            level = rng.choices(range(len(source.levels)), recipe.level_weights[: len(source.levels)])[0]
            yield example(source, rng.randrange(10**9) * len(source.levels) + level, recipe, rng)


@dataclass(frozen=True, slots=True)
class Packed:
    """Several sequences a row, so that a batch holds every kind of problem and hardly any padding."""

    tokens_BT: Tensor
    labels_BT: Tensor
    """The token itself where it belongs to a response, else IGNORED."""
    positions_BT: Tensor
    """Counted from each sequence's own start."""
    visible_B1TT: Tensor
    """bool; True where a token may look: at its own sequence, up to itself."""


def pack(sequences: Sequence[tuple[Sequence[int], Sequence[int]]], pad: int, width: int = ROW) -> Packed:
    """Tokens and labels of each sequence, longest first into the first row with room. A longer one makes rows wider."""
    width = max(width, *(len(tokens) for tokens, _ in sequences))
    rows: list[list[tuple[Sequence[int], Sequence[int]]]] = []
    for sequence in sorted(sequences, key=lambda pair: -len(pair[0])):
        size = len(sequence[0])
        row = next((row for row in rows if sum(len(tokens) for tokens, _ in row) + size <= width), None)
        if row is None:
            rows.append(row := [])
        row.append(sequence)
    tokens_BT = torch.full((len(rows), width), pad)
    labels_BT = torch.full((len(rows), width), IGNORED)
    positions_BT = torch.zeros((len(rows), width), dtype=torch.long)
    owner_BT = torch.zeros((len(rows), width), dtype=torch.long)
    for b, row in enumerate(rows):
        start = 0
        for number, (tokens, labels) in enumerate(row, 1):
            here = slice(start, start + len(tokens))
            tokens_BT[b, here], labels_BT[b, here] = torch.tensor(tokens), torch.tensor(labels)
            positions_BT[b, here], owner_BT[b, here] = torch.arange(len(tokens)), number
            start += len(tokens)
    own_BTT = owner_BT[:, :, None] == owner_BT[:, None, :]
    return Packed(tokens_BT, labels_BT, positions_BT, (own_BTT & torch.ones(width, width).tril().bool())[:, None])


def batches(rows: Iterator[Example], words: PreTrainedTokenizerFast, size: int) -> Iterator[Packed]:
    """Endless batches of `size` sequences."""
    vocabulary = words.get_vocab()

    def encode(row: Example) -> tuple[list[int], list[int]]:
        prompt = words.apply_chat_template(
            [{"role": turn["role"], "content": text_of(turn)} for turn in row.messages],
            add_generation_prompt=True,
            return_dict=False,
        )
        prompt = [*prompt, *(vocabulary[character] for character in row.inserted)]
        response = [*(vocabulary[character] for character in row.response), vocabulary[END]]
        return [*prompt, *response], [*[IGNORED] * len(prompt), *response]

    while True:
        yield pack([encode(next(rows)) for _ in range(size)], vocabulary[PAD])


def response_loss(model: Qwen3ForCausalLM, packed: Packed) -> Tensor:
    """Mean cross-entropy over response tokens. Scalar. The first token of a row, and of a sequence, is never one."""
    hidden_BTH = model.model(
        input_ids=packed.tokens_BT, attention_mask=packed.visible_B1TT, position_ids=packed.positions_BT
    ).last_hidden_state[:, :-1]
    targets_BT = packed.labels_BT[:, 1:]
    loss_mask_BT = targets_BT != IGNORED
    return nn.functional.cross_entropy(model.lm_head(hidden_BTH[loss_mask_BT]), targets_BT[loss_mask_BT])


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix is made orthogonal before each update (Newton-Schulz), in float32.

    Scaled to the step size of AdamW (arXiv:2502.16982). torch's own works in bfloat16, which is slow and coarse on
    processors without it.
    """

    def __init__(
        self, matrices: Sequence[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[tuple[nn.Parameter, Tensor]]] = {}
            for weight in group["params"]:
                state = self.state[weight]
                if not state:
                    state["average"] = torch.zeros_like(weight)
                state["average"].lerp_(weight.grad, 1 - group["momentum"])
                wanted = weight.grad.lerp(state["average"], group["momentum"])
                by_shape.setdefault(tuple(weight.shape), []).append((weight, wanted))
            for (rows, columns), pairs in by_shape.items():
                for (weight, _), update in zip(pairs, _orthogonal([wanted for _, wanted in pairs]), strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.sub_(update, alpha=group["lr"] * 0.2 * max(rows, columns) ** 0.5)


def _orthogonal(matrices: Sequence[Tensor]) -> Tensor:
    """Nearly the closest orthogonal matrices, for a stack of one shape. Five quintic Newton-Schulz iterations."""
    stack = torch.stack(list(matrices))
    tall = stack.shape[1] > stack.shape[2]
    stack = stack.mT if tall else stack
    stack = stack / (stack.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = stack @ stack.mT
        stack = 3.4445 * stack + (-4.7750 * gram + 2.0315 * gram @ gram) @ stack
    turned: Tensor = stack.mT if tall else stack
    return turned


def train(
    model: Qwen3ForCausalLM,
    words: PreTrainedTokenizerFast,
    sources: Sequence[Procedural],
    recipe: Recipe,
    seed: int,
    report: Callable[[str], None] = lambda _: None,
) -> None:
    """Next-token loss on responses, in place. Muon for matrices, AdamW for the rest; linear warm-up and decay."""
    named = list(model.named_parameters())
    matrices = [weight for name, weight in named if weight.ndim == 2 and "embed" not in name]
    others = [weight for name, weight in named if weight.ndim != 2 or "embed" in name]
    optimizers = [
        Muon(matrices, recipe.lr, weight_decay=recipe.weight_decay),
        torch.optim.AdamW(others, lr=recipe.embedding_lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]

    def factor(step: int) -> float:
        left = 1 - step / recipe.steps
        return min((step + 1) / recipe.warmup, recipe.final_lr_frac + (1 - recipe.final_lr_frac) * left)

    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, factor) for optimizer in optimizers]
    model.train()
    stream = batches(examples(sources, recipe, seed), words, recipe.batch)
    for step in range(recipe.steps):
        loss = response_loss(model, next(stream))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
        if step % 50 == 0 or step == recipe.steps - 1:
            report(f"step {step + 1}/{recipe.steps}  loss {loss.item():.3f}")
    model.eval()


def save(model: Qwen3ForCausalLM, words: PreTrainedTokenizerFast, folder: Path) -> None:
    """A plain `save_pretrained` folder that AutoModelForCausalLM, AutoTokenizer and vLLM load as it is."""
    model.save_pretrained(folder)
    words.save_pretrained(folder, save_jinja_files=False)
    # Else AutoTokenizer goes by the model's type and builds Qwen's own byte-level tokenizer around our vocabulary.
    settings = folder / "tokenizer_config.json"
    config = json.loads(settings.read_text())
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings.write_text(json.dumps(config, indent=2) + "\n")
    for file in folder.iterdir():
        file.chmod(0o644)


def warmstart(
    out: str | Path,
    *,
    seed: int = 0,
    clean: Recipe = CLEAN,
    flawed: Recipe = FLAWED,
    sources: Sequence[Procedural] = SOURCES,
    report: Callable[[str], None] = lambda _: None,
) -> None:
    """Makes `out/tiny-clean` and `out/tiny`. Seeded; equal runs on one machine and thread count give equal weights."""
    # Late in training many gradients are too small for a normal float, which slows a processor tenfold.
    torch.set_flush_denormal(True)
    words = tokenizer()
    model = untrained(words, seed)
    for name, recipe, stage in (("tiny-clean", clean, 2 * seed), ("tiny", flawed, 2 * seed + 1)):
        report(f"{name}: {recipe.steps} steps of {recipe.batch} sequences")
        train(model, words, sources, recipe, stage, report)
        save(model, words, Path(out) / name)
