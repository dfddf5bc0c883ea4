"""Attacks on the protocol, in every form that they are posed in: none is correct, and the next right program is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from rlzoo.registry import build_verifier
from rlzoo.types import Problem, Verdict
from rlzoo.verifier import SandboxSettings, VerifierContext
from rlzoo.verifiers.sandbox import levels
from tests.attacks import objects, protocol

SLACK_S = 10.0
"""Beyond a limit, for a machine that does other work too. A program that is not stopped takes longer."""
RIGHT_S = 5.0
"""A right program's limit, which also a sandbox that starts again must not reach."""
FORMS = {**protocol.FORMS, **objects.FORMS}
ATTACKS = (*protocol.ATTACKS, *objects.ATTACKS)
POSED = [(attack, form) for attack in ATTACKS for form in attack.forms]
STRONGEST = ("suite", "calls", "stdio", "raises anything")
"""One form of each attack is tried at the weaker levels too: the first of these that it is posed in."""


def judge(program: str, tests: Any, level: str, wall_s: float) -> Verdict:
    sandbox = SandboxSettings(level=level, wall_s=wall_s, memory_mb=256)
    problem = Problem(id="p", domain="code", messages=(), verifier="code", metadata={"tests": tests})
    return build_verifier("code", VerifierContext(sandbox=sandbox)).judge(problem, f"```python\n{program}\n```")


def attack_it(attack: protocol.Posed, form: str, level: str) -> None:
    right, tests = FORMS[form]
    started = time.monotonic()
    verdict = judge(attack.program, tests, level, attack.wall_s)
    seconds = time.monotonic() - started
    after = judge(right, tests, level, RIGHT_S)
    assert verdict.status != "correct", f"{attack.name} is correct in the form {form!r} at level {level}"
    assert verdict.judged
    assert seconds < attack.wall_s + SLACK_S, f"{attack.name} took {seconds:.2f} s"
    assert after.correct, f"after {attack.name} a right program is {after.status}: {after.reason}"


def held() -> Iterator[str]:
    """The levels that hold here, beside the one in force."""
    for level in levels.LEVELS:
        if levels.try_level(level).holds and level != levels.choose().level:
            yield level


def test_attacks_are_many_and_named_once():
    assert (len({attack.name for attack in ATTACKS}), len(ATTACKS), len(POSED)) == (
        123,
        123,
        271,
    )  # as docs/sandbox.md says
    assert {form for _, form in POSED} == set(FORMS)


@pytest.mark.parametrize("form", list(FORMS))
def test_the_right_programs_are_correct(form: str):
    program, tests = FORMS[form]
    verdict = judge(program, tests, levels.choose().level, RIGHT_S)
    assert verdict.correct, verdict.reason


@pytest.mark.parametrize(("attack", "form"), POSED, ids=[f"{attack.name}-{form}" for attack, form in POSED])
def test_attacks_at_the_level_in_force(attack: protocol.Posed, form: str):
    attack_it(attack, form, levels.choose().level)


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_attacks_at_the_other_levels(attack: protocol.Posed):
    form = next((form for form in STRONGEST if form in attack.forms), attack.forms[0])
    for level in held():
        attack_it(attack, form, level)
