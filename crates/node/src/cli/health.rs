//! `regraft health`: judges objects from a file or a pipe, without a cluster.

use super::{Exit, Failure, complain, output, print, table};
use crate::clock;
use clap::{Args, ValueEnum};
use regraft_diff::health::{Profile, judge, status_word};
use regraft_model::health::{Health, Verdict};
use regraft_model::object::Object;
use serde_json::{Value, json};
use std::io::Read as _;

/// More bytes than this are not read at once: `kubectl get -o json` of a large namespace fits.
const INPUT_BYTES_MAX: u64 = 256 * 1024 * 1024;

#[derive(Args)]
pub(crate) struct HealthArgs {
    /// Objects as YAML (several documents), JSON, a List, or JSON lines; `-` reads standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    files: Vec<String>,
    /// In whose words and by whose rules
    #[arg(long, value_enum, default_value_t)]
    profile: Words,
    /// `json` prints one line an object, in order; `yaml` a list
    #[arg(short, long, value_enum, default_value_t)]
    output: Shape,
    /// End with code 1 unless every object is healthy, or suspended on purpose
    #[arg(long)]
    exit_code: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Words {
    #[default]
    Regraft,
    Kstatus,
    Argo,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Shape {
    #[default]
    Table,
    Json,
    Yaml,
}

pub(super) fn run(args: &HealthArgs) -> Result<(), Failure> {
    let profile = match args.profile {
        Words::Regraft => Profile::Regraft,
        Words::Kstatus => Profile::Kstatus,
        Words::Argo => Profile::Argo,
    };
    let now = clock::now();
    let mut rows = Vec::new();
    for file in &args.files {
        for object in objects(file, &read(file)?)? {
            let verdict = judge(&object, profile, now);
            let status = status_word(profile, &verdict);
            rows.push((object.key().to_string(), status, verdict));
        }
    }
    if rows.is_empty() {
        complain("No objects found.\n");
        return Ok(());
    }
    let is_well = rows
        .iter()
        .all(|(_, _, verdict)| verdict.health <= Health::Suspended);
    print(&shown(rows, args.output)?)?;
    match args.exit_code && !is_well {
        true => Err(Failure::quiet(Exit::Failed)),
        false => Ok(()),
    }
}

fn shown(rows: Vec<(String, String, Verdict)>, shape: Shape) -> Result<String, Failure> {
    let document = |(object, status, verdict): (String, String, Verdict)| {
        json!({
            "object": object,
            "status": status,
            "reason": verdict.reason,
            "message": verdict.message,
            "waitsFor": verdict.waits_for,
        })
    };
    match shape {
        Shape::Json => Ok(rows
            .into_iter()
            .map(|row| format!("{}\n", document(row)))
            .collect()),
        Shape::Yaml => output::yaml(&rows.into_iter().map(document).collect()),
        Shape::Table => Ok(table::table(
            table::Width::of_stdout(),
            ["OBJECT", "STATUS", "REASON", "WAITS FOR", "MESSAGE"],
            rows.into_iter().map(|(object, status, verdict)| {
                [
                    object,
                    status,
                    verdict.reason,
                    table::or_dash(&verdict.waits_for),
                    verdict.message,
                ]
            }),
        )),
    }
}

fn read(file: &str) -> Result<String, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::new(
            Exit::Usage,
            "Unreadable",
            format!("{} cannot be read: {error}", called(file)),
            "name a file of objects with -f, or - for standard input",
        )
    };
    let mut bytes = Vec::new();
    let limit = INPUT_BYTES_MAX + 1;
    match file {
        "-" => std::io::stdin().lock().take(limit).read_to_end(&mut bytes),
        path => std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)),
    }
    .map_err(unreadable)?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(unreadable(std::io::Error::other(format!(
            "more than {INPUT_BYTES_MAX} bytes"
        ))));
    }
    String::from_utf8(bytes).map_err(|error| unreadable(std::io::Error::other(error)))
}

/// JSON, JSON lines or YAML documents, told apart by the first character; Lists are opened.
fn objects(file: &str, text: &str) -> Result<Vec<Object>, Failure> {
    let documents = match text.trim_start().starts_with('{') || text.trim_start().starts_with('[') {
        true => json_documents(text).or_else(|problem| yaml_documents(text).map_err(|_| problem)),
        false => yaml_documents(text),
    };
    let no_objects = |problem: &str| {
        Failure::new(
            Exit::Usage,
            "NoObjects",
            format!("{} holds no objects: {problem}", called(file)),
            "give YAML, JSON or JSON lines as `kubectl get -o yaml` writes them",
        )
    };
    let documents = documents.map_err(|problem| no_objects(&problem))?;
    let mut objects = Vec::new();
    let is_empty_list = documents.iter().any(is_empty_list);
    for document in documents {
        open(document, &mut objects);
    }
    match objects.iter().any(|object| object.0.is_object()) {
        true => Ok(objects),
        false if is_empty_list => Ok(Vec::new()),
        false if text.trim().is_empty() => Err(no_objects("it is empty")),
        false => Err(no_objects("it has no map with `kind` in it")),
    }
}

/// As a person calls it.
fn called(file: &str) -> &str {
    match file {
        "-" => "standard input",
        path => path,
    }
}

/// What `kubectl get -o json` writes where nothing is.
fn is_empty_list(document: &Value) -> bool {
    let kind = document.get("kind").and_then(Value::as_str);
    let items = document.get("items").and_then(Value::as_array);
    kind.is_some_and(|kind| kind.ends_with("List")) && items.is_some_and(Vec::is_empty)
}

fn open(document: Value, objects: &mut Vec<Object>) {
    match document {
        Value::Null => {}
        Value::Array(items) => items.into_iter().for_each(|item| open(item, objects)),
        Value::Object(mut map)
            if map
                .get("kind")
                .and_then(Value::as_str)
                .is_some_and(|kind| kind.ends_with("List"))
                && map.contains_key("items") =>
        {
            open(map.remove("items").unwrap_or_default(), objects);
        }
        other => objects.push(Object(other)),
    }
}

fn json_documents(text: &str) -> Result<Vec<Value>, String> {
    serde_json::Deserializer::from_str(text)
        .into_iter::<Value>()
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

fn yaml_documents(text: &str) -> Result<Vec<Value>, String> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| explain(&error))
}

/// The limits of the reader guard against text that grows as it is read; they are told in words.
fn explain(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::budget::BudgetBreach;
    let error = error.without_snippet();
    let serde_saphyr::Error::Budget { breach, .. } = error else {
        return error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
    };
    match breach {
        BudgetBreach::Documents { documents } => format!(
            "more than {} YAML documents: split the file, or give JSON lines",
            documents.saturating_sub(1)
        ),
        BudgetBreach::Depth { depth } => {
            format!("deeper than {} levels: flatten it", depth.saturating_sub(1))
        }
        BudgetBreach::Aliases { .. }
        | BudgetBreach::Anchors { .. }
        | BudgetBreach::AliasAnchorRatio { .. }
        | BudgetBreach::MergeKeys { .. }
        | BudgetBreach::RecordedAnchorEvents { .. }
        | BudgetBreach::RecordedAnchorBytes { .. } => {
            "too many anchors, aliases or merges: write the values out".to_owned()
        }
        _ => "too large to be read as YAML at once: split the file, or give JSON lines".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        objects("test", text)
            .unwrap()
            .iter()
            .map(|object| object.key().to_string())
            .collect()
    }

    #[test]
    fn objects_come_in_order_from_yaml_json_lists_and_json_lines() {
        let yaml =
            "kind: Pod\nmetadata: {name: a}\n---\n# nothing\n---\nkind: Pod\nmetadata: {name: b}\n";
        assert_eq!(names(yaml), ["Pod a", "Pod b"]);
        let json = r#"{"kind":"Pod","metadata":{"name":"a"}}"#;
        assert_eq!(names(json), ["Pod a"]);
        assert_eq!(names(&format!("{json}\n{json}\n")), ["Pod a", "Pod a"]);
        assert_eq!(names(&format!("[{json},{json}]")), ["Pod a", "Pod a"]);
        assert_eq!(
            names(&format!(r#"{{"kind":"PodList","items":[{json}]}}"#)),
            ["Pod a"]
        );
        assert_eq!(names("{kind: Pod, metadata: {name: flow}}"), ["Pod flow"]);
    }

    #[test]
    fn input_without_objects_is_an_error_and_an_empty_list_is_none() {
        let shown: Vec<String> = ["", "# nothing\n", "[]", "just text", "1\n---\n2\n"]
            .iter()
            .map(|text| objects("-", text).unwrap_err().to_string())
            .map(|failure| failure.lines().next().unwrap_or_default().to_owned())
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
        error: NoObjects: standard input holds no objects: it is empty
        error: NoObjects: standard input holds no objects: it has no map with `kind` in it
        error: NoObjects: standard input holds no objects: it has no map with `kind` in it
        error: NoObjects: standard input holds no objects: it has no map with `kind` in it
        error: NoObjects: standard input holds no objects: it has no map with `kind` in it
        ");
        assert!(
            objects("-", r#"{"kind":"List","items":[]}"#)
                .unwrap()
                .is_empty()
        );
        // One line an object, in order: what stands between objects keeps its place.
        assert_eq!(
            names("just text\n---\nkind: Pod\nmetadata: {name: a}\n").len(),
            2
        );
    }

    #[test]
    fn limits_of_the_reader_are_told_in_words() {
        let told = |text: &str| {
            let failure = objects("huge.yaml", text).unwrap_err().to_string();
            failure.lines().next().unwrap_or_default().to_owned()
        };
        let shown = [
            told(&"kind: Pod\n---\n".repeat(1100)),
            told(&"a:\n  - &a b\n  - *a\n".replace("- *a\n", &"- *a\n  ".repeat(100_000))),
        ]
        .join("\n");
        insta::assert_snapshot!(shown, @r"
        error: NoObjects: huge.yaml holds no objects: more than 1024 YAML documents: split the file, or give JSON lines
        error: NoObjects: huge.yaml holds no objects: too many anchors, aliases or merges: write the values out
        ");
    }

    #[test]
    fn text_that_holds_no_objects_says_so() {
        let failure = objects("x.yaml", "a: [1").unwrap_err().to_string();
        assert!(
            failure.starts_with("error: NoObjects: x.yaml holds no objects"),
            "{failure}"
        );
    }
}
