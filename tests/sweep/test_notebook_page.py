"""The pages of notebooks need no internet."""

import re
from base64 import b64encode

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.paths import ROOT
from uddm_lib.sweep.notebook_page import notebook_page

# What a browser would load: addresses of scripts, styles, pictures and imports.
LOADED = re.compile(
    r"""<(?:script|link|img|iframe)\b[^>]*?(?:src|href)\s*=\s*["']?(?!data:)[^"'>\s]+"""
    r"""|\bimport\s*\(?\s*["'][^"']+|@import[^;]+|url\(\s*["']?(?:https?:)?//[^)]+"""
)


def page_of(*cells):
    return notebook_page(new_notebook(cells=list(cells)), "a page")


def picture(width):
    """The output of a cell: a PNG, as far as its width goes."""
    head = b64encode(b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + width.to_bytes(4) + bytes(4))
    return new_output("display_data", {"image/png": head.decode()})


def test_a_page_loads_nothing():
    code = new_code_cell("show()", outputs=[picture(100)])
    page = page_of(new_markdown_cell("## One\n$a$"), code)
    assert "<title>a page</title>" in page
    assert not LOADED.findall(page) and "<script" not in page


def test_the_title_is_the_heading_that_the_notebook_opens_with():
    assert "<title>On n &amp; t</title>" in page_of(new_markdown_cell("# On $n$ & t\nText."))


def test_wide_pictures_keep_their_width_and_all_have_a_text():
    outputs = [picture(width) for width in (462, 1012)]
    page = page_of(new_code_cell("show()", outputs=outputs))
    pictures = re.findall("<img[^>]*>", page)
    assert ["unconfined" in tag for tag in pictures] == [False, True]
    assert all('alt="What the code above draws"' in tag for tag in pictures)
    assert not outputs[0].metadata  # the notebook stays as it was


def test_links_lead_into_the_internet_or_the_page_itself():
    text = "[a](02_b.ipynb) [c](https://d.org) [e](#f) [g](../docs/h.md#i)"
    page = page_of(new_markdown_cell(text))
    assert '<a href="https://d.org">c</a> <a href="#f">e</a> g' in page
    assert "02_b.ipynb" not in page and "h.md" not in page


def test_every_formula_of_the_notebooks_can_be_shown():
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    cells = [cell for path in paths for cell in nbformat.read(path, 4).cells]
    page = page_of(*(cell for cell in cells if cell.cell_type == "markdown"))
    formulas = re.findall(r"<math\b.*?</math>", page, re.DOTALL)
    assert len(formulas) > 100
    # What the converter does not know stays in the formula: a command of TeX, a column's end.
    texts = [re.sub(r"<[^>]*>", "", formula) for formula in formulas]
    assert not [text for text in texts if "\\" in text or "&amp;" in text]


def test_every_way_to_write_a_formula():
    ways = [
        "in $a_1$ line",
        r"in \\(a_1\\) line",
        "$$a_1$$",
        r"\\[a_1\\]",
        r"\begin{equation}a_1\end{equation}",
    ]
    expected = "<msub><mi>a</mi><mn>1</mn></msub>"
    for way, display in zip(ways, ["inline", "inline", "block", "block", "block"]):
        page = page_of(new_markdown_cell(way))
        assert expected in page and f'display="{display}"' in page, way


def test_formulas_of_outputs_are_shown_too():
    output = new_output("display_data", {"text/markdown": "| $b^2$ |\n| --- |\n| 1 |"})
    page = page_of(new_code_cell("show()", outputs=[output]))
    assert "<msup><mi>b</mi><mn>2</mn></msup>" in page and "<table>" in page


def test_dollars_in_code_are_no_formula():
    page = page_of(new_markdown_cell("`a $x$`"), new_code_cell("'$x$'"))
    assert "<math" not in page and "a $x$" in page


def test_a_formula_that_makes_no_sense_stays_as_it_was_written():
    page = page_of(new_markdown_cell(r"so $\frac{a}{$ & on"))
    assert r"<code>\frac{a}{</code>" in page


def test_pictures_in_cells_stay():
    cell = new_markdown_cell(
        "![dot](attachment:dot.png)", attachments={"dot.png": {"image/png": "iVBORw0KGgo="}}
    )
    assert 'src="data:image/png;base64,iVBORw0KGgo="' in page_of(cell)
