"""The house as a test: imports go one way, files are short, every function is annotated."""

import ast
import importlib
import json
import re
import statistics
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from helpers.paths import ROOT

PACKAGE = ROOT / "uddm_lib"
SOURCES = sorted(PACKAGE.rglob("*.py"))
FLOORS = [  # each may import from its own floor and from those above it in this list
    {"_checks"},
    {"results", "schedule", "devices", "metrics"},
    {"environment"},
    {"diffusion"},
    {"facts", "noise"},
    {"model", "_layers", "oracles", "_conversion", "denoiser"},
    {"sampling"},
    {"probes", "memory_probes"},
    {"data", "checkpoints"},
    {"training"},
    {"experiments"},
    {"statistics"},
    {"figures", "theory"},
    {"audit", "live", "sweep", "convert"},
    {"__main__"},
]
ADDRESSES = [  # submodules that are imported from outside of their package
    r"uddm_lib\.(audit|live|statistics|theory|sweep)\.[a-z]\w*",
    r"uddm_lib\.figures\.theory_figures",
    r"uddm_lib\.training\.batches",
]
PUBLIC = {  # names that notebooks and readers' code rely on
    "schedule": ["LogLinearSchedule", "duality_alpha"],
    "diffusion": ["corrupt", "posterior", "nelbo", "fused_nelbo", "reverse_step"],
    "model": ["UDDM", "UDDMConfig"],
    "oracles": ["MarkovGeneralizer", "Memorizer"],
    "sampling": ["generate", "restore", "trajectory"],
    "probes": ["token_recovery", "conditional_entropy"],
    "checkpoints": ["load", "load_released", "save"],
    "training": ["train"],
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_of(path): path for path in SOURCES}


def imported(tree, module, path):
    """Modules of the package that ``tree`` imports, as (line, name)."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if path.stem == "__init__" else module.split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [base])])
            submodules = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else base for name in submodules]
        for name in names:
            if name.split(".")[0] == "uddm_lib":
                yield node.lineno, name


TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in MODULES.items()}
IMPORTS = {module: set(imported(tree, module, MODULES[module])) for module, tree in TREES.items()}


def floor(module):
    room = module.split(".")[1]
    found = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    assert found, f"{module}: uddm_lib/{room} has no floor; add it to FLOORS"
    return found[0]


def acyclic(graph):
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"imported in a circle: {' <- '.join(error.args[1])}")


def test_modules_import_each_other_in_no_circle():
    acyclic({module: {name for _, name in names} - {module} for module, names in IMPORTS.items()})


def test_packages_import_each_other_in_no_circle():
    graph = {}
    for module, names in IMPORTS.items():
        rooms = {name.split(".")[1] for _, name in names if "." in name}
        if "." in module:
            room = module.split(".")[1]
            graph.setdefault(room, set()).update(rooms - {room})
    acyclic(graph)


def test_imports_go_one_way():
    upward = [
        f"{module}:{line} imports {name}"
        for module, names in IMPORTS.items()
        for line, name in names
        if "." in module and "." in name and floor(name) > floor(module)
    ]
    assert not upward, "\n".join(upward)


def outside():
    """Code that imports the package, as (place, path, syntax tree).

    Benchmarks are left out: they measure what is inside.
    """
    yield from ((module, MODULES[module], tree) for module, tree in TREES.items())
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        plain = re.sub(r"^[%!].*$", "", "\n".join(code), flags=re.MULTILINE)
        yield f"notebooks.{path.stem}", path, ast.parse(plain)


def test_packages_are_imported_by_their_public_address():
    private = [
        f"{place}:{line} imports {name}"
        for place, path, tree in outside()
        for line, name in imported(tree, place, path)
        if name.count(".") > 1
        and place.split(".")[:2] != name.split(".")[:2]
        and not any(re.fullmatch(address, name) for address in ADDRESSES)
    ]
    assert not private, "\n".join(private)


def functions():
    """Every function of the package, as (place, node, whether it is a method)."""
    for module, tree in TREES.items():
        for parent in ast.walk(tree):
            for node in ast.iter_child_nodes(parent):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    place = f"{MODULES[module].relative_to(ROOT)}:{node.lineno} {node.name}"
                    yield place, node, isinstance(parent, ast.ClassDef)


def test_every_function_is_annotated():
    bare = []
    for place, node, method in functions():
        arguments = [*node.args.posonlyargs, *node.args.args]
        static = any(
            isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list
        )
        if method and not static:
            arguments = arguments[1:]
        arguments += [*node.args.kwonlyargs, *filter(None, [node.args.vararg, node.args.kwarg])]
        bare += [f"{place}({a.arg})" for a in arguments if a.annotation is None]
        bare += [] if node.returns else [f"{place} -> ?"]
    assert not bare, "\n".join(bare)


def test_functions_are_short():
    """Fifty lines at most, besides the docstring."""
    long = []
    for place, node, _ in functions():
        body = node.body
        if ast.get_docstring(node) is not None:
            body = body[1:]
        lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
        if lines > 50:
            long.append(f"{place}: {lines} lines")
    assert not long, "\n".join(long)


def test_files_are_short():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    long = [f"{path.relative_to(ROOT)}: {count}" for path, count in lines.items() if count > 320]
    assert not long, "\n".join(long)
    assert statistics.median(lines.values()) < 180


def texts():
    """The repository's code and configuration, as (path, text)."""
    kept = ["uddm_lib", "tests", "benchmarks", "runs", ".github", ".pre-commit-config.yaml"]
    for name in [*kept, "pyproject.toml", "environment.yml"]:
        top = ROOT / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            code = path.suffix in (".py", ".yaml", ".yml", ".toml") or path.name == "Snakefile"
            # Results of sweeps lie in folders of runs/ that git ignores.
            result = path.parts[len(ROOT.parts) :][0] == "runs" and "logs" in path.parts
            if code and path.is_file() and not result:
                yield path.relative_to(ROOT), path.read_text(encoding="utf-8")


def test_no_line_is_wider_than_100_columns():
    wide = [
        f"{path}:{number}: {len(line)}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > 100
    ]
    assert not wide, "\n".join(wide)


def test_no_code_patches_the_import_path():
    patch = re.compile(r"\bsys\.path\b\s*(\.|\[|\+?=)|PYTHONPATH")
    patched = [
        f"{path}:{number}: {line.strip()}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if path.parts[0] != "tests" and patch.search(line)
    ]
    assert not patched, "\n".join(patched)


def test_no_two_modules_have_one_name():
    names = {}
    for module, path in MODULES.items():
        if path.stem != "__init__":
            names.setdefault(path.stem, []).append(module)
        else:
            names.setdefault(module.rpartition(".")[2], []).append(module)
    twice = [modules for modules in names.values() if len(modules) > 1]
    assert not twice, twice


def test_runs_holds_no_code_but_the_snakefile():
    assert not list((ROOT / "runs").glob("*.py"))


def test_test_modules_import_no_other_test_module():
    found = []
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom | ast.Import):
                base = node.module or "" if isinstance(node, ast.ImportFrom) else ""
                for name in [base, *(alias.name for alias in node.names)]:
                    if name.rpartition(".")[2].startswith("test_") and not base.startswith("torch"):
                        found.append(f"{path.relative_to(ROOT)}:{node.lineno} imports {name}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_stay(module):
    found = importlib.import_module(f"uddm_lib.{module}")
    assert set(PUBLIC[module]) <= set(dir(found))


def test_the_map_of_packages_names_each_of_them():
    import uddm_lib

    rooms = {module.split(".")[1] for module in MODULES if module.count(".") == 1}
    public = {room for room in rooms if not room.startswith("_")}
    table = re.findall(r"^(\w+) {2,}\S", uddm_lib.__doc__, re.MULTILINE)
    assert set(table) == public and len(table) == len(public)
