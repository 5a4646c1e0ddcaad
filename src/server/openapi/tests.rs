use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;

/// Files with routes, and what their paths begin with.
const ROUTERS: [(&str, &str); 2] = [("src/server/router.rs", ""), ("src/server/paste/mod.rs", "/paste")];

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, into);
        } else {
            into.push(path);
        }
    }
}

/// What stands between this text's first parenthesis, open already, and the one that closes it.
fn call(text: &str) -> &str {
    let mut depth = 1;
    let end = text.char_indices().find(|(_, c)| {
        depth += i32::from(*c == '(') - i32::from(*c == ')');
        depth == 0
    });
    end.map_or(text, |(at, _)| &text[..at])
}

/// The routes of a router's source: method and path.
fn routes(source: &str, prefix: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for route in source.split(".route(").skip(1).map(call) {
        let (path, handlers) = route.split_once(',').expect("a path and its handlers");
        let path = path.trim().trim_matches('"');
        let before = all.len();
        for method in METHODS {
            let named = handlers.match_indices(&format!("{method}(")).any(|(at, _)| {
                // A method of its own, not the end of a handler's name.
                handlers[..at].chars().next_back().is_none_or(|c| c == ' ' || c == '.' || c == '\n')
            });
            if named {
                all.push((method.to_ascii_uppercase(), format!("{prefix}{path}")));
            }
        }
        assert!(all.len() > before, "this test finds no method in .route({route})");
    }
    all
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let mut sources = Vec::new();
    files(&root().join("src/server"), &mut sources);
    for path in sources.iter().filter(|path| path.extension().is_some_and(|ending| ending == "rs")) {
        let known =
            ROUTERS.iter().any(|(router, _)| *path == root().join(router)) || path.ends_with("openapi/tests.rs");
        let text = std::fs::read_to_string(path).expect("readable");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        assert!(
            known || !code.contains(".route("),
            "{} has routes: add it, with what its paths begin with, to ROUTERS in src/server/openapi/tests.rs",
            path.display()
        );
    }
    let mut routed = BTreeSet::new();
    for (router, prefix) in ROUTERS {
        let text = std::fs::read_to_string(root().join(router)).expect("readable");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        routed.extend(routes(&text, prefix));
    }
    assert!(routed.len() > 35, "the routes are gone: {routed:?}");
    let described: BTreeSet<_> =
        operations().iter().map(|operation| (operation.method.to_owned(), operation.path.to_owned())).collect();
    let mut wrong = String::new();
    for (method, path) in routed.difference(&described) {
        wrong += &format!(
            "{method} {path} has a route and no description. Add to src/server/openapi/operations.rs, with the types \
             of src/api.rs it takes and answers (each derives JsonSchema) and the statuses of its failures:\n    \
             op(\"{method}\", \"{path}\", Client, \"What it does\").takes::<api::Wish>().answers::<api::Thing>(200)\
             .problems(&[404]),\n"
        );
    }
    for (method, path) in described.difference(&routed) {
        wrong += &format!(
            "{method} {path} is described and has no route: take it out of src/server/openapi/operations.rs\n"
        );
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert_eq!(operations().len(), described.len(), "an operation is described twice");
}

#[test]
fn what_refers_leads_somewhere() {
    fn walk(document: &Value, at: &Value, seen: &mut usize) {
        if let Some(target) = at.get("$ref").and_then(Value::as_str) {
            let pointer = target.strip_prefix('#').expect("within the document");
            assert!(document.pointer(pointer).is_some(), "{target} leads nowhere");
            *seen += 1;
        }
        match at {
            Value::Object(fields) => fields.values().for_each(|field| walk(document, field, seen)),
            Value::Array(items) => items.iter().for_each(|item| walk(document, item, seen)),
            _ => {}
        }
    }
    let document = document();
    let mut seen = 0;
    walk(&document, &document, &mut seen);
    assert!(seen > 200, "only {seen} references");
}

#[test]
fn a_name_means_the_same_both_ways() {
    let mut schemas = Schemas::new();
    for operation in operations() {
        operation.document(&mut schemas);
    }
    let answered = schemas.answered.definitions().clone();
    for (name, taken) in schemas.taken.definitions() {
        assert!(
            answered.get(name).is_none_or(|other| other == taken),
            "{name} is taken and answered, and what may be left out differs: make two types of it"
        );
    }
}

#[test]
fn the_document_says_what_the_types_say() {
    let document = document();
    let at = |pointer: &str| document.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}")).clone();
    assert_eq!(at("/openapi"), "3.1.0");
    // What is optional in Rust is optional here, and a field's comment is its description.
    assert_eq!(at("/components/schemas/Change/additionalProperties"), false);
    assert!(document.pointer("/components/schemas/Change/required").is_none());
    assert_eq!(at("/components/schemas/Problem/properties/status/description"), "The HTTP status.");
    let required = at("/components/schemas/Link/required");
    let required: Vec<_> = required.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(required.contains(&"expires_at") && !required.contains(&"owner"), "{required:?}");
    let list = at("/paths/~1api~1links/get/parameters");
    let limit = list.as_array().expect("a list").iter().find(|one| one["name"] == "limit").expect("limit");
    assert_eq!((&limit["schema"]["type"], &limit["schema"]["maximum"]), (&json!("integer"), &json!(1000)));
    assert_eq!(at("/paths/~1api~1links/get/security"), json!([{"mutualTLS": []}, {"bearer": []}]));
    assert_eq!(
        at("/components/responses/404/content/application~1problem+json/schema/$ref"),
        "#/components/schemas/Problem"
    );
    for scheme in ["mutualTLS", "bearer", "invite"] {
        at(&format!("/components/securitySchemes/{scheme}"));
    }
}
