//! Amounts of resources as Kubernetes writes them (`500m`, `1Gi`, `0.5`): whether two mean the same. Reads no object.

use serde_json::Value;

/// Names of fields under which quantities stand.
const FIELDS: [&str; 7] = [
    "limits",
    "requests",
    "capacity",
    "hard",
    "sizeLimit",
    "divisor",
    "allocatable",
];

/// Units, as powers of two or of ten.
const UNITS: [(&str, f64); 14] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
];

/// Returns whether what stands at that path is a quantity.
#[must_use]
pub fn is_one(path: &str) -> bool {
    path.split('.').any(|name| FIELDS.contains(&name))
}

/// Returns whether two mean the same amount.
#[must_use]
pub fn same(a: &Value, b: &Value) -> bool {
    match (amount(a), amount(b)) {
        // Both are made by the same few multiplications, so equal amounts differ by rounding at most.
        (Some(a), Some(b)) => (a - b).abs() <= 1e-12 * a.abs().max(b.abs()),
        _ => false,
    }
}

fn amount(value: &Value) -> Option<f64> {
    let text = match value {
        Value::Number(number) => return number.as_f64(),
        Value::String(text) => text.trim(),
        _ => return None,
    };
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let (number, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_same_amount_has_many_spellings() {
        for (a, b, wanted) in [
            (json!("1000m"), json!("1"), true),
            (json!("0.5"), json!("500m"), true),
            (json!(2), json!("2"), true),
            (json!("1Gi"), json!("1024Mi"), true),
            (json!("1G"), json!("1Gi"), false),
            (json!("1e3"), json!("1k"), true),
            (json!("100Mi"), json!("104857600"), true),
            (json!("x"), json!("x1"), false),
            (json!(true), json!("1"), false),
        ] {
            assert_eq!(same(&a, &b), wanted, "{a} {b}");
        }
        assert!(is_one(
            "spec.template.spec.containers[a].resources.limits.cpu"
        ));
        assert!(!is_one("data.cpu"));
    }
}
