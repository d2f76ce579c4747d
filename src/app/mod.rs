//! The only place that knows everyone: settings, wiring, reload, graceful drain.

mod build_info;
mod clock;
mod history;
pub mod log;
mod push;
mod reload;
mod rules;
mod serve;
pub mod settings;
mod slos;

use std::path::PathBuf;
use std::sync::Arc;

pub use build_info::{BUILD, version_text};
pub use clock::now;
pub use history::HistoryError;
pub use serve::{Ended, StartError, run};
pub use slos::{JudgeErrors, Judges};

use crate::collect::{BuildError, Engine, Host, Own};
use crate::config::{Document, Environment, LoadError};
use settings::{Overrides, Settings};

/// How the program was called.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// `--config.file`; `None`: the built-in configuration.
    pub config_file: Option<PathBuf>,
    /// The other flags.
    pub overrides: Overrides,
    /// Where `${NAME}` in the file finds its values.
    pub environment: Environment,
}

/// Why an invocation gives no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The configuration file.
    #[error(transparent)]
    File(#[from] LoadError),
    /// A flag.
    #[error("{0}")]
    Flag(String),
    /// Files that `rule_files` and `slo_files` name.
    #[error(transparent)]
    Rules(#[from] JudgeErrors),
}

impl Invocation {
    /// Reads the file and puts the flags over it. Called again at each reload.
    ///
    /// # Errors
    /// Every mistake of the file, or the first flag that does not fit.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        let document = settings::load_document(self.config_file.as_deref())?;
        let mut settings = settings::read(&document, &self.environment).map_err(LoadError::from)?;
        self.overrides.apply(&mut settings).map_err(SettingsError::Flag)?;
        settings.collect.options.look_at_files();
        Ok(settings)
    }

    /// What can be read of the settings though the file may have mistakes, or be none: where the instance answers, how it
    /// logs. The rest is as by default.
    pub fn settings_that_fit(&self) -> Settings {
        let document = settings::load_document(self.config_file.as_deref());
        let read = |document: &Document| settings::read_what_fits(document, &self.environment);
        let mut settings = document.as_ref().map_or_else(|_| Settings::default(), read);
        // A flag that does not fit is told where the settings are used.
        let _ = self.overrides.apply(&mut settings);
        settings
    }
}

impl Settings {
    /// The collectors of these settings, not yet running; `own` outlives them.
    ///
    /// # Errors
    /// A collector that cannot be made from its options.
    pub fn engine(&self, own: Arc<Own>) -> Result<Engine, BuildError> {
        Engine::new(self.collect.engine(Host::new(self.path.clone()), own))
    }
}
