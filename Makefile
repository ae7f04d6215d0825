# Commands for people: `make help`. All work from any folder with `make -C <this folder> <command>`.
# Paths are relative because the folder's own path may hold spaces.
SHELL := bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install demo gpu-check test test-fast test-minimal lint docs constraints clean

PYTHON ?= python3
# auto, git or pypi: see INSTALL.md
DETECTRON2 ?= auto
# A file of exact versions, for the same environment again: tools/constraints.txt
CONSTRAINTS ?=
# Whether lint checks types. Libraries change theirs; the suite's fit the newest.
TYPES ?= yes
# Processes that share the tests
JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ovsuite-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
PINNED := $(if $(CONSTRAINTS),PIP_CONSTRAINT='$(CONSTRAINTS)')
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile
MINIMAL := .venv-minimal
# Of pip's many lines: the files of 10 MB and more, and the long silent step after them
BRIEFLY := awk '/(Downloading|Using cached) .*\(([0-9][0-9]+\.[0-9]+ MB|[0-9.]+ GB)\)/ { print; fflush() } \
	/^Installing collected/ { print "  unpacking"; fflush() }'

help:
	@echo "make install       create .venv and install the suite and Detectron2 (nothing when up to date)"
	@echo "make demo          all methods on the embedded world: tables, pictures, a report"
	@echo "make gpu-check     run the suite on the GPU of this machine, under ten minutes: output/gpu_check"
	@echo "make test          lint and all tests, as in CI"
	@echo "make test-fast     the tests that take seconds"
	@echo "make test-minimal  the same in .venv-minimal, on the lowest versions that setup.cfg states"
	@echo "make lint          lint, format and types"
	@echo "make docs          build the site of the documents and the API in build/site"
	@echo "make constraints   write the versions of .venv to tools/constraints.txt"
	@echo "make clean         remove the environments, caches and build leftovers; outputs and data stay"
	@echo "Settings: PYTHON=$(PYTHON)  DETECTRON2=$(DETECTRON2) (auto|git|pypi)  JOBS=$(JOBS)  TYPES=$(TYPES) (yes|no)"
	@echo "          CONSTRAINTS=$(CONSTRAINTS) (tools/constraints.txt: the versions that were tested)"

install: $(STAMP)

$(STAMP): setup.cfg pyproject.toml tools/install_detectron2.py tools/detectron2_sources.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "$(PYTHON) is Python %d.%d; the suite needs 3.10 or newer: make PYTHON=python3.11 install" % sys.version_info[:2])'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@echo "Installing the suite into $(VENV); the first time this fetches PyTorch, 2.6 GB on Linux"
	@$(PINNED) $(PIP) install --progress-bar off --editable '.[test]' | $(BRIEFLY)
	@$(PINNED) $(BIN)/python tools/install_detectron2.py --source $(DETECTRON2)
	@touch $(STAMP)

demo: install
	$(BIN)/python tools/demo.py

gpu-check: install
	$(BIN)/ovsuite doctor --gpu

test: install lint
	$(PYTEST)

test-fast: install
	$(PYTEST) -m "not slow"

# The lowest versions have no wheels for the newest Pythons: make test-minimal PYTHON=python3.10
test-minimal:
	@mkdir -p $(MINIMAL)
	@$(PYTHON) tools/lowest_versions.py > $(MINIMAL)/lowest.txt
	@$(MAKE) test-fast VENV=$(MINIMAL) CONSTRAINTS=$(MINIMAL)/lowest.txt

lint: install
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check --quiet .
	$(if $(filter yes,$(TYPES)),$(BIN)/python -m mypy)

# Warnings are errors: dead links, docstrings that do not fit their functions. (--quiet would hide them.)
docs: install
	@$(BIN)/python -c 'import mkdocs, material, mkdocstrings' 2>/dev/null || $(PINNED) $(PIP) install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --config-file docs/site/mkdocs.yml
	@echo "build/site/index.html is the site; to search it too: $(BIN)/python -m http.server --directory build/site"

# What Detectron2's installer brings is among them; Detectron2 has its own pin there.
constraints: install
	@{ $(BIN)/python -c 'import platform as p; print("# make constraints, on Python", p.python_version(), p.system(), p.machine())'; \
	$(PIP) freeze --exclude-editable --exclude detectron2 | grep -E '^[A-Za-z0-9._-]+==[0-9]'; } > tools/constraints.txt

clean:
	rm -rf $(VENV) $(MINIMAL) .pytest_cache .ruff_cache .mypy_cache .hypothesis build projects/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
