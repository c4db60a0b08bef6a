# Four commands; each installs what it needs (and says what and why) the first time.
#   make build            target/release/owlk8s and target/plugins/*.wasm
#   make demo [FOR=20s]   three pods of its own, real traffic, the live table; ends with Ctrl-C or after FOR
#   make test             the gate: everything that must hold
#   make bench            what plugins cost, as ratios between things measured in turn
# The work is done by `cargo xtask` (host/xtask).

export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin:/sbin

.PHONY: build demo test bench clean
.DEFAULT_GOAL := build

build test bench:
	@host/xtask/preflight.sh $@
	@cargo xtask $@

demo:
	@host/xtask/preflight.sh $@
	@cargo xtask demo $(if $(FOR),--for '$(FOR)')

clean:
	rm -rf target plugins/target ebpf/red/target
