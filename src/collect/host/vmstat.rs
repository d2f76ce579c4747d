//! Selected fields of `/proc/vmstat`. Source: kernel `mm/vmstat.c`, `vmstat_text`.

use std::path::PathBuf;

use crate::collect::field_names::{FieldName, FieldNames};
use crate::collect::{CollectError, Collector, Files, Flag, FlagKind, Pass, Spec, parse};
use crate::model::Batch;

pub(super) static SPEC: Spec = Spec {
    name: "vmstat",
    on_by_default: true,
    help: "Paging, faults and OOM kills from /proc/vmstat.",
    flags: &[Flag {
        name: "vmstat.fields",
        kind: FlagKind::Regex("^(oom_kill|pgpg|pswp|pg.*fault).*"),
        help: "Fields to expose.",
        hidden: false,
    }],
    build: |host, options| {
        let wanted = options.regex("vmstat.fields");
        let name = |field: &str| FieldName {
            family: format!("node_vmstat_{field}"),
            help: format!("Field {field} of /proc/vmstat."),
        };
        Ok(Box::new(VmStat {
            path: host.paths.proc("vmstat"),
            files: Files::new(host.descriptors.clone()),
            names: FieldNames::new(move |field| {
                wanted.as_ref().is_none_or(|w| w.is_match(field)).then(|| name(field))
            }),
        }))
    },
};

struct VmStat {
    path: PathBuf,
    files: Files,
    names: FieldNames,
}

impl Collector for VmStat {
    fn collect(&mut self, _: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let text = self.files.read_numbers(&self.path).map_err(|e| CollectError::reading(&self.path, e))?;
        for line in parse::lines(text) {
            let Some((field, value)) = parse::split_once(line, b' ') else { continue };
            let Some(name) = self.names.get(field) else { continue };
            let value = parse::number(value.trim_ascii()).ok_or_else(|| {
                let line = String::from_utf8_lossy(line);
                CollectError::parsing(&self.path, format!("expected \"field number\", found {line:?}"))
            })?;
            out.untyped(&name.family, &name.help, &[], value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;

    const VMSTAT: &str = "nr_free_pages 977769\npgpgin 7344136\npgpgout 1541180292\npswpin 1476\n\
        pgfault 2320168809\npgmajfault 507162\noom_kill 0\n";

    #[test]
    fn golden() {
        Fixture::new().file("proc/vmstat", VMSTAT).expect(
            "vmstat",
            "node_vmstat_oom_kill 0
             node_vmstat_pgfault 2320168809
             node_vmstat_pgmajfault 507162
             node_vmstat_pgpgin 7344136
             node_vmstat_pgpgout 1541180292
             node_vmstat_pswpin 1476",
        );
    }

    #[test]
    fn fields_are_chosen() {
        let fixture = Fixture::new().file("proc/vmstat", VMSTAT);
        fixture.option("vmstat.fields", "^nr_").expect("vmstat", "node_vmstat_nr_free_pages 977769");
    }

    #[test]
    fn garbage_is_an_error() {
        assert!(Fixture::new().file("proc/vmstat", "pgfault many\n").error("vmstat").contains("pgfault many"));
    }
}
