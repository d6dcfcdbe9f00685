use std::os::unix::fs::MetadataExt as _;

use tempfile::TempDir;

use super::*;

fn make(root: &TempDir, path: &str) -> u64 {
    let path = root.path().join(path);
    fs::create_dir_all(&path).unwrap();
    fs::metadata(path).unwrap().ino()
}

fn path(tree: &Tree, id: u64) -> Option<&str> {
    Some(str::from_utf8(&tree.get(id)?.path).unwrap())
}

#[test]
fn a_walk_finds_paths_and_remembers_what_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let top = make(&root, "");
    let unit = make(&root, "system.slice/nginx.service");
    fs::write(root.path().join("cgroup.procs"), "").unwrap();
    let mount = Cgroup2 {
        point: root.path().to_owned(),
        prefix: Vec::new(),
    };
    let mut tree = Tree::default();
    tree.walk(&mount);
    assert_eq!(path(&tree, top), Some(""));
    assert_eq!(path(&tree, unit), Some("/system.slice/nginx.service"));
    assert_eq!(tree.present().count(), 3, "folders only");

    let later = make(&root, "system.slice/later.service");
    assert_eq!(path(&tree, later), None);
    assert!(!tree.is_settled(later));
    fs::remove_dir(root.path().join("system.slice/nginx.service")).unwrap();
    tree.walk(&mount);
    assert_eq!(path(&tree, later), Some("/system.slice/later.service"));
    assert_eq!(path(&tree, unit), Some("/system.slice/nginx.service"));
    assert!(tree.present().all(|(id, _)| id != unit));
    tree.settle(later);
    tree.settle(u64::MAX);
    assert!(tree.is_settled(u64::MAX) && tree.is_settled(later));
    assert!(tree.get(u64::MAX).is_none());
}

#[test]
fn the_mount_of_the_whole_tree_is_preferred() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("proc/self")).unwrap();
    let find = |lines: &[&str]| {
        fs::write(root.path().join(MOUNTINFO), lines.join("\n")).unwrap();
        Cgroup2::find(root.path())
    };
    let v1 = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu";
    let part = "50 31 0:37 /../docker/x /part rw - cgroup2 cgroup2 rw";
    let whole = "41 31 0:37 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw";
    let cgroup2 = |point: &str, prefix: &str| {
        Some(Cgroup2 {
            point: point.into(),
            prefix: prefix.into(),
        })
    };
    assert_eq!(find(&[v1]), None);
    assert_eq!(find(&[v1, part]), cgroup2("/part", "/../docker/x"));
    let found = find(&[v1, part, whole]);
    assert_eq!(found, cgroup2("/sys/fs/cgroup/uni fied", ""));
    assert_eq!(Cgroup2::find(Path::new("/nowhere")), None);
}
