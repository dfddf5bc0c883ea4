"""A run's settings built from a recipe, a file and `--set`, in that order; told apart, explained and written down."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from rlzoo import registry
from rlzoo.anchoring import anchored, attribute, without_places
from rlzoo.config import RunConfig, VerificationConfig
from rlzoo.errors import ConfigError, UnknownName, did_you_mean
from rlzoo.settings import VerifierConfig

DEFAULT_RECIPE = "cpu-default"


def recipes() -> list[str]:
    """Names of the recipes in the package."""
    folder = resources.files("rlzoo") / "recipes"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def read_recipe(name: str) -> dict[str, Any]:
    """A recipe of the package, as plain data; `extends` names the one that it stands over."""
    if name not in recipes():
        raise UnknownName(f"no recipe is named {name!r}. {did_you_mean(name, recipes())}")
    text = (resources.files("rlzoo") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    data = _mapping(text, f"recipe {name}")
    below = data.pop("extends", None)
    return data if below is None else merge(read_recipe(below), data)


def read_file(path: str | Path) -> dict[str, Any]:
    """A YAML file, as plain data. Refused if it is not a mapping."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path} cannot be read: {why}. Give a YAML file of settings.") from error
    return _mapping(text, str(path))


def _mapping(text: str, where: str) -> dict[str, Any]:
    try:
        data = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(
            f"{where} is not YAML: {' '.join(str(error).split())}. Indent with spaces, and put text that holds `: ` or ` #` in quotes."
        ) from error
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise ConfigError(f"{where} holds {type(data).__name__}, expected a mapping of settings such as 'seed: 1'.")
    return data


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-4 as text; people who write learning rates mean a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)$"),
    list("-+0123456789."),
)


def parse_assignment(text: str) -> dict[str, Any]:
    """`a.b=c` as a nested mapping; the value is read as YAML, and a path in it from the present folder."""
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"{text!r} is no assignment. Write the setting's path and a value: --set learner.lr=1e-4")
    try:
        nested: Any = yaml.load(value, Loader=_Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{text!r}: the value is not YAML: {' '.join(str(error).split())}") from error
    for key in reversed(keys):
        nested = {key: nested}
    assert isinstance(nested, dict)
    return anchored(nested, Path.cwd())


def merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """`upper` over `lower`: mappings are merged, everything else is replaced."""
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        if key == "objective" and isinstance(value, str):
            value = {"name": value}
        if key == "objective" and isinstance(below, Mapping) and isinstance(value, Mapping):
            # Settings of another objective mean nothing to this one.
            below = below if _same(value.get("name", below.get("name")), below.get("name")) else None
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _same(one: Any, other: Any) -> bool:
    """Whether two names are of one objective; of a file that holds one, the class need not be said."""
    if one == other or not (isinstance(one, str) and isinstance(other, str)):
        return bool(one == other)
    return (one.endswith(".py") and other.startswith(f"{one}:")) or (
        other.endswith(".py") and one.startswith(f"{other}:")
    )


def load(
    *,
    recipe: str = DEFAULT_RECIPE,
    file: str | Path | None = None,
    assignments: Sequence[str] = (),
    algo: str | None = None,
    launcher: Mapping[str, Any] | None = None,
) -> RunConfig:
    """The run that recipe, `launcher`, file, `algo` and assignments describe, later ones over earlier ones; its paths are absolute.

    Raises ConfigError whose lines each name one setting, its value and a guess at what was meant.
    """
    data = merge(read_recipe(recipe), launcher or {})
    if file is not None:
        data = merge(data, anchored(read_file(file), Path(file).parent))
    if algo is not None:
        data = merge(data, {"objective": {"name": attribute(algo, Path.cwd())}})
    for text in assignments:
        data = merge(data, parse_assignment(text))
    return validate(anchored(data, Path.cwd()))


def validate(data: Mapping[str, Any]) -> RunConfig:
    """Plain data as a RunConfig, or a ConfigError that explains every problem in a line of its own."""
    data = dict(data)
    problems = [*_read_objective(data), *_read_verifiers(data)]
    try:
        config = RunConfig.model_validate(data)
    except ValidationError as error:
        problems += explain(error, RunConfig)
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def verification(assignments: Sequence[str]) -> VerificationConfig:
    """How a run of the default recipe verifies under assignments to `verifier`; no objective is read, and so no torch."""
    data: dict[str, Any] = {"verifier": read_recipe(DEFAULT_RECIPE).get("verifier", {})}
    for text in assignments:
        data = merge(data, parse_assignment(text))
    problems = _read_verifiers(data)
    try:
        settings = VerificationConfig.model_validate(data["verifier"])
    except ValidationError as error:
        problems += [f"verifier.{line}" for line in explain(error, VerificationConfig)]
    if problems:
        raise ConfigError("\n".join(problems))
    return settings


def _read_objective(data: dict[str, Any]) -> list[str]:
    """Put settings of their own class into `data`, as far as they can be read; a line for each that cannot."""
    section = data.get("objective")
    section = {"name": section} if isinstance(section, str) else section
    if isinstance(section, Mapping):
        section = {name: _whole(text) if name in ("name", "base") else text for name, text in section.items()}
        data["objective"] = section
    if not isinstance(section, Mapping) or not isinstance(section.get("name"), str):
        return []
    settings = registry.objective_class(section["name"], section.get("base")).Config
    try:
        data["objective"] = settings.model_validate(section)
    except ValidationError as error:
        data["objective"] = settings.model_construct(name=section["name"])
        return [f"objective.{line}" for line in explain(error, settings)]
    return []


def _whole(name: Any) -> Any:
    """An objective's name with its class; of a file that holds one objective, the class need not be said."""
    return registry.only_objective(name) if isinstance(name, str) and name.endswith(".py") else name


def _read_verifiers(data: dict[str, Any]) -> list[str]:
    """The same for the settings of each verifier that stand under its name."""
    section = data.get("verifier")
    if not isinstance(section, Mapping):
        return []
    known, problems = registry.verifiers.names(), []
    flat = {name: value for name, value in section.items() if name in VerificationConfig.model_fields}
    own: dict[str, VerifierConfig] = {}
    for name, value in section.items():
        if name in flat:
            continue
        if name not in known and ":" not in str(name):
            problems.append(f"verifier.{name}: no such setting; {_verifier_hint(str(name))}")
            continue
        if not isinstance(value, Mapping | VerifierConfig):
            problems.append(f"verifier.{name}: expected a mapping of that verifier's settings (got {value!r})")
            continue
        settings = registry.verifier_class(name).Config
        try:
            own[name] = settings.model_validate(value)
        except ValidationError as error:
            problems += [f"verifier.{name}.{line}" for line in explain(error, settings)]
    data["verifier"] = {**flat, **own}
    return problems


def _verifier_hint(name: str) -> str:
    """What may be meant by something that is neither a setting of all verification nor a verifier."""
    known = [*VerificationConfig.model_fields, *registry.verifiers.names()]
    owners = [f"{each}.{name}" for each in registry.verifiers.names() if name in _settings_of(each)]
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    meant = owners or near
    return f"did you mean {' or '.join(map(repr, meant))}?" if meant else f"known: {', '.join(sorted(known))}"


def _settings_of(verifier: str) -> Collection[str]:
    try:
        return registry.verifier_class(verifier).Config.model_fields
    except UnknownName:  # a package of somebody's that cannot be loaded here
        return ()


def to_yaml(config: RunConfig) -> str:
    """The resolved config as YAML that `load` reads back to the same config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def flatten(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested settings as (dotted path, value)."""
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(one: RunConfig, other: RunConfig) -> list[str]:
    """`path: value -> value` for each leaf that differs. Where a file lies is none: what it holds is told by fingerprints."""
    left, right = (dict(flatten(without_places(each.model_dump(mode="json")))) for each in (one, other))
    return [
        f"{path}: {left.get(path, 'absent')} -> {right.get(path, 'absent')}"
        for path in sorted(left.keys() | right.keys())
        if left.get(path, "absent") != right.get(path, "absent")
    ]


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line a problem, fit for a terminal: path, what is wrong, the value, a guess."""
    lines: list[str] = []
    problems = error.errors()
    for problem in problems:
        at = problem["loc"]
        if problem["type"] == "too_short" and any(other["loc"][: len(at)] == at != other["loc"] for other in problems):
            continue  # entries that are wrong are told themselves
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = _known_at(model, problem["loc"][:-1])
            near = get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known)) or 'none'}"
            lines.append(f"{where}: no such setting; {hint}")
            continue
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] in ("model_type", "model_attributes_type"):
            text = f"expected a mapping of its settings ({', '.join(sorted(_known_at(model, problem['loc'])))})"
        short = repr(problem["input"])
        got = f" (got {short if len(short) <= 60 else short[:57] + '...'})"
        show = problem["loc"] and not isinstance(problem["input"], BaseModel) and problem["type"] != "missing"
        lines.append(f"{where or 'config'}: {text}{got if show else ''}{_default_at(model, problem['loc'])}")
    return lines


def _default_at(model: type[BaseModel], path: Sequence[str | int]) -> str:
    """What could be written at `path` instead: the field's default, where it has one that is a plain value."""
    section = _model_at(model, path[:-1]) if path else None
    field = section.model_fields.get(str(path[-1])) if section is not None else None
    if field is None:
        return ""
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return f"; the default is {default!r}" if isinstance(default, (bool, int, float, str, tuple)) else ""


def _known_at(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Field names at `path` below `model`."""
    found = _model_at(model, path)
    return list(found.model_fields) if found is not None else []


def _model_at(model: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel] | None:
    """The section at `path` below `model`; None where no section is."""
    current: type[BaseModel] = model
    for part in path:
        if isinstance(part, int):
            continue
        annotation = current.model_fields[part].annotation if part in current.model_fields else None
        inner = [
            a
            for a in (annotation, *getattr(annotation, "__args__", ()))
            if isinstance(a, type) and issubclass(a, BaseModel)
        ]
        if not inner:
            return None
        current = inner[0]
    return current


def default_threads() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
