# make run: an environment, then digits trained and drawn.  make demo: a page in the browser over what was trained.
# make test: what tests need, then the tests.
# make benchmark: the README's table of speeds.
# PIP_ARGS='-c requirements.lock' installs the versions that were tested.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run demo test smoke lint benchmark

run: $(VENV)/.run
	$(BIN)/python main.py --config=configs/ddpm_digits.py

demo: $(VENV)/.demo
	$(BIN)/python main.py --config=configs/ddpm_digits.py --mode=demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -q -rs -n 2 --dist loadfile --no-loadscope-reorder --durations=20 tests

# The two ends of the supported range share no jax release; this checks the other end quickly, without PyTorch.
smoke: $(VENV)/.run
	$(BIN)/python main.py --config=configs/ddpm_digits.py --workdir=$(VENV)/smoke --config.train.steps=4 --config.sample.every=4 \
	  --config.sample.num_steps=2 && rm -r $(VENV)/smoke

# Beside the PyTorch and the diffusers of the same environment; for the features $(BIN)/pip install pytorch-fid first.
BENCHMARK := $(BIN)/python main.py --mode=benchmark --config.benchmark.rounds=2 --config.benchmark.seconds=5
WAYS := float32,float32 on $(shell nproc) devices,eager,channels-last,compiled

benchmark: $(VENV)/.test
	$(BENCHMARK) --config=configs/ddpm_cifar.py --workdir=runs/benchmark_ddpm "--config.benchmark.variants=$(WAYS)" \
	  --config.data.batch_size=8 --config.sample.batch_size=8 --config.sample.num_steps=5 --config.benchmark.cases=train,sample
	$(BENCHMARK) --config=configs/dcgan_dogs.py --workdir=runs/benchmark_dcgan "--config.benchmark.variants=$(WAYS),in memory,DataLoader" \
	  --config.data.batch_size=64 --config.sample.batch_size=64 --config.model.conditional=False --config.gan.augment= \
	  --config.benchmark.cases=train,sample,data
	$(BENCHMARK) --config=configs/ddpm_cifar.py --workdir=runs/benchmark_features "--config.benchmark.variants=$(WAYS)" \
	  --config.benchmark.cases=features

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
