# make demo: the whole job on a synthetic cohort. make test: every check. Both set themselves up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The exact versions, with their hashes: a fresh clone gets the same packages on any day.
LOCK := Testing/requirements/lock.txt
DEMO ?= demo
# Test processes at a time; each may need 4 GB of memory.
WORKERS ?= 2

.PHONY: demo test test-312 test-all bench evidence screenshots icons cmake-lists lock licences faults lint clean
.DELETE_ON_ERROR:

# The second Python, where one is found: that of 3D Slicer.
PYTHON312 := $(firstword $(foreach one,python3.12 $(wildcard $(HOME)/.pyenv/versions/3.12.*/bin/python),$(shell $(one) -c 'import ensurepip, venv; print("$(one)")' 2>/dev/null)))
READY312 := .venv-3.12/.ready

# $(call install,FOLDER,PYTHON): an environment with the project and everything in the lock file.
define install
	test -x $(1)/bin/pip || $(2) -m venv $(1) || { rm -rf $(1); exit 1; }
	@echo "Installing into $(1): PyTorch and the rest, about 9 GB on Linux; some minutes on the first run."
	$(1)/bin/python -m pip install --disable-pip-version-check --require-hashes --requirement $(LOCK)
	$(1)/bin/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .
endef

$(READY): pyproject.toml $(LOCK)
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed, this is " + sys.version.split()[0] + "; set PYTHON=...") if sys.version_info < (3, 10) else None'
	$(call install,$(VENV),$(PYTHON))
	touch $@

$(READY312): pyproject.toml $(LOCK)
	$(call install,.venv-3.12,$(PYTHON312))
	touch $@

demo: $(READY)
	$(BIN)/molsub demo --out $(DEMO)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The tests of the Slicer module have processes of their own: PyTorch, loaded after Mesa's renderer, crashes.
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# Both parts are run, whatever becomes of the first.
test: lint
	$(PYTEST) -m "not slow"; core=$$?; $(PYTEST) -m "not slow" Testing/Slicer && exit $$core

# Tests of the library with the Python of 3D Slicer.
test-312: $(if $(PYTHON312),$(READY312))
	$(if $(PYTHON312),.venv-3.12/bin/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow" Testing/Core,@echo "No Python 3.12 was found: the tests were not run with it.")

# Also the slow ones, new random examples, and the library with Python 3.12 where it is found.
test-all: PYTEST += --hypothesis-profile=new
test-all: lint test-312
	$(PYTEST); core=$$?; $(PYTEST) Testing/Slicer && exit $$core

bench: $(READY)
	mkdir -p build
	$(BIN)/python -m pytest Testing/Benchmarks -o addopts= -p no:cacheprovider -q --benchmark-json=build/benchmarks.json
	$(BIN)/python Testing/Benchmarks/table.py build/benchmarks.json | tee build/benchmarks.md

evidence: $(READY)
	$(BIN)/python Testing/Evidence/levels.py
	$(BIN)/python Testing/Evidence/evidence.py

# Pictures of the Slicer module: of the synthetic case into Resources/Screenshots; of a real mammogram, where there
# is one in ../shared/data, into build/screenshots, to be looked at and never committed.
screenshots: $(READY)
	$(BIN)/python Testing/Slicer/screenshots.py

icons: $(READY)
	$(BIN)/python Testing/Slicer/render_icons.py

# The lists of files that Slicer installs.
cmake-lists: $(READY)
	$(BIN)/python Testing/Slicer/cmake_lists.py

# The exact versions of everything, with their hashes, for Python 3.10 and newer on all systems.
lock:
	$(PYTHON) -m venv build/uv && build/uv/bin/python -m pip install --quiet uv
	build/uv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.10 --generate-hashes --no-annotate \
		--no-header --extra test pyproject.toml --output-file $(LOCK)

licences: $(READY)
	$(BIN)/python Testing/Core/licences.py

# The table of faults and outcomes in Testing/README.md; as root, some minutes.
faults: $(READY)
	$(BIN)/python Testing/Core/fault_table.py

clean:
	rm -rf $(VENV) .venv-3.12 $(DEMO) *.egg-info .mypy_cache .ruff_cache .hypothesis
