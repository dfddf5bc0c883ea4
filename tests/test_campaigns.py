"""A seeded sample of the campaigns, which `make campaign-configs`, `campaign-folders` and `campaign-kills` run in full."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaigns import configs, folders, kills


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_wrong_settings_are_refused_with_words_or_are_a_run(tmp_path: Path) -> None:
    cases = list(configs.campaign(tmp_path, 25, seed=1, runs=1))
    assert [(case.told, case.outcome.fault) for case in cases if case.outcome.fault] == []
    assert sum(case.outcome.code != 0 for case in cases) > 5


def test_damaged_folders_are_refused_with_words_or_mended(tmp_path: Path) -> None:
    cases = list(folders.campaign(tmp_path, 5, seed=1))
    assert [(case.told, case.outcome.fault or case.wrong) for case in cases if case.outcome.fault or case.wrong] == []


@pytest.mark.long
def test_killed_runs_go_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    cases = list(kills.campaign(tmp_path, 3, seed=1))
    assert [(case.told, case.wrong) for case in cases if case.wrong] == []
    assert sum(case.inside for case in cases) >= 2
