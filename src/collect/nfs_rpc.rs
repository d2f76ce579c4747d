//! `/proc/net/rpc/nfs` and `nfsd`: lines of a key and numbers. Source: kernel `fs/nfs`, `fs/nfsd/stats.c`,
//! `net/sunrpc/stats.c`. The procedures' names are those of node_exporter's label `method`.

use super::{CollectError, parse};
use crate::model::Batch;
use std::path::Path;

/// Procedures of NFSv2 (RFC 1094), in the order of their numbers.
pub(super) const V2: [&str; 18] = [
    "Null", "GetAttr", "SetAttr", "Root", "Lookup", "ReadLink", "Read", "WrCache", "Write", "Create",
    "Remove", "Rename", "Link", "SymLink", "MkDir", "RmDir", "ReadDir", "FsStat",
];

/// Procedures of NFSv3 (RFC 1813).
pub(super) const V3: [&str; 22] = [
    "Null",
    "GetAttr",
    "SetAttr",
    "Lookup",
    "Access",
    "ReadLink",
    "Read",
    "Write",
    "Create",
    "MkDir",
    "SymLink",
    "MkNod",
    "Remove",
    "RmDir",
    "Rename",
    "Link",
    "ReadDir",
    "ReadDirPlus",
    "FsStat",
    "FsInfo",
    "PathConf",
    "Commit",
];

/// One file, line by line: key and numbers, at most a few dozen lines.
pub(super) struct RpcFile {
    lines: Vec<(Vec<u8>, Vec<f64>)>,
}

impl RpcFile {
    /// Reads the lines; fields that are no numbers (the thread histogram's) count as 0.
    pub(super) fn parse(path: &Path, text: &[u8]) -> Result<Self, CollectError> {
        let mut lines = Vec::new();
        for line in parse::lines(text) {
            let mut fields = parse::fields(line);
            let Some(key) = fields.next() else { continue };
            let numbers: Option<Vec<f64>> = fields.map(parse::number).collect();
            let numbers = numbers.ok_or_else(|| {
                let key = String::from_utf8_lossy(key);
                CollectError::parsing(path, format!("expected numbers after {key:?}"))
            })?;
            lines.push((key.to_vec(), numbers));
        }
        Ok(Self { lines })
    }

    /// The numbers of a line; none if the kernel has no such line.
    pub(super) fn numbers(&self, key: &str) -> &[f64] {
        self.lines.iter().find(|(k, _)| k == key.as_bytes()).map_or(&[], |(_, numbers)| numbers)
    }

    /// One number of a line; 0 if it is not there.
    pub(super) fn number(&self, key: &str, index: usize) -> f64 {
        self.numbers(key).get(index).copied().unwrap_or_default()
    }

    /// One counter per procedure of a line that starts with their count.
    pub(super) fn requests(
        &self,
        family: &str,
        help: &str,
        key: &str,
        proto: &str,
        methods: &[(usize, &str)],
        out: &mut Batch,
    ) {
        for (procedure, method) in methods {
            let labels = [("method", *method), ("proto", proto)];
            out.counter(family, help, &labels, self.number(key, procedure + 1));
        }
    }
}

/// Names with their procedure numbers.
pub(super) fn numbered<'a>(methods: &[&'a str]) -> Vec<(usize, &'a str)> {
    methods.iter().copied().enumerate().collect()
}
