# make run: makes an environment, trains a model of digits, and samples CIFAR-10 images with a pretrained model.
# make demo: serves a page in the browser with all trained models.
# make test: what tests need, then the tests.
# make docs: the documentation, in site/index.html.
# make benchmark: the README's table of speeds.  make benchmark-gpu: the same on a GPU.  make flagship: a model in minutes.
# LOCKED=1 installs the versions that were tested, each file only if its SHA-256 is one of those in requirements.lock; PyTorch is
# installed by its version alone, since its build for CPUs is another file on another index.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run demo test smoke lint docs lock benchmark benchmark-gpu flagship flagship-fid

run: $(VENV)/.run
	$(BIN)/python main.py --config=configs/ddpm_digits.py
	$(BIN)/python main.py --config=pretrained/ddpm_cifar/config.json --mode=sample --config.sample.num=100

demo: $(VENV)/.demo
	$(BIN)/python main.py --config=configs/ddpm_digits.py --mode=demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -q -rs -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart=0 --durations=20 tests

# The two ends of the supported range share no jax release; this checks the other end quickly, without PyTorch.
smoke: $(VENV)/.run
	$(BIN)/python main.py --config=configs/ddpm_digits.py --workdir=$(VENV)/smoke --config.train.steps=4 --config.sample.every=4 \
	  --config.sample.num_steps=2 && rm -r $(VENV)/smoke

# Against PyTorch and diffusers of the same environment; ends with the table of the README and docs/results/benchmark.md.
BENCHMARK := $(BIN)/python main.py --mode=benchmark
TIMES ?= --config.benchmark.rounds=2 --config.benchmark.seconds=5
WAYS := float32,float32 on $(shell nproc) devices,eager,channels-last,compiled
SETTINGS := float32 with kept memory,float32 with XLA's defaults
CIFAR := --config=configs/ddpm_cifar.py
DOGS := --config=configs/dcgan_dogs.py --config.model.conditional=False --config.gan.augment=
BENCHMARKS := runs/benchmark_ddpm runs/benchmark_dcgan runs/benchmark_features

benchmark: $(VENV)/.test
	$(BENCHMARK) $(CIFAR) $(TIMES) --workdir=runs/benchmark_ddpm "--config.benchmark.variants=$(WAYS),$(SETTINGS)" \
	  --config.data.batch_size=8 --config.sample.batch_size=8 --config.sample.num_steps=5 --config.benchmark.cases=train,sample
	$(BENCHMARK) $(DOGS) $(TIMES) --workdir=runs/benchmark_dcgan "--config.benchmark.variants=$(WAYS),$(SETTINGS),in memory,DataLoader" \
	  --config.data.batch_size=64 --config.sample.batch_size=64 --config.benchmark.cases=train,sample,data
	$(BENCHMARK) $(CIFAR) $(TIMES) --workdir=runs/benchmark_features "--config.benchmark.variants=$(WAYS)" \
	  --config.benchmark.cases=features
	$(BIN)/python -m jaxgen.apps.benchmark.convolutions > runs/convolutions.md
	$(BIN)/python -m jaxgen.apps.benchmark.page $(BENCHMARKS) --convolutions=runs/convolutions.md --readme=README.md \
	  --out=docs/results/benchmark.md

# On one GPU, within six minutes; GPU_PYTHON has jax with CUDA, PyTorch, diffusers and pytorch-fid.
GPU_PYTHON ?= $(BIN)/python
GPU_RUNS ?= runs
GPU_PAGE ?= docs/results/benchmark_gpu.md
GPU_BENCHMARK := $(GPU_PYTHON) main.py --mode=benchmark
GPU_TIMES := --config.benchmark.rounds=1 --config.benchmark.seconds=2 --config.benchmark.precision=tensorfloat32 \
  --config.data.batch_size=128 --config.sample.batch_size=128

# What is named first is measured first, as the time may not suffice for all.
GPU_WAYS := float32,eager,bfloat16 in dispatches of 8,eager bfloat16,CUDA graph bfloat16,channels-last bfloat16,bfloat16 in \
  dispatches of 8 with command buffers,channels-last,CUDA graph,compiled bfloat16,bfloat16,compiled
GPU_FEATURES := float32,channels-last,256 tokens,256 tokens by cuDNN,1024 tokens,1024 tokens by cuDNN,4096 tokens,4096 tokens \
  by cuDNN,eager,compiled

benchmark-gpu:
	-$(GPU_BENCHMARK) $(CIFAR) $(GPU_TIMES) --workdir=$(GPU_RUNS)/benchmark_gpu_train --config.benchmark.cases=train \
	  "--config.benchmark.variants=$(GPU_WAYS)" --config.benchmark.minutes=2.3 $(GPU_ARGS)
	-$(GPU_BENCHMARK) $(CIFAR) $(GPU_TIMES) --workdir=$(GPU_RUNS)/benchmark_gpu_sample --config.benchmark.cases=sample \
	  --config.benchmark.variants=float32,eager,bfloat16,eager\ bfloat16,channels-last\ bfloat16,channels-last \
	  --config.sample.num_steps=50 --config.benchmark.minutes=1.2 $(GPU_ARGS)
	-$(GPU_BENCHMARK) $(DOGS) $(GPU_TIMES) --workdir=$(GPU_RUNS)/benchmark_gpu_dcgan --config.benchmark.cases=train,sample \
	  "--config.benchmark.variants=float32,channels-last,CUDA graph,eager" --config.benchmark.minutes=1.2 $(GPU_ARGS)
	-$(GPU_BENCHMARK) $(CIFAR) $(GPU_TIMES) --workdir=$(GPU_RUNS)/benchmark_gpu_features --config.benchmark.cases=features,attention \
	  "--config.benchmark.variants=$(GPU_FEATURES)" --config.benchmark.minutes=1.1 $(GPU_ARGS)
	$(GPU_PYTHON) -m jaxgen.apps.benchmark.page $(GPU_RUNS)/benchmark_gpu_train $(GPU_RUNS)/benchmark_gpu_sample \
	  $(GPU_RUNS)/benchmark_gpu_dcgan $(GPU_RUNS)/benchmark_gpu_features --out=$(GPU_PAGE)

# A class-conditional model of CIFAR-10 in BUDGET minutes on one GPU; FLAGSHIP_ARGS="--data=FOLDER" where there is no TFDS.
BUDGET ?= 8

flagship:
	$(GPU_PYTHON) -m jaxgen.cli.flagship --minutes=$(BUDGET) $(FLAGSHIP_ARGS)

flagship-fid: $(VENV)/.run
	$(BIN)/python main.py --config=runs/flagship/flagship/weights/config.json --mode=evaluate --workdir=runs/flagship \
	  --config.evaluation.generated=runs/flagship/flagship/generated --config.evaluation.num=20000

# Style, docstrings, imports that go downwards only, and types; pyproject.toml has the settings of each.
lint: $(VENV)/.test
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# Pages that follow from the code are committed; python -m docs.reference.make writes them.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# Versions that are in the file stay where they can; PyTorch and what needs it have theirs in requirements-test.txt. Needs uv.
lock:
	grep -vE '^(py)?torch' requirements-test.txt | UV_CUSTOM_COMPILE_COMMAND='make lock' uv pip compile --quiet --universal \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate - -o requirements.lock > /dev/null

$(VENV)/.run: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(if $(LOCKED),$(BIN)/python -m pip install -q --require-hashes -r requirements.lock)
	$(BIN)/python -m pip install -q -r requirements.txt $(PIP_ARGS)
	touch $@

$(VENV)/.demo: requirements-demo.txt $(VENV)/.run
	$(BIN)/python -m pip install -q -r requirements-demo.txt $(PIP_ARGS)
	touch $@

$(VENV)/.docs: requirements-docs.txt $(VENV)/.run
	$(BIN)/python -m pip install -q -r requirements-docs.txt $(PIP_ARGS)
	touch $@

$(VENV)/.test: requirements-test.txt requirements-demo.txt $(VENV)/.run
	$(BIN)/python -m pip install -q -r requirements-test.txt $(PIP_ARGS)
	touch $@
