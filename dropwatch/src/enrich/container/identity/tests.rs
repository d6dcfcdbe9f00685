use proptest::prelude::*;

use super::*;

const TABLE: &str = include_str!("cgroups.txt");

fn filled(text: &str) -> String {
    let mut text = text.trim().to_owned();
    for digit in ["a", "b", "c"] {
        text = text.replace(&format!("<{digit}>"), &digit.repeat(ID_DIGITS));
    }
    text
}

/// The rows of the table: path, container, pod, unit.
fn rows() -> impl Iterator<Item = [String; 4]> {
    let lines = TABLE.lines().filter(|line| line.starts_with('/'));
    lines.map(|line| {
        let cells: Vec<String> = line.split(" | ").map(filled).collect();
        cells.try_into().unwrap()
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn mark(foreign: bool) -> &'static str {
    if foreign { "!" } else { "" }
}

fn described(found: &Identity) -> [String; 3] {
    let container = found.container.as_ref().map(|container| {
        let runtime = format!("{:?}", container.runtime).to_lowercase();
        format!(
            "{runtime}:{}{}",
            mark(container.foreign),
            text(&container.id)
        )
    });
    let pod = found.pod.as_ref();
    let pod = pod.map(|pod| format!("{}{}", mark(pod.foreign), text(&pod.uid)));
    let unit = found.unit.as_deref().map(text);
    [container, pod, unit].map(|cell| cell.unwrap_or_else(|| "-".to_owned()))
}

#[test]
fn the_table_holds() {
    for [path, container, pod, unit] in rows() {
        let found = identify(path.as_bytes());
        assert_eq!(described(&found), [container, pod, unit], "{path}");
    }
    assert!(rows().count() > 70, "the table was not read");
}

#[test]
fn the_path_of_the_container_itself_is_known() {
    for [path, ..] in rows() {
        let found = identify(path.as_bytes());
        let own = &path.as_bytes()[..found.container_end];
        assert_eq!(identify(own).container, found.container, "{path}");
        let own = &path.as_bytes()[..found.pod_end];
        assert_eq!(identify(own).pod, found.pod, "{path}");
    }
}

#[test]
fn ids_are_cut_and_names_are_not() {
    let short = |path: &str| {
        let found = identify(filled(path).as_bytes());
        let container = found.container.map(|container| text(container.short()));
        (container, found.pod.map(|pod| text(pod.short())))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(short("/docker/<a>"), (some("aaaaaaaaaaaa"), None));
    let name = "a-name-of-more-than-twelve-bytes";
    assert_eq!(
        short(&format!("/lxc.payload.{name}/docker")),
        (some(name), None)
    );
    assert_eq!(
        short("/libpod_parent/libpod_pod_<b>/libpod-<a>"),
        (some("aaaaaaaaaaaa"), some("bbbbbbbbbbbb"))
    );
    let uid = "5c3a1f62-0000-4000-8000-00000000abcd";
    assert_eq!(short(&format!("/kubepods/pod{uid}")), (None, some(uid)));
}

proptest! {
    /// Names of cgroups are chosen by whoever may make one.
    #[test]
    fn no_path_panics(
        parts in prop::collection::vec(
            prop_oneof![
                any::<Vec<u8>>(),
                prop::sample::select(vec![
                    "kubepods", "docker", "lxc", "machine.slice", "machine-\\x", ".scope", "pod",
                    "supervisor", "libpod_pod_", ".slice", "a:b:c", ":", "systemd-nspawn@.service",
                ])
                .prop_map(|part| part.as_bytes().to_vec()),
            ],
            0..8,
        ),
    ) {
        let path = parts.join(&b'/');
        let found = identify(&path);
        prop_assert!(found.container_end <= path.len() && found.pod_end <= path.len());
    }
}
