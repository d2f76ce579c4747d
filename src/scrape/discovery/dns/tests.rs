//! Lookups against a small name server: over UDP and TCP, with answers, without, and with wrong ones.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::wire::dns::testing::{self, question_of};

fn answer(query: &[u8], code: u8, records: &[(u16, Vec<u8>)]) -> Vec<u8> {
    testing::answer(query, code, [records, &[], &[]])
}

/// What a datagram asks for, and what comes back: nothing, or some datagrams.
fn datagrams(query: &[u8]) -> Vec<Vec<u8>> {
    let (name, kind) = question_of(query);
    let truncated = |mut reply: Vec<u8>| {
        reply[2] |= 0x02;
        vec![reply]
    };
    match name.as_str() {
        "long.test." => truncated(answer(query, 0, &[(1, vec![10, 0, 0, 1])])),
        "longer.test." => truncated(answer(query, 0, &[])),
        "silent.test." => vec![],
        "bad.test." => vec![answer(query, 2, &[])],
        // Somebody else's answer and one that is cut come first.
        "late.test." => {
            let mut other = answer(query, 0, &[(1, vec![6, 6, 6, 6])]);
            other[0] ^= 1;
            let whole = answer(query, 0, &[(1, vec![10, 0, 0, 9])]);
            vec![other, whole[..whole.len() - 2].to_vec(), vec![], whole]
        }
        _ => vec![known(query, &name, kind)],
    }
}

fn known(query: &[u8], name: &str, kind: u16) -> Vec<u8> {
    let host = |prefix: &[u8]| [prefix, b"\x01h\x04test\0"].concat();
    match (name, kind) {
        ("a.test.", 1) => answer(query, 0, &[(1, vec![10, 0, 0, 2]), (5, host(b"")), (1, vec![10, 0, 0, 1])]),
        ("a.test.", 28) => answer(query, 0, &[(28, [&[0xfd][..], &[0; 14], &[7]].concat())]),
        ("a.test.", 15) => answer(query, 0, &[(15, host(b"\0\x0a"))]),
        ("a.test.", 2) => answer(query, 0, &[(2, host(b""))]),
        ("_m._tcp.b.test.", 33) => answer(query, 0, &[(33, host(b"\0\x01\0\x02\x23\x8c"))]),
        // Over TCP only.
        ("long.test.", 1) => {
            let addresses: Vec<_> = (0..100).map(|n| (1, vec![10, 0, 1, n])).collect();
            answer(query, 0, &addresses)
        }
        _ => answer(query, 3, &[]),
    }
}

/// A server for all of these.
async fn resolver() -> Resolver {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(server).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, peer)) = udp.recv_from(&mut buffer).await {
            for reply in datagrams(&buffer[..length]) {
                udp.send_to(&reply, peer).await.unwrap();
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut query).await.unwrap();
            let (name, kind) = question_of(&query);
            let reply = known(&query, &name, kind);
            let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
            // The other one hangs up in the middle of its answer.
            let sent = if name == "long.test." { reply.len() } else { 7 };
            stream.write_all(&[&length, &reply[..sent]].concat()).await.unwrap();
        }
    });
    Resolver::new(vec![server], vec!["test".into()])
}

async fn provider(names: &[&str], record: DnsRecord, known: Vec<TargetGroup>) -> DnsProvider {
    let settings = DnsSettings {
        names: names.iter().map(|n| (*n).to_owned()).collect(),
        record,
        port: 9100,
        refresh_interval: Duration::from_secs(30),
    };
    let mut provider = DnsProvider::new(&settings, known, ScrapeMetrics::default());
    provider.resolver = Some(resolver().await);
    provider
}

async fn looked(names: &[&str], record: DnsRecord) -> (Option<Vec<String>>, Option<String>) {
    let outcome = provider(names, record, Vec::new()).await.look().await;
    let targets = outcome
        .groups
        .map(|groups| groups.iter().flat_map(|g| &g.targets).map(ToString::to_string).collect());
    (targets, outcome.error)
}

#[tokio::test]
async fn records_of_every_kind_become_targets() {
    for (name, record, wanted) in [
        (
            "a",
            DnsRecord::A,
            &[
                r#"{__address__="10.0.0.1:9100", __meta_dns_name="a"}"#,
                r#"{__address__="10.0.0.2:9100", __meta_dns_name="a"}"#,
            ][..],
        ),
        ("a.test.", DnsRecord::Aaaa, &[r#"{__address__="[fd00::7]:9100", __meta_dns_name="a.test."}"#]),
        (
            "_m._tcp.b",
            DnsRecord::Srv,
            &[
                r#"{__address__="h.test:9100", __meta_dns_name="_m._tcp.b", __meta_dns_srv_record_port="9100", __meta_dns_srv_record_target="h.test."}"#,
            ],
        ),
        (
            "a",
            DnsRecord::Mx,
            &[r#"{__address__="h.test:9100", __meta_dns_mx_record_target="h.test.", __meta_dns_name="a"}"#],
        ),
        (
            "a",
            DnsRecord::Ns,
            &[r#"{__address__="h.test:9100", __meta_dns_name="a", __meta_dns_ns_record_target="h.test."}"#],
        ),
        ("late", DnsRecord::A, &[r#"{__address__="10.0.0.9:9100", __meta_dns_name="late"}"#]),
        ("unknown", DnsRecord::A, &[]),
    ] {
        let wanted = wanted.iter().map(|target| (*target).to_owned()).collect();
        assert_eq!(looked(&[name], record).await, (Some(wanted), None), "{name} {record:?}");
    }
}

#[tokio::test]
async fn a_cut_answer_is_asked_for_again_over_tcp() {
    let (targets, error) = looked(&["long"], DnsRecord::A).await;
    assert_eq!((targets.unwrap().len(), error), (100, None));
    let (targets, error) = looked(&["longer.test."], DnsRecord::A).await;
    assert!(targets.is_none() && error.unwrap().contains("eof"));
}

/// Where nothing else happens, the clock of the test jumps to the end of the wait.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up_after_a_while() {
    let begun = tokio::time::Instant::now();
    let (targets, error) = looked(&["silent.test."], DnsRecord::A).await;
    assert!(targets.is_none() && error.unwrap().contains("no answer in time"));
    assert!((5..60).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn failures_keep_targets_and_are_told_once() {
    let (targets, error) = looked(&["bad.test", "a.test."], DnsRecord::A).await;
    assert_eq!(targets.unwrap().len(), 2);
    assert!(error.unwrap().starts_with("could not resolve \"bad.test\""));
    assert_eq!(looked(&["bad.test."], DnsRecord::A).await.0, None);

    let mut provider = provider(&["a"], DnsRecord::A, Vec::new()).await;
    let before = provider.look().await.groups.unwrap();
    let server = resolver().await;
    provider.settings.names = vec!["a".into(), "bad.test.".into()];
    provider.resolver = Some(server);
    let after = provider.look().await;
    assert_eq!((after.groups, after.error.is_some()), (Some(before), true));

    let provider = super::super::Provider::Dns(provider);
    let states = [Some("no answer in time"), Some("refused"), None].map(|error| provider.state(error));
    assert!(states[0] == states[1] && states[1] != states[2], "{states:?}");
}

#[tokio::test]
async fn a_name_that_fails_at_the_first_look_keeps_what_was_known() {
    let known = ["bad", "old"].map(|name| TargetGroup {
        targets: vec![Labels::from_pairs([("__address__", name)])],
        labels: Labels::empty(),
        source: name.to_owned(),
    });
    let mut provider = provider(&["_m._tcp.b", "bad"], DnsRecord::Srv, known.to_vec()).await;
    let outcome = provider.look().await;
    let sources: Vec<String> = outcome.groups.unwrap().into_iter().map(|group| group.source).collect();
    assert_eq!((sources, outcome.error.is_some()), (vec!["_m._tcp.b".to_owned(), "bad".to_owned()], true));
}
