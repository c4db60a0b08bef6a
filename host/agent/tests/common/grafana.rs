//! Queries of the dashboards in `deploy/grafana/`, with their variables filled in as Grafana does it.

use serde_json::Value;

/// Title and query of every panel of `deploy/grafana/FILE`, and of its variables, under this key.
pub fn queries(file: &str, key: &str, variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/grafana");
    let text = std::fs::read_to_string(path.join(file)).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target[key].as_str().unwrap();
            queries.push((
                panel["title"].as_str().unwrap().to_owned(),
                filled(query, variables),
            ));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["definition"].as_str() {
            let name = format!("variable {}", variable["name"].as_str().unwrap());
            queries.push((name, filled(query, variables)));
        }
    }
    assert!(queries.len() > 10, "{file} has {} queries", queries.len());
    queries
}

fn filled(query: &str, variables: &[(&str, &str)]) -> String {
    let query = variables
        .iter()
        .fold(query.to_owned(), |query, (name, value)| {
            query.replace(name, value)
        });
    // A dollar before a slash ends a regular expression.
    let left = query.replace("$/", "/");
    assert!(!left.contains('$'), "a variable is left: {query}");
    query
}
