//! Entries, pointers, routes and manifests: accepted forms, and problems, each with its path.

use inferbus_catalog_document::{
    Bundle, BundleFault, Digest, Entry, Grant, Mode, ModelName, Pointer, Problems, Role, Route, Start, StreamOptions,
    entry_schema, limits, parse_version,
};
use serde_json::{Value, json};

fn digest(text: &str) -> Value {
    json!(Digest::of(text.as_bytes()))
}

fn full_entry() -> Value {
    json!({
        "model": { "digest": digest("model"), "size": 409_600 },
        "pre": { "digest": digest("pre"), "size": 21_034, "kind": "module", "language": "rust",
                 "built_by": "inferbus-plugin 0.1.0", "config": { "scale": 0.5, "names": ["a", "b"] },
                 "grants": ["log"] },
        "post": { "digest": digest("post"), "size": 9_000, "grants": ["log", "emit"] },
        "sample": { "digest": digest("sample"), "size": 80 },
        "limits": { "memory": "64MiB", "time": "50ms", "output": "4MiB", "emits": 16,
                    "emit_bytes": "1MiB", "log_lines": 32, "log_bytes": "8KiB" },
        "engine": { "lanes": "auto", "threads": 1, "time": "2s", "provider": "cuda", "arena": false,
                    "batch": { "max": 32, "min": 4, "max_delay": "2ms" } },
        "labels": { "trained_by": "a person" },
    })
}

fn parse(entry: &Value) -> Result<Entry, Problems> {
    Entry::parse(entry.to_string().as_bytes())
}

fn paths(problems: &Problems) -> Vec<&str> {
    problems.iter().map(|problem| problem.path.as_str()).collect()
}

#[test]
fn a_full_entry_is_read_and_written_back_the_same() {
    let entry = parse(&full_entry()).unwrap();
    assert_eq!(entry.limits.memory.unwrap().bytes(), 64 << 20);
    assert_eq!(entry.limits.time.unwrap().duration().as_millis(), 50);
    assert_eq!(entry.limits.emit_bytes.unwrap().bytes(), 1 << 20);
    assert_eq!((entry.limits.log_lines, entry.limits.log_bytes.unwrap().bytes()), (Some(32), 8 << 10));
    assert_eq!(entry.post.as_ref().unwrap().grants, [Grant::Emit, Grant::Log]);
    assert_eq!(entry.engine.lanes(7), 7);
    let roles: Vec<Role> = entry.artifacts().map(|(role, _)| role).collect();
    assert_eq!(roles, [Role::Model, Role::Pre, Role::Post, Role::Sample]);
    let again = Entry::parse(&entry.canonical()).unwrap();
    assert_eq!(again, entry);
    assert_eq!(again.digest(), entry.digest());
}

#[test]
fn the_canonical_form_of_an_entry_never_changes() {
    // Digests identify running bundles, so this text may change only together with a new format.
    let entry = parse(&json!({
        "model": { "size": 3, "digest": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        "limits": { "memory": "1024KiB" },
    }));
    let entry = entry.unwrap();
    let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let expected = format!(r#"{{"limits":{{"memory":"1MiB"}},"model":{{"digest":"{digest}","size":3}}}}"#);
    assert_eq!(String::from_utf8(entry.canonical()).unwrap(), expected);
    assert_eq!(entry.model.digest, Digest::of(b"abc"));
    assert_eq!(entry.model.digest.short(), "ba7816bf8f01");
}

#[test]
fn all_problems_are_named_at_once_with_their_paths() {
    let problems = parse(&json!({
        "modle": {},
        "pre": { "digest": "sha256:beef", "size": 0, "kind": "component", "grants": ["log", "net", "log"] },
        "post": { "digest": digest("post"), "size": 9, "language": "a\u{1b}[2Jb" },
        "limits": { "memory": "64MB", "time": "2m", "emits": -1, "emit_bytes": 7, "log_lines": "many",
                    "log_bytes": "0B", "cpu": 1 },
        "engine": { "lanes": "many", "threads": 0, "time": "1us", "provider": "abacus", "arena": 1, "batch": {} },
        "labels": { "a b": 1 },
    }))
    .unwrap_err();
    let mut found = paths(&problems);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "engine.arena",
            "engine.batch.max",
            "engine.lanes",
            "engine.provider",
            "engine.threads",
            "engine.time",
            "labels[\"a b\"]",
            "limits.cpu",
            "limits.emit_bytes",
            "limits.emits",
            "limits.log_bytes",
            "limits.log_lines",
            "limits.memory",
            "limits.time",
            "model",
            "modle",
            "post.language",
            "pre.digest",
            "pre.grants[1]",
            "pre.grants[2]",
            "pre.kind",
            "pre.size",
        ]
    );
    let text = problems.to_string();
    assert!(text.contains("modle: unknown key; allowed here: model, pre, post"), "{text}");
    assert!(!text.contains('\u{1b}'), "a message must not carry control characters: {text}");
}

#[test]
fn bounds_hold() {
    for (path, value) in [
        ("/model/size", json!(limits::ARTIFACT_BYTES + 1)),
        ("/pre/size", json!(limits::PLUGIN_BYTES + 1)),
        ("/pre/config", json!("x".repeat(limits::CONFIG_BYTES))),
        (
            "/labels",
            (0..=limits::LABELS).map(|n| (n.to_string(), json!("x"))).collect::<serde_json::Map<_, _>>().into(),
        ),
        ("/limits/memory", json!("5GiB")),
        ("/limits/time", json!("61s")),
        ("/limits/emit_bytes", json!("2GiB")),
        ("/limits/log_lines", json!(1025)),
        ("/limits/log_bytes", json!("17MiB")),
        ("/engine/batch/max", json!(1_000_000)),
    ] {
        let mut entry = full_entry();
        *entry.pointer_mut(path).unwrap() = value;
        let problems = parse(&entry).unwrap_err();
        assert_eq!(paths(&problems), [path.trim_start_matches('/').replace('/', ".")], "{problems}");
    }
    let huge = format!("{}{}", " ".repeat(limits::DOCUMENT_BYTES), full_entry());
    assert!(Entry::parse(huge.as_bytes()).unwrap_err().to_string().contains("at most"));
    let many: serde_json::Map<_, _> = (0..500).map(|n| (format!("k{n}"), Value::Null)).collect();
    let problems = parse(&many.into()).unwrap_err();
    assert_eq!(problems.iter().count(), limits::PROBLEMS);
    assert!(problems.to_string().ends_with("and 451 more"), "{problems}");
}

#[test]
fn what_is_not_json_says_where() {
    for bad in [&b"{\"model\": }"[..], b"", b"\xff\xfe", b"{} x"] {
        let text = Entry::parse(bad).unwrap_err().to_string();
        assert!(text.starts_with("not valid JSON: ") && text.contains("line 1"), "{text}");
    }
    let deep = "[".repeat(10_000);
    assert!(Entry::parse(deep.as_bytes()).is_err());
    assert!(parse(&json!([])).unwrap_err().to_string().contains("expected an object, found a list"));
}

#[test]
fn the_published_schema_is_what_the_code_says() {
    let published = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../entry.schema.json")).unwrap();
    let generated = format!("{:#}\n", entry_schema());
    assert_eq!(
        published, generated,
        "run: cargo run -p inferbus-catalog-document --example schema > catalog/entry.schema.json"
    );
}

#[test]
fn the_schema_and_the_parser_know_the_same_keys() {
    let schema = entry_schema();
    let keys = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let full = full_entry();
    assert_eq!(keys(&schema["properties"]), keys(&full));
    for (definition, path) in
        [("Artifact", "/model"), ("Plugin", "/pre"), ("Limits", "/limits"), ("EngineOptions", "/engine")]
    {
        let definition = &schema["$defs"][definition];
        assert_eq!(keys(&definition["properties"]), keys(full.pointer(path).unwrap()));
        assert_eq!(definition["additionalProperties"], false);
    }
}

#[test]
fn digests_are_read_strictly() {
    let good = Digest::of(b"x").to_string();
    assert_eq!(good.parse::<Digest>().unwrap().to_string(), good);
    for bad in ["", "sha256:", &good[7..], &good.to_uppercase(), &format!("{good}0"), &good[..70], "sha256:é"] {
        assert!(bad.parse::<Digest>().is_err(), "{bad:?} was read as a digest");
    }
}

#[test]
fn names_and_versions_fit_into_keys() {
    for good in ["a", "0", "digits", "a-b_c9", &"x".repeat(63)] {
        assert_eq!(good.parse::<ModelName>().unwrap().as_str(), good);
    }
    for bad in ["", "-a", "_a", "A", "a.b", "a b", "é", "a*", &"x".repeat(64)] {
        assert!(bad.parse::<ModelName>().is_err(), "{bad:?} was read as a name");
    }
    assert_eq!(parse_version("1.2.0-rc.1").unwrap().to_string(), "1.2.0-rc.1");
    for bad in ["", "1", "1.2", "v1.2.0", "1.2.0+build", "01.2.0", "1.2.0 ", &format!("1.2.0-{}", "x".repeat(64))] {
        assert!(parse_version(bad).is_err(), "{bad:?} was read as a version");
    }
}

#[test]
fn a_pointer_is_a_bare_version_or_json() {
    let bare = Pointer::parse(b" 1.2.0\r\n").unwrap();
    assert_eq!((bare.version.to_string(), bare.digest), ("1.2.0".to_owned(), None));
    assert_eq!(bare.to_bytes(), b"1.2.0");
    let pinned = Pointer::parse(json!({ "version": "1.2.0", "digest": digest("x") }).to_string().as_bytes()).unwrap();
    assert_eq!(pinned.digest, Some(Digest::of(b"x")));
    assert_eq!(Pointer::parse(&pinned.to_bytes()).unwrap(), pinned);
    for bad in [&b""[..], b"  \n", b"latest", b"\"1.2.0\"", b"{\"version\":\"1.2.0\",\"canary\":1}", b"{}", b"\xff"] {
        assert!(Pointer::parse(bad).is_err(), "{:?} was read as a pointer", String::from_utf8_lossy(bad));
    }
}

fn route(subject: &str, output: &str) -> Result<Route, Problems> {
    Route::parse(json!({ "subject": subject, "model": "digits", "output": output }).to_string().as_bytes())
}

#[test]
fn a_route_maps_its_subjects() {
    let line = route("plant.*.camera.*", "seen.{{wildcard(2)}}.$1.{{ Wildcard( 1 ) }}").unwrap();
    assert_eq!(line.mode, Mode::Request);
    assert_eq!(line.output_for("plant.a.camera.7").unwrap(), "seen.7.a.a");
    assert_eq!(line.output_for("plant.a.camera"), None);
    assert_eq!(line.output_for("plant.a.camera.7.x"), None);
    let tail = route("in.*.>", "out.$1.>").unwrap();
    assert_eq!(tail.output_for("in.a.b.c").unwrap(), "out.a.b.c");
    assert_eq!(tail.output_for("in.a"), None, "`>` stands for one token or more");
    assert_eq!(Route::parse(&line.to_bytes()).unwrap(), line);
}

#[test]
fn a_route_that_cannot_work_is_refused() {
    for bad in ["", "a..b", ".a", "a.", "a b", "a.>.b", "a.b*", "$JS.>", "$KV.models.>", "a\u{7f}", &"a.".repeat(40)] {
        let problems = route(bad, "out").unwrap_err();
        assert_eq!(paths(&problems), ["subject"], "{bad:?}: {problems}");
    }
    for bad in [
        "",
        "out..x",
        "out.*",
        "out.>",
        "out.{{wildcard(2)}}",
        "out.$0",
        "out.$2",
        "out.{{partition(3,1)}}",
        "$SYS.x",
        "out.{{wildcard(1)}}x",
    ] {
        let problems = route("in.*", bad).unwrap_err();
        assert_eq!(paths(&problems), ["output"], "{bad:?}: {problems}");
    }
    for (filter, feeding) in
        [("in.*", "in.result"), ("in.*", "in.$1"), (">", "out"), ("in.>", "in.a.b"), ("a.*.c", "a.$1.c")]
    {
        let text = route(filter, feeding).unwrap_err().to_string();
        assert!(text.contains("its own results"), "{filter} → {feeding}: {text}");
    }
    let all = Route::parse(br#"{"subject":"a..b","model":"M","mode":"x","extra":1}"#).unwrap_err();
    assert_eq!(paths(&all), ["extra", "subject", "model", "mode"]);
}

#[test]
fn a_stream_route_says_what_it_needs() {
    let plain =
        json!({ "mode": "stream", "stream": "SENSORS", "subject": "in.*.>", "model": "m", "output": "out.$1.>" });
    let route = Route::parse(plain.to_string().as_bytes()).unwrap();
    assert_eq!(route.stream(), Some(&StreamOptions::new("SENSORS".parse().unwrap())));
    assert_eq!(route.output_filter().as_deref(), Some("out.*.>"));
    assert_eq!(route.key_for("in.a.b"), None);
    assert_eq!(Route::parse(&route.to_bytes()).unwrap(), route);

    let mut whole = plain.clone();
    for (key, value) in [
        ("results", json!("R")),
        ("order", json!("{{wildcard(1)}}")),
        ("ack_wait", json!("5s")),
        ("deadline", json!("60s")),
        ("deliveries", json!(3)),
        ("start", json!("new")),
    ] {
        whole[key] = value;
    }
    let route = Route::parse(whole.to_string().as_bytes()).unwrap();
    assert_eq!(route.key_for("in.a.b").as_deref(), Some("a"));
    assert_eq!(route.stream().map(|options| (options.deliveries, options.start)), Some((3, Start::New)));
    assert_eq!(Route::parse(&route.to_bytes()).unwrap(), route);

    let wrong = json!({
        "mode": "stream", "stream": "SENSORS", "subject": "in.*", "model": "m", "results": "a b", "order": "$2",
        "ack_wait": "1ms", "deadline": "s", "deliveries": 1, "start": "now",
    });
    let problems = Route::parse(wrong.to_string().as_bytes()).unwrap_err();
    assert_eq!(paths(&problems), ["results", "order", "ack_wait", "deadline", "deliveries", "start", "output"]);
    let stray = json!({ "subject": "in", "model": "m", "stream": "SENSORS" });
    assert_eq!(paths(&Route::parse(stray.to_string().as_bytes()).unwrap_err()), ["stream"]);
    let bare = json!({ "mode": "stream", "subject": "in", "model": "m" });
    assert_eq!(paths(&Route::parse(bare.to_string().as_bytes()).unwrap_err()), ["stream", "output"]);
}

#[test]
fn a_bundle_names_exactly_its_files() {
    let bundle = crate::support::bundle("digits", "1.0.0", b"model", b"pre", b"post");
    assert_eq!(bundle.entry.model.digest, Digest::of(b"model"));
    assert_eq!(bundle.file(Role::Post).unwrap().as_ref(), b"post");
    assert_eq!(Entry::parse(&bundle.entry.canonical()).unwrap(), bundle.entry);
}

#[test]
fn a_bad_manifest_names_every_problem() {
    let folder = tempfile::tempdir().unwrap();
    let read = |manifest: &str| {
        std::fs::write(folder.path().join("bundle.toml"), manifest).unwrap();
        Bundle::read(folder.path()).unwrap_err()
    };
    let fault = read(
        "model = \"Digits\"\nversion = \"1\"\nnetwork = \"../m.onnx\"\nsize = 1\n\
         [pre]\ngrants = [\"all\"]\n[limits]\ntime = 5\n",
    );
    let BundleFault::Manifest { problems, .. } = &fault else {
        panic!("{fault}");
    };
    let mut found = paths(problems);
    found.sort_unstable();
    assert_eq!(found, ["limits.time", "model", "network", "pre.grants[0]", "pre.wasm", "size", "version"]);
    assert!(read("model = ").to_string().contains("not valid TOML"));
    assert!(read("model = \"m\"\nversion = \"1.0.0\"\nnetwork = \"m.onnx\"\n").to_string().contains("m.onnx"));
    std::fs::write(folder.path().join("m.onnx"), b"").unwrap();
    assert!(matches!(read("model = \"m\"\nversion = \"1.0.0\"\nnetwork = \"m.onnx\"\n"), BundleFault::Empty { .. }));
    assert!(
        read("model = \"m\"\nversion = \"1.0.0\"\nnetwork = \"m.onnx\"\n[pre]\nwasm=\"p\"\nconfig={x=nan}\n")
            .to_string()
            .contains("finite")
    );
}
