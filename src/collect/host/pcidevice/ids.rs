//! Names of vendors, devices and classes: the `pci.ids` database.
//!
//! The file has about 40,000 lines, of which a machine's devices need a few dozen. So it is not kept:
//! it is read once for each code that was not asked for before, and only what was found is remembered
//! - as many entries as the machine has had kinds of devices, [`REMEMBERED`] at most.
//!
//! Source: the head of `pci.ids` itself, and pciutils' manual page `pci.ids(5)`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

use crate::model::valid_utf8;

const USUAL_PLACES: [&str; 2] = ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"];

/// Kinds of devices whose names are remembered.
const REMEMBERED: usize = 1_024;

/// Longest file that is read; the real one has 1.5 MB.
const MOST_BYTES: u64 = 16 << 20;

/// What a device says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Codes {
    /// Base class, subclass and programming interface: `0x010802`.
    pub(super) class: u64,
    pub(super) vendor: u64,
    pub(super) device: u64,
    pub(super) subsystem_vendor: u64,
    pub(super) subsystem_device: u64,
}

impl Codes {
    pub(super) fn texts(&self) -> [(&'static str, String); 5] {
        [
            ("class_id", format!("0x{:06x}", self.class)),
            ("vendor_id", format!("0x{:04x}", self.vendor)),
            ("device_id", format!("0x{:04x}", self.device)),
            ("subsystem_vendor_id", format!("0x{:04x}", self.subsystem_vendor)),
            ("subsystem_device_id", format!("0x{:04x}", self.subsystem_device)),
        ]
    }
}

/// Labels of a device's names.
pub(super) type Names = [(&'static str, String); 5];

/// The names asked for so far.
pub(super) struct IdNames {
    file: Option<PathBuf>,
    known: FxHashMap<Codes, Names>,
}

impl IdNames {
    /// From this file, or the first of the usual places if it is empty.
    pub(super) fn new(file: &str) -> Self {
        let usual = || USUAL_PLACES.iter().map(PathBuf::from).find(|p| p.exists());
        let file = if file.is_empty() { usual() } else { Some(PathBuf::from(file)) };
        if file.is_none() {
            tracing::warn!("no pci.ids file in the usual places: devices have numbers for names");
        }
        Self { file, known: FxHashMap::default() }
    }

    pub(super) fn of(&mut self, codes: &Codes) -> &Names {
        if self.known.len() >= REMEMBERED && !self.known.contains_key(codes) {
            self.known.clear();
        }
        let file = self.file.as_deref();
        self.known.entry(*codes).or_insert_with(|| {
            let found = file.map(|f| search(f, codes)).unwrap_or_default();
            found.or_numbers(codes)
        })
    }
}

#[derive(Default)]
struct Found {
    class: Option<String>,
    vendor: Option<String>,
    device: Option<String>,
    subsystem_vendor: Option<String>,
    subsystem_device: Option<String>,
}

impl Found {
    /// What has no name keeps its number.
    fn or_numbers(self, codes: &Codes) -> Names {
        let [class, vendor, device, subsystem_vendor, subsystem_device] = codes.texts().map(|(_, t)| t);
        [
            ("class_name", self.class.unwrap_or_else(|| format!("Unknown class ({class})"))),
            ("vendor_name", self.vendor.unwrap_or(vendor)),
            ("device_name", self.device.unwrap_or(device)),
            ("subsystem_vendor_name", self.subsystem_vendor.unwrap_or(subsystem_vendor)),
            ("subsystem_device_name", self.subsystem_device.unwrap_or(subsystem_device)),
        ]
    }
}

/// The entry whose indented lines follow.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Under {
    #[default]
    Nothing,
    /// Our vendor.
    Vendor,
    /// Our vendor's device that is ours.
    Device,
    /// Our base class.
    Class,
    /// Our subclass.
    Subclass,
}

fn search(file: &Path, codes: &Codes) -> Found {
    let mut found = Found::default();
    let opened = match File::open(file) {
        Ok(file) => file,
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "cannot read the names of PCI devices");
            return found;
        }
    };
    let mut lines = BufReader::new(opened.take(MOST_BYTES));
    let (mut line, mut under) = (Vec::new(), Under::default());
    while {
        line.clear();
        lines.read_until(b'\n', &mut line).is_ok_and(|n| n > 0)
    } {
        if !line.trim_ascii().is_empty() && !line.starts_with(b"#") {
            under = found.line(&line, codes, under);
        }
    }
    found
}

impl Found {
    fn line(&mut self, line: &[u8], codes: &Codes, under: Under) -> Under {
        let text = valid_utf8(line);
        let depth = text.bytes().take_while(|b| *b == b'\t').count();
        let text = text.trim();
        match depth {
            0 => match text.strip_prefix("C ") {
                Some(class) => match entry(class, codes.class >> 16) {
                    Some(name) => {
                        self.class = Some(name);
                        Under::Class
                    }
                    None => Under::Nothing,
                },
                None => self.vendor_line(text, codes),
            },
            1 if matches!(under, Under::Vendor | Under::Device) => match entry(text, codes.device) {
                Some(name) => {
                    self.device = Some(name);
                    Under::Device
                }
                None => Under::Vendor,
            },
            1 if matches!(under, Under::Class | Under::Subclass) => {
                match entry(text, codes.class >> 8 & 0xff) {
                    Some(name) => {
                        self.class = Some(name);
                        Under::Subclass
                    }
                    None => Under::Class,
                }
            }
            2 if under == Under::Device => {
                let subsystem = entry(text, codes.subsystem_vendor);
                let name = subsystem.and_then(|rest| entry(&rest, codes.subsystem_device));
                self.subsystem_device = name.or(self.subsystem_device.take());
                under
            }
            2 if under == Under::Subclass => {
                self.class = entry(text, codes.class & 0xff).or(self.class.take());
                under
            }
            _ => under,
        }
    }

    fn vendor_line(&mut self, text: &str, codes: &Codes) -> Under {
        if let Some(name) = entry(text, codes.subsystem_vendor) {
            self.subsystem_vendor = Some(name);
        }
        match entry(text, codes.vendor) {
            Some(name) => {
                self.vendor = Some(name);
                Under::Vendor
            }
            None => Under::Nothing,
        }
    }
}

/// The name of an entry if it has this code: `8086  Intel Corporation`.
fn entry(text: &str, code: u64) -> Option<String> {
    let (number, name) = text.split_once(' ')?;
    (u64::from_str_radix(number, 16).ok()? == code).then(|| name.trim().to_owned())
}
