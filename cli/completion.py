"""What a shell offers after TAB: registered names. Nothing heavy is loaded for it."""

from __future__ import annotations

from collections.abc import Iterable


def objectives(incomplete: str) -> list[str]:
    from rlzoo import registry

    return _begun(registry.objectives.names(), incomplete)


def verifiers(incomplete: str) -> list[str]:
    from rlzoo import registry

    return _begun(registry.verifiers.names(), incomplete)


def recipes(incomplete: str) -> list[str]:
    from rlzoo import configure

    return _begun(configure.recipes(), incomplete)


def presets(incomplete: str) -> list[str]:
    from rlzoo.experiment import presets

    return _begun(presets.PRESETS, incomplete)


def _begun(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))
