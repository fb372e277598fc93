use super::*;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use tempfile::TempDir;

/// A folder, a source of it, and a clock that moves a second with each look.
struct Bench {
    folder: TempDir,
    watcher: Watcher,
    now: Duration,
}

impl Bench {
    fn new(pattern: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pattern = folder.path().join(pattern);
        let watcher = Watcher::new(pattern.to_str().unwrap()).unwrap();
        Self { folder, watcher, now: Duration::ZERO }
    }

    /// With a file `a.json` that has been read and is known well.
    fn with_good_file() -> Self {
        let mut bench = Self::new("*.json");
        bench.write("a.json", &names(&["a"]));
        assert_eq!(bench.look(), "a");
        assert_eq!(bench.look(), "");
        assert_eq!(bench.look(), "");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn replace(&self, name: &str, text: &str) {
        self.write(".new", text);
        fs::rename(self.path(".new"), self.path(name)).unwrap();
    }

    /// Looks, and shows what was found: the targets when they are new, `!` and the reason for each failed refresh (twice
    /// when it is told), and `mended`.
    fn look(&mut self) -> String {
        self.now += Duration::from_secs(1);
        let look = self.watcher.look(self.now);
        let mut found = Vec::new();
        if let Some(targets) = look.targets {
            let ids: Vec<String> = targets.iter().map(|target| target.id.to_string()).collect();
            found.push(if ids.is_empty() { "none".to_owned() } else { ids.join(" ") });
        }
        for failure in look.failures {
            let mark = if failure.is_news { "!!" } else { "!" };
            let name = failure.place.file_name().unwrap().to_string_lossy().into_owned();
            found.push(format!("{mark}{name}: {}", failure.reason));
        }
        found.extend(look.mended.iter().map(|path| format!("mended {}", path.file_name().unwrap().to_string_lossy())));
        found.join("; ")
    }

    /// What the next so many looks found, but for those that found nothing.
    fn looks(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.look()).filter(|found| !found.is_empty()).collect()
    }
}

fn names(ids: &[&str]) -> String {
    serde_json::json!([{"targets": ids}]).to_string()
}

#[test]
fn a_file_is_told_once() {
    let mut bench = Bench::with_good_file();
    assert!(bench.looks(5).is_empty());
}

#[test]
fn a_glob_that_matches_nothing_names_nothing() {
    for pattern in ["*.json", "tasks.json", "nowhere/*.json", "nowhere/tasks.json"] {
        let mut bench = Bench::new(pattern);
        assert_eq!(bench.look(), "none", "{pattern}");
        assert!(bench.looks(3).is_empty());
    }
}

#[test]
fn a_file_that_another_is_renamed_over_is_read() {
    let mut bench = Bench::with_good_file();
    bench.replace("a.json", &names(&["b"]));
    assert_eq!(bench.look(), "b");
    assert!(bench.looks(3).is_empty());
}

#[test]
fn a_file_that_is_rewritten_in_place_is_read() {
    let mut bench = Bench::with_good_file();
    // Of the same size.
    bench.write("a.json", &names(&["b"]));
    assert_eq!(bench.looks(1), ["b"]);
    bench.write("a.json", &names(&["c"]));
    assert_eq!(bench.looks(1), ["c"]);
}

#[test]
fn a_list_that_says_the_same_is_not_told_again() {
    let mut bench = Bench::with_good_file();
    bench.replace("a.json", &format!("{}\n\n", names(&["a"])));
    assert!(bench.looks(3).is_empty());
}

#[test]
fn the_swap_of_the_folder_that_a_link_leads_to_is_seen() {
    let mut bench = Bench::new("*.yaml");
    // As kubelet lays a ConfigMap out: tasks.yaml → ..data/tasks.yaml, ..data → ..2026_1.
    for (version, id) in [("..2026_1", "a"), ("..2026_2", "b")] {
        fs::create_dir(bench.path(version)).unwrap();
        bench.write(&format!("{version}/tasks.yaml"), &format!("- targets: [{id}]\n"));
    }
    symlink("..2026_1", bench.path("..data")).unwrap();
    symlink("..data/tasks.yaml", bench.path("tasks.yaml")).unwrap();
    assert_eq!(bench.looks(3), ["a"]);

    symlink("..2026_2", bench.path("..data_tmp")).unwrap();
    fs::rename(bench.path("..data_tmp"), bench.path("..data")).unwrap();
    fs::remove_dir_all(bench.path("..2026_1")).unwrap();
    assert_eq!(bench.looks(3), ["b"]);
}

#[test]
fn an_empty_replacement_is_a_list_like_any_other() {
    for empty in ["", "\n", "[]"] {
        let mut bench = Bench::with_good_file();
        bench.replace("a.json", empty);
        assert_eq!(bench.looks(3), ["none"], "{empty:?}");
        bench.replace("a.json", &names(&["a"]));
        assert_eq!(bench.looks(3), ["a"]);
    }
}

#[test]
fn a_file_that_is_just_being_written_gets_a_second_look() {
    let mut bench = Bench::with_good_file();
    for half in ["", "[{\"tar"] {
        bench.write("a.json", half);
        assert_eq!(bench.look(), "", "{half:?}");
        bench.write("a.json", &names(&["b"]));
        assert_eq!(bench.looks(3), ["b"]);
        bench.write("a.json", &names(&["a"]));
        assert_eq!(bench.looks(3), ["a"]);
    }
    fs::remove_file(bench.path("a.json")).unwrap();
    assert_eq!(bench.look(), "");
    bench.write("a.json", &names(&["a"]));
    assert!(bench.looks(3).is_empty());
}

#[test]
fn a_broken_file_keeps_its_list_and_counts_once_per_change_and_minute() {
    let mut bench = Bench::with_good_file();
    bench.replace("a.json", "[{");
    let broken = "!a.json: [0]: EOF while parsing an object at line 1 column 2";
    assert_eq!(bench.looks(130), [format!("!{broken}"), broken.to_owned(), broken.to_owned()]);
    bench.replace("a.json", "[]]");
    assert_eq!(bench.looks(50), ["!!a.json: trailing characters at line 1 column 3"], "another reason");
    bench.replace("a.json", &names(&["a"]));
    assert_eq!(bench.looks(130), ["mended a.json"]);
    bench.replace("a.json", "[");
    assert_eq!(bench.looks(3).len(), 1);
    bench.replace("a.json", &names(&["a", "b"]));
    assert_eq!(bench.looks(3), ["a b; mended a.json"]);
}

#[test]
fn a_file_that_is_broken_whenever_one_looks_is_told_all_the_same() {
    let mut bench = Bench::with_good_file();
    let mut found = Vec::new();
    for number in 0..6 {
        bench.replace("a.json", &" ".repeat(number + 1).replace(' ', "["));
        found.push(bench.look());
    }
    assert_eq!(found.iter().filter(|found| !found.is_empty()).count(), 3, "{found:?}");
    assert!(bench.looks(50).is_empty(), "the last change has been counted");
}

#[test]
fn one_broken_file_stands_in_the_way_of_no_other() {
    let mut bench = Bench::with_good_file();
    bench.write("b.json", "nonsense");
    bench.write("c.json", &names(&["c"]));
    let found = bench.looks(3);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0], "a c");
    assert!(found[1].starts_with("!!b.json: "), "{found:?}");
    bench.replace("a.json", "nonsense");
    bench.replace("c.json", &names(&["d"]));
    let found = bench.looks(3);
    assert_eq!(found[0], "a d");
    assert!(found[1].starts_with("!!a.json: "), "{found:?}");
}

#[test]
fn a_source_that_is_broken_from_the_start_says_nothing_until_it_is_good() {
    let mut bench = Bench::new("*.json");
    bench.write("a.json", "nonsense");
    let found = bench.looks(5);
    assert!(found.len() == 1 && found[0].starts_with("!!a.json: "), "{found:?}");
    bench.replace("a.json", "[]");
    assert_eq!(bench.looks(3), ["none; mended a.json"]);
}

#[test]
fn the_first_list_waits_for_a_file_that_is_just_being_written() {
    let mut bench = Bench::new("*.json");
    bench.write("a.json", &names(&["a"]));
    bench.write("b.json", "");
    assert_eq!(bench.look(), "");
    bench.write("b.json", &names(&["b"]));
    assert_eq!(bench.looks(3), ["a b"]);
}

#[test]
fn an_unreadable_file_keeps_its_list_and_counts_once_a_minute() {
    let mut bench = Bench::with_good_file();
    // Who may do everything can read everything: a folder in the file's place stands for what can't be read, too.
    fs::remove_file(bench.path("a.json")).unwrap();
    symlink("a.json", bench.path("a.json")).unwrap();
    let found = bench.looks(121);
    assert!((2..=3).contains(&found.len()), "{found:?}");
    assert!(found[0].starts_with("!!a.json: it can't be read: "), "{found:?}");
    assert!(found[1].starts_with("!a.json: it can't be read: "), "{found:?}");
    bench.replace("a.json", &names(&["b"]));
    assert_eq!(bench.looks(3), ["b; mended a.json"]);
}

#[test]
fn a_file_that_may_not_be_read_is_read_as_soon_as_it_may() {
    let mut bench = Bench::with_good_file();
    bench.replace("a.json", &names(&["b"]));
    fs::set_permissions(bench.path("a.json"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(bench.path("a.json")).is_ok() {
        // Root may read everything.
        return;
    }
    let found = bench.looks(3);
    assert!(found.len() == 1 && found[0].starts_with("!!a.json: it can't be read: "), "{found:?}");
    fs::set_permissions(bench.path("a.json"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(bench.look(), "b; mended a.json");
}

#[test]
fn what_is_no_file_is_not_read() {
    let mut bench = Bench::with_good_file();
    fs::create_dir(bench.path("folder.json")).unwrap();
    assert_eq!(bench.looks(50), ["!!folder.json: it is no regular file"]);
}

#[test]
fn a_file_that_is_gone_names_nothing_any_more() {
    let mut bench = Bench::with_good_file();
    bench.write("b.json", &names(&["b"]));
    assert_eq!(bench.looks(3), ["a b"]);
    fs::remove_file(bench.path("a.json")).unwrap();
    assert_eq!(bench.looks(3), ["b"]);
    fs::remove_file(bench.path("b.json")).unwrap();
    assert_eq!(bench.looks(3), ["none"]);
    bench.write("c.json", &names(&["c"]));
    assert_eq!(bench.looks(3), ["c"]);
}

#[test]
fn a_broken_file_that_is_gone_is_forgotten() {
    let mut bench = Bench::with_good_file();
    bench.write("b.json", "nonsense");
    assert_eq!(bench.looks(3).len(), 1);
    fs::remove_file(bench.path("b.json")).unwrap();
    assert_eq!(bench.looks(100), ["mended b.json"]);
    assert_eq!(bench.watcher.files.len(), 1);
}

#[test]
fn only_what_the_glob_matches_is_read_and_hidden_names_only_where_they_are_meant() {
    let mut bench = Bench::new("*.json");
    bench.write("b.yaml", "- targets: [b]");
    bench.write(".c.json", &names(&["c"]));
    fs::create_dir(bench.path("d")).unwrap();
    bench.write("d/d.json", &names(&["d"]));
    assert_eq!(bench.look(), "none");
    fs::create_dir(bench.path(".hidden")).unwrap();
    bench.write(".hidden/e.json", &names(&["e"]));
    for (pattern, expected) in [("*/*.json", "d"), (".*/*.json", "e"), (".hidden/*.json", "e"), ("?/[a-z].json", "d")] {
        let mut watcher = Watcher::new(bench.path(pattern).to_str().unwrap()).unwrap();
        let targets = watcher.look(Duration::ZERO).targets.unwrap();
        assert_eq!(targets.iter().map(|target| target.id.as_str()).collect::<Vec<_>>(), [expected], "{pattern}");
    }
    let mut hidden = Watcher::new(bench.path(".*.json").to_str().unwrap()).unwrap();
    assert_eq!(hidden.look(Duration::ZERO).targets.unwrap().len(), 1);
}

#[test]
fn a_name_that_is_not_utf_8_does_no_harm() {
    let mut bench = Bench::with_good_file();
    fs::write(bench.folder.path().join(std::ffi::OsStr::from_bytes(b"\xff.json")), "[]").unwrap();
    assert!(bench.looks(3).is_empty());
    bench.replace("a.json", &names(&["b"]));
    assert_eq!(bench.looks(3), ["b"]);
}

#[test]
fn the_ending_says_the_notation_in_small_and_capital_letters() {
    let mut bench = Bench::new("*.*");
    bench.write("a.JSON", &names(&["a"]));
    bench.write("b.yml", "- targets: [b]");
    bench.write("c.YAML", "- targets: [c]");
    bench.write("d.txt", "- targets: [d]");
    assert_eq!(bench.looks(3), ["a b c; !!d.txt: its name ends neither in .json nor in .yml or .yaml"]);
}

#[test]
fn of_an_id_in_two_files_the_first_by_name_counts() {
    let mut bench = Bench::new("*.yaml");
    bench.write("b.yaml", "- {targets: [x], labels: {group: b}}");
    bench.write("a.yaml", "- {targets: [x], labels: {group: a}}");
    let targets = bench.watcher.look(Duration::ZERO).targets.unwrap();
    assert_eq!((targets.len(), targets[0].group.as_str()), (1, "a"));
}

#[test]
fn the_files_of_a_source_share_the_room_there_is() {
    let mut bench = Bench::new("*.json");
    let many = |from: usize, count: usize| {
        let ids: Vec<String> = (from..from + count).map(|number| number.to_string()).collect();
        serde_json::json!([{"targets": ids}]).to_string()
    };
    let half = MAX_TARGETS / 2;
    bench.write("a.json", &many(0, half));
    bench.write("b.json", &many(half, half + 1));
    assert_eq!(bench.looks(2).len(), 1, "a alone, and that b is too much");
    assert_eq!(bench.watcher.union().len(), half);
    bench.replace("b.json", &many(half, half));
    bench.looks(2);
    assert_eq!(bench.watcher.union().len(), MAX_TARGETS);
    // What is too much only because of the others is tried again without a change.
    bench.replace("b.json", &many(half, half + 1));
    assert_eq!(bench.looks(3).len(), 1);
    bench.replace("a.json", "[]");
    assert_eq!(bench.watcher.union().len(), MAX_TARGETS);
    let found = bench.looks(62);
    assert!(found.last().unwrap().ends_with("mended b.json"));
    assert_eq!(bench.watcher.union().len(), half + 1);
}

#[test]
fn a_source_of_too_many_files_reads_as_many_as_it_may() {
    let mut bench = Bench::new("*.json");
    for number in 0..=MAX_FILES {
        bench.write(&format!("{number:04}.json"), &names(&[&format!("t{number}")]));
    }
    let look = bench.watcher.look(Duration::ZERO);
    assert_eq!(look.targets.unwrap().len(), MAX_FILES);
    assert_eq!(look.failures.len(), 1);
    assert!(look.failures[0].reason.contains("more than 1000 files"), "{:?}", look.failures);
    fs::remove_file(bench.path("0000.json")).unwrap();
    let found = bench.looks(3);
    assert!(found[0].ends_with("mended *.json"), "{found:?}");
    assert_eq!(bench.watcher.union().len(), MAX_FILES);
}

#[test]
fn a_label_without_a_meaning_is_told_with_the_list_it_is_in() {
    let mut bench = Bench::new("*.yaml");
    bench.write("a.yaml", "- {targets: [x], labels: {env: prod}}");
    assert_eq!(bench.watcher.look(Duration::ZERO).unknown_labels, BTreeSet::from(["env".to_owned()]));
    assert!(bench.watcher.look(Duration::ZERO).unknown_labels.is_empty());
}

#[test]
fn a_pattern_without_wildcards_means_one_path() {
    for (pattern, path) in [
        ("tasks.json", Some("tasks.json")),
        ("/a[[]1[]]/t[*].json", Some("/a[1]/t*.json")),
        ("/a]/é.json", Some("/a]/é.json")),
        ("*.json", None),
        ("a?.json", None),
        ("[ab].json", None),
        ("a[[]*.json", None),
    ] {
        assert_eq!(literal(pattern).as_deref(), path.map(Path::new), "{pattern}");
    }
}
