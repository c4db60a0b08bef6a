//! What wit-bindgen makes of `wit/`: one module a world, all with the same imported types.
//!
//! An export macro carries its world's exports, so a component that links this crate exports only
//! the world whose macro it calls.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    clippy::too_many_arguments,
    reason = "generated code"
)]

/// The interfaces that worlds import.
pub mod imports {
    wit_bindgen::generate!({
        inline: "
            package owlk8s:sdk;
            world imports {
                import owlk8s:plugin/host@0.1.0;
                import owlk8s:plugin/snapshots@0.1.0;
                import owlk8s:plugin/types@0.1.0;
                import owlk8s:plugin/response-body@0.1.0;
            }
        ",
        path: "wit",
        world: "owlk8s:sdk/imports",
        generate_all,
        generate_unused_types: true,
        additional_derives: [PartialEq],
    });
}

pub use imports::owlk8s::plugin::{host, response_body, snapshots, types};

macro_rules! world {
    ($module:ident, $world:literal $(, $import:literal as $of:ident)?) => {
        pub mod $module {
            wit_bindgen::generate!({
                path: "wit",
                world: $world,
                pub_export_macro: true,
                with: {
                    "owlk8s:plugin/host@0.1.0": super::host,
                    "owlk8s:plugin/snapshots@0.1.0": super::snapshots,
                    "owlk8s:plugin/types@0.1.0": super::types,
                    $($import: super::$of,)?
                },
            });
        }
    };
}

world!(filter, "filter");
world!(formatter, "formatter");
world!(
    responder,
    "responder",
    "owlk8s:plugin/response-body@0.1.0" as response_body
);
world!(exporter, "exporter");
