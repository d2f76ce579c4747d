//! What was built, and what it stands in for.

use crate::model::Batch;

/// The release of node_exporter whose families, labels and flags the host collectors keep.
const NODE_EXPORTER_LEVEL: &str = "1.12.1";

/// Where this program comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildInfo {
    /// The release, as in `Cargo.toml`.
    pub version: &'static str,
    /// The commit.
    pub revision: &'static str,
    /// The branch.
    pub branch: &'static str,
    /// The compiler's version.
    pub rustc: &'static str,
    /// When it was built, as RFC 3339.
    pub build_date: &'static str,
}

impl Default for BuildInfo {
    fn default() -> Self {
        let unknown = "unknown";
        Self {
            version: env!("CARGO_PKG_VERSION"),
            revision: unknown,
            branch: unknown,
            rustc: unknown,
            build_date: unknown,
        }
    }
}

impl BuildInfo {
    pub(super) fn expose(&self, out: &mut Batch) {
        let labels = [
            ("arch", std::env::consts::ARCH),
            ("branch", self.branch),
            ("build_date", self.build_date),
            ("os", std::env::consts::OS),
            ("revision", self.revision),
            ("rustc", self.rustc),
            ("version", self.version),
        ];
        out.gauge("outrigger_build_info", "Constant 1; what was built from what, in labels.", &labels, 1.0);
        let labels = [
            ("branch", self.branch),
            ("goarch", go_architecture(std::env::consts::ARCH)),
            ("goos", std::env::consts::OS),
            ("goversion", "none"),
            ("revision", self.revision),
            ("tags", "outrigger"),
            ("version", NODE_EXPORTER_LEVEL),
        ];
        let help = "Constant 1, for dashboards that ask for it: this is Outrigger (see \
                    outrigger_build_info), whose host metrics are those of node_exporter at this version.";
        out.gauge("node_exporter_build_info", help, &labels, 1.0);
    }
}

/// Go's name of an architecture.
fn go_architecture(rust: &'static str) -> &'static str {
    match rust {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        "loongarch64" => "loong64",
        other => other,
    }
}
