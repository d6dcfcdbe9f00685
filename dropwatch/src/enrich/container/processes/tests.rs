use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

const HOST: u32 = 4_026_531_840;
const POD: &str = "/kubepods/pod5c3a1f62-0000-4000-8000-00000000abcd";

/// A process in a network namespace (0: its end is near), with the text of its cgroup file.
fn process(proc: &TempDir, pid: u32, namespace: u32, cgroup: &str) {
    let folder = proc.path().join(pid.to_string());
    fs::create_dir_all(folder.join("ns")).unwrap();
    if namespace != 0 {
        symlink(format!("net:[{namespace}]"), folder.join("ns/net")).unwrap();
    }
    fs::write(folder.join("cgroup"), cgroup).unwrap();
}

fn docker(digit: &str) -> String {
    format!("0::/docker/{}\n", digit.repeat(64))
}

fn in_pod(digit: &str) -> String {
    format!("0::{POD}/{}\n", digit.repeat(64))
}

/// First digit of the container, beginning of the pod.
fn owner(seen: &Processes, namespace: u32) -> Option<(String, String)> {
    let (container, pod) = seen.owner(namespace)?;
    let text = |bytes: Option<Vec<u8>>, len| {
        bytes.map_or("-".to_owned(), |bytes| {
            String::from_utf8(bytes).unwrap()[..len].to_owned()
        })
    };
    let container = text(container.map(|container| container.id), 1);
    Some((container, text(pod.map(|pod| pod.uid), 4)))
}

fn some(container: &str, pod: &str) -> Option<(String, String)> {
    Some((container.to_owned(), pod.to_owned()))
}

#[test]
fn the_only_container_or_pod_owns_a_namespace() {
    let proc = tempfile::tempdir().unwrap();
    process(&proc, 1, HOST, "0::/init.scope\n");
    process(&proc, 2, HOST, &docker("a"));
    // One container, with a visitor.
    process(&proc, 10, HOST + 1, &docker("b"));
    process(&proc, 11, HOST + 1, &docker("b"));
    process(&proc, 12, HOST + 1, "0::/user.slice\n");
    // Two that share.
    process(&proc, 20, HOST + 2, &docker("b"));
    process(&proc, 21, HOST + 2, &docker("c"));
    // A pod of one, of two, of two with a stranger.
    process(&proc, 30, HOST + 3, &in_pod("d"));
    process(&proc, 40, HOST + 4, &in_pod("d"));
    process(&proc, 41, HOST + 4, &in_pod("e"));
    process(&proc, 50, HOST + 5, &in_pod("d"));
    process(&proc, 51, HOST + 5, &docker("f"));
    // No container at all, and processes that end.
    process(&proc, 60, HOST + 6, "0::/system.slice/a.service\n");
    process(&proc, 70, 0, &docker("a"));
    fs::create_dir(proc.path().join("80")).unwrap();
    fs::write(proc.path().join("90"), "").unwrap();
    let seen = Processes::look(proc.path());
    assert_eq!(seen.host, Some(HOST));
    assert_eq!(owner(&seen, HOST), None);
    assert_eq!(owner(&seen, HOST + 1), some("b", "-"));
    assert_eq!(owner(&seen, HOST + 2), None);
    assert_eq!(owner(&seen, HOST + 3), some("d", "5c3a"));
    assert_eq!(owner(&seen, HOST + 4), some("-", "5c3a"));
    assert_eq!(owner(&seen, HOST + 5), None);
    assert_eq!(owner(&seen, HOST + 6), None);
    assert_eq!(owner(&seen, HOST + 7), None);
    assert_eq!(seen.owners().count(), 3);
    assert!(seen.is_settled(HOST) && seen.is_settled(HOST + 6));
    assert!(!seen.is_settled(HOST + 7));
}

#[test]
fn any_hierarchy_tells() {
    let proc = tempfile::tempdir().unwrap();
    process(&proc, 1, HOST, "0::/\n");
    let id = "a".repeat(64);
    let v1 = format!("9:name=systemd:/docker/{id}\n8:cpu,cpuacct:/docker/{id}\n0::/\n");
    process(&proc, 10, HOST + 1, &v1);
    let hostile = format!("0::/x\n\u{1b}\n:\n::\n0::/a:b\n0::/docker/{id}:x\n");
    process(&proc, 20, HOST + 2, &hostile);
    let long = format!("0::/{}\n0::/docker/{id}\n", "x".repeat(1 << 16));
    process(&proc, 30, HOST + 3, &long);
    let seen = Processes::look(proc.path());
    assert_eq!(owner(&seen, HOST + 1), some("a", "-"));
    assert_eq!(owner(&seen, HOST + 2), None);
    assert_eq!(owner(&seen, HOST + 3), None, "beyond the bound");
}

#[test]
fn containers_of_a_namespace_are_bounded() {
    let proc = tempfile::tempdir().unwrap();
    process(&proc, 1, HOST, "0::/\n");
    for pid in 10..10 + 2 * GROUPS_LIMIT as u32 {
        process(&proc, pid, HOST + 1, &format!("0::/docker/{pid:064}\n"));
    }
    let seen = Processes::look(proc.path());
    assert_eq!(seen.groups().count(), GROUPS_LIMIT);
    assert_eq!(owner(&seen, HOST + 1), None);
}

/// Without the right to look at the first process.
#[test]
fn what_may_be_the_hosts_has_no_owner() {
    let proc = tempfile::tempdir().unwrap();
    process(&proc, 5, HOST, "0::/system.slice/a.service\n");
    process(&proc, 6, HOST, &docker("a"));
    process(&proc, 10, HOST + 1, &docker("b"));
    let mut seen = Processes::look(proc.path());
    assert_eq!(seen.host, None);
    assert_eq!(owner(&seen, HOST), None);
    assert_eq!(owner(&seen, HOST + 1), some("b", "-"));
    // There may be others in it.
    seen.hidden = true;
    assert_eq!(owner(&seen, HOST + 1), None);
}
