"""A run that goes on with another budget than it was started with."""

from __future__ import annotations

from rlzoo import configure
from rlzoo.config import RunConfig
from rlzoo.errors import ConfigError
from rlzoo.runs import repair
from rlzoo.runs.comparison import AXES
from rlzoo.runs.folder import RunDir


def changes_budget(run: RunDir, before: RunConfig, after: RunConfig) -> bool:
    """Whether `after` is the run's own settings with another budget. ConfigError where no step could be made with it as if from the start."""
    changed = configure.differences(before, after)
    if not changed or not all(line.startswith("budget.") for line in changed):
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
