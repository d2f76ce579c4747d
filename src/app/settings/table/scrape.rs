//! Settings of scraping that are not Prometheus's: what all jobs together may take.

use super::super::text::{positive, shown_size, size};
use super::Effect::Restart;
use super::{Access, Row, row};

pub(super) const ROWS: &[Row] = &[
    row(
        "scrape.max-targets",
        "scrape.max_targets",
        "NUMBER",
        Restart,
        one!(scrape_limits.targets, positive),
        "Most targets of all jobs together; further ones are not scraped and counted.",
    ),
    row(
        "scrape.max-samples",
        "scrape.max_samples",
        "NUMBER",
        Restart,
        one!(scrape_limits.samples, positive),
        "Most samples of a scrape, for jobs whose sample_limit does not say less; a scrape with more fails.",
    ),
    row(
        "scrape.max-body-size",
        "scrape.max_body_size",
        "SIZE",
        Restart,
        one!(scrape_limits.body_bytes, size, shown_size),
        "Largest body of a scrape after decompression, for jobs whose body_size_limit does not say less.",
    ),
];
