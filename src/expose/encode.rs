//! A snapshot as text: the scrape path.
//!
//! Invariants: every family's HELP and TYPE come once and its samples follow in one group; what the
//! snapshot holds can always be written, and its text is valid whatever bytes are in the labels. One
//! pass, straight from the arenas: a sample costs no allocation and no `fmt`.
//!
//! Where the formats differ, a family is written as Go's client does: in text 0.0.4 info and state set
//! are gauges and a gauge histogram is a histogram; in OpenMetrics a counter that does not end on
//! `_total` is of unknown type, and `_total` and `_info` are no part of the name in HELP and TYPE.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr2_iter, memchr3_iter};

use super::name::NameOf;
use super::number::{push_count, push_float, push_millis, push_open_metrics_float, push_seconds, read_float};
use super::{Escaping, Format};
use crate::model::{Kind, MergedFamily, SamplePlace, SampleView, Snapshot, Suffix};

/// Appends `snapshot` in `format` to `out`.
pub fn encode(snapshot: &Snapshot, format: Format, out: &mut Vec<u8>) {
    encode_noting(snapshot, format, out, |_| ());
}

/// Where a value is in the text.
pub(super) struct WrittenValue {
    /// Whose it is.
    pub(super) place: SamplePlace,
    pub(super) suffix: Suffix,
    pub(super) value: f64,
    /// Its bytes in the whole of `out`.
    pub(super) text: Range<usize>,
}

/// As [`encode`]; tells of each value where it has been written.
pub(super) fn encode_noting(
    snapshot: &Snapshot,
    format: Format,
    out: &mut Vec<u8>,
    note: impl FnMut(WrittenValue),
) {
    let open_metrics = format.syntax.is_open_metrics();
    let mut encoder = Encoder { out, open_metrics, escaping: format.escaping, note };
    for family in snapshot.families() {
        encoder.family(&family);
    }
    if encoder.open_metrics {
        encoder.push("# EOF\n");
    }
}

/// Appends a sample's value: in OpenMetrics a count is whole.
pub(super) fn push_value(out: &mut Vec<u8>, open_metrics: bool, suffix: Suffix, value: f64) {
    match suffix {
        _ if !open_metrics => push_float(out, value),
        Suffix::Bucket | Suffix::Count | Suffix::GaugeCount => push_count(out, value),
        _ => push_open_metrics_float(out, value),
    }
}

/// Whether cutting `_total` or `_info` off would make a second family of one OpenMetrics name.
fn stem_is_taken(family: &MergedFamily<'_>, stem: &str) -> bool {
    // In the order of names those that begin with the stem come just before this one.
    let tails = family.before().map_while(|(name, kind)| Some((name.strip_prefix(stem)?, kind)));
    let is_counter = family.kind() == Kind::Counter;
    tails
        .into_iter()
        .any(|(tail, kind)| tail.is_empty() || (is_counter && tail == "_info" && kind == Kind::Info))
}

/// The name in OpenMetrics's HELP and TYPE of a family whose samples end on a suffix of their type.
fn stem(name: &str, kind: Kind) -> Option<&str> {
    let suffix = match kind {
        Kind::Counter => "_total",
        Kind::Info => "_info",
        _ => return None,
    };
    name.strip_suffix(suffix).filter(|stem| !stem.is_empty())
}

/// A family's names and type, as this format writes them.
struct Header<'a> {
    /// In samples, without [`Suffix`].
    name: Cow<'a, str>,
    /// Bytes of `name` that HELP and TYPE show, and to which `_created` is appended.
    stem_length: usize,
    /// Whether the name must be quoted.
    quoted: bool,
    kind: Kind,
}

impl Header<'_> {
    fn stem(&self) -> &str {
        self.name.get(..self.stem_length).unwrap_or(&self.name)
    }
}

/// Up to this many bytes, a loop finds a byte before `memchr` has begun.
const SHORT_TEXT: usize = 24;

struct Encoder<'o, N> {
    out: &'o mut Vec<u8>,
    open_metrics: bool,
    escaping: Escaping,
    note: N,
}

impl<N: FnMut(WrittenValue)> Encoder<'_, N> {
    fn push(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn family(&mut self, family: &MergedFamily<'_>) {
        let header = self.header(family);
        let created = self.open_metrics && has_created(header.kind);
        let shown = |sample: &SampleView<'_>| created || sample.suffix() != Suffix::Created;
        let mut samples = family.placed_samples().filter(|(_, s)| shown(s)).peekable();
        if samples.peek().is_none() {
            return;
        }
        self.metadata(&header, family);
        // Not a `for` loop: an iterator of iterators is walked faster from within.
        samples.for_each(|(place, sample)| self.sample(&header, place, &sample));
    }

    fn header<'a>(&self, family: &MergedFamily<'a>) -> Header<'a> {
        let is_classic = NameOf::Metric.is_classic(family.name());
        let name = match is_classic {
            true => Cow::Borrowed(family.name()),
            false => NameOf::Metric.escape(family.name(), self.escaping),
        };
        let quoted = !is_classic && !NameOf::Metric.is_classic(&name);
        let kind = family.kind();
        let own_stem = if self.open_metrics { stem(family.name(), kind) } else { None };
        let free = own_stem.is_some_and(|stem| !stem_is_taken(family, stem));
        let short = if free { stem(&name, kind) } else { None };
        let stem_length = short.map_or(name.len(), str::len);
        let kind = match kind {
            Kind::Counter if self.open_metrics && short.is_none() => Kind::Untyped,
            Kind::Info if self.open_metrics && short.is_none() => Kind::Gauge,
            kind => kind,
        };
        Header { name, stem_length, quoted, kind }
    }

    fn metadata(&mut self, header: &Header<'_>, family: &MergedFamily<'_>) {
        // Blanks before the help cannot be told from those between tokens in text 0.0.4.
        let help = family.help();
        let help = if self.open_metrics { help } else { help.trim_start_matches([' ', '\t']) };
        if !help.is_empty() {
            self.metadata_name("# HELP ", header);
            self.push(" ");
            self.help(help);
            self.push("\n");
        }
        self.metadata_name("# TYPE ", header);
        self.push(if self.open_metrics { open_metrics_type(header.kind) } else { text_type(header.kind) });
        if self.open_metrics && has_unit(header.stem(), family.unit()) {
            self.metadata_name("# UNIT ", header);
            self.push(" ");
            self.push(family.unit());
            self.push("\n");
        }
    }

    fn metadata_name(&mut self, keyword: &str, header: &Header<'_>) {
        self.push(keyword);
        if header.quoted {
            self.push("\"");
            self.quotable(header.stem());
            self.push("\"");
        } else {
            self.push(header.stem());
        }
    }

    fn sample(&mut self, header: &Header<'_>, place: SamplePlace, sample: &SampleView<'_>) {
        let suffix = sample.suffix();
        let (name, suffix_text) = match suffix {
            Suffix::Created => (header.stem(), suffix.as_str()),
            // As protobuf names them.
            Suffix::Sum if self.open_metrics && header.kind == Kind::GaugeHistogram => {
                (&*header.name, "_gsum")
            }
            Suffix::Count if self.open_metrics && header.kind == Kind::GaugeHistogram => {
                (&*header.name, "_gcount")
            }
            Suffix::GaugeSum if !self.open_metrics => (&*header.name, "_sum"),
            Suffix::GaugeCount if !self.open_metrics => (&*header.name, "_count"),
            _ => (&*header.name, suffix.as_str()),
        };
        if header.quoted {
            self.push("{\"");
            self.quotable(name);
            self.push(suffix_text);
            self.push("\"");
        } else {
            self.push(name);
            if suffix != Suffix::None {
                self.push(suffix_text);
            }
        }
        self.labels(header, sample);
        self.push(" ");
        let (value, begin) = (sample.value(), self.out.len());
        push_value(self.out, self.open_metrics, suffix, value);
        (self.note)(WrittenValue { place, suffix, value, text: begin..self.out.len() });
        if let Some(timestamp) = sample.timestamp() {
            self.push(" ");
            if self.open_metrics {
                push_seconds(self.out, timestamp.as_millis());
            } else {
                push_millis(self.out, timestamp.as_millis());
            }
        }
        self.push("\n");
    }

    fn labels(&mut self, header: &Header<'_>, sample: &SampleView<'_>) {
        let float_label = match (header.kind, sample.suffix()) {
            (Kind::Histogram | Kind::GaugeHistogram, Suffix::Bucket) => "le",
            (Kind::Summary, Suffix::None) => "quantile",
            _ => "",
        };
        let mut open = header.quoted;
        for (name, value) in sample.labels().iter() {
            self.out.push(if open { b',' } else { b'{' });
            open = true;
            self.label_name(name);
            self.push("=\"");
            let is_bound = !float_label.is_empty() && name == float_label;
            let bound = if is_bound { read_float(value) } else { None };
            match bound {
                Some(bound) if self.open_metrics => push_open_metrics_float(self.out, bound),
                Some(bound) => push_float(self.out, bound),
                None => self.quotable(value),
            }
            self.push("\"");
        }
        if open {
            self.push("}");
        }
    }

    fn label_name(&mut self, name: &str) {
        if NameOf::Label.is_classic(name) {
            self.push(name);
        } else if self.escaping == Escaping::AllowUtf8 {
            self.push("\"");
            self.quotable(name);
            self.push("\"");
        } else {
            let escaped = NameOf::Label.escape(name, self.escaping);
            self.push(&escaped);
        }
    }

    /// Text between quotes: `\`, `"` and line feed escaped.
    fn quotable(&mut self, text: &str) {
        if text.len() <= SHORT_TEXT && !text.bytes().any(|b| matches!(b, b'\\' | b'"' | b'\n')) {
            self.push(text);
            return;
        }
        let special = memchr3_iter(b'\\', b'"', b'\n', text.as_bytes());
        self.escaped(text, special);
    }

    fn help(&mut self, text: &str) {
        if self.open_metrics {
            self.quotable(text);
        } else {
            self.escaped(text, memchr2_iter(b'\\', b'\n', text.as_bytes()));
        }
    }

    fn escaped(&mut self, text: &str, special: impl Iterator<Item = usize>) {
        let mut written = 0;
        for at in special {
            self.push(text.get(written..at).unwrap_or_default());
            self.push(match text.as_bytes().get(at) {
                Some(b'\\') => "\\\\",
                Some(b'"') => "\\\"",
                _ => "\\n",
            });
            written = at + 1;
        }
        self.push(text.get(written..).unwrap_or_default());
    }
}

/// The types whose families may have `_created` samples.
const fn has_created(kind: Kind) -> bool {
    matches!(kind, Kind::Counter | Kind::Histogram | Kind::Summary)
}

/// OpenMetrics allows a UNIT only where the name ends on it.
fn has_unit(name: &str, unit: &str) -> bool {
    NameOf::Metric.is_classic(unit) && name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_'))
}

const fn text_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => " counter\n",
        Kind::Gauge | Kind::Info | Kind::StateSet => " gauge\n",
        Kind::Histogram | Kind::GaugeHistogram => " histogram\n",
        Kind::Summary => " summary\n",
        Kind::Untyped => " untyped\n",
    }
}

const fn open_metrics_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => " counter\n",
        Kind::Gauge => " gauge\n",
        Kind::Histogram => " histogram\n",
        Kind::GaugeHistogram => " gaugehistogram\n",
        Kind::Summary => " summary\n",
        Kind::Info => " info\n",
        Kind::StateSet => " stateset\n",
        Kind::Untyped => " unknown\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expose::Syntax;
    use crate::model::{Batch, Timestamp};

    fn encoded(batch: Batch, format: Format) -> String {
        let snapshot = Snapshot::assemble(Timestamp::default(), vec![("test", batch)]);
        let mut out = Vec::new();
        encode(&snapshot, format, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    fn every_kind() -> Batch {
        let mut b = Batch::new();
        let seconds = b.family("c_seconds_total", "A \"counter\".\nBack\\slash.", Kind::Counter);
        b.set_unit(seconds, "seconds");
        b.sample(seconds, &[("z", "1"), ("a", "\"quoted\"\n\\")], 1e6);
        b.sample_full(seconds, Suffix::Created, &[("z", "1"), ("a", "x")], 1.5, None);
        b.counter("c_without_suffix", "Odd.", &[], 3.0);
        let g = b.family("g", "", Kind::Gauge);
        b.sample_full(g, Suffix::None, &[], 5.0, Some(Timestamp::from_millis(1_500)));
        let h = b.family("h", "", Kind::Histogram);
        for (le, count) in [("0.5", 1.0), ("1", 2e6), ("1e+06", 2e6), ("+Inf", 2e6)] {
            b.sample_full(h, Suffix::Bucket, &[("le", le), ("a", "x")], count, None);
        }
        b.sample_full(h, Suffix::Sum, &[("a", "x")], 10.0, None);
        b.sample_full(h, Suffix::Count, &[("a", "x")], 2e6, None);
        let gh = b.family("gh", "", Kind::GaugeHistogram);
        b.sample_full(gh, Suffix::Bucket, &[("le", "+Inf")], 2.0, None);
        b.sample_full(gh, Suffix::GaugeSum, &[], 2.0, None);
        b.sample_full(gh, Suffix::GaugeCount, &[], 2.0, None);
        let s = b.family("s", "", Kind::Summary);
        b.sample(s, &[("quantile", "1")], 0.25);
        b.sample_full(s, Suffix::Count, &[], 9.0, None);
        let info = b.family("build_info", "Facts.", Kind::Info);
        b.sample(info, &[("version", "1")], 1.0);
        let states = b.family("st", "", Kind::StateSet);
        b.sample(states, &[("st", "on")], 1.0);
        b.untyped("u", "", &[], f64::NAN);
        b
    }

    #[test]
    fn every_kind_as_text() {
        assert_eq!(
            encoded(every_kind(), Format::TEXT),
            r#"# HELP build_info Facts.
# TYPE build_info gauge
build_info{version="1"} 1
# HELP c_seconds_total A "counter".\nBack\\slash.
# TYPE c_seconds_total counter
c_seconds_total{a="\"quoted\"\n\\",z="1"} 1e+06
# HELP c_without_suffix Odd.
# TYPE c_without_suffix counter
c_without_suffix 3
# TYPE g gauge
g 5 1500
# TYPE gh histogram
gh_bucket{le="+Inf"} 2
gh_sum 2
gh_count 2
# TYPE h histogram
h_bucket{a="x",le="0.5"} 1
h_bucket{a="x",le="1"} 2e+06
h_bucket{a="x",le="1e+06"} 2e+06
h_bucket{a="x",le="+Inf"} 2e+06
h_sum{a="x"} 10
h_count{a="x"} 2e+06
# TYPE s summary
s{quantile="1"} 0.25
s_count 9
# TYPE st gauge
st{st="on"} 1
# TYPE u untyped
u NaN
"#
        );
    }

    #[test]
    fn every_kind_as_open_metrics() {
        assert_eq!(
            encoded(every_kind(), Format::OPEN_METRICS),
            r#"# HELP build Facts.
# TYPE build info
build_info{version="1"} 1.0
# HELP c_seconds A \"counter\".\nBack\\slash.
# TYPE c_seconds counter
# UNIT c_seconds seconds
c_seconds_total{a="\"quoted\"\n\\",z="1"} 1e+06
c_seconds_created{a="x",z="1"} 1.5
# HELP c_without_suffix Odd.
# TYPE c_without_suffix unknown
c_without_suffix 3.0
# TYPE g gauge
g 5.0 1.500
# TYPE gh gaugehistogram
gh_bucket{le="+Inf"} 2
gh_gsum 2.0
gh_gcount 2
# TYPE h histogram
h_bucket{a="x",le="0.5"} 1
h_bucket{a="x",le="1.0"} 2000000
h_bucket{a="x",le="1e+06"} 2000000
h_bucket{a="x",le="+Inf"} 2000000
h_sum{a="x"} 10.0
h_count{a="x"} 2000000
# TYPE s summary
s{quantile="1.0"} 0.25
s_count 9
# TYPE st stateset
st{st="on"} 1.0
# TYPE u unknown
u NaN
# EOF
"#
        );
    }

    #[test]
    fn names_beyond_ascii_are_quoted_or_escaped() {
        for (syntax, escaping, expected) in [
            (
                Syntax::Text100,
                Escaping::AllowUtf8,
                "# HELP \"a.b_total\" H.\n# TYPE \"a.b_total\" counter\n\
                 {\"a.b_total\"} 1\n{\"a.b_total\",\"l\\\"ä\"=\"v\",ok=\"w\"} 2\n",
            ),
            (
                Syntax::OpenMetrics100,
                Escaping::AllowUtf8,
                "# HELP \"a.b\" H.\n# TYPE \"a.b\" counter\n\
                 {\"a.b_total\"} 1.0\n{\"a.b_total\",\"l\\\"ä\"=\"v\",ok=\"w\"} 2.0\n# EOF\n",
            ),
            (
                Syntax::Text004,
                Escaping::Underscores,
                "# HELP a_b_total H.\n# TYPE a_b_total counter\na_b_total 1\na_b_total{l__=\"v\",ok=\"w\"} 2\n",
            ),
            (
                Syntax::Text004,
                Escaping::Dots,
                "# HELP a_dot_b__total H.\n# TYPE a_dot_b__total counter\na_dot_b__total 1\n\
                 a_dot_b__total{l____=\"v\",ok=\"w\"} 2\n",
            ),
            (
                Syntax::OpenMetrics100,
                Escaping::Values,
                "# HELP U__a_2e_b_ H.\n# TYPE U__a_2e_b_ counter\nU__a_2e_b__total 1.0\n\
                 U__a_2e_b__total{U__l_22__e4_=\"v\",ok=\"w\"} 2.0\n# EOF\n",
            ),
        ] {
            let mut b = Batch::new();
            b.counter("a.b_total", "H.", &[], 1.0);
            b.counter("a.b_total", "H.", &[("l\"ä", "v"), ("ok", "w")], 2.0);
            assert_eq!(encoded(b, Format { syntax, escaping }), expected);
        }
    }

    #[test]
    fn no_two_open_metrics_families_share_a_name() {
        let mut b = Batch::new();
        b.gauge("a", "", &[], 1.0);
        b.counter("a_total", "", &[], 2.0);
        let info = b.family("b_info", "", Kind::Info);
        b.sample(info, &[], 1.0);
        b.counter("b_total", "", &[], 3.0);
        b.counter("_total", "", &[], 4.0);
        assert_eq!(
            encoded(b, Format::OPEN_METRICS),
            "# TYPE _total unknown\n_total 4.0\n# TYPE a gauge\na 1.0\n# TYPE a_total unknown\na_total 2.0\n\
             # TYPE b info\nb_info 1.0\n# TYPE b_total unknown\nb_total 3.0\n# EOF\n"
        );
    }
}
