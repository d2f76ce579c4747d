//! Names of users, from `/etc/passwd` below the root file system.
//!
//! Other sources of users (LDAP) are not asked: they may take seconds. A user without a name there is its number.

use std::path::PathBuf;

use rustc_hash::FxHashMap;

use crate::collect::{Files, parse};

/// Most users that are remembered.
const MOST_USERS: usize = 100_000;

/// Names by number, read again when a number is not known.
#[derive(Debug)]
pub(super) struct Users {
    passwd: PathBuf,
    files: Files,
    names: FxHashMap<u32, String>,
}

impl Users {
    pub(super) fn new(passwd: PathBuf, files: Files) -> Self {
        Self { passwd, files, names: FxHashMap::default() }
    }

    pub(super) fn name(&mut self, uid: u32) -> &str {
        if !self.names.contains_key(&uid) {
            self.read();
            self.names.entry(uid).or_insert_with(|| uid.to_string());
        }
        self.names.get(&uid).map_or("", String::as_str)
    }

    fn read(&mut self) {
        if self.names.len() > MOST_USERS {
            self.names.clear();
        }
        let Ok(text) = self.files.read_once(&self.passwd) else { return };
        for line in parse::lines(text).take(MOST_USERS) {
            let mut fields = line.split(|b| *b == b':');
            let (Some(name), Some(uid)) = (fields.next(), fields.nth(1).and_then(parse::unsigned)) else {
                continue;
            };
            if let Ok(uid) = u32::try_from(uid) {
                self.names.insert(uid, String::from_utf8_lossy(name).into_owned());
            }
        }
    }
}
