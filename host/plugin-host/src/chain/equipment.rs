use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::authority::{Asker, Ceiling, check_config, decide};
use crate::call::Ask;
use crate::config::{PluginConfig, SinkConfig};
use crate::desk::Desk;
use crate::endpoints::Secrets;
use crate::frames::Level;
use crate::guest::{GuestTime, World};
use crate::outbound::{Network, Outbound};
use crate::plugin::Plugin;
use crate::status::PluginKind;

/// What one plugin of a sink was given, as its authority says.
pub(crate) struct Equipment {
    kind: PluginKind,
    outbound: Arc<Outbound>,
    columns: Arc<[String]>,
    /// Of its randomness, up to the window.
    seed: Sha256,
}

/// What decides on a sink's authority beside its plugins.
#[derive(Clone, Copy)]
pub(crate) struct Bounds<'a> {
    pub(crate) ceiling: &'a Ceiling,
    pub(crate) secrets: &'a Secrets,
}

impl Equipment {
    /// Decide what `plugin` may do in `sink`, tell it, and check its config, all before any of its code
    /// runs. The error says what a person has to do.
    pub(crate) fn of(
        plugin: &mut Plugin,
        config: &PluginConfig,
        sink: &SinkConfig,
        bounds: Bounds<'_>,
        desk: &Desk,
    ) -> Result<Self, String> {
        let kind = plugin.kind();
        let asker = Asker {
            plugin: &plugin.name,
            kind,
            manifest: plugin.manifest.as_ref(),
            config,
        };
        let decision = decide(&asker, sink, bounds.ceiling)?;
        let name = &plugin.name;
        let authority = decision.authority;
        desk.log(
            Level::Info,
            format!("plugin {name} may do: {}", authority.text()),
        );
        for notice in decision.notices {
            desk.log(Level::Warn, notice);
        }
        if let Some(schema) = plugin.manifest.as_ref().and_then(|it| it.config.as_ref()) {
            check_config(name, schema, config)?;
        }
        let outbound = Outbound::new(
            name,
            kind,
            &authority,
            &sink.grant,
            bounds.secrets,
            desk.clone(),
        )?;
        let equipment = Self {
            kind,
            outbound: Arc::new(outbound),
            columns: authority.columns.clone().into(),
            seed: Sha256::new()
                .chain_update(&sink.name)
                .chain_update([0])
                .chain_update(&plugin.status.digest),
        };
        plugin.status.authority = authority;
        Ok(equipment)
    }

    /// What the plugin finds around it in one call. Only an exporter sees the node's clock and chance: what
    /// the others make is fixed by the window.
    pub(crate) fn world(&self, ask: &Ask) -> World {
        let (open, window) = match ask {
            Ask::Run(tables, _) => (true, (tables.end_unix_ns(), tables.sequence())),
            Ask::Validate => (false, (0, 0)),
        };
        let seed = self
            .seed
            .clone()
            .chain_update(window.0.to_le_bytes())
            .chain_update(window.1.to_le_bytes());
        World {
            time: match self.kind {
                PluginKind::Exporter => GuestTime::Real,
                _ => GuestTime::Frozen(window.0),
            },
            seed: seed.finalize().into(),
            network: Network::new(&self.outbound, open),
            columns: Arc::clone(&self.columns),
        }
    }
}
