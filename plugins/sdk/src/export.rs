//! The last line of a plugin: `export_formatter!(MyPlugin);` makes its type the component's world.

use std::marker::PhantomData;

use crate::bindings::{exporter, filter, formatter, responder, snapshots};
use crate::{
    Exporter, Filter, Formatter, Outcome, Payload, Request, Responder, Response, Snapshot, Verdict,
    config,
};

/// Stands between a world's generated exports and a plugin's type; the macros name it.
pub struct Component<P>(PhantomData<P>);

/// Makes a type that implements [`Formatter`](crate::Formatter) the component.
#[macro_export]
macro_rules! export_formatter {
    ($plugin:ty) => {
        type Component = $crate::export::Component<$plugin>;
        $crate::bindings::formatter::export!(Component with_types_in $crate::bindings::formatter);
    };
}

/// Makes a type that implements [`Filter`](crate::Filter) the component.
#[macro_export]
macro_rules! export_filter {
    ($plugin:ty) => {
        type Component = $crate::export::Component<$plugin>;
        $crate::bindings::filter::export!(Component with_types_in $crate::bindings::filter);
    };
}

/// Makes a type that implements [`Responder`](crate::Responder) the component.
#[macro_export]
macro_rules! export_responder {
    ($plugin:ty) => {
        type Component = $crate::export::Component<$plugin>;
        $crate::bindings::responder::export!(Component with_types_in $crate::bindings::responder);
    };
}

/// Makes a type that implements [`Exporter`](crate::Exporter) the component.
#[macro_export]
macro_rules! export_exporter {
    ($plugin:ty) => {
        type Component = $crate::export::Component<$plugin>;
        $crate::bindings::exporter::export!(Component with_types_in $crate::bindings::exporter);
    };
}

impl<P: Formatter> formatter::Guest for Component<P> {
    fn validate(config: String) -> Result<(), String> {
        P::validate(&config::parse(&config)?).map_err(chain)
    }

    fn format(config: String, snapshot: &snapshots::Snapshot) -> Result<Vec<Payload>, String> {
        P::format(&config::parse(&config)?, &Snapshot::new(snapshot)).map_err(chain)
    }
}

impl<P: Filter> filter::Guest for Component<P> {
    fn validate(config: String) -> Result<(), String> {
        P::validate(&config::parse(&config)?).map_err(chain)
    }

    fn filter(config: String, snapshot: &snapshots::Snapshot) -> Result<Verdict, String> {
        P::filter(&config::parse(&config)?, &Snapshot::new(snapshot)).map_err(chain)
    }
}

impl<P: Responder> responder::Guest for Component<P> {
    fn validate(config: String) -> Result<(), String> {
        P::validate(&config::parse(&config)?).map_err(chain)
    }

    fn respond(
        config: String,
        request: Request,
        snapshot: &snapshots::Snapshot,
    ) -> Result<Response, String> {
        P::respond(&config::parse(&config)?, &request, &Snapshot::new(snapshot)).map_err(chain)
    }
}

impl<P: Exporter> exporter::Guest for Component<P> {
    fn validate(config: String) -> Result<(), String> {
        P::validate(&config::parse(&config)?).map_err(chain)
    }

    fn export(config: String, snapshot: &snapshots::Snapshot) -> Outcome {
        match config::parse(&config) {
            Ok(config) => P::export(&config, &Snapshot::new(snapshot)),
            Err(problem) => Outcome::Rejected(problem),
        }
    }
}

/// The error and its causes on one line.
fn chain(error: Box<dyn std::error::Error>) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    /// The lines of a file after its `//!` head.
    fn body(file: &str) -> &str {
        file.split_once("\n\n").map_or(file, |(_, body)| body)
    }

    #[test]
    fn the_guide_shows_the_example_as_it_is() {
        let (guide, example) = (
            include_str!("../../README.md"),
            include_str!("../examples/busiest.rs"),
        );
        assert!(
            guide.contains(&format!("```rust\n{}```", body(example))),
            "plugins/README.md and sdk/examples/busiest.rs differ"
        );
        assert!(body(example).lines().count() < 40);
    }
}
