use super::*;

fn sink(plugin: &str, mode: &str) -> SinkConfig {
    let fields = serde_json::json!({ "name": "log", "plugin": plugin, "mode": mode });
    serde_json::from_value(fields).unwrap()
}

fn saved() -> Saved {
    let sink = SavedSink {
        plugins: vec!["simple-log".to_owned()],
        mode: Mode::Delta,
        end: Some(UnixNanos(7)),
        states: vec![vec![0, 255], vec![]],
        counters: SinkCounters {
            windows_delivered: 3,
            ..SinkCounters::default()
        },
        last_error: "once".to_owned(),
    };
    Saved::new(BTreeMap::from([("log".to_owned(), sink)]))
}

#[test]
fn what_is_written_is_read_by_the_next_agent_for_the_same_sink() {
    let dir = tempfile::tempdir().unwrap();
    let (mut state, before) = State::open(dir.path()).unwrap();
    assert_eq!(before.unwrap(), Saved::default());
    state.write(&saved()).unwrap();
    drop(state);
    let (_state, after) = State::open(dir.path()).unwrap();
    let after = after.unwrap();
    assert_eq!(after, saved());
    assert!(after.of(&sink("simple-log", "delta")).is_some());
    assert_eq!(after.of(&sink("json-log", "delta")), None);
    assert_eq!(after.of(&sink("simple-log", "latest")), None);
}

#[test]
fn file_that_does_not_do_is_told_and_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(NAME);
    let path = file.display();
    for (text, why) in [
        (
            "{",
            format!("{path} is no state of sinks: it is left aside, and written anew"),
        ),
        (
            r#"{"version": 9, "sinks": {}}"#,
            format!(
                "{path} is of version 9, and this agent knows 1: it is left aside, and written anew"
            ),
        ),
    ] {
        fs::write(&file, text).unwrap();
        let (mut state, read) = State::open(dir.path()).unwrap();
        assert_eq!(read.unwrap_err().to_string(), why);
        state.write(&saved()).unwrap();
        drop(state);
        assert_eq!(State::open(dir.path()).unwrap().1.unwrap(), saved());
    }
    File::create(&file).unwrap().set_len(SIZE_MAX + 1).unwrap();
    let error = State::open(dir.path()).unwrap().1.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("16777217 bytes, and 16777216 are the most"),
        "{error}"
    );
}

#[test]
fn missing_directory_and_a_second_agent_are_told_with_the_remedy() {
    let error = State::open(Path::new("/nowhere/state")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "state directory /nowhere/state is not there: make it, or set another by state_dir in [plugins]"
    );
    let dir = tempfile::tempdir().unwrap();
    let _first = State::open(dir.path()).unwrap();
    let error = State::open(dir.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is locked by another agent: give each its own by state_dir in [plugins]")
    );
}

#[test]
fn file_is_the_agents_alone_and_a_part_of_one_is_never_in_its_place() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (mut state, _) = State::open(dir.path()).unwrap();
    state.write(&saved()).unwrap();
    let permissions = fs::metadata(dir.path().join(NAME)).unwrap().permissions();
    assert_eq!(permissions.mode() & 0o777, 0o600);
    // What a kill between write and rename leaves.
    fs::write(dir.path().join("sinks.json.part"), "{").unwrap();
    drop(state);
    let (mut state, read) = State::open(dir.path()).unwrap();
    assert_eq!(read.unwrap(), saved());
    state.write(&Saved::new(BTreeMap::new())).unwrap();
    assert!(!dir.path().join("sinks.json.part").exists());
}
