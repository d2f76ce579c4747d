//! An NTP server's answer, and whether its clock can be trusted. Sources: RFC 5905 (packet, offset,
//! delay, root distance), RFC 4330 (client); what counts as sane is node_exporter's rule.
//!
//! The one collector that reads the wall clock itself: its subject is the difference between that
//! clock and the server's, to the microsecond, at the moments of sending and receiving.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::collect::{BuildError, CollectError, Collector, Flag, FlagKind, Options, Pass, Spec};
use crate::model::Batch;

const fn flag(name: &'static str, kind: FlagKind, help: &'static str) -> Flag {
    Flag { name, kind, help, hidden: false }
}

pub(super) static SPEC: Spec = Spec {
    name: "ntp",
    on_by_default: false,
    help: "The answer of a local NTP server and whether it is sane.",
    flags: &[
        flag("ntp.server", FlagKind::Text("127.0.0.1"), "NTP server to ask."),
        flag("ntp.server-port", FlagKind::Number(123), "UDP port of the NTP server."),
        flag("ntp.protocol-version", FlagKind::Number(4), "NTP protocol version, 2 to 4."),
        flag(
            "ntp.server-is-local",
            FlagKind::Switch(false),
            "Certify that the server is yours, not a public one.",
        ),
        flag("ntp.ip-ttl", FlagKind::Number(1), "IP time to live of the question."),
        flag(
            "ntp.max-distance",
            FlagKind::Text("3.46608s"),
            "Longest distance to the root clock that is sane.",
        ),
        flag(
            "ntp.local-offset-tolerance",
            FlagKind::Text("1ms"),
            "Largest offset from the local clock that is sane.",
        ),
    ],
    build: |_, options| Ok(Box::new(Ntp::new(options)?)),
};

struct Ntp {
    server: String,
    port: u16,
    version: u8,
    ttl: u8,
    max_distance: f64,
    tolerance: f64,
    /// End of the day, in Unix seconds, at whose end a leap second was announced: the flag is gone
    /// right after, while servers may smear the second for a day.
    leap_midnight: f64,
}

const DAY_SECONDS: f64 = 86_400.0;
const TIMEOUT: Duration = Duration::from_secs(1);
const PACKET_BYTES: usize = 48;

impl Ntp {
    fn new(options: &Options) -> Result<Self, BuildError> {
        let refuse = |what: &str| BuildError { collector: "ntp", what: what.to_owned() };
        let server = options.text("ntp.server").to_owned();
        let loopback = server.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if !options.switch("ntp.server-is-local") && !loopback {
            return Err(refuse("only the address of a local NTP server is valid for --collector.ntp.server"));
        }
        let version = u8::try_from(options.number("ntp.protocol-version")).ok().filter(|v| (2..=4).contains(v));
        let port = u16::try_from(options.number("ntp.server-port")).ok().filter(|port| *port > 0);
        Ok(Self {
            server,
            port: port.ok_or_else(|| refuse("--collector.ntp.server-port: expected 1 to 65535"))?,
            version: version.ok_or_else(|| refuse("--collector.ntp.protocol-version: expected 2 to 4"))?,
            ttl: u8::try_from(options.number("ntp.ip-ttl"))
                .map_err(|_| refuse("--collector.ntp.ip-ttl: expected 0 to 255"))?,
            max_distance: seconds(options, "ntp.max-distance")?,
            tolerance: seconds(options, "ntp.local-offset-tolerance")?,
            leap_midnight: f64::NEG_INFINITY,
        })
    }

    fn ask(&self, pass: &Pass) -> Result<Answer, CollectError> {
        let failed = |what: &str| CollectError::Other(format!("NTP server {}: {what}", self.server));
        let io = |e: std::io::Error| failed(&e.to_string());
        let mut addresses = (self.server.as_str(), self.port).to_socket_addrs().map_err(io)?;
        let address = addresses.next().ok_or_else(|| failed("it has no address"))?;
        let socket = self.socket(address).map_err(io)?;
        let until = pass.deadline.min(Instant::now() + TIMEOUT);
        // The server returns this number as it came; a stranger cannot know it.
        let nonce = unpredictable();
        let mut question = [0_u8; PACKET_BYTES];
        if let Some(first) = question.first_mut() {
            // Leap indicator "not synchronised", version, mode 3 (client).
            *first = 3 << 6 | self.version << 3 | 3;
        }
        if let Some(transmit) = question.last_chunk_mut::<8>() {
            *transmit = nonce.to_be_bytes();
        }
        let sent = Stamp::now();
        socket.send(&question).map_err(io)?;
        let mut packet = [0_u8; 512];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failed("no answer in time"));
            }
            socket.set_read_timeout(Some(left)).map_err(io)?;
            let got = match socket.recv(&mut packet) {
                Ok(got) => got,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(e) => return Err(io(e)),
            };
            let received = Stamp::now();
            let fields = packet.get(..got).and_then(Fields::read).ok_or_else(|| failed("it does not speak NTP"))?;
            // An answer to an earlier question that came late, or a forged one.
            if fields.origin == nonce {
                return fields.answer(sent, received).map_err(failed);
            }
        }
    }

    fn socket(&self, address: SocketAddr) -> std::io::Result<UdpSocket> {
        let any: SocketAddr =
            if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let socket = UdpSocket::bind(any)?;
        // 0 leaves the system's default.
        if self.ttl > 0 && address.is_ipv4() {
            socket.set_ttl(self.ttl.into())?;
        } else if self.ttl > 0 {
            rustix::net::sockopt::set_ipv6_unicast_hops(&socket, Some(self.ttl))?;
        }
        socket.connect(address)?;
        Ok(socket)
    }

    fn is_sane(&mut self, answer: &Answer) -> bool {
        if matches!(answer.leap, 1 | 2) {
            self.leap_midnight = (answer.transmit / DAY_SECONDS).floor() * DAY_SECONDS + DAY_SECONDS;
        }
        let smeared = (answer.transmit - self.leap_midnight).abs() < DAY_SECONDS;
        let tolerance = self.tolerance + if smeared { 1.0 } else { 0.0 };
        answer.is_valid() && answer.root_distance() <= self.max_distance && answer.least_error <= tolerance
    }
}

/// A duration as Go writes it, `3.46608s` or `1m30s`: Prometheus's durations have no fractions.
fn seconds(options: &Options, flag: &'static str) -> Result<f64, BuildError> {
    let text = options.text(flag);
    let refuse = || BuildError {
        collector: "ntp",
        what: format!("--collector.{flag}: expected a duration like \"3.5s\" or \"100us\", not {text:?}"),
    };
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, tail) = rest.split_at_checked(digits).ok_or_else(refuse)?;
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters).ok_or_else(refuse)?;
        let number: f64 = number.parse().map_err(|_| refuse())?;
        total += match unit {
            "h" => number * 3_600.0,
            "m" => number * 60.0,
            "s" => number,
            "ms" => number / 1e3,
            "us" | "µs" => number / 1e6,
            "ns" => number / 1e9,
            _ => return Err(refuse()),
        };
        rest = tail;
    }
    if text.is_empty() { Err(refuse()) } else { Ok(total) }
}

fn unpredictable() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// A time in NTP's format: seconds since 1900 and their fraction, 32 bits each; it wraps in 2036.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(u64);

/// Seconds from 1900 to 1970.
const UNIX_EPOCH: u64 = 2_208_988_800;

impl Stamp {
    fn now() -> Self {
        let now = clock_gettime(ClockId::Realtime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default().wrapping_add(UNIX_EPOCH);
        let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or_default();
        Self((seconds << 32) | ((nanoseconds << 32) / 1_000_000_000))
    }

    /// Signed seconds from `other` to this, right over the wrap of 2036 too.
    #[expect(clippy::cast_possible_wrap, clippy::cast_precision_loss, reason = "RFC 5905, section 6")]
    fn since(self, other: Self) -> f64 {
        self.0.wrapping_sub(other.0) as i64 as f64 / 4_294_967_296.0
    }

    /// Unix seconds; times before 1968 are read as those after 2036 (RFC 4330, section 3).
    #[expect(clippy::cast_precision_loss, reason = "microseconds remain")]
    fn unix_seconds(self) -> f64 {
        let (seconds, fraction) = (self.0 >> 32, self.0 & 0xffff_ffff);
        let era = if seconds < 1 << 31 { 1_u64 << 32 } else { 0 };
        (era + seconds) as f64 - UNIX_EPOCH as f64 + fraction as f64 / 4_294_967_296.0
    }
}

/// A packet as it came.
struct Fields {
    first: u8,
    stratum: u8,
    root_delay: f64,
    root_dispersion: f64,
    reference: Stamp,
    origin: u64,
    receive: Stamp,
    transmit: Stamp,
}

impl Fields {
    fn read(packet: &[u8]) -> Option<Self> {
        let long = |at: usize| Some(u64::from_be_bytes(packet.get(at..at + 8)?.try_into().ok()?));
        let short = |at: usize| {
            let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
            Some(f64::from(u32::from_be_bytes(bytes)) / 65_536.0)
        };
        Some(Self {
            first: *packet.first()?,
            stratum: *packet.get(1)?,
            root_delay: short(4)?,
            root_dispersion: short(8)?,
            reference: Stamp(long(16)?),
            origin: long(24)?,
            receive: Stamp(long(32)?),
            transmit: Stamp(long(40)?),
        })
    }

    fn answer(&self, sent: Stamp, received: Stamp) -> Result<Answer, &'static str> {
        if self.first & 7 != 4 {
            return Err("it answers in another mode than server");
        }
        if self.transmit.0 == 0 {
            return Err("its answer has no transmit time");
        }
        if self.transmit.since(self.receive) < 0.0 {
            return Err("its clock went backwards");
        }
        let (out, back) = (self.receive.since(sent), self.transmit.since(received));
        let busy = self.transmit.since(self.receive);
        Ok(Answer {
            leap: self.first >> 6,
            stratum: self.stratum,
            round_trip: (received.since(sent) - busy).max(0.0),
            offset: f64::midpoint(out, back),
            root_delay: self.root_delay,
            root_dispersion: self.root_dispersion,
            reference: if self.reference.0 == 0 { 0.0 } else { self.reference.unix_seconds() },
            transmit: self.transmit.unix_seconds(),
            // The part of the offset that the time on the way cannot explain.
            least_error: (-out).max(back).max(0.0),
        })
    }
}

/// What the answer says; times in seconds.
#[derive(Clone, Debug)]
struct Answer {
    leap: u8,
    stratum: u8,
    round_trip: f64,
    offset: f64,
    root_delay: f64,
    root_dispersion: f64,
    /// Unix seconds, 0 if the server never was synchronised.
    reference: f64,
    transmit: f64,
    least_error: f64,
}

impl Answer {
    fn root_distance(&self) -> f64 {
        f64::midpoint(self.round_trip, self.root_delay) + self.root_dispersion
    }

    /// Fit to set a clock by: synchronised to something, not long ago, not too vaguely.
    fn is_valid(&self) -> bool {
        const OLDEST_SECONDS: f64 = 131_072.0;
        const MOST_DISPERSION_SECONDS: f64 = 16.0;
        let age = self.transmit - self.reference;
        (1..16).contains(&self.stratum)
            && (0.0..=OLDEST_SECONDS).contains(&age)
            && self.root_delay / 2.0 + self.root_dispersion <= MOST_DISPERSION_SECONDS
            && self.leap != 3
    }
}

impl Collector for Ntp {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let answer = self.ask(pass)?;
        let sane = self.is_sane(&answer);
        for (name, help, value) in [
            ("node_ntp_stratum", "Stratum of the NTP server.", f64::from(answer.stratum)),
            ("node_ntp_leap", "Leap second indicator of the NTP server, 2 bits.", f64::from(answer.leap)),
            ("node_ntp_rtt_seconds", "Time to the NTP server and back.", answer.round_trip),
            ("node_ntp_offset_seconds", "Offset of the local clock from the NTP server's.", answer.offset),
            (
                "node_ntp_reference_timestamp_seconds",
                "When the NTP server last set its clock, in Unix time.",
                answer.reference,
            ),
            ("node_ntp_root_delay_seconds", "Delay from the NTP server to its root clock.", answer.root_delay),
            (
                "node_ntp_root_dispersion_seconds",
                "Dispersion of the NTP server from its root clock.",
                answer.root_dispersion,
            ),
            (
                "node_ntp_sanity",
                "Whether the NTP server's answer is fit to set a clock by.",
                f64::from(u8::from(sane)),
            ),
        ] {
            out.gauge(name, help, &[], value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;

    const SECOND: u64 = 1 << 32;

    fn answer(change: impl Fn(&mut Fields), sent: u64, received: u64) -> Result<Answer, &'static str> {
        let now = (1_700_000_000 + UNIX_EPOCH) * SECOND;
        let mut fields = Fields {
            first: 4 << 3 | 4,
            stratum: 2,
            root_delay: 0.25,
            root_dispersion: 0.5,
            reference: Stamp(now - 60 * SECOND),
            origin: 0,
            receive: Stamp(now),
            transmit: Stamp(now + SECOND / 4),
        };
        change(&mut fields);
        fields.answer(Stamp(now.wrapping_add(sent)), Stamp(now.wrapping_add(received)))
    }

    fn ntp() -> Ntp {
        Ntp::new(&Options::default()).unwrap()
    }

    #[test]
    fn offset_and_distance_are_those_of_the_rfc() {
        // Half a second there, a quarter at the server, a quarter back.
        let got = answer(|_| {}, 0_u64.wrapping_sub(SECOND / 2), SECOND / 2).unwrap();
        assert_eq!((got.round_trip, got.offset, got.least_error), (0.75, 0.125, 0.0));
        assert_eq!((got.reference, got.root_distance()), (1_699_999_940.0, 1.0));
        let ahead = answer(|_| {}, 2 * SECOND, 3 * SECOND).unwrap();
        assert_eq!((ahead.offset, ahead.least_error), (-2.375, 2.0));
    }

    #[test]
    fn sanity() {
        let sane = |change: fn(&mut Fields), sent: u64| {
            ntp().is_sane(&answer(change, sent, SECOND / 2).unwrap())
        };
        assert!(sane(|_| {}, 0));
        for (what, change) in [
            ("stratum 0", (|f| f.stratum = 0) as fn(&mut Fields)),
            ("stratum 16", |f| f.stratum = 16),
            ("not synchronised", |f| f.first |= 3 << 6),
            ("stale", |f| f.reference = Stamp(f.receive.0 - 200_000 * SECOND)),
            ("never set", |f| f.reference = Stamp(0)),
            ("from the future", |f| f.reference = Stamp(f.transmit.0 + SECOND)),
            ("far", |f| f.root_dispersion = 3.3),
        ] {
            assert!(!sane(change, 0), "{what}");
        }
        assert!(!sane(|_| {}, SECOND / 2), "half a second off");
        assert!(sane(|f| f.first |= 1 << 6, SECOND / 2), "while a leap second is smeared");
    }

    #[test]
    fn broken_answers() {
        for change in [
            (|f| f.first = 4 << 3 | 3) as fn(&mut Fields),
            |f| f.transmit = Stamp(0),
            |f| f.transmit = Stamp(f.receive.0 - 1),
        ] {
            assert!(answer(change, 0, SECOND).is_err());
        }
        assert!(Fields::read(&[0; PACKET_BYTES - 1]).is_none());
        assert_eq!(Stamp(0).unix_seconds(), 2_085_978_496.0, "era 1 begins in 2036");
    }

    #[test]
    fn asks_a_server() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port().to_string();
        std::thread::spawn(move || {
            let mut packet = [0_u8; PACKET_BYTES];
            while let Ok((PACKET_BYTES, from)) = server.recv_from(&mut packet) {
                // A stranger's answer comes first and must be passed over.
                server.send_to(&[0x24; PACKET_BYTES], from).unwrap();
                packet.copy_within(40..48, 24);
                packet[..2].copy_from_slice(&[0x24, 1]);
                let now = Stamp::now().0.to_be_bytes();
                for at in [16, 32, 40] {
                    packet[at..at + 8].copy_from_slice(&now);
                }
                server.send_to(&packet, from).unwrap();
            }
        });
        let text = Fixture::new().option("ntp.server-port", &port).samples("ntp");
        assert_eq!(text.lines().count(), 8, "{text}");
        for line in ["node_ntp_stratum 1", "node_ntp_leap 0", "node_ntp_root_delay_seconds 0"] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn public_servers_and_bad_numbers_are_refused() {
        for (name, value) in [
            ("ntp.server", "192.0.2.1"),
            ("ntp.server", "pool.ntp.org"),
            ("ntp.server-port", "0"),
            ("ntp.protocol-version", "5"),
            ("ntp.max-distance", "far"),
            ("ntp.max-distance", ""),
            ("ntp.max-distance", "5"),
            ("ntp.local-offset-tolerance", "1.2.3s"),
        ] {
            let mut options = Options::default();
            options.set(name, value).unwrap();
            assert!(Ntp::new(&options).is_err(), "{name}={value}");
        }
        let mut options = Options::default();
        options.set("ntp.server", "ntp.example.org").unwrap();
        options.set("ntp.server-is-local", "true").unwrap();
        options.set("ntp.max-distance", "1m1.5s10us").unwrap();
        assert_eq!(Ntp::new(&options).unwrap().max_distance, 61.500_01);
    }
}
