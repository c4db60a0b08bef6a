//! What guests import to read a snapshot. By hand, where the generated trait would want a copy of each list for each call:
//! a list that is shared is written into the guest's memory as well.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, LinkerInstance, Lower, Resource, ResourceType};

use super::Tables;
use super::build::{LATENCY_SCALE, PROTOCOLS};
use crate::guest::Guest;

/// The host's side of the `snapshot` resource: lent to a guest for one call.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "generated code re-exports it")]
pub struct Lent(pub(crate) Arc<Tables>);

/// `latency` of the WIT.
#[derive(ComponentType, Lower)]
#[component(record)]
struct Latency {
    scale: i32,
    counts: Arc<Vec<u64>>,
}

/// Of the package in `wit/0.1.0`.
const INTERFACE: &str = "owlk8s:plugin/snapshots@0.1.0";

/// Gives guests the interface `snapshots`.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut snapshots = linker.instance(INTERFACE)?;
    let snapshots = &mut snapshots;
    snapshots.resource(
        "snapshot",
        ResourceType::host::<Lent>(),
        |mut store, handle| {
            let handle = Resource::<Lent>::new_own(handle);
            store.data_mut().called().table.delete(handle)?;
            Ok(())
        },
    )?;
    part(snapshots, "window", |tables| tables.window)?;
    part(snapshots, "temporality", |tables| tables.temporality)?;
    part(snapshots, "node", |tables| tables.node.clone())?;
    part(snapshots, "targets", |tables| tables.targets.records())?;
    part(snapshots, "totals", |tables| tables.totals.records())?;
    part(snapshots, "rows", |tables| tables.rows.records())?;
    part(snapshots, "target-columns", |tables| {
        tables.targets.columns()
    })?;
    part(snapshots, "total-columns", |tables| tables.totals.columns())?;
    part(snapshots, "row-columns", |tables| tables.rows.columns())?;
    part(snapshots, "grpc-rows", |tables| {
        Arc::clone(&tables.grpc_rows)
    })?;
    part(snapshots, "latency", |tables| Latency {
        scale: LATENCY_SCALE,
        counts: Arc::clone(&tables.buckets),
    })?;
    part(snapshots, "protocols", |_| {
        PROTOCOLS.map(str::to_owned).to_vec()
    })?;
    part(snapshots, "methods", |tables| Arc::clone(&tables.methods))?;
    snapshots.func_wrap("[method]snapshot.column", column)?;
    snapshots.func_wrap("[method]snapshot.columns", columns)
}

/// One part of the snapshot, by the method of this name.
fn part<T: ComponentType + Lower + 'static>(
    snapshots: &mut LinkerInstance<'_, Guest>,
    name: &str,
    read: impl Fn(&Tables) -> T + Send + Sync + 'static,
) -> wasmtime::Result<()> {
    let read = move |mut store: StoreContextMut<'_, Guest>, (handle,): (Resource<Lent>,)| {
        Ok((read(store.data_mut().lent(&handle)?),))
    };
    snapshots.func_wrap(&format!("[method]snapshot.{name}"), read)
}

type Column = Arc<Vec<String>>;

fn column(
    mut store: StoreContextMut<'_, Guest>,
    (handle, name): (Resource<Lent>, String),
) -> wasmtime::Result<(Option<Column>,)> {
    let granted = Arc::clone(&store.data().columns);
    let column = store.data_mut().lent(&handle)?.columns.get(&name);
    let column = column.filter(|_| granted.contains(&name));
    Ok((column.map(Arc::clone),))
}

fn columns(
    mut store: StoreContextMut<'_, Guest>,
    (handle,): (Resource<Lent>,),
) -> wasmtime::Result<(Vec<String>,)> {
    let granted = Arc::clone(&store.data().columns);
    let names = store.data_mut().lent(&handle)?.columns.keys();
    let names = names.filter(|name| granted.contains(*name));
    Ok((names.cloned().collect(),))
}

impl Guest {
    /// The guest can only name what it was lent; another handle traps it.
    fn lent(&mut self, handle: &Resource<Lent>) -> wasmtime::Result<&Tables> {
        Ok(&self.called().table.get(handle)?.0)
    }
}
