"""Provenance: which code and which inputs made a result."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from helpers.paths import ROOT
from uddm_lib.results import files, input_versions, package_digest, provenance, resolve


def test_provenance_says_what_decides_a_result():
    import torch

    about = provenance({"n": np.int64(3), "levels": (0.1, 0.2), "folder": resolve("runs")}, seed=7)
    # The package's version may lack the build, such as +cu130, that the module names.
    assert torch.__version__.split("+")[0] == about["torch"].split("+")[0] and about["seed"] == 7
    assert about["parameters"] == {"n": 3, "levels": [0.1, 0.2], "folder": str(resolve("runs"))}
    assert {"package", "version", "commit", "python", "time"} <= about.keys()
    assert about["code"] == package_digest() and "inputs" not in about
    assert json.loads(json.dumps(about)) == about


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_commit_is_dirty_only_when_sources_changed(monkeypatch, tmp_path):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", tmp_path, *who, *arguments], check=True, capture_output=True)

    monkeypatch.setattr(files, "repository_root", lambda: tmp_path)
    assert provenance({})["commit"] == "unknown"
    (tmp_path / "uddm_lib").mkdir()
    (tmp_path / "uddm_lib" / "a.py").write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "a")
    (tmp_path / "figure.png").write_text("not a source")
    clean = provenance({})["commit"]
    assert len(clean) == 40
    (tmp_path / "uddm_lib" / "a.py").write_text("2")
    assert provenance({})["commit"] == f"{clean}-dirty"
    git("checkout", "uddm_lib/a.py")
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "benchmarks" / "results" / "seeds.json").write_text("recorded")
    assert provenance({})["commit"] == clean
    (tmp_path / "benchmarks" / "seeds.py").write_text("it made a result")
    assert provenance({})["commit"] == f"{clean}-dirty"
    (tmp_path / "inner").mkdir()  # a copy inside someone else's repository has no commit of its own
    monkeypatch.setattr(files, "repository_root", lambda: tmp_path / "inner")
    assert provenance({})["commit"] == "unknown"


def test_package_digest_is_of_the_sources_wherever_they_are(tmp_path):
    def digest():
        code = "from uddm_lib.results import package_digest; print(package_digest())"
        answer = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return answer.stdout.strip()

    copy = tmp_path / "uddm_lib"
    shutil.copytree(ROOT / "uddm_lib", copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert digest() == package_digest()
    (copy / "figures" / "notes.txt").write_text("not a source")
    assert digest() == package_digest()
    (copy / "probes.py").write_text((copy / "probes.py").read_text() + "# another version\n")
    changed = digest()
    assert changed != package_digest()
    (copy / "probes.py").rename(copy / "renamed.py")
    assert digest() not in (changed, package_digest())


def test_inputs_are_named_with_their_commits_and_digests():
    b, a = {"commit": "b", "code": "2"}, {"commit": "a", "code": "1"}
    figure = provenance({}, inputs=[b, a, a])
    assert figure["inputs"] == {"commits": ["a", "b"], "code": ["1", "2"]}
    kept = {"commit": "c", "code": "2", "inputs": figure["inputs"]}
    assert input_versions([kept]) == {"commits": ["a", "b", "c"], "code": ["1", "2"]}


def test_tables_of_older_versions_are_told_apart_by_commit():
    assert input_versions([{"commit": "a"}, {"commit": "b"}, {}]) == {
        "commits": ["a", "b"],
        "code": ["commit a", "commit b"],
    }
