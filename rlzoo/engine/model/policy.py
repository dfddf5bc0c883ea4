"""The policy: a causal language model whose one forward pass returns what objectives are made of.

The model is called as its makers meant, hooks and all; its output layer is asked for what is wanted of the response tokens and
visits the vocabulary in chunks of them, so `[B, T, V]` never exists and whoever gathers sharded weights around a call is heard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from rlzoo.engine.model.divergence import Match, matched_divergence
from rlzoo.engine.model.logps import token_logps
from rlzoo.engine.model.sequences import Padded, Sequences, pack, pad
from rlzoo.errors import ModelError
from rlzoo.types import Pooling

Ask = Callable[[Tensor, Tensor, Tensor | None], Any]
"""What is wanted of an output layer: hidden states [B, S, H], weight [V, H] and bias in, tensors out."""


class Outputs(NamedTuple):
    """One forward pass. K runs over the rows' response tokens, row after row."""

    logps_K: Tensor
    entropy_K: Tensor
    rows_K: Tensor
    """int64; which row each token belongs to."""
    columns_K: Tensor
    """int64; its position in the response."""
    embeddings_BH: Tensor | None
    hidden_KH: Tensor
    """What predicts each response token, after the final norm: input of token heads and of divergences."""
    divergences: tuple[Tensor, ...] = ()
    """One [K] for each match asked for."""

    def to_padded(self, values_K: Tensor, height: int, width: int) -> Tensor:
        """Per-token values as [B, T] with 0 at padding; differentiable."""
        return values_K.new_zeros(height, width).index_put((self.rows_K, self.columns_K), values_K)


class OutputLayer(nn.Linear):
    """A model's own output layer, which answers what it is asked where the model would compute logits of everything."""

    asked: Ask | None = None

    @classmethod
    def within(cls, model: nn.Module) -> OutputLayer:
        """The output layer of `model`, made able to be asked; its weights, names and ties stay. ModelError if it is no linear layer."""
        layer: Any = cast(Any, model).get_output_embeddings()
        if not isinstance(layer, nn.Linear):
            raise ModelError(
                f"the output layer of {type(model).__name__} is {type(layer).__name__}, and log-probs are computed through a linear one "
                "in chunks of tokens. Use another architecture."
            )
        if not isinstance(layer, cls):
            layer.__class__ = cls
        return cast(OutputLayer, layer)

    def forward(self, input: Tensor) -> Tensor:
        """Logits [B, S, V]; while something is asked, the answer to it."""
        if self.asked is None:
            return super().forward(input)
        answer: Tensor = self.asked(input, self.weight, self.bias)
        return answer

    @contextmanager
    def asking(self, ask: Ask) -> Iterator[None]:
        """Within, a forward pass of the model returns `ask`'s answer as its logits."""
        self.asked = ask
        try:
            yield
        finally:
            self.asked = None


class Policy(nn.Module):
    """A causal language model, asked for log-probs of responses instead of logits of everything."""

    model: Any

    def __init__(
        self, model: nn.Module, *, temperature: float = 1.0, logit_elements: int = 1 << 22, packing: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        OutputLayer.within(model)
        self.temperature = temperature
        self.logit_elements = logit_elements
        self.packing = packing

    @property
    def output(self) -> OutputLayer:
        layer: OutputLayer = self.model.get_output_embeddings()
        return layer

    @property
    def hidden(self) -> int:
        return int(self.output.in_features)

    @property
    def wide(self) -> torch.dtype:
        """The precision of log-probs, embeddings and heads: at least float32."""
        return torch.promote_types(self.output.weight.dtype, torch.float32)

    @property
    def device(self) -> torch.device:
        return self.output.weight.device

    @property
    def num_parameters(self) -> int:
        """Parameters that a token passes through: all of them but a separate input table."""
        total = sum(p.numel() for p in self.model.parameters())
        table = self.model.get_input_embeddings().weight
        return int(total if table is self.output.weight else total - table.numel())

    @property
    def num_frozen(self) -> int:
        """Those of them that are not trained."""
        table = self.model.get_input_embeddings().weight
        beside = None if table is self.output.weight else table
        return sum(p.numel() for p in self.model.parameters() if p is not beside and not p.requires_grad)

    @property
    def chunk(self) -> int:
        """Response tokens whose logits are held at once."""
        return max(1, self.logit_elements // self.output.out_features)

    def forward(
        self, sequences: Sequences, *, pooling: Pooling | None = None, logps: bool = True, matches: Sequence[Match] = ()
    ) -> Outputs:
        """Log-probs [K] and entropy [K] of every response token, embeddings [B, H] and divergences [K] if asked, in one pass.

        Without `logps` the output layer is not visited and those two come back empty.
        """
        rows = self._lay(sequences)
        seen: list[Tensor] = []

        def ask(hidden_BSH: Tensor, weight_VH: Tensor, bias_V: Tensor | None) -> Tensor | tuple[Tensor, ...]:
            hidden_KH = hidden_BSH[rows.lines_K, rows.places_K - 1]
            seen[:] = [hidden_BSH, hidden_KH]
            if not logps:
                return hidden_KH
            told = token_logps(
                hidden_KH, weight_VH, bias_V, rows.targets_K, temperature=self.temperature, chunk=self.chunk
            )
            several = max(1, self.chunk // 4)  # several [K, V] tensors live in one chunk there
            apart = [
                matched_divergence(hidden_KH, weight_VH, bias_V, match, temperature=self.temperature, chunk=several)
                for match in matches
            ]
            return *told, *apart

        deep = pooling is not None and pooling.layer != -1
        with self.output.asking(ask):
            run = self.model(input_ids=rows.ids_LS, use_cache=False, output_hidden_states=deep, **rows.more)
        hidden_BSH, hidden_KH = seen
        nothing = hidden_KH.new_zeros(0)
        logps_K, entropy_K, *divergences = run.logits if logps else (nothing, nothing)
        embeddings_BH = None
        if pooling is not None:
            layer_BSH = run.hidden_states[pooling.layer] if deep else hidden_BSH
            embeddings_BH = _pool(layer_BSH[rows.lines_K, rows.places_K], rows.rows_K, rows.counts_B, pooling)
        return Outputs(logps_K, entropy_K, rows.rows_K, rows.columns_K, embeddings_BH, hidden_KH, tuple(divergences))

    def _lay(self, sequences: Sequences) -> Padded:
        if not self.packing or sequences.model_inputs:  # what else a model takes of a row is not looked at
            return pad(sequences, self.device)
        implementation = str(getattr(self.model.config, "_attn_implementation", None))
        return pack(sequences, self.device, one_line=implementation.startswith("flash"))

    def plain(self) -> Mapping[str, Tensor]:
        """All weights that a run starts from, by the model's own names. Any shape"""
        weights: Mapping[str, Tensor] = self.model.state_dict()
        return weights

    def save(self, folder: Path) -> None:
        """A folder that `from_pretrained` reads."""
        self.model.save_pretrained(folder)

    def last_hidden(self, **inputs: Any) -> Tensor:
        """Hidden states after the final norm at the last position of each row: what `output` turns into logits. [R, H]"""
        with self.output.asking(lambda hidden_RSH, weight_VH, bias_V: hidden_RSH[:, -1]):
            hidden_RH: Tensor = self.model(**inputs).logits
        return hidden_RH


def _pool(states_KH: Tensor, rows_K: Tensor, counts_B: Tensor, pooling: Pooling) -> Tensor:
    """Hidden states at the response tokens' own positions as one vector a row; zero for an empty response. [B, H]"""
    B = len(counts_B)
    if pooling.pool == "mean":
        sums = states_KH.new_zeros(B, states_KH.shape[1]).index_add(0, rows_K, states_KH)
        return sums / counts_B.clamp(min=1)[:, None].to(sums.dtype)
    last = counts_B.cumsum(0) - 1
    return (
        torch.where((counts_B > 0)[:, None], states_KH[last.clamp(min=0)], 0.0)
        if len(states_KH)
        else states_KH.new_zeros(B, states_KH.shape[1])
    )
