# Every way to build, check and try Warren. `make help` explains each.
.DEFAULT_GOAL := help
.PHONY: help demo build verify fix reference test sim e2e bench torture dist

CARGO ?= cargo
# Property tests replay from here; `make sim SEED=7` for another walk through the same properties.
SEED ?= 1

help: ## show this list
	@printf 'Warren. Needs the Rust toolchain; Docker is used where it answers.\n\n'
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: ## see Warren run, heal, scale and resolve a service, then clean up (two minutes after the build)
	@./test/run demo

build: ## build the warren binary for use: target/release/warren
	$(CARGO) build --release --package warren

verify: ## check format, lints and the rules of the tree; changes nothing
	@./test/run verify

fix: ## format, apply what clippy can mend, write the generated pages anew
	$(CARGO) fmt
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged --quiet
	$(MAKE) --no-print-directory reference

reference: ## write the generated pages of docs/reference anew
	$(CARGO) run --quiet --package warren-test --bin reference

test: ## everything CI runs: verify, then every test, also those with real containers
	@./test/run test

sim: ## core's property tests with many cases from one seed: make sim SEED=7
	@./test/run sim $(SEED)

e2e: ## only the tests that start real clusters
	@./test/run e2e

bench: ## measure Warren beside its peers; ratios of one run
	@./test/run bench

torture: ## kill a writing store 200 times and look for every acknowledged write
	@./test/run torture

dist: ## the smallest binary to give away, with its checksum: dist/
	@./test/run dist
