"""`rlzoo check data`: what is in a file of problems, and what of it a run would lose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlzoo.cli import options
from rlzoo.text import without_particulars

if TYPE_CHECKING:
    from rlzoo.config import VerificationConfig
    from rlzoo.data.file_options import FileOptions
    from rlzoo.data.problems import Loaded
    from rlzoo.types import Problem
    from rlzoo.verifiers.pool import VerifierPool

EMBEDDED_PER_LEVEL = 60
"""Test problems of each level of the embedded domains that are compared with."""
PROBE = "Aé∑漢 {}?"
"""Text that a tokenizer of any text can spell."""
SHOWN = 80
"""Characters shown of a prompt."""

Files = Annotated[
    list[str], typer.Argument(metavar="FILE", help="A file, a folder or a hub name; several are looked at one by one.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="A=B", help="An option of the source: columns.prompt=question, skip_bad=true; repeatable."
    ),
]
Suites = Annotated[
    list[str] | None,
    typer.Option("--suite", metavar="FILE", help="Problems you will test on, to be compared with; repeatable."),
]
Model = Annotated[str, typer.Option("--model", metavar="MODEL", help="Whose tokens lengths are counted in.")]
MaxPrompt = Annotated[int, typer.Option("--max-prompt", metavar="N", help="The run's sampling.max_prompt.", min=1)]
Golds = Annotated[
    int | None,
    typer.Option("--golds", metavar="N", help="Answers to hold against their own verifier. [default: all]", min=0),
]
Verifier = Annotated[
    list[str] | None,
    typer.Option(
        "--verifier", metavar="A=B", help="A setting of verification in a run: maths.equality=lenient; repeatable."
    ),
]


def command(
    files: Files,
    sets: Sets = None,
    suites: Suites = None,
    model: Model = "tiny",
    max_prompt: MaxPrompt = 256,
    golds: Golds = None,
    verifier: Verifier = None,
    json: options.Json = False,
) -> None:
    """Rows, domains, lengths, repetitions, overlap with tests, and answers that fail; exit code 1 if rows would be lost."""
    from rlzoo import configure
    from rlzoo.cli import console
    from rlzoo.data import file_options, problems

    chosen: dict[str, Any] = {}
    for text in sets or []:
        chosen = configure.merge(chosen, configure.parse_assignment(text))
    settings = configure.verification([f"verifier.{text}" for text in verifier or []])
    told = [file_options.parse({**chosen, "path": path}) for path in files]
    loaded = [problems.load(wanted) for wanted in told]  # before anything heavy: a file that is none is told at once
    measured = ruler(model)
    against = _suites(suites or [])
    lost = False
    for wanted, rows in zip(told, loaded, strict=True):
        found = examine(wanted, rows, against, measured, settings=settings, max_prompt=max_prompt, golds=golds)
        lost = lost or found["would_lose"]
        if json:
            console.print_json(found)
        else:
            _print(found)
    if lost:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class Ruler:
    """How long texts are."""

    unit: str
    text: Callable[[str], int]
    prompt: Callable[[Problem], int]
    """With the chat template, where lengths are in tokens."""
    shown: Callable[[Problem], str] | None = None
    """The prompt as the model reads it, special tokens written out; None where no model of one's own is asked about."""


def ruler(model: str) -> Ruler:
    """In the model's tokens where it can spell any text, else in characters."""
    from rlzoo.config import EMBEDDED
    from rlzoo.data import survey

    in_characters = Ruler("characters", len, lambda problem: len(survey.question(problem)))
    if model in EMBEDDED:  # known, so that nothing heavy is imported to find it out
        return in_characters
    from rlzoo.engine.model.loading import load_tokenizer
    from rlzoo.engine.model.rendering import Renderer
    from rlzoo.engine.model.room import PromptLimit

    tokenizer = load_tokenizer(model)
    renderer = Renderer(tokenizer, PromptLimit(tokens=1))
    if not spells_any_text(tokenizer):
        return replace(in_characters, shown=renderer.shown)
    return Ruler(
        "tokens", lambda text: len(tokenizer.encode(text, add_special_tokens=False)), renderer.length, renderer.shown
    )


def spells_any_text(tokenizer: Any) -> bool:
    """Whether letters of several scripts come back from the tokens that they become."""
    spelled: str = tokenizer.decode(tokenizer.encode(PROBE, add_special_tokens=False))
    return spelled.strip() == PROBE


def _suites(paths: Sequence[str]) -> dict[str, list[Problem]]:
    """The embedded tests, and the problems of the files given."""
    from rlzoo.data import file_options, files, mixing, problems, procedural

    embedded = [procedural.maths(), procedural.code(), procedural.logic()]
    found = {"embedded tests": mixing.suite(embedded, "test", EMBEDDED_PER_LEVEL)}
    for path in paths:
        wanted = file_options.parse({"path": path, "skip_bad": True})
        loaded = problems.load(wanted)
        files.refuse_losses(loaded, wanted)
        found[loaded.name] = [problem for _, problem, _ in loaded.problems]
    return found


def examine(
    wanted: FileOptions,
    loaded: Loaded,
    suites: dict[str, list[Problem]],
    measured: Ruler,
    *,
    settings: VerificationConfig,
    max_prompt: int,
    golds: int | None,
) -> dict[str, Any]:
    """Everything there is to tell about one source of rows, as plain data."""
    from rlzoo.data import files, survey

    by_split = files.divided(loaded, wanted)
    everything = [problem for _, problem, _ in loaded.problems]
    held_out = {f"own {split}": by_split[split] for split in ("validation", "test") if by_split[split]}
    failing, unlike = judged_golds(loaded, wanted, settings, golds)
    lengths = {
        "prompt": survey.lengths(map(measured.prompt, everything), measured.unit),
        "answer": survey.lengths((measured.text(p.answer) for p in everything if p.answer is not None), measured.unit),
        "solution": survey.lengths(
            (measured.text(p.solution) for p in everything if p.solution is not None), measured.unit
        ),
    }
    too_long = (
        sum(measured.prompt(problem) > max_prompt for problem in everything) if measured.unit == "tokens" else None
    )
    return {
        "file": wanted.path,
        "layout": loaded.layout.name,
        "used_by": loaded.layout.used_by,
        "mapping": loaded.mapping,
        "rows": loaded.rows,
        "problems": len(everything),
        "repeated_rows": loaded.repeated,
        "splits": {split: len(by_split[split]) for split in by_split},
        "domains": survey.domains(everything),
        "lengths": {name: asdict(found) for name, found in lengths.items() if found is not None},
        "longer_than_max_prompt": too_long,
        "max_prompt": max_prompt,
        "repetitions": asdict(survey.repetitions(everything)),
        "overlap": [asdict(found) for found in survey.overlaps(by_split["train"], {**held_out, **suites})],
        "dropped": [
            {
                "reason": reason,
                "rows": count,
                "first_row": loaded.faults.first[reason][0],
                "detail": loaded.faults.first[reason][1],
            }
            for reason, count in loaded.faults.counts.most_common()
        ],
        "doubts": _doubts(loaded, wanted, unlike),
        "golds": failing,
        "first_prompt": measured.shown(everything[0]) if measured.shown and everything else None,
        "would_lose": would_lose(wanted, loaded, failing["failed"]),
    }


def would_lose(wanted: FileOptions, loaded: Loaded, failed: int) -> bool:
    """Whether more rows are bad, or can never be solved, than `skip_bad` allows."""
    lost = loaded.faults.total + failed
    if isinstance(wanted.skip_bad, bool):
        return not loaded.problems or (lost > 0 and not wanted.skip_bad)
    return not loaded.problems or lost > wanted.skip_bad * loaded.rows


def _doubts(loaded: Loaded, wanted: FileOptions, unlike: Sequence[tuple[int, str]]) -> list[dict[str, Any]]:
    """Rows that a run would take and that may yet be mistakes, by reason."""
    from rlzoo.data import doubts
    from rlzoo.data.rowfaults import RowFault

    found = doubts.found(((number, problem) for number, problem, _ in loaded.problems), wanted.instruction)
    for number, detail in unlike:
        found.add(number, RowFault(doubts.OTHER_SOLUTION.reason, detail))
    return [
        {
            "reason": reason,
            "rows": count,
            "first_row": found.first[reason][0],
            "detail": found.first[reason][1],
            "advice": doubts.advice(reason),
        }
        for reason, count in found.counts.most_common()
    ]


def judged_golds(
    loaded: Loaded, wanted: FileOptions, settings: VerificationConfig, limit: int | None
) -> tuple[dict[str, Any], list[tuple[int, str]]]:
    """The rows' own answers held against their verifiers, by the same functions, limits and words as before a run; and rows whose
    answer is another than that of their own solution, with what the two are."""
    from rlzoo.data import files
    from rlzoo.engine.isolation import find_isolation
    from rlzoo.engine.verification import open_pool

    numbered = [(number, problem) for number, problem, _ in loaded.problems][:limit]
    if not numbered:
        return {"tried": 0, "failed": 0, "untold": 0, "reasons": []}, []
    rows = files.FileSource(name=loaded.name, by_split=files.divided(loaded, wanted))
    with open_pool(settings, find_isolation(settings, [rows])) as pool:
        tried = [(number, problem) for number, problem in numbered if pool.tells(problem)]
        faults = pool.faults([problem for _, problem in tried])
        sound = [row for row, fault in zip(tried, faults, strict=True) if fault is None]
        unlike = unlike_solutions(sound, pool)
    reasons: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], tuple[int, str]] = {}
    for (number, problem), fault in zip(tried, faults, strict=True):
        if fault is not None:
            key = (problem.verifier, without_particulars(fault))
            reasons[key] += 1
            first.setdefault(key, (number, fault))
    return {
        "tried": len(tried),
        "failed": reasons.total(),
        "untold": len(numbered) - len(tried),
        "reasons": [
            {"verifier": key[0], "rows": count, "first_row": first[key][0], "detail": first[key][1]}
            for key, count in reasons.most_common()
        ],
    }, unlike


def unlike_solutions(numbered: Sequence[tuple[int, Problem]], pool: VerifierPool) -> list[tuple[int, str]]:
    r"""Of problems for `maths` whose solution has a \boxed{}: those whose answer the verifier finds wrong there, with both."""
    from rlzoo.data import fields, rowfaults

    held = [
        (number, replace(problem, metadata={**problem.metadata, "extraction": "final"}))
        for number, problem in numbered
        if problem.verifier == "maths" and fields.last_boxed(problem.solution or "") not in (None, problem.answer)
    ]
    verdicts = pool.judge([(problem, problem.solution or "") for _, problem in held])
    return [
        (
            number,
            f"the answer `{rowfaults.short(problem.answer)}`, the solution's `{rowfaults.short(verdict.extracted)}`",
        )
        for (number, problem), verdict in zip(held, verdicts, strict=True)
        if verdict.status == "wrong"
    ]


# ---------------------------------------------------------------------------------------------------------
# For people


def _print(found: dict[str, Any]) -> None:
    from rlzoo.cli import console

    console.print_heading(f"{found['file']}")
    console.print_pairs(_harmless([*_told_of_rows(found), *_told_of_questions(found), *_told_of_losses(found)]))
    if found["first_prompt"] is not None:
        console.print_pairs([("first prompt", "as the model reads it")])
        console.print_block(found["first_prompt"])
    if found["would_lose"]:
        console.hint(
            "A run would refuse or lose these rows. Repair them, or say so: --set skip_bad=true, or a share of all rows."
        )


def _told_of_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    columns = ", ".join(f"{name} from {column}" for name, column in found["mapping"].items())
    sizes = " / ".join(f"{count:,}" for count in found["splits"].values())
    pairs = [
        ("layout", f"{found['layout']} (as {found['used_by']} use it)" if found["layout"] != "columns" else "columns"),
        ("columns", columns or "by their own names"),
        (
            "rows",
            f"{found['rows']:,}, of which {found['problems']:,} problems and {found['repeated_rows']:,} repeated rows",
        ),
        ("train / validation / test", sizes),
    ]
    for domain, verifiers in found["domains"].items():
        pairs.append(("domain", f"{domain}: {', '.join(f'{count:,} for {name}' for name, count in verifiers.items())}"))
    return pairs


def _told_of_questions(found: dict[str, Any]) -> list[tuple[str, str]]:
    pairs = [
        (
            f"{name} length",
            f"{length['least']:,} to {length['most']:,} {length['unit']}, median {length['median']:g}, 95 % up to {length['p95']:,}",
        )
        for name, length in found["lengths"].items()
    ]
    if found["longer_than_max_prompt"]:
        pairs.append(
            ("too long", f"{found['longer_than_max_prompt']:,} prompts have more than {found['max_prompt']:,} tokens")
        )
    again = found["repetitions"]
    pairs.append(
        (
            "same question again",
            f"{again['repeated']:,}, {again['contradicting']:,} of them with another answer{_for_example(again['examples'])}",
        )
    )
    for overlap in found["overlap"]:
        pairs.append(
            (
                f"overlap with {overlap['suite']}",
                f"{overlap['exact']:,} of {overlap['size']:,} problems word for word, {overlap['grams']:,} more by 13 words in a row"
                f"{_for_example(overlap['examples'])}",
            )
        )
    return pairs


def _told_of_losses(found: dict[str, Any]) -> list[tuple[str, str]]:
    golds = found["golds"]
    untold = f", {golds['untold']:,} have a verifier that cannot say" if golds["untold"] else ""
    pairs = [("answers", f"{golds['tried']:,} tried, {golds['failed']:,} cannot be judged{untold}")]
    pairs += [
        (f"  {r['verifier']}", f"{r['rows']:,}, the first is row {r['first_row']:,}: {r['detail']}")
        for r in golds["reasons"]
    ]
    dropped = sum(reason["rows"] for reason in found["dropped"])
    pairs.append(("left out", f"{dropped:,} of {found['rows']:,} rows"))
    pairs += [
        (
            f"  {r['reason']}",
            f"{r['rows']:,}, the first is row {r['first_row']:,}{': ' + r['detail'] if r['detail'] else ''}",
        )
        for r in found["dropped"]
    ]
    doubted = sum(doubt["rows"] for doubt in found["doubts"])
    pairs.append(("doubts", f"{doubted:,}, none of which a run refuses" if doubted else "none"))
    pairs += [
        (f"  {d['reason']}", f"{d['rows']:,}, the first is row {d['first_row']:,}: {d['detail']}. {d['advice']}")
        for d in found["doubts"]
    ]
    return pairs


def _harmless(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    from rlzoo.cli import plain

    return [(plain.visible(label, keep=""), plain.visible(text, keep="")) for label, text in pairs]


def _for_example(examples: Sequence[str]) -> str:
    return f", for example {examples[0][:SHOWN]!r}" if examples else ""
