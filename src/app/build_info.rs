//! Which build this is; `build.rs` finds it out.

use std::fmt;

/// Version, origin and circumstances of the build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildInfo {
    /// The package's version.
    pub version: &'static str,
    /// Git commit, or `unknown`.
    pub revision: &'static str,
    /// Git branch, or `unknown`.
    pub branch: &'static str,
    /// When it was built: `20260131-12:00:00`, UTC.
    pub date: &'static str,
    /// The compiler, as `rustc 1.90.0`.
    pub rustc: &'static str,
    /// Operating system and architecture: `linux/amd64`.
    pub platform: &'static str,
}

/// This build.
pub const BUILD: BuildInfo = BuildInfo {
    version: env!("CARGO_PKG_VERSION"),
    revision: env!("OUTRIGGER_REVISION"),
    branch: env!("OUTRIGGER_BRANCH"),
    date: env!("OUTRIGGER_BUILD_DATE"),
    rustc: env!("OUTRIGGER_RUSTC"),
    platform: env!("OUTRIGGER_PLATFORM"),
};

impl fmt::Display for BuildInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, revision, branch, date, rustc, platform } = self;
        write!(
            f,
            "outrigger, version {version} (branch: {branch}, revision: {revision})\n  \
             build date:       {date}\n  rust version:     {rustc}\n  platform:         {platform}"
        )
    }
}
