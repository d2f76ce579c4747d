//! Settings of rules and objectives: Prometheus's flags, and what its files do not say.

use super::super::text::{duration, positive_duration, shown_duration};
use super::Effect::Reload;
use super::{Access, Row, row};

pub(super) const ROWS: &[Row] = &[
    row(
        "rules.alert.resend-delay",
        "rules.alert.resend_delay",
        "DURATION",
        Reload,
        wait!(rules.timing.resend_delay),
        "How long a firing alert is not sent again.",
    ),
    row(
        "rules.alert.for-outage-tolerance",
        "rules.alert.for_outage_tolerance",
        "DURATION",
        Reload,
        one!(rules.timing.outage_tolerance, duration, shown_duration),
        "Longest outage that pending alerts outlive with their age. Firing ones outlive any.",
    ),
    row(
        "rules.alert.for-grace-period",
        "rules.alert.for_grace_period",
        "DURATION",
        Reload,
        one!(rules.timing.grace_period, duration, shown_duration),
        "How long a restored pending alert waits at least before it fires, where its `for` is not shorter. Prometheus: 10m, but it forgets the age of alerts with a shorter `for`; here every alert keeps its age, and none is told late.",
    ),
    row(
        "",
        "slo.default_period",
        "DURATION",
        Reload,
        wait!(slos.default_period),
        "Period of objectives of slo_files that name none.",
    ),
];
