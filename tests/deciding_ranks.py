"""One rank that is asked twice to look at a folder: what `tests/test_engine_ranks.py` starts twice."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rlzoo.engine.ranks import join_ranks
from rlzoo.errors import RunConflict


def main(folder: Path) -> None:
    """Writes what this rank was told."""
    ranks = join_ranks()

    def look() -> str:
        if (folder / "made").exists():
            raise RunConflict(f"rank {ranks.rank} looked")
        (folder / "made").mkdir()
        return f"rank {ranks.rank} made it"

    seen = [ranks.decide(look)]
    try:
        ranks.decide(look)
    except RunConflict as error:
        seen.append(str(error))
    (folder / f"seen-{ranks.rank}.json").write_text(json.dumps(seen), encoding="utf-8")
    ranks.leave(together=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
