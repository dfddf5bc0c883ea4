"""The attack suite: every program contained, none correct, none that hangs, and the next one served."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rlzoo.registry import build_verifier
from rlzoo.types import Problem, Verdict
from rlzoo.verifier import SandboxSettings, VerifierContext
from rlzoo.verifiers.sandbox import levels
from rlzoo.verifiers.sandbox.client import SandboxFault
from tests.attacks import Attack, cheats, escapes, objects, protocol, resources
from tests.support import offspring

TESTS: Mapping[str, Any] = {"tests": [[0, 3], [1, 5], [4, 11]]}
WALL_S = 0.4
SLACK_S = 10.0
"""Beyond the limit, for a machine that does other work too. A program that is not stopped takes longer."""
ATTACKS = {attack.name: attack for attack in (*resources.ATTACKS, *escapes.ATTACKS, *cheats.ATTACKS)}
GOOD = "```python\nMARK = 'MARK-OF-THE-PROGRAM-BEFORE'\ntry:\n    open('left-behind', 'w').write(MARK)\nexcept OSError:\n    pass\ndef f(x):\n    return 2 * x + 3\n```"


def test_the_page_has_every_attack():
    """docs/sandbox.md: its table, in order, and how many there are of each kind."""
    text = (
        (Path(__file__).parents[1] / "docs" / "sandbox.md").read_text(encoding="utf-8").split("## The attack suite")[1]
    )
    rows = re.findall(r"^\| (.+?) \| (.+?) \| .+ \|$", text.split("The second group")[0], re.MULTILINE)[1:]
    assert rows == [(attack.name, attack.tries) for attack in ATTACKS.values()]
    groups = (resources, escapes, cheats, protocol, objects)
    counts = {name: int(count) for count, name in re.findall(r"(\d+) in `(\w+)\.py`", text)}
    assert counts == {group.__name__.rpartition(".")[2]: len(group.ATTACKS) for group in groups}
    first, second = sum(len(group.ATTACKS) for group in groups[:3]), sum(len(group.ATTACKS) for group in groups[3:])
    assert len(ATTACKS) == first
    assert f"{first + second} programs in `tests/attacks/`" in text
    assert f"The first, {first} programs" in text and f"The second group, {second} programs" in text


@pytest.fixture(scope="module")
def bait(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What attacks reach for: all of it really there, and readable or reachable without a sandbox."""
    folder = tmp_path_factory.mktemp("bait")
    for place in (folder, *folder.parents[:2]):
        place.chmod(0o755)
    secret = folder / "secret"
    secret.write_text("secret")
    secret.chmod(0o666)
    descriptor = os.open(secret, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    os.environ["ATTACK_TOKEN"] = "token"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(str(folder / "socket"))
        local.listen()
        yield {
            "secret": secret, "outside": folder / "outside", "folder": folder, "home": Path.home(), "pid": os.getpid(),
            "port": server.getsockname()[1], "socket": folder / "socket", "fd": descriptor,
        }  # fmt: skip
    os.close(descriptor)
    del os.environ["ATTACK_TOKEN"]


def judge(response: str, level: str, **metadata: Any) -> Verdict:
    sandbox = SandboxSettings(level=level, wall_s=WALL_S, memory_mb=256, allow_unsafe=level == "none")
    problem = Problem(id="p", domain="code", messages=(), verifier="code", metadata={**TESTS, **metadata})
    return build_verifier("code", VerifierContext(sandbox=sandbox)).judge(problem, response)


def attack_it(attack: Attack, level: str, bait: Mapping[str, Any]) -> Verdict:
    """The verdict of an attack after a sound program, with every other condition checked."""
    assert judge(GOOD, level).correct
    program = laid_out(attack, bait)
    levels.sandbox_at(level).start()  # after the file that the sound one left, which is not the attack's to pay for
    started = time.monotonic()
    verdict = judge(f"```python\n{program}```", level, grants=list(attack.grants))
    seconds = time.monotonic() - started
    assert not verdict.correct, f"{attack.name} got through at level {level}"
    assert verdict.judged
    assert seconds < WALL_S + SLACK_S, f"{attack.name} took {seconds:.2f} s"
    assert bait["secret"].read_text() == "secret"
    assert not bait["outside"].exists()
    assert len(below(level)) <= 1  # the level with namespaces has a process inside and one outside
    return verdict


def laid_out(attack: Attack, bait: Mapping[str, Any]) -> str:
    program = attack.program
    for name, value in bait.items():
        program = program.replace(f"{{{name}}}", str(value))
    return program


def below(level: str) -> list[int]:
    """Processes of the supervisor; none where it ended with the program, as it does to get rid of the program's files."""
    process = levels.sandbox_at(level)._process
    return offspring(process.pid) if process is not None else []


@pytest.mark.parametrize("name", list(ATTACKS))
def test_attacks_at_the_level_in_force(name: str, bait: Mapping[str, Any]):
    attack_it(ATTACKS[name], levels.choose().level, bait)


@pytest.mark.long
@pytest.mark.parametrize("name", list(ATTACKS))
def test_attacks_at_every_level(name: str, bait: Mapping[str, Any]):
    for level in levels.LEVELS:
        if levels.try_level(level).holds and not fork_refused(ATTACKS[name], level, bait):
            attack_it(ATTACKS[name], level, bait)


def fork_refused(attack: Attack, level: str, bait: Mapping[str, Any]) -> bool:
    """Whether forking, where the attack asks for it, is refused: a user without uids to give has no bound on processes at level `core`."""
    if "fork" not in attack.grants or level != "core" or os.geteuid() == 0:
        return False
    with pytest.raises(SandboxFault, match="forking is granted only where"):
        judge(f"```python\n{laid_out(attack, bait)}```", level, grants=list(attack.grants))
    return True


def test_without_isolation_attacks_get_through(bait: Mapping[str, Any]):
    """Else the attacks themselves would be broken, and show nothing."""
    names = (
        "read a file outside",
        "read /etc/passwd",
        "TCP over IPv4",
        "local socket",
        "subprocess",
        "memfd",
        "symbolic link",
    )
    for name in names:
        program = laid_out(ATTACKS[name], bait)
        assert judge(f"```python\nimport os\nos.chdir({str(bait['folder'])!r})\n{program}```", "none").correct, name
        (bait["folder"] / "link").unlink(missing_ok=True)
