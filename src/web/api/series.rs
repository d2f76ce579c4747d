//! `series`, `labels`, `label/NAME/values`: what is stored, without samples.
//!
//! Source: Prometheus `web/api/v1/api.go`. Names with characters beyond the classic set may come escaped as
//! `U__...`, which is undone as Prometheus 3 does.

use std::io::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;

use super::json::{write_labels, write_text};
use super::params::{Params, invalid};
use super::reply::{Failure, Remarks, WriteData};
use super::{Api, respond};
use crate::http_client::percent_decoded;
use crate::model::{Labels, Matcher, Quoted, SelectAny, Timestamp};

/// What all three ask for.
struct Asked {
    matcher_sets: Vec<Vec<Matcher>>,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
}

impl Asked {
    fn read(params: &Params) -> Result<Self, Failure> {
        let from = params.time("start")?.unwrap_or(Timestamp::from_millis(i64::MIN));
        let to = params.time("end")?.unwrap_or(Timestamp::from_millis(i64::MAX));
        let matcher_sets = params.matcher_sets().map_err(Failure::bad_data)?;
        Ok(Self { matcher_sets, from, to, limit: params.limit()? })
    }

    /// One more than the limit is asked for, to know whether there was more.
    fn select(&self) -> SelectAny<'_> {
        let limit = if self.limit == 0 { 0 } else { self.limit.saturating_add(1) };
        SelectAny { matcher_sets: &self.matcher_sets, from: self.from, to: self.to, limit }
    }

    fn cut<T>(&self, found: &mut Vec<T>) -> Remarks {
        if self.limit == 0 || found.len() <= self.limit {
            return Remarks::default();
        }
        found.truncate(self.limit);
        Remarks::truncated()
    }
}

/// `GET|POST /api/v1/series`
pub(super) async fn series(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    respond(&api, request, |api, params| {
        if params.all("match[]").next().is_none() {
            return Err(Failure::bad_data("no match[] parameter provided"));
        }
        params.matcher_sets().map_err(|why| invalid("match[]", &why))?;
        let asked = Asked::read(params)?;
        let mut found = api.history.series(&asked.select()).map_err(|e| Failure::internal(e.to_string()))?;
        let remarks = asked.cut(&mut found);
        Ok((remarks, list(found, |out, labels: &Labels| write_labels(out, labels))))
    })
    .await
}

/// `GET|POST /api/v1/labels`
pub(super) async fn labels(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    respond(&api, request, |api, params| {
        let asked = Asked::read(params)?;
        let found = api.history.label_names(&asked.select());
        let mut found = found.map_err(|e| Failure::internal(e.to_string()))?;
        let remarks = asked.cut(&mut found);
        Ok((remarks, list(found, |out, name: &String| write_text(out, name))))
    })
    .await
}

/// `GET /api/v1/label/NAME/values`
pub(super) async fn label_values(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    let path = request.uri().path();
    let name = path.strip_prefix("/api/v1/label/").and_then(|rest| rest.strip_suffix("/values"));
    // Not taken apart by the router: it answers a name that is no UTF-8 in its own words.
    let name = percent_decoded(name.unwrap_or_default());
    let name = match std::str::from_utf8(&name) {
        Ok(name) if !name.is_empty() => unescaped(name).unwrap_or_else(|| name.to_owned()),
        _ => return Failure::bad_data(format!("invalid label name: {}", quoted(&name))).into_response(),
    };
    respond(&api, request, move |api, params| {
        let asked = Asked::read(params)?;
        let found = api.history.label_values(&name, &asked.select());
        let mut found = found.map_err(|e| Failure::internal(e.to_string()))?;
        let remarks = asked.cut(&mut found);
        Ok((remarks, list(found, |out, value: &String| write_text(out, value))))
    })
    .await
}

/// As Go's `%q` shows bytes that may be no text.
fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        let text = Quoted(chunk.valid()).to_string();
        out.push_str(text.get(1..text.len() - 1).unwrap_or_default());
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out + "\""
}

fn list<T: Send + 'static>(
    items: Vec<T>,
    write: impl Fn(&mut dyn Write, &T) -> std::io::Result<()> + Send + 'static,
) -> WriteData {
    Box::new(move |mut out| {
        out.write_all(b"[")?;
        for (at, item) in items.iter().enumerate() {
            out.write_all(if at > 0 { b"," } else { b"" })?;
            write(&mut out, item)?;
        }
        out.write_all(b"]")
    })
}

/// A name in Prometheus's "values" escaping, `U__a_2e_b` for `a.b`; `None` where it is not one.
fn unescaped(name: &str) -> Option<String> {
    let mut rest = name.strip_prefix("U__")?;
    let mut out = String::with_capacity(rest.len());
    while let Some((plain, tail)) = rest.split_once('_') {
        out.push_str(plain);
        if let Some(tail) = tail.strip_prefix('_') {
            out.push('_');
            rest = tail;
            continue;
        }
        let (hex, tail) = tail.split_once('_')?;
        out.push(char::from_u32(u32::from_str_radix(hex, 16).ok()?)?);
        rest = tail;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_read() {
        for (escaped, name) in [
            ("U__a_2e_b", Some("a.b")),
            ("U__a__b", Some("a_b")),
            ("U__http_2e_status_3a_sum", Some("http.status:sum")),
            ("U___263a_", Some("☺")),
            ("plain", None),
            ("U__a_zz_b", None),
            ("U__a_b", None),
        ] {
            assert_eq!(unescaped(escaped).as_deref(), name, "{escaped}");
        }
    }
}
