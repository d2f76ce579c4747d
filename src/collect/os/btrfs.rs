//! The `ioctl(2)` calls that ask a btrfs file system for its devices. Source: kernel
//! `include/uapi/linux/btrfs.h`; the structs below are those of that header, whose sizes are part of the
//! request's number.

use std::fs::File;
use std::io;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

const MAGIC: u8 = 0x94;

/// `struct btrfs_ioctl_fs_info_args`.
#[repr(C)]
struct RawFsInfo {
    max_id: u64,
    num_devices: u64,
    fsid: [u8; 16],
    rest: [u8; 992],
}

/// `struct btrfs_ioctl_dev_info_args`.
#[repr(C)]
struct RawDevInfo {
    devid: u64,
    uuid: [u8; 16],
    bytes_used: u64,
    total_bytes: u64,
    rest: [u64; 379],
    path: [u8; 1024],
}

/// `struct btrfs_ioctl_get_dev_stats`.
#[repr(C)]
struct RawDevStats {
    devid: u64,
    nr_items: u64,
    flags: u64,
    values: [u64; 5],
    rest: [u64; 121],
}

const FS_INFO: Opcode = opcode::read::<RawFsInfo>(MAGIC, 31);
const DEV_INFO: Opcode = opcode::read_write::<RawDevInfo>(MAGIC, 30);
const GET_DEV_STATS: Opcode = opcode::read_write::<RawDevStats>(MAGIC, 52);

const _: () = assert!(size_of::<RawFsInfo>() == 1024);
const _: () = assert!(size_of::<RawDevInfo>() == 4096);
const _: () = assert!(size_of::<RawDevStats>() == 1032);

/// A file system.
#[derive(Debug)]
pub(in crate::collect) struct FsInfo {
    /// Highest id of a device.
    pub(in crate::collect) max_id: u64,
    /// Its UUID.
    pub(in crate::collect) fsid: [u8; 16],
}

/// A device of a file system.
#[derive(Debug)]
pub(in crate::collect) struct DevInfo {
    /// Its UUID within btrfs.
    pub(in crate::collect) uuid: [u8; 16],
    /// Bytes allocated.
    pub(in crate::collect) bytes_used: u64,
    /// Size in bytes.
    pub(in crate::collect) total_bytes: u64,
    /// Its path.
    pub(in crate::collect) path: Vec<u8>,
}

/// Error counters of a device: write, read, flush, corruption, generation.
pub(in crate::collect) type DevStats = [u64; 5];

/// The file system that `directory` is in.
///
/// # Errors
/// It is no btrfs (`ENOTTY`), or the system refuses.
pub(in crate::collect) fn fs_info(directory: &File) -> io::Result<FsInfo> {
    let mut raw = RawFsInfo { max_id: 0, num_devices: 0, fsid: [0; 16], rest: [0; 992] };
    // SAFETY: the request writes one `btrfs_ioctl_fs_info_args`, which `RawFsInfo` is: all integers, so any
    // bytes are valid, and of the size that the request's number carries.
    unsafe { ioctl(directory, Updater::<FS_INFO, _>::new(&mut raw)) }?;
    Ok(FsInfo { max_id: raw.max_id, fsid: raw.fsid })
}

/// The device of this id.
///
/// # Errors
/// There is none (`ENODEV`), or the system refuses.
pub(in crate::collect) fn dev_info(directory: &File, id: u64) -> io::Result<DevInfo> {
    let mut raw = RawDevInfo {
        devid: id,
        uuid: [0; 16],
        bytes_used: 0,
        total_bytes: 0,
        rest: [0; 379],
        path: [0; 1024],
    };
    // SAFETY: as in `fs_info`, with `btrfs_ioctl_dev_info_args`; a zero UUID means "by id".
    unsafe { ioctl(directory, Updater::<DEV_INFO, _>::new(&mut raw)) }?;
    let path = raw.path.split(|b| *b == 0).next().unwrap_or_default().to_vec();
    Ok(DevInfo { uuid: raw.uuid, bytes_used: raw.bytes_used, total_bytes: raw.total_bytes, path })
}

/// The error counters of the device of this id; they are not reset.
///
/// # Errors
/// There is no such device, or the system refuses.
pub(in crate::collect) fn dev_stats(directory: &File, id: u64) -> io::Result<DevStats> {
    let mut raw = RawDevStats { devid: id, nr_items: 5, flags: 0, values: [0; 5], rest: [0; 121] };
    // SAFETY: as in `fs_info`, with `btrfs_ioctl_get_dev_stats`; the kernel writes at most `nr_items` values.
    unsafe { ioctl(directory, Updater::<GET_DEV_STATS, _>::new(&mut raw)) }?;
    Ok(raw.values)
}
