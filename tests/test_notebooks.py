"""Rules for every notebook; ``pytest --nbval`` checks the results."""

import ast
import itertools
import json
import re

import pytest

from uddm_lib.results import repository_root

NOTEBOOKS = sorted((repository_root() / "notebooks").glob("0*.ipynb"))
PAIRS = list(itertools.pairwise(NOTEBOOKS))  # neighbors
PAPER = "https://arxiv.org/abs/2604.26841"


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return json.loads(request.param.read_text(encoding="utf-8"))


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def prose_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"]


def source(cell):
    return "".join(cell["source"])


def links(notebook):
    """The targets of all Markdown links; an address may hold one pair of brackets."""
    text = "\n".join(source(cell) for cell in prose_cells(notebook))
    return re.findall(r"\]\(([^()\s]+(?:\([^()]*\))?[^()\s]*)\)", text)


def test_there_are_six():
    assert [path.stem for path in NOTEBOOKS] == [
        "01_theory",
        "02_training",
        "03_recovery",
        "04_entropy",
        "05_scaling",
        "06_audit",
    ]


def test_one_cell_declares_typed_literals_with_a_line_of_help(notebook):
    tagged = [
        cell for cell in code_cells(notebook) if "parameters" in cell["metadata"].get("tags", [])
    ]
    assert len(tagged) == 1
    lines = [line for line in source(tagged[0]).splitlines() if not line.startswith("# ")]
    for line, statement in zip(lines, ast.parse(source(tagged[0])).body, strict=True):
        assert isinstance(statement, ast.AnnAssign), line
        ast.literal_eval(statement.value)
        assert re.search(r"  # \S.{8,}", line), f"no help: {line}"


def test_parameters_are_checked_in_the_next_code_cell(notebook):
    cells = code_cells(notebook)
    assert "check_parameters(globals())" in source(cells[1])


def test_it_was_executed_in_order_without_errors_or_warnings(notebook):
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for output in (output for cell in cells for output in cell["outputs"]):
        assert output["output_type"] != "error" and output.get("name") != "stderr", output
        assert "it/s]" not in "".join(output.get("text", "")), "a progress bar"


def test_every_check_that_it_prints_holds(notebook):
    for output in (output for cell in code_cells(notebook) for output in cell["outputs"]):
        failed = re.findall(r".*:(?: \w+)* False.*", "".join(output.get("text", "")))
        assert not failed, failed


def test_cells_are_short_and_prose_teaches(notebook):
    for cell in code_cells(notebook):
        assert not [line for line in source(cell).splitlines() if len(line) > 100]
        if "parameters" not in cell["metadata"].get("tags", []):
            assert len(source(cell).splitlines()) <= 20, source(cell)
    assert len(prose_cells(notebook)) >= len(code_cells(notebook)) / 3


def test_no_prose_cell_is_a_wall_of_text(notebook):
    for cell in prose_cells(notebook):
        words = len(source(cell).split())
        assert words <= 150, f"{words} words in {cell['id']}: split it where the idea changes"


def test_it_opens_with_a_title_and_ends_with_what_to_try(notebook):
    first, last = notebook["cells"][0], notebook["cells"][-1]
    assert first["cell_type"] == last["cell_type"] == "markdown"
    assert source(first).startswith("# ")
    assert "Try next" in source(last)


def test_every_cell_has_its_own_id(notebook):
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("before, after", PAIRS, ids=lambda path: path.stem)
def test_neighbors_link_to_each_other(before, after):
    for path, neighbor in ((before, after), (after, before)):
        assert neighbor.name in links(json.loads(path.read_text(encoding="utf-8"))), path.name


def test_it_links_to_the_paper(notebook):
    assert PAPER in links(notebook)


def test_relative_links_lead_to_files(notebook):
    folder = repository_root() / "notebooks"
    for target in links(notebook):
        if "://" not in target:
            assert (folder / target.partition("#")[0]).is_file(), target


def test_its_kernel_is_python3_and_no_path_is_absolute(notebook):
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    texts = json.dumps(
        [
            [cell["source"], [output.get("text") for output in cell.get("outputs", [])]]
            for cell in notebook["cells"]
        ]
    )
    assert not re.search(r"/(home|root|tmp|work|Users)/", texts)
