//! What the program was told: defaults, then the configuration file, then the command line.
//!
//! Invariant: each setting is one row of [`table`] (or one flag of a collector's
//! [`Spec`](crate::collect::Spec)); its flag, key, default, help and effect on reload are written once,
//! there. Flags, the file, `--help`, the reference pages and the comparison at a reload are made from it.

mod collect;
mod file;
mod health;
mod history;
mod overrides;
mod reference;
mod table;
mod text;
mod types;

pub use collect::{CollectSettings, option_key};
pub use file::{DEFAULT_FILE, default_document, load_document, read, read_what_fits};
pub use health::{HealthSettings, TlsSettings};
pub use history::{Feature, QuerySettings, StorageSettings};
pub use overrides::Overrides;
pub use reference::{configuration_page, flags_page, value_name};
pub use table::{Access, Effect, Row, rows};
pub use types::{LogFormat, LogLevel, LogSettings, Settings, WebSettings};
