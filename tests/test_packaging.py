"""The installed package: a wheel in an environment of its own, far from any checkout."""

import os
import pkgutil
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv

import pytest
import torch
import yaml

from helpers import lightning_files
from helpers.paths import ROOT
from helpers.tokenizer_files import save_tokenizer
from uddm_lib import checkpoints
from uddm_lib.model import UDDM, UDDMConfig

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {  # packages that a plain installation lacks
    "IPython",
    "fastjsonschema",
    "ipykernel",
    "latex2mathml",
    "matplotlib",
    "nbconvert",
    "papermill",
    "sklearn",
    "snakemake",
}

# What a reader does after `pip install`: a tokenizer, a corpus, a checkpoint, a probe.
USE = """
import os, socket, sys, uddm_lib
from pathlib import Path
del os.environ["HF_HUB_OFFLINE"]  # nothing here should reach for the network by itself
asked = []
socket.getaddrinfo = lambda *address, **_: asked.append(address)
socket.socket.connect = lambda _, address: asked.append(address)
assert "torch" not in sys.modules and "transformers" not in sys.modules, "a heavy import"
assert Path(sys.prefix) in Path(uddm_lib.__file__).parents, uddm_lib.__file__
assert uddm_lib.__version__ == {version!r}, uddm_lib.__version__

from transformers import AutoModel
assert type(AutoModel.from_pretrained("model")).__name__ == "UDDM"

from uddm_lib import checkpoints, data, experiments, probes
text = data.load_corpus("kjv", length=64, vocab_size=80, cache=False)
text.tokenizer.save_pretrained("tokenizer")
assert len(data.load_tokenizer("./tokenizer")) == 80 and text.train.shape[1] == 64
corpus = data.load_corpus("markov", length=16, vocab_size=32)
table = probes.token_recovery(checkpoints.load("model"), corpus.test[:4], [0.5], steps=2)
assert len(table), table

options = dict(corpus="markov", length=8, vocab_size=8, size="pico", steps=1, batch_size=2, n=4)
experiments.train_run(experiments.prepare(options), "runs/mine")
run = experiments.load_run("runs/mine")
assert Path("runs/mine/run.json").is_file() and len(run.train) == 4
assert not asked, asked
print("it works")
"""

# Every module that a plain installation must be able to import; the extras' packages are hidden.
BASE = """
import importlib, pkgutil, sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in {extras!r}
        return None if hidden else super().find_spec(name, path, target)

sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
import uddm_lib
for module in pkgutil.walk_packages(uddm_lib.__path__, "uddm_lib."):
    if module.name.split(".")[1] not in ("audit", "figures", "sweep", "theory"):
        importlib.import_module(module.name)
assert not {extras!r} & set(sys.modules)
print("it works")
"""

# transformers and uddm_lib import each other. The test of the wheel has the usual order.
ORDERS = [
    "from transformers import AutoConfig, AutoModel; import uddm_lib",
    "import uddm_lib.model; from transformers import AutoConfig, AutoModel",
    "import uddm_lib; from transformers import AutoConfig; AutoConfig.from_pretrained('model'); "
    "from transformers import AutoModel",
]


def run(*command, **options):
    """The standard output of a command, which must succeed; see :func:`start`."""
    done = start(*command, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def start(*command, cwd, home=None, path=None):
    """Run a command in a clean environment, without the hub."""
    environment = {key: value for key, value in os.environ.items() if "PYTHON" not in key}
    for name in ("HF_HOME", "XDG_CACHE_HOME"):
        environment.pop(name, None)
    environment |= {"HOME": str(home or cwd), "HF_HUB_OFFLINE": "1"}
    environment |= {"PYTHONPATH": str(path)} if path else {}
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a saved model of 32 tokens, in an empty place."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("elsewhere")
    config = UDDMConfig.named("pico", vocab_size=32, length=16)
    return checkpoints.save(place / "model", UDDM(config))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what makes the package."""
    place = tmp_path_factory.mktemp("source")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "uddm_lib", place / "uddm_lib", ignore=ignore)
    files = ("pyproject.toml", "README.md", "LICENSE", "environment.yml", "constraints.txt")
    for name in files:
        shutil.copy(ROOT / name, place)
    return place


@pytest.fixture(scope="module")
def installed(source, tmp_path_factory):
    """The environment's folder of programs, with the wheel, and the dependencies from outside."""
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", place, source]
    run(*build, cwd=place)
    (wheel,) = place.glob("*.whl")
    venv.create(place / "venv", with_pip=False)
    programs = place / "venv" / "bin"
    install = [*pip, "--python", programs / "python", "install", "--no-deps", "--no-index", wheel]
    run(*install, cwd=place)
    # The dependencies come from this environment. Its editable uddm_lib does not: .pth files of
    # a folder that is itself named in one are not read.
    (packages,) = (place / "venv").glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return programs


@pytest.mark.slow
def test_the_wheel_works_far_from_a_checkout(installed, model):
    use = USE.format(version=PROJECT["version"])
    home = model.parent / "home"
    home.mkdir()
    output = run(installed / "python", "-W", "error", "-c", use, cwd=model.parent, home=home)
    assert output.endswith("it works\n")

    convert = [installed / "uddm", "convert", "released.ckpt"]
    torch.save(lightning_files.contents(lightning_files.model()), model.parent / "released.ckpt")
    words = ["<s>", "</s>", "<unk>", "word"]
    save_tokenizer(model.parent / "words", words, bos_token="<s>", eos_token="</s>")
    run(*convert, "with", "--tokenizer", "./words", cwd=model.parent)
    assert checkpoints.load_tokenizer(model.parent / "with").convert_ids_to_tokens([0])
    done = start(*convert, "without", "--tokenizer", "gpt2", cwd=model.parent)
    sentence = "error: tokenizer 'gpt2' is no folder, is not in the local cache, and can't be"
    assert done.returncode == 2 and done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_wheel_brings_a_command(installed, model):
    help_text = run(installed / "uddm", "--help", cwd=model.parent)
    assert all(command in help_text for command in ("convert", "page", "plan", "sweep", "train"))
    (folder,) = installed.parent.glob("lib/python*/site-packages/uddm_lib")
    kinds = ("*.css", "*.html", "*.js")
    brought, there = (
        {path.relative_to(place) for kind in kinds for path in place.rglob(kind)}
        for place in (folder, ROOT / "uddm_lib")
    )
    assert brought == there and len(there) > 3


@pytest.mark.slow
def test_base_dependencies_suffice_for_the_base():
    output = run(sys.executable, "-c", BASE.format(extras=EXTRAS), cwd=ROOT, path=ROOT)
    assert output.endswith("it works\n")


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_transformers_knows_the_model_whatever_is_imported_first(order, model):
    code = f"{order}; print(type(AutoModel.from_pretrained('model')).__name__)"
    assert run(sys.executable, "-c", code, cwd=model.parent, path=ROOT).endswith("UDDM\n")


@pytest.mark.slow
def test_code_of_the_readme_runs():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert blocks
    for block in blocks:
        lines = run(sys.executable, "-c", block, cwd=ROOT, path=ROOT).splitlines()
        assert len(lines) == 3 and lines[0] != lines[1] and lines[0] == lines[2]


def test_links_of_the_documents_lead_somewhere():
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    documents += [*(ROOT / "tests" / "data").rglob("*.md"), *(ROOT / "runs").rglob("README.md")]
    broken = [
        f"{path.relative_to(ROOT)}: {link}"
        for path in documents
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8"))
        if not (path.parent / link).exists()
    ]
    assert not broken, broken


def test_new_addresses_in_the_changelog_exist():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    assert rows
    for _, old, new, _ in rows:
        if old.startswith(" `runs/") or "removed" in new:
            continue
        address, _, inside = new.partition("(")
        modules = [
            pkgutil.resolve_name(f"uddm_lib.{name}") for name in re.findall(r"[\w.]+", address)
        ]
        for name in re.findall(r"\w+", inside):
            assert hasattr(modules[0], name), f"{new}: {name}"


def names(requirements):
    return {re.match(r"[\w-]+", line)[0].lower().replace("_", "-") for line in requirements}


def test_every_dependency_has_a_pinned_version():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = names(line for line in lines if not line.startswith("#"))
    extras = set().union(*map(names, PROJECT["optional-dependencies"].values()))
    assert (names(PROJECT["dependencies"]) | extras) - {PROJECT["name"]} <= pinned


def test_pre_commit_uses_the_pinned_ruff():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    version = re.search(r"rev: v([\d.]+)", hooks)[1]
    assert f"ruff=={version}\n" in (ROOT / "constraints.txt").read_text(encoding="utf-8")


@pytest.mark.slow
def test_conda_and_mamba_find_what_the_environment_names(source):
    """They give pip its lines in a file beside environment.yml, and run it there."""
    pip_part = yaml.safe_load((source / "environment.yml").read_text())["dependencies"][-1]["pip"]
    (source / "condaenv.txt").write_text("\n".join(pip_part))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--dry-run"]
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed"]
    out = run(*pip, *options, "-r", source / "condaenv.txt", cwd=source)
    assert f"Would install uddm-companion-{PROJECT['version']}" in out.replace("_", "-")


def test_conda_installs_what_make_installs():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    extras = re.search(r"^EXTRAS +\?= (\S+)$", makefile, re.MULTILINE)[1]
    assert f"-e .[{extras}]" in text and "-c constraints.txt" in text
    assert f"python {PROJECT['requires-python']}" in text
