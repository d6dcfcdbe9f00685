use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

const HOST: u32 = 4_026_531_840;
const UID: &str = "5c3a1f62-0000-4000-8000-00000000abcd";

/// A host in a folder: cgroup2 in `cgroup`, processes in `proc`.
struct Host {
    root: TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self {
            root: tempfile::tempdir().unwrap(),
        };
        let point = host.root.path().join("cgroup");
        fs::create_dir(&point).unwrap();
        let mount = format!("41 31 0:37 / {} rw - cgroup2 cgroup2 rw\n", point.display());
        host.write("proc/self/mountinfo", &mount);
        host.process(1, HOST, "/init.scope");
        host
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Makes a cgroup, gives its id.
    fn cgroup(&self, path: &str) -> u64 {
        let folder = self.root.path().join(format!("cgroup{path}"));
        fs::create_dir_all(&folder).unwrap();
        fs::metadata(folder).unwrap().ino()
    }

    fn process(&self, pid: u32, namespace: u32, cgroup: &str) {
        self.write(&format!("proc/{pid}/cgroup"), &format!("0::{cgroup}\n"));
        let folder = self.root.path().join(format!("proc/{pid}/ns"));
        fs::create_dir(&folder).unwrap();
        symlink(format!("net:[{namespace}]"), folder.join("net")).unwrap();
    }

    fn end(&self, pid: u32) {
        fs::remove_dir_all(self.root.path().join(format!("proc/{pid}"))).unwrap();
    }

    fn docker_name(&self, digit: &str, name: &str) {
        let path = format!("var/lib/docker/containers/{}/config.v2.json", id(digit));
        self.write(&path, &format!(r#"{{"Name":"/{name}"}}"#));
    }

    fn containers(&self) -> Containers {
        Containers::below(self.root.path())
    }
}

fn id(digit: &str) -> String {
    digit.repeat(64)
}

fn docker(digit: &str) -> String {
    format!("/system.slice/docker-{}.scope", id(digit))
}

/// `container pod unit`.
fn described(workload: Workload<'_>) -> String {
    let text = |bytes: Option<&[u8]>| {
        bytes.map_or("-".to_owned(), |bytes| {
            String::from_utf8(bytes.to_vec()).unwrap()
        })
    };
    let Workload {
        container,
        pod,
        unit,
        container_id: _,
    } = workload;
    let unit = text(unit).replace(&"a".repeat(64), "A");
    format!("{} {} {unit}", text(container), text(pod))
}

fn later(containers: &mut Containers, time: Duration) {
    containers.now += time;
}

#[test]
fn a_cgroup_says_whose_packet_it_is() {
    let host = Host::new();
    let web = host.cgroup(&docker("a"));
    let below = host.cgroup(&format!("{}/init.scope", docker("a")));
    let nameless = host.cgroup(&format!("/docker/{}", id("b")));
    let nginx = host.cgroup("/system.slice/nginx.service");
    let pod = host.cgroup(&format!("/kubepods/pod{UID}"));
    let in_pod = host.cgroup(&format!("/kubepods/pod{UID}/{}", id("c")));
    host.docker_name("a", "web");
    let mut containers = host.containers();
    let mut describe = |id| described(containers.describe(Some(id), None));
    assert_eq!(describe(web), "web - docker-A.scope");
    assert_eq!(describe(below), "web - init.scope");
    assert_eq!(describe(nameless), "bbbbbbbbbbbb - -");
    assert_eq!(describe(nginx), "- - nginx.service");
    assert_eq!(describe(pod), format!("- {UID} -"));
    assert_eq!(describe(in_pod), format!("cccccccccccc {UID} -"));
    assert_eq!(describe(u64::MAX), "- - -");
    assert_eq!(containers.describe(None, None), Workload::default());
}

#[test]
fn cgroups_are_found_when_they_are_new_and_remembered_when_they_are_gone() {
    let host = Host::new();
    let mut containers = host.containers();
    containers.describe(Some(u64::MAX), None);
    let web = host.cgroup(&docker("a"));
    let name = |containers: &mut Containers| described(containers.describe(Some(web), None));
    assert_eq!(name(&mut containers), "- - -", "walked a moment ago");
    later(&mut containers, PAUSE);
    containers.describe(Some(u64::MAX), None);
    assert_eq!(
        containers.describe(Some(u64::MAX - 1), None),
        Workload::default()
    );
    assert_eq!(name(&mut containers), "aaaaaaaaaaaa - docker-A.scope");
    // The runtime writes the name late, changes it, and removes all.
    host.docker_name("a", "web");
    assert_eq!(name(&mut containers), "aaaaaaaaaaaa - docker-A.scope");
    later(&mut containers, NO_NAME_AGE);
    assert_eq!(name(&mut containers), "web - docker-A.scope");
    host.docker_name("a", "renamed");
    later(&mut containers, NAME_AGE);
    assert_eq!(name(&mut containers), "renamed - docker-A.scope");
    fs::remove_dir_all(host.root.path().join("var")).unwrap();
    fs::remove_dir_all(host.root.path().join("cgroup/system.slice")).unwrap();
    later(&mut containers, NAME_AGE);
    containers.describe(Some(7), None);
    assert_eq!(name(&mut containers), "renamed - docker-A.scope");
}

#[test]
fn a_namespace_says_it_where_the_cgroup_does_not() {
    let host = Host::new();
    let nginx = host.cgroup("/system.slice/nginx.service");
    let db = host.cgroup(&docker("b"));
    host.docker_name("a", "web");
    host.docker_name("b", "db");
    host.process(10, HOST + 1, &docker("a"));
    let mut containers = host.containers();
    let mut describe = |cgroup, netns| described(containers.describe(Some(cgroup), Some(netns)));
    assert_eq!(describe(nginx, HOST + 1), "web - nginx.service");
    assert_eq!(describe(nginx, HOST), "- - nginx.service");
    assert_eq!(describe(0, HOST + 1), "web - -");
    assert_eq!(describe(db, HOST + 1).split(' ').next(), Some("db"));
}

#[test]
fn a_namespace_is_looked_at_again_every_second() {
    let host = Host::new();
    host.docker_name("a", "web");
    host.process(10, HOST + 1, &docker("a"));
    let mut containers = host.containers();
    let name = |containers: &mut Containers| described(containers.describe(None, Some(HOST + 1)));
    assert_eq!(name(&mut containers), "web - -");
    // The last process ends: the packets that are left are still the container's.
    host.end(10);
    later(&mut containers, HOMES_AGE);
    assert_eq!(name(&mut containers), "web - -");
    later(&mut containers, HOMES_AGE);
    assert_eq!(name(&mut containers), "- - -");
    // Another one gets the number.
    host.process(11, HOST + 1, &docker("b"));
    later(&mut containers, HOMES_AGE);
    assert_eq!(name(&mut containers), "bbbbbbbbbbbb - -");
    host.process(12, HOST + 1, &docker("a"));
    later(&mut containers, HOMES_AGE);
    assert_eq!(name(&mut containers), "- - -", "two share it");
}

#[test]
fn old_knowledge_is_not_carried_over() {
    let host = Host::new();
    host.process(10, HOST + 1, &docker("a"));
    let mut containers = host.containers();
    containers.describe(None, Some(HOST + 1));
    host.end(10);
    later(&mut containers, Duration::from_secs(60));
    let workload = containers.describe(None, Some(HOST + 1));
    assert_eq!(described(workload), "- - -");
}

#[test]
fn matches_of_names_and_ids() {
    let host = Host::new();
    let web = host.cgroup(&docker("a"));
    let inner = host.cgroup(&format!("{}/docker/{}", docker("a"), id("b")));
    host.cgroup(&format!("{}/docker", docker("a")));
    let other = host.cgroup(&docker("c"));
    host.docker_name("a", "web");
    host.docker_name("c", "web");
    host.process(10, HOST + 1, &docker("a"));
    host.process(20, HOST + 2, &docker("c"));
    host.process(21, HOST + 2, &docker("d"));
    let mut containers = host.containers();
    let mut find = |wanted: &str| {
        let mut found = containers.find_container(wanted).unwrap();
        found.cgroups.sort_unstable();
        found
    };
    let mut cgroups = vec![web, other];
    cgroups.sort_unstable();
    let both = ContainerMatch {
        cgroups,
        own_namespaces: vec![HOST + 1],
        namespaces: vec![HOST + 1, HOST + 2],
        count: 2,
    };
    assert_eq!(find("web"), both);
    let one = ContainerMatch {
        cgroups: vec![web],
        own_namespaces: vec![HOST + 1],
        namespaces: vec![HOST + 1],
        count: 1,
    };
    assert_eq!(find("aaaa"), one);
    assert_eq!(find(&id("a")), one);
    assert_eq!(find("bbbb").cgroups, [inner]);
    for nobody in [
        "aaa",
        "AAAA",
        "we",
        "",
        "eeee",
        "\n",
        &id("a")[..63].replace('a', "e"),
    ] {
        assert_eq!(find(nobody), ContainerMatch::default(), "{nobody}");
    }
}

/// Where a user can make cgroups.
const MANAGER: &str = "/user.slice/user-1000.slice/user@1000.service";

#[test]
fn a_users_cgroups_have_no_names_of_containers() {
    let host = Host::new();
    let web = host.cgroup("/lxc.payload.web");
    let forged = format!("{MANAGER}/lxc.payload.web");
    let forged = [forged, format!("{MANAGER}/machine.slice/machine-web.scope")];
    let mut pids = 10..;
    let forged = forged.map(|path| {
        let pid = pids.next().unwrap();
        host.process(pid, HOST + pid, &path);
        host.cgroup(&path)
    });
    let mut containers = host.containers();
    let found = ContainerMatch {
        cgroups: vec![web],
        count: 1,
        ..ContainerMatch::default()
    };
    assert_eq!(containers.find_container("web").unwrap(), found);
    let names = forged.map(|id| described(containers.describe(Some(id), None)));
    assert_eq!(names[0], "- - user@1000.service");
    assert_eq!(names[1], "- - user@1000.service/machine-web.scope");
}

#[test]
fn the_hosts_containers_go_before_others_with_their_ids() {
    let host = Host::new();
    let web = host.cgroup(&docker("a"));
    let copy = host.cgroup(&format!("{MANAGER}/docker-{}.scope", id("a")));
    let rootless = host.cgroup(&format!("{MANAGER}/libpod-{}.scope", id("b")));
    host.docker_name("a", "web");
    let mut containers = host.containers();
    let mut find = |wanted: &str| containers.find_container(wanted).unwrap().cgroups;
    assert_eq!(find(&id("a")), [web]);
    assert_eq!(find("aaaa"), [web]);
    assert_eq!(find("bbbb"), [rootless]);
    let copied = described(containers.describe(Some(copy), None));
    assert_eq!(copied, "aaaaaaaaaaaa - user@1000.service/docker-A.scope");
}

#[test]
fn a_container_that_is_started_later_is_found() {
    let host = Host::new();
    let mut containers = host.containers();
    assert_eq!(containers.find_container("web").unwrap().count, 0);
    let web = host.cgroup(&docker("a"));
    host.docker_name("a", "web");
    std::thread::sleep(PAUSE);
    let mut found = ContainerMatch::default();
    // The look before may have taken long on a busy machine.
    for _ in 0..100 {
        found = containers.find_container("web").unwrap();
        if found.count > 0 {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    assert_eq!(found.cgroups, [web]);
}

#[test]
fn pods_match_by_their_names() {
    let host = Host::new();
    let pod = host.cgroup(&format!("/kubepods/pod{UID}"));
    let container = host.cgroup(&format!("/kubepods/pod{UID}/{}", id("a")));
    host.write(&format!("var/log/pods/shop_web-0_{UID}/x"), "");
    host.write(
        &format!("var/log/containers/web-0_shop_nginx-{}.log", id("a")),
        "",
    );
    for (pid, digit) in [(10, "a"), (11, "b")] {
        host.process(pid, HOST + 1, &format!("/kubepods/pod{UID}/{}", id(digit)));
    }
    let mut containers = host.containers();
    let found = containers.resolve_container("shop/web-0").unwrap();
    assert_eq!(found.cgroups, [pod]);
    assert_eq!(found.own_namespaces, [HOST + 1]);
    let found = containers.resolve_container("nginx").unwrap();
    assert_eq!(found.cgroups, [container]);
    assert!(
        found.own_namespaces.is_empty(),
        "the pod's other container is in it"
    );
    assert_eq!(found.namespaces, [HOST + 1]);
    let workload = containers.describe(Some(container), None);
    assert_eq!(described(workload), "nginx shop/web-0 -");
    let workload = containers.describe(None, Some(HOST + 1));
    assert_eq!(described(workload), "- shop/web-0 -");
}

/// cgroups of version 1 have no ids.
#[test]
fn without_cgroup2_the_namespace_is_left() {
    let host = Host::new();
    host.write("proc/self/mountinfo", "");
    let web = host.cgroup(&docker("a"));
    host.process(10, HOST + 1, &docker("a"));
    host.docker_name("a", "web");
    let mut containers = host.containers();
    let workload = containers.describe(Some(web), Some(HOST + 1));
    assert_eq!(described(workload), "web - -");
    let found = containers.resolve_container("web").unwrap();
    assert_eq!(found.own_namespaces, [HOST + 1]);
    assert_eq!((found.cgroups.len(), found.count), (0, 1));
    let error = containers.resolve_cgroup("/").unwrap_err().to_string();
    assert!(error.contains("cgroup2 is not mounted"), "{error}");
}

#[test]
fn errors_name_what_there_is() {
    let host = Host::new();
    host.cgroup(&docker("a"));
    host.cgroup("/lxc.payload.data\nbase");
    let like = format!("/docker/aaaab{}", "0".repeat(59));
    host.cgroup(&like);
    host.docker_name("a", "web");
    let mut containers = host.containers();
    let mut error = |wanted: &str| {
        containers
            .resolve_container(wanted)
            .unwrap_err()
            .to_string()
    };
    let names = error("wbe");
    assert!(names.contains(r"there are: web, "), "{names}");
    assert!(
        names.contains(r"data\nbase") && names.contains("aaaab0000000"),
        "{names}"
    );
    let several = error("aaaa");
    assert!(several.contains("the beginning of 2 ids of"), "{several}");
    assert!(
        several.contains("aaaaaaaaaaaa") && several.contains("aaaab0000000"),
        "{several}"
    );
    assert!(!error("a\n\x1b").contains(['\n', '\x1b']));
}

#[test]
fn paths_of_cgroups() {
    let host = Host::new();
    let nginx = host.cgroup("/system.slice/nginx.service");
    let odd = host.cgroup("/a\nb");
    let top = host.cgroup("");
    let containers = host.containers();
    let point = host.root.path().join("cgroup");
    let point = point.to_str().unwrap();
    let resolve = |wanted: &str| containers.resolve_cgroup(wanted);
    assert_eq!(resolve("/system.slice/nginx.service").unwrap(), nginx);
    assert_eq!(resolve("/system.slice//nginx.service/").unwrap(), nginx);
    assert_eq!(
        resolve(&format!("{point}/system.slice/nginx.service")).unwrap(),
        nginx
    );
    assert_eq!(resolve("/a\nb").unwrap(), odd);
    assert_eq!(resolve("/").unwrap(), top);
    assert_eq!(resolve(point).unwrap(), top);
    host.write("cgroup/cgroup.procs", "");
    let cases = [
        ("/system.slice/ngnix.service", "there are: nginx.service"),
        ("/system", r"there are: system.slice, a\nb"),
        ("/system.slice/nginx.service/x", "there are none"),
        ("/cgroup.procs", "there is no cgroup"),
        ("nginx.service", "from the top"),
        ("/system.slice/../x", "from the top"),
        ("", "from the top"),
        ("/\0", "there is no cgroup"),
    ];
    for (wanted, expected) in cases {
        let error = format!("{:#}", resolve(wanted).unwrap_err());
        assert!(error.contains(expected), "{wanted:?} gave: {error}");
        assert!(
            error.contains("--cgroup") && !error.contains('\n'),
            "{error}"
        );
    }
}

#[test]
fn a_part_of_the_tree_has_its_path_from_the_top() {
    let host = Host::new();
    let point = host.root.path().join("cgroup");
    let root = format!("/docker/{}", id("a"));
    let mount = format!(
        "41 31 0:37 {root} {} rw - cgroup2 cgroup2 rw\n",
        point.display()
    );
    host.write("proc/self/mountinfo", &mount);
    let unit = host.cgroup("/nginx.service");
    let mut containers = host.containers();
    let workload = containers.describe(Some(unit), None);
    assert_eq!(described(workload), "aaaaaaaaaaaa - nginx.service");
    let resolve = |wanted: &str| containers.resolve_cgroup(wanted).unwrap();
    assert_eq!(resolve("/nginx.service"), unit);
    assert_eq!(resolve(&format!("{root}/nginx.service")), unit);
}
