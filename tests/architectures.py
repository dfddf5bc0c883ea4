"""Language models as different makers build them, tiny and with random weights, each with a tokenizer of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING = CHATML + "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
HEADERS = (
    "<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] }}"
    "<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
TURNS = (
    "<bos>{% for m in messages %}<start_of_turn>{{ m['role'] }}\n{{ m['content'] }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
BARS = "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}<|assistant|>\n"
INSTRUCTIONS = "<s>{% for m in messages %}[INST] {{ m['content'] }}[/INST]{% endfor %}"


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """How one model is made. `config` and `model` name classes of transformers."""

    config: str
    model: str
    settings: dict[str, Any] = field(default_factory=dict)
    """Over what all have."""
    specials: Sequence[str] = ()
    end: str
    start: str | None = None
    """Put before any text by the tokenizer."""
    pad: str | None = None
    template: str | None = None
    ends: Sequence[str] = ()
    """Tokens that end a response by generation_config.json, where they are several."""
    beyond: Sequence[str] = ()
    """Special tokens that the tokenizer knows and the model's table does not hold."""
    spare: int = 0
    """Rows of the table that no token stands for."""


_QWEN = {"specials": ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "template": CHATML, "spare": 10}
_SHORT = {"sliding_window": 8}
"""A window shorter than every prompt that is asked."""

TRAINED: dict[str, Architecture] = {
    "llama": Architecture(
        config="LlamaConfig",
        model="LlamaForCausalLM",
        specials=("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|pad|>"),
        start="<|begin_of_text|>",
        end="<|eot_id|>",
        pad="<|pad|>",
        template=HEADERS,
        settings={
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 5e5,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 128,
            }
        },
    ),
    "llama-no-pad": Architecture(
        config="LlamaConfig", model="LlamaForCausalLM", specials=("<s>", "</s>"), start="<s>", end="</s>"
    ),
    "qwen2": Architecture(
        config="Qwen2Config", model="Qwen2ForCausalLM", end="<|im_end|>", pad="<|endoftext|>", **_QWEN
    ),
    "qwen2-two-ends": Architecture(
        config="Qwen2Config",
        model="Qwen2ForCausalLM",
        settings={"tie_word_embeddings": True},
        end="<|endoftext|>",
        pad="<|endoftext|>",
        ends=("<|im_end|>", "<|endoftext|>"),
        **_QWEN,
    ),
    "qwen3": Architecture(
        config="Qwen3Config",
        model="Qwen3ForCausalLM",
        end="<|im_end|>",
        pad="<|endoftext|>",
        **{**_QWEN, "template": THINKING},
    ),
    "qwen3-moe": Architecture(
        config="Qwen3MoeConfig",
        model="Qwen3MoeForCausalLM",
        settings={"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "decoder_sparse_step": 1},
        end="<|im_end|>",
        pad="<|endoftext|>",
        **_QWEN,
    ),
    "gemma3-text": Architecture(
        config="Gemma3TextConfig",
        model="Gemma3ForCausalLM",
        settings={**_SHORT, "layer_types": ["sliding_attention", "full_attention"], "query_pre_attn_scalar": 8},
        specials=("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        start="<bos>",
        end="<eos>",
        pad="<pad>",
        ends=("<eos>", "<end_of_turn>"),
        template=TURNS,
        beyond=("<image_soft_token>",),
    ),
    "phi3": Architecture(
        config="Phi3Config",
        model="Phi3ForCausalLM",
        specials=("<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"),
        end="<|endoftext|>",
        pad="<|endoftext|>",
        ends=("<|end|>", "<|endoftext|>"),
        template=BARS,
    ),
    "mistral-sliding": Architecture(
        config="MistralConfig",
        model="MistralForCausalLM",
        settings=_SHORT,
        specials=("<unk>", "<s>", "</s>", "[INST]", "[/INST]"),
        start="<s>",
        end="</s>",
        template=INSTRUCTIONS,
    ),
    "olmo2": Architecture(
        config="Olmo2Config",
        model="Olmo2ForCausalLM",
        specials=("<|endoftext|>", "<|pad|>"),
        end="<|endoftext|>",
        pad="<|pad|>",
        template="<|endoftext|>{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}\n{% endfor %}<|assistant|>\n",
    ),
    "gpt2": Architecture(
        config="GPT2Config",
        model="GPT2LMHeadModel",
        settings={"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 256},
        specials=("<|endoftext|>",),
        end="<|endoftext|>",
    ),
    "gpt-neox": Architecture(
        config="GPTNeoXConfig",
        model="GPTNeoXForCausalLM",
        specials=("<|endoftext|>", "<|padding|>"),
        end="<|endoftext|>",
        spare=6,
    ),
}
"""Those that are trained, evaluated and resumed."""

_TEXT = {"specials": ("<s>", "</s>"), "end": "</s>"}
REFUSED: dict[str, tuple[Architecture, str]] = {
    "mamba": (
        Architecture(config="MambaConfig", model="MambaForCausalLM", settings={"state_size": 4}, **_TEXT),
        "recurrent state",
    ),
    "rwkv": (
        Architecture(config="RwkvConfig", model="RwkvForCausalLM", settings={"attention_hidden_size": 16}, **_TEXT),
        "recurrent state",
    ),
    "jamba": (
        Architecture(
            config="JambaConfig",
            model="JambaForCausalLM",
            settings={
                "num_experts": 1,
                "attn_layer_period": 2,
                "attn_layer_offset": 1,
                "use_mamba_kernels": False,
                "mamba_d_state": 4,
                "mamba_dt_rank": 4,
            },
            **_TEXT,
        ),
        "recurrent state",
    ),
    "zamba": (
        Architecture(
            config="ZambaConfig",
            model="ZambaForCausalLM",
            settings={
                "attention_hidden_size": 32,
                "attention_head_dim": 16,
                "use_mamba_kernels": False,
                "mamba_d_state": 4,
                "mamba_dt_rank": 4,
                "n_mamba_heads": 1,
                "num_hidden_layers": 4,
                "layers_block_type": ["mamba", "hybrid"] * 2,
            },
            **_TEXT,
        ),
        "recurrent state",
    ),
    "qwen3-next": (
        Architecture(
            config="Qwen3NextConfig",
            model="Qwen3NextForCausalLM",
            settings={
                "layer_types": ["linear_attention", "full_attention"],
                "num_experts": 2,
                "num_experts_per_tok": 1,
                "moe_intermediate_size": 8,
                "shared_expert_intermediate_size": 8,
                "linear_num_key_heads": 2,
                "linear_num_value_heads": 2,
                "linear_key_head_dim": 8,
                "linear_value_head_dim": 8,
            },
            **_TEXT,
        ),
        "recurrent state",
    ),
    "bert": (Architecture(config="BertConfig", model="BertForMaskedLM", **_TEXT), "both sides"),
    "t5": (
        Architecture(
            config="T5Config",
            model="T5ForConditionalGeneration",
            settings={"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2},
            **_TEXT,
        ),
        "encoder",
    ),
    "gemma2-soft-cap": (
        Architecture(
            config="Gemma2Config",
            model="Gemma2ForCausalLM",
            settings={"final_logit_softcapping": 0.01, "query_pre_attn_scalar": 8, "sliding_window": 8},
            **_TEXT,
        ),
        "soft cap",
    ),
}
"""Those that are refused, with a word of the reason."""


def tokenizer_of(made: Architecture) -> Any:
    """Bytes and a few merges, behind the architecture's special tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    merges = [("1", "2"), ("a", "n"), ("Ġ", "t")]
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    vocabulary = {token: number for number, token in enumerate([*made.specials, *pieces, *made.beyond])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, special=True) for token in (*made.specials, *made.beyond)])
    if made.start is not None:
        place = [(made.start, vocabulary[made.start])]
        core.post_processor = processors.TemplateProcessing(
            single=f"{made.start} $A", pair=f"{made.start} $A $B", special_tokens=place
        )
    fast = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=made.end, bos_token=made.start, pad_token=made.pad)
    fast.chat_template = made.template
    return fast


def make(made: Architecture, folder: Path) -> Path:
    """Write model and tokenizer there; the same every time."""
    import torch
    import transformers

    words = tokenizer_of(made)
    torch.manual_seed(0)
    common = {
        "vocab_size": len(words) - len(made.beyond) + made.spare,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    replaced = {name for name in ("head_dim", "num_key_value_heads") if made.config in _WITHOUT.get(name, ())}
    settings = {name: value for name, value in common.items() if name not in replaced} | dict(made.settings)
    build: Callable[..., Any] = getattr(transformers, made.model)
    model = build(getattr(transformers, made.config)(**settings))
    if made.ends:
        model.generation_config.eos_token_id = [words.convert_tokens_to_ids(token) for token in made.ends]
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


_WITHOUT = {
    "head_dim": (
        "Phi3Config",
        "Olmo2Config",
        "GPT2Config",
        "GPTNeoXConfig",
        "RwkvConfig",
        "MambaConfig",
        "BertConfig",
        "T5Config",
    ),
    "num_key_value_heads": ("GPT2Config", "GPTNeoXConfig", "RwkvConfig", "MambaConfig", "BertConfig", "T5Config"),
}
