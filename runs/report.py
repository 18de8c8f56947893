"""Write `runs/<profile>/index.html`: every executed notebook of a sweep and the figures, on one page.

python runs/report.py smoke
"""

import html
import os
import sys
from pathlib import Path

from profiles import NOTEBOOKS, ROOT, jobs

from uddm_lib.results import atomic_write

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } th, td { padding: .25rem 1rem .25rem 0; text-align: left; }
th { border-bottom: 1px solid #999; } a { color: #0b57a4; }
figure { margin: 1.5rem 0; } img { max-width: 100%; } figcaption { color: #555; font-size: .9rem; }
"""


def main(profile):
    folder = ROOT / "runs" / profile
    page = folder / "index.html"
    atomic_write(page, _page(profile, folder, jobs(profile)))


def _page(profile, folder, plan):
    pictures = sorted((ROOT / "paper_figures" / profile).glob("*.png"))
    figures = "\n".join(_figure(folder, picture) for picture in pictures)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sweep: {html.escape(profile)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Sweep: {html.escape(profile)}</h1>
<p>{_link(folder, plan, "theory")} · {_link(folder, plan, "scaling")}</p>
<h2>Runs</h2>
{_table(folder, plan)}
<h2>Figures</h2>
{figures or "<p>Notebook 05 has written none.</p>"}
</body>
</html>
"""


def _link(folder, plan, stage, parent=None, text=None):
    target = next(
        target
        for target, job in plan.items()
        if job.stage == stage and parent in (None, Path(target).parent)
    )
    page = os.path.relpath((ROOT / target).with_suffix(".html"), folder)
    return f'<a href="{html.escape(page)}">{text or NOTEBOOKS[stage]}</a>'


def _table(folder, plan):
    rows = ["<tr><th>corpus</th><th>size</th><th>n</th><th>notebooks</th></tr>"]
    for target, job in plan.items():
        if job.stage == "training":
            names = job.parameters["corpus"], job.parameters["size"], job.parameters["n"] or "all"
            cells = [html.escape(str(name)) for name in names]
            cells.append(
                " · ".join(
                    _link(folder, plan, stage, Path(target).parent, stage)
                    for stage in ("training", "recovery", "entropy")
                )
            )
            rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return "<table>\n" + "\n".join(rows) + "\n</table>"


def _figure(folder, picture):
    source, name = html.escape(os.path.relpath(picture, folder)), html.escape(picture.stem)
    return f'<figure><img src="{source}" alt="{name}"><figcaption>{name}</figcaption></figure>'


if __name__ == "__main__":
    main(sys.argv[1])
