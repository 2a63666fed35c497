# make train: set up everything and run the main job on the embedded default.
# make test:  set up everything and run the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup train test test-reliability test-cluster lint bench clean

setup: $(VENV)/.installed

# Built again only when what it is built from changes.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), f"the pinned versions need Python 3.11 or newer, this is {sys.version}; try make PYTHON=python3.11 ..."'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

train: setup
	$(BIN)/python -m dg.train $(ARGS)

test: setup
	$(BIN)/python -m pytest -n 2 $(ARGS)

# A real `ray up` on hosts of this machine (network namespaces; as root, with the Debian packages openssh-server, rsync and
# iproute2), else on loopback addresses. 6 to 8 minutes.
test-cluster: setup
	$(BIN)/python -m pytest -m cluster -rP tests/cluster $(ARGS)

# Ray clusters, and processes that are killed.
test-reliability: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile -m reliability -rP $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

bench: setup
	$(BIN)/python -m tests.bench.depth
	$(BIN)/python -m tests.bench.training
	$(BIN)/python -m tests.bench.pool
	$(BIN)/python -m tests.bench.methods
	$(BIN)/python -m tests.bench.lifters simple_baseline video_pose_3d sem_gcn st_gcn pose_former --repeats 3
	$(BIN)/python -m tests.bench.quickstart

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
