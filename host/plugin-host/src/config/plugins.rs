use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::ConfigError;
use super::{SinkConfig, Size};
use crate::authority::Ceiling;

/// The `[plugins]` of the configuration: what holds for all sinks together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginsConfig {
    /// Compiled components are kept here; empty: they are compiled at every start.
    pub cache_dir: PathBuf,
    /// Acknowledged positions and plugins' states are kept here; empty: they end with the agent.
    pub state_dir: PathBuf,
    /// Of all that is kept there; what was used last stays.
    pub cache_size: Size,
    /// For the compilation of one component, of processor time.
    #[serde(with = "humantime_serde")]
    pub compile_time: Duration,
    /// The same, of address space.
    pub compile_memory: Size,
    /// Of one component's file.
    pub component_size: Size,
    /// The user, and the group of that number, that the plugin process becomes where the agent may change it; it
    /// must be able to read the secrets and to write the files that endpoints name.
    pub user: u32,
    /// Plugins and filters of all sinks that are enabled.
    pub max: usize,
    /// What no sink goes beyond, whatever it grants.
    pub ceiling: Ceiling,
}

impl Default for PluginsConfig {
    fn default() -> Self {
        Self {
            cache_dir: "/var/cache/owlk8s".into(),
            state_dir: "/var/lib/owlk8s".into(),
            cache_size: Size(512 << 20),
            compile_time: Duration::from_secs(60),
            compile_memory: Size(1 << 30),
            // A Python guest has some 40 MB.
            component_size: Size(64 << 20),
            user: NOBODY,
            max: 32,
            ceiling: Ceiling::default(),
        }
    }
}

/// `nobody`: owns nothing. It needs no entry in `/etc/passwd`.
const NOBODY: u32 = 65534;
/// A compiler with less cannot even begin.
const COMPILE_MEMORY_MIN: Size = Size(64 << 20);

impl PluginsConfig {
    /// Where compiled components are kept.
    pub fn cache_dir(&self) -> Option<&Path> {
        Some(&*self.cache_dir).filter(|dir| !dir.as_os_str().is_empty())
    }

    /// Where positions and states are kept.
    pub fn state_dir(&self) -> Option<&Path> {
        Some(&*self.state_dir).filter(|dir| !dir.as_os_str().is_empty())
    }

    /// All that is wrong with it, for these sinks.
    pub fn check(&self, sinks: &[SinkConfig]) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let mut problem = |field: &str, problem: String| {
            errors.push(ConfigError {
                table: "[plugins]".to_owned(),
                field: field.to_owned(),
                problem,
            });
        };
        for (field, dir) in [
            ("cache_dir", self.cache_dir()),
            ("state_dir", self.state_dir()),
        ] {
            if let Some(dir) = dir.filter(|dir| !dir.is_absolute()) {
                let dir = dir.display();
                problem(
                    field,
                    format!(
                        "\"{dir}\" is relative; write a path that begins with `/`, or \"\" to keep nothing"
                    ),
                );
            }
        }
        if self.compile_time.is_zero() {
            problem(
                "compile_time",
                "0 lets no plugin compile; the default is 1m".to_owned(),
            );
        }
        for (field, size, least) in [
            ("compile_memory", self.compile_memory, COMPILE_MEMORY_MIN),
            ("component_size", self.component_size, Size(1 << 10)),
        ] {
            if size < least {
                problem(field, format!("{size} is too little; {least} is the least"));
            }
        }
        for (name, ceiling) in &self.ceiling.plugin {
            if !ceiling.plugin.is_empty() {
                problem(
                    &format!("ceiling.plugin.{name}.plugin"),
                    "a plugin's ceiling has no ceilings below it; write them beside it".to_owned(),
                );
            }
        }
        let enabled = sinks.iter().filter(|sink| sink.enabled);
        let plugins: usize = enabled.map(|sink| sink.filters.len() + 1).sum();
        if plugins > self.max {
            let max = self.max;
            problem(
                "max",
                format!(
                    "the sinks have {plugins} plugins and filters, and {max} may run; raise max, or disable sinks"
                ),
            );
        }
        errors
    }
}
