//! Tells the program which build it is: revision, branch, date, compiler, platform.
//!
//! Git is read from its files, so that neither git nor a repository is needed. For builds without
//! one (a container, a tarball): `OUTRIGGER_REVISION`, `OUTRIGGER_BRANCH`. With `SOURCE_DATE_EPOCH`
//! the same sources give the same binary.
//!
//! Source: gitrepository-layout(5); <https://reproducible-builds.org/specs/source-date-epoch/>.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let git = Git::find(Path::new("."));
    let head = git.as_ref().and_then(Git::head).unwrap_or_default();
    set("OUTRIGGER_REVISION", given("OUTRIGGER_REVISION").or(head.revision));
    set("OUTRIGGER_BRANCH", given("OUTRIGGER_BRANCH").or(head.branch));
    set("OUTRIGGER_BUILD_DATE", Some(build_date()));
    set("OUTRIGGER_RUSTC", rustc());
    set("OUTRIGGER_PLATFORM", Some(platform()));
    if is_small_build() && brings_own_linker() {
        // Functions of the same machine code share one copy; nothing here compares addresses of functions.
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}

/// The profile `dist`, by what sets it apart from all others: it is optimised for size.
fn is_small_build() -> bool {
    env::var("OPT_LEVEL").is_ok_and(|level| level == "s")
}

/// Whether the compiler links with the LLD that it comes with, as Rust's own builds for this platform do since 1.90.
/// Other linkers do not all know LLD's options.
fn brings_own_linker() -> bool {
    println!("cargo::rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    let variable = |name| env::var(name).unwrap_or_default();
    let target = variable("TARGET");
    let chosen =
        variable("CARGO_ENCODED_RUSTFLAGS").contains("link") || env::var_os("RUSTC_LINKER").is_some();
    let lld = sysroot().map(|root| root.join("lib/rustlib").join(&target).join("bin/gcc-ld/ld.lld"));
    target == "x86_64-unknown-linux-gnu"
        && target == variable("HOST")
        && !chosen
        && lld.is_some_and(|lld| lld.exists())
}

fn sysroot() -> Option<PathBuf> {
    let output = Command::new(env::var_os("RUSTC")?).args(["--print", "sysroot"]).output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

fn set(name: &str, value: Option<String>) {
    println!("cargo::rustc-env={name}={}", value.as_deref().unwrap_or("unknown"));
}

fn given(name: &str) -> Option<String> {
    println!("cargo::rerun-if-env-changed={name}");
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// A repository's folders: of this working tree, and of all of them.
struct Git {
    own: PathBuf,
    common: PathBuf,
}

#[derive(Default)]
struct Head {
    revision: Option<String>,
    branch: Option<String>,
}

impl Git {
    fn find(tree: &Path) -> Option<Self> {
        let dot_git = tree.join(".git");
        let own = if dot_git.is_dir() {
            dot_git
        } else {
            // A linked working tree: a file that names the folder.
            let text = fs::read_to_string(dot_git).ok()?;
            PathBuf::from(text.strip_prefix("gitdir:")?.trim())
        };
        let common = match fs::read_to_string(own.join("commondir")) {
            Ok(text) => own.join(text.trim()),
            Err(_) => own.clone(),
        };
        Some(Self { own, common })
    }

    fn head(&self) -> Option<Head> {
        let head = read(&self.own.join("HEAD"))?;
        let Some(name) = head.strip_prefix("ref:").map(str::trim) else {
            return Some(Head { revision: Some(head.trim().to_owned()), branch: None });
        };
        let loose = read(&self.common.join(name)).map(|text| text.trim().to_owned());
        let revision = loose.or_else(|| self.packed(name));
        let branch = name.strip_prefix("refs/heads/").unwrap_or(name).to_owned();
        Some(Head { revision, branch: Some(branch) })
    }

    fn packed(&self, name: &str) -> Option<String> {
        let refs = read(&self.common.join("packed-refs"))?;
        let line = refs.lines().find(|line| line.split_once(' ').is_some_and(|(_, n)| n == name))?;
        line.split_once(' ').map(|(revision, _)| revision.to_owned())
    }
}

/// Reads a file and builds anew when it changes.
fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    println!("cargo::rerun-if-changed={}", path.display());
    Some(text)
}

fn build_date() -> String {
    let epoch = given("SOURCE_DATE_EPOCH").and_then(|text| text.parse::<u64>().ok());
    #[expect(clippy::disallowed_methods, reason = "a build happens now unless it is told otherwise")]
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    shown_date(epoch.unwrap_or_else(now))
}

/// Seconds since the epoch as RFC 3339 writes them, UTC. Days to date as in Howard Hinnant's
/// "chrono-compatible low-level date algorithms": years start in March, eras have 400 years.
fn shown_date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

fn rustc() -> Option<String> {
    let output = Command::new(env::var_os("RUSTC")?).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    // "rustc 1.90.0 (1159e78c4 2025-09-14)"
    text.split_whitespace().nth(1).map(ToOwned::to_owned)
}

/// In Go's words, which Prometheus's own `--version` uses.
fn platform() -> String {
    let variable = |name| env::var(name).unwrap_or_default();
    let arch = match variable("CARGO_CFG_TARGET_ARCH").as_str() {
        "x86_64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        other => other.to_owned(),
    };
    format!("{}/{arch}", variable("CARGO_CFG_TARGET_OS"))
}
