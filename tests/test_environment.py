"""What counts of a user's environment: nothing that would change results or stop a run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch

from helpers.fake_sweep import finish, start, write_notebook
from helpers.paths import ROOT
from helpers.training_runs import run, unmeasured, weights
from uddm_lib import devices, environment

HOSTILE = {
    "PYTHONSTARTUP": "/missing.py",
    "PYTHONWARNINGS": "error",
    "PYTHONOPTIMIZE": "2",
    "IPYTHONDIR": "/missing",
    "JUPYTER_PATH": "/missing",
    "JUPYTER_CONFIG_DIR": "/missing",
    "MPLBACKEND": "TkAgg",
    "MATPLOTLIBRC": "/missing",
    "SNAKEMAKE_PROFILE": "missing",
    "GIT_DIR": "/missing",
    "OMP_NUM_THREADS": "64",
    "OMP_PROC_BIND": "true",
    "DNNL_DEFAULT_FPMATH_MODE": "BF16",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
    "WORLD_SIZE": "2",
    "RANK": "0",
    "OMPI_COMM_WORLD_SIZE": "2",
}
KEPT = {"PATH": "/bin", "PYTHONPATH": "/modules", "HF_HUB_OFFLINE": "1", "http_proxy": "http://x"}


@pytest.fixture
def variables(monkeypatch, tmp_path):
    """The variables of this process, for a test to change; at first only its home."""
    monkeypatch.setattr(os, "environ", {"HOME": str(tmp_path)})
    monkeypatch.setattr(os.path, "expanduser", lambda path: path.replace("~", os.environ["HOME"]))
    return os.environ


def test_a_users_settings_of_other_tools_do_not_count(variables, tmp_path):
    variables |= HOSTILE | KEPT
    environment.apply(threads=3)
    for name, value in HOSTILE.items():
        assert variables.get(name) != value, name
    assert variables.items() >= KEPT.items()
    assert variables["OMP_NUM_THREADS"] == variables["MKL_NUM_THREADS"] == "3"
    # What was fetched from the hub is found where it was.
    assert variables["HF_HOME"] == str(tmp_path / ".cache" / "huggingface")


def test_the_hubs_folder_stays_where_the_user_put_it(variables):
    variables |= {"XDG_CACHE_HOME": "/scratch/cache"}
    environment.apply()
    environment.apply()  # in the process and again in what it starts
    assert variables["HF_HOME"] == "/scratch/cache/huggingface"


def test_without_a_home_there_is_one(variables, monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "repository_root", lambda: tmp_path)
    variables["HOME"] = "/proc/nohome"
    environment.apply()
    assert Path(variables["HOME"]) == tmp_path / ".cache" / "home"
    assert Path(variables["HOME"]).is_dir()
    for name in ("HF_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
        assert tmp_path / ".cache" in [Path(variables[name]), *Path(variables[name]).parents]


def test_a_checkout_that_cannot_be_written_keeps_no_caches(variables, monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "repository_root", lambda: tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    environment.apply()
    assert tmp_path not in Path(variables["XDG_CACHE_HOME"]).parents


def test_tests_do_not_see_a_gpu_and_have_one_thread(variables):
    variables |= {"CUDA_VISIBLE_DEVICES": "0", "OMP_NUM_THREADS": "64"}
    environment.apply_to_tests()
    assert variables["CUDA_VISIBLE_DEVICES"] == "" and variables["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize("shell", [None, object()])
def test_a_notebook_trains_in_one_process_and_a_launcher_changes_no_option(
    variables, monkeypatch, shell
):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    several = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "here"}
    variables |= {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"} | several
    environment.apply_to_training()
    assert "ACCELERATE_GRADIENT_ACCUMULATION_STEPS" not in variables
    assert several.keys() & variables.keys() == (set() if shell else several.keys())


@pytest.mark.skipif(not shutil.which("make"), reason="make is missing")
def test_make_passes_on_no_settings_of_python_pytest_and_pip():
    """Its commands see .venv alone; what else is set, as a proxy, they see."""
    hostile = {
        "PYTHONPATH": "/modules",
        "PYTHONHOME": "/missing",
        "PYTHONWARNINGS": "error",
        "PYTEST_ADDOPTS": "--missing",
        "PIP_TARGET": "/missing",
    }
    kept = {"PIP_INDEX_URL": "https://mirror", "https_proxy": "http://proxy"}
    seen = subprocess.run(
        ["make", "--no-print-directory", "-f", "Makefile", "-f", "-", "probe"],
        input="probe:\n\t@env\n\t@echo PIP: $(PIP)\n",
        env=os.environ | hostile | kept,
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    variables = dict(line.split("=", 1) for line in seen.splitlines() if "=" in line)
    assert not hostile.keys() & variables.keys() and variables.items() >= kept.items()
    assert "PIP: PIP_USER=0 .venv/bin/python -m pip install" in seen


@pytest.mark.parametrize(
    ("lines", "files", "cores", "memory"),
    [
        ("0::/\n", {}, 8, None),
        ("0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"}, 8, None),
        ("0::/\n", {"cpu.max": "250000 100000\n", "memory.max": "1048576\n"}, 2, 2**20),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1, None),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, 3, None),
        ("0::/host/only\n", {"cpu.max": "400000 100000\n"}, 4, None),
        (
            "4:memory:/\n1:cpu,cpuacct:/docker/x\n0::/\n",
            {
                "cpu/cpu.cfs_quota_us": "200000\n",
                "cpu/cpu.cfs_period_us": "100000\n",
                "memory/memory.limit_in_bytes": "4096\n",
            },
            2,
            4096,
        ),
        (
            "1:cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            8,
            None,
        ),
    ],
)
def test_cores_and_memory_are_those_of_the_control_group(
    monkeypatch, tmp_path, lines, files, cores, memory
):
    (tmp_path / "cgroup").write_text(lines)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(environment, "_CGROUPS", tmp_path)
    monkeypatch.setattr(environment, "_OWN_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert environment.available_cores() == cores
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert environment.available_memory() == (memory or total)


def test_without_control_groups_and_affinity_all_cores_count(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "_OWN_CGROUPS", tmp_path / "missing")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert environment.available_cores() == 12


def test_accelerates_variables_change_no_training(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "matmul_rate", unmeasured)
    plain = run(tmp_path, "plain")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    (tmp_path / "plain").rename(tmp_path / "first")
    assert torch.equal(weights(run(tmp_path, "plain").model), weights(plain.model))


@pytest.mark.slow
def test_a_notebook_by_hand_trains_where_clusters_and_ipython_set_variables(tmp_path):
    """Papermill as a reader calls it: the kernel sees what the reader's shell and files set."""
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("DEBUG = False\n")
    write_notebook(
        tmp_path / "in.ipynb",
        "folder: str = ''",
        "from uddm_lib.results import check_parameters\ncheck_parameters(globals())",
        "from helpers.training_runs import run\nprint(len(run(folder, 'plain').log), DEBUG)",
    )
    hostile = {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "WORLD_SIZE": "2",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "MPLBACKEND": "TkAgg",
    }
    command = ("-m", "papermill", "in.ipynb", "out.ipynb", "-p", "folder", str(tmp_path / "run"))
    text, status = finish(start(tmp_path, *command, env=hostile))
    assert status == 0, text
    (output,) = nbformat.read(tmp_path / "out.ipynb", 4).cells[-1].outputs[-1:]
    assert output.text.endswith("4 False\n")
