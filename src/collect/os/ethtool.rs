//! The `ioctl(2)` calls that ask a network driver about itself. Source: kernel
//! `include/uapi/linux/ethtool.h`, `sockios.h`.
//!
//! The kernel writes as many names and counters as the driver has at that moment, whatever room was
//! offered. So there is always room for [`MOST_COUNTERS`], far above any driver's, and a driver that
//! announces more than half of that is not asked.

use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Opcode, Updater, ioctl};

const SIOCETHTOOL: Opcode = 0x8946;
const ETHTOOL_GSET: u32 = 0x01;
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSTATS: u32 = 0x1d;
const ETH_SS_STATS: u32 = 1;
/// Bytes of a counter's name.
pub(in crate::collect) const NAME_BYTES: usize = 32;
const MOST_COUNTERS: usize = 32_768;

/// `struct ifreq` with a pointer to the command.
#[repr(C)]
struct RawRequest {
    name: [u8; 16],
    data: *mut c_void,
    rest: [u8; 16],
}

/// `struct ethtool_cmd`.
#[repr(C)]
#[derive(Default)]
struct RawSettings {
    command: u32,
    supported: u32,
    advertising: u32,
    speed: u16,
    duplex: u8,
    port: u8,
    phy_address: u8,
    transceiver: u8,
    autonegotiation: u8,
    rest: [u8; 25],
}

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct RawDriver {
    command: u32,
    driver: [u8; 32],
    version: [u8; 32],
    firmware_version: [u8; 32],
    bus_info: [u8; 32],
    expansion_rom_version: [u8; 32],
    reserved: [u8; 12],
    private_flags: u32,
    counters: u32,
    rest: [u32; 3],
}

const _: () = assert!(size_of::<RawSettings>() == 44);
const _: () = assert!(size_of::<RawDriver>() == 196);
const _: () = assert!(size_of::<RawRequest>() >= 40 || size_of::<usize>() < 8);

/// What a link can do and offers: bits of the first 32 link modes.
#[derive(Clone, Copy, Debug)]
pub(in crate::collect) struct LinkSettings {
    pub(in crate::collect) supported: u32,
    pub(in crate::collect) advertised: u32,
    pub(in crate::collect) autonegotiation: u8,
}

/// What a driver says of itself.
#[derive(Clone, Debug)]
pub(in crate::collect) struct DriverInfo {
    pub(in crate::collect) driver: Vec<u8>,
    pub(in crate::collect) version: Vec<u8>,
    pub(in crate::collect) firmware_version: Vec<u8>,
    pub(in crate::collect) bus_info: Vec<u8>,
    pub(in crate::collect) expansion_rom_version: Vec<u8>,
    /// How many counters it has.
    pub(in crate::collect) counters: u32,
}

/// Buffers for names and counters, reused between devices and passes. Their memory is only touched
/// as far as a driver fills it.
#[derive(Debug, Default)]
pub(in crate::collect) struct Counters {
    /// Header of three words, then names.
    names: Vec<u32>,
    /// Header of one double word, then counters.
    values: Vec<u64>,
}

impl Counters {
    /// Name (up to its first zero byte) and value of each counter read last.
    pub(in crate::collect) fn iter(&self) -> impl Iterator<Item = ([u8; NAME_BYTES], u64)> {
        const NAME_WORDS: usize = NAME_BYTES / 4;
        let known = self.values.first().map_or(0, |header| {
            // struct ethtool_stats begins with two words: command, count.
            let [_, _, _, _, count @ ..] = header.to_ne_bytes();
            u32::from_ne_bytes(count) as usize
        });
        let names = self.names.get(3..).unwrap_or_default().chunks_exact(NAME_WORDS);
        let named = self.names.get(2).map_or(0, |count| *count as usize);
        let values = self.values.get(1..).unwrap_or_default();
        names.zip(values).take(known.min(named)).map(|(words, value)| {
            let mut name = [0; NAME_BYTES];
            for (bytes, word) in name.chunks_exact_mut(4).zip(words) {
                bytes.copy_from_slice(&word.to_ne_bytes());
            }
            (name, *value)
        })
    }

    /// Asks a device that announced `announced` counters.
    ///
    /// # Errors
    /// The system's refusal; `E2BIG` beyond half of [`MOST_COUNTERS`].
    pub(in crate::collect) fn read(
        &mut self,
        socket: impl AsFd,
        device: &str,
        announced: u32,
    ) -> io::Result<()> {
        if announced as usize > MOST_COUNTERS / 2 {
            self.names.clear();
            self.values.clear();
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
        if self.names.is_empty() {
            // Zeroed memory comes untouched from the system; growing a vector would write all of it.
            self.names = vec![0; 3 + MOST_COUNTERS * NAME_BYTES / 4];
            self.values = vec![0; 1 + MOST_COUNTERS];
        }
        if let [command, set, length, ..] = self.names.as_mut_slice() {
            (*command, *set, *length) = (ETHTOOL_GSTRINGS, ETH_SS_STATS, announced);
        }
        if let Some(header) = self.values.first_mut() {
            let ([a, b, c, d], [e, f, g, h]) = (ETHTOOL_GSTATS.to_ne_bytes(), announced.to_ne_bytes());
            *header = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
        }
        // SAFETY: the kernel reads the header and writes a header and one name a counter; there is room
        // for MOST_COUNTERS of them (see the module's page), and any bytes are valid words.
        unsafe { ask(&socket, device, self.names.as_mut_ptr().cast()) }?;
        // SAFETY: as above, with one double word a counter.
        unsafe { ask(&socket, device, self.values.as_mut_ptr().cast()) }
    }
}

/// What the device's link can do.
///
/// # Errors
/// `EOPNOTSUPP` from a driver that does not tell, `ENODEV` where there is no such device.
pub(in crate::collect) fn link_settings(socket: impl AsFd, device: &str) -> io::Result<LinkSettings> {
    let mut raw = RawSettings { command: ETHTOOL_GSET, ..RawSettings::default() };
    // SAFETY: the request writes one `ethtool_cmd`, which `RawSettings` is: integers, any bytes are valid.
    unsafe { ask(&socket, device, (&raw mut raw).cast()) }?;
    let RawSettings { supported, advertising: advertised, autonegotiation, .. } = raw;
    Ok(LinkSettings { supported, advertised, autonegotiation })
}

/// What the device's driver says of itself.
///
/// # Errors
/// As [`link_settings`].
pub(in crate::collect) fn driver_info(socket: impl AsFd, device: &str) -> io::Result<DriverInfo> {
    let mut raw = RawDriver {
        command: ETHTOOL_GDRVINFO,
        driver: [0; 32],
        version: [0; 32],
        firmware_version: [0; 32],
        bus_info: [0; 32],
        expansion_rom_version: [0; 32],
        reserved: [0; 12],
        private_flags: 0,
        counters: 0,
        rest: [0; 3],
    };
    // SAFETY: the request writes one `ethtool_drvinfo`, which `RawDriver` is: integers, any bytes are valid.
    unsafe { ask(&socket, device, (&raw mut raw).cast()) }?;
    let text = |bytes: &[u8]| bytes.split(|b| *b == 0).next().unwrap_or_default().to_vec();
    Ok(DriverInfo {
        driver: text(&raw.driver),
        version: text(&raw.version),
        firmware_version: text(&raw.firmware_version),
        bus_info: text(&raw.bus_info),
        expansion_rom_version: text(&raw.expansion_rom_version),
        counters: raw.counters,
    })
}

/// Sends one command.
///
/// # Safety
/// `command` points to what the command it begins with reads and writes.
unsafe fn ask(socket: &impl AsFd, device: &str, command: *mut c_void) -> io::Result<()> {
    let mut request = RawRequest { name: [0; 16], data: command, rest: [0; 16] };
    // The last byte stays zero.
    let Some(name) = request.name.get_mut(..device.len()).filter(|name| name.len() < 16) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    name.copy_from_slice(device.as_bytes());
    // SAFETY: the call reads one `ifreq` and follows its pointer, for which the caller answers.
    unsafe { ioctl(socket.as_fd(), Updater::<SIOCETHTOOL, _>::new(&mut request)) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers_or_refuses() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut counters = Counters::default();
        assert_eq!(counters.iter().count(), 0);
        for device in ["lo", "none", "a name that is too long", ""] {
            let _ = link_settings(&socket, device);
            let announced = driver_info(&socket, device).map_or(0, |driver| driver.counters);
            if counters.read(&socket, device, announced).is_ok() {
                assert!(counters.iter().count() <= MOST_COUNTERS);
            }
        }
        assert_eq!(
            driver_info(&socket, "a name that is too long").unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        let error = counters.read(&socket, "lo", u32::MAX).unwrap_err();
        assert_eq!((error.raw_os_error(), counters.iter().count()), (Some(libc::E2BIG), 0));
    }
}
