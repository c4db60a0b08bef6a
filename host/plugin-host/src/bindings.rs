//! The worlds of `owlk8s:plugin@0.1.0` as Rust types. The shared interfaces are generated once, with
//! `formatter`; the other worlds point to them.

#![allow(
    unreachable_pub,
    reason = "generated code re-exports the types that it is given; the module is private"
)]

/// `formatter`, and all shared interfaces.
pub mod formatter {
    wasmtime::component::bindgen!({
        path: "../../wit/0.1.0",
        world: "formatter",
        imports: { default: trappable },
        exports: { default: async },
        with: { "owlk8s:plugin/snapshots.snapshot": crate::tables::Lent },
        require_store_data_send: true,
    });
}

/// `filter`.
pub mod filter {
    wasmtime::component::bindgen!({
        path: "../../wit/0.1.0",
        world: "filter",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "owlk8s:plugin/host": crate::bindings::host,
            "owlk8s:plugin/snapshots": crate::bindings::snapshots,
            "owlk8s:plugin/types": crate::bindings::types,
        },
        require_store_data_send: true,
    });
}

/// `responder`.
pub mod responder {
    wasmtime::component::bindgen!({
        path: "../../wit/0.1.0",
        world: "responder",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "owlk8s:plugin/host": crate::bindings::host,
            "owlk8s:plugin/snapshots": crate::bindings::snapshots,
            "owlk8s:plugin/types": crate::bindings::types,
        },
        require_store_data_send: true,
    });
}

/// `exporter`.
pub mod exporter {
    wasmtime::component::bindgen!({
        path: "../../wit/0.1.0",
        world: "exporter",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "owlk8s:plugin/host": crate::bindings::host,
            "owlk8s:plugin/snapshots": crate::bindings::snapshots,
            "owlk8s:plugin/types": crate::bindings::types,
        },
        require_store_data_send: true,
    });
}

pub use formatter::owlk8s::plugin::{host, snapshots, types};
