#!/bin/sh
# What must hold before `cargo xtask` can be compiled, asked by the Makefile: root where the goal needs it, cargo of a
# recent enough Rust, a C linker. The first line of output is what is missing, with the remedy. All else: host/xtask/src.
goal=$1
oldest=1.95

fail() {
    echo "make $goal: $1" >&2
    exit 1
}

if [ "$(id -u)" != 0 ] && [ "$goal" != build ] && [ "$goal" != bench ]; then
    fail "root is missing: it loads an eBPF program and makes network namespaces; run \`sudo env \"PATH=\$PATH\" \"HOME=\$HOME\" make $goal\`"
fi

command -v cargo >/dev/null ||
    fail "cargo is missing: install Rust with rustup (https://rustup.rs), open a new shell, then \`make $goal\` again; under sudo keep your PATH: \`sudo env \"PATH=\$PATH\" \"HOME=\$HOME\" make $goal\`"

version=$(rustc --version 2>/dev/null | cut -d' ' -f2)
[ -n "$version" ] || fail "a Rust toolchain is missing (\`rustc --version\` fails): run \`rustup default stable\`"
printf '%s\n%s\n' "$oldest" "$version" | sort --version-sort --check=quiet ||
    fail "Rust $oldest or newer is missing: this is $version; run \`rustup update stable\`"

if ! command -v cc >/dev/null; then
    command -v apt-get >/dev/null ||
        fail "a C compiler (cc) is missing, Rust links with it: install gcc with this system's package manager"
    [ "$(id -u)" = 0 ] ||
        fail "a C compiler (cc) is missing, Rust links with it: run \`sudo apt-get install g++\`"
    echo "==> Debian package g++: links Rust programs and LLVM's C++ library (under a minute)" >&2
    { apt-get update -q -o Acquire::Retries=3 &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends -o Acquire::Retries=3 g++; } >/tmp/owlk8s-apt.$$ 2>&1 || {
        tail -n 20 /tmp/owlk8s-apt.$$ >&2
        fail "g++ could not be installed; what apt-get said is above"
    }
    rm -f /tmp/owlk8s-apt.$$
fi
