/// What the plugin is and asks for, embedded into its component, where owlk8s reads it before it runs any
/// of the plugin's code. A plugin without one asks for nothing and gets nothing beside its snapshots.
///
/// JSON; the name and version are the crate's. Beside `description` (one sentence) all keys may be left out:
///
/// ```
/// owlk8s_plugin::manifest!({
///     "description": "Sends the error ratio of each service to Acme",
///     "asks": {
///         "http": ["https://api.acme.example", "config:url"],
///         "columns": ["label:team"],
///         "memory": "128MiB",
///         "state": "64KiB"
///     },
///     "config": {
///         "type": "object",
///         "properties": { "url": { "type": "string" } },
///         "additionalProperties": false
///     }
/// });
/// ```
///
/// - `http`, for exporters: origins, in the forms `api.example.com` (https, port 443), `http://collector:4318`,
///   `*.example.com`, `*`; or `config:KEY`, that of the URL in the sink's config under this key.
/// - `columns`: those that [`Snapshot::column`](crate::Snapshot::column) is asked for. One with `*` gives what the
///   sink lists; one without must be listed.
/// - `memory`, `state`: what it needs where the defaults are too little.
/// - `config`: a JSON Schema (2020-12) of the sink's config, checked before the plugin is called.
///
/// `owlk8s plugin manifest FILE` prints it, and `--set` gives one to components in other languages.
#[macro_export]
macro_rules! manifest {
    ({ $($body:tt)+ }) => {
        const _: () = {
            const TEXT: &str = concat!(
                "{\"manifest\": 1, \"name\": \"",
                env!("CARGO_PKG_NAME"),
                "\", \"version\": \"",
                env!("CARGO_PKG_VERSION"),
                "\", ",
                stringify!($($body)+),
                "}"
            );
            // As the section's whole content: a reference would put an address there.
            #[used]
            #[cfg_attr(target_family = "wasm", unsafe(link_section = "owlk8s:manifest"))]
            static MANIFEST: [u8; TEXT.len()] = match TEXT.as_bytes().first_chunk() {
                Some(bytes) => *bytes,
                None => unreachable!(),
            };
        };
    };
}
