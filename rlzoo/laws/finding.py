"""What became of a law that was tried on somebody's objective or verifier."""

from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of one law."""

    law: str
    statement: str
    state: Literal["holds", "broken", "exempt", "untried"]
    """untried: what it needs is not there, or what came back has the wrong form, so that nothing can be told."""
    detail: str = ""
    where: str = ""
    """file:line of the code to look at, for a broken law."""


def as_data(finding: Finding) -> dict[str, str]:
    """A finding as plain data."""
    return asdict(finding)


class Untried(Exception):
    """A law found nothing to be tried on; the message says what is lacking."""


class Broken(Exception):
    """A law does not hold; the message says by how much, `method` where to look: None for the line that raised it."""

    def __init__(self, what: str, method: str | None = "token_losses") -> None:
        super().__init__(what)
        self.method = method
