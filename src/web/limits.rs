//! What one client, and all clients together, may cost the machine.
//!
//! Invariant: no connection holds a slot for ever. Each of its states has an end - silent before
//! its first request, amid a header, amid a body, waiting for the client to read, idle between
//! requests - and each end is counted under its own reason.

use std::time::Duration;

/// Limits of the HTTP face. [`Limits::default`] is right for a metrics endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once over all addresses. One more takes the place of the connection
    /// that has been without a request for longest; if all are busy it is closed at once.
    pub max_connections: usize,
    /// Requests for metrics handled at once (`--web.max-requests`); 0 is no limit.
    pub max_requests: usize,
    /// How long one request more waits for its turn before it is refused with 503. A burst passes,
    /// and a flood does not keep every ordinary scraper out.
    pub max_requests_wait: Duration,
    /// Request line and headers together, in bytes.
    pub max_header_bytes: usize,
    /// Headers of one request.
    pub max_headers: usize,
    /// Body of one request, in bytes.
    pub max_body_bytes: usize,
    /// Form in the body of a call of the API, in bytes. Dashboards send long regular expressions there; a query of the
    /// length that the parser takes fits even when every byte of it is escaped.
    pub max_form_bytes: usize,
    /// HTTP/2 streams open at once on one connection.
    pub max_streams: u32,
    /// From accepting a connection to its first request (the TLS handshake included), and from
    /// the first byte of any later request to the end of its header.
    pub header_timeout: Duration,
    /// For the whole body of a request.
    pub body_timeout: Duration,
    /// A client that reads nothing for this long, although there is something to read, is dropped.
    pub write_stall_timeout: Duration,
    /// From the head of a request to the last byte of its response handed to the kernel.
    pub request_timeout: Duration,
    /// Without a request between two requests of one connection.
    pub idle_timeout: Duration,
    /// After the signal to stop: what is in flight may take this long to end.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 512,
            max_requests: 40,
            max_requests_wait: Duration::from_secs(1),
            max_header_bytes: 32 << 10,
            max_headers: 100,
            max_body_bytes: 64 << 10,
            max_form_bytes: 1 << 20,
            max_streams: 32,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            write_stall_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(180),
            // Longer than any sensible scrape interval, so that scrapers keep their connection.
            idle_timeout: Duration::from_secs(300),
            drain_timeout: Duration::from_secs(10),
        }
    }
}
