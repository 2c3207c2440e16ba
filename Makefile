# What people type; `make help` lists it. The work is done by CMake and by scripts/.
SHELL := bash
JOBS ?= $(shell nproc)
# scripts/quickstart reports the time of all of it, installing and building included.
export INVAR_STARTED ?= $(shell date +%s)

.DEFAULT_GOAL := help
.PHONY: help quickstart programs test test-full bench bench-torch format lint debug clean

help: ## show this list
	@echo "Invar: tensors, autograd and self-supervised learning in C++"
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

quickstart: ## install what is lacking, build, train a small encoder, show the result
	@scripts/bootstrap run
	@cmake --preset release
	@cmake --build --preset release --target pretrain evaluate embed -j $(JOBS)
	@scripts/quickstart

programs: ## install what is lacking, build every program into build/release/bin
	@scripts/bootstrap run
	@cmake --preset release
	@cmake --build --preset release --target programs -j $(JOBS)

test: ## install what is lacking, build, run every test (at most 20 minutes)
	@scripts/bootstrap test
	@scripts/test

test-full: ## the same, and everything with sanitizers
	@scripts/bootstrap test
	@scripts/test --full

bench: ## install what is lacking, build and run the benchmarks
	@scripts/bootstrap bench
	@cmake --preset release -DINVAR_BUILD_BENCH=ON
	@cmake --build --preset release --target benchmarks -j $(JOBS)
	@bench/run

bench-torch: ## PyTorch's programs beside ours: make bench-torch TORCH=path/to/python
	@test -n "$(TORCH)" || { echo "usage: make bench-torch TORCH=path/to/python [KEYS='chain20 ...']"; exit 2; }
	@scripts/bootstrap bench
	@cmake --preset release -DINVAR_BUILD_BENCH=ON
	@cmake --build --preset release --target benchmarks programs -j $(JOBS)
	@bench/compare --torch "$(TORCH)" $(KEYS)

format: ## clang-format every source
	@scripts/format

lint: ## clang-tidy every source
	@scripts/lint

debug: ## build everything with sanitizers into build/debug
	@scripts/bootstrap test
	@cmake --preset debug
	@cmake --build --preset debug -j $(JOBS)

clean: ## remove what was built (keeps .deps/ and runs/)
	rm -rf build
