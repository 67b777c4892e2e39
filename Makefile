# Two commands do everything on a fresh machine: `make demo` and `make test`.
# PYTHON chooses the interpreter that the virtual environment is made with.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all check docs format benchmarks clean

# Installed again whenever the project's requirements change. torch comes first and pinned, so that
# no other package decides which build of it is taken.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/fxp demo

# The quick tests; tests/slow.py lists the slow ones.
test: $(VENV)/installed
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

test-all: $(VENV)/installed
	$(BIN)/python -m pytest -n auto --dist loadfile

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(MAKE) docs

# A broken link or anchor is an error.
docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmarks: $(VENV)/installed
	$(BIN)/python -m benchmarks.quantization
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.zoo
	$(BIN)/python -m benchmarks.rtl
	$(BIN)/python -m benchmarks.hls4ml --network
	$(BIN)/python -m benchmarks.boards
	$(BIN)/python -m benchmarks.synth
	test -z "$(FXP_DATA)" || $(BIN)/python -m benchmarks.psnr
	test -z "$(FXP_DATA)" || $(BIN)/python -m benchmarks.line_compression
	test -z "$(FXP_DATA)" || $(BIN)/python -m benchmarks.training

clean:
	rm -rf $(VENV) build dist site *.egg-info demo_output
	find . -name __pycache__ -prune -exec rm -rf {} +
