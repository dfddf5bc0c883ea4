"""Pictures as inline SVG. Ink is the page's own text colour, so one picture serves light and dark pages."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from rlzoo.errors import DataError
from rlzoo.evals import measurements
from rlzoo.evals.analysis import Comparison
from rlzoo.evals.records import Record
from rlzoo.evals.report import content, curves
from rlzoo.evals.report.curves import Line
from rlzoo.text import visible

INK = "#010203"
"""Stands for the page's text colour in what matplotlib draws."""
COLOURS = ("#3b82c4", "#e08a1e", "#2a9d6f", "#c65d9b", "#8b6fd0", "#a5744a", "#5aa7a7", "#b5a12c")
CONTROL = "#8a8f98"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
WIDTH, HEIGHT = 4.4, 2.9
"""Inches; a page of 400 pixels shows it at full size."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "rlzoo",
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "font.size": 9,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    caption: str
    svg: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ink:
    colour: str
    marker: str
    dash: str


def inks(comparison: Comparison) -> dict[str, Ink]:
    """A look for each arm, told apart without colour too."""
    claims = [name for name in comparison.spec.names if name not in comparison.spec.controls]
    found = {
        name: Ink(colour=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], dash="-")
        for i, name in enumerate(claims)
    }
    for i, name in enumerate(sorted(comparison.spec.controls)):
        found[name] = Ink(colour=CONTROL, marker=MARKERS[-1 - i % len(MARKERS)], dash=("--", ":", "-.")[i % 3])
    return found


@contextmanager
def _figure(height: float = HEIGHT) -> Iterator[tuple[Figure, Axes]]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield figure, figure.add_subplot()


def _svg(figure: Figure, name: str) -> str:
    """The figure as an element of a page: no prologue, ids of its own, ink in the page's colour."""
    out = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(
            out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}, transparent=True
        )
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\b(id="|href="#|url\(#)', lambda found: f"{found[1]}{name}-", text)
    text = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r'\1 role="img"', text, count=1)
    return text.replace(INK, "currentColor")


def _short(text: str, most: int = 22) -> str:
    text = visible(text, keep="")
    return text if len(text) <= most else text[: most - 1] + "…"


# ---------------------------------------------------------------------------------------------------------
# Verdicts


def differences(comparison: Comparison) -> Picture | None:
    """Each arm's difference with its interval, and the margin as a band."""
    shown = [verdict for verdict in comparison.verdicts if verdict.judgement.difference is not None]
    if not shown:
        return None
    look = inks(comparison)
    with _figure(0.9 + 0.36 * len(shown)) as (figure, axes):
        margin = comparison.spec.margin
        axes.axvspan(-margin, margin, color=INK, alpha=0.07, linewidth=0)
        axes.axvline(0, color=INK, linewidth=0.8)
        for row, verdict in enumerate(shown):
            judged, ink = verdict.judgement, look[verdict.arm]
            assert judged.difference is not None
            if judged.interval is not None:
                axes.plot([100 * end for end in judged.interval], [row, row], color=ink.colour, linewidth=2)
            axes.plot(100 * judged.difference.mean, row, ink.marker, color=ink.colour, markersize=6)
        axes.set_yticks(range(len(shown)), [_short(verdict.arm) for verdict in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"points of pass@1 against {_short(comparison.spec.baseline)}")
        svg = _svg(figure, "differences")
    return Picture(
        caption=f"Differences with Holm's intervals over seeds; the band is the margin of {margin:g} points", svg=svg
    )


# ---------------------------------------------------------------------------------------------------------
# Curves

FEW = ": the first of each level, at most 8, one response each, the same for every run at every point. Drawn, and never judged by"
_LABELS = {"tokens": "sampled tokens", "steps": "steps", "seconds": "device seconds"}


def learning(comparison: Comparison) -> dict[str, list[Picture]]:
    """By axis: correct rollouts in training, and pass@1 on test problems."""
    found: dict[str, list[Picture]] = {}
    for axis, label in _LABELS.items():
        pictures = [
            _lines(
                comparison,
                f"train-{axis}",
                "Correct training rollouts, smoothed",
                label,
                partial(curves.rewards, axis=axis),
                percent=True,
            ),
            _lines(
                comparison,
                f"curve-{axis}",
                "pass@1 on a few test problems, macro",
                label,
                partial(curves.on_the_way, axis=axis),
                percent=True,
                points=True,
                remark=FEW,
            ),
            _lines(
                comparison,
                f"test-{axis}",
                "pass@1 on test problems, macro",
                label,
                partial(curves.tested, axis=axis),
                percent=True,
                points=True,
            ),
        ]
        found[axis] = [picture for picture in pictures if picture is not None]
    return {axis: pictures for axis, pictures in found.items() if pictures}


_HEALTH = (
    ("policy/entropy", "Entropy, nats"),
    ("groups/mixed", "Groups with mixed rewards"),
    ("grad/norm", "Gradient norm"),
    ("length/mean", "Response length, tokens"),
    ("evidence/auc", "evidence/auc"),
)


def health(comparison: Comparison) -> list[Picture]:
    found = [
        _lines(comparison, f"health-{i}", title, "steps", partial(curves.metric, name=name))
        for i, (name, title) in enumerate(_HEALTH)
    ]
    return [picture for picture in found if picture is not None]


def claims(comparison: Comparison) -> list[Picture]:
    """Interference, representations, drift and retention along training, where runs measured them."""
    families = (
        ("interference", "negative", "Pairs of domains whose gradients oppose"),
        ("representations", "alignment", "Alignment of correct rollouts (lower is closer)"),
        ("representations", "uniformity", "Uniformity (lower is more spread)"),
        ("representations", "separability", "Domains told apart by nearest centroid"),
        ("drift", "kl", "KL on mastered prompts, nats"),
        ("retention", "accuracy", "Accuracy on problems mastered before"),
    )
    found = [
        _lines(
            comparison, f"claim-{i}", title, "steps", partial(curves.diagnosed, family=family, name=name), points=True
        )
        for i, (family, name, title) in enumerate(families)
    ]
    return [picture for picture in found if picture is not None]


def _lines(
    comparison: Comparison,
    name: str,
    title: str,
    label: str,
    line: Callable[[Record], Line],
    *,
    percent: bool = False,
    points: bool = False,
    remark: str = "",
) -> Picture | None:
    """Thin lines a seed, a thick one for their mean."""
    by_arm = {
        arm: [found for record in seeds.values() if (found := line(record)).x] for arm, seeds in comparison.grid.items()
    }
    by_arm = {arm: lines for arm, lines in by_arm.items() if lines}
    if not any(len(each.x) > 1 for lines in by_arm.values() for each in lines):
        return None
    look = inks(comparison)
    scale = 100 if percent else 1
    with _figure() as (figure, axes):
        for arm, lines in by_arm.items():
            ink = look[arm]
            if all(len(each.x) == 1 for each in lines):  # not trained: a level to hold the others against
                level = scale * float(np.mean([each.y[0] for each in lines]))
                axes.axhline(level, color=ink.colour, linestyle=ink.dash, linewidth=1.4, label=_short(arm))
                continue
            for each in lines:
                axes.plot(
                    each.x, scale * np.asarray(each.y), color=ink.colour, linewidth=0.7, alpha=0.45, linestyle=ink.dash
                )
                if points:
                    axes.plot(each.x, scale * np.asarray(each.y), ink.marker, color=ink.colour, markersize=3, alpha=0.5)
            x, y = curves.mean(lines)
            axes.plot(x, scale * np.asarray(y), color=ink.colour, linewidth=2, linestyle=ink.dash, label=_short(arm))
        axes.set_title(f"{title}{', %' if percent else ''}")
        axes.set_xlabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=label == "steps"))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: content.count(value)))
        _legend(figure, len(by_arm))
        svg = _svg(figure, name)
    return Picture(caption=f"{title}, along {label}{remark}", svg=svg)


def _legend(figure: Figure, entries: int) -> None:
    figure.legend(
        loc="outside lower left", ncols=3 if entries != 4 else 2, fontsize=8, handlelength=1.4, columnspacing=1.0
    )


# ---------------------------------------------------------------------------------------------------------
# Interference and representations


def interference(comparison: Comparison) -> list[content.Table]:
    """Mean cosine between the domains' gradients, an arm a table."""
    tables: list[content.Table] = []
    for arm, seeds in comparison.grid.items():
        found = [
            line["interference"]
            for record in seeds.values()
            for line in curves.diagnostics(record)
            if _is_matrix(line.get("interference"))
        ]
        domains = list(dict.fromkeys(str(domain) for each in found for domain in each["domains"]))
        if not domains:
            continue
        cosines = [[_cosine(found, a, b) for b in domains] for a in domains]
        tables.append(
            content.Table(
                key=f"interference-{len(tables)}",
                title=arm,
                head=["", *domains],
                rows=[
                    [a, *(f"{value:+.2f}" if value is not None else content.NONE for value in row)]
                    for a, row in zip(domains, cosines, strict=True)
                ],
                shades=[
                    [value if a != b else None for b, value in zip(domains, row, strict=True)]
                    for a, row in zip(domains, cosines, strict=True)
                ],
            )
        )
    return tables


def _is_matrix(found: object) -> bool:
    if not isinstance(found, Mapping):
        return False
    size = len(found.get("domains") or ())
    cosine = found.get("cosine") or ()
    return size > 0 and len(cosine) == size and all(len(row) == size for row in cosine)


def _cosine(found: Sequence[Mapping[str, Any]], one: str, other: str) -> float | None:
    values = []
    for each in found:
        names = [str(name) for name in each["domains"]]
        if one in names and other in names:
            value = each["cosine"][names.index(one)][names.index(other)]
            values += [float(value)] if isinstance(value, (int, float)) else []
    return float(np.mean(values)) if values else None


MOST_DOTS = 400


def representations(comparison: Comparison) -> list[Picture]:
    """The last embeddings of each arm's first seed that has any, on their two widest directions."""
    pictures: list[Picture] = []
    for arm, seeds in comparison.grid.items():
        for record in seeds.values():
            files = measurements.representation_files(record.run)
            picture = _scatter(arm, record, files[-1], len(pictures)) if files else None
            if picture is not None:
                pictures.append(picture)
                break
    return pictures


def _scatter(arm: str, record: Record, file: Path, number: int) -> Picture | None:
    try:
        points_NH, domains, correct = measurements.representation(file)
    except DataError:
        return None
    if len(points_NH) < 3:
        return None
    domain_N, correct_N = np.asarray(domains), np.asarray(correct)
    points_NH = points_NH / np.maximum(np.linalg.norm(points_NH, axis=1, keepdims=True), 1e-12)
    centred_NH = points_NH - points_NH.mean(0)
    _, spread_K, axes_KH = np.linalg.svd(centred_NH, full_matrices=False)
    flat_N2 = centred_NH @ axes_KH[:2].T
    share = float((spread_K[:2] ** 2).sum() / max((spread_K**2).sum(), 1e-12))
    keep = np.linspace(0, len(flat_N2) - 1, min(len(flat_N2), MOST_DOTS)).round().astype(int)
    step = int(file.stem.removeprefix("step-"))
    with _figure(3.4) as (figure, axes):
        names = list(dict.fromkeys(domain_N[keep].tolist()))
        for i, name in enumerate(names):
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
            for right, face in ((True, colour), (False, "none")):
                mine = keep[(domain_N[keep] == name) & (correct_N[keep] == right)]
                label = _short(name) if right or not (correct_N[keep] & (domain_N[keep] == name)).any() else None
                axes.scatter(
                    flat_N2[mine, 0],
                    flat_N2[mine, 1],
                    s=16,
                    marker=marker,
                    facecolors=face,
                    edgecolors=colour,
                    linewidths=0.8,
                    label=label,
                )
        axes.set_title(f"{_short(arm)}, seed {record.seed}, step {step}")
        axes.set_xticks([], [])
        axes.set_yticks([], [])
        _legend(figure, len(names))
        svg = _svg(figure, f"representations-{number}")
    return Picture(
        caption=f"{arm}: rollouts by representation, seed {record.seed}, step {step}. Two directions hold {100 * share:.0f} % of the spread; filled dots are correct",
        svg=svg,
    )
