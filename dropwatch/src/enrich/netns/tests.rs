use std::{os::unix::fs::symlink, process};

use tempfile::TempDir;

use super::*;

/// A tree with folders for names.
fn root() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for folder in ["run/netns", "run/docker/netns", "var"] {
        fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    symlink("../run", root.path().join("var/run")).unwrap();
    root
}

fn own_inode() -> u32 {
    let inode = fs::metadata("/proc/self/ns/net").unwrap().ino();
    inode.try_into().unwrap()
}

/// Gives the namespace of this process a name.
fn name_own(root: &TempDir, path: &str) {
    symlink("/proc/self/ns/net", root.path().join(path)).unwrap();
}

fn text(name: Option<&[u8]>) -> Option<String> {
    name.map(|name| String::from_utf8_lossy(name).into_owned())
}

/// File systems stamp changes with a clock of some milliseconds.
fn next_tick() {
    std::thread::sleep(Duration::from_millis(20));
}

#[test]
fn names_come_and_go() {
    let root = root();
    let mut names = NetnsNames::below(root.path());
    let start = names.now;
    let after = |ms| start + Duration::from_millis(ms);
    assert_eq!(names.name(own_inode()), None);
    next_tick();
    name_own(&root, "run/netns/blue");
    assert_eq!(names.name(own_inode()), None, "looked a moment ago");
    names.refresh_at(after(100));
    assert_eq!(text(names.name(own_inode())).as_deref(), Some("blue"));
    next_tick();
    fs::remove_file(root.path().join("run/netns/blue")).unwrap();
    names.refresh_at(after(300));
    assert_eq!(names.name(own_inode()), None);
}

/// A file is bound and unbound without a change of its folder.
#[test]
fn a_name_is_believed_for_a_second() {
    let root = root();
    let target = root.path().join("target");
    symlink("/proc/self/ns/net", &target).unwrap();
    symlink(&target, root.path().join("run/netns/blue")).unwrap();
    let mut names = NetnsNames::below(root.path());
    let start = names.now;
    let name_after = |names: &mut NetnsNames, ms| {
        names.refresh_at(start + Duration::from_millis(ms));
        text(names.name(own_inode()))
    };
    assert_eq!(name_after(&mut names, 0).as_deref(), Some("blue"));
    fs::remove_file(&target).unwrap();
    assert_eq!(name_after(&mut names, 999).as_deref(), Some("blue"));
    assert_eq!(name_after(&mut names, 1000), None);
    symlink("/proc/self/ns/net", &target).unwrap();
    assert_eq!(name_after(&mut names, 1999), None);
    assert_eq!(name_after(&mut names, 2000).as_deref(), Some("blue"));
}

#[test]
fn a_new_number_is_looked_for_at_once() {
    let root = root();
    let target = root.path().join("target");
    symlink(&target, root.path().join("run/netns/blue")).unwrap();
    let mut names = NetnsNames::below(root.path());
    assert_eq!(names.name(1), None);
    symlink("/proc/self/ns/net", &target).unwrap();
    names.refresh_at(names.now + LOOK_PAUSE);
    assert_eq!(names.name(1), None, "known to have none");
    assert_eq!(text(names.name(own_inode())).as_deref(), Some("blue"));
}

#[test]
fn folders_come_in_order_and_docker_last() {
    let root = root();
    let shown = || {
        let mut names = NetnsNames::below(root.path());
        text(names.name(own_inode()))
    };
    name_own(&root, "run/docker/netns/default");
    assert_eq!(shown(), None, "Docker's name for the host's own");
    name_own(&root, "run/docker/netns/0123456789abcdef");
    assert_eq!(shown().as_deref(), Some("0123456789ab"));
    fs::remove_file(root.path().join("var/run")).unwrap();
    fs::create_dir_all(root.path().join("var/run/netns")).unwrap();
    name_own(&root, "var/run/netns/other");
    assert_eq!(shown().as_deref(), Some("other"));
    name_own(&root, "run/netns/zebra");
    name_own(&root, "run/netns/blue");
    assert_eq!(shown().as_deref(), Some("blue"));
}

#[test]
fn what_is_not_bound_is_no_name() {
    let root = root();
    fs::write(root.path().join("run/netns/left"), "").unwrap();
    let folder = root.path().join("run/netns/folder");
    fs::create_dir(folder).unwrap();
    let mut names = NetnsNames::below(root.path());
    names.look();
    assert!(names.names.is_empty());
}

#[test]
fn hostile_names_are_names() {
    let root = root();
    let name = format!("\x1b[31m\n{}", "x".repeat(249));
    assert_eq!(name.len(), 255);
    name_own(&root, &format!("run/netns/{name}"));
    let mut names = NetnsNames::below(root.path());
    assert_eq!(text(names.name(own_inode())), Some(name.clone()));
    let mut containers = Containers::below(root.path());
    assert_eq!(names.resolve(&name, &mut containers).unwrap(), own_inode());
    let error = names.resolve("\x1b\n", &mut containers).unwrap_err();
    assert!(!error.to_string().contains(['\x1b', '\n']), "{error}");
}

#[test]
fn links() {
    assert_eq!(
        parse_link(b"net:[4026531840]"),
        Some((b"net".as_slice(), 4_026_531_840))
    );
    for broken in [
        "",
        "net",
        "net:",
        "net:[",
        "net:[]",
        "net:[x]",
        "net:[1",
        "net:[4294967296]",
    ] {
        assert_eq!(parse_link(broken.as_bytes()), None, "{broken}");
    }
}

#[test]
fn what_users_write() {
    let root = root();
    let proc = |path: &str| root.path().join("proc").join(path);
    fs::create_dir_all(proc("77/ns")).unwrap();
    symlink("net:[4026532007]", proc("77/ns/net")).unwrap();
    name_own(&root, "run/netns/blue");
    name_own(&root, "run/docker/netns/0123456789abcdef");
    let mut names = NetnsNames::below(root.path());
    let mut containers = Containers::below(root.path());
    let mut resolve = |wanted: &str| names.resolve(wanted, &mut containers);
    assert_eq!(resolve("4026532000").unwrap(), 4_026_532_000);
    assert_eq!(resolve("pid:77").unwrap(), 4_026_532_007);
    assert_eq!(resolve("blue").unwrap(), own_inode());
    assert_eq!(resolve("0123456789abcdef").unwrap(), own_inode());
    let path = root.path().join("run/netns/blue");
    assert_eq!(resolve(path.to_str().unwrap()).unwrap(), own_inode());
    let own = format!("/proc/{}/ns/net", process::id());
    assert_eq!(resolve(&own).unwrap(), own_inode());
}

#[test]
fn docker_names_are_taken_as_they_are_printed() {
    let root = root();
    name_own(&root, "run/docker/netns/0123456789abcdef");
    let mut names = NetnsNames::below(root.path());
    let mut containers = Containers::below(root.path());
    let inode = names.resolve("0123456789ab", &mut containers).unwrap();
    assert_eq!(inode, own_inode());
}

#[test]
fn wrong_values_say_what_to_do() {
    let root = root();
    fs::write(root.path().join("run/netns/left"), "").unwrap();
    name_own(&root, "run/netns/blue");
    let mut names = NetnsNames::below(root.path());
    let mut containers = Containers::below(root.path());
    let cases = [
        ("1234", "pid:1234"),
        ("99999999999999999999", "inode number"),
        ("pid:", "number of a process"),
        ("pid:x\n", r"'x\n'"),
        ("pid:4294967295", "no such process"),
        ("", "--netns takes"),
        ("bleu", "there are: blue, left"),
        ("left", "no namespace is bound"),
        ("..", "no network namespace"),
        ("/nowhere/blue", "there are: blue, left"),
        ("/dev/null", "not the file of a namespace"),
        ("/proc/self/ns/mnt", "type mnt"),
        ("/\0", "--netns can't open"),
    ];
    for (wanted, expected) in cases {
        let error = format!("{:#}", names.resolve(wanted, &mut containers).unwrap_err());
        assert!(error.contains(expected), "{wanted:?} gave: {error}");
        assert!(error.contains("--netns"), "{wanted:?} gave: {error}");
        assert!(!error.contains('\n'), "{wanted:?} gave: {error}");
    }
}
