use wasmtime::ResourceLimiter;

/// Elements of all tables of a guest; a Rust or C guest has some thousands.
const TABLE_ELEMENTS: usize = 100_000;
/// Core instances, tables and memories in one component; a component of five languages has some tens.
const THINGS: usize = 200;

/// Bounds what one guest may hold, over all of its memories.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_max: usize,
    memory: usize,
    /// Whether it asked for more memory than it may have.
    pub(crate) refused: bool,
}

impl Limiter {
    pub(crate) fn new(memory_max: usize) -> Self {
        Self {
            memory_max,
            memory: 0,
            refused: false,
        }
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
        let granted = total <= self.memory_max;
        if granted {
            self.memory = total;
        } else {
            self.refused = true;
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        THINGS
    }

    fn tables(&self) -> usize {
        THINGS
    }

    fn memories(&self) -> usize {
        THINGS
    }
}
