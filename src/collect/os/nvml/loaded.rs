//! The library's files, each loaded once and never unloaded.
//!
//! A thread that called into the library may end long after the last session, and then runs what the library has
//! registered for the end of threads: without the library's code that is a jump to nowhere. So nothing is unloaded,
//! and whoever opens a file again gets what is there. An upgrade of the driver brings another file, perhaps under
//! the same name, which the loader would take for the one that it has: such a file is handed to it by descriptor,
//! and that stays open, so that its name is never given to another. Bound: [`MOST`] files in the life of the process.

use std::fs::{File, metadata};
use std::os::fd::{AsRawFd as _, IntoRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use libloading::Library;

/// Files and names; a machine that runs for years sees a few drivers.
const MOST: usize = 16;

/// What was loaded.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    /// A name that the loader looks for in places of its own.
    Name(String),
    /// Device and inode of a file, which are no other file's as long as it is loaded.
    File(u64, u64),
}

type Table = Vec<(Key, &'static Library)>;

static LOADED: Mutex<Table> = Mutex::new(Vec::new());

/// The library of this path or name.
///
/// # Errors
/// It cannot be loaded; as text for people.
pub(super) fn library(path: &Path) -> Result<&'static Library, String> {
    find(&mut LOADED.lock().unwrap_or_else(PoisonError::into_inner), path)
}

fn find(loaded: &mut Table, path: &Path) -> Result<&'static Library, String> {
    let name = path.to_string_lossy();
    let key = match name.contains('/') {
        false => Key::Name(name.to_string()),
        true => metadata(path).map(|of| Key::File(of.dev(), of.ino())).map_err(|e| e.to_string())?,
    };
    if let Some((_, library)) = loaded.iter().find(|(known, _)| *known == key) {
        return Ok(library);
    }
    if loaded.len() >= MOST {
        return Err(format!("the driver's library was replaced {MOST} times; restart to load this one"));
    }
    let library = match &key {
        Key::File(..) if !loaded.is_empty() => load_beside(path)?,
        _ => load(path)?,
    };
    let library: &'static Library = Box::leak(Box::new(library));
    loaded.push((key, library));
    Ok(library)
}

/// Loads a file whose name may be that of one that is loaded.
fn load_beside(path: &Path) -> Result<Library, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    let library = load(Path::new(&name)).map_err(|e| e.replace(&name, &path.to_string_lossy()))?;
    // It stays open.
    let _ = file.into_raw_fd();
    Ok(library)
}

fn load(path: &Path) -> Result<Library, String> {
    // SAFETY: loading a library runs its constructors. It is the driver's own, or one that the
    // configuration names.
    unsafe { Library::new(path) }.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A library that this program has anyway.
    fn some_library() -> String {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let path = maps.split_whitespace().find(|word| word.contains("/libgcc_s.so"));
        path.expect("the standard library needs it").to_owned()
    }

    #[test]
    fn each_file_is_loaded_once_and_a_new_one_beside_the_old() {
        let (dir, source) = (tempfile::tempdir().unwrap(), some_library());
        let (path, new) = (dir.path().join("libnvidia-ml.so.1"), dir.path().join("new"));
        let mut table = Table::new();
        let mut before: Vec<*const Library> = Vec::new();
        for _ in 0..MOST {
            std::fs::copy(&source, &new).unwrap();
            std::fs::rename(&new, &path).unwrap();
            let first: *const Library = find(&mut table, &path).unwrap();
            assert!(std::ptr::eq(first, find(&mut table, &path).unwrap()));
            assert!(!before.contains(&first), "a new file, although of the same name");
            before.push(first);
        }
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let mut inodes: Vec<_> = maps.lines().filter(|l| l.contains("libnvidia-ml.so.1")).collect();
        inodes.iter_mut().for_each(|line| *line = line.split_whitespace().nth(4).unwrap());
        inodes.sort_unstable();
        inodes.dedup();
        assert_eq!(inodes.len(), MOST);
        std::fs::copy(&source, &new).unwrap();
        assert!(find(&mut table, &new).unwrap_err().contains("restart to load this one"));
        assert!(find(&mut table, &path).is_ok(), "what is loaded stays usable");
        assert!(find(&mut table, &dir.path().join("none")).unwrap_err().contains("No such file"));
    }
}
