//! A page of metrics in each of the formats: families, each with its samples.
//!
//! A histogram's series is some 290 bytes a line and 17 lines, nearly all of it repeated: 10,000 series are 50
//! MB of text and 1 MB of gzip. So the page is compressed as it grows, where the scraper takes that, as Prometheus does, and
//! handed to the host as it grows where not: it is never whole in memory.

mod labels;
mod protobuf;
mod text;

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use owlk8s_plugin::semconv::Durations;
use owlk8s_plugin::{Bounds, Response};

use crate::negotiate::Format;

pub(crate) use labels::Labels;
#[cfg(test)]
pub(crate) use protobuf::Histogram;

/// How many bytes wait for the compressor or the host.
const CHUNK: usize = 48 << 10;
/// Room for the series that goes beyond it, mostly.
const BEYOND: usize = 16 << 10;

/// What a family's samples mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Names that belong together; always 1.
    Info,
    /// Buckets, sum and count.
    Histogram,
}

/// A page of metrics.
pub(crate) struct Exposition {
    format: Format,
    bytes: Vec<u8>,
    gzip: Option<GzEncoder<Vec<u8>>>,
    /// Protobuf: the family that is being written. Its length stands before it.
    open: Option<protobuf::Open>,
}

/// A sample's value.
#[derive(Clone, Copy)]
pub(crate) enum Value {
    Integer(u64),
    Float(f64),
    /// As seconds.
    Nanoseconds(u64),
}

/// The classic buckets of a page's histograms.
pub(crate) struct Buckets {
    bounds: Bounds,
    /// What a line of text says of each, and of the last.
    le: Vec<text::Padded<24>>,
    infinite: text::Padded<24>,
}

/// The samples of one family.
pub(crate) struct Family<'e> {
    page: &'e mut Exposition,
    starts: text::Starts,
    kind: Kind,
}

impl Exposition {
    pub(crate) fn new(format: Format, gzip: bool) -> Self {
        Self {
            format,
            bytes: Vec::with_capacity(CHUNK + BEYOND),
            gzip: gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast())),
            open: None,
        }
    }

    /// No labels yet, in this page's form.
    pub(crate) fn labels(&self) -> Labels {
        Labels::new(self.format)
    }

    /// Classic buckets with these upper bounds, in this page's form.
    pub(crate) fn buckets(&self, seconds: &[f64]) -> Buckets {
        Buckets {
            bounds: Bounds::new(seconds),
            le: seconds
                .iter()
                .map(|bound| text::le(self.format, *bound))
                .collect(),
            infinite: text::le(self.format, f64::INFINITY),
        }
    }

    /// Begins a family; a name may begin only once. A counter's ends with `_total`, an info's with `_info`.
    pub(crate) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        self.close();
        match self.format {
            Format::Text => text::begin(&mut self.bytes, name, kind, help),
            Format::OpenMetrics => text::begin_open_metrics(&mut self.bytes, name, kind, help),
            Format::Protobuf => self.open = Some(protobuf::Open::new(name, kind, help)),
        }
        Family {
            page: self,
            starts: text::Starts::of(name),
            kind,
        }
    }

    /// The page's bytes.
    pub(crate) fn finish(mut self) -> std::io::Result<Vec<u8>> {
        self.close();
        if self.format == Format::OpenMetrics {
            self.bytes.extend_from_slice(b"# EOF\n");
        }
        let Some(mut gzip) = self.gzip.take() else {
            return Ok(self.bytes);
        };
        gzip.write_all(&self.bytes)?;
        gzip.finish()
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.finish(&mut self.bytes);
            self.spill();
        }
    }

    /// Called after each sample.
    fn spill(&mut self) {
        if self.bytes.len() < CHUNK {
            return;
        }
        match &mut self.gzip {
            Some(gzip) => {
                // What the encoder writes to is a Vec, which takes everything.
                let _ = gzip.write_all(&self.bytes);
                self.bytes.clear();
            }
            None => Response::write_ahead(&mut self.bytes),
        }
    }
}

impl Family<'_> {
    /// No labels yet.
    pub(crate) fn labels(&self) -> Labels {
        self.page.labels()
    }

    pub(crate) fn sample(&mut self, labels: &Labels, value: Value) {
        match &mut self.page.open {
            Some(open) => open.sample(self.kind, labels, value),
            None => text::line(&mut self.page.bytes, &self.starts, labels, value),
        }
        self.page.spill();
    }

    /// A histogram with these classic buckets; `native` adds its own where the format can hold them.
    pub(crate) fn histogram(
        &mut self,
        labels: &Labels,
        buckets: &Buckets,
        native: bool,
        since_unix_ns: u64,
        durations: &Durations,
    ) {
        let Exposition { open, bytes, .. } = &mut *self.page;
        match open {
            Some(open) => open.histogram(labels, &buckets.bounds, native, since_unix_ns, durations),
            None => text::histogram(bytes, &self.starts, labels, buckets, durations),
        }
        self.page.spill();
    }
}
