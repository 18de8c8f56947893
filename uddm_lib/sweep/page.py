"""Write ``runs/<profile>/index.html``: the executed notebooks of a sweep and the figures.

The Snakefile calls it: ``python -m uddm_lib.sweep.page smoke``.
"""

import html
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from uddm_lib.results import atomic_write
from uddm_lib.sweep import paths
from uddm_lib.sweep.jobs import Job, jobs_of
from uddm_lib.sweep.notebooks import NOTEBOOKS

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } th, td { padding: .25rem 1rem .25rem 0; text-align: left; }
th { border-bottom: 1px solid #999; } a { color: #0b57a4; }
figure { margin: 1.5rem 0; } img { max-width: 100%; } figcaption { color: #555; font-size: .9rem; }
"""


def write_page(profile: str, root: Path | None = None) -> Path:
    """Write the page of ``profile``'s sweep; returns its path."""
    root = root or paths.checkout()
    folder = root / paths.results_folder(profile)
    pictures = sorted((root / paths.figures_folder(profile)).glob("*.png"))
    figures = "\n".join(_figure(folder, picture) for picture in pictures)
    content = _page(profile, folder, jobs_of(profile, root), figures)
    return atomic_write(folder / "index.html", content)


def _page(profile: str, folder: Path, jobs: Mapping[str, Job], figures: str) -> str:
    links = [
        _link(folder, job.target, NOTEBOOKS[job.stage])
        for job in jobs.values()
        if job.stage in ("theory", "scaling")
    ]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sweep: {html.escape(profile)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Sweep: {html.escape(profile)}</h1>
<p>{" · ".join(links)}</p>
<h2>Runs</h2>
{_table(folder, jobs)}
<h2>Figures</h2>
{figures or "<p>Notebook 05 has written none.</p>"}
</body>
</html>
"""


def _table(folder: Path, jobs: Mapping[str, Job]) -> str:
    header = "".join(f"<th>{name}</th>" for name in ("corpus", "size", "n", "seeds", "notebooks"))
    rows = [f"<tr>{header}</tr>"]
    for training in jobs.values():
        if training.stage == "training":
            cells = [_words(training.parameters[key]) for key in ("corpus", "size", "n", "seed")]
            links = [
                _link(folder, job.target, job.stage)
                for job in jobs.values()
                if Path(job.target).parent == Path(training.target).parent
            ]
            cells.append(" · ".join(links))
            rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return "<table>\n" + "\n".join(rows) + "\n</table>"


def _words(value: Any) -> str:
    return html.escape(", ".join(map(str, value)) if isinstance(value, list) else str(value))


def _link(folder: Path, target: str, text: str) -> str:
    page = Path(target).with_suffix(".html").relative_to(paths.results_folder(folder.name))
    return f'<a href="{quote(page.as_posix())}">{text}</a>'


def _figure(folder: Path, picture: Path) -> str:
    source, name = quote(os.path.relpath(picture, folder)), html.escape(picture.stem)
    return f'<figure><img src="{source}" alt="{name}"><figcaption>{name}</figcaption></figure>'


if __name__ == "__main__":
    write_page(sys.argv[1])
