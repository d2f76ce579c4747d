//! The only place that knows everyone: settings, wiring, reload, graceful drain.

pub mod clock;
pub mod log;
pub mod settings;
