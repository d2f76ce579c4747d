//! What a module asks and what it takes for an answer.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Method;
use hyper::header::HeaderName;
use jiff::SignedDuration;
use regex::Regex;

use super::http::url_of;
use super::settings::OWN_LABELS;
use crate::checks::net::{Family, given, host_and_port};
use crate::config::{Secret, Section, Value};
use crate::http_client::{HttpClientSettings, TlsSettings, read_header_lists};
use crate::model::{PromDuration, search_regex, valid_label_name};
use crate::wire::dns;

/// A module.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    pub(super) timeout: Option<Duration>,
    pub(super) prober: Prober,
}

/// How it is asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Prober {
    Http(Box<HttpModule>),
    Tcp(Box<TcpModule>),
    Dns(Box<DnsModule>),
    Icmp(IcmpModule),
    Grpc(Box<GrpcModule>),
}

/// A regular expression that compares by its text.
#[derive(Clone, Debug)]
pub(super) struct Pattern(pub(super) Regex, String);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}

impl Pattern {
    fn read(value: &Value<'_>) -> Option<Self> {
        let text = value.literal()?;
        match search_regex(&text) {
            Ok(regex) => Some(Self(regex, text)),
            Err(error) => {
                value.error(error.to_string());
                None
            }
        }
    }

    fn read_list(section: &mut Section<'_>, key: &str) -> Vec<Self> {
        section.take_list(key).unwrap_or_default().iter().filter_map(Self::read).collect()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct HttpModule {
    pub(super) valid_status_codes: Vec<u16>,
    pub(super) valid_http_versions: Vec<String>,
    pub(super) method: Method,
    pub(super) headers: Vec<(String, String)>,
    /// Most bytes of the body that are taken; `None`: as many as come in time.
    pub(super) body_size_limit: Option<u64>,
    pub(super) compression: Compression,
    pub(super) fail_if_ssl: bool,
    pub(super) fail_if_not_ssl: bool,
    pub(super) fail_if_body_matches: Vec<Pattern>,
    pub(super) fail_if_body_not_matches: Vec<Pattern>,
    pub(super) fail_if_header_matches: Vec<HeaderMatch>,
    pub(super) fail_if_header_not_matches: Vec<HeaderMatch>,
    pub(super) client: HttpClientSettings,
    /// Whether a proxy alone finds the target's address.
    pub(super) proxy_resolves: bool,
    pub(super) family: Family,
    pub(super) body: String,
    /// The file that holds the body instead.
    pub(super) body_file: Option<PathBuf>,
}

/// What a body is taken out of before it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Deflate,
    Brotli,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct HeaderMatch {
    pub(super) header: String,
    pub(super) regexp: Pattern,
    pub(super) allow_missing: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct TcpModule {
    pub(super) family: Family,
    pub(super) source: Option<IpAddr>,
    pub(super) query_response: Vec<QueryResponse>,
    pub(super) tls: bool,
    pub(super) tls_settings: TlsSettings,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct QueryResponse {
    pub(super) expect: Option<Pattern>,
    /// What comes next, to the byte; may be empty.
    pub(super) expect_bytes: String,
    /// Names and values of what is told of a line that fitted; `$1` stands for what was captured.
    pub(super) labels: Vec<(String, String)>,
    pub(super) send: String,
    pub(super) starttls: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct DnsModule {
    pub(super) family: Family,
    pub(super) source: Option<IpAddr>,
    pub(super) over_tcp: bool,
    pub(super) over_tls: bool,
    pub(super) tls_settings: TlsSettings,
    pub(super) query_name: String,
    pub(super) query_type: u16,
    pub(super) query_class: u16,
    pub(super) recursion_desired: bool,
    pub(super) valid_rcodes: Vec<u8>,
    pub(super) answer: Validator,
    pub(super) authority: Validator,
    pub(super) additional: Validator,
}

/// Expectations of the records of a section.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Validator {
    pub(super) fail_if_matches: Vec<Pattern>,
    pub(super) fail_if_all_match: Vec<Pattern>,
    pub(super) fail_if_not_matches: Vec<Pattern>,
    pub(super) fail_if_none_matches: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IcmpModule {
    pub(super) family: Family,
    pub(super) source: Option<IpAddr>,
    pub(super) payload_size: usize,
    pub(super) ttl: Option<u8>,
    /// Of IPv4; nobody on the way takes a packet of version 6 apart.
    pub(super) dont_fragment: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct GrpcModule {
    pub(super) family: Family,
    pub(super) service: String,
    /// Sent along as headers.
    pub(super) metadata: Vec<(HeaderName, Vec<Secret>)>,
    pub(super) tls: bool,
    pub(super) tls_settings: TlsSettings,
}

const STATUS_CODES: RangeInclusive<i64> = 100..=999;

const CLASSES: [(&str, u16); 6] = [("IN", 1), ("CS", 2), ("CH", 3), ("HS", 4), ("NONE", 254), ("ANY", 255)];

/// Those from 16 on only an extended answer has, which nobody asks for.
const RCODES: [(&str, u8); 20] = [
    ("NOERROR", 0),
    ("FORMERR", 1),
    ("SERVFAIL", 2),
    ("NXDOMAIN", 3),
    ("NOTIMP", 4),
    ("REFUSED", 5),
    ("YXDOMAIN", 6),
    ("YXRRSET", 7),
    ("NXRRSET", 8),
    ("NOTAUTH", 9),
    ("NOTZONE", 10),
    ("BADSIG", 16),
    ("BADVERS", 16),
    ("BADKEY", 17),
    ("BADTIME", 18),
    ("BADMODE", 19),
    ("BADNAME", 20),
    ("BADALG", 21),
    ("BADTRUNC", 22),
    ("BADCOOKIE", 23),
];

/// Largest datagram of an echo, less its headers.
const LARGEST_PAYLOAD: i64 = 65_507;

/// What an echo carries unless told otherwise.
const PAYLOAD: usize = 36;

impl Module {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        section.require("prober");
        let probers = ["http", "tcp", "dns", "icmp", "grpc"];
        let choices = probers.map(|name| (name, name));
        let prober = section.take_choice("prober", &choices);
        let timeout = section.take("timeout").and_then(|value| go_duration(&value));
        // Sections of other probers are read as well: they may be wrong.
        let mut found = None;
        for name in probers {
            let given = section.has(name);
            if !given && prober != Some(name) {
                continue;
            }
            let read = match section.take_section(name) {
                Some(mut inner) => read_prober(name, &mut inner),
                None => built_in_prober(name, section),
            };
            if prober == Some(name) {
                found = read;
            }
        }
        Some(Self { timeout, prober: found? })
    }

    /// Whether a target can be asked at all.
    pub(super) fn check_target(&self, target: &str) -> Result<(), String> {
        match &self.prober {
            Prober::Http(_) => {
                let url = url_of(target)?;
                match (url.scheme_str(), url.host()) {
                    (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(()),
                    _ => Err(format!("{target:?} is not a URL of http or https")),
                }
            }
            Prober::Tcp(_) | Prober::Grpc(_) => host_and_port(target, None).map(drop),
            Prober::Dns(module) => {
                host_and_port(target, Some(if module.over_tls { 853 } else { 53 })).map(drop)
            }
            Prober::Icmp(_) if target.is_empty() || target.contains(['/', ' ']) => {
                Err(format!("{target:?} is not a host"))
            }
            Prober::Icmp(_) => Ok(()),
        }
    }
}

/// A duration as Go's `time.ParseDuration` takes it too: `1.5s`. Zero is none.
fn go_duration(value: &Value<'_>) -> Option<Duration> {
    let duration = value.parse_with("a duration such as 5s or 500ms", |text| {
        let ours = text.parse::<PromDuration>().map(PromDuration::get);
        let gos = || Duration::try_from(text.parse::<SignedDuration>().ok()?).ok();
        ours.or_else(|error| gos().ok_or_else(|| error.to_string()))
    });
    duration.filter(|duration| !duration.is_zero())
}

/// A prober whose section is missing: all of it has defaults, but for what must be told.
fn built_in_prober(name: &str, section: &mut Section<'_>) -> Option<Prober> {
    if name == "dns" {
        section.error("dns", "a dns module needs dns.query_name");
        return None;
    }
    // What this reads is not there: each key has its default.
    let document = crate::config::Document::parse("", "", &crate::config::Limits::default()).ok()?;
    document.read(&crate::config::Environment::off(), |empty| read_prober(name, empty)).ok()?
}

fn read_prober(name: &str, section: &mut Section<'_>) -> Option<Prober> {
    match name {
        "http" => Some(Prober::Http(Box::new(HttpModule::read(section)))),
        "tcp" => Some(Prober::Tcp(Box::new(TcpModule::read(section)))),
        "dns" => DnsModule::read(section).map(|module| Prober::Dns(Box::new(module))),
        "icmp" => Some(Prober::Icmp(IcmpModule::read(section))),
        _ => Some(Prober::Grpc(Box::new(GrpcModule::read(section)))),
    }
}

impl HttpModule {
    fn read(section: &mut Section<'_>) -> Self {
        for key in [
            "fail_if_body_json_matches_cel",
            "fail_if_body_json_not_matches_cel",
            "http_version",
            "enable_http3",
        ] {
            section.refuse(key, format!("{key} is not supported"));
        }
        let codes = section.take_list("valid_status_codes").unwrap_or_default();
        let code = |value: &Value<'_>| u16::try_from(value.integer(STATUS_CODES)?).ok();
        let methods = |value: Value<'_>| {
            value.parse_with("a method such as GET", |text| {
                Method::from_bytes(text.as_bytes()).map_err(|_| format!("{text:?} is not a method"))
            })
        };
        let headers = section.take_section("headers").map(|mut headers| read_headers(&mut headers));
        let body_file = section.take_path("body_file");
        if body_file.is_some() && section.has("body") {
            section.error("body_file", "setting body and body_file both are not allowed");
        }
        let mut client = HttpClientSettings::read(section);
        // An older name, which counts where both are given.
        if let Some(stays) = section.take_bool("no_follow_redirects") {
            client.follow_redirects = !stays;
        }
        let limit = section.take_size("body_size_limit").map(crate::model::ByteSize::bytes);
        Self {
            valid_status_codes: codes.iter().filter_map(code).collect(),
            valid_http_versions: section.take_strings("valid_http_versions").unwrap_or_default(),
            method: given(section, "method").and_then(methods).unwrap_or(Method::GET),
            headers: headers.unwrap_or_default(),
            body_size_limit: limit.filter(|bytes| *bytes > 0),
            compression: Compression::read(section),
            fail_if_ssl: section.take_bool("fail_if_ssl").unwrap_or_default(),
            fail_if_not_ssl: section.take_bool("fail_if_not_ssl").unwrap_or_default(),
            fail_if_body_matches: Pattern::read_list(section, "fail_if_body_matches_regexp"),
            fail_if_body_not_matches: Pattern::read_list(section, "fail_if_body_not_matches_regexp"),
            fail_if_header_matches: HeaderMatch::read_list(section, "fail_if_header_matches"),
            fail_if_header_not_matches: HeaderMatch::read_list(section, "fail_if_header_not_matches"),
            client,
            proxy_resolves: section.take_bool("skip_resolve_phase_with_proxy").unwrap_or_default(),
            family: Family::read(section),
            body: section.take_str("body").unwrap_or_default(),
            body_file,
        }
    }
}

impl Compression {
    fn read(section: &mut Section<'_>) -> Self {
        let read = |value: Value<'_>| {
            value.parse_with("a compression", |text| match text.to_lowercase().as_str() {
                "" | "identity" => Ok(Self::None),
                "gzip" => Ok(Self::Gzip),
                "deflate" => Ok(Self::Deflate),
                "br" => Ok(Self::Brotli),
                _ => Err(format!("{text:?} is not supported; known are br, deflate, gzip and identity")),
            })
        };
        section.take("compression").and_then(read).unwrap_or(Self::None)
    }
}

fn read_headers(section: &mut Section<'_>) -> Vec<(String, String)> {
    let read = |field: crate::config::Field<'_>| {
        let value = field.value()?.secret()?.reveal().ok()?;
        let fits = hyper::header::HeaderName::from_bytes(field.key().as_bytes()).is_ok()
            && hyper::header::HeaderValue::from_str(&value).is_ok();
        if !fits {
            field
                .error_at_key(|| format!("{:?} is not a header with a value that one may have", field.key()));
        }
        Some((field.key().to_owned(), value))
    };
    section.take_fields().into_iter().filter_map(read).collect()
}

impl HeaderMatch {
    fn read_list(section: &mut Section<'_>, key: &str) -> Vec<Self> {
        let read = |value: Value<'_>| {
            let mut section = value.section()?;
            section.require("header");
            section.require("regexp");
            let header = section.take_str("header");
            let regexp = section.take("regexp").and_then(|value| Pattern::read(&value));
            let allow_missing = section.take_bool("allow_missing").unwrap_or_default();
            Some(Self { header: header?, regexp: regexp?, allow_missing })
        };
        section.take_list(key).unwrap_or_default().into_iter().filter_map(read).collect()
    }
}

fn read_source(section: &mut Section<'_>) -> Option<IpAddr> {
    given(section, "source_ip_address")?.parse("an IP address")
}

impl TcpModule {
    fn read(section: &mut Section<'_>) -> Self {
        let steps = section.take_list("query_response").unwrap_or_default();
        let query_response: Vec<_> = steps.iter().filter_map(QueryResponse::read).collect();
        // A second family of the same name with other labels, or the same series twice.
        if query_response.iter().filter(|step| !step.labels.is_empty()).count() > 1 {
            section.error("query_response", "only one step may have labels");
        }
        Self {
            family: Family::read(section),
            source: read_source(section),
            query_response,
            tls: section.take_bool("tls").unwrap_or_default(),
            tls_settings: TlsSettings::read(section),
        }
    }
}

impl QueryResponse {
    fn read(value: &Value<'_>) -> Option<Self> {
        let mut section = value.section()?;
        Some(Self {
            expect: section.take("expect").and_then(|value| Pattern::read(&value)),
            expect_bytes: section.take_literal("expect_bytes").unwrap_or_default(),
            labels: read_expect_labels(&mut section),
            send: section.take_literal("send").unwrap_or_default(),
            starttls: section.take_bool("starttls").unwrap_or_default(),
        })
    }
}

fn read_expect_labels(section: &mut Section<'_>) -> Vec<(String, String)> {
    let mut labels: Vec<(String, String)> = Vec::new();
    for item in section.take_list("labels").unwrap_or_default() {
        let Some(mut label) = item.section() else { continue };
        label.require("name");
        let name = label.take_str("name").unwrap_or_default();
        if !valid_label_name(&name) {
            label.error("name", format!("{name:?} is not a name of a label"));
        } else if OWN_LABELS.contains(&&*name) || labels.iter().any(|(other, _)| *other == name) {
            label.error("name", format!("{name:?} is set already"));
        }
        labels.push((name, label.take_literal("value").unwrap_or_default()));
    }
    labels
}

impl DnsModule {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        section.require("query_name");
        let query_name = section.take_str("query_name");
        let types = |value: Value<'_>| {
            value.parse_with("a type of records such as A", |text| {
                let named =
                    dns::RECORD_TYPES.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
                let numbered = || text.strip_prefix("TYPE")?.parse().ok();
                named.or_else(numbered).ok_or_else(|| {
                    format!(
                        "{text:?} is not a type of records that is known here; TYPE123 stands for any number"
                    )
                })
            })
        };
        let over_tls = section.take_bool("dns_over_tls").unwrap_or_default();
        let transports = [("udp", false), ("tcp", true)];
        let over_tcp = given(section, "transport_protocol").and_then(|value| value.choice(&transports));
        if over_tls && over_tcp != Some(true) {
            section.error("dns_over_tls", "DNS over TLS needs transport_protocol: tcp");
        }
        let codes = section.take_list("valid_rcodes").unwrap_or_default();
        let mut valid_rcodes: Vec<u8> = codes.iter().filter_map(|code| code.choice(&RCODES)).collect();
        if codes.is_empty() {
            valid_rcodes.push(0);
        }
        let module = Self {
            family: Family::read(section),
            source: read_source(section),
            over_tcp: over_tcp.unwrap_or_default(),
            over_tls,
            tls_settings: TlsSettings::read(section),
            query_type: given(section, "query_type").and_then(types).unwrap_or(255),
            query_class: given(section, "query_class").and_then(|value| value.choice(&CLASSES)).unwrap_or(1),
            recursion_desired: section.take_bool("recursion_desired").unwrap_or(true),
            valid_rcodes,
            answer: Validator::read(section, "validate_answer_rrs"),
            authority: Validator::read(section, "validate_authority_rrs"),
            additional: Validator::read(section, "validate_additional_rrs"),
            query_name: String::new(),
        };
        Some(Self { query_name: query_name?, ..module })
    }
}

impl Validator {
    fn read(section: &mut Section<'_>, key: &str) -> Self {
        let Some(mut section) = section.take_section(key) else { return Self::default() };
        Self {
            fail_if_matches: Pattern::read_list(&mut section, "fail_if_matches_regexp"),
            fail_if_all_match: Pattern::read_list(&mut section, "fail_if_all_match_regexp"),
            fail_if_not_matches: Pattern::read_list(&mut section, "fail_if_not_matches_regexp"),
            fail_if_none_matches: Pattern::read_list(&mut section, "fail_if_none_matches_regexp"),
        }
    }
}

impl IcmpModule {
    fn read(section: &mut Section<'_>) -> Self {
        let size = section.take_integer("payload_size", 0..=LARGEST_PAYLOAD);
        let ttl = section.take_integer("ttl", 0..=255).and_then(|ttl| u8::try_from(ttl).ok());
        Self {
            family: Family::read(section),
            source: read_source(section),
            payload_size: size.and_then(|size| usize::try_from(size).ok()).unwrap_or(PAYLOAD),
            // 0 stands for the system's.
            ttl: ttl.filter(|ttl| *ttl > 0),
            dont_fragment: section.take_bool("dont_fragment").unwrap_or_default(),
        }
    }
}

impl GrpcModule {
    fn read(section: &mut Section<'_>) -> Self {
        Self {
            family: Family::read(section),
            service: section.take_str("service").unwrap_or_default(),
            metadata: read_header_lists(section, "metadata"),
            tls: section.take_bool("tls").unwrap_or_default(),
            tls_settings: TlsSettings::read(section),
        }
    }
}
