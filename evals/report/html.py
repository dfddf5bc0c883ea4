"""The report as one HTML file that opens from disk: no script, nothing fetched, every text escaped."""

from __future__ import annotations

import json

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rlzoo.evals.analysis import Comparison
from rlzoo.evals.report import plots
from rlzoo.evals.report.content import Document
from rlzoo.runs.folder import dumps
from rlzoo.text import visible


def render(comparison: Comparison, document: Document) -> str:
    """The page of a comparison, or of one run given as its only arm; parts that a document leaves empty are left out."""
    page = environment().get_template("report.html.j2")
    return page.render(
        document=document,
        differences=plots.differences(comparison),
        learning=plots.learning(comparison),
        health=plots.health(comparison),
        claims=plots.claims(comparison),
        interference=plots.interference(comparison),
        representations=plots.representations(comparison),
        data=embedded(document.data),
    )


def environment() -> Environment:
    """Templates in which every text is escaped, and every character that cannot be seen is shown as an escape."""
    made = Environment(
        loader=PackageLoader("rlzoo.evals.report", "templates"),
        autoescape=True,
        finalize=_seen,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["picture"] = Markup  # our own SVG; matplotlib has escaped the texts in it
    return made


def _seen(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def embedded(data: object) -> Markup:
    """JSON for a data block: no text in it can end the block or begin markup."""
    text = json.dumps(json.loads(dumps(data)), sort_keys=True, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
