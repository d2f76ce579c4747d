//! The reference pages of flags and of the configuration file, made from the tables.

use std::fmt::Write as _;

use crate::collect::{Flag, FlagKind, Spec, specs};

use super::table::{Access, Effect, Row, rows};
use super::{DEFAULT_FILE, Settings, option_key};

const GENERATED: &str = "<!-- Generated from the source; `OUTRIGGER_UPDATE_REFERENCE=1 cargo test --test reference` writes it anew. -->";

/// `docs/reference/flags.md`.
pub fn flags_page() -> String {
    let mut page = format!("# Command-line flags\n\n{GENERATED}\n\n{FLAGS_INTRODUCTION}\n");
    let defaults = Settings::default();
    page.push_str("## General\n\n| flag | default | meaning |\n|---|---|---|\n");
    page.push_str("| `--config.file=FILE` | the built-in configuration | Configuration file. |\n");
    page.push_str("| `--version` | | Print version, revision and build, and exit. |\n");
    page.push_str("| `-h`, `--help` | | Print a summary, or all flags. `--help-long` is `--help`. |\n");
    for row in rows().iter().filter(|row| !row.flag.is_empty()) {
        let help = if row.hidden { format!("{} Not in `--help`.", row.help) } else { row.help.to_owned() };
        table_row(&mut page, &row_flag(row), &row.value(&defaults), &help);
    }
    page.push_str("\n## Collectors\n\n| flag | default | what it exposes |\n|---|---|---|\n");
    for spec in specs() {
        let default = if spec.on_by_default { "enabled" } else { "disabled" };
        table_row(&mut page, &format!("--[no-]collector.{}", spec.name), default, spec.help);
    }
    page.push_str("\n## Options of collectors\n\n| flag | default | meaning |\n|---|---|---|\n");
    for (_, flag) in options() {
        table_row(&mut page, &option_flag(flag), &default_of(flag.kind), &option_help(flag));
    }
    page
}

/// `docs/reference/configuration.md`.
pub fn configuration_page() -> String {
    let mut page = format!("# The configuration file\n\n{GENERATED}\n\n{FILE_INTRODUCTION}\n");
    let defaults = Settings::default();
    let mut section = "";
    for row in rows().iter().filter(|row| !row.key.is_empty()) {
        let name = row.key.split_once('.').map_or("", |(name, _)| name);
        if name != section {
            section = name;
            write_to(
                &mut page,
                format_args!(
                    "\n## `{name}`\n\n| key | default | takes effect | meaning |\n|---|---|---|---|\n"
                ),
            );
        }
        let effect = match row.effect {
            Effect::Reload => "on reload",
            Effect::Restart => "on restart",
            Effect::Call => "on each call",
        };
        let default = code(&row.value(&defaults));
        write_to(&mut page, format_args!("| `{}` | {default} | {effect} | {} |\n", row.key, cell(row.help)));
    }
    page.push_str(COLLECTORS_INTRODUCTION);
    page.push_str("| key | default | meaning |\n|---|---|---|\n");
    for spec in specs() {
        let key = format!("collect.collectors.{}", spec.name);
        table_row(&mut page, &key, if spec.on_by_default { "true" } else { "false" }, spec.help);
        for flag in spec.flags.iter().filter(|flag| !flag.hidden) {
            let key = format!("{key}.{}", option_key(spec, flag.name));
            table_row(&mut page, &key, &default_of(flag.kind), &option_help(flag));
        }
    }
    page.push_str(SCRAPING);
    page.push_str(REMOTE_WRITE);
    page.push_str(RULES);
    page.push_str(SLOS);
    page.push_str(SCORECARD);
    page.push_str(CHECKS);
    page.push_str(ALERTING);
    write_to(&mut page, format_args!("\n## The built-in configuration\n\n```yaml\n{DEFAULT_FILE}```\n"));
    page
}

const FLAGS_INTRODUCTION: &str = "\
`outrigger` alone means `outrigger run`; both take these flags. A flag wins over the configuration
file. `--flag value` and `--flag=value` are the same, the last one given counts, and a switch has a
`--no-` form, so that a node_exporter command line works as it is. The flags of its collectors that
are not there (`drm`, `perf`, `runit`, `supervisord`) are understood and do nothing; the log says so.
";

const FILE_INTRODUCTION: &str = "\
YAML, given with `--config.file`. `outrigger check config FILE` shows every mistake in a file, each
with its place; `outrigger check config --print-default` prints the built-in configuration below.

- Unknown and duplicate keys are errors.
- `${NAME}` in a value is replaced by the environment variable, `${NAME:-default}` by the default when
  that is missing or empty; `$$` is a `$`. A missing variable without a default is an error.
- A secret can come from a file instead: `password_file` for `password`. It is read at each use.
- Durations are Prometheus's (`500ms`, `30s`, `1h30m`), and so are sizes (`512KB`, `10MB`: powers of 1024).
- Relative paths start at the folder of the file.
- A file may have 1 MiB, 64 levels and 25,000 values, aliases counted as what they stand for; a list 1,000 items.

SIGHUP, or `POST /-/reload` with `--web.enable-lifecycle`, reads the file again. A file with a mistake
changes nothing: what ran goes on, the mistakes are logged, and
`outrigger_config_last_reload_successful` is 0. A change to a key that takes effect on restart is
logged and has to wait for one.
";

const COLLECTORS_INTRODUCTION: &str = "
## Collectors

`collect.collectors.NAME` is `true`, `false`, or keys: `enabled`, and the collector's options under their
flags' names without the collector's prefix. Options alone do not enable a collector. A repeatable
option is a list. All of it takes effect on reload, with what has changed in the files that options name.

```yaml
collect:
  collectors:
    loadavg: false
    textfile: { directory: [/var/lib/outrigger] }
```

";

const SCRAPING: &str = "
## Scraping

`global` and `scrape_configs` are Prometheus 3's, with its keys, defaults and checks; all of it takes effect on
reload. In relabelling rules `${1}` is a group of the expression, not the environment's. What is refused, with
its place: native histograms, `query_log_file`, `scrape_failure_log_file`, and service discovery other
than `static_configs`, `file_sd_configs`, `http_sd_configs`, `dns_sd_configs`, `docker_sd_configs`.

`docker_label_sd_configs` is our own: keys as of `docker_sd_configs`, `host` by default `unix:///var/run/docker.sock`.
It finds the containers of this host that carry `prometheus.io/scrape: \"true\"` or `outrigger.port`; the labels
`prometheus.io/port`, `/path`, `/scheme` (or `outrigger.path`, `outrigger.scheme`) say the rest.

Of TLS, here and wherever else there is a `tls_config`, 1.3 is spoken, and 1.2 with suites that have forward secrecy; 1.1 and
before, and keys exchanged by RSA, are not, so that a server that has nothing else cannot be asked. With
`insecure_skip_verify: true` any certificate will do: of X.509 version 1, with a key of RSA below 2048 bits, or of P-521.

```yaml
scrape_configs:
  - job_name: containers
    docker_label_sd_configs: [{}]
```
";

const REMOTE_WRITE: &str = "
## Remote write

`remote_write` is Prometheus 3's, with its keys, defaults and checks; all of it takes effect on reload, where a receiver
that changed goes on from where it was, as long as its `name` (without one: its `url`) stays. Differences:

- What waits lies in the history, in the order in which it was taken; its bounds are `storage.remote_write_queue_size` and
  `storage.retention`. `capacity` bounds what a shard takes at once.
- Shards are requests in flight: more while a queue is behind, `min_shards` otherwise.
- `send_exemplars` and `send_native_histograms` are read, and the log says that there are none to send.
- Refused, with its place: `sigv4`, `azuread`, `google_iam`, `round_robin_dns: true`.

```yaml
remote_write:
  - url: http://prometheus:9090/api/v1/write
    write_relabel_configs:
      - { source_labels: [__name__], regex: 'go_.*', action: drop }
  - url: https://mimir.example/api/v1/push
    headers: { X-Scope-OrgID: team }
    protobuf_message: io.prometheus.write.v2.Request
    basic_auth: { username: outrigger, password_file: /run/secrets/mimir }
```

Samples of others are taken at `/api/v1/write` with `--web.enable-remote-write-receiver`, by Remote-Write 1.0 and 2.0, with
Prometheus's status codes. Samples that are out of order, duplicate or out of bounds are refused one by one and answered
with status 400; the others of their request are kept. Exemplars and native histograms are left out and counted.
";

const ALERTING: &str = "
## Alerting

`alerting.alertmanagers` and `alerting.alert_relabel_configs` are Prometheus 3's (API v2; static, file, HTTP, DNS and Docker
discovery). Every Alertmanager has a queue of its own, of at most 10000 alerts, in which the newest state of an alert
takes the place of an older one; what fails is tried again after 1 to 30 seconds. `sigv4`, `azuread` and
`google_iam` are refused with their place. Our own:

- `webhooks`: receivers that get Alertmanager's webhook payload, version 4. `name`, `url` or `url_file`, `send_resolved`
  (true), `max_alerts` (0: all), `timeout` (until the next notification), `http_config` as in Alertmanager's
  `webhook_config`; `group_by` ([alertname]; `['...']`: each alert alone), `group_wait` (30s), `group_interval` (5m),
  `repeat_interval` (4h) as in its routes. A notification stays in the store until the receiver has answered with 2xx, or
  has refused it with 4xx but 408 and 429; at most 1000 of a receiver wait.
- `console` (true): a line in the log when an alert begins to fire and when it is resolved.
- `resolve_on_shutdown` (false): resolve firing alerts when the program ends. They come back after a restart.

All of it takes effect on reload; receivers that stay the same go on with what they know.

When the program ends, groups of webhooks tell at once what they would have waited with, and receivers have 3 seconds to
take what waits. What a webhook has not taken by then it is told at the next start. Errors do not show a webhook's URL.

```yaml
alerting:
  alertmanagers:
    - static_configs: [{ targets: ['localhost:9093'] }]
  webhooks:
    - url: http://localhost:8080/alerts
      group_by: [alertname, instance]
```
";

const RULES: &str = "
## Rules

`rule_files` is a list of paths and patterns (`*` in the last part only), relative ones from the folder of this file. A
path without a pattern must be there. `global.evaluation_interval` and `global.rule_query_offset` hold for groups that
say nothing else. All of it takes effect on reload, together with the rest or not at all; groups and rules that stay
keep their state. `$` in a rule file is a template's, never the environment's.

The rules of the folder `rules/` are in the program and are loaded under names such as `builtin/host.rules.yml`. Where the
metrics of a rule do not exist it is silent. `builtin_rules` says which are wanted, on reload:

- `enabled` (true): whether there are any.
- `exclude` ([]): files (`gpu`) and rules (`HostSwapHigh`) to leave out.

A file of `rule_files` that has the name of a built-in one (`host.rules.yml`) stands in its place. Of what built-in rules
read only ranges of more than a day count for `storage.retention_selected`. In the metrics of groups (`prometheus_rule_*`)
they are one, `rule_group=\"builtin\"`: sums, the shortest interval, the longest duration, the oldest last evaluation.
`/api/v1/rules` tells them apart.

The files are Prometheus 3's: groups with `name`, `interval`, `query_offset`, `limit`, `labels`, `rules`; rules with
`record` or `alert`, `expr`, `for`, `keep_firing_for`, `labels`, `annotations`. Our own are:

- `resolve_when`, of alert rules: an expression. An alert that fires goes on without its condition until this gives the
  same series (its name aside), or one without labels. `expr: temperature > 80`, `resolve_when: temperature < 70`.

An alert rule has a short form without PromQL: `metric` (a name, `*` for any text), `above`, `below` or both, `severity`
(a label) and `cooldown` (`keep_firing_for`) beside `for`, `labels` and `annotations`. With a `*` each metric is an alert of
its own, its name the label `metric`. It stands for an ordinary rule, which `/api/v1/rules` shows.

A rule gives at most 10000 alerts, also without a `limit`. Resolved alerts are kept for 15 minutes; firing ones are
handed out again every minute (`rules.alert.resend_delay`).

With `storage.path` alerts outlive the program, whatever their `for`: `activeAt`, when they fired, what was sent. After an
outage of up to an hour (`rules.alert.for_outage_tolerance`) a pending alert goes on with its true age, the outage
included; after a longer one it begins anew. Prometheus has such alerts wait for ten minutes after a start, and forgets the age
of those whose `for` is shorter. Here none waits unless `rules.alert.for_grace_period` says so: what is pending fires only once an
evaluation after the start has seen its condition, and an alert that was due during the outage is late enough. A firing alert goes on after any outage; that its condition is missing counts from the second evaluation on, and not
before a scrape interval (five minutes at most) has passed.
";

const SLOS: &str = "
## SLOs

`slo_files` is a list of paths and patterns as `rule_files` is, of SLO files of Sloth, OpenSLO and Pyrra; see
[docs/slo.md](../slo.md). Their rules run as if they stood in rule files, and their budgets are kept. An id may be used
once in all files; 2000 SLOs are the most. All of it takes effect on reload, together with the rest or not at all.

```yaml
slo_files: [slo/*.yml]
```
";

const SCORECARD: &str = "
## Scorecard

`scorecard` says what a service is measured by: pillars (`reliability`, `performance`, `quality`, `security`, `cost`, or
others), each a formula over named values with a target. `enabled: false` switches it off; without `pillars` there is a
built-in one, made of the rules that ship and of all error budgets, unless there are neither rules nor SLOs. Keys of a pillar:

- `target`, and `worst` (0): the score is 1 at the target or better, 0 at `worst` or beyond, and in proportion between. Where
  `worst` is above `target`, less is better. `near` (half way): from here on to the target the pillar is `near`, else `missed`.
- `values`: names, each with one of `query` (PromQL that gives a number or one series), `slo` (an id of `slo_files`; `*` for
  any text; of several budgets the one with the least left counts) and `rules` (names of alert rules, `*` for any text).
  `default`: what stands for a value that is not there.
- `formula`: arithmetic over them: `+ - * / % ^`, comparisons, `&& || !`, `abs ceil clamp exp floor if ln max min round
  sqrt`. A query has its name; an SLO gives `NAME.remaining`, `.consumed`, `.sli`, `.objective`, `.events_left`,
  `.burn_rate` (of the last hour); rules give `NAME.health` (1, less 0.5, 0.25, 0.1, 0.02 for each rule of severity critical,
  high, medium, low that fires), `.firing`, `.measured`. Rules that find no series count for nothing. Where there is one
  query alone the formula may be left out.
- `unit` (none), `weight` (1).

A pillar of which a value is missing is `unknown` and does not count. The overall score is the mean of the others by weight;
A begins at 0.9, B at 0.8, C at 0.7, D at 0.6. At most 20 pillars of 20 values, formulas of 1000 bytes. It is computed every
30 seconds and when it is asked for: `outrigger scorecard`, `/api/v1/scorecard`, `outrigger_scorecard_*`. A pillar of a
scorecard of this file that is `missed` or cannot be computed makes `outrigger health` degraded; one of the built-in does not.

```yaml
scorecard:
  pillars:
    reliability:
      target: 50
      unit: '%'
      weight: 2
      values: {orders: {slo: shop-orders}}
      formula: 100 * orders.remaining
    performance:
      target: 0.2
      worst: 1
      values:
        p95: {query: 'histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))'}
    security:
      target: 1
      values: {checks: {rules: ['Certificate*']}}
      formula: checks.health
```
";

const CHECKS: &str = "
## Checks

`checks` says what is looked at on a clock of its own; scrapes, history and rules get what was found last. All of it takes
effect on reload; a check that stays the same goes on undisturbed, one that changes keeps what it knows until it has looked
anew. Nobody outside can start a check. At most 1000 of a kind; at once run 512 probes, of which one that does not begin
within its timeout has failed, and 32 endpoints are asked for certificates. A name may be used once.
Which TLS is spoken is said under [Scraping](#scraping).

`checks.backups`, for each job:

- `name`: the label `backup`.
- `path`: its files; `*`, `?` and `[...]` may stand in any part, `**` and braces may not. Regular files count, each once, however
  many links lead to it. Where one cannot be looked at, all count as unreadable; `lost+found` is left out.
- `exclude` ([]): patterns of names that do not, such as `*.tmp`.
- `period`: a finished backup is due once in this time.
- `settle` (1m): a file changed less than this ago is still being written, and does not count yet. One dated more than this,
  or a minute, in the future never counts: it is named in the log, and `outrigger_backup_readable` is 0.
- `restore_test`: `period`, in which a restore is due, and `path`, a file that is touched when one went well.
- `interval` (1m), `timeout` (30s).

Of the size of a backup its length counts, holes included. It is compared with the files before it; where there is only one, as
where a job overwrites its file, with those that were seen since the start.

`checks.certificates`, for each source:

- `name`: the label `source_name`.
- `files`, `kubeconfigs` ([]): PEM files and kubeconfigs, patterns as above. A pattern that nothing fits, or that cannot be
  searched, is an error of its own, with the pattern as `filepath`. In PEM only certificates are read, whatever stands beside
  them; one that cannot be read hides no other.
- `endpoints` ([]): `HOST[:PORT]` (443), or `address` and `tls_config`; its `server_name` becomes a label, so that an address may
  stand here once for each. The chain is shown whether it is trusted or not, whatever its keys; with an error beside it where
  the server of TLS 1.2 then refuses, as for want of a certificate of ours. To be trusted, it must have no key of P-521, nor of
  RSA below 2048 bits. STARTTLS is not spoken: a server that greets in plain text is one for a probe of `tcp` with `starttls`.
- `interval` (5m), `timeout` (10s): of the files together, and of each endpoint.

`checks.probes`, for each group of targets:

- `name`: the label `probe`.
- `module` (http_2xx): a module by name.
- `targets`: whom to ask, as blackbox_exporter's parameter `target`.
- `labels` ({}): further labels.
- `interval` (1m); `timeout` (the module's, else 10s; no longer than the interval).

In history a probe's samples have their target as `instance`, as if blackbox_exporter had been scraped for it.

`checks.modules` are modules in blackbox_exporter's format, and `checks.modules_file` names a file of it. Without any there
are `http_2xx`, `http_post_2xx`, `tcp_connect`, `tls_connect`, `icmp`, `grpc` and `grpc_tls`. Options are those of
blackbox_exporter 0.27. Refused, with their place, are expressions of CEL and HTTP/3. Of a body that is looked at the first
4 MiB count, of all that are looked at in the same moment 32 MiB: one for which there is no room fails, with the reason in the
log. Without `body_size_limit` a body of more than 256 MiB fails. ICMP needs CAP_NET_RAW, or a group within `net.ipv4.ping_group_range`.
Differences:

- Where a redirect leads to another host, credentials and `headers` do not go along, but for `User-Agent` and `Accept*`; nor
  from https to http.
- `expect_bytes` of a conversation over TCP is compared with as many bytes as come next. Where a module has it,
  `probe_failed_due_to_bytes` says whether they were others.
- `labels` of a conversation may stand in one of its steps, and not be named `probe`, `target` or `module`.

```yaml
checks:
  backups:
    - { name: db, path: /var/backups/db/*.dump, period: 1d }
  certificates:
    - { name: tls, files: [/etc/ssl/private/*.pem], endpoints: ['example.org:443'] }
  modules_file: blackbox.yml
  probes:
    - { name: web, module: http_2xx, targets: ['https://example.org/'], interval: 30s }
```
";

fn options() -> impl Iterator<Item = (&'static Spec, &'static Flag)> {
    specs().iter().flat_map(|spec| spec.flags.iter().map(move |flag| (*spec, flag)))
}

fn row_flag(row: &Row) -> String {
    match row.access {
        Access::Switch(..) => format!("--[no-]{}", row.flag),
        _ => format!("--{}={}", row.flag, row.value_name),
    }
}

fn option_flag(flag: &Flag) -> String {
    match value_name(flag.kind) {
        "" => format!("--[no-]collector.{}", flag.name),
        value => format!("--collector.{}={value}", flag.name),
    }
}

/// What stands for the value of a collector's option.
pub fn value_name(kind: FlagKind) -> &'static str {
    match kind {
        FlagKind::Switch(_) => "",
        FlagKind::Text(_) => "TEXT",
        FlagKind::Path => "PATH",
        FlagKind::List => "TEXT ...",
        FlagKind::Duration(_) => "DURATION",
        FlagKind::Number(_) => "NUMBER",
        FlagKind::Regex(_) => "REGEX",
    }
}

fn default_of(kind: FlagKind) -> String {
    match kind {
        FlagKind::Switch(on) => on.to_string(),
        FlagKind::Number(number) => number.to_string(),
        FlagKind::List | FlagKind::Path => String::new(),
        FlagKind::Text(text) | FlagKind::Duration(text) | FlagKind::Regex(text) => text.to_owned(),
    }
}

fn option_help(flag: &Flag) -> String {
    if flag.hidden && !flag.help.starts_with("Deprecated") {
        format!("Deprecated. {}", flag.help)
    } else {
        flag.help.to_owned()
    }
}

fn table_row(page: &mut String, name: &str, default: &str, help: &str) {
    write_to(page, format_args!("| `{name}` | {} | {} |\n", code(default), cell(help)));
}

/// A value in a cell of a table.
fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", cell(text)) }
}

/// A bar would end the cell, in code as well.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn write_to(page: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = page.write_fmt(arguments);
}
