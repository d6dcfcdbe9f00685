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

/// A folder with a long path below the slice of a user.
fn deep(root: &TempDir, parts: usize) -> PathBuf {
    let manager = "user.slice/user-1000.slice/user@1000.service";
    let parts = vec!["x".repeat(200); parts];
    let folder = root.path().join(manager).join(parts.join("/"));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Room for some hundred cgroups.
const ROOM: usize = 256 << 10;

fn mount(root: &TempDir) -> Cgroup2 {
    Cgroup2 {
        point: root.path().to_owned(),
        prefix: Vec::new(),
    }
}

fn walked(root: &TempDir) -> Tree {
    let mut tree = Tree::with_room(ROOM);
    tree.walk(&mount(root));
    tree
}

#[test]
fn a_walk_finds_paths_and_remembers_what_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let top = make(&root, "");
    let unit = make(&root, "system.slice/nginx.service");
    fs::write(root.path().join("cgroup.procs"), "").unwrap();
    let mount = mount(&root);
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
fn what_a_user_makes_takes_no_room_from_others() {
    let root = tempfile::tempdir().unwrap();
    let scope = |user| format!("user.slice/user-{user}.slice/user@{user}.service/foot.scope");
    let before = make(&root, &scope(999));
    let folder = deep(&root, 4);
    // More than all the room.
    for number in 0..ROOM / 1000 {
        fs::create_dir(folder.join(number.to_string())).unwrap();
    }
    let others = [
        before,
        make(&root, &scope(1001)),
        make(&root, "lxc.payload.web/system.slice/nginx.service"),
        make(&root, &format!("system.slice{}", "/deeper".repeat(20))),
    ];
    let tree = walked(&root);
    assert_eq!(others.map(|id| tree.get(id).is_some()), [true; 4]);
    let of_user = tree
        .cgroups
        .values()
        .filter(|cgroup| cgroup.path.starts_with(b"/user.slice/user-1000.slice/"));
    let taken: usize = of_user.map(|cgroup| cost(&cgroup.path)).sum();
    assert!((ROOM / 16..=ROOM / 8).contains(&taken), "{taken}");
    assert!(tree.warned);
}

#[test]
fn many_users_who_make_many_leave_room_for_the_last() {
    let root = tempfile::tempdir().unwrap();
    let scopes: Vec<u64> = (0..2 * SHARES)
        .map(|user| {
            let manager = format!("user.slice/user-{user}1.slice/user@{user}1.service");
            for number in 0..100 {
                let name = "x".repeat(200);
                make(&root, &format!("{manager}/foot.scope/{name}{number}"));
            }
            make(&root, &format!("{manager}/foot.scope"))
        })
        .collect();
    let tree = walked(&root);
    assert!(scopes.iter().all(|id| tree.get(*id).is_some()));
    assert!(tree.warned);
}

#[test]
fn what_is_gone_is_forgotten_when_there_is_no_room() {
    let root = tempfile::tempdir().unwrap();
    let unit = make(&root, "system.slice/nginx.service");
    let mut tree = walked(&root);
    let gone = |number| u64::MAX - number;
    for number in 0..ROOM as u64 / 2000 {
        tree.add(gone(number), vec![b'x'; 1000]);
    }
    tree.walk(&mount(&root));
    assert!(tree.get(gone(0)).is_some(), "was there at the walk before");
    tree.walk(&mount(&root));
    assert!(tree.get(gone(0)).is_none() && tree.get(unit).is_some());
}

#[test]
fn long_paths_are_left_out() {
    let root = tempfile::tempdir().unwrap();
    let id = |folder: &Path| fs::metadata(folder).unwrap().ino();
    let short = deep(&root, 4);
    assert!(!walked(&root).warned);
    let long = deep(&root, 5);
    let tree = walked(&root);
    assert!(tree.get(id(&short)).is_some() && tree.get(id(&long)).is_none());
    assert!(tree.warned);
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
