//! `rate_limit`: a token bucket over all requests, as `golang.org/x/time/rate` fills it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One request per interval, after `burst` at once.
#[derive(Debug)]
pub(super) struct RateLimit {
    interval: Duration,
    burst: u32,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl RateLimit {
    /// A full bucket.
    pub(super) fn new(interval: Duration, burst: u32, now: Instant) -> Self {
        Self { interval, burst, bucket: Mutex::new(Bucket { tokens: f64::from(burst), filled: now }) }
    }

    /// Whether one more request may be answered now.
    pub(super) fn allow(&self, now: Instant) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_duration_since(bucket.filled);
        let gained = since.as_secs_f64() / self.interval.as_secs_f64();
        bucket.tokens = (bucket.tokens + gained).min(f64::from(self.burst));
        bucket.filled = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_per_interval() {
        let start = Instant::now();
        let limit = RateLimit::new(Duration::from_secs(2), 3, start);
        let allowed = |seconds: f64, asked: usize| {
            let now = start + Duration::from_secs_f64(seconds);
            (0..asked).filter(|_| limit.allow(now)).count()
        };
        assert_eq!(allowed(0.0, 10), 3);
        assert_eq!(allowed(1.9, 10), 0);
        assert_eq!(allowed(4.0, 10), 2);
        assert_eq!(allowed(1_000.0, 10), 3, "no more than the burst is saved up");
    }
}
