"""The report of a sweep as a book: pages in order, figures with captions, claims, provenance."""

import json
import re
import shutil
from html import unescape
from urllib.parse import unquote

import nbformat
import pytest

from helpers.browser import ask, needs_chromium
from helpers.fake_sweep import profile_with, write_checkout, write_profile
from helpers.paths import ROOT
from uddm_lib.results import atomic_write, read_table
from uddm_lib.statistics import claims
from uddm_lib.sweep import book, status
from uddm_lib.sweep.jobs import jobs_of
from uddm_lib.sweep.notebook_page import notebook_page
from uddm_lib.sweep.page import write_page

WIDTHS, SCHEMES = (400, 1400), ("light", "dark")
FRAME = '<iframe src="{}" style="width:{}px;height:900px;border:0;color-scheme:{}"></iframe>'
# What every frame is asked. A fraction that is typeset has its parts above each other.
SCRIPT = """
const results = Array.from(document.querySelectorAll("iframe"), ({ contentWindow: frame }) => {
  const page = frame.document, all = (chosen) => Array.from(page.querySelectorAll(chosen));
  const box = (node) => node.getBoundingClientRect();
  const prose = all(".text_cell_render").map((node) => node.cloneNode(true));
  prose.forEach((node) => node.querySelectorAll("code, pre").forEach((code) => code.remove()));
  return {
    beyond: page.documentElement.scrollWidth - page.documentElement.clientWidth,
    dark: frame.matchMedia("(prefers-color-scheme: dark)").matches,
    colors: ["color", "backgroundColor"].map((name) => frame.getComputedStyle(page.body)[name]),
    formulas: all("math").map(box).filter(({ width, height }) => width > 0 && height > 0).length,
    fractions: all("mfrac").map((node) =>
      box(node.lastElementChild).top - box(node.firstElementChild).top),
    prose: prose.map((node) => node.textContent).join(" "),
    broken: all("img:not([loading])").filter((image) => !image.naturalWidth).length,
    scrolling: all(".scroll, .output_png, pre").filter((node) =>
      node.scrollWidth > node.clientWidth).length,
    links: all("a[href]").map((link) => link.href),
    requests: frame.performance.getEntriesByType("resource").map((entry) => entry.name),
  };
});
"""


def lay_out(checkout, profile="tiny"):
    """Lay out a finished sweep: the notebooks and the figures that ship stand for its own."""
    notebooks = {}
    for job in jobs_of(profile, checkout).values():
        name = (ROOT / job.notebook).stem
        if name not in notebooks:
            notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4)
            notebooks[name] = notebook_page(notebook, name)
        page = (checkout / job.target).with_suffix(".html")
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(notebooks[name], encoding="utf-8")
    shutil.copytree(ROOT / "paper_figures" / "laptop", checkout / "paper_figures" / profile)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A checkout with the report of a finished sweep of two groups."""
    checkout = write_checkout(tmp_path_factory.mktemp("report"))
    lay_out(checkout)
    first = next(iter(jobs_of("tiny", checkout)))
    status.write_record(checkout / "runs" / "tiny", first, "done", [], 150.0)
    write_page("tiny", checkout)
    return checkout


def text_of(page):
    """A page's text, without its tags."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page.read_text(encoding="utf-8"))).split())


def links_of(page):
    return re.findall(r'<(?:a|img)\b[^>]*?(?:href|src)="(?!data:)([^"]+)"', page.read_text())


def neighbors(page):
    """The three parts of a page's links: before, contents, after."""
    top, bottom = re.findall(r'<nav class="book">(.*?)</nav>', page.read_text(), re.DOTALL)
    assert top == bottom
    return [re.findall(r'href="([^"]+)"', part) for part in re.findall("<span>(.*?)</span>", top)]


def test_pages_follow_each_other_in_reading_order(report):
    folder = report / "runs" / "tiny"
    pages = [(report / target).with_suffix(".html") for target in jobs_of("tiny", report)]
    assert len(pages) == 2 + 2 * 3
    for before, page, after in zip([None, *pages], pages, [*pages[1:], None]):
        found = [[(page.parent / link).resolve() for link in part] for part in neighbors(page)]
        index = (folder / "index.html").resolve()
        assert found == [[before] if before else [], [index], [after] if after else []]
    assert neighbors(folder / "index.html")[2] == ["01_theory.html"]


def test_every_link_leads_somewhere(report):
    folder = report / "runs" / "tiny"
    for page in (folder / "index.html", *folder.rglob("0*.html")):
        for link in links_of(page):
            if "://" not in link:
                target, _, anchor = unquote(link).partition("#")
                found = page.parent / target if target else page
                assert found.is_file(), link
                assert not anchor or f'id="{anchor}"' in found.read_text(), link


def test_figures_come_in_order_with_their_captions(report):
    page, figures = report / "runs" / "tiny" / "index.html", report / "paper_figures" / "tiny"
    names = re.findall(r'<figure id="([^"]+)">', page.read_text())
    assert sorted(names) == sorted(path.stem for path in figures.glob("*.png"))
    assert names[:3] == ["figure1_kjv", "figure1_markov", "figure2_kjv"]
    assert names.index("figure9_stability_kjv") < names.index("figure12_token_entropy_kjv")
    text = text_of(page)
    for name in names:
        assert " ".join((figures / f"{name}.txt").read_text().split()) in text


def test_claims_and_provenance(report):
    page, figures = report / "runs" / "tiny" / "index.html", report / "paper_figures" / "tiny"
    table = read_table(figures / "claims.csv")
    rows = dict(re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td>", page.read_text()))
    verdicts = claims.folded(table[table["corpus"] == "kjv"]).merge(table[["name", "claim"]])
    assert set(verdicts["claim"]) <= set(rows)
    for claim, part in verdicts.groupby("claim"):
        assert {v for v in claims.VERDICTS if f">{v}<" in rows[claim]} == set(part["verdict"])
    about = table.attrs["provenance"]
    assert rows["Commit of the runs"] == ", ".join(about["inputs"]["commits"])
    assert rows["PyTorch"] == about["torch"] and rows["Package"].endswith(about["version"])
    assert (
        rows["Seeds of the trainings"] == "1" and rows["Time of all notebooks, summed"] == "2 min"
    )
    assert "cores" in rows["Machine of this page"]


def test_the_live_page_is_linked_where_it_is_written(report):
    folder = report / "runs" / "tiny"
    assert "uddm page --output runs/tiny/live.html" in text_of(folder / "index.html")
    (folder / "live.html").touch()
    try:
        write_page("tiny", report)
        assert 'href="live.html"' in (folder / "index.html").read_text()
    finally:
        (folder / "live.html").unlink()
        write_page("tiny", report)


def test_pages_are_linked_anew_when_the_profile_changes(tmp_path):
    checkout = write_checkout(tmp_path)
    folder = checkout / "runs" / "tiny"
    for target in jobs_of("tiny", checkout):
        atomic_write((checkout / target).with_suffix(".html"), book.page("A title", "<p>Text</p>"))
    write_page("tiny", checkout)
    kept = (folder / "01_theory.html").stat().st_mtime_ns
    write_page("tiny", checkout)
    assert (folder / "01_theory.html").stat().st_mtime_ns == kept  # nothing to change
    write_profile(checkout, profile_with(n=[2]))
    write_page("tiny", checkout)
    assert neighbors(folder / "01_theory.html")[2] == ["markov-pico-n000002-s1/02_training.html"]


def test_a_sweep_without_results_has_a_page(checkout):
    text = text_of(write_page("tiny", checkout))
    assert text.count("There are none yet.") == 2 and "Notebooks: 8." in text


@pytest.fixture(scope="module")
def told(report):
    """What a browser says of every kind of page, in two widths and two color schemes."""
    folder = report / "runs" / "tiny"
    group = folder / "markov-pico-n000001-s1"
    pages = [folder / "index.html", folder / "01_theory.html", *sorted(group.glob("*.html"))]
    pages.append(folder / "05_scaling.html")
    keys = [(page, width, scheme) for page in pages for width in WIDTHS for scheme in SCHEMES]
    frames = "".join(FRAME.format(page.as_uri(), width, scheme) for page, width, scheme in keys)
    outer = f"<!doctype html><html><head></head><body>{frames}</body></html>"
    return dict(zip(keys, ask(outer, SCRIPT, folder, files=True), strict=True))


@needs_chromium
def test_pages_are_read_at_every_width(told):
    for (page, width, scheme), seen in told.items():
        assert seen["beyond"] <= 0, f"{page.name} is wider than {width} pixels"
        assert seen["broken"] == 0 and (seen["scrolling"] > 0 or width == 1400), page.name
        ink, ground = (sum(map(int, re.findall(r"\d+", color)[:3])) for color in seen["colors"])
        assert seen["dark"] == (scheme == "dark") == (ink > ground)
        assert abs(ink - ground) > 450


@needs_chromium
def test_formulas_are_typeset(told):
    theory = [seen for (page, *_), seen in told.items() if page.name == "01_theory.html"]
    assert len(theory) == 4
    for seen in theory:
        assert seen["formulas"] > 100 and len(seen["fractions"]) > 5
        assert min(seen["fractions"]) > 2
    for seen in told.values():
        assert not re.findall(r"\\[a-z]+|\$", seen["prose"])


@needs_chromium
def test_no_request_leaves_the_machine(told):
    for (page, *_), seen in told.items():
        assert all(name.startswith("file:") for name in seen["requests"]), page.name
        outside = {link for link in seen["links"] if not link.startswith("file:")}
        assert all(link.startswith("https://") for link in outside)  # links, for a reader to click
    assert json.dumps([seen["links"] for seen in told.values()]).count("05_scaling.html") > 4
