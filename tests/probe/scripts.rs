//! Probe scripts: each answers for itself alone.

use super::*;

#[test]
fn scripts_answer_for_themselves_alone() {
    let values = Values::from_iter([
        ("path".to_owned(), text("it's\nhere")),
        (
            "items".to_owned(),
            Value::List(vec![text("a"), text("b c")]),
        ),
        (
            "pass".to_owned(),
            Value::Secret("hunter2hunter2".to_owned().into()),
        ),
    ]);
    let long = Duration::from_secs(30);
    let none = Values::new();
    let started = Instant::now();
    let answer = look(vec![
        script(
            "echo \"n=$(printf %s \"$items\" | wc -l)\"; echo label=$label",
            &values,
            long,
        ),
        script(
            "printf 'lines=%s\\n' \"${path#*s}\" | tr '\\n' '+'",
            &values,
            long,
        ),
        script("echo oops >&2; exit 3", &none, long),
        script("if then } (", &none, long),
        script("echo $undefined", &none, long),
        script("false; echo a=1", &none, long),
        script("echo garbage", &none, long),
        script("echo token=$pass; echo \"bad $pass\" >&2", &values, long),
        script("echo \"bad $pass\" >&2; exit 1", &values, long),
        script("no-such-tool-here", &none, long),
        script(
            "trap '' TERM; (sleep 1000 & sleep 1000) | cat",
            &none,
            Duration::from_secs(1),
        ),
        script("return 0; echo a=1", &none, long),
        script("exec 2>&1; cat; echo a=1", &none, long),
        script(
            "kill -KILL $$$$ 2>/dev/null || echo alive=yes; printf 'x=1'",
            &none,
            long,
        ),
    ]);
    let said: Vec<String> = answer
        .facts
        .iter()
        .map(|facts| match facts {
            Ok(facts) => format!("{facts:?}"),
            Err(fault) => format!("{} ({})", fault.message, fault.not_yet),
        })
        .collect();
    assert_eq!(
        said,
        [
            r#"{"label": Text("test:step"), "n": Text("1")}"#,
            r#"{"lines": Text("+here+")}"#,
            "the probe script ended with status 3: oops (true)",
            "the probe script ended with status 2: sh: 2: eval: Syntax error: \"then\" unexpected (true)",
            "the probe script ended with status 2: sh: 2: eval: undefined: parameter not set (true)",
            "the probe script ended with status 1 (true)",
            r#"the probe script printed "garbage", which is no name=value (false)"#,
            r#"{"token": Secret([redacted])}"#,
            "the probe script ended with status 1: bad [redacted] (true)",
            "the probe script ended with status 127: sh: 2: eval: no-such-tool-here: not found (true)",
            "the probe script took longer than 1 s (true)",
            "{}",
            r#"{"a": Text("1")}"#,
            r#"{"alive": Text("yes"), "x": Text("1")}"#,
        ]
        .map(str::to_owned)
    );
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
}
