"""The vocabulary of the project: what crosses a boundary between two floors.

Shape letters, used as suffixes everywhere:

    B  rollouts of a step (or of an update, or of a micro-batch: the rows at hand)
    T  response tokens, right-padded
    P  prompts of a step; every prompt has one group of rollouts
    N  rows of one optimizer update, where they see each other
    H  hidden size          V  vocabulary          M  head output

Objects are built by keyword, checked when built, and never changed afterwards. Nothing here imports torch
at run time, so verifiers and the command line can use these types and stay light.
"""

from rlzoo.types.needs import (
    Context,
    CurrentWeights,
    Divergence,
    Ema,
    Full,
    Initial,
    Insert,
    Needs,
    OtherModel,
    Pooling,
    Previous,
    Rewrite,
    Signal,
    Snapshot,
    StudentTopK,
    TeacherTopK,
    Weights,
    weights_label,
)
from rlzoo.types.rollouts import (
    Group,
    Message,
    Part,
    Problem,
    Rollout,
    Status,
    Verdict,
    text_of,
)
from rlzoo.types.tensors import (
    REDUCTIONS,
    Credit,
    Head,
    InBatchTerm,
    MicroBatch,
    Representations,
    RolloutBatch,
    Term,
)

__all__ = [
    "REDUCTIONS",
    "Context",
    "Credit",
    "CurrentWeights",
    "Divergence",
    "Ema",
    "Full",
    "Group",
    "Head",
    "InBatchTerm",
    "Initial",
    "Insert",
    "Message",
    "MicroBatch",
    "Needs",
    "OtherModel",
    "Part",
    "Pooling",
    "Previous",
    "Problem",
    "Representations",
    "Rewrite",
    "Rollout",
    "RolloutBatch",
    "Signal",
    "Snapshot",
    "Status",
    "StudentTopK",
    "TeacherTopK",
    "Term",
    "Verdict",
    "Weights",
    "text_of",
    "weights_label",
]
