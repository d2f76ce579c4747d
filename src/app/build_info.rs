//! Which build this is; `build.rs` finds it out.

use crate::collect::BuildInfo;

/// This build.
pub const BUILD: BuildInfo = BuildInfo {
    version: env!("CARGO_PKG_VERSION"),
    revision: env!("OUTRIGGER_REVISION"),
    branch: env!("OUTRIGGER_BRANCH"),
    rustc: env!("OUTRIGGER_RUSTC"),
    build_date: env!("OUTRIGGER_BUILD_DATE"),
};

/// Operating system and architecture, in Go's words: `linux/amd64`.
const PLATFORM: &str = env!("OUTRIGGER_PLATFORM");

/// What `--version` prints, in the form that Prometheus's programs have.
pub fn version_text() -> String {
    let BuildInfo { version, revision, branch, rustc, build_date } = BUILD;
    format!(
        "outrigger, version {version} (branch: {branch}, revision: {revision})\n  \
         build date:       {build_date}\n  rust version:     {rustc}\n  platform:         {PLATFORM}\n"
    )
}
