"""The environment of sweeps, notebooks and tests: the one place that says what counts in it.

Settings of a user's account, meant for other work, would change results or stop a run. A sweep's
processes and the tests therefore call :func:`apply` before anything else, and every training calls
:func:`apply_to_training`, also in Jupyter.
"""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from uddm_lib.results import repository_root

__all__ = ["apply", "apply_to_tests", "apply_to_training", "available_cores", "available_memory"]

_IGNORED = (  # names of variables; beginnings of names end in "_"
    # Python: code that would run first, warnings as errors, assertions left out
    *("PYTHONSTARTUP", "PYTHONWARNINGS", "PYTHONOPTIMIZE", "PYTHONINSPECT", "PYTHONDEVMODE"),
    *("JUPYTER_", "MPLBACKEND", "MATPLOTLIBRC", "SNAKEMAKE_"),
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"),  # another repository's, in its hooks
    # places and numbers of threads, and matrix products in another precision
    *("OMP_", "KMP_AFFINITY", "GOMP_CPU_AFFINITY", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    *("DNNL_DEFAULT_FPMATH_MODE", "ONEDNN_DEFAULT_FPMATH_MODE", "NVIDIA_TF32_OVERRIDE"),
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
# One of these makes Accelerate divide the gradients, another compiles the model.
_LAUNCHER = ("ACCELERATE_", "FSDP_", "MEGATRON_LM_")
_SEVERAL_PROCESSES = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("GROUP_RANK", "ROLE_", "TORCHELASTIC_", "PMI_", "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_"),
    *("MPI_LOCALNRANKS", "MPI_LOCALRANKID"),
)
_CGROUPS, _OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_CPU_1 = ("cpu.cfs_quota_us", "cpu.cfs_period_us")  # of version 1 of Linux's control groups


def apply(threads: int = 1) -> None:
    """Make this process, and those that it starts, independent of the user's settings.

    Variables of other tools are removed. Their caches and configuration are looked for in
    ``.cache`` of the checkout, or in a temporary folder if nothing can be written there.

    Args:
        threads: of PyTorch. It must not be imported before.
    """
    _remove(_IGNORED + _LAUNCHER + _SEVERAL_PROCESSES)
    # Connection files and the kernel's own files: a network's file system may have no locks.
    temporary = Path(tempfile.mkdtemp(prefix="uddm-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    root = repository_root()
    cache = root / ".cache" if os.access(root, os.W_OK) else temporary
    if not os.path.isdir(os.path.expanduser("~")):
        (cache / "home").mkdir(parents=True, exist_ok=True)
        os.environ["HOME"] = str(cache / "home")
    # The hub's cache stays where it is: what was fetched is not fetched again.
    user_cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    os.environ.setdefault("HF_HOME", os.path.join(user_cache, "huggingface"))
    os.environ |= {
        "PYTHONUTF8": "1",
        "XDG_CACHE_HOME": str(cache),  # Snakemake's
        "MPLCONFIGDIR": str(cache / "matplotlib"),
        "IPYTHONDIR": str(temporary / "ipython"),
        "JUPYTER_DATA_DIR": str(temporary / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(temporary / "runtime"),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }


def apply_to_tests() -> None:
    """The same for tests: on the CPU, where stored outputs come from, in one thread.

    Sums then come out alike on every machine, and several such processes beat one with threads.
    """
    apply()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def apply_to_training() -> None:
    """Let a training depend on its options alone, whatever a launcher or a cluster has set.

    A notebook is one process, even where the variables of several are set.
    """
    ipython = sys.modules.get("IPython")
    notebook = ipython is not None and ipython.get_ipython() is not None
    _remove(_LAUNCHER + _SEVERAL_PROCESSES if notebook else _LAUNCHER)


def available_cores() -> int:
    """Processor cores that this process may use: its affinity, within the quota of its group."""
    # Python 3.13 has os.process_cpu_count; macOS has no affinity.
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quotas = [
        round(int(quota) / int(period))
        for quota, period in [*_limits("cpu", "cpu.max"), *_limits("cpu", *_CPU_1)]
        if quota.isdecimal()
    ]
    return max(1, min([cores, *quotas]))


def available_memory() -> int:
    """Bytes of memory that this process and its children may use."""
    limits = [*_limits("memory", "memory.max"), *_limits("memory", "memory.limit_in_bytes")]
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([total, *(int(limit) for (limit,) in limits if limit.isdecimal())])


def _limits(controller: str, *names: str) -> Iterator[list[str]]:
    """The words in files of the process's control groups, from its own to the outermost."""
    try:
        lines = _OWN_CGROUPS.read_text().splitlines()
    except OSError:
        return
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controller in controllers.split(",") or not controllers:
            top = _CGROUPS / controller if controllers else _CGROUPS
            group = top / path.strip("/")
            # In a container, the path may be the host's, of which only the top is to be seen.
            for folder in (group, *group.parents[: len(Path(path).parts) - 1]):
                words = _words(folder / name for name in names)
                if words:
                    yield words


def _words(files: Iterable[Path]) -> list[str]:
    try:
        return [word for file in files for word in file.read_text().split()]
    except OSError:
        return []


def _remove(names: tuple[str, ...]) -> None:
    beginnings = tuple(name for name in names if name.endswith("_"))
    for name in [name for name in os.environ if name in names or name.startswith(beginnings)]:
        del os.environ[name]
