use std::io::{Read as _, Write as _};
use std::time::Duration;

use super::*;

fn config(dir: &Path, size: u64) -> PluginsConfig {
    PluginsConfig {
        cache_dir: dir.to_owned(),
        cache_size: Size(size),
        ..PluginsConfig::default()
    }
}

fn open(dir: &Path, size: u64) -> Cache {
    Cache::open(&config(dir, size), Path::new("/proc/self/exe"))
}

async fn put(cache: &Cache, component: &str, code: &[u8]) -> Code {
    let made = cache.make().unwrap();
    made.file().write_all(code).unwrap();
    cache.put(component, made).await.unwrap()
}

fn own(dir: &Path) -> PathBuf {
    dir.join(OWN_DIR)
}

fn read(mut code: Code) -> Vec<u8> {
    let mut bytes = Vec::new();
    code.file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn names(dir: &Path) -> Vec<String> {
    let files = fs::read_dir(dir).unwrap().flatten();
    files
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .collect()
}

/// As old as that: the order of use is by the time of the file.
fn age(dir: &Path, component: &str, cache: &Cache, seconds: u64) {
    let key = cache.key(component);
    let entry = entries(&own(dir))
        .into_iter()
        .find(|e| e.key == key)
        .unwrap();
    let file = File::options().write(true).open(entry.path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds))
        .unwrap();
}

#[tokio::test]
async fn code_outlives_the_agent_and_is_handed_on_for_reading_alone() {
    let dir = tempfile::tempdir().unwrap();
    let made = put(&open(dir.path(), 100), "sha256:a", b"code of a").await;
    assert_eq!(made.digest, format!("{:x}", Sha256::digest(b"code of a")));
    let later = open(dir.path(), 100);
    let code = later.get("sha256:a").unwrap();
    assert_eq!(code.digest, made.digest);
    assert!((&code.file).write_all(b"planted").is_err());
    assert_eq!(read(code), b"code of a");
    assert!(later.get("sha256:b").is_none());
}

#[tokio::test]
async fn code_of_another_binary_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    put(&open(dir.path(), 100), "sha256:a", b"code").await;
    let other = Cache::open(&config(dir.path(), 100), Path::new("/bin/sh"));
    assert!(other.get("sha256:a").is_none());
}

#[tokio::test]
async fn bad_code_is_forgotten_and_another_of_the_same_component_is_not() {
    let dir = tempfile::tempdir().unwrap();
    for cache in [open(dir.path(), 100), open(Path::new(""), 100)] {
        let code = put(&cache, "sha256:a", b"code").await;
        cache.forget("sha256:a", &"0".repeat(64));
        assert!(cache.get("sha256:a").is_some());
        cache.forget("sha256:a", &code.digest);
        assert!(cache.get("sha256:a").is_none());
    }
}

#[tokio::test]
async fn what_was_not_used_for_the_longest_time_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 10);
    for (component, seconds) in [("a", 30), ("b", 20), ("c", 10)] {
        put(&cache, component, b"1234").await;
        age(dir.path(), component, &cache, seconds);
    }
    // The third was over the bound.
    assert!(cache.get("a").is_none());
    // Used now: c is the older one then.
    assert!(cache.get("b").is_some());
    put(&cache, "d", b"1234").await;
    assert!(cache.get("c").is_none() && cache.get("b").is_some() && cache.get("d").is_some());
    // One that is too large alone is used, and goes with the next.
    put(&cache, "e", &[0; 99]).await;
    assert!(cache.get("e").is_some());
    put(&cache, "f", b"1").await;
    assert!(cache.get("e").is_none() && cache.get("f").is_some());
}

#[tokio::test]
async fn memory_is_bounded_as_well() {
    let cache = open(Path::new(""), 10);
    for component in ["a", "b", "c"] {
        put(&cache, component, b"1234").await;
    }
    let held = ["a", "b", "c"].map(|component| cache.get(component).is_some());
    assert_eq!(held, [false, true, true]);
}

#[test]
fn directory_is_used_while_nobody_else_may_write_in_it() {
    let dir = tempfile::tempdir().unwrap();
    // As a volume of a pod is.
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    let own = own(dir.path());
    assert_eq!(usable(dir.path()).unwrap(), own);
    assert_eq!(fs::metadata(&own).unwrap().mode() & 0o777, 0o700);
    fs::set_permissions(&own, Permissions::from_mode(0o770)).unwrap();
    let text = format!(
        "plugins.cache_dir {}: others may write in it (chmod go-w)",
        own.display()
    );
    assert_eq!(usable(dir.path()).unwrap_err(), text);
    let cache = open(dir.path(), 100);
    assert!(matches!(cache.place, Place::Memory(_)));
    // Somebody else's under its name.
    fs::remove_dir(&own).unwrap();
    std::os::unix::fs::symlink("/tmp", &own).unwrap();
    assert!(usable(dir.path()).is_err());
}

#[tokio::test]
async fn file_that_others_may_write_is_compiled_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), 100);
    put(&cache, "a", b"code").await;
    let path = entries(&own(dir.path())).remove(0).path;
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    assert!(cache.get("a").is_none());
    assert!(!path.exists());
}

#[tokio::test]
async fn agent_that_starts_leaves_another_one_s_file_in_the_making() {
    let dir = tempfile::tempdir().unwrap();
    let before = open(dir.path(), 100);
    let made = before.make().unwrap();
    made.file().write_all(b"code of a").unwrap();
    let next = open(dir.path(), 100);
    before.put("sha256:a", made).await.unwrap();
    assert_eq!(read(next.get("sha256:a").unwrap()), b"code of a");
}

#[test]
fn files_in_the_making_are_swept_and_foreign_ones_are_left() {
    let dir = tempfile::tempdir().unwrap();
    let own = usable(dir.path()).unwrap();
    for name in [".compiling-x", "README", "x.cwasm"] {
        fs::write(own.join(name), "").unwrap();
    }
    let cache = open(dir.path(), 0);
    cache.shrink("");
    let mut left = names(&own);
    left.sort();
    assert_eq!(left, ["README", "x.cwasm"]);
}

#[tokio::test]
async fn shipped_code_is_used_until_it_is_known_to_be_bad() {
    let (dir, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let name = shipped_name(b"a component", b"its code").unwrap();
    fs::write(image.path().join(name), b"its code").unwrap();
    let mut cache = open(dir.path(), 100);
    cache.shipped = Shipped::open(image.path());
    let component = format!("sha256:{:x}", Sha256::digest(b"a component"));
    let code = cache.get(&component).unwrap();
    let digest = code.digest.clone();
    assert_eq!(read(code), b"its code");
    assert!(cache.get("sha256:other").is_none());
    cache.forget(&component, &digest);
    assert!(cache.get(&component).is_none(), "it is compiled here");
    put(&cache, &component, b"better").await;
    assert_eq!(read(cache.get(&component).unwrap()), b"better");
}

#[test]
fn shipped_code_that_others_may_write_is_not_used() {
    let image = tempfile::tempdir().unwrap();
    fs::set_permissions(image.path(), Permissions::from_mode(0o777)).unwrap();
    assert!(Shipped::open(image.path()).is_none());
    assert!(Shipped::open(&image.path().join("none")).is_none());
}
