# Python 3.11 or newer:      make test PYTHON=python3.12
# Options for pip:           make test PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"
#   On Linux the torch of the package index brings the CUDA libraries, some gigabytes. With the
#   index above the pinned version resolves to its CPU build, which is all that demo and tests need.
PYTHON ?= python3
PIP_FLAGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet $(PIP_FLAGS)

FAST := --hypothesis-profile=fast -m "not (ray or s3 or train or chaos or slow or night)"

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test-fast test test-all test-lowest check fuzz constraints clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## tag a small archive made on the spot and write its report
	$(BIN)/dvt demo --out demo-output

test-fast: $(VENV)/.installed-dev  ## run the tests without Ray, S3 and training, in 3 minutes
	$(BIN)/python -m pytest $(FAST)

test: $(VENV)/.installed-dev  ## run the tests, in half an hour
	$(BIN)/python -m pytest -m "not night"

test-all: $(VENV)/.installed-dev fuzz  ## run all tests and the fuzzer at length, for the night
	$(BIN)/python -m pytest --hypothesis-profile=night

# torch stays at its pinned version: the package index has older ones with CUDA libraries only.
test-lowest:  ## run the fast tests with the oldest versions that pyproject.toml allows
	rm -rf build/lowest
	$(PYTHON) -m venv build/lowest
	grep '^torch==' constraints.txt > build/lowest/torch.txt
	build/lowest/bin/python -m pip install --disable-pip-version-check --quiet $(PIP_FLAGS) \
		uv -r build/lowest/torch.txt
	build/lowest/bin/uv pip install --python build/lowest --resolution lowest-direct \
		--override build/lowest/torch.txt -e '.[dev]'
	build/lowest/bin/python -m pytest $(FAST)

check: $(VENV)/.installed-dev  ## lint, format, types, direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict
	$(BIN)/python -m pytest tests/test_imports.py

fuzz: $(VENV)/.installed-dev  ## decode 20,000 mutated images; none may be lost
	$(BIN)/python -m benchmarks.fuzz_decode

# Resolves everything anew except torch; to move torch, edit its line first.
constraints:  ## rewrite constraints.txt with today's newest versions
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install --disable-pip-version-check $(PIP_FLAGS) \
		"$$(grep '^torch==' constraints.txt)" -e '.[dev]'
	{ sed -n '/^#/p' constraints.txt; \
	  build/constraints/bin/python -m pip freeze --all --exclude-editable --exclude pip \
	  | sed 's/+[a-z0-9.]*$$//'; } > build/constraints.txt
	mv build/constraints.txt constraints.txt
	rm -rf build/constraints

clean:  ## remove .venv, the demo's output, caches and builds
	rm -rf $(VENV) demo-output build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "dvt needs Python 3.11 or newer, but '$(PYTHON)' is not: make ... PYTHON=python3.11" >&2; \
		exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Two stamps: the demo installs what a user needs, tests and checks what a developer needs.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/.created
	$(PIP_INSTALL) -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/.created
	$(PIP_INSTALL) -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.installed
