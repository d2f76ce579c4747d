//! Chosen kernel parameters. Source: kernel `Documentation/admin-guide/sysctl/`, `/proc/sys`.
//!
//! `--collector.sysctl.include=fs.file-nr` gives one sample per number, labelled `index`;
//! `fs.file-nr:total,current,max` gives one family per name; `include-info` gives the texts as labels.

use std::path::PathBuf;

use crate::collect::{BuildError, CollectError, Collector, Files, Flag, FlagKind, HostPaths, Pass, Spec, parse};
use crate::model::{Batch, valid_utf8};

pub(super) static SPEC: Spec = Spec {
    name: "sysctl",
    on_by_default: false,
    help: "Kernel parameters chosen with --collector.sysctl.include from /proc/sys.",
    flags: &[
        Flag {
            name: "sysctl.include",
            kind: FlagKind::List,
            help: "Parameter with numbers, as name or name:field,field (repeatable).",
            hidden: false,
        },
        Flag {
            name: "sysctl.include-info",
            kind: FlagKind::List,
            help: "Parameter with text, exposed as label of node_sysctl_info (repeatable).",
            hidden: false,
        },
    ],
    build: |host, options| {
        let numbers = options.list("sysctl.include").iter().map(|t| Parameter::new(t, true, &host.paths));
        let texts = options.list("sysctl.include-info").iter().map(|t| Parameter::new(t, false, &host.paths));
        Ok(Box::new(Sysctl {
            parameters: numbers.chain(texts).collect::<Result<_, _>>()?,
            files: Files::new(host.descriptors.clone()),
        }))
    },
};

struct Sysctl {
    parameters: Vec<Parameter>,
    files: Files,
}

struct Parameter {
    name: String,
    /// `node_sysctl_` and the name with everything but letters and digits replaced.
    family: String,
    /// Names of the values; one family each.
    fields: Vec<String>,
    numeric: bool,
    path: PathBuf,
}

impl Parameter {
    fn new(text: &str, numeric: bool, paths: &HostPaths) -> Result<Self, BuildError> {
        let (name, fields) = text.split_once(':').unwrap_or((text, ""));
        let name = name.trim();
        let fields: Vec<_> =
            fields.split(',').map(str::trim).filter(|f| !f.is_empty()).map(str::to_owned).collect();
        if name.is_empty() || name.split(['.', '/']).any(|part| part.is_empty() || part == "..") {
            let what = format!("{text:?} is no parameter name; write for example \"kernel.threads-max\"");
            return Err(BuildError { collector: "sysctl", what });
        }
        Ok(Self {
            family: format!("node_sysctl_{}", sanitized(name)),
            path: paths.proc("sys").join(name.replace('.', "/")),
            name: name.to_owned(),
            fields,
            numeric,
        })
    }

    fn expose(&self, values: &[&[u8]], out: &mut Batch) -> Result<(), CollectError> {
        if !self.fields.is_empty() && self.fields.len() != values.len() {
            let what = format!("{} field names given, {} values found", self.fields.len(), values.len());
            return Err(CollectError::parsing(&self.path, what));
        }
        if values.is_empty() {
            return Err(CollectError::parsing(&self.path, "no values"));
        }
        for (index, value) in values.iter().enumerate() {
            let mut digits = itoa::Buffer::new();
            let index_label =
                self.fields.get(index).map_or_else(|| digits.format(index), |field| field.as_str());
            if !self.numeric {
                let value = valid_utf8(value);
                let labels = [("name", self.name.as_str()), ("value", &value), ("index", index_label)];
                out.gauge("node_sysctl_info", "Text of a kernel parameter.", &labels, 1.0);
                continue;
            }
            let number = parse::number(value).ok_or_else(|| {
                CollectError::parsing(&self.path, format!("{:?} is no number", String::from_utf8_lossy(value)))
            })?;
            let help = format!("Kernel parameter {}.", self.name);
            if let Some(field) = self.fields.get(index) {
                let help = format!("Kernel parameter {}, field {}.", self.name, index);
                out.untyped(&format!("{}_{}", self.family, sanitized(field)), &help, &[], number);
            } else if values.len() > 1 {
                out.untyped(&self.family, &help, &[("index", index_label)], number);
            } else {
                out.untyped(&self.family, &help, &[], number);
            }
        }
        Ok(())
    }
}

/// Everything but letters, digits and underscores becomes one underscore, with those beside it.
fn sanitized(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut replaced = false;
    for c in name.chars() {
        if c.is_ascii_alphanumeric() || (c == '_' && !replaced) {
            out.push(c);
            replaced = false;
        } else if !replaced && c != '_' {
            out.truncate(out.trim_end_matches('_').len());
            out.push('_');
            replaced = true;
        }
    }
    out
}

impl Collector for Sysctl {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        for parameter in &self.parameters {
            let text = self.files.read(&parameter.path);
            let text = text.map_err(|e| CollectError::reading(&parameter.path, e))?;
            let values: Vec<_> = parse::fields(text).collect();
            parameter.expose(&values, out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    fn fixture() -> Fixture {
        Fixture::new().files(&[
            ("proc/sys/kernel/threads-max", "7801\n"),
            ("proc/sys/fs/file-nr", "1024\t0\t1631329\n"),
            ("proc/sys/kernel/seccomp/actions_avail", "kill_process trap log\n"),
            ("proc/sys/kernel/hostname", "box\n"),
        ])
    }

    #[test]
    fn golden() {
        fixture()
            .option("sysctl.include", "kernel.threads-max")
            .option("sysctl.include", "fs.file-nr")
            .option("sysctl.include", "fs.file-nr:total,current,max")
            .option("sysctl.include-info", "kernel.seccomp.actions_avail")
            .option("sysctl.include-info", "kernel.hostname")
            .expect(
                "sysctl",
                r#"node_sysctl_fs_file_nr_current 0
                   node_sysctl_fs_file_nr_max 1631329
                   node_sysctl_fs_file_nr_total 1024
                   node_sysctl_fs_file_nr{index="0"} 1024
                   node_sysctl_fs_file_nr{index="1"} 0
                   node_sysctl_fs_file_nr{index="2"} 1631329
                   node_sysctl_info{index="0",name="kernel.hostname",value="box"} 1
                   node_sysctl_info{index="0",name="kernel.seccomp.actions_avail",value="kill_process"} 1
                   node_sysctl_info{index="1",name="kernel.seccomp.actions_avail",value="trap"} 1
                   node_sysctl_info{index="2",name="kernel.seccomp.actions_avail",value="log"} 1
                   node_sysctl_kernel_threads_max 7801"#,
            );
    }

    #[test]
    fn wrong_use_is_an_error() {
        for (include, why) in [
            ("fs.file-nr:total,current", "2 field names given, 3 values found"),
            ("kernel.hostname", "\"box\" is no number"),
            ("kernel.nothing", "does not exist"),
        ] {
            let error = fixture().option("sysctl.include", include).error("sysctl");
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn names_are_sanitized() {
        for (name, want) in [("fs.file-nr", "fs_file_nr"), ("a_.b", "a_b"), ("a__b", "a__b"), ("a.-b", "a_b")] {
            assert_eq!(super::sanitized(name), want, "{name}");
        }
    }
}
