//! The plugin process alone, for this crate's tests: the agent's binary is not built with them.

use std::process::ExitCode;

fn main() -> ExitCode {
    owlk8s_plugin_host::plugin_process()
}
