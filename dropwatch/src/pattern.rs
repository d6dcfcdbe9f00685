//! Patterns for the names of drop reasons and functions.

use wildmatch::WildMatch;

/// Longest name of a reason or function in bytes: `KSYM_NAME_LEN` of the kernel
/// (`include/linux/kallsyms.h`).
pub(crate) const MAX_NAME: usize = 512;

/// A name, or several by `*` (any characters, or none) and `?` (any one character).
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    text: String,
    any_case: bool,
    /// `None` without wildcards, as nearly always: to compare is many times as fast.
    wild: Option<WildMatch>,
}

impl Pattern {
    /// A pattern that tells upper from lower case.
    pub fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            any_case: false,
            wild: has_wildcards(text).then(|| WildMatch::new(text)),
        }
    }

    /// A pattern that does not, for names in ASCII.
    pub fn any_case(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            any_case: true,
            wild: has_wildcards(text).then(|| WildMatch::new_case_insensitive(text)),
        }
    }

    /// Whether this is the whole of `name`, not only a part.
    pub fn matches(&self, name: &str) -> bool {
        match &self.wild {
            Some(wild) => wild.matches(name),
            None if self.any_case => self.text.eq_ignore_ascii_case(name),
            None => self.text == name,
        }
    }
}

/// Whether `text` can stand for more than one name.
pub fn has_wildcards(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// The `count` names that look most like `name`, the most similar one first; fewer, or none, if
/// there is little likeness. Case and wildcards do not count.
pub fn nearest<'a>(
    name: &str,
    names: impl IntoIterator<Item = &'a str>,
    count: usize,
) -> Vec<&'a str> {
    /// That of clap, for its own suggestions (`clap_builder/src/parser/features/suggestions.rs`).
    const ENOUGH: f64 = 0.7;
    let plain = |text: &str| text.replace(['*', '?'], "").to_ascii_lowercase();
    let wanted = plain(name);
    let mut similar: Vec<(f64, &str)> = names
        .into_iter()
        .map(|it| (strsim::jaro_winkler(&wanted, &plain(it)), it))
        .filter(|&(likeness, _)| likeness > ENOUGH)
        .collect();
    similar.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    similar.dedup();
    similar.truncate(count);
    similar.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pattern_is_the_whole_name() {
        for (pattern, name, expected) in [
            ("tcp_rcv", "tcp_rcv", true),
            ("tcp_rcv", "tcp_rcv_established", false),
            ("tcp_rcv", "udp_tcp_rcv", false),
            ("tcp_*", "tcp_", true),
            ("tcp_*", "tcp_rcv", true),
            ("tcp_*", "udp_tcp_rcv", false),
            ("*_rcv", "udp_rcv", true),
            ("*_rcv", "udp_rcv_skb", false),
            ("t*v", "tcp_v4_rcv", true),
            ("tcp_v?_rcv", "tcp_v6_rcv", true),
            ("tcp_v?_rcv", "tcp_v_rcv", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("TCP_*", "tcp_rcv", false),
            // Nothing else is special.
            ("a[b].c+", "a[b].c+", true),
            ("a.c", "abc", false),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(name),
                expected,
                "{pattern} {name}"
            );
        }
        assert!(Pattern::any_case("no_*ET").matches("NO_SOCKET"));
        assert!(!Pattern::any_case("no_*ET").matches("NO_SOCKETS"));
        assert!(has_wildcards("a*") && has_wildcards("?") && !has_wildcards("a"));
    }

    #[test]
    fn similar_names_are_found() {
        let names = ["NO_SOCKET", "NETFILTER_DROP", "SOCKET_FILTER", "NO_SOCKET"];
        assert_eq!(nearest("nosocket*", names, 1), ["NO_SOCKET"]);
        assert_eq!(nearest("NETFILTER", names, 5)[0], "NETFILTER_DROP");
        assert_eq!(nearest("xyz", names, 5), [""; 0]);
        assert_eq!(nearest("NO_SOCKET", names, 0), [""; 0]);
    }

    /// By the definition: what is not the first character may be anywhere further on.
    fn naive(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, _) => name.is_empty(),
            (Some(('*', rest)), _) => (0..=name.len()).any(|skip| naive(rest, &name[skip..])),
            (Some((p, rest)), Some((c, others))) => (*p == '?' || p == c) && naive(rest, others),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?é]{0,8}", name in "[abé]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = naive(&chars(&pattern), &chars(&name));
            prop_assert_eq!(Pattern::new(&pattern).matches(&name), expected);
        }
    }
}
