//! Generic netlink: kernel interfaces that are found by name (nl80211, ethtool).
//!
//! Sources: kernel `include/uapi/linux/genetlink.h`, `Documentation/userspace-api/netlink/intro.rst`.

use std::time::Instant;

use rustix::io::Errno;

use super::netlink::{Attributes, Netlink, NetlinkError, Protocol, push_attribute, u16_at};

/// The family that knows the others.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// Bytes of `struct genlmsghdr`: command, version, reserved.
const HEADER_BYTES: usize = 4;

/// A kernel interface, found at first use.
#[derive(Debug)]
pub(crate) struct GenericNetlink {
    name: &'static str,
    socket: Netlink,
    id: Option<u16>,
    request: Vec<u8>,
}

impl GenericNetlink {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, socket: Netlink::new(Protocol::Generic), id: None, request: Vec::new() }
    }

    /// Asks for a table and hands the attributes of each of its entries to `each`.
    ///
    /// # Errors
    /// [`Errno::NOENT`] where this kernel does not have the interface (its module may not be
    /// loaded); otherwise as [`Netlink::dump`].
    pub(crate) fn dump(
        &mut self,
        command: u8,
        attributes: &[(u16, &[u8])],
        deadline: Instant,
        mut each: impl FnMut(Attributes<'_>),
    ) -> Result<(), NetlinkError> {
        let id = self.find(deadline)?;
        write_request(&mut self.request, command, attributes);
        let result = self.socket.dump(id, &self.request, deadline, |kind, payload| {
            if kind == id {
                each(Attributes::after(payload, HEADER_BYTES));
            }
        });
        if result.is_err() {
            // The module may have been loaded again, under another number.
            self.id = None;
        }
        result
    }

    fn find(&mut self, deadline: Instant) -> Result<u16, NetlinkError> {
        if let Some(id) = self.id {
            return Ok(id);
        }
        let name = [self.name.as_bytes(), b"\0"].concat();
        write_request(&mut self.request, CTRL_CMD_GETFAMILY, &[(CTRL_ATTR_FAMILY_NAME, &name)]);
        let mut id = None;
        self.socket.request(GENL_ID_CTRL, &self.request, deadline, |_, payload| {
            id = Attributes::after(payload, HEADER_BYTES).get(CTRL_ATTR_FAMILY_ID).and_then(|v| u16_at(v, 0));
        })?;
        self.id = id;
        id.ok_or(NetlinkError::System(Errno::NOENT))
    }
}

fn write_request(request: &mut Vec<u8>, command: u8, attributes: &[(u16, &[u8])]) {
    request.clear();
    request.extend_from_slice(&[command, 1, 0, 0]);
    for (kind, value) in attributes {
        push_attribute(request, *kind, value);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_controller_is_there_and_nonsense_is_not() {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut families = 0;
        GenericNetlink::new("nlctrl")
            .dump(CTRL_CMD_GETFAMILY, &[], deadline, |entry| {
                families += usize::from(entry.text(CTRL_ATTR_FAMILY_NAME).is_some());
            })
            .unwrap();
        assert!(families >= 1);
        let refused = GenericNetlink::new("no such family").dump(1, &[], deadline, |_| ()).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::NOENT));
    }
}
