use std::io::Read;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::{Permissions, Size};

fn config(path: &Path) -> FileEndpoint {
    serde_json::from_value(serde_json::json!({ "path": path })).unwrap()
}

async fn arrived(file: &mut File, body: &str) {
    let delivery = file.deliver(body.as_bytes().to_vec()).await;
    assert!(matches!(delivery, Delivery::Arrived), "{delivery:?}");
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn appends_and_follows_a_rotation_by_others() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
    fs::write(&path, "there\n").unwrap();
    let mut file = File::open(&config(&path)).unwrap();
    arrived(&mut file, "a\n").await;
    fs::rename(&path, &old).unwrap();
    arrived(&mut file, "b\n").await;
    fs::remove_file(&path).unwrap();
    arrived(&mut file, "c\n").await;
    assert_eq!(read(&old), "there\na\n");
    assert_eq!(read(&path), "c\n");
}

#[tokio::test]
async fn full_device_is_tried_again_and_a_missing_directory_is_told_at_once() {
    let mut full = File::open(&config(Path::new("/dev/full"))).unwrap();
    assert!(
        matches!(full.deliver(b"x".to_vec()).await, Delivery::Retry(why, None) if why.contains("/dev/full"))
    );
    let error = File::open(&config(Path::new("/nowhere/log")))
        .err()
        .unwrap();
    assert!(
        error.starts_with("cannot open /nowhere/log for writing: No such file"),
        "{error}"
    );
}

#[tokio::test]
async fn file_is_rotated_before_it_is_too_large_and_so_many_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut config = config(&path);
    (config.rotate_size, config.keep) = (Size(6), 2);
    config.permissions = Permissions(0o640);
    let mut file = File::open(&config).unwrap();
    for body in [
        "a\n",
        "b\n",
        "c\n",
        "ddd\n",
        "eee\n",
        "a whole one over the size\n",
        "f\n",
    ] {
        arrived(&mut file, body).await;
    }
    assert_eq!(names(dir.path()), ["log", "log.1", "log.2"]);
    assert_eq!(read(&path), "f\n");
    assert_eq!(
        read(&dir.path().join("log.1")),
        "a whole one over the size\n"
    );
    assert_eq!(read(&dir.path().join("log.2")), "eee\n");
    for name in names(dir.path()) {
        let bits = fs::metadata(dir.path().join(name)).unwrap().mode() & 0o777;
        assert_eq!(bits, 0o640);
    }
}

#[tokio::test]
async fn rotated_files_are_compressed_and_move_up_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut config = config(&path);
    (config.rotate_size, config.keep, config.gzip) = (Size(1), 2, true);
    let mut file = File::open(&config).unwrap();
    for body in ["a\n", "b\n", "c\n", "d\n"] {
        arrived(&mut file, body).await;
    }
    assert_eq!(names(dir.path()), ["log", "log.1.gz", "log.2.gz"]);
    for (name, expected) in [("log.1.gz", "c\n"), ("log.2.gz", "b\n")] {
        let mut text = String::new();
        let zipped = fs::File::open(dir.path().join(name)).unwrap();
        flate2::read::GzDecoder::new(zipped)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, expected);
    }
}

#[tokio::test]
async fn old_file_is_rotated_by_age() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut config = config(&path);
    config.rotate_after = Some(Duration::from_secs(3600));
    let mut file = File::open(&config).unwrap();
    arrived(&mut file, "a\n").await;
    arrived(&mut file, "b\n").await;
    file.log.as_mut().unwrap().begun = SystemTime::now() - Duration::from_secs(3601);
    arrived(&mut file, "c\n").await;
    assert_eq!(read(&path), "c\n");
    assert_eq!(read(&dir.path().join("log.1")), "a\nb\n");
}

#[tokio::test]
async fn rotation_that_fails_loses_nothing_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut config = config(&path);
    (config.rotate_size, config.keep) = (Size(1), 1);
    // A directory with something in it is in the way of the rename.
    fs::create_dir_all(dir.path().join("log.1/x")).unwrap();
    let mut file = File::open(&config).unwrap();
    arrived(&mut file, "a\n").await;
    let delivery = file.deliver(b"b\n".to_vec()).await;
    assert!(
        matches!(&delivery, Delivery::ArrivedBut(0, why) if why.starts_with("cannot rotate ")),
        "{delivery:?}"
    );
    assert_eq!(read(&path), "a\nb\n");
}

/// What a process that was killed left, and what the next one makes of the same two payloads.
#[tokio::test]
async fn payload_that_an_earlier_process_wrote_whole_or_in_part_is_there_once() {
    for left in [
        "",
        "win",
        "window=1\n",
        "window=1\nwin",
        "window=1\nwindow=2\n",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "before\n").unwrap();
        let mark = File::open(&config(&path)).unwrap().mark().unwrap();
        fs::write(&path, format!("before\n{left}")).unwrap();
        let mut file = File::open(&config(&path)).unwrap();
        file.resume(mark);
        arrived(&mut file, "window=1\n").await;
        arrived(&mut file, "window=2\n").await;
        file.resumed();
        arrived(&mut file, "window=2\n").await;
        let expected = "before\nwindow=1\nwindow=2\nwindow=2\n";
        assert_eq!(read(&path), expected, "{left:?} was left");
    }
}

#[tokio::test]
async fn payload_for_which_an_earlier_process_rotated_is_there_once() {
    for left in [None, Some(""), Some("win"), Some("window=1\n")] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "before\n").unwrap();
        let mark = File::open(&config(&path)).unwrap().mark().unwrap();
        fs::rename(&path, dir.path().join("log.1")).unwrap();
        if let Some(left) = left {
            fs::write(&path, left).unwrap();
        }
        let mut file = File::open(&config(&path)).unwrap();
        file.resume(mark);
        arrived(&mut file, "window=1\n").await;
        assert_eq!(read(&path), "window=1\n", "{left:?} was left");
        assert_eq!(read(&dir.path().join("log.1")), "before\n");
    }
}
