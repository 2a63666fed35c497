# make train: set up what a run needs, and run the main job on the embedded default.
# make test:  set up the rest too, and run the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv installs the same versions in less time. `make UV= ...` uses pip although uv is there.
UV ?= $(shell command -v uv 2> /dev/null)
INSTALL := $(if $(UV),$(UV) pip install --quiet --python $(BIN)/python,$(BIN)/python -m pip install --quiet) -c constraints.txt

.PHONY: setup mediapipe train test test-reliability test-cluster lint docs bench clean

setup: $(VENV)/.installed-dev

# Each stamp is made again only when what it is made from changes.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), f"the pinned versions need Python 3.11 or newer, this is {sys.version}; try make PYTHON=python3.11 ..."'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
# torch always through pip: which build of it a machine takes (CPU, CUDA) is set in pip's configuration, which uv does not read.
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(INSTALL) -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(INSTALL) -e '.[dev]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(INSTALL) -e '.[docs]'
	touch $@

# detector=mediapipe of `dg predict`: an environment of its own, 150 MB.
mediapipe: .venv-mediapipe/.installed

.venv-mediapipe/.installed: mediapipe.txt
	rm -rf .venv-mediapipe
	$(PYTHON) -m venv .venv-mediapipe
	.venv-mediapipe/bin/python -m pip install --quiet --no-deps --only-binary :all: -r mediapipe.txt || \
		(rm -rf .venv-mediapipe && exit 1)
	.venv-mediapipe/bin/python -m pip uninstall --quiet --yes setuptools pip
	touch $@

train: $(VENV)/.installed
	$(BIN)/python -m dg.train $(ARGS)

test: setup
# By file: what the tests of a file share is made once.
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# A real `ray up` on hosts of this machine (network namespaces; as root, with the Debian packages openssh-server, rsync and
# iproute2), else on loopback addresses. about 9 minutes.
test-cluster: setup
	$(BIN)/python -m pytest -m cluster -rP tests/cluster $(ARGS)

# Ray clusters, processes that are killed, and single cases that are long.
test-reliability: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile -m '(reliability or long) and not slow' -rP $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

# The site, in build/site; every warning is an error.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir build/site

bench: setup
	$(BIN)/python -m tests.bench.depth
	$(BIN)/python -m tests.bench.training
	$(BIN)/python -m tests.bench.pool
	$(BIN)/python -m tests.bench.methods
	$(BIN)/python -m tests.bench.lifters simple_baseline video_pose_3d sem_gcn st_gcn pose_former --repeats 3
	$(BIN)/python -m tests.bench.quickstart
	$(BIN)/python -m tests.bench.predict

clean:
	rm -rf $(VENV) .venv-mediapipe build *.egg-info .pytest_cache .ruff_cache .hypothesis
