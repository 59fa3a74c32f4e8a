# Every way to build, check and try Warren. `make help` explains each.
.DEFAULT_GOAL := help
.PHONY: help demo build example verify fix reference test sim sim-long mutants e2e bench kernel torture dist testbed-up testbed-shell testbed-down

CARGO ?= cargo
# Which random history `make sim` lives through, and where `make sim-long` begins and ends.
SEED ?= 1
FIRST ?= 1000000
STEPS ?= 1000000

help: ## show this list
	@printf 'Warren. Needs the Rust toolchain; Docker is used where it answers.\n\n'
	@sed -n 's|^\([a-z0-9-]*\):.*## \(.*\)|  make \1\t\2|p' $(MAKEFILE_LIST) | expand -t 23

demo: ## see Warren run, heal, scale and release a service, then clean up (four minutes after the build)
	@./test/run demo

build: ## build the warren binary for use: target/release/warren
	$(CARGO) build --release --package warren

example: ## make what the README's tour runs: images web:v1 to web:v3, and programs in target/example
	@./test/run example

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

sim: ## one random history of releases in the simulated cluster, as a failed test names it: make sim SEED=7 [MANAGERS=3]
	@./test/run sim $(SEED) $(MANAGERS)

sim-long: ## a million steps of such histories: make sim-long STEPS=1000000 FIRST=1 [MANAGERS=3]
	@./test/run sim-long $(STEPS) $(FIRST) $(MANAGERS)

mutants: ## make bugs in core on purpose, one at a time, and say which test sees each (half an hour)
	@./test/mutants/run $(MUTANTS)

e2e: ## only the tests that start real clusters
	@./test/run e2e

bench: ## measure Warren beside its peers; ratios of one run
	@./test/run bench

kernel: ## the tests of WireGuard and of slow wires, in a virtual machine with Debian's kernel
	@./test/run kernel

torture: ## kill a writing store 200 times and look for every acknowledged write
	@./test/run torture

# How many machines a testbed has, whether each has a Docker engine (1) or none (0), and which one a shell is in.
N ?= 3
DOCKER ?= 0
M ?= m1

testbed-up: ## several machines on this one, to try a cluster by hand: make testbed-up N=3 DOCKER=1
	@./test/run testbed up $(N) $(DOCKER)

testbed-shell: ## a shell in one of them, with warren and its Docker: make testbed-shell M=m2
	@./test/run testbed shell $(M)

testbed-down: ## take them away with all that runs in them
	@./test/run testbed down

dist: ## what is given away: the smallest binary, a Debian package, checksums, in dist/
	@./test/run dist
