//! Connection state. Written by the kernel program; the host only sweeps it.
