use wasmtime::ResourceLimiter;

use crate::config::{Limit, Limits};

/// Bounds what one guest may hold, over all of its memories.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: [usize; 5],
    memory: usize,
    /// What it asked for and was refused; it may have gone on without.
    pub(crate) refused: Option<Limit>,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            limits: [
                limits.memory.bytes(),
                limits.table_elements,
                limits.instances,
                limits.tables,
                limits.memories,
            ],
            memory: 0,
            refused: None,
        }
    }

    /// Bytes of all linear memories.
    pub(crate) fn memory(&self) -> u64 {
        self.memory as u64
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_sub(current).saturating_add(desired);
        let granted = total <= self.limits[0];
        if granted {
            self.memory = total;
        } else {
            self.refused = Some(Limit::Memory);
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = desired <= self.limits[1];
        if !granted {
            self.refused = Some(Limit::TableElements);
        }
        Ok(granted)
    }

    fn instances(&self) -> usize {
        self.limits[2]
    }

    fn tables(&self) -> usize {
        self.limits[3]
    }

    fn memories(&self) -> usize {
        self.limits[4]
    }
}
