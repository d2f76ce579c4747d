//! The distribution. Source: `os-release(5)`.
//!
//! `/etc/os-release` comes before `/usr/lib/os-release`, both below the root file system that is
//! looked at. The file is parsed again when its modification time changes.

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::collect::{CollectError, Collector, Files, Pass, Spec};
use crate::model::{Batch, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "os",
    on_by_default: true,
    help: "The distribution, from os-release.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(Os {
            paths: ["/etc/os-release", "/usr/lib/os-release"].map(|p| host.paths.root(p)),
            files: Files::new(host.descriptors.clone()),
            known: None,
        }))
    },
};

/// Variable of the file and label of `node_os_info`.
const FACTS: [(&str, &str); 12] = [
    ("BUILD_ID", "build_id"),
    ("ID", "id"),
    ("ID_LIKE", "id_like"),
    ("IMAGE_ID", "image_id"),
    ("IMAGE_VERSION", "image_version"),
    ("NAME", "name"),
    ("PRETTY_NAME", "pretty_name"),
    ("VARIANT", "variant"),
    ("VARIANT_ID", "variant_id"),
    ("VERSION", "version"),
    ("VERSION_CODENAME", "version_codename"),
    ("VERSION_ID", "version_id"),
];

/// What is known of one state of the file.
struct Known {
    path: PathBuf,
    modified: Option<SystemTime>,
    /// In the order of [`FACTS`].
    facts: Vec<String>,
    version: Option<f64>,
    support_end: Option<f64>,
}

struct Os {
    paths: [PathBuf; 2],
    files: Files,
    known: Option<Known>,
}

impl Collector for Os {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        self.refresh()?;
        if let Some(known) = &self.known {
            known.emit(out);
        }
        Ok(())
    }
}

impl Os {
    fn refresh(&mut self) -> Result<(), CollectError> {
        for path in &self.paths {
            let modified = match std::fs::metadata(path) {
                Ok(metadata) => metadata.modified().ok(),
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(CollectError::reading(path, e)),
            };
            if self.known.as_ref().is_some_and(|k| k.path == *path && k.modified == modified) {
                return Ok(());
            }
            let text = self.files.read_once(path).map_err(|e| CollectError::reading(path, e))?;
            let known = Known::parse(path.clone(), modified, &valid_utf8(text));
            self.known = Some(known.map_err(|what| CollectError::parsing(path, what))?);
            return Ok(());
        }
        self.known = None;
        Err(CollectError::NoData("no os-release file".to_owned()))
    }
}

impl Known {
    fn parse(path: PathBuf, modified: Option<SystemTime>, text: &str) -> Result<Self, String> {
        let mut facts = vec![String::new(); FACTS.len()];
        let mut support_end = None;
        for (variable, value) in text.lines().filter_map(assignment) {
            if let Some(place) = FACTS.iter().position(|(name, _)| *name == variable) {
                if let Some(fact) = facts.get_mut(place) {
                    *fact = value;
                }
            } else if variable == "SUPPORT_END" && !value.is_empty() {
                let date: Date = value.parse().map_err(|e| format!("SUPPORT_END={value}: {e}"))?;
                let midnight = date.to_zoned(TimeZone::UTC).map_err(|e| format!("SUPPORT_END={value}: {e}"))?;
                #[expect(clippy::cast_precision_loss, reason = "exact for every date")]
                let seconds = midnight.timestamp().as_second() as f64;
                support_end = Some(seconds);
            }
        }
        let version = facts.last().and_then(|id| leading_number(id));
        Ok(Self { path, modified, facts, version, support_end })
    }

    fn emit(&self, out: &mut Batch) {
        let mut labels = [("", ""); FACTS.len()];
        for (label, ((_, name), value)) in labels.iter_mut().zip(FACTS.iter().zip(&self.facts)) {
            *label = (name, value);
        }
        out.gauge("node_os_info", "The distribution, from os-release.", &labels, 1.0);
        if let Some(version) = self.version {
            let short = labels.into_iter().filter(|(n, _)| ["id", "id_like", "name"].contains(n));
            let short: Vec<_> = short.collect();
            out.gauge("node_os_version", "Major and minor version of the distribution.", &short, version);
        }
        if let Some(end) = self.support_end {
            let help = "When the distribution's support ends, in Unix time.";
            out.gauge("node_os_support_end_timestamp_seconds", help, &[], end);
        }
    }
}

/// A shell assignment: `NAME="Debian GNU/Linux"`. Comments and what is none are skipped.
fn assignment(line: &str) -> Option<(&str, String)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    if line.starts_with('#') {
        return None;
    }
    let (name, value) = line.split_once('=')?;
    Some((name.trim(), unquoted(value.trim())))
}

fn unquoted(value: &str) -> String {
    if let Some(inner) = value.strip_prefix('\'') {
        return inner.split('\'').next().unwrap_or_default().to_owned();
    }
    let Some(inner) = value.strip_prefix('"') else {
        return value.split(" #").next().unwrap_or_default().trim_end().to_owned();
    };
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

/// `22.04.3 LTS` is 22.04; 0 and text count as no version.
fn leading_number(version: &str) -> Option<f64> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(version);
    let rest = version.get(whole..)?;
    let fraction = rest.strip_prefix('.').map_or(0, |f| 1 + digits(f));
    let number: f64 = version.get(..whole + fraction)?.parse().ok()?;
    (number > 0.0 && whole > 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;

    const RELEASE: &str = "NAME=\"Ubuntu\"\n# a comment\nVERSION=\"20.04.2 LTS (Focal Fossa)\"\nID=ubuntu\n\
        ID_LIKE='debian'\nPRETTY_NAME=\"Ubuntu \\\"20.04.2\\\" LTS\"\nVERSION_ID=\"20.04\"\nSUPPORT_END=2025-05-29\n";

    #[test]
    fn golden() {
        Fixture::new().file("root/usr/lib/os-release", RELEASE).expect(
            "os",
            r#"node_os_info{build_id="",id="ubuntu",id_like="debian",image_id="",image_version="",name="Ubuntu",pretty_name="Ubuntu \"20.04.2\" LTS",variant="",variant_id="",version="20.04.2 LTS (Focal Fossa)",version_codename="",version_id="20.04"} 1
               node_os_version{id="ubuntu",id_like="debian",name="Ubuntu"} 20.04
               node_os_support_end_timestamp_seconds 1748476800"#,
        );
    }

    #[test]
    fn etc_comes_first_a_rolling_release_has_no_version_and_none_is_no_data() {
        let fixture = Fixture::new()
            .file("root/usr/lib/os-release", RELEASE)
            .file("root/etc/os-release", "ID=arch\nBUILD_ID=rolling # always\n");
        let text = fixture.samples("os");
        assert!(text.contains("build_id=\"rolling\",id=\"arch\"") && text.lines().count() == 1, "{text}");
        assert!(Fixture::new().error("os").contains("no data"));
        let fixture = Fixture::new().file("root/etc/os-release", "SUPPORT_END=soon\n");
        assert!(fixture.error("os").contains("SUPPORT_END=soon"));
    }

    #[test]
    fn versions() {
        for (text, want) in
            [("20.04", Some(20.04)), ("37", Some(37.0)), ("12.x", Some(12.0)), ("", None), ("v3", None), ("0", None)]
        {
            assert_eq!(leading_number(text), want, "{text}");
        }
    }
}
