//! JSON objects whose member names match whatever their case: files that Go programs wrote.

use serde_json::{Map, Value};

/// The members of one object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Members<'a>(&'a Map<String, Value>);

impl<'a> Members<'a> {
    /// The objects of an array; what is no object is left out.
    pub(crate) fn of_array(value: &'a Value) -> impl Iterator<Item = Self> {
        value.as_array().into_iter().flatten().filter_map(|entry| entry.as_object().map(Self))
    }

    pub(crate) fn of(value: &'a Value) -> Option<Self> {
        value.as_object().map(Self)
    }

    pub(crate) fn get(self, name: &str) -> Option<&'a Value> {
        let exact = self.0.get(name);
        exact.or_else(|| self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value))
    }

    /// A string; "" where it is missing, as Go has it.
    pub(crate) fn text(self, name: &str) -> &'a str {
        self.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number; 0 where it is missing.
    pub(crate) fn number(self, name: &str) -> f64 {
        self.get(name).and_then(Value::as_f64).unwrap_or_default()
    }

    /// A whole number; 0 where it is missing.
    pub(crate) fn unsigned(self, name: &str) -> u64 {
        self.get(name).and_then(Value::as_u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_case_and_defaults() {
        let value: Value =
            serde_json::from_str(r#"[{"IfaceName": "a", "qlen": 3, "Signal": -5.5}, 7]"#).unwrap();
        let members: Vec<_> = Members::of_array(&value).collect();
        assert_eq!(members.len(), 1);
        assert_eq!((members[0].text("ifacename"), members[0].unsigned("Qlen")), ("a", 3));
        assert_eq!(
            (members[0].number("signal"), members[0].number("none"), members[0].text("none")),
            (-5.5, 0.0, "")
        );
    }
}
