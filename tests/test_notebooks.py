"""Rules for every notebook; ``pytest --nbval`` checks the results."""

import ast
import json
import re

import pytest

from uddm_lib.results import repository_root

NOTEBOOKS = sorted((repository_root() / "notebooks").glob("0*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return json.loads(request.param.read_text(encoding="utf-8"))


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def source(cell):
    return "".join(cell["source"])


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
    lines = source(tagged[0]).splitlines()
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
    assert (
        sum(cell["cell_type"] == "markdown" for cell in notebook["cells"])
        >= len(code_cells(notebook)) / 3
    )


def test_its_kernel_is_python3_and_no_path_is_absolute(notebook):
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    texts = json.dumps(
        [
            [cell["source"], [output.get("text") for output in cell.get("outputs", [])]]
            for cell in notebook["cells"]
        ]
    )
    assert not re.search(r"/(home|root|tmp|work|Users)/", texts)
