"""Paths in settings, made to mean the same from every working folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

from rlzoo.config import EMBEDDED


def anchored(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Settings whose relative paths are absolute where they lead to something in `folder`; the others stay as they are.

    A model, a source's rows, and whatever is named `file.py` or `file.py:Attribute`. Called for the folder of a file of settings, then
    for the present one: a path is looked for beside the file that holds it, then where the command is given.
    """
    made = dict(data)
    _change(made, "model", "path", lambda path: path if path in EMBEDDED else _placed(path, folder))
    for section, names in (("objective", ("name", "base")), ("sampling", ("backend",)), ("data", ("curriculum",))):
        for name in names:
            _change(made, section, name, lambda text: attribute(text, folder))
    _change(made, "objective", "teacher_path", lambda path: path if path in ("", *EMBEDDED) else _placed(path, folder))
    for section in ("data", "eval"):
        _change(made, section, "sources", lambda sources: [_source(source, folder) for source in sources])
    if isinstance(made.get("objective"), str):
        made["objective"] = attribute(made["objective"], folder)
    if isinstance(made.get("verifier"), Mapping):
        made["verifier"] = {
            attribute(name, folder) if isinstance(name, str) else name: value
            for name, value in made["verifier"].items()
        }
    return made


def _change(data: dict[str, Any], section: str, name: str, change: Any) -> None:
    """Replace `data[section][name]`, copying on the way; nothing where it is not of the form that settings have."""
    inside = data.get(section)
    if isinstance(inside, Mapping) and isinstance(inside.get(name), list if name == "sources" else str):
        data[section] = {**inside, name: change(inside[name])}


def _source(source: Any, folder: Path) -> Any:
    options = source.get("options") if isinstance(source, Mapping) else None
    if not isinstance(options, Mapping):
        return source
    changed = dict(options)
    if source.get("name") == "file" and isinstance(options.get("path"), str):
        changed["path"] = _placed(options["path"], folder)
    if isinstance(options.get("verifier"), str):
        changed["verifier"] = attribute(options["verifier"], folder)
    return {**source, "options": changed}


def attribute(text: str, folder: Path) -> str:
    """`file.py` or `file.py:Attribute`, the file placed; any other name as it is."""
    file, colon, attribute = text.rpartition(":") if ":" in text else (text, "", "")
    return f"{_placed(file, folder)}{colon}{attribute}" if file.endswith(".py") else text


def unplaced(name: str) -> str:
    """A name for fingerprints: where a file lies changes nothing that it holds."""
    return PurePath(name).name if name.partition(":")[0].endswith(".py") else name


def without_places(data: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in which a file or folder is named without where it lies: two runs of them are of the same settings, wherever made."""
    made = dict(data)

    def bare(path: str) -> str:
        return PurePath(path).name if os.path.isabs(path) else path

    _change(made, "model", "path", bare)
    for section, names in (("objective", ("name", "base")), ("sampling", ("backend",)), ("data", ("curriculum",))):
        for name in names:
            _change(made, section, name, unplaced)
    _change(made, "objective", "teacher_path", bare)
    for section in ("data", "eval"):
        _change(made, section, "sources", lambda sources: [_bare_source(source, bare) for source in sources])
    if isinstance(made.get("verifier"), Mapping):
        made["verifier"] = {unplaced(name): value for name, value in made["verifier"].items()}
    return made


def _bare_source(source: Any, bare: Callable[[str], str]) -> Any:
    options = dict(source["options"])
    for name, change in (("path", bare), ("verifier", unplaced)):
        if isinstance(options.get(name), str):
            options[name] = change(options[name])
    return {**source, "options": options}


def _placed(path: str, folder: Path) -> str:
    whole = folder / expanded(path)
    return os.path.abspath(whole) if whole.exists() else path


def expanded(path: str) -> Path:
    """With `~` as the home it stands for; as it is where it stands for none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # nobody of that name
        return Path(path)
