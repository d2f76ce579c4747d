//! Results of queries, from the API's JSON or from an evaluation here.

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::instance::plain;
use super::Answer;
use crate::model::{Labels, Samples};
use crate::promql::{QueryResult, Series, Value, VectorSample};
use crate::web::write_query_data;

/// The envelope of an answer.
#[derive(Deserialize)]
struct Envelope<'a> {
    status: String,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    result_type: String,
    result: serde_json::Value,
}

type Point = (f64, String);

#[derive(Deserialize)]
struct Row {
    metric: BTreeMap<String, String>,
    value: Option<Point>,
    #[serde(default)]
    values: Vec<Point>,
}

/// What the API answered.
pub(in crate::cli) fn read(body: &[u8]) -> anyhow::Result<Answer> {
    let envelope: Envelope<'_> =
        serde_json::from_slice(body).context("the answer is not that of a Prometheus API")?;
    if envelope.status != "success" {
        bail!("{}", plain(&envelope.error));
    }
    let data = envelope.data.context("the answer holds no data")?.get();
    let parsed: Data = serde_json::from_str(data).context("the answer is not that of a query")?;
    let value = value(parsed).context("the answer is not that of a query")?;
    let remarks = [envelope.warnings, envelope.infos].concat();
    Ok(Answer { value, data: data.to_owned(), remarks })
}

/// What an evaluation gave.
pub(super) fn of(query: &str, result: &QueryResult) -> anyhow::Result<Answer> {
    let mut data = Vec::new();
    write_query_data(&mut data, &result.value)?;
    let remarks = [result.annotations.warnings(query, 0), result.annotations.infos(query, 0)].concat();
    Ok(Answer { value: result.value.clone(), data: String::from_utf8(data)?, remarks })
}

fn value(data: Data) -> anyhow::Result<Value> {
    Ok(match data.result_type.as_str() {
        "scalar" => {
            let (at_ms, value) = sample(&serde_json::from_value(data.result)?)?;
            Value::Scalar { at_ms, value }
        }
        "string" => {
            let (seconds, text): Point = serde_json::from_value(data.result)?;
            Value::String { at_ms: millis(seconds), text }
        }
        "vector" => {
            Value::Vector(rows(data.result)?.into_iter().map(vector_sample).collect::<Result<_, _>>()?)
        }
        "matrix" => Value::Matrix(rows(data.result)?.into_iter().map(series).collect::<Result<_, _>>()?),
        other => bail!("results of type {other:?} are not known"),
    })
}

fn rows(result: serde_json::Value) -> serde_json::Result<Vec<Row>> {
    serde_json::from_value(result)
}

fn vector_sample(row: Row) -> anyhow::Result<VectorSample> {
    let (at_ms, value) = sample(&row.value.ok_or_else(|| anyhow!("a series without a value"))?)?;
    Ok(VectorSample { labels: Labels::from_pairs(row.metric), drop_name: false, at_ms, value })
}

fn series(row: Row) -> anyhow::Result<Series> {
    let mut samples = Samples::with_capacity(row.values.len());
    for point in &row.values {
        let (at_ms, value) = sample(point)?;
        samples.push(at_ms, value);
    }
    Ok(Series { labels: Labels::from_pairs(row.metric), samples })
}

fn sample((seconds, text): &Point) -> anyhow::Result<(i64, f64)> {
    let value = text.parse().with_context(|| format!("{text:?} is not a value"))?;
    Ok((millis(*seconds), value))
}

#[expect(clippy::cast_possible_truncation, reason = "saturates")]
fn millis(seconds: f64) -> i64 {
    (seconds * 1_000.0).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_result_is_read() {
        let read = |data: &str| {
            let body = format!(r#"{{"status":"success","data":{data},"warnings":["w"],"infos":["i"]}}"#);
            let answer = read(body.as_bytes()).unwrap();
            assert_eq!((answer.data.as_str(), answer.remarks), (data, vec!["w".to_owned(), "i".to_owned()]));
            answer.value
        };
        let scalar = read(r#"{"resultType":"scalar","result":[1.5,"+Inf"]}"#);
        assert_eq!(scalar, Value::Scalar { at_ms: 1_500, value: f64::INFINITY });
        let text = read(r#"{"resultType":"string","result":[1,"x"]}"#);
        assert_eq!(text, Value::String { at_ms: 1_000, text: "x".into() });
        let vector = read(r#"{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[2,"3"]}]}"#);
        assert!(matches!(vector, Value::Vector(s) if s[0].value == 3.0 && s[0].labels.value("a") == "b"));
        let matrix =
            read(r#"{"resultType":"matrix","result":[{"metric":{},"values":[[2,"3"],[4.001,"-Inf"]]}]}"#);
        assert!(matches!(matrix, Value::Matrix(s) if s[0].samples.timestamps_ms() == [2_000, 4_001]));
    }

    #[test]
    fn errors_and_other_answers_are_told() {
        for (body, part) in [
            (
                r#"{"status":"error","errorType":"bad_data","error":"1:1: parse error: x"}"#,
                "1:1: parse error: x",
            ),
            ("404 page not found", "not that of a Prometheus API"),
            (r#"{"status":"success","data":["a"]}"#, "not that of a query"),
            (r#"{"status":"success"}"#, "no data"),
        ] {
            let error = read(body.as_bytes()).err().unwrap();
            assert!(format!("{error:#}").contains(part), "{error:#}");
        }
    }
}
