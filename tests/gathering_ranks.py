"""One of the ranks of a run whose weights lie in pieces: to have them whole, all ranks must ask."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rlzoo.engine.model.policy import Policy
from rlzoo.engine.model.weights import holding
from rlzoo.engine.model.weights.replicated import Replicated
from rlzoo.engine.trainer import train
from tests.support import small_config


class Gathering(Replicated):
    """Waits for the other ranks wherever weights are asked for whole, and says nothing while they are in use."""

    @contextmanager
    def whole(self, *, host: bool = False) -> Iterator[Policy]:
        places = self.ranks.gather(sys._getframe(2).f_code.co_qualname)
        assert len(set(places)) == 1, f"ranks ask for whole weights in different places: {places}"
        yield self.policy


def main(folder: Path) -> None:
    quiet = ("eval.problems_per_level=1", "eval.samples=1", "eval.validation_every=1", "eval.validation_per_level=1")
    config = small_config(*quiet, "checkpoint.every=1", "checkpoint.keep_best=true", steps=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(holding, "Replicated", Gathering)
        train(config, folder / "run")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
