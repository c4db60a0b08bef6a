//! Whether the API server answers, and grants what is asked of it.

use owlk8s_discover::{ApiCheck, examine};

use super::Check;
use crate::config::Config;
use crate::places::chain;

pub(super) async fn checks(config: &Config) -> Vec<Check> {
    let Some(kubernetes) = &config.discovery.kubernetes else {
        return vec![Check::skipped(
            "kubernetes",
            "no [discovery.kubernetes] in the configuration (give it with --config)",
        )];
    };
    match examine(kubernetes, &config.around).await {
        Ok(found) => found.into_iter().map(check).collect(),
        Err(error) => vec![Check::failed("kubernetes", chain(&error))],
    }
}

fn check(found: ApiCheck) -> Check {
    let name = format!("kubernetes/{}", found.what);
    match (found.problem, found.optional) {
        (None, _) => Check::ok(name, found.found),
        (Some(remedy), true) => Check::warning(name, found.found).remedy(remedy),
        (Some(remedy), false) => Check::failed(name, found.found).remedy(remedy),
    }
}
