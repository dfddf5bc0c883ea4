"""A run that goes on with another budget than it was started with, or with its weights in other hands."""

from __future__ import annotations

from rlzoo import configure
from rlzoo.config import RunConfig
from rlzoo.errors import ConfigError
from rlzoo.runs import repair
from rlzoo.runs.comparison import AXES
from rlzoo.runs.folder import RunDir

HOLDING = ("learner.shard:", "learner.offload:", "learner.activation_checkpointing:")
"""Settings of who holds the weights, which change no result beyond rounding: checkpoints know none of them."""


def goes_on(run: RunDir, before: RunConfig, after: RunConfig) -> bool:
    """Whether `after` is the run's own settings with another budget or other holders of its weights.

    ConfigError where no step could be made with its budget as if from the start.
    """
    differ = configure.differences(before, after)
    changed = [line for line in differ if not line.startswith(HOLDING)]
    if not changed:
        return bool(differ)
    if not all(line.startswith("budget.") for line in changed):
        return False
    schedule = before.learner.schedule
    if schedule != "constant":
        raise ConfigError(
            f"the run in {run.path} has learner.schedule = {schedule}, which falls until its budget is spent: with another budget the learning rate "
            "would jump. Start a new run with the larger budget, or one with the constant schedule from this run's last checkpoint "
            "(--model RUN/checkpoints/step-...)."
        )
    saved = max(run.checkpoint_steps(), default=0)  # what a resumption goes on from
    done = max(
        (line for _, line in repair.whole(run.metrics_file) if line["step"] <= saved),
        key=lambda line: int(line["step"]),
        default=dict[str, float](),
    )
    for axis, limit in after.budget.limits().items():
        spent = done.get(AXES[axis].metric, 0.0)
        if spent >= limit:
            raise ConfigError(
                f"the run in {run.path} has spent {spent:g} of its {AXES[axis].words}, and budget.{axis} = {limit:g} is not "
                f"above that, so there would be nothing to do. Give more (--set budget.{axis}=N)."
            )
    return True
