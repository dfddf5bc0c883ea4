"""Other models that an objective asks: refused before the policy is loaded where they cannot read what it writes."""

from __future__ import annotations

from collections.abc import Mapping

from rlzoo.config import RunConfig
from rlzoo.engine.model.copies import PolicyCopies
from rlzoo.engine.model.loading import (
    architecture_of,
    flash_attention,
    load_tokenizer,
    locate,
    settings_of,
    weights_hash,
)
from rlzoo.engine.model.room import context_of
from rlzoo.engine.model.weights.holding import holds_whole
from rlzoo.errors import ConfigError, RlzooError, UnfitModel, UnmetNeed
from rlzoo.types import Needs, OtherModel


def check_others(config: RunConfig, needs: Needs) -> None:
    """Refuse every other model that `needs` names and this run cannot ask, by its files alone. UsageError"""
    matched = {divergence.signal for divergence in needs.divergences}
    for signal in needs.signals:
        if isinstance(signal.weights, OtherModel):
            if not signal.weights.path:
                instead = needs.because.get("signals", "name one among its settings")
                raise UnmetNeed(
                    f"objective {config.objective.name!r} asks another model ({signal.name}), but none is named: {instead}."
                )
            _check(config, signal.weights.path, signal.name, entries=signal.name in matched)


def hashes(needs: Needs, copies: PolicyCopies) -> dict[str, str]:
    """Fingerprints of the other models' weights, by signal. All ranks call it, since models are loaded for it."""
    found = {}
    for signal in needs.signals:
        if isinstance(signal.weights, OtherModel):
            with copies.get(signal.weights).whole() as policy:
                found[signal.name] = weights_hash(policy)
    return found


def _check(config: RunConfig, path: str, signal: str, *, entries: bool) -> None:
    """`entries`: whole distributions are compared, so both models must have equally many entries."""
    if not holds_whole(config.learner):
        raise ConfigError(
            f"{signal} is the model {path!r} and learner.shard is {config.learner.shard!r}, but another model than the policy is held whole on "
            "every rank. Set learner.shard=none, zero1 or zero2."
        )
    try:
        locate(path)
        architecture_of(path)
        flash_attention(config.model, path)
        theirs, ours = load_tokenizer(path), load_tokenizer(config.model.path)
    except RlzooError as error:
        raise UnfitModel(f"{signal}: {error}") from error
    if told := _differ(ours.get_vocab(), theirs.get_vocab()):
        raise UnfitModel(
            f"the tokenizer of {path!r} ({signal}) differs from that of {config.model.path!r}: {told}. It is to read the policy's own tokens, which "
            "would be other text to it. Name a model of the same family."
        )
    sizes = [int(settings_of(name).get_text_config().vocab_size) for name in (config.model.path, path)]
    if sizes[1] < sizes[0]:
        raise UnfitModel(
            f"{path!r} ({signal}) has rows for {sizes[1]} tokens and {config.model.path!r} for {sizes[0]}: what the policy may write beyond them it could not read. "
            "Name a model with at least as many."
        )
    known, longest = context_of(settings_of(path)), config.sampling.max_prompt + config.sampling.max_response
    if known is not None and known < longest:
        raise UnfitModel(
            f"{path!r} ({signal}) reads {known} tokens, and a prompt with its response may have {longest} (sampling.max_prompt + sampling.max_response). "
            "Lower these, or name a model that reads as many."
        )
    if entries and sizes[0] != sizes[1]:
        raise UnfitModel(
            f"{path!r} ({signal}) tells of {sizes[1]} tokens and {config.model.path!r} of {sizes[0]}, but whole distributions are compared, entry by "
            "entry. Use a form that compares sampled tokens alone, or a model with as many."
        )


def _differ(ours: Mapping[str, int], theirs: Mapping[str, int]) -> str:
    """The first token that two vocabularies number otherwise, in words; empty where there is none."""
    for token, number in sorted(ours.items(), key=lambda item: item[1]):
        if theirs.get(token) != number:
            other = f"number {theirs[token]}" if token in theirs else "not known"
            return f"token {number}, {token!r}, is {other} there"
    more = len(theirs) - len(ours)
    return f"it knows {more} tokens more" if more else ""
