"""Loss and gradient are TRL's: what `benchmarks/parity.py` measured with TRL 1.16.0's own loss code stands in `golden/trl.json`.

Not shown: that advantages are made alike, or that TRL's code is the papers'.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import parity

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "trl.json").read_text())


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("parity")
    parity.ours(folder)
    return parity.told_in_few(folder, "ours")


def test_every_case_was_measured() -> None:
    assert set(GOLDEN) == set(parity.CASES)
    assert len({case["loss"] for case in GOLDEN.values()}) == len(GOLDEN)  # every setting acts


@pytest.mark.parametrize("name", parity.CASES)
def test_losses_and_gradients_are_those_of_trl(name: str, ours: dict[str, dict[str, Any]]) -> None:
    here, there = ours[name], GOLDEN[name]
    assert here["loss"] == pytest.approx(there["loss"], rel=1e-4, abs=2e-6)
    assert here["norm"] == pytest.approx(there["norm"], rel=parity.LIMIT)
    assert here["along"] == pytest.approx(there["along"], abs=parity.LIMIT * there["norm"])
