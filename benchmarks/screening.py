"""Many arms in a table, without a verdict: each one's test score beside the baseline's.

    python -m benchmarks.screening FOLDER

FOLDER is a comparison's. Prints Markdown: pass@1 over domains; the difference to the baseline with its standard error over problems, which
says how sure the score of these very checkpoints is and nothing of other seeds; the same seed by seed; and its 95 % interval over
seeds, as if the arm were the only one, left out where all seeds say exactly the same. Of times it says nothing: runs side by side
slow each other down.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from rlzoo.evals import analysis, gather
from rlzoo.evals.analysis import Comparison
from rlzoo.evals.judgement import ArmVerdict
from rlzoo.evals.wording import bracket, points

HEADER = "| arm | pass@1 | against {baseline} ± problems | by seed | 95 % over seeds |\n| --- | --- | --- | --- | --- |"


def by_seed(found: Comparison, arm: str) -> list[float]:
    """Against the baseline, of each seed that both have."""
    base = found.grid[found.spec.baseline]
    return [record.final_macro - base[seed].final_macro for seed, record in found.grid[arm].items() if seed in base]


def lines(found: Comparison) -> Iterator[str]:
    baseline = found.spec.baseline
    yield HEADER.format(baseline=baseline)
    verdicts = {verdict.arm: verdict for verdict in found.verdicts}
    for arm, records in found.grid.items():
        cells = [
            f"`{arm}`",
            f"{100 * fmean(record.final_macro for record in records.values()):.1f}",
            *(_against(found, verdicts[arm]) if arm in verdicts else ("", "", "")),
        ]
        yield f"| {' | '.join(cells)} |"


def _against(found: Comparison, verdict: ArmVerdict) -> tuple[str, str, str]:
    own, over_seeds = verdict.checkpoints, verdict.judgement.plain
    return (
        f"{points(own.value)} ± {100 * own.se:.1f}" if own is not None and own.se is not None else "",
        ", ".join(points(gap) for gap in by_seed(found, verdict.arm)),
        bracket(over_seeds) if over_seeds is not None else "",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path)
    for line in lines(analysis.analyse(*gather.read(parser.parse_args().folder))):
        print(line)


if __name__ == "__main__":
    main()
