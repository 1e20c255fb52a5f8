//! Parsing of JSON into a tree: branches on bytes, numbers, many small allocations.

use std::fmt::Write as _;

use serde_json::Value;

use crate::random::{Checksum, Random};

/// A list of `count` records.
fn document(count: u32) -> String {
    let mut random = Random::new(16);
    let mut text = String::from("[");
    for id in 0..count {
        let comma = if id == 0 { "" } else { "," };
        let (x, y) = (random.float(), random.float());
        let tags: Vec<u32> = (0..random.below(6)).map(|_| random.below(1000)).collect();
        let name = random.word();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{comma}{{\"id\":{id},\"name\":\"host \\u00e9 {name:08x}\",\"place\":[{x:.4},{y:.4}],\
             \"tags\":{tags:?},\"active\":{},\"parent\":null}}",
            x > 0.0
        );
    }
    text.push(']');
    text
}

fn add(sum: &mut Checksum, value: &Value) {
    match value {
        Value::Null => sum.add(0),
        Value::Bool(truth) => sum.add(1 + u64::from(*truth)),
        Value::Number(number) => sum.add_float(number.as_f64().unwrap_or(0.0)),
        Value::String(text) => sum.add_bytes(text.as_bytes()),
        Value::Array(values) => values.iter().for_each(|value| add(sum, value)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            sum.add_bytes(name.as_bytes());
            add(sum, value);
        }),
    }
}

/// Writes and parses `count` records.
#[inline(never)]
pub(crate) fn parse(count: u32) -> u64 {
    let mut sum = Checksum::new();
    let text = document(count);
    for _ in 0..4 {
        // A text of our own making parses; if not, the checksum shows it.
        add(&mut sum, &serde_json::from_str(&text).unwrap_or(Value::Null));
    }
    sum.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_fields_it_should() {
        let parsed: Value = serde_json::from_str(&document(20)).unwrap();
        assert_eq!(parsed.as_array().unwrap().len(), 20);
        assert_eq!(parsed[7]["id"], 7);
        assert!(parsed[7]["name"].as_str().unwrap().starts_with("host é "));
        assert_eq!(parsed[7]["place"].as_array().unwrap().len(), 2);
    }
}
