//! Which fields of a line this kernel can give: docs/fields.md, for the machine at hand.

use dropwatch_common::config::ABSENT;
use serde::Serialize;

use super::{KernelSymbols, Machine};
use crate::{
    bpf::{self, layout},
    btf::Btf,
    color::{Paint, Palette},
};

/// Whether a field can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Available {
    /// As docs/fields.md says.
    Yes,
    /// Of some drops, or less exactly.
    Limited,
    /// It is always `-`.
    No,
}

impl Available {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Limited => "limited",
            Self::No => "no",
        }
    }

    pub(super) fn paint(self, palette: Palette) -> Paint {
        match self {
            Self::Yes => palette.good(),
            Self::Limited => palette.middling(),
            Self::No => palette.bad(),
        }
    }
}

/// A field of the line.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Field {
    /// Its key, or the name of its column.
    pub(super) name: &'static str,
    pub(super) available: Available,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
}

/// What a field needs of the kernel beyond what nothing goes without.
#[derive(Clone, Copy, Debug)]
enum Need {
    /// Drop reasons.
    Reasons,
    /// The socket that a received packet is for.
    Receiver,
    /// Addresses of the kernel's symbols.
    Symbols,
    /// One of these kernel fields, by the names of their globals.
    AnyOf(&'static [&'static str]),
}

/// What is lost without something that a field needs.
type Loss = (Need, Available);

/// A column or key, and what it needs.
type Row = (&'static str, &'static [Loss]);

const NAMESPACE: &[Loss] = &[
    (Need::AnyOf(&["NETDEV_NET"]), Available::No),
    (Need::AnyOf(&["NET_INUM"]), Available::No),
];

const SOCKET_CGROUP: Need = Need::AnyOf(&["SOCK_CGROUP", "SOCK_CGROUP_VALUE"]);

/// A packet's namespace tells a container, too.
const WORKLOAD: &[Loss] = &[
    (SOCKET_CGROUP, Available::Limited),
    (Need::AnyOf(&["CGROUP_NODE"]), Available::Limited),
    (Need::AnyOf(&["KERNFS_ID"]), Available::Limited),
];

const UNIT: &[Loss] = &[
    (SOCKET_CGROUP, Available::No),
    (Need::AnyOf(&["CGROUP_NODE"]), Available::No),
    (Need::AnyOf(&["KERNFS_ID"]), Available::No),
];

/// Addresses in place of names.
const NAMES: &[Loss] = &[(Need::Symbols, Available::Limited)];

const BY_SOCKET: &[Loss] = &[(Need::Receiver, Available::Limited)];

/// Every field, in the order of the line.
const FIELDS: &[Row] = &[
    ("time", &[]),
    ("reason", &[(Need::Reasons, Available::No)]),
    ("protocol", &[]),
    ("source", &[]),
    ("destination", &[]),
    ("len", &[]),
    ("segs", &[]),
    ("gso", &[]),
    ("flags", &[]),
    ("seq", &[]),
    ("ack", &[]),
    ("win", &[]),
    ("icmp", &[]),
    ("arp", &[]),
    ("igmp", &[]),
    ("spi", &[]),
    ("frag", &[]),
    ("ttl", &[]),
    ("ipopt", &[]),
    ("ext", &[]),
    ("vlan", &[]),
    ("tunnel", &[]),
    ("inner", &[]),
    ("quoted", &[]),
    ("mac", &[]),
    ("if", NAMESPACE),
    ("ifindex", NAMESPACE),
    ("iif", &[]),
    ("queue", &[]),
    (
        "dir",
        &[
            (Need::AnyOf(&["DST_INPUT"]), Available::Limited),
            (Need::Symbols, Available::Limited),
        ],
    ),
    ("mark", &[]),
    ("prio", &[]),
    ("hash", &[]),
    ("state", BY_SOCKET),
    (
        "class",
        &[
            (Need::Reasons, Available::Limited),
            (Need::Symbols, Available::Limited),
        ],
    ),
    ("sample", &[]),
    ("at", NAMES),
    ("pid", &[]),
    ("comm", &[]),
    ("owner", BY_SOCKET),
    ("netns", NAMESPACE),
    ("container", WORKLOAD),
    ("pod", WORKLOAD),
    ("unit", UNIT),
    ("skb", &[]),
    ("stack", NAMES),
];

impl Need {
    /// What is missing, if it is.
    fn missing(
        self,
        machine: &Machine<'_>,
        btf: &Btf,
        globals: &layout::Globals,
    ) -> Option<String> {
        let why = |lacks: bool, why: &str| lacks.then(|| why.to_owned());
        match self {
            Self::Reasons => {
                let has_reasons = machine.reasons().is_some_and(|it| it.has_reasons());
                why(!has_reasons, "the kernel gives reasons from 5.17 on")
            }
            Self::Receiver => why(
                !bpf::names_receiver(btf),
                "the kernel names the receiving socket from 6.11 on; before, it is looked up by \
                 its address",
            ),
            Self::Symbols => why(
                !matches!(machine.symbols, KernelSymbols::Shown(_)),
                "the kernel's symbols can't be read",
            ),
            Self::AnyOf(names) => {
                let is_there = |name: &&str| {
                    globals
                        .iter()
                        .any(|(global, value)| global == name && *value != ABSENT)
                };
                let found = names.iter().any(is_there);
                (!found).then(|| format!("this kernel has no {}", described(names)))
            }
        }
    }
}

/// The kernel's names for the fields that these globals stand for.
fn described(globals: &[&str]) -> String {
    let fields = dropwatch_common::kernel_fields::KERNEL_FIELDS
        .iter()
        .filter(|field| globals.contains(&field.global))
        .map(|field| format!("{}.{}", field.strukt, field.path));
    fields.collect::<Vec<_>>().join(" or ")
}

/// Every field.
pub(super) fn all(machine: &Machine<'_>) -> Vec<Field> {
    let known = machine.btf.as_ref().ok().and_then(|btf| {
        let globals = layout::kernel_fields(btf).ok()?;
        Some((btf, globals))
    });
    let fields = FIELDS.iter().map(|&(name, losses)| {
        let Some((btf, globals)) = &known else {
            return Field {
                name,
                available: Available::No,
                why: Some("needs the kernel's BTF".to_owned()),
            };
        };
        let missing: Vec<(Available, String)> = losses
            .iter()
            .filter_map(|(need, loss)| Some((*loss, need.missing(machine, btf, globals)?)))
            .collect();
        let available = missing.iter().map(|(loss, _)| *loss).max();
        let why: Vec<&str> = missing.iter().map(|(_, why)| why.as_str()).collect();
        Field {
            name,
            available: available.unwrap_or(Available::Yes),
            why: (!why.is_empty()).then(|| why.join("; ")),
        }
    });
    fields.collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use clap::ValueEnum as _;
    use dropwatch_common::kernel_fields::KERNEL_FIELDS;

    use super::*;
    use crate::format::ExtraField;

    fn names() -> BTreeSet<&'static str> {
        FIELDS.iter().map(|(name, _)| *name).collect()
    }

    #[test]
    fn every_field_is_there_once() {
        assert_eq!(names().len(), FIELDS.len());
        for field in ExtraField::value_variants() {
            let value = field.to_possible_value().unwrap();
            assert!(names().contains(value.get_name()), "{}", value.get_name());
        }
    }

    /// The documentation's tables and this one have the same keys.
    #[test]
    fn fields_are_those_of_the_documentation() {
        let docs = include_str!("../../../docs/fields.md");
        let rows = docs.lines().filter_map(|line| line.strip_prefix("| `"));
        let keys: BTreeSet<&str> = rows
            .filter_map(|row| row.split(" |").next())
            .flat_map(|column| column.split('`'))
            .filter_map(|word| word.strip_suffix('='))
            .collect();
        assert!(keys.len() > 30, "{keys:?}");
        let columns = BTreeSet::from(["time", "reason", "protocol", "source", "destination"]);
        let expected: BTreeSet<&str> = keys.union(&columns).copied().collect();
        assert_eq!(names(), expected);
    }

    #[test]
    fn needs_are_fields_that_are_looked_up() {
        let losses = FIELDS.iter().flat_map(|(_, losses)| losses.iter());
        let globals = losses.filter_map(|(need, _)| match need {
            Need::AnyOf(names) => Some(*names),
            Need::Reasons | Need::Receiver | Need::Symbols => None,
        });
        for global in globals.flatten() {
            let field = KERNEL_FIELDS.iter().find(|it| it.global == *global);
            assert!(field.is_some_and(|field| !field.required), "{global}");
        }
    }
}
