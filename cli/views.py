"""Views of a run's diagnostics: interference, drift, representations, token credit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from rlzoo.cli import console, plain, selection
from rlzoo.errors import RunConflict, UsageError
from rlzoo.evals import measurements
from rlzoo.runs.folder import RunDir, write_text

if TYPE_CHECKING:
    from rlzoo.evals.measurements import Mean, Projection, Token

EVERY = "diagnostics.every"


def _opened(folder: Path) -> RunDir:
    run = RunDir(folder)
    selection.check(run, [])
    return run


def _nothing(run: RunDir, what: str, missing: str = "") -> UsageError:
    looked = measurements.measured_steps(run)
    if looked:
        return UsageError(
            f"{run.path} was measured after {console.count(looked, 'step')}, but has no {what}: {missing}"
        )
    return UsageError(
        f"{run.path} holds no {what}: none was measured. Train with --set {EVERY}=10 to measure every 10 steps."
    )


def _plus_minus(found: Mean, digits: int = 3, *, sign: bool = False, factor: float = 1.0) -> str:
    if not found.steps:
        return "–"
    value = f"{factor * found.value:{'+' if sign else ''}.{digits}f}"
    return value if found.se is None else f"{value} ± {factor * found.se:.{digits}f}"


def interference(folder: Path, *, json: bool) -> None:
    """Cosines between the gradients of domains, and how often they pointed apart."""
    run = _opened(folder)
    pairs = measurements.pairs(run)
    if not pairs:
        raise _nothing(run, "interference", "none of them held two domains with a gradient.")
    if json:
        console.print_json([asdict(pair) for pair in pairs])
        return
    console.print_table(
        ["domains", "cosine", "negative", "steps"],
        [
            [
                " · ".join(pair.domains),
                _plus_minus(pair.cosine, sign=True),
                f"{100 * pair.negative / pair.cosine.steps:.0f} %",
                str(pair.cosine.steps),
            ]
            for pair in pairs
        ],
        right=(1, 2, 3),
    )
    console.print_line()
    console.emit(
        console.safe(
            "Cosine between the gradients of the domains' own rows, from -1 to 1, mean ± one standard error over measured steps: "
            "above 0 an update for one helps the other, at 0 they do not touch, below 0 one undoes the other; "
            "negative: the share of measured steps at which it was below 0."
        )
    )


def drift(folder: Path, *, json: bool) -> None:
    """What a step's updates do to the prompts it had mastered, and what remains later."""
    run = _opened(folder)
    found = measurements.drift(run)
    if not found.kl.steps and not found.retention:
        raise _nothing(run, "drift", "none of them held a mastered prompt, one whose rollouts are all correct.")
    if json:
        console.print_json(asdict(found))
        return
    if found.kl.steps:
        console.print_line(
            f"mastered prompts, over one step · {console.count(found.prompts, 'prompt')} · {console.count(found.kl.steps, 'step')}"
        )
        console.print_pairs(
            [
                ("KL(before || after)", f"{_plus_minus(found.kl, 5)} nats a token"),
                ("accuracy lost", f"{_plus_minus(found.lost, 1, sign=True, factor=100)} points"),
            ]
        )
    if found.retention:
        console.print_line()
        console.print_table(
            ["step", "problems mastered before", "still right"],
            [
                [
                    str(step),
                    str(problems),
                    f"{100 * accuracy:.1f} ± {100 * math.sqrt(accuracy * (1 - accuracy) / problems):.1f} %",
                ]
                for step, problems, accuracy in found.retention
            ],
            right=(0, 1, 2),
        )
    console.print_line()
    console.emit(
        console.safe(
            "Mean ± one standard error over measured steps. A prompt is mastered when all of its rollouts are correct; each is asked "
            "once again. Chosen for their luck too, they lose a little even where nothing was learned: compare objectives, not with 0. "
            "What keeps the mastered loses less, and its last column does not fall."
        )
    )


# ---------------------------------------------------------------------------------------------------------
# Representations


SPACE = (
    "On the unit sphere: alignment, the mean squared distance (0-4) of correct rollouts of one domain, falls as they draw together; "
    "uniformity, the log of the mean exp(-2 d²) over all pairs, falls as rollouts spread out; separability, the share of rollouts "
    "nearest to the centre of their own domain, is 1 where domains lie apart and falls as they mix."
)


def representations(folder: Path, out: Path | None, *, json: bool) -> None:
    """How embeddings of rollouts lie by domain and correctness, over training."""
    run = _opened(folder)
    measured = measurements.records(run, "representations")
    if not measured and not measurements.representation_files(run):
        raise _nothing(run, "representations")
    projection = measurements.project(run)
    data = {"statistics": [{"step": step, **values} for step, values in measured], **_as_data(projection)}
    if out is not None:
        _write_picture(projection, data, out)
    if json:
        console.print_json(data)
        return
    names = sorted({name for _, values in measured for name in values})
    console.print_table(
        ["step", *names],
        [
            [str(step), *("–" if values.get(name) is None else f"{values[name]:.3f}" for name in names)]
            for step, values in measured
        ],
        right=range(1 + len(names)),
    )
    if projection.snapshots:
        one, two = projection.explained
        rows = sum(len(snapshot.domains) for snapshot in projection.snapshots)
        console.print_line()
        console.emit(
            console.safe(
                f"PCA over {rows} rollouts of {console.count(len(projection.snapshots), 'step')} together: the first two components hold "
                f"{100 * one:.0f} % and {100 * two:.0f} % of the variance."
            )
        )
    console.print_line()
    console.emit(console.safe(SPACE))
    if out is not None:
        console.hint(f"Drawn: {out}; its data: {out.with_suffix('.json')}")
    elif projection.snapshots:
        console.hint("--out FILE.png draws it.")


def _as_data(projection: Projection) -> dict[str, Any]:
    return {
        "explained": list(projection.explained) if projection.snapshots else [],
        "steps": [
            {
                "step": snapshot.step,
                "points": snapshot.points.tolist(),
                "domains": snapshot.domains,
                "correct": snapshot.correct,
            }
            for snapshot in projection.snapshots
        ],
    }


COLUMNS = 4
"""Steps drawn side by side."""


def _write_picture(projection: Projection, data: Mapping[str, Any], out: Path) -> None:
    if out.suffix.lower() != ".png":
        raise UsageError(
            f"--out {str(out)!r} is no PNG. Give a name that ends in .png; its data goes beside it as .json."
        )
    if not projection.snapshots:
        raise UsageError("no embeddings were recorded, so there is nothing to draw. Leave out --out.")
    from matplotlib.figure import Figure

    shown = _spread(projection.snapshots, COLUMNS)
    domains = sorted({domain for snapshot in projection.snapshots for domain in snapshot.domains})
    width = max(3.2 * len(shown), 1.8 * len(domains))  # inches; the second is the legend's
    figure = Figure(figsize=(width, 3.4), layout="constrained")
    axes = figure.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0]
    for axis, snapshot in zip(axes, shown, strict=True):
        for number, domain in enumerate(domains):
            for correct, marker in ((True, "o"), (False, "x")):
                index = [
                    i
                    for i, (d, c) in enumerate(zip(snapshot.domains, snapshot.correct, strict=True))
                    if (d, c) == (domain, correct)
                ]
                label = f"{plain.visible(domain, keep='')}, {'correct' if correct else 'wrong'}".replace("$", r"\$")
                axis.scatter(
                    snapshot.points[index, 0],
                    snapshot.points[index, 1],
                    s=12,
                    marker=marker,
                    color=f"C{number % 10}",
                    label=label,
                    alpha=0.7,
                )
        axis.set_title(f"step {snapshot.step}")
        axis.set_xlabel(f"PC 1 ({100 * projection.explained[0]:.0f} %)")
    axes[0].set_ylabel(f"PC 2 ({100 * projection.explained[1]:.0f} %)")
    figure.suptitle("Embeddings of rollouts, PCA over all steps", fontsize=9)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=max(1, len(domains)), frameon=False
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, format="png")
        from rlzoo.runs.folder import dumps

        write_text(out.with_suffix(".json"), dumps(data) + "\n")
    except OSError as error:
        raise RunConflict(f"{out} cannot be written: {error.strerror}. Give another file with --out.") from error


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of them, evenly spread, first and last among them."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


# ---------------------------------------------------------------------------------------------------------
# Token credit

MEANING = (
    "Colour is the token's advantage times its policy scale: green pulls up, red pushes down, plain does nothing. "
    "Underlined: another term acts there. Second line where there is evidence: green speaks for the right answer."
)


def credit(folder: Path, step: int | None, problem: str | None, limit: int, html: Path | None, *, json: bool) -> None:
    """Responses with every token's credit."""
    run = _opened(folder)
    rows = selection.select(run, selection.rollouts(run), step, problem, [])
    shown = rows[:limit] if limit else rows
    marked = [(row, measurements.tokens(row)) for row in shown]
    if not any(row.get("advantages") is not None for row in shown):
        raise UsageError(
            f"step {shown[0]['step']} of {run.path} stopped before credit was given. Choose another with --step."
        )
    if html is not None:
        try:
            write_text(html, page(marked))
        except OSError as error:
            raise RunConflict(f"{html} cannot be written: {error.strerror}. Give another file with --html.") from error
    if json:
        for row, tokens in marked:
            about = {key: row[key] for key in ("step", "problem_id", "domain", "group", "rollout", "status", "reward")}
            console.print_json({**about, "tokens": [asdict(token) for token in tokens]})
    else:
        _print_credit(marked)
    if len(shown) < len(rows):
        console.hint(f"{len(shown)} of {len(rows)} rollouts; --limit 0 shows all.")
    if html is not None:
        console.hint(f"Written: {html}")


def pull(token: Token) -> float:
    """What the policy term does with a token: its advantage, times the term's scale where it has one."""
    return token.advantage * token.scales.get("policy", 1.0)


def _print_credit(marked: Sequence[tuple[Mapping[str, Any], Sequence[Token]]]) -> None:
    most = measurements.largest([pull(token) for _, tokens in marked for token in tokens])
    clearest = measurements.largest([token.evidence or 0.0 for _, tokens in marked for token in tokens])
    out, group = console.stdout(), None
    for row, tokens in marked:
        if row["group"] != group:
            group = row["group"]
            console.print_group(row)
        console.print_rollout_head(row)
        bar = Text.assemble(("    │ ", "dim"))  # styled by a span: a base style would dim what follows
        line, evidence = bar.copy(), bar.copy()
        for token in tokens:
            text = console.safe(plain.visible(token.text, keep=""))
            others = any(scale for name, scale in token.scales.items() if name != "policy")
            text.stylize(console.shade(measurements.strength(pull(token), most), underline=others))
            line.append_text(text)
            if token.evidence is not None:
                again = console.safe(plain.visible(token.text, keep=""))
                again.stylize(console.shade(measurements.strength(token.evidence, clearest)))
                evidence.append_text(again)
        out.print(line, soft_wrap=True)
        if clearest:
            out.print(evidence, soft_wrap=True)
        console.print_pairs([("", summary(tokens))])
    console.print_line()
    console.emit(console.safe(MEANING))


def summary(tokens: Sequence[Token]) -> str:
    """The numbers behind the colours: they must not be all there is."""
    if not tokens:
        return "no tokens"
    ranges = {"advantage": [token.advantage for token in tokens]}
    for name in tokens[0].scales:
        ranges[f"scale {name}"] = [token.scales[name] for token in tokens]
    if tokens[0].evidence is not None:
        ranges["evidence (nats)"] = [token.evidence or 0.0 for token in tokens]
    return "  ".join(
        f"{name} {min(values):+.2f}" + (f" to {max(values):+.2f}" if min(values) != max(values) else "")
        for name, values in ranges.items()
    )


def page(marked: Sequence[tuple[Mapping[str, Any], Sequence[Token]]]) -> str:
    """The same as one HTML file that loads nothing and runs nothing."""
    from importlib import resources

    from jinja2 import Environment, StrictUndefined

    text = (resources.files("rlzoo.cli") / "templates" / "credit.html").read_text(encoding="utf-8")
    most = measurements.largest([pull(token) for _, tokens in marked for token in tokens])
    clearest = measurements.largest([token.evidence or 0.0 for _, tokens in marked for token in tokens])

    def level(strength: float) -> str:
        return f"{'p' if strength > 0 else 'n'}{round(9 * abs(strength))}"

    rollouts = [
        {
            "row": {
                key: plain.visible(str(row[key]), keep="\n")
                for key in ("problem_id", "domain", "status", "prompt_text", "reason")
            },
            "step": row["step"],
            "number": row["rollout"],
            "reward": row["reward"],
            "summary": summary(tokens),
            "tokens": [
                {
                    "text": plain.visible(token.text, keep="\n"),
                    "class": level(measurements.strength(pull(token), most))
                    + (" u" if any(s for n, s in token.scales.items() if n != "policy") else ""),
                    "evidence": None
                    if token.evidence is None
                    else level(measurements.strength(token.evidence, clearest)),
                    "title": _title(token),
                }
                for token in tokens
            ],
        }
        for row, tokens in marked
    ]
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(text)
    return template.render(rollouts=rollouts, meaning=MEANING, levels=range(1, 10))


def _title(token: Token) -> str:
    parts = [f"advantage {token.advantage:+.4f}", *(f"scale {name} {scale:g}" for name, scale in token.scales.items())]
    return ", ".join(parts + ([] if token.evidence is None else [f"evidence {token.evidence:+.4f}"]))
