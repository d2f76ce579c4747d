//! Whether the warnings and infos of an evaluation are those that its `expect` lines want.

use super::reader::{Remark, RemarkKind};
use crate::promql::annotations::Annotations;

/// What is wrong with them, if anything. What nothing is said about is not looked at.
pub(super) fn check(remarks: &[Remark], annotations: &Annotations, expression: &str) -> Result<(), String> {
    let kinds = [
        ("warning", RemarkKind::Warn, RemarkKind::NoWarn, annotations.warnings(expression, 0)),
        ("info", RemarkKind::Info, RemarkKind::NoInfo, annotations.infos(expression, 0)),
    ];
    for (word, wanted, unwanted, texts) in kinds {
        if let (Some(first), true) = (texts.first(), remarks.iter().any(|r| r.kind == unwanted)) {
            return Err(format!("expected no {word}, got: {first}"));
        }
        let wanted: Vec<&Remark> = remarks.iter().filter(|r| r.kind == wanted).collect();
        if wanted.is_empty() {
            continue;
        }
        if texts.is_empty() {
            return Err(format!("expected an annotation of kind {word}, got none"));
        }
        let fits = |remark: &Remark, text: &str| remark.text.as_ref().is_none_or(|t| t.fits(text));
        if let Some(lacking) = wanted.iter().find(|remark| !texts.iter().any(|text| fits(remark, text))) {
            return Err(format!("expected {word} {:?}, got: {}", lacking.text, texts.join("; ")));
        }
        if let Some(odd) = texts.iter().find(|text| !wanted.iter().any(|remark| fits(remark, text))) {
            return Err(format!("unexpected {word}: {odd}"));
        }
    }
    Ok(())
}
