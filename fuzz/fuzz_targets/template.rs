//! Any text as a template of an alert: read or refused, expanded or an error, within its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger::model::{Labels, Timestamp};
use outrigger::rules::{Template, TemplateData, TemplateQuery};

struct Fixed;

impl TemplateQuery for Fixed {
    fn query(&self, expr: &str, _: Timestamp) -> Result<Vec<(Labels, f64)>, String> {
        match expr.len() % 3 {
            0 => Err("fails".to_owned()),
            1 => Ok(Vec::new()),
            _ => Ok(vec![(Labels::from_pairs([("job", expr)]), 1.5)]),
        }
    }
}

fuzz_target!(|text: &str| {
    let Ok(template) = Template::parse(text) else { return };
    let labels = Labels::from_pairs([("job", "node"), ("instance", "a.example:9100")]);
    let data = TemplateData {
        labels: &labels,
        external_labels: &Labels::empty(),
        external_url: "http://a.example/p",
        value: 1.5,
    };
    let _ = template.expand(&data, Timestamp::from_millis(0), &Fixed);
});
