"""`python tests/campaigns configs --count 500 --seed 0`: one campaign, a line for each fault it finds, then the counts."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))  # last, since the root holds names of other people's packages
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def main() -> int:
    parser = argparse.ArgumentParser(prog="campaigns")
    parser.add_argument("kind", choices=["configs", "folders", "kills"])
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=40, help="mutated settings that are also carried out")
    asked = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rlzoo-campaign-") as folder:
        os.chdir(folder)
        found = carry_out(asked, Path(folder))
    print(f"{asked.kind}, seed {asked.seed}: {found.total()} in {time.monotonic() - started:.0f} s")
    for name, number in sorted(found.items()):
        print(f"  {name}: {number}")
    return 1 if found["faults"] else 0


def carry_out(asked: argparse.Namespace, folder: Path) -> Counter[str]:
    """How often what happened; faults are printed as they come."""
    from tests.campaigns import configs, folders, kills

    found: Counter[str] = Counter()
    if asked.kind == "configs":
        for setting in configs.campaign(folder, asked.count or 500, asked.seed, runs=asked.runs):
            done = "ran a step" if setting.ran else "planned"
            found["faults" if setting.outcome.fault else "refused" if setting.outcome.code else done] += 1
            if setting.outcome.fault:
                print(f"{setting.told}: {setting.outcome.fault}", flush=True)
        return found
    if asked.kind == "kills":
        for kill in kills.campaign(folder, asked.count or 50, asked.seed):
            found["faults" if kill.wrong else "inside a save" if kill.inside else "elsewhere"] += 1
            if kill.wrong:
                print(f"{kill.told}: {kill.wrong}", flush=True)
        return found
    for harm in folders.campaign(folder, asked.count or 200, asked.seed):
        wrong = harm.outcome.fault or harm.wrong
        found["faults" if wrong else "refused" if harm.outcome.code else "went well"] += 1
        if wrong:
            print(f"{harm.told}: {wrong}", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
