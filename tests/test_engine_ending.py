"""How a run ends on one of two ranks: what it raises, what it tells the other, what its folder says. Lines within one process."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from torch._C._distributed_c10d import HashStore

from rlzoo.engine import ranks, rollcall
from rlzoo.engine.ending import Ending
from rlzoo.engine.ranks import Ranks
from rlzoo.engine.reporting import LastStage, Silent
from rlzoo.engine.rollcall import Loss, RollCall
from rlzoo.errors import ConfigError, MachineFault, RankLost
from rlzoo.laws.lab import toy_config
from rlzoo.placement import here
from rlzoo.runs.folder import RunDir
from tests.support import left_alone

SILENT_FIRST, SILENT_SECOND = Loss(rank=0, kind="silent"), Loss(rank=1, kind="silent")


class Two:
    """Both ends of a line, and what each rank does about an exception."""

    def __init__(self, folder: Path, signals: ExitStack) -> None:
        store = HashStore()
        self.run = RunDir(folder)
        self.rolls = [RollCall(rank, store, [here("cpu"), here("cuda:1")]) for rank in range(2)]
        for _ in range(1000):  # the first has taken the other
            if self.rolls[0]._lines:
                break
            time.sleep(0.005)
        config = toy_config("grpo")
        self.ends = [
            Ending(self.run, config, Ranks(rank, 2, self.rolls[rank]), LastStage(Silent()), signals)
            for rank in range(2)
        ]
        for end in self.ends:
            end.claim()

    def heard(self, rank: int) -> Loss | None:
        return self.rolls[rank].wait(5)

    @property
    def said(self) -> tuple[str, str]:
        status = self.run.status()
        return status.state, status.reason


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with left_alone(monkeypatch), ExitStack() as signals:
        found = Two(tmp_path, signals)
        yield found
        for roll in found.rolls:
            roll.leave()


def test_what_the_first_rank_fails_of_is_raised_written_and_told(two: Two) -> None:
    error, began = ValueError("no power"), time.monotonic()
    assert two.ends[0].of(error) is error
    assert time.monotonic() - began < ranks.TOGETHER_S / 2, "it waits for nobody"
    assert two.said == ("failed", "no power")
    assert json.loads((two.run.path / "status.json").read_text())["resume"].startswith("rlzoo train --resume --out ")
    assert two.heard(1) == Loss(rank=0, kind="failed", cause="no power", code=1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.raise_signal(number)  # passed over: what there is to stop is ending
    assert [path.name for path in two.run.path.iterdir()] == ["status.json"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError(), Loss(rank=0, kind="failed", cause="RuntimeError", code=1)),
        (ConfigError("asked wrongly"), Loss(rank=0, kind="failed", cause="asked wrongly", code=2)),
        (KeyboardInterrupt(), Loss(rank=0, kind="interrupted", code=130)),
    ],
    ids=lambda each: type(each).__name__,
)
def test_the_others_hear_the_kind_the_cause_and_the_code(error: BaseException, told: Loss, two: Two) -> None:
    assert two.ends[0].of(error) is error
    assert two.heard(1) == told


def test_a_fault_of_the_machine_is_raised_as_that(two: Two) -> None:
    error = OSError(errno.ENOSPC, "No space left on device")
    raised = two.ends[0].of(error)
    assert isinstance(raised, MachineFault) and raised.__cause__ is error
    assert two.said == ("failed", str(raised)) and "no room to write" in str(raised)


@pytest.mark.parametrize("foreseen", [False, True])
def test_another_rank_tells_the_first_and_waits_for_its_last_words(foreseen: bool, two: Two) -> None:
    """Its traceback is kept where nobody foresaw the error; the folder's status is the first rank's to write."""
    error = ConfigError("asked wrongly") if foreseen else ValueError("no power.")
    threading.Timer(0.05, two.rolls[1].ended.set).start()
    raised = two.ends[1].of(error)
    assert two.rolls[1].ended.is_set()
    assert isinstance(raised, RankLost) and not raised.told_here
    file = two.run.path / "traceback-rank-1.txt"
    if foreseen:
        assert (str(raised), raised.exit_code, file.exists()) == ("asked wrongly", 2, False)
    else:
        assert str(raised) == f"ValueError: no power. This is a bug. Its traceback: {file}"
        assert raised.exit_code == 1 and file.read_text().endswith("ValueError: no power.\n")
    assert two.heard(0) == Loss(rank=1, kind="failed", cause=str(raised), code=raised.exit_code)
    assert two.said == ("unknown", "")


def test_in_a_folder_that_is_not_the_runs_nothing_is_written(two: Two) -> None:
    for end in two.ends:
        end.ours = False
    two.rolls[1].ended.set()
    two.ends[1].of(ValueError("no power"))
    two.ends[0].of(ValueError("no power"))
    two.ends[0].of(KeyboardInterrupt())
    assert list(two.run.path.iterdir()) == []


@pytest.mark.parametrize(
    ("loss", "teller", "words"),
    [
        (Loss(rank=1, kind="failed", cause="memory ran out", code=3), 0, "failed: memory ran out"),
        (Loss(rank=0, kind="failed", cause="memory ran out"), 0, "failed: memory ran out"),
        (SILENT_SECOND, 0, "ended without a word"),
        (SILENT_FIRST, 1, "ended without a word"),
    ],
    ids=str,
)
@pytest.mark.parametrize("rank", [0, 1])
def test_the_end_of_another_rank_is_said_once(loss: Loss, teller: int, words: str, rank: int, two: Two) -> None:
    """By the first rank; of its own end without a word, by the second."""
    two.rolls[rank]._lose(loss)
    two.rolls[1].ended.set()
    raised = two.ends[rank].of(RuntimeError("gloo: closed"))
    assert isinstance(raised, RankLost)
    assert (raised.told_here, raised.exit_code) == (rank == teller, loss.code)
    where = f"{('cpu', 'cuda:1')[loss.rank]} of {socket.gethostname()}"
    assert str(raised).startswith(f"rank {loss.rank} of 2 (process {os.getpid()}, {where}) {words}")
    assert two.said == (("failed", str(raised)) if rank == teller else ("unknown", ""))
    assert two.rolls[rank].ending.is_set()


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("own", [False, True])
def test_an_interrupt_is_written_by_the_first_rank_with_the_last_step(own: bool, rank: int, two: Two) -> None:
    two.run.metrics_file.write_text('{"step": 1}\n{"step": 3}\n')
    if not own:
        two.rolls[rank]._lose(Loss(rank=1 - rank, kind="interrupted"))
    threading.Timer(0.05, two.rolls[1].ended.set).start()
    error = KeyboardInterrupt()
    raised = two.ends[rank].of(error)
    assert type(raised) is KeyboardInterrupt and (raised is error) == own
    assert two.rolls[1].ended.is_set() or rank == 0
    if rank == 1:
        assert two.said == ("unknown", "")
        return
    assert two.said == ("interrupted", "stopped at once by Ctrl-C")
    assert two.run.status().step == 3
    assert "--resume" in json.loads((two.run.path / "status.json").read_text())["resume"]


def test_before_the_first_step_an_interrupt_is_at_step_0(two: Two) -> None:
    two.ends[0].of(KeyboardInterrupt())
    assert two.run.status().step == 0


@pytest.mark.parametrize(("rank", "loss"), [(0, SILENT_SECOND), (1, SILENT_FIRST)])
def test_a_rank_that_is_stuck_says_it_on_its_way_out(
    rank: int, loss: Loss, two: Two, capsys: pytest.CaptureFixture[str]
) -> None:
    two.rolls[1 - rank].stuck(loss)  # of the rank that is gone there is nobody to say it
    assert capsys.readouterr().err == "" and two.said == ("unknown", "")
    two.rolls[rank].stuck(loss)
    said = capsys.readouterr().err
    assert said.startswith(f"error: rank {loss.rank} of 2 ")
    assert (
        said.endswith(f"\nTo go on from its newest checkpoint: rlzoo train --resume --out {two.run.path}\n")
        and said.count("\n") == 2
    )
    assert two.said == ("failed", said.removeprefix("error: ").splitlines()[0])
    two.ends[rank].ours = False
    two.rolls[rank].stuck(loss)
    assert capsys.readouterr().err == said.splitlines()[0] + "\n"


def test_a_rank_that_is_stuck_in_an_interrupt_writes_it(two: Two, capsys: pytest.CaptureFixture[str]) -> None:
    two.rolls[0].stuck(Loss(rank=1, kind="interrupted", code=130))
    assert capsys.readouterr().err == ""
    assert two.said == ("interrupted", "stopped at once by Ctrl-C")


def test_one_process_alone_has_nobody_to_tell(tmp_path: Path) -> None:
    with ExitStack() as signals:
        end = Ending(RunDir(tmp_path), toy_config("grpo"), Ranks(), LastStage(Silent()), signals)
        error = RuntimeError("gloo: closed")
        assert end.of(error) is error and list(tmp_path.iterdir()) == []
        end.claim()
        assert end.of(error) is error
    assert RunDir(tmp_path).status().reason == "gloo: closed"


def test_all_have_ended_within_ten_seconds() -> None:
    """Each waits for the first one's last words for as long as the slowest way there takes: a loss that is heard, noticed, and cut off."""
    slowest = rollcall.NOTICE_S + rollcall.LAST_S + ranks.BEHIND_S
    assert slowest < ranks.TOGETHER_S < 10
    assert rollcall.NOTICE_S < rollcall.LAST_S
    assert rollcall.REACH_S < ranks.TOGETHER_S
