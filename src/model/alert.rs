//! An alert on its way to people: what Alertmanager calls one.

use super::{Labels, Timestamp};

/// What a rule found, as it is delivered. Its labels are its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingAlert {
    /// `alertname` is one of them.
    pub labels: Labels,
    /// What people read.
    pub annotations: Labels,
    /// When it began to fire.
    pub starts_at: Timestamp,
    /// When it ended, or - while it fires - until when it holds unless it is sent again.
    pub ends_at: Timestamp,
    /// Where its expression is shown; may be empty.
    pub generator_url: String,
}

impl OutgoingAlert {
    /// Whether it has ended at an instant.
    pub fn is_resolved(&self, at: Timestamp) -> bool {
        self.ends_at <= at
    }

    /// What Alertmanager knows it by: FNV-1a over names and values, each followed by 0xff.
    pub fn fingerprint(&self) -> u64 {
        fingerprint(&self.labels)
    }
}

/// Prometheus's `model.Fingerprint` of labels: 64-bit FNV-1a over the sorted names and values, each followed by 0xff.
pub fn fingerprint(labels: &Labels) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash = OFFSET;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    for (name, value) in labels.iter() {
        name.bytes().for_each(&mut add);
        add(0xff);
        value.bytes().for_each(&mut add);
        add(0xff);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_those_of_prometheus() {
        // Without labels: FNV-1a's offset basis, as an empty label set has it there.
        assert_eq!(fingerprint(&Labels::empty()), 14_695_981_039_346_656_037);
        assert_ne!(
            fingerprint(&Labels::from_pairs([("a", "bc")])),
            fingerprint(&Labels::from_pairs([("ab", "c")]))
        );
    }

    #[test]
    fn an_alert_ends_once() {
        let at = Timestamp::from_millis;
        let alert = OutgoingAlert {
            labels: Labels::from_pairs([("alertname", "A")]),
            annotations: Labels::empty(),
            starts_at: at(1_000),
            ends_at: at(5_000),
            generator_url: String::new(),
        };
        assert!(!alert.is_resolved(at(4_999)) && alert.is_resolved(at(5_000)));
    }
}
