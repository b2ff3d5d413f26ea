# What a person or CI runs. Each target starts from a fresh clone and installs what it lacks into .venv; all it
# needs is Python 3.10 or newer with venv and headers, and a C++17 compiler.
#
#   make demo     a study made and segmented          make format   lay out every source file
#   make test     the tests, without torch            make clean    remove what these targets made
#   make check    what CI runs
#   make check-sanitizers   the kernel tests on sanitized builds of the kernels (minutes)
#
# Another Python: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check
BUILT_FROM := pyproject.toml CMakeLists.txt runtime/version.py $(shell find kernels -type f)
# llama.cpp comes as source only. Compiled for the CPU alone, with its vision code (LLAVA, without video, which would
# start ffmpeg) and without what we do not call; with AVX2 (or NEON) and not for this very machine, so that the wheel in
# pip's cache, which later environments take, fits the next one too.
LLAMA := $(shell grep -om1 'llama-cpp-python==[0-9.]*' pyproject.toml)
LLAMA_FLAGS := -DLLAVA_BUILD=ON -DMTMD_VIDEO=OFF -DGGML_NATIVE=OFF -DLLAMA_OPENSSL=OFF \
  -DCMAKE_PLATFORM_NO_VERSIONED_SONAME=ON
LLAMA_INSTALL = CMAKE_ARGS="$(LLAMA_FLAGS)" CMAKE_BUILD_PARALLEL_LEVEL=$${JOBS:-$$(nproc)} \
  $(INSTALL) -C "wheel.exclude=lib/*;include/*;bin/*"
CPP := $(shell find kernels tests -name '*.h' -o -name '*.cpp' -o -name '*.cu')

.DELETE_ON_ERROR:
.PHONY: demo test check check-sanitizers lint full-test quick-benchmarks format clean

demo: $(VENV)/.runtime
	@echo "Making a study of an analytic head: T1, T2, FLAIR and CT ..."
	@$(RUN) -m training.phantom demo/study --force
	@echo "Segmenting it ..."
	@$(RUN) -m runtime.infer demo/study/dicom --out demo/result --force
	@echo "Comparing with the truth ..."
	@$(RUN) -m benchmarks.accuracy --phantom demo/study demo/result
	@echo "Look at demo/result/preview.png"

test: $(VENV)/.test
	@$(RUN) -m pytest -m "not slow and not torch"

# `test` comes first, while torch is not there yet: that proves that nothing in it needs torch.
check: test
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory full-test
	@$(MAKE) --no-print-directory demo
	@$(MAKE) --no-print-directory quick-benchmarks
	@echo "Every check passed."

check-sanitizers: $(VENV)/.test
	@.ci/sanitizers $(RUN)

lint: $(VENV)/.check
	@echo "Checking style, types, spelling and the arrows between rooms ..."
	@$(RUN) -m ruff check
	@$(RUN) -m ruff format --check
	@$(VENV)/bin/clang-format --dry-run -Werror $(CPP)
	@$(VENV)/bin/codespell
	@$(VENV)/bin/lint-imports
	@$(RUN) -m mypy

full-test: $(VENV)/.check build/tensorrt_stubs
	@echo "Running the slow tests, those with torch, and those of the wheel ..."
	@$(RUN) -m pytest -m "slow or torch"

# The one thing here that no extra can install: three versions of one package, without what it loads.
build/tensorrt_stubs: .ci/tensorrt_stubs | $(VENV)/.python
	@echo "Making stubs of three versions of TensorRT ..."
	@rm -rf $@ $@.part
	@$(RUN) .ci/tensorrt_stubs $@.part
	@mv $@.part $@

quick-benchmarks: $(VENV)/.check
	@echo "Proving that the benchmarks run ..."
	@$(RUN) -m benchmarks.accuracy --quick
	@$(RUN) -m benchmarks.latency --quick
	@$(RUN) -m benchmarks.engines --quick
	@$(RUN) -m benchmarks.kernels --quick

format: $(VENV)/.check
	@$(RUN) -m ruff check --fix
	@$(RUN) -m ruff format
	@$(VENV)/bin/clang-format -i $(CPP)

clean:
	rm -rf $(VENV) build dist demo .*_cache .hypothesis runtime/_kernels*.so runtime/_kernels.pyi
	find runtime export training benchmarks tests -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10))" || { \
	  echo "$(PYTHON) is not Python 3.10 or newer; install one and say 'make PYTHON=python3.12'"; exit 1; }
	@$(PYTHON) -c "import os, sysconfig; open(os.path.join(sysconfig.get_path('include'), 'Python.h'))" || { \
	  echo "$(PYTHON) has no headers; install them (Debian: apt-get install python3-dev)"; exit 1; }
	@command -v "$${CXX:-c++}" >/dev/null || { \
	  echo "no C++ compiler; install one (Debian: apt-get install g++) or set CXX"; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "$(PYTHON) cannot make environments; install venv (Debian: apt-get install python3-venv)"; exit 1; }
	@touch $@

$(VENV)/.runtime: $(BUILT_FROM) | $(VENV)/.python
	@echo "Building the kernels and installing the runtime (a minute or two) ..."
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.llama: pyproject.toml | $(VENV)/.python
	@echo "Compiling llama.cpp (several minutes, once on a machine) ..."
	@$(LLAMA_INSTALL) $(LLAMA)
	@ls $(VENV)/lib/python*/site-packages/llama_cpp/lib/*mtmd* >/dev/null 2>&1 || { \
	  echo "pip's cache had a wheel without the vision code; compiling it again ..."; \
	  $(RUN) -m pip --quiet cache remove llama_cpp_python || true; \
	  $(LLAMA_INSTALL) --force-reinstall --no-deps $(LLAMA); }
	@touch $@

$(VENV)/.test: $(BUILT_FROM) | $(VENV)/.python $(VENV)/.llama
	@echo "Building the kernels and installing the runtime and what tests need (a minute or two) ..."
	@$(INSTALL) --editable ".[test]"
	@touch $(VENV)/.runtime $@

$(VENV)/.check: $(BUILT_FROM) | $(VENV)/.python $(VENV)/.llama
	@echo "Installing torch and the checkers (some minutes) ..."
	@$(INSTALL) --editable ".[test,train,check,others]"
	@# Its C++ part fits no CPU build of torch; nnU-Net asks for it and never needs it, and where it is, transformers breaks.
	@$(RUN) -m pip --quiet uninstall --yes torchvision
	@touch $(VENV)/.runtime $(VENV)/.test $@
