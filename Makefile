# Commands for people: `make help`. All work from any folder with `make -C <this folder> <command>`.
# Paths are relative because the folder's own path may hold spaces.
SHELL := bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install demo test lint clean

PYTHON ?= python3
# auto, git or pypi: see INSTALL.md
DETECTRON2 ?= auto
# Processes that share the tests
JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ovsuite-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Of pip's many lines: the files of 10 MB and more, and the long silent step after them
BRIEFLY := awk '/(Downloading|Using cached) .*\(([0-9][0-9]+\.[0-9]+ MB|[0-9.]+ GB)\)/ { print; fflush() } \
	/^Installing collected/ { print "  unpacking"; fflush() }'

help:
	@echo "make install  create .venv and install the suite and Detectron2 (does nothing when up to date)"
	@echo "make demo     segment the embedded world: a table of figures and pictures"
	@echo "make test     lint and all tests, as in CI"
	@echo "make lint     lint alone"
	@echo "make clean    remove .venv, caches and build leftovers; outputs and data stay"
	@echo "Settings: PYTHON=$(PYTHON)  DETECTRON2=$(DETECTRON2) (auto|git|pypi)  JOBS=$(JOBS)"

install: $(STAMP)

$(STAMP): setup.cfg pyproject.toml tools/install_detectron2.py tools/detectron2_sources.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "$(PYTHON) is Python %d.%d; the suite needs 3.10 or newer: make PYTHON=python3.11 install" % sys.version_info[:2])'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@echo "Installing the suite into $(VENV); the first time this fetches PyTorch, 2.6 GB on Linux"
	@$(PIP) install --progress-bar off --editable '.[test]' | $(BRIEFLY)
	@$(BIN)/python tools/install_detectron2.py --source $(DETECTRON2)
	@touch $(STAMP)

demo: install
	$(BIN)/python tools/demo.py

test: install lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: install
	$(BIN)/python -m ruff check .

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build projects/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
