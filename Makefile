# What people type. Each target is one line of scripts/ or CMake; `make help` lists them.
SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help quickstart test debug clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

quickstart: ## install what is lacking, build, train a small encoder, show the result
	@scripts/bootstrap run
	@cmake --preset release
	@cmake --build --preset release --target programs
	@scripts/quickstart

test: ## install what is lacking, build, run every test (20 minutes at most)
	@scripts/bootstrap test
	@cmake --preset release -DINVAR_BUILD_TESTS=ON
	@cmake --build --preset release
	@ctest --preset release

debug: ## build everything with sanitizers
	@scripts/bootstrap test
	@cmake --preset debug
	@cmake --build --preset debug

clean: ## remove what was built (not .deps/ and runs/)
	rm -rf build
