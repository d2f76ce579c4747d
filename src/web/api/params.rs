//! Parameters of API calls: from the URL and from a form in the body, read as Prometheus reads them.
//!
//! Source: Prometheus `web/api/v1`: values of a form come before those of the URL; a time is Unix seconds or
//! RFC 3339, a duration is seconds or Prometheus's notation.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, header};
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use jiff::Timestamp as Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::reply::{Failure, FailureKind};
use crate::model::{Matcher, PromDuration, Timestamp};
use crate::promql;

/// How long a form may take to come.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);

/// A form up to this size is read without a turn: as large as bodies of other requests.
const SMALL_FORM_BYTES: usize = 64 << 10;

/// Larger forms in memory at once. They are rare - a dashboard's long list in a regular expression - and would
/// otherwise grow with the number of connections.
const LARGE_FORMS: usize = 32;

/// What forms may take.
#[derive(Clone, Debug)]
pub struct Forms {
    max_bytes: usize,
    large: Arc<Semaphore>,
}

impl Forms {
    /// Forms of at most so many bytes.
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, large: Arc::new(Semaphore::new(LARGE_FORMS)) }
    }

    /// The whole body, and for a large one the turn that it took.
    async fn read(&self, mut body: Body) -> Result<(BytesMut, Option<OwnedSemaphorePermit>), Failure> {
        let (mut kept, mut turn) = (BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| wrong_form(&error.to_string()))?;
            let Some(data) = frame.data_ref() else { continue };
            let length = kept.len().saturating_add(data.len());
            if length > self.max_bytes {
                return Err(wrong_form("http: request body too large"));
            }
            if length > SMALL_FORM_BYTES && turn.is_none() {
                let free = Arc::clone(&self.large).try_acquire_owned();
                turn = Some(free.map_err(|_| {
                    let why = format!("{LARGE_FORMS} calls with large forms are being answered; try again");
                    Failure::new(FailureKind::Timeout, why)
                })?);
            }
            kept.extend_from_slice(data);
        }
        Ok((kept, turn))
    }
}

fn wrong_form(why: &str) -> Failure {
    Failure::bad_data(format!("error parsing form values: {why}"))
}

/// The parameters of a call, in order.
#[derive(Debug, Default)]
pub(super) struct Params {
    pairs: Vec<(String, String)>,
    /// Held as long as a large form is in memory.
    _turn: Option<OwnedSemaphorePermit>,
}

impl Params {
    /// Reads URL and form.
    pub(super) async fn read(request: Request<Body>, forms: &Forms) -> Result<Self, Failure> {
        let (head, body) = request.into_parts();
        let (mut pairs, mut turn) = (Vec::new(), None);
        let has_form = head.method == Method::POST
            && head.headers.get(header::CONTENT_TYPE).is_some_and(|value| {
                value.to_str().is_ok_and(|text| {
                    text.trim().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded")
                })
            });
        if has_form {
            let form = tokio::time::timeout(FORM_TIMEOUT, forms.read(body)).await;
            let (form, taken) = form.map_err(|_| wrong_form("the body takes too long to come"))??;
            turn = taken;
            pairs.extend(decoded(&form));
        }
        pairs.extend(decoded(head.uri.query().unwrap_or_default().as_bytes()));
        Ok(Self { pairs, _turn: turn })
    }

    /// The first value of this name; "" where there is none.
    pub(super) fn get<'a>(&'a self, name: &'a str) -> &'a str {
        self.all(name).next().unwrap_or_default()
    }

    /// All values of this name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A time; `None` where it is not given.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, Failure> {
        match self.get(name) {
            "" => Ok(None),
            text => parse_time(text)
                .map(Some)
                .map_err(|error| invalid(name, &format!("Invalid time value for '{name}': {error}"))),
        }
    }

    /// A time that must be given.
    pub(super) fn required_time(&self, name: &str) -> Result<Timestamp, Failure> {
        parse_time(self.get(name)).map_err(|error| invalid(name, &error))
    }

    /// A duration in milliseconds; `None` where it is not given.
    pub(super) fn duration_ms(&self, name: &str) -> Result<Option<i64>, Failure> {
        match self.get(name) {
            "" => Ok(None),
            text => parse_duration_ms(text).map(Some).map_err(|error| invalid(name, &error)),
        }
    }

    /// A duration in milliseconds that must be given.
    pub(super) fn required_duration_ms(&self, name: &str) -> Result<i64, Failure> {
        parse_duration_ms(self.get(name)).map_err(|error| invalid(name, &error))
    }

    /// `limit`: most results, 0 for no limit.
    pub(super) fn limit(&self) -> Result<usize, Failure> {
        let text = self.get("limit");
        if text.is_empty() {
            return Ok(0);
        }
        let wrong = |why: &str| invalid("limit", why);
        match text.parse::<i64>() {
            Ok(limit) => usize::try_from(limit).map_err(|_| wrong("limit must be non-negative")),
            Err(_) => {
                Err(wrong(&format!("strconv.Atoi: parsing {}: invalid syntax", crate::model::Quoted(text))))
            }
        }
    }

    /// The sets of matchers of all `match[]`; else what is wrong with them. Whether the parameter is named then
    /// differs from call to call.
    pub(super) fn matcher_sets(&self) -> Result<Vec<Vec<Matcher>>, String> {
        let parse = |text| promql::parse_selector(text).map_err(|error| error.to_string());
        let sets: Vec<Vec<Matcher>> = self.all("match[]").map(parse).collect::<Result<_, _>>()?;
        if sets.iter().any(|set| set.iter().all(Matcher::matches_empty)) {
            return Err("match[] must contain at least one non-empty matcher".to_owned());
        }
        Ok(sets)
    }
}

/// The error of a parameter that cannot be read.
pub(super) fn invalid(name: &str, why: &str) -> Failure {
    Failure::bad_data(format!("invalid parameter {}: {why}", crate::model::Quoted(name)))
}

fn decoded(text: &[u8]) -> impl Iterator<Item = (String, String)> + '_ {
    form_urlencoded::parse(text).map(|(name, value)| (name.into_owned(), value.into_owned()))
}

/// Instants that Prometheus's clients send for "from the beginning" and "to the end".
const FIRST_TIME: &str = "-292273086-05-16T16:47:06Z";
const LAST_TIME: &str = "292277025-08-18T07:12:54.999999999Z";

fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(seconds) = text.parse::<f64>()
        && let Some(ms) = to_millis(seconds)
    {
        return Ok(Timestamp::from_millis(ms));
    }
    if let Ok(instant) = text.parse::<Instant>() {
        return Ok(Timestamp::from_millis(instant.as_millisecond()));
    }
    match text {
        FIRST_TIME => Ok(Timestamp::from_millis(i64::MIN)),
        LAST_TIME => Ok(Timestamp::from_millis(i64::MAX)),
        _ => Err(format!("cannot parse {} to a valid timestamp", crate::model::Quoted(text))),
    }
}

fn parse_duration_ms(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        // NaN as a whole number is negative in Go, and refused as such.
        return to_millis(if seconds.is_nan() { -1.0 } else { seconds }).ok_or_else(|| {
            format!("cannot parse {} to a valid duration. It overflows int64", crate::model::Quoted(text))
        });
    }
    let parsed = text.parse::<PromDuration>().ok();
    let ms = parsed.and_then(|duration| i64::try_from(duration.get().as_millis()).ok());
    ms.ok_or_else(|| format!("cannot parse {} to a valid duration", crate::model::Quoted(text)))
}

/// Seconds to the nearest millisecond; `None` where Prometheus's nanoseconds would overflow.
fn to_millis(seconds: f64) -> Option<i64> {
    let ms = (seconds * 1000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "within the bounds just checked")]
    (ms.abs() <= 9.2e15).then_some(ms as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        for (text, ms) in [
            ("0", 0),
            ("1435781430.781", 1_435_781_430_781),
            ("-1.5", -1_500),
            ("1e3", 1_000_000),
            ("2015-07-01T20:10:30.781Z", 1_435_781_430_781),
            ("2015-07-01T22:10:30+02:00", 1_435_781_430_000),
            (FIRST_TIME, i64::MIN),
            (LAST_TIME, i64::MAX),
        ] {
            assert_eq!(parse_time(text).map(Timestamp::as_millis), Ok(ms), "{text}");
        }
        for bad in ["", "foo", "2015-07-01", "NaN", "1e300"] {
            assert_eq!(parse_time(bad), Err(format!("cannot parse \"{bad}\" to a valid timestamp")));
        }
    }

    #[test]
    fn durations_are_seconds_or_prometheus_notation() {
        for (text, ms) in [("15", 15_000), ("0.5", 500), ("1m30s", 90_000), ("-1", -1_000)] {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
        }
        assert_eq!(parse_duration_ms("5 m"), Err("cannot parse \"5 m\" to a valid duration".to_owned()));
        assert!(parse_duration_ms("1e300").is_err_and(|e| e.ends_with("It overflows int64")));
    }

    #[tokio::test]
    async fn a_form_comes_before_the_url() {
        let request = Request::post("/?query=b&x=%26")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from("query=a+c&match[]=up&match%5B%5D=down"))
            .unwrap();
        let params = Params::read(request, &Forms::new(1_000)).await.unwrap();
        assert_eq!((params.get("query"), params.get("x"), params.get("none")), ("a c", "&", ""));
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["up", "down"]);
        let large = Request::post("/")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from("x".repeat(1_001)))
            .unwrap();
        assert!(Params::read(large, &Forms::new(1_000)).await.is_err());
    }

    #[tokio::test]
    async fn only_so_many_large_forms_are_held_at_once() {
        let form = |bytes: usize| {
            Request::post("/")
                .header("content-type", "application/x-www-form-urlencoded")
                .body(Body::from(format!("query={}", "x".repeat(bytes))))
                .unwrap()
        };
        let forms = Forms::new(1 << 20);
        let mut held = Vec::new();
        for _ in 0..LARGE_FORMS {
            held.push(Params::read(form(SMALL_FORM_BYTES), &forms).await.unwrap());
        }
        let refused = Params::read(form(SMALL_FORM_BYTES), &forms).await.unwrap_err();
        assert_eq!(refused.kind, FailureKind::Timeout);
        assert!(Params::read(form(1_000), &forms).await.is_ok(), "small ones need no turn");
        held.pop();
        assert!(Params::read(form(SMALL_FORM_BYTES), &forms).await.is_ok());
    }
}
