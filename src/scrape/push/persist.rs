//! Where groups survive a restart.
//!
//! Invariant of both implementations: a record that was put is there, whole, after `kill -9` and after a loss of
//! power, until it is put again or removed.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A table of records. Calls block.
pub trait Persist: Debug + Send + Sync {
    /// All records with their keys.
    ///
    /// # Errors
    /// They cannot be read.
    fn load(&self) -> io::Result<Vec<(String, Vec<u8>)>>;

    /// Keeps `record` under `key`, 64 hexadecimal digits, in place of what was there.
    ///
    /// # Errors
    /// It could not be written; what was there still is.
    fn put(&self, key: &str, record: &[u8]) -> io::Result<()>;

    /// Forgets a record, if it is there.
    ///
    /// # Errors
    /// It could not be removed.
    fn remove(&self, key: &str) -> io::Result<()>;

    /// Puts a record that cannot be read out of the way, for somebody to look at.
    ///
    /// # Errors
    /// It could not be moved.
    fn set_aside(&self, key: &str) -> io::Result<()>;
}

/// A folder with one file a group.
#[derive(Debug)]
pub struct PushFolder {
    path: PathBuf,
}

/// How files of records end, new ones and broken ones.
const RECORD: &str = "group";
const UNFINISHED: &str = "new";
const BROKEN: &str = "broken";

/// No record is larger; what is was not written here.
const LARGEST_RECORD_BYTES: u64 = 256 << 20;

impl PushFolder {
    /// Opens the folder, making it if need be.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        fs::create_dir_all(&path)?;
        Ok(Self { path })
    }

    fn file(&self, key: &str, extension: &str) -> PathBuf {
        self.path.join(key).with_extension(extension)
    }

    /// What was renamed or removed is so after a loss of power only once the folder has been written.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Persist for PushFolder {
    fn load(&self) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            match path.extension().and_then(|e| e.to_str()) {
                Some(RECORD) => records.push((key_in(&path), read(&path)?)),
                // Of a write that did not come to its end.
                Some(UNFINISHED) => fs::remove_file(&path)?,
                _ => {}
            }
        }
        Ok(records)
    }

    fn put(&self, key: &str, record: &[u8]) -> io::Result<()> {
        let unfinished = self.file(key, UNFINISHED);
        let written = File::create(&unfinished).and_then(|mut file| {
            file.write_all(record)?;
            file.sync_all()
        });
        if let Err(error) = written {
            // A full disk must not stay full because of it.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        fs::rename(&unfinished, self.file(key, RECORD))?;
        self.sync()
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        match fs::remove_file(self.file(key, RECORD)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.sync(),
        }
    }

    fn set_aside(&self, key: &str) -> io::Result<()> {
        fs::rename(self.file(key, RECORD), self.file(key, BROKEN))
    }
}

fn key_in(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut record = Vec::new();
    File::open(path)?.take(LARGEST_RECORD_BYTES).read_to_end(&mut record)?;
    Ok(record)
}
