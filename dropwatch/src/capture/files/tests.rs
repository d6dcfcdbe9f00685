use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use tempfile::TempDir;

use super::*;

const RECORDED: &[u8] = b"\x89DWR\r\n\x1a\n and so on";

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Names and contents of a folder.
fn contents(folder: &TempDir) -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap_or_default())
        })
        .collect();
    files.sort();
    files
}

fn names(folder: &TempDir) -> Vec<String> {
    contents(folder).into_iter().map(|(name, _)| name).collect()
}

fn rotation(size: u64, keep: Option<u32>) -> Option<Rotation> {
    Some(Rotation { size, keep })
}

#[test]
fn a_file_is_replaced_and_for_its_owner_alone() {
    let folder = folder();
    let path = folder.path().join("drops");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let reader = File::open(&path).unwrap();
    let mut files = Files::create(&path, None, &[]).unwrap();
    files.write(b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, MODE);
    assert_eq!(
        reader.metadata().unwrap().len(),
        3,
        "the old one is another file"
    );
    assert!(!files.is_full(usize::MAX / 2));
}

#[test]
fn links_and_folders_are_refused_and_left_alone() {
    let folder = folder();
    let target = folder.path().join("target");
    fs::write(&target, "precious").unwrap();
    let link = folder.path().join("link");
    symlink(&target, &link).unwrap();
    let dangling = folder.path().join("dangling");
    symlink(folder.path().join("nowhere"), &dangling).unwrap();
    for path in [&link, &dangling, folder.path()] {
        for rotation in [None, rotation(4096, Some(2))] {
            let error = Files::create(path, rotation, &[]).err().unwrap();
            assert!(error.to_string().contains("no regular file"), "{error}");
        }
    }
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert!(!folder.path().join("nowhere").exists());
}

#[test]
fn full_files_get_numbers_and_the_oldest_go() {
    let folder = folder();
    let path = folder.path().join("drops");
    let mut files = Files::create(&path, rotation(2, Some(3)), &[]).unwrap();
    for text in ["aa", "bb", "cc", "dd", "ee"] {
        if files.is_full(0) {
            files.next().unwrap();
        }
        files.write(text.as_bytes()).unwrap();
    }
    let found = contents(&folder);
    let found: Vec<_> = found
        .iter()
        .map(|(name, text)| (&name[..], &text[..]))
        .collect();
    assert_eq!(
        found,
        [("drops", "ee"), ("drops.3", "cc"), ("drops.4", "dd")]
    );
    assert_eq!(files.finished(), 4);
}

#[test]
fn another_run_goes_on_and_removes_only_what_has_our_names() {
    let folder = folder();
    let path = folder.path().join("drops");
    let others = [
        "drops.0",
        "drops.01",
        "drops.txt",
        "drops.1.gz",
        "drops2",
        "drops.",
    ];
    let dates = ["drops.20261128", "drops.18446744073709551614"];
    let others = others.into_iter().chain(dates).chain(["drops.5"]);
    let others: Vec<&str> = others.collect();
    for name in others.iter().chain(&["drops"]) {
        fs::write(folder.path().join(name), name).unwrap();
    }
    fs::write(folder.path().join("drops.7"), b"\x0a\x0d\x0d\x0a and so on").unwrap();
    fs::write(folder.path().join("drops.12"), RECORDED).unwrap();
    symlink("target", folder.path().join("drops.20")).unwrap();
    let files = Files::create(&path, rotation(4096, Some(3)), &[]).unwrap();
    assert_eq!(files.full.last, 13);
    let mut expected = others;
    expected.extend(["drops", "drops.12", "drops.20", "drops.13"]);
    expected.sort_unstable();
    assert_eq!(names(&folder), expected);
    assert_eq!(fs::read(folder.path().join("drops.13")).unwrap(), b"drops");
}

#[test]
fn one_file_can_be_all_that_is_kept() {
    let folder = folder();
    let path = folder.path().join("drops");
    let mut files = Files::create(&path, rotation(1, Some(1)), &[]).unwrap();
    files.write(b"a").unwrap();
    files.next().unwrap();
    files.write(b"b").unwrap();
    assert_eq!(contents(&folder), [("drops".to_owned(), "b".to_owned())]);
    // Somebody has moved it away.
    fs::rename(&path, folder.path().join("mine")).unwrap();
    files.next().unwrap();
    assert_eq!(names(&folder), ["drops", "mine"]);
}

#[test]
fn what_is_read_is_left_alone() {
    let folder = folder();
    let [path, full] = ["drops", "drops.3"].map(|name| folder.path().join(name));
    for input in [&path, &full] {
        fs::write(input, RECORDED).unwrap();
        let id = FileId::from(&fs::metadata(input).unwrap());
        let error = Files::create(&path, rotation(1, Some(1)), &[id]);
        let error = error.err().unwrap().to_string();
        assert!(error.contains("is being read"), "{error}");
        assert_eq!(fs::read(input).unwrap(), RECORDED);
        // Also by another name.
        let link = folder.path().join("other");
        fs::hard_link(input, &link).unwrap();
        assert!(Files::create(&link, None, &[id]).is_err());
        fs::remove_file(link).unwrap();
        fs::remove_file(input).unwrap();
    }
}

#[test]
fn two_runs_do_not_write_one_file() {
    let folder = folder();
    let path = folder.path().join("drops");
    let mut first = Files::create(&path, None, &[]).unwrap();
    first.write(b"first").unwrap();
    for rotation in [None, rotation(1, Some(1))] {
        let error = Files::create(&path, rotation, &[]).err().unwrap();
        assert!(error.to_string().contains("another run"), "{error}");
    }
    assert_eq!(
        contents(&folder),
        [("drops".to_owned(), "first".to_owned())]
    );
    drop(first);
    Files::create(&path, None, &[]).unwrap();
    assert_eq!(contents(&folder), [("drops".to_owned(), String::new())]);
}

#[test]
fn names_that_others_have_taken_are_left_alone() {
    let folder = folder();
    let path = folder.path().join("drops");
    let mut files = Files::create(&path, rotation(1, None), &[]).unwrap();
    // Since the folder was read.
    fs::write(folder.path().join("drops.1"), "precious").unwrap();
    fs::create_dir(folder.path().join("drops.2")).unwrap();
    symlink("nowhere", folder.path().join("drops.3")).unwrap();
    files.write(b"a").unwrap();
    files.next().unwrap();
    assert_eq!(files.finished(), 1);
    assert_eq!(
        fs::read(folder.path().join("drops.1")).unwrap(),
        b"precious"
    );
    assert_eq!(fs::read(folder.path().join("drops.4")).unwrap(), b"a");
    // Another file in the place of ours is not ours to rename.
    fs::rename(&path, folder.path().join("mine")).unwrap();
    fs::write(&path, "precious").unwrap();
    assert!(!files.is_in_place() && !files.is_removed());
    let error = files.next().unwrap_err();
    assert!(error.to_string().contains("somebody else"), "{error:#}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn numbers_come_to_an_end() {
    let folder = folder();
    let path = folder.path().join("drops");
    let full = folder.path().join(format!("drops.{}", MAX_NUMBER - 1));
    fs::write(full, RECORDED).unwrap();
    let mut files = Files::create(&path, rotation(1, Some(3)), &[]).unwrap();
    files.write(RECORDED).unwrap();
    files.next().unwrap();
    files.write(b"a").unwrap();
    let error = files.next().unwrap_err();
    assert!(error.to_string().contains("no numbers left"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"a");
    drop(files);
    fs::remove_file(&path).unwrap();
    // The next run says so at once, and changes nothing.
    let before = names(&folder);
    let error = Files::create(&path, rotation(1, Some(1)), &[]).err();
    let error = error.unwrap().to_string();
    assert!(error.contains("drops.9999999 away"), "{error}");
    assert_eq!(names(&folder), before);
}

#[test]
fn what_is_planted_does_not_use_up_the_numbers() {
    for planted in ["", "no capture"] {
        let folder = folder();
        let path = folder.path().join("drops");
        fs::write(folder.path().join(format!("drops.{MAX_NUMBER}")), planted).unwrap();
        let mut files = Files::create(&path, rotation(1, None), &[]).unwrap();
        files.next().unwrap();
        assert_eq!(files.full.last, 1, "{planted:?}");
    }
}

#[test]
fn an_empty_file_with_a_high_number_takes_no_place() {
    let folder = folder();
    let path = folder.path().join("drops");
    fs::write(folder.path().join("drops.7"), RECORDED).unwrap();
    fs::write(folder.path().join("drops.50"), "").unwrap();
    let mut files = Files::create(&path, rotation(1, Some(2)), &[]).unwrap();
    files.write(RECORDED).unwrap();
    files.next().unwrap();
    assert_eq!(names(&folder), ["drops", "drops.50", "drops.8"]);
}

#[test]
fn where_anybody_can_add_files_other_users_captures_are_not_ours() {
    let folder = folder();
    let path = folder.path().join("drops");
    let planted = folder.path().join(format!("drops.{MAX_NUMBER}"));
    fs::write(&planted, RECORDED).unwrap();
    if chown(&planted, Some(65534), None).is_err() {
        // Only root can make a file another user's.
        return;
    }
    assert!(Files::create(&path, rotation(1, Some(1)), &[]).is_err());
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let mut files = Files::create(&path, rotation(1, Some(2)), &[]).unwrap();
    files.next().unwrap();
    files.next().unwrap();
    assert_eq!(names(&folder), ["drops", "drops.2", "drops.9999999"]);
}

#[test]
fn a_file_that_was_removed_is_known() {
    let folder = folder();
    let path = folder.path().join("drops");
    let files = Files::create(&path, None, &[]).unwrap();
    assert!(files.is_in_place() && !files.is_removed());
    fs::remove_file(&path).unwrap();
    assert!(!files.is_in_place() && files.is_removed());
}

#[test]
fn what_has_no_room_leaves_no_part_of_it() {
    let folder = folder();
    let path = folder.path().join("drops");
    let mut files = Files::create(&path, None, &[]).unwrap();
    files.write(b"whole").unwrap();
    // Not for writing.
    files.file = File::open(&path).unwrap();
    let error = files.write(b"more").unwrap_err();
    assert!(error.to_string().contains("drops"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"whole");
}
