//! Why the library refuses a call: `nvmlReturn_t` of nvml.h.

use std::fmt;

/// The library's refusal of a call, a code of `nvmlReturn_t`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::collect) struct Failure(pub(in crate::collect) u32);

impl Failure {
    pub(in crate::collect) const UNINITIALIZED: Self = Self(1);
    pub(in crate::collect) const NOT_FOUND: Self = Self(6);
    pub(in crate::collect) const INSUFFICIENT_SIZE: Self = Self(7);
    pub(in crate::collect) const DRIVER_NOT_LOADED: Self = Self(9);
    pub(in crate::collect) const TIMEOUT: Self = Self(10);
    pub(in crate::collect) const FUNCTION_NOT_FOUND: Self = Self(13);
    pub(in crate::collect) const GPU_IS_LOST: Self = Self(15);
    pub(in crate::collect) const RESET_REQUIRED: Self = Self(16);
    pub(in crate::collect) const VERSION_MISMATCH: Self = Self(18);
    pub(in crate::collect) const GPU_NOT_FOUND: Self = Self(28);

    const fn text(self) -> &'static str {
        match self.0 {
            1 => "the library is not initialized",
            2 => "invalid argument",
            3 => "not supported",
            4 => "no permission",
            6 => "not found",
            7 => "insufficient size",
            9 => "the driver is not loaded",
            10 => "timeout",
            12 => "a library is missing",
            13 => "the driver's library lacks the function",
            15 => "the GPU is lost: it has fallen off the bus or does not answer",
            16 => "the GPU needs a reset",
            17 => "the operating system refused",
            18 => "the driver and its library have different versions",
            20 => "out of memory",
            21 => "no data",
            27 => "not ready",
            28 => "GPU not found",
            _ => "unknown error",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (NVML error {})", self.text(), self.0)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Failure {
    /// Whether the GPU itself does not answer, and not only to this question.
    pub(in crate::collect) const fn is_lost(self) -> bool {
        matches!(self, Self::GPU_IS_LOST | Self::RESET_REQUIRED | Self::GPU_NOT_FOUND)
    }

    /// Whether the whole driver was unloaded or replaced.
    pub(in crate::collect) const fn is_driver_gone(self) -> bool {
        matches!(self, Self::UNINITIALIZED | Self::DRIVER_NOT_LOADED | Self::VERSION_MISMATCH)
    }

    /// Whether the next time may go better: it is not that the GPU or the driver cannot.
    pub(in crate::collect) const fn is_passing(self) -> bool {
        !matches!(self.0, 2..=4 | 13 | 22 | 25 | 26)
    }
}
