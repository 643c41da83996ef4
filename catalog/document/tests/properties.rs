//! Properties of every document: one digest for each spelling, subjects mapped as written, no panics.

use inferbus_catalog_document::{Digest, Entry, Pointer, Route};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has finite numbers only", |number| number.is_finite()).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            btree_map(".{0,6}", inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn any_entry()(
        size in 1..1u64 << 30,
        config in any_json(),
        grants in Just(vec!["log", "emit"]).prop_shuffle(),
        kept in 0..=2usize,
        memory in 1..64u64,
        labels in btree_map("[a-z]{1,8}", "[ -~]{0,12}", 0..6),
    ) -> Value {
        json!({
            "model": { "digest": Digest::of(&size.to_le_bytes()), "size": size },
            "pre": { "digest": Digest::of(b"pre"), "size": 5, "config": config, "grants": grants[..kept] },
            "limits": { "memory": format!("{memory}MiB"), "emits": 3 },
            "labels": labels,
        })
    }
}

/// The same value with its keys in an order chosen by `seed`, and with white space.
fn respelled(value: &Value, seed: u64) -> String {
    match value {
        Value::Object(object) => {
            let mut members: Vec<_> = object.iter().collect();
            members.sort_by_key(|(key, _)| Digest::of(format!("{seed}{key}").as_bytes()));
            let members: Vec<_> = members
                .into_iter()
                .map(|(key, value)| format!(" {} :\n{}", json!(key), respelled(value, seed)))
                .collect();
            format!("{{{}}}", members.join(" ,"))
        }
        Value::Array(items) => {
            format!("[ {} ]", items.iter().map(|item| respelled(item, seed)).collect::<Vec<_>>().join(","))
        }
        scalar => scalar.to_string(),
    }
}

/// A filter, a matching subject, and the values of its wildcards.
fn matched() -> impl Strategy<Value = (String, String, Vec<String>)> {
    vec((any::<bool>(), "[a-z0-9_-]{1,5}"), 1..6).prop_map(|tokens| {
        let filter: Vec<_> = tokens.iter().map(|(wild, token)| if *wild { "*" } else { token.as_str() }).collect();
        let subject: Vec<_> = tokens.iter().map(|(_, token)| token.as_str()).collect();
        let captured = tokens.iter().filter(|(wild, _)| *wild).map(|(_, token)| token.clone()).collect();
        (format!("in.{}", filter.join(".")), format!("in.{}", subject.join(".")), captured)
    })
}

proptest! {
    #[test]
    fn a_digest_does_not_depend_on_the_spelling(entry in any_entry(), seed in any::<u64>()) {
        let plain = Entry::parse(entry.to_string().as_bytes()).unwrap();
        let respelled = Entry::parse(respelled(&entry, seed).as_bytes()).unwrap();
        prop_assert_eq!(plain.digest(), respelled.digest());
        prop_assert_eq!(Entry::parse(&plain.canonical()).unwrap().canonical(), plain.canonical());
    }

    #[test]
    fn a_digest_depends_on_the_content(entry in any_entry(), size in 1..1u64 << 26) {
        let mut other = entry.clone();
        other["pre"]["size"] = json!(size);
        let [left, right] = [entry, other].map(|entry| Entry::parse(entry.to_string().as_bytes()).unwrap());
        prop_assert_eq!(left.digest() == right.digest(), size == 5);
    }

    #[test]
    fn parsing_never_panics(bytes in vec(any::<u8>(), 0..200), value in any_json()) {
        let text = value.to_string();
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            let _ = (Entry::parse(bytes), Pointer::parse(bytes), Route::parse(bytes));
        }
    }

    #[test]
    fn subjects_map_as_written(
        (filter, subject, captured) in matched(),
        picks in vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let some = picks.iter().filter(|_| !captured.is_empty());
        let picks: Vec<usize> = some.map(|pick| pick.index(captured.len())).collect();
        let template: String = picks.iter().map(|pick| format!(".{{{{wildcard({})}}}}", pick + 1)).collect();
        let expected: String = picks.iter().map(|pick| format!(".{}", captured[*pick])).collect();
        let route = json!({ "subject": filter, "model": "m", "output": format!("out{template}") });
        let route = Route::parse(route.to_string().as_bytes()).unwrap();
        prop_assert_eq!(route.output_for(&subject).unwrap(), format!("out{expected}"));
        let (longer, other) = (format!("{subject}.more"), format!("not{subject}"));
        prop_assert_eq!(route.output_for(&longer), None);
        prop_assert_eq!(route.output_for(&other), None);
    }

    #[test]
    fn a_route_never_feeds_itself((filter, subject, _) in matched(), template in "in(\\.([a-z]|\\$1|\\$2)){1,5}") {
        let route = json!({ "subject": filter, "model": "m", "output": template });
        if let Ok(route) = Route::parse(route.to_string().as_bytes()) {
            prop_assert_eq!(route.output_for(&route.output_for(&subject).unwrap()), None);
        }
    }
}
