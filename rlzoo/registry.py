"""Names to objects, over entry points: what a package declares, every process of a run can resolve.

    [project.entry-points."rlzoo.objectives"]
    my-objective = "my_package.my_module:MyObjective"

Instead of a name, `module.path:Attribute` takes an object without packaging; the module may lie in the present folder.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from copy import copy
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rlzoo.errors import UnknownName, did_you_mean

if TYPE_CHECKING:
    from rlzoo.objective import Objective
    from rlzoo.settings import ObjectiveConfig
    from rlzoo.verifier import Verifier, VerifierContext

T = TypeVar("T")


class Registry(Generic[T]):
    """The names of one entry-point group."""

    def __init__(self, group: str, kind: str) -> None:
        self.group = group
        self.kind = kind

    def entries(self) -> dict[str, EntryPoint]:
        """Entry points by name. Two packages that declare one name: the first in sorted order is ours or theirs, so refuse."""
        found: dict[str, EntryPoint] = {}
        for entry in _entries(self.group):
            other = found.setdefault(entry.name, entry)
            if other.value != entry.value:
                raise UnknownName(
                    f"two packages declare the {self.kind} {entry.name!r}: {other.value} and {entry.value}. Rename one of them."
                )
        return found

    def names(self) -> list[str]:
        return sorted(self.entries())

    def load(self, name: str) -> T:
        """The object behind `name`: a registered name, `module.path:Attribute` or `path/to/file.py:Attribute`."""
        if not isinstance(name, str):  # settings are data before they are checked
            raise UnknownName(
                f"{name!r} names no {self.kind}, since it is no text. Give a registered name, 'module.path:Attribute' or 'path/to/file.py:Attribute'."
            )
        entries = self.entries()
        if name in entries:
            try:
                loaded: T = entries[name].load()
            except ModuleNotFoundError as error:
                if error.name is None or error.name.partition(".")[0] == "rlzoo":
                    raise
                raise UnknownName(
                    f"{self.kind} {name!r} needs the package {error.name!r}, which is not installed here. "
                    f"Install it: pip install {error.name.partition('.')[0].replace('_', '-')}"
                ) from error
            return loaded
        if ":" in name:
            found: T = _by_path(name, self.kind)
            return found
        raise UnknownName(f"no {self.kind} is named {name!r}. {did_you_mean(name, entries)}")


@cache
def _entries(group: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


def _by_path(name: str, kind: str) -> Any:
    module_name, _, attribute = name.rpartition(":")
    try:
        module = _module_of_file(Path(module_name)) if module_name.endswith(".py") else _module_by_name(module_name)
        return getattr(module, attribute)
    except Exception as error:  # a user's module may raise anything while it is imported
        raise UnknownName(
            f"{kind} {name!r} cannot be loaded: {type(error).__name__}: {error}. Give a registered name, an importable 'module.path:Attribute', "
            "or 'path/to/file.py:Attribute'."
        ) from error


def _module_by_name(name: str) -> Any:
    """Import a module; one of the present folder too, behind whatever is installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        here = Path.cwd() / name.partition(".")[0]
        if error.name != here.name or not (here.is_dir() or here.with_suffix(".py").is_file()):
            raise
    sys.path.append(str(here.parent))
    importlib.invalidate_caches()
    return importlib.import_module(name)


def _module_of_file(path: Path) -> Any:
    """Import a lone file once, under a name made of its path, so that classes from it can be pickled and compared."""
    path = path.resolve()
    name = "rlzoo_user_" + "_".join(path.with_suffix("").parts[1:]).replace("-", "_").replace(".", "_")
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ImportError(f"no Python file at {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def only_objective(file: str) -> str:
    """`file.py:Class` for a file that defines exactly one objective."""
    from rlzoo.objective import Objective

    return _only(file, Objective, "objective")


def only_verifier(file: str) -> str:
    """`file.py:Class` for a file that defines exactly one verifier."""
    from rlzoo.verifier import Verifier

    return _only(file, Verifier, "verifier")


def _only(file: str, base: type, kind: str) -> str:
    """`file.py:Class` for the one class of that kind in a file."""
    try:
        module = _module_of_file(Path(file))
    except Exception as error:
        raise UnknownName(f"{kind} file {file!r} cannot be loaded: {type(error).__name__}: {error}.") from error
    own = [
        name
        for name, found in vars(module).items()
        if isinstance(found, type) and issubclass(found, base) and found.__module__ == module.__name__
    ]
    if len(own) != 1:
        found = f"{len(own)} {kind}s ({', '.join(own)})" if own else f"no {kind}"
        raise UnknownName(f"{file} defines {found}. Say which: {file}:{own[0] if own else 'Class'}")
    return f"{file}:{own[0]}"


objectives: Registry[type[Objective[Any]]] = Registry("rlzoo.objectives", "objective")
verifiers: Registry[type[Verifier[Any]]] = Registry("rlzoo.verifiers", "verifier")
datasets: Registry[Callable[..., Any]] = Registry("rlzoo.datasets", "dataset")
samplers: Registry[Any] = Registry("rlzoo.samplers", "sampler")
curricula: Registry[Callable[..., bool]] = Registry("rlzoo.curricula", "curriculum")


def objective_class(name: str, base: str | Sequence[str] | None = None) -> type[Objective[Any]]:
    """The class behind a name; over another base if one is given and the objective is an addition. Of several bases each adds to the next."""
    bases: Sequence[Any] = [] if base is None else base if isinstance(base, (list, tuple)) else [base]
    *additions, found = [_objective(each) for each in (name, *bases)]
    for addition in reversed(additions):
        found = compose(addition, found)
    return found


def _objective(name: str) -> type[Objective[Any]]:
    """What a name leads to, if it has the form of an objective."""
    from rlzoo.objective import Objective
    from rlzoo.settings import ObjectiveConfig

    found: Any = objectives.load(name)
    if not (isinstance(found, type) and issubclass(found, Objective)):
        raise UnknownName(
            f"{name!r} is no objective. Make it a subclass of rlzoo.objective.Objective, or of one that exists."
        )
    settings = getattr(found, "Config", None)
    if not (isinstance(settings, type) and issubclass(settings, ObjectiveConfig)):
        raise UnknownName(
            f"objective {name!r} declares no settings. Write `Config = ObjectiveConfig` into it, or a subclass of that."
        )
    if not isinstance(getattr(found, "name", None), str):
        raise UnknownName(f'objective {name!r} declares no name. Write `name = "my-objective"` into it.')
    return found


ALIEN = {"settings": "what shapes rewards does nothing over a base that learns from none"}
"""Exemption of an addition over an objective that is no relative of its parent."""


@cache
def compose(addition: type[Objective[Any]], base: type[Objective[Any]]) -> type[Objective[Any]]:
    """One class out of an addition and a base: methods cooperate through `super()`, settings of both stand flat.

    Where both declare a default, the base's own wins: it was asked for by name. What it only takes over from their common parent is no
    default of its own.
    """
    if not addition.addition:
        additions = ", ".join(name for name in objectives.names() if objectives.load(name).addition)
        raise UnknownName(
            f"objective {addition.name!r} stands on its own and takes no base (got {base.name!r}). These add to a base: {additions}."
        )
    parents: list[Any] = list(addition.__mro__[1:])
    parent = next(cls for cls in parents if getattr(cls, "name", None) and not cls.addition)
    part = addition if issubclass(base, parent) else _part(addition, parent)
    if part is None:
        raise UnknownName(
            f"objective {addition.name!r} adds to objectives made from {parent.name!r}, and {base.name!r} is none of them. "
            f"Leave out objective.base, or choose one that is."
        )
    _refuse_collision(addition, part, base, parent)
    # Where the base has no settings that the addition lacks, the addition's stand as they are.
    own: Any = part.Config
    configs = (own,) if issubclass(own, base.Config) else (base.Config, own)
    alone = _declared(own, parent.Config) - _declared(base.Config, parent.Config)
    kept = {name: copy(own.model_fields[name]) for name in sorted(alone & base.Config.model_fields.keys())}
    config = type(
        f"{addition.__name__}Over{base.__name__}Config",
        configs,
        {
            "__module__": addition.__module__,
            "__doc__": addition.Config.__doc__,
            "__annotations__": {name: field.annotation for name, field in kept.items()},
            **kept,
        },
    )
    return type(
        f"{addition.__name__}Over{base.__name__}",
        (part, base),
        {
            "__module__": addition.__module__,
            "__doc__": addition.__doc__,
            "name": addition.name,
            "addition": True,
            "Config": config,
            "metrics": {**base.metrics, **addition.metrics},
            "exemptions": {**base.exemptions, **addition.exemptions, **(ALIEN if part is not addition else {})},
        },
    )


def _part(addition: type[Objective[Any]], parent: type[Objective[Any]]) -> type[Objective[Any]] | None:
    """What an addition adds, as a class that stands over whatever base; None where it is more than that class beside its parent."""
    first, *others = addition.__bases__
    found: Any = first
    if not getattr(found, "addition", False) or getattr(found, "name", None):
        return None
    joins = all(issubclass(parent, other) for other in others)
    methods = any(hasattr(value, "__get__") for value in vars(addition).values())
    ours = {*found.Config.__mro__, *parent.Config.__mro__}
    settings = any(vars(cls).get("__annotations__") for cls in addition.Config.__mro__ if cls not in ours)
    return found if joins and not methods and not settings else None


def _declared(config: type[ObjectiveConfig], above: type[ObjectiveConfig]) -> set[str]:
    """Settings that a class of settings declares itself, or by a parent that is none of `above`."""
    own: list[Any] = [cls for cls in config.__mro__ if cls not in above.__mro__]
    return {name for cls in own for name in vars(cls).get("__annotations__", {})} & config.model_fields.keys()


def _refuse_collision(
    addition: type[Objective[Any]], part: type[Objective[Any]], base: type[Objective[Any]], parent: type[Objective[Any]]
) -> None:
    """Refuse two that mean unlike things by one name: a method or a setting of one would answer for the other's.

    `part` is what of the addition goes over the base: the whole where the base is a relative of its parent.
    """
    from rlzoo.objective import Objective
    from rlzoo.settings import ObjectiveConfig

    relative = issubclass(base, parent)
    shared: Any = parent if relative else Objective
    declared = set(Objective.__annotations__)
    known = parent.Config.model_fields if relative else ObjectiveConfig.model_fields
    others: list[Any] = list(base.__mro__)
    for other in others:
        if "Config" not in vars(other) or (relative and not getattr(other, "addition", False)):
            continue
        methods = {name for name in vars(part).keys() & vars(other).keys() - declared if not hasattr(shared, name)}
        fields = part.Config.model_fields.keys() & other.Config.model_fields.keys() - known.keys()
        clashing = sorted(name for name in methods | fields if not name.startswith("_"))
        if part is other or clashing:
            both = ", ".join(repr(name) for name in clashing[:4]) or "everything"
            raise UnknownName(
                f"objective {addition.name!r} cannot add to {base.name!r}: both have {both} and mean their own by it. "
                "Choose a base that has none of these."
            )


def build_objective(config: ObjectiveConfig) -> Objective[Any]:
    """The objective that `config` describes."""
    return objective_class(config.name, config.base)(config)


SHIPPED_VERIFIERS = "rlzoo.verifiers."
"""Where the verifiers lie that come with this package."""


def shipped_verifiers() -> list[str]:
    """Names of the verifiers that every installation has."""
    entries = verifiers.entries()
    return sorted(name for name in entries if entries[name].value.startswith(SHIPPED_VERIFIERS))


def verifier_class(name: str) -> type[Verifier[Any]]:
    """The class behind a name, if it has the form of a verifier."""
    from rlzoo.settings import VerifierConfig
    from rlzoo.verifier import Verifier

    found: Any = verifiers.load(name)
    if not (isinstance(found, type) and issubclass(found, Verifier)):
        raise UnknownName(f"{name!r} is no verifier. Make it a subclass of rlzoo.verifier.Verifier that defines judge.")
    if found.judge is Verifier.judge:
        raise UnknownName(f"verifier {name!r} judges nothing. Write judge(self, problem, response) into it.")
    if not isinstance(getattr(found, "name", None), str):
        raise UnknownName(f'verifier {name!r} declares no name. Write `name = "my-verifier"` into it.')
    if not (isinstance(found.Config, type) and issubclass(found.Config, VerifierConfig)):
        raise UnknownName(
            f"the Config of verifier {name!r} is no subclass of rlzoo.verifier.VerifierConfig. Make it one."
        )
    return found


def build_verifier(name: str, context: VerifierContext | None = None) -> Verifier[Any]:
    """The verifier of that name with the run's settings; with its defaults where there is no run."""
    from rlzoo.verifier import VerifierContext

    context = context or VerifierContext()
    found = verifier_class(name)
    return found(found.Config.model_validate(dict(context.settings.get(name, {}))), context)
