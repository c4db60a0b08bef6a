use std::sync::Arc;

use wasmtime::component::Resource;

use super::Tables;
use super::build::{LATENCY_SCALE, PROTOCOLS};
use crate::bindings::snapshots as wit;
use crate::guest::Guest;

/// The host's side of the `snapshot` resource: lent to a guest for one call.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "generated code re-exports it")]
pub struct Lent(pub(crate) Arc<Tables>);

/// The guest can only name what it was lent; another handle traps it.
impl Guest {
    fn lent(&self, handle: &Resource<Lent>) -> wasmtime::Result<&Tables> {
        Ok(&self.table.get(handle)?.0)
    }
}

impl wit::Host for Guest {}

impl wit::HostSnapshot for Guest {
    fn window(&mut self, handle: Resource<Lent>) -> wasmtime::Result<wit::Window> {
        Ok(self.lent(&handle)?.window)
    }

    fn temporality(&mut self, handle: Resource<Lent>) -> wasmtime::Result<wit::Temporality> {
        Ok(self.lent(&handle)?.temporality)
    }

    fn node(&mut self, handle: Resource<Lent>) -> wasmtime::Result<String> {
        Ok(self.lent(&handle)?.node.clone())
    }

    fn targets(&mut self, handle: Resource<Lent>) -> wasmtime::Result<Vec<wit::Target>> {
        Ok(self.lent(&handle)?.targets.clone())
    }

    fn totals(&mut self, handle: Resource<Lent>) -> wasmtime::Result<Vec<wit::Total>> {
        Ok(self.lent(&handle)?.totals.clone())
    }

    fn rows(&mut self, handle: Resource<Lent>) -> wasmtime::Result<Vec<wit::Row>> {
        Ok(self.lent(&handle)?.rows.clone())
    }

    fn grpc_rows(&mut self, handle: Resource<Lent>) -> wasmtime::Result<Vec<wit::GrpcRow>> {
        Ok(self.lent(&handle)?.grpc_rows.clone())
    }

    fn latency(&mut self, handle: Resource<Lent>) -> wasmtime::Result<wit::Latency> {
        Ok(wit::Latency {
            scale: LATENCY_SCALE,
            counts: self.lent(&handle)?.buckets.to_vec(),
        })
    }

    fn protocols(&mut self, handle: Resource<Lent>) -> wasmtime::Result<Vec<String>> {
        self.lent(&handle)?;
        Ok(PROTOCOLS.map(str::to_owned).to_vec())
    }

    fn methods(&mut self, handle: Resource<Lent>) -> wasmtime::Result<Vec<String>> {
        Ok(self.lent(&handle)?.methods.to_vec())
    }

    fn column(
        &mut self,
        handle: Resource<Lent>,
        name: String,
    ) -> wasmtime::Result<Option<Vec<String>>> {
        let lent = self.lent(&handle)?;
        let granted = lent
            .columns
            .get(&name)
            .filter(|_| self.columns.contains(&name));
        Ok(granted.cloned())
    }

    fn columns(&mut self, handle: Resource<Lent>) -> wasmtime::Result<Vec<String>> {
        let names = self.lent(&handle)?.columns.keys();
        let granted = names.filter(|name| self.columns.contains(*name));
        Ok(granted.cloned().collect())
    }

    fn drop(&mut self, handle: Resource<Lent>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}
