//! What there is, for messages about what there is not.

/// Most names in a message.
const SHOWN: usize = 5;

/// The names nearest to `wanted` and how many more there are, as the end of a message; says so
/// if there are none. Names are escaped: others choose them.
pub(super) fn there_are(wanted: &str, names: impl IntoIterator<Item = Vec<u8>>) -> String {
    let mut names: Vec<String> = names
        .into_iter()
        .map(|name| name.escape_ascii().to_string())
        .collect();
    names.sort_unstable();
    names.dedup();
    // Stable: equally near ones stay in order.
    names.sort_by_cached_key(|name| {
        (
            !name.starts_with(wanted),
            strsim::osa_distance(wanted, name),
        )
    });
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    match (names.is_empty(), more) {
        (true, _) => "there are none".to_owned(),
        (false, 0) => format!("there are: {}", names.join(", ")),
        (false, more) => format!("there are: {} and {more} more", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_come_first() {
        let there_are = |names: &[&str]| {
            let names = names.iter().map(|name| name.as_bytes().to_vec());
            there_are("wbe", names)
        };
        assert_eq!(there_are(&[]), "there are none");
        assert_eq!(there_are(&["db", "web", "db"]), "there are: web, db");
        assert_eq!(
            there_are(&["v", "w", "x", "y", "z", "wbe-of-the-long-name", "web"]),
            "there are: wbe-of-the-long-name, web, w, v, x and 2 more"
        );
        assert_eq!(there_are(&["\x1b[31m\n"]), r"there are: \x1b[31m\n");
    }
}
