"""Write ``runs/<profile>/index.html``: contents, claims, figures and provenance of a sweep.

It also links the page of every executed notebook to those before and after it. The Snakefile calls
it: ``python -m uddm_lib.sweep.page smoke``.
"""

import html
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from uddm_lib.environment import available_cores
from uddm_lib.results import atomic_write
from uddm_lib.sweep import book, paths, status
from uddm_lib.sweep.jobs import Job, jobs_of

_PAPER = "https://arxiv.org/abs/2604.26841"
_SCALE = 0.6  # pixels of the screen for one of a picture, whose letters would else be large
_WIDE = 640  # pixels from which a picture scrolls on a phone: nobody could read it otherwise


class Chapter(NamedTuple):
    """The page of an executed notebook, and its title as HTML."""

    job: Job
    page: Path
    title: str


def write_page(profile: str, root: Path | None = None) -> Path:
    """Write the first page of ``profile``'s sweep, and link the others; returns its path."""
    root = root or paths.checkout()
    folder, figures = root / paths.results_folder(profile), root / paths.figures_folder(profile)
    jobs = jobs_of(profile, root)
    chapters = _chapters(folder, jobs, root)
    _link_pages(folder, chapters)
    last = _link(folder, chapters[-1].page, chapters[-1].title) if chapters else "notebook 05"
    sections = {
        "Contents": _contents(folder, chapters),
        "Claims": _claims(figures / "claims.md", last),
        "Figures": _figures(folder, figures),
        "Provenance": _provenance(folder, jobs, figures / "claims.json"),
    }
    parts = [f"<h1>Sweep: {html.escape(profile)}</h1>", _summary(jobs)]
    parts += [f'<h2 id="{name}">{name}</h2>\n{text}' for name, text in sections.items()]
    places = " · ".join(f'<a href="#{name}">{name}</a>' for name in sections)
    after = _link(folder, chapters[0].page, f"{chapters[0].title}&nbsp;→") if chapters else ""
    page = book.linked(book.page(f"Sweep: {profile}", "\n".join(parts)), "", places, after)
    return atomic_write(folder / "index.html", page)


def _chapters(folder: Path, jobs: Mapping[str, Job], root: Path) -> list[Chapter]:
    """The pages of notebooks that there are, in reading order."""
    chapters = []
    for target, job in jobs.items():
        page = (root / target).with_suffix(".html")
        if page.is_file():
            with page.open(encoding="utf-8") as file:
                title = book.title_of(file.read(2000))
            group = "" if page.parent == folder else f" ({html.escape(page.parent.name)})"
            chapters.append(Chapter(job, page, title + group))
    return chapters


def _link_pages(folder: Path, chapters: Sequence[Chapter]) -> None:
    """Link every page to those before and after it, and to the first."""
    for before, chapter, after in zip([None, *chapters], chapters, [*chapters[1:], None]):
        place, content = chapter.page.parent, chapter.page.read_text(encoding="utf-8")
        linked = book.linked(
            content,
            _link(place, before.page, f"←&nbsp;{before.title}") if before else "",
            _link(place, folder / "index.html", "Contents"),
            _link(place, after.page, f"{after.title}&nbsp;→") if after else "",
        )
        if linked != content:
            atomic_write(chapter.page, linked)


def _link(place: Path, target: Path, text: str) -> str:
    """A link from a page in the folder ``place``; ``text`` is HTML."""
    return f'<a href="{quote(os.path.relpath(target, place))}">{text}</a>'


def _summary(jobs: Mapping[str, Job]) -> str:
    training = [job for job in jobs.values() if job.stage == "training"]
    corpora = dict.fromkeys(str(job.parameters["corpus"]) for job in training)
    models = sum(len(job.runs) for job in training)
    return (
        f'<p>The companion of <a href="{_PAPER}">Language Diffusion Models are Associative '
        "Memories Capable of Retrieving Unseen Data</a>, executed. "
        f"Trained models: {models}. Notebooks: {len(jobs)}. "
        f"Corpora: {html.escape(', '.join(corpora))}.</p>"
    )


def _contents(folder: Path, chapters: Sequence[Chapter]) -> str:
    """The pages: one a line, but for those of runs, which have a table."""
    lines: dict[bool, list[str]] = {True: [], False: []}  # before the runs, after them
    for job, page, title in chapters:
        if not job.runs:
            lines[job.stage == "theory"].append(f"<p>{_link(folder, page, title)}</p>")
    live = folder / "live.html"
    written = f"{paths.results_folder(folder.name)}/{live.name}"
    command = f"<code>uddm page --output {html.escape(shlex.quote(written))}</code>"
    link = _link(folder, live, "The live page")
    lines[False].append(
        f"<p>{link}: two models that ship with the package run in your browser.</p>"
        if live.is_file()
        else f"<p>The live page is not written yet. This makes it: {command}</p>"
    )
    return "\n".join([*lines[True], _runs(folder, chapters), *lines[False]])


def _runs(folder: Path, chapters: Sequence[Chapter]) -> str:
    """A row for every group of runs, with the pages of its notebooks."""
    rows = []
    for training in (chapter for chapter in chapters if chapter.job.stage == "training"):
        links = [
            _link(folder, page, job.stage)
            for job, page, _ in chapters
            if page.parent == training.page.parent
        ]
        given = training.job.parameters
        values = [_words(given[key]) for key in ("corpus", "size", "n", "seed")]
        rows.append([*values, " · ".join(links)])
    return _table(rows, ["corpus", "size", "n", "seeds", "notebooks"])


def _words(value: Any) -> str:
    return html.escape(", ".join(map(str, value)) if isinstance(value, list) else str(value))


def _table(rows: Sequence[Sequence[str]], head: Sequence[str] = ()) -> str:
    """A table of cells in HTML, with or without a head."""
    lines = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    if head:
        lines = ["".join(f"<th>{cell}</th>" for cell in head), *lines]
    inner = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table>\n{inner}\n</table></div>'


def _claims(file: Path, values: str) -> str:
    """The verdicts on the claims, from a table in Markdown; ``values`` links to what was measured.

    That table spares this page pandas, which takes longer to load than all else takes.
    """
    if not file.is_file():
        return "<p>There are none yet.</p>"
    lines = html.escape(file.read_text(encoding="utf-8")).splitlines()
    head, _, *rows = (line.strip("| ").split(" | ") for line in lines)
    marked = [[re.sub(r"\*\*(.+?)\*\*", _verdict, cell) for cell in row] for row in rows]
    return (
        "<p>A claim holds if the whole 95 % interval of what was measured lies inside a bound that "
        "was fixed before. It does not hold if all of it lies outside. The bounds and the values "
        f"are in {values}.</p>\n{_table(marked, head)}"
    )


def _verdict(found: re.Match[str]) -> str:
    return f'<b class="verdict {found[1].replace(" ", "-")}">{found[1]}</b>'


def _figures(folder: Path, figures: Path) -> str:
    """The pictures in the paper's order, with their captions."""
    pictures = sorted(figures.glob("*.png"), key=lambda path: _natural(path.stem))
    return "\n".join(_figure(folder, path) for path in pictures) or "<p>There are none yet.</p>"


def _natural(name: str) -> tuple[Any, ...]:
    """A key that orders figure 2 before figure 12, and what shows one figure by its corpus."""
    figure, _, corpus = name.rpartition("_")
    return *(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", figure)), corpus


def _figure(folder: Path, picture: Path) -> str:
    caption, pdf = picture.with_suffix(".txt"), picture.with_suffix(".pdf")
    text = caption.read_text(encoding="utf-8") if caption.is_file() else picture.stem
    title, _, rest = html.escape(text).partition("\n\n")
    with picture.open("rb") as file:
        head = file.read(24)  # of a PNG; the last eight bytes are its width and height
    width, height = (round(_SCALE * int.from_bytes(head[i : i + 4])) for i in (16, 20))
    size = f' width="{width}" height="{height}"' if width else ""
    kind = ' class="unconfined"' if width > _WIDE else ""
    source = quote(os.path.relpath(picture, folder))
    image = f'<img src="{source}" alt="{" ".join(title.split())}"{size}{kind} loading="lazy">'
    links = _link(folder, pdf, "PDF") if pdf.is_file() else ""
    return f"""<figure id="{html.escape(picture.stem)}">
<div class="scroll">{image}</div>
<figcaption><strong>{title}</strong> {rest} {links}</figcaption>
</figure>"""


def _provenance(folder: Path, jobs: Mapping[str, Job], sidecar: Path) -> str:
    """Which code, seeds and machine made the results; ``sidecar`` is that of a figures' table."""
    about = json.loads(sidecar.read_text())["provenance"] if sidecar.is_file() else {}
    commits = about.get("inputs", {}).get("commits", [])
    seeds = {seed for job in jobs.values() for seed in _seeds(job)}
    seconds = sum(record["seconds"] or 0 for record in status.records(folder).values())
    rows = {
        "Package": f"{about.get('package', '')} {about.get('version', '')}",
        "Commit of the runs": ", ".join(commits),
        "Commit of the figures": about.get("commit", ""),
        "Digest of the package": about.get("code", ""),
        "Python": about.get("python", ""),
        "PyTorch": about.get("torch", ""),
        "Figures written": about.get("time", ""),
        "Seeds of the trainings": ", ".join(map(str, sorted(seeds))),
        "Time of all notebooks, summed": status.duration_in_words(seconds) if seconds else "",
        "Machine of this page": f"{_processor()}, {available_cores()} cores; {platform.platform()}",
    }
    cells = [(name, html.escape(text)) for name, text in rows.items() if text.strip()]
    return _table(cells)


def _seeds(job: Job) -> list[int]:
    return [run["seed"] for run in job.runs.values()]


def _processor() -> str:
    """The processor's name, if the system tells it."""
    try:
        about = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        about = ""
    found = re.search(r"^model name\s*: (.*)$", about, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


if __name__ == "__main__":
    write_page(sys.argv[1])
