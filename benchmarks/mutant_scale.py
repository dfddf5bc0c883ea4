"""What becomes of a mistake on a line that no quick test runs, but tests/scale does: tried there, in that environment.

Those tests start engines and ranks, so that they get minutes and not one. What they run in other processes cannot be recorded
line by line; which tests are tried stands in `TESTS`, by module.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

TESTS: Mapping[str, tuple[str, ...]] = {
    "rlzoo/engine/model/lora.py": ("test_lora.py", "test_lora_vllm.py"),
    "rlzoo/engine/model/weights/adapted.py": ("test_lora.py", "test_lora_vllm.py"),
    "rlzoo/engine/model/weights/": ("test_stores.py",),
    "rlzoo/engine/sampling/": ("test_vllm.py", "test_lora_vllm.py"),
}
"""Files of tests/scale by the module or folder whose lines they run; the first that fits."""
LIMIT_S = 240.0
"""For one mistake."""


class ScaleTests:
    """Tests of tests/scale in a copy of the tree, by the Python of their environment."""

    def __init__(self, python: Path, copy: Path) -> None:
        self.python, self.copy = python, copy
        self._pass: dict[tuple[str, ...], bool] = {}

    def of(self, path: str) -> tuple[str, ...]:
        """The test files for a module; none where no such environment stands here, or where they fail without a mistake."""
        chosen = next((tests for module, tests in TESTS.items() if path.startswith(module)), ())
        if not chosen or not self.python.exists():
            return ()
        if chosen not in self._pass:
            code, said = self.run(chosen)
            self._pass[chosen] = code == 0
            if code != 0:
                print(f"{' '.join(chosen)} fail without a mistake:\n{said[-2000:]}", file=sys.stderr, flush=True)
        return chosen if self._pass[chosen] else ()

    def run(self, tests: tuple[str, ...]) -> tuple[int | None, str]:
        """Exit code and output; no code where the limit ran out."""
        words = ["-x", "--tb=line", "-rfE", "-p", "no:cacheprovider", "-m", "scale and not long and not gpu"]
        files = [f"tests/scale/{name}" for name in tests]
        env = os.environ | {"PYTHONPATH": str(self.copy), "PYTHONDONTWRITEBYTECODE": "1"}
        command = ["timeout", "--kill-after=10", str(LIMIT_S), str(self.python), "-m", "pytest", *words, *files]
        done = subprocess.run(command, cwd=self.copy, env=env, capture_output=True, text=True, check=False)
        return (None if done.returncode in (124, 137) else done.returncode), done.stdout + done.stderr

    def noticed(self, tests: tuple[str, ...]) -> str | None:
        """The test that fails, or "" where all pass; None where they did not end."""
        code, said = self.run(tests)
        if code is None:
            return None
        if code == 0:
            return ""
        failed = re.search(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE)
        if failed is None:
            raise RuntimeError(
                f"pytest ended with {code} in tests/scale and no failing test names why:\n{said[-2000:]}"
            )
        return failed[1]
