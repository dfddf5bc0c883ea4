"""What every part of a run's settings is made of: the base of all sections, and of what objectives and verifiers declare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Settings(BaseModel):
    """Base of every part: frozen, unknown keys and numbers that are not finite refused, docstrings under fields become descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class ObjectiveConfig(Settings):
    """Settings of one objective; subclass it beside the objective. Defaults are the paper's."""

    name: str
    """Registered name, or `module.path:Class`."""
    base: str | tuple[str, ...] | None = None
    """For objectives that add to another: which one they add to. None is the one of their paper. Of several, `[mcpo-mastery, dapo]`, each adds to the next."""
    unused: ClassVar[Mapping[str, str]] = {}
    """Settings taken over from a parent that decide nothing here, each with the reason: not listed, and refused if set."""

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> Self:
        for name, reason in self.unused.items():
            if getattr(self, name) != (usual := type(self).model_fields[name].default):
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, but objective {self.name!r} has no use for it: {reason}. "
                    f"Leave it out (it stays {usual!r})."
                )
        return self


class VerifierConfig(Settings):
    """Settings of one verifier; subclass it beside the verifier. A run sets them as `verifier.<name>.<setting>`."""


def setting(default: Any, *, source: str, tag: str = "EXACT", **limits: Any) -> Any:
    """A field whose default has a source (paper, equation, file) and a confidence tag.

    Tags: EXACT read in the paper or its code; EXACT-2 read in a transcription; INFERRED our reading of a
    description; OURS chosen here because nothing is published.
    """
    return Field(default, json_schema_extra={"source": source, "tag": tag}, **limits)
