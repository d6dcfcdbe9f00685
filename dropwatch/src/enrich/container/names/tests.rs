use tempfile::TempDir;

use super::*;

const UID: &str = "5c3a1f62-0000-4000-8000-00000000abcd";

fn id(digit: &str) -> String {
    digit.repeat(64)
}

fn write(root: &TempDir, path: &str, text: &str) {
    let path = root.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn container(runtime: Runtime, digit: &str) -> ContainerId {
    ContainerId {
        runtime,
        id: id(digit).into_bytes(),
        foreign: false,
    }
}

fn pod(uid: &str) -> PodId {
    PodId {
        uid: uid.into(),
        foreign: false,
    }
}

fn text(name: Option<Vec<u8>>) -> Option<String> {
    name.map(|name| String::from_utf8(name).unwrap())
}

#[test]
fn docker() {
    let root = tempfile::tempdir().unwrap();
    let path = format!("var/lib/docker/containers/{}/config.v2.json", id("a"));
    write(
        &root,
        &path,
        r#"{"ID":"a","State":{"Pid":3},"Name":"/web"}"#,
    );
    let mut names = Names::new(root.path());
    let now = Instant::now();
    let mut name = |container: &ContainerId| text(names.container(container, now));
    let known = container(Runtime::Docker, "a");
    assert_eq!(name(&known).as_deref(), Some("web"));
    assert_eq!(name(&container(Runtime::Docker, "b")), None);
    assert_eq!(name(&container(Runtime::Podman, "a")), None);
    let foreign = ContainerId {
        foreign: true,
        ..known.clone()
    };
    assert_eq!(name(&foreign), None);
    for broken in ["", "{", "[]", r#"{"Name":7}"#, r#"{"Name":"/"}"#, "[[[[[["] {
        write(&root, &path, broken);
        assert_eq!(name(&known), None, "{broken}");
    }
    write(
        &root,
        &path,
        &format!(r#"{{"Name":"/{}"}}"#, "x".repeat(1 << 20)),
    );
    assert_eq!(name(&known), None, "beyond the bound");
    write(&root, &path, r#"{"Name":"/\n\u001b[31m"}"#);
    assert_eq!(name(&known).as_deref(), Some("\n\u{1b}[31m"));
}

#[test]
fn podman() {
    let root = tempfile::tempdir().unwrap();
    let folder = "var/lib/containers/storage/overlay-containers";
    let entry = |digit: &str, names: &str| {
        format!(r#"[{{"id":"{}","names":{names},"flags":{{}}}}]"#, id(digit))
    };
    let list = format!("{folder}/containers.json");
    write(&root, &list, &entry("a", r#"["web","other"]"#));
    let volatile = format!("{folder}/volatile-containers.json");
    write(&root, &volatile, &entry("b", r#"["once"]"#));
    let mut names = Names::new(root.path());
    let now = Instant::now();
    let mut name = |digit, now| text(names.container(&container(Runtime::Podman, digit), now));
    assert_eq!(name("a", now).as_deref(), Some("web"));
    assert_eq!(name("b", now).as_deref(), Some("once"));
    assert_eq!(name("c", now), None);
    write(&root, &list, &entry("a", r#"["renamed"]"#));
    assert_eq!(name("a", now).as_deref(), Some("web"), "not yet");
    let later = now + LISTS_AGE;
    assert_eq!(name("a", later).as_deref(), Some("renamed"));
    for broken in [
        entry("a", "null"),
        entry("a", "[]"),
        "{}".into(),
        "[".into(),
    ] {
        write(&root, &list, &broken);
        names.read = None;
        let name = names.container(&container(Runtime::Podman, "a"), later);
        assert_eq!(name, None, "{broken}");
    }
}

#[test]
fn kubernetes() {
    let root = tempfile::tempdir().unwrap();
    let log = |name: &str, digit| format!("var/log/containers/{name}-{}.log", id(digit));
    write(&root, &log("coredns-7db6_kube-system_core-dns", "a"), "");
    write(&root, &log("pod_only-two", "b"), "");
    write(&root, &log("one_two_three_four", "c"), "");
    write(
        &root,
        &format!("var/log/pods/kube-system_coredns-7db6_{UID}/x"),
        "",
    );
    write(&root, "var/log/pods/a_b/x", "");
    write(&root, "var/log/pods/__/x", "");
    let mut names = Names::new(root.path());
    let now = Instant::now();
    for runtime in [
        Runtime::Containerd,
        Runtime::Crio,
        Runtime::Kubernetes,
        Runtime::Docker,
    ] {
        let mut name = |digit| text(names.container(&container(runtime, digit), now));
        assert_eq!(name("a").as_deref(), Some("core-dns"), "{runtime:?}");
        assert_eq!(name("b"), None);
        assert_eq!(name("c"), None);
    }
    let known = pod(UID);
    let name = text(names.pod(&known, now));
    assert_eq!(name.as_deref(), Some("kube-system/coredns-7db6"));
    assert_eq!(names.pod(&pod("b"), now), None);
    assert_eq!(names.pod(&pod(""), now), None);
    let foreign = PodId {
        foreign: true,
        ..known
    };
    assert_eq!(names.pod(&foreign, now), None);
}

#[test]
fn machines_are_called_as_they_are() {
    let mut names = Names::new(Path::new("/nowhere"));
    let mut machine = container(Runtime::Machine, "a");
    machine.id = b"my\nbox".to_vec();
    let name = names.container(&machine, Instant::now());
    assert_eq!(text(name).as_deref(), Some("my\nbox"));
}
