# make run: an environment, then digits trained and drawn.  make demo: a page in the browser over what was trained.
# make test: what tests need, then the tests.
# PIP_ARGS='-c requirements.lock' installs the versions that were tested.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run demo test smoke lint

run: $(VENV)/.run
	$(BIN)/python main.py --config=configs/ddpm_digits.py

demo: $(VENV)/.demo
	$(BIN)/python main.py --config=configs/ddpm_digits.py --mode=demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -q -rs -n 2 --dist loadfile --no-loadscope-reorder tests

# The two ends of the supported range share no jax release; this checks the other end quickly, without PyTorch.
smoke: $(VENV)/.run
	$(BIN)/python main.py --config=configs/ddpm_digits.py --workdir=$(VENV)/smoke --config.train.steps=4 --config.sample.every=4 \
	  --config.sample.num_steps=2 && rm -r $(VENV)/smoke

lint: $(VENV)/.test
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

$(VENV)/.run: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -r requirements.txt $(PIP_ARGS)
	touch $@

$(VENV)/.demo: requirements-demo.txt $(VENV)/.run
	$(BIN)/python -m pip install -q -r requirements-demo.txt $(PIP_ARGS)
	touch $@

$(VENV)/.test: requirements-test.txt requirements-demo.txt $(VENV)/.run
	$(BIN)/python -m pip install -q -r requirements-test.txt $(PIP_ARGS)
	touch $@
