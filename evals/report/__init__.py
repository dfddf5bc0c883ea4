"""A comparison, or a run, as one HTML file that opens offline, as Markdown, and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlzoo.evals.analysis import Comparison
    from rlzoo.evals.records import Record
    from rlzoo.evals.report.content import Document


def write(comparison: Comparison, folder: Path) -> Path:
    """Write report.html, report.md and report.json into `folder`, each whole or not at all; the path of the first."""
    from rlzoo.evals.report import content  # here: it loads matplotlib

    return _write(comparison, content.document(comparison), folder)


def write_run(record: Record) -> Path:
    """The same of one run, into its own folder."""
    from rlzoo.evals.report import alone

    return _write(alone.grid(record), alone.document(record), record.run.path)


def _write(comparison: Comparison, document: Document, folder: Path) -> Path:
    from rlzoo.evals.report import html, markdown
    from rlzoo.runs.folder import write_json, write_text

    write_json(folder / "report.json", document.data)
    write_text(folder / "report.md", markdown.render(document))
    write_text(folder / "report.html", html.render(comparison, document))
    return folder / "report.html"
