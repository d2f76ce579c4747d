//! From what discovery found to a target that can be scraped.
//!
//! Source: Prometheus's documentation of `relabel_config` and of the labels `__address__`, `__scheme__`,
//! `__metrics_path__`, `__param_*`, `__scrape_interval__`, `__scrape_timeout__`, and its messages.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use hyper::Uri;

use super::settings::{JobSettings, TargetGroup};
use super::sink::TargetKey;
use crate::model::{Labels, LabelsBuilder, PromDuration, relabel};

/// A target, ready to be scraped.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    pub(super) key: TargetKey,
    /// Labels before relabelling.
    pub(super) discovered: Labels,
    pub(super) url: Uri,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

/// What became of one discovered target.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Populated {
    /// It is to be scraped.
    Target(Box<Target>),
    /// Relabelling dropped it; these are its labels before.
    Dropped(Labels),
    /// It cannot be scraped.
    Failed(String),
}

/// The discovered labels of each target of a group, completed with what the job says.
pub(super) fn discovered(job: &JobSettings, target: &Labels, group: &TargetGroup) -> Labels {
    let mut labels = LabelsBuilder::from(&group.labels);
    for (name, value) in target {
        labels.set(name, value);
    }
    let defaults = [
        ("job", job.name.clone()),
        ("__scrape_interval__", PromDuration::new(job.interval).to_string()),
        ("__scrape_timeout__", PromDuration::new(job.timeout).to_string()),
        ("__metrics_path__", job.metrics_path.clone()),
        ("__scheme__", job.scheme.to_owned()),
    ];
    for (name, value) in defaults {
        if !labels.has(name) {
            labels.set(name, value);
        }
    }
    for (name, values) in &job.params {
        let name = format!("__param_{name}");
        if let Some(first) = values.first()
            && !labels.has(&name)
        {
            labels.set(&name, first.clone());
        }
    }
    labels.build()
}

/// Relabels discovered labels and makes a target of them.
pub(super) fn populate(job: &JobSettings, discovered: Labels) -> Populated {
    let mut labels = LabelsBuilder::from(&discovered);
    if !relabel(&job.relabel, &mut labels) {
        return Populated::Dropped(discovered);
    }
    match target(job, discovered, labels) {
        Ok(target) => Populated::Target(Box::new(target)),
        Err(message) => Populated::Failed(message),
    }
}

fn target(job: &JobSettings, discovered: Labels, mut labels: LabelsBuilder) -> Result<Target, String> {
    let address = labels.get("__address__").to_owned();
    if address.is_empty() {
        return Err("no address".to_owned());
    }
    if address.contains('/') {
        return Err(format!("{address:?} is not a valid hostname"));
    }
    let duration = |name: &str, what: &str| {
        let text = labels.get(name);
        let parsed: PromDuration =
            text.parse().map_err(|error| format!("error parsing scrape {what}: {error}"))?;
        match parsed.get() {
            Duration::ZERO => Err(format!("scrape {what} cannot be 0")),
            duration => Ok(duration),
        }
    };
    let interval = duration("__scrape_interval__", "interval")?;
    let timeout = duration("__scrape_timeout__", "timeout")?;
    if timeout > interval {
        let shown = |d| PromDuration::new(d).to_string();
        return Err(format!(
            "scrape timeout cannot be greater than scrape interval ({:?} > {:?})",
            shown(timeout),
            shown(interval)
        ));
    }
    let url = url_text(job, &labels);
    let uri = url.parse().map_err(|error| format!("invalid URL {url:?}: {error}"))?;
    if !labels.has("instance") {
        labels.set("instance", address);
    }
    labels.retain(|name| !name.starts_with("__"));
    let key = TargetKey::new(job.name.clone(), labels.build(), url);
    Ok(Target { key, discovered, url: uri, interval, timeout })
}

fn url_text(job: &JobSettings, labels: &LabelsBuilder) -> String {
    let mut params: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, values) in &job.params {
        params.insert(name, values.iter().map(String::as_str).collect());
    }
    for (name, value) in labels.iter() {
        if let Some(name) = name.strip_prefix("__param_") {
            let values = params.entry(name).or_default();
            match values.first_mut() {
                Some(first) => *first = value,
                None => values.push(value),
            }
        }
    }
    let path = labels.get("__metrics_path__");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let scheme = match labels.get("__scheme__") {
        "" => "http",
        scheme => scheme,
    };
    let mut url = format!("{scheme}://{}{slash}", labels.get("__address__"));
    // As Go writes a path, which is not quite as it writes a query.
    escape(&mut url, path, b"-_.~$&+,/:;=@", false);
    let mut separator = '?';
    for (name, values) in params {
        for value in values {
            url.push(separator);
            separator = '&';
            escape(&mut url, name, b"-_.~", true);
            url.push('=');
            escape(&mut url, value, b"-_.~", true);
        }
    }
    url
}

fn escape(out: &mut String, text: &str, plain: &[u8], plus: bool) {
    for byte in text.bytes() {
        match byte {
            b' ' if plus => out.push('+'),
            byte if byte.is_ascii_alphanumeric() || plain.contains(&byte) => out.push(char::from(byte)),
            byte => {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Document, Environment, Limits};
    use crate::scrape::ScrapeSettings;

    fn job(text: &str) -> JobSettings {
        let text = format!("scrape_configs:\n- job_name: j\n{text}");
        let document = Document::parse("p.yml", text, &Limits::default()).unwrap();
        let settings = document.read(&Environment::off(), ScrapeSettings::read).unwrap();
        JobSettings::clone(&settings.jobs[0])
    }

    /// Renders what becomes of a target at `a:1` with these labels.
    fn check(config: &str, labels: &[(&str, &str)], expected: &str) {
        let job = job(config);
        let mut all = vec![("__address__", "a:1"), ("__meta_x", "m")];
        all.extend(labels);
        let group =
            TargetGroup { labels: Labels::from_pairs([("env", "e"), ("job", "")]), ..TargetGroup::default() };
        let shown = match populate(&job, discovered(&job, &Labels::from_pairs(all), &group)) {
            Populated::Target(target) => {
                format!("{} {} {:?}/{:?}", target.key.labels(), target.url, target.timeout, target.interval)
            }
            Populated::Dropped(_) => "dropped".to_owned(),
            Populated::Failed(message) => message,
        };
        assert_eq!(shown, expected, "{config}");
    }

    #[test]
    fn a_target_gets_its_labels_and_its_url() {
        check("", &[], r#"{env="e", instance="a:1", job="j"} http://a:1/metrics 10s/60s"#);
        check(
            "",
            &[("job", "own"), ("instance", "i"), ("env", "f")],
            r#"{env="f", instance="i", job="own"} http://a:1/metrics 10s/60s"#,
        );
        check(
            "  scheme: https\n  metrics_path: /p q\n  params: {m: [x y, '&'], a: [b]}\n",
            &[("__param_m", "z"), ("__param_n", "ü")],
            r#"{env="e", instance="a:1", job="j"} https://a:1/p%20q?a=b&m=z&m=%26&n=%C3%BC 10s/60s"#,
        );
        check(
            "",
            &[("__scrape_interval__", "5s"), ("__scrape_timeout__", "1s"), ("__metrics_path__", "p")],
            r#"{env="e", instance="a:1", job="j"} http://a:1/p 1s/5s"#,
        );
        check(
            "  relabel_configs:\n  - {source_labels: [__meta_x], target_label: x}\n  - {source_labels: [__address__], regex: '(.*):.*', target_label: __address__, replacement: 'b:2'}\n",
            &[],
            r#"{env="e", instance="b:2", job="j", x="m"} http://b:2/metrics 10s/60s"#,
        );
    }

    #[test]
    fn what_cannot_be_scraped_is_said() {
        check("  relabel_configs: [{action: labeldrop, regex: __address__}]\n", &[], "no address");
        check("", &[("__address__", "http://x")], "\"http://x\" is not a valid hostname");
        check(
            "",
            &[("__scrape_timeout__", "2m")],
            "scrape timeout cannot be greater than scrape interval (\"2m\" > \"1m\")",
        );
        check("", &[("__scrape_interval__", "0s")], "scrape interval cannot be 0");
        check(
            "",
            &[("__scrape_timeout__", "x")],
            "error parsing scrape timeout: not a valid duration: \"x\"; write for example \"30s\", \"5m\" or \"1h30m\"",
        );
        check("  relabel_configs: [{action: drop, source_labels: [env], regex: e}]\n", &[], "dropped");
    }
}
