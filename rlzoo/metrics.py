"""Names, units and meaning of every metric, in one place; `rlzoo metrics` prints this table.

A metric's name is `family/what`. `<domain>`, `<term>` and the like stand for names that a run brings.
Everything under `time/` may differ between two equal runs; nothing else may.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Metric(NamedTuple):
    name: str
    unit: str
    meaning: str


GLOSSARY: tuple[Metric, ...] = (
    Metric("reward/mean", "reward", "mean reward of the step's judged rollouts, after shaping and controls"),
    Metric("reward/<domain>", "reward", "the same, by domain"),
    Metric("reward/std", "reward", "standard deviation of those rewards over the whole step; 0 = all are equal"),
    Metric(
        "shaping/<part>", "reward", "mean of what format, length or overlong added to the rewards of judged rollouts"
    ),
    Metric("score/<domain>", "0-1", "mean raw score of responses whose verifier grades; never the reward"),
    Metric("chance/<domain>", "0-1", "mean share of correct answers that guessing among the options would give"),
    Metric("correct/mean", "0-1", "share of judged rollouts that the verifier called correct"),
    Metric("correct/<domain>", "0-1", "the same, by domain"),
    Metric("control/correct", "0-1", "share of judged rollouts that a control arm's objective was told are correct"),
    Metric(
        "status/<status>",
        "0-1",
        "share of rollouts with this verdict: correct, wrong, unparsed, truncated, timeout, error",
    ),
    Metric(
        "groups/mixed", "0-1", "share of prompts whose rollouts earned different rewards: where a group baseline learns"
    ),
    Metric("mixed/<domain>", "0-1", "the same, by domain"),
    Metric(
        "learned/<domain>",
        "0-1",
        "share of the domain's judged rollouts that a policy term or a loss over rows that see each other acted on",
    ),
    Metric("groups/mastered", "0-1", "share of prompts all of whose judged rollouts are correct"),
    Metric("groups/all_wrong", "0-1", "share of prompts none of whose judged rollouts is correct"),
    Metric("groups/dropped", "prompts", "prompts that the objective did not keep"),
    Metric("length/mean", "tokens", "mean response length"),
    Metric("length/max", "tokens", "longest response of the step"),
    Metric("length/truncated", "0-1", "share of responses cut at sampling.max_response"),
    Metric(
        "crowded/<signal>",
        "0-1",
        "share of rollouts without the signal because its context is too long for the model; they go without it",
    ),
    Metric(
        "policy/entropy",
        "nats",
        "mean entropy of the policy at the step's start, over response tokens of all judged rollouts of the prompts kept, trained or not",
    ),
    Metric(
        "trained/kl_old",
        "nats",
        "k3 estimate of KL(old || now) over response tokens of trained rows, by the step's updates; objectives train different tokens",
    ),
    Metric(
        "trained/ratio_max",
        "ratio",
        "largest importance ratio met in the step's updates, at response tokens of trained rows",
    ),
    Metric(
        "trained/clipped",
        "0-1",
        "share of response tokens of trained rows whose ratio left [0.8, 1.2]; the same band for every objective",
    ),
    Metric("loss/<term>", "loss", "the term before its coefficient, mean over the step's updates"),
    Metric("coupled/<term>", "loss", "a loss over rows that see each other, before its coefficient, mean over updates"),
    Metric("anchors/<term>", "rows", "rows that the coupled loss ran over, mean over updates"),
    Metric("credit/advantage_abs", "-", "mean absolute advantage over counted tokens"),
    Metric("credit/groups", "prompts", "prompts with a loss weight other than 0 at a counted token"),
    Metric("grad/norm", "-", "gradient norm before clipping, mean over updates"),
    Metric("grad/nonfinite", "updates", "updates left out because a loss or gradient was not finite"),
    Metric("rows/trained", "0-1", "share of rollouts that went through forward and backward"),
    Metric(
        "mismatch/kl",
        "nats",
        "mean of sampler's minus trainer's log-probs at the step's start, over tokens compared; with `sampling.steps_ahead` the weights differ, too",
    ),
    Metric("mismatch/p99", "nats", "absolute difference of those log-probs that 99 % of the tokens stay within"),
    Metric("mismatch/max", "nats", "largest absolute difference of those log-probs"),
    Metric("mismatch/ess", "0-1", "effective sample size of the trainer/sampler weights, as a share of the tokens"),
    Metric(
        "mismatch/canary",
        "nats",
        "largest absolute difference between vLLM's and the learner's log-probs of a few tokens, after the step's weights were published",
    ),
    Metric("learner/lr", "-", "learning rate of the step's last update"),
    Metric("learner/updates", "updates", "optimizer updates so far"),
    Metric("data/visits", "draws", "mean number of earlier draws of this step's problems"),
    Metric("cost/prompts", "prompts", "prompts sampled so far, dropped ones included"),
    Metric("cost/rollouts", "rollouts", "rollouts sampled so far"),
    Metric("cost/gen_tokens", "tokens", "response tokens sampled so far, dropped prompts included"),
    Metric("cost/train_tokens", "tokens", "tokens through forward and backward so far"),
    Metric(
        "cost/extra_tokens", "tokens", "tokens through passes that only the objective or diagnostics asked for, so far"
    ),
    Metric(
        "cost/flops",
        "FLOP",
        "operations so far: 2 x parameters a token forward, 6 x a token trained (4 x those below adapters)",
    ),
    Metric("head/<head>", "-", "gradient norm of an objective's own head, mean over updates"),
    Metric(
        "time/<stage>",
        "s",
        "seconds of a stage of the step: sample, verify, score, measure, update, publish, diagnose, other; `step` is their sum",
    ),
    Metric("time/device_seconds", "s", "seconds of training so far, times ranks; without `measure`, which no arm pays"),
    Metric("time/tokens_per_second", "tokens/s", "sampled tokens over the step's seconds"),
)


def glossary(own: Mapping[str, tuple[str, str]] | None = None) -> tuple[Metric, ...]:
    """All metrics, those of an objective included; `own` maps a name to its unit and meaning."""
    return GLOSSARY + tuple(Metric(name, unit, meaning) for name, (unit, meaning) in (own or {}).items())


def find(name: str, table: Sequence[Metric] = GLOSSARY) -> Metric | None:
    """The entry that describes the metric `name`, an exact one before a pattern."""
    for metric in table:
        if metric.name == name:
            return metric
    for metric in table:
        pattern = re.sub(r"<[^>]+>", ".+", re.escape(metric.name).replace(r"\<", "<").replace(r"\>", ">"))
        if "<" in metric.name and re.fullmatch(pattern, name):
            return metric
    return None
