"""Settings described from their own declarations: default, meaning, limits, source and tag."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from rlzoo import registry
from rlzoo.config import RunConfig, VerificationConfig
from rlzoo.errors import UnknownName
from rlzoo.runs.folder import dumps
from rlzoo.settings import VerifierConfig

LIMITS = {
    "ge": "at least {}",
    "gt": "above {}",
    "le": "at most {}",
    "lt": "below {}",
    "min_length": "at least {} of them",
}


def describe(
    model: type[BaseModel], prefix: str = "", objective: type[BaseModel] | None = None
) -> list[dict[str, Any]]:
    """Every leaf setting below `model`, in order; of verification, with those of every verifier.

    `objective` stands for the class of RunConfig's objective.
    """
    found: list[dict[str, Any]] = []
    for name, field in model.model_fields.items():
        if name in getattr(model, "unused", ()):
            continue
        inner = objective if model is RunConfig and name == "objective" and objective else field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += describe(inner, f"{prefix}{name}.")
            continue
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, Mapping) else {}
        limits = [
            text.format(getattr(constraint, key))
            for constraint in field.metadata
            for key, text in LIMITS.items()
            if hasattr(constraint, key)
        ]
        found.append(
            {
                "path": f"{prefix}{name}",
                "default": None if field.is_required() else _plain(field.get_default(call_default_factory=True)),
                "required": field.is_required(),
                "limits": ", ".join([*_choices(field.annotation), *limits]),
                "meaning": _meaning(model, name),
                "source": extra.get("source", ""),
                "tag": extra.get("tag", ""),
            }
        )
    if model is VerificationConfig:
        for name, settings in verifiers().items():
            found += describe(settings, f"{prefix}{name}.")
    return found


def verifiers() -> dict[str, type[VerifierConfig]]:
    """The settings of every registered verifier that has any; one that cannot be loaded here has none to tell."""
    found: dict[str, type[VerifierConfig]] = {}
    for name in registry.verifiers.names():
        with suppress(UnknownName):
            found[name] = registry.verifier_class(name).Config
    return {name: settings for name, settings in found.items() if settings.model_fields}


def _meaning(model: type[BaseModel], name: str) -> str:
    """What a setting does, in one line; one that only changes its default means what it meant to the parent."""
    fields = [base.model_fields.get(name) for base in model.__mro__ if issubclass(base, BaseModel)]
    told = next((field.description for field in fields if field and field.description), "")
    return " ".join(told.split())


def _choices(annotation: Any) -> list[str]:
    """`one of a, b` for a setting that takes a few words."""
    return [f"one of {', '.join(map(str, get_args(annotation)))}"] if get_origin(annotation) is Literal else []


def short(value: Any) -> str:
    """A value as it would stand in a file of settings."""
    return value if isinstance(value, str) else dumps(value)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def schema() -> dict[str, Any]:
    """JSON schema of a config file. Settings of an objective depend on its name, so each registered one is an alternative;
    those of verifiers stand under their names."""
    whole = RunConfig.model_json_schema()
    alternatives: list[dict[str, Any]] = []
    for name in registry.objectives.names():
        settings = registry.objectives.load(name).Config.model_json_schema()
        whole.setdefault("$defs", {}).update(settings.pop("$defs", {}))
        settings["properties"]["name"] = {**settings["properties"]["name"], "const": name}
        settings["title"] = name
        alternatives.append(settings)
    elsewhere = {
        "type": "object",
        "properties": {"name": {"type": "string", "pattern": ":"}},
        "required": ["name"],
        "title": "module.path:Class",
    }
    section = whole["$defs"]["VerificationConfig"]
    for name, verifier in verifiers().items():
        own = verifier.model_json_schema()
        whole["$defs"].update(own.pop("$defs", {}))
        section["properties"][name] = own
    section["patternProperties"] = {":": {"type": "object"}}
    section["additionalProperties"] = False
    whole["properties"]["objective"] = {
        "anyOf": [*alternatives, elsewhere, {"type": "string"}],
        "description": whole["properties"]["objective"].get("description", ""),
    }
    whole["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return whole
