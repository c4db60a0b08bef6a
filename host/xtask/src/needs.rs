//! What each goal needs from the machine, as tables: the command or package that is looked for, the Debian
//! package that brings it, and why. Nothing here looks at the machine; [`crate::plan`] decides with it.

/// The version of bpf-linker that the kernel program is linked with; a newer minor is taken as well.
pub(crate) const BPF_LINKER: (u32, u32, u32) = (0, 13, 0);

/// The LLVM that bpf-linker is built against. It must be no older than the one inside rustc (1.95 and 1.96: LLVM 22).
pub(crate) const LLVM: u32 = 22;

/// What a `make` target, or one of its parts, is about to do. Each goal includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Goal {
    /// Compile the kernel program, the plugins and the binary.
    Build,
    /// Run the demonstration in network namespaces.
    Demo,
    /// Run the gate.
    Test,
    /// Run the wire scenarios, which live outside the repository.
    Scenarios,
}

impl Goal {
    /// As it is typed: `cargo xtask setup NAME`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "build" => Self::Build,
            "demo" => Self::Demo,
            "test" => Self::Test,
            "scenarios" => Self::Scenarios,
            _ => return None,
        })
    }

    /// The reverse of [`Goal::parse`].
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Demo => "demo",
            Self::Test => "test",
            Self::Scenarios => "scenarios",
        }
    }
}

/// A program that must be on the PATH.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    pub(crate) command: &'static str,
    /// The Debian package that brings it.
    pub(crate) package: &'static str,
    pub(crate) why: &'static str,
    /// The first goal that needs it.
    pub(crate) from: Goal,
}

/// Programs, by the goal that needs them first.
pub(crate) const TOOLS: &[Tool] = &[
    tool(
        "g++",
        "g++",
        "links Rust programs and LLVM's C++ library",
        Goal::Build,
    ),
    tool(
        "ip",
        "iproute2",
        "makes the network namespaces of the pods",
        Goal::Demo,
    ),
    tool(
        "unshare",
        "util-linux",
        "tries whether network namespaces are permitted",
        Goal::Demo,
    ),
    tool(
        "nsenter",
        "util-linux",
        "runs programs inside the namespaces of the tests",
        Goal::Test,
    ),
    tool(
        "capsh",
        "libcap2-bin",
        "runs the agent without a capability, to see what it says",
        Goal::Test,
    ),
    tool(
        "script",
        "bsdutils",
        "gives `owlk8s top` a terminal in its tests",
        Goal::Test,
    ),
    tool(
        "kill",
        "procps",
        "ends what the end-to-end tests started",
        Goal::Test,
    ),
    tool(
        "pip3",
        "python3-pip",
        "installs Helm's engine, which renders the chart",
        Goal::Test,
    ),
    tool(
        "nginx",
        "nginx",
        "the server whose own counts are the truth in the end-to-end tests",
        Goal::Test,
    ),
    tool(
        "h2load",
        "nghttp2-client",
        "the load of the end-to-end tests and of the wire scenarios",
        Goal::Test,
    ),
    tool(
        "prometheus",
        "prometheus",
        "promtool and a real scrape judge the prometheus plugin",
        Goal::Test,
    ),
    tool(
        "influxd",
        "influxdb",
        "a real database judges the influxdb plugin",
        Goal::Test,
    ),
    tool(
        "chromium",
        "chromium",
        "a real browser judges the dashboard plugin",
        Goal::Test,
    ),
    tool(
        "/usr/lib/cni/bridge",
        "containernetworking-plugins",
        "wires the pods of the Kubernetes tests as a cluster does",
        Goal::Test,
    ),
    tool(
        "bpftool",
        "bpftool",
        "counts what is left in the kernel's tables after the pods of those tests",
        Goal::Test,
    ),
    tool(
        "nft",
        "nftables",
        "drops chosen packets in the wire scenarios",
        Goal::Scenarios,
    ),
    tool(
        "ethtool",
        "ethtool",
        "sets the offloads of the wire scenarios",
        Goal::Scenarios,
    ),
    tool(
        "python3",
        "python3",
        "runs the wire scenarios",
        Goal::Scenarios,
    ),
];

/// Programs of `vm-test`, which is no goal of the others: they take some hundred megabytes.
pub(crate) const VM_TOOLS: &[Tool] = &[
    tool(
        "qemu-system-x86_64",
        "qemu-system-x86",
        "emulates the machines",
        Goal::Test,
    ),
    tool(
        "busybox",
        "busybox-static",
        "the system that runs on them",
        Goal::Test,
    ),
    tool(
        "ip",
        "iproute2",
        "makes the network namespaces of the tests",
        Goal::Test,
    ),
    tool(
        "nsenter",
        "util-linux",
        "runs programs inside them",
        Goal::Test,
    ),
    tool("xz", "xz-utils", "unpacks kernels", Goal::Test),
    tool(
        "zstd",
        "zstd",
        "unpacks the modules of some kernels",
        Goal::Test,
    ),
];

const fn tool(command: &'static str, package: &'static str, why: &'static str, from: Goal) -> Tool {
    Tool {
        command,
        package,
        why,
        from,
    }
}

/// A Debian package that brings no program to look for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) why: &'static str,
}

const fn package(name: &'static str, why: &'static str) -> Package {
    Package { name, why }
}

/// Debian's current Rust with its parts for eBPF and WebAssembly: taken where rustup has none to give.
pub(crate) const DEBIAN_RUST: &[Package] = &[
    package(
        "rustc-web",
        "the compiler that Debian's parts for eBPF and WebAssembly belong to",
    ),
    package(
        "cargo-web",
        "builds the standard library for WebAssembly with that compiler",
    ),
    package(
        "libstd-rust-web-dev-bpf",
        "Rust's core library for the kernel program",
    ),
    package(
        "rust-web-src",
        "the standard library's sources: plugins compile it for WebAssembly",
    ),
    package("rust-web-llvm", "wasm-component-ld, which links plugins"),
    package(
        "lld-22",
        "the linker behind rust-web-llvm's rust-lld, which only recommends it",
    ),
    package("wasi-libc", "the C library of WebAssembly plugins"),
];

/// What bpf-linker is compiled against.
pub(crate) const DEBIAN_LLVM: &[Package] = &[
    package(
        "llvm-22-dev",
        "bpf-linker turns LLVM bitcode into the eBPF object",
    ),
    package("libpolly-22-dev", "a part of LLVM that bpf-linker links"),
];

/// A Python module of the wire scenarios.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Module {
    pub(crate) import: &'static str,
    /// Its name at PyPI.
    pub(crate) pip: &'static str,
    /// The Debian package that brings it to `/usr/bin/python3`.
    pub(crate) package: &'static str,
    pub(crate) why: &'static str,
}

/// Python modules of the wire scenarios.
pub(crate) const MODULES: &[Module] = &[
    Module {
        import: "h2",
        pip: "h2",
        package: "python3-h2",
        why: "speaks HTTP/2 in the wire scenarios",
    },
    Module {
        import: "grpc",
        pip: "grpcio",
        package: "python3-grpcio",
        why: "speaks gRPC in the wire scenarios",
    },
];
