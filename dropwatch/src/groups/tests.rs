use std::path::Path;

use clap::ValueEnum as _;
use dropwatch_common::{
    event::present,
    group::{GroupKey, ShortKey, known},
    uapi::{ETHERTYPE_ARP, IPPROTO_UDP},
};

use super::*;
use crate::{
    enrich::{Enricher, Host, group, reason::ReasonNames, symbol::Symbols},
    fixture,
};

/// An enricher of a host without processes.
fn enricher() -> Enricher {
    let reasons = ReasonNames::new(&fixture::btf("6.12"), &fixture::btf_folder("6.12"));
    let nowhere = Path::new("/nonexistent");
    Enricher::new(reasons, Symbols::none(), 4, Host::below(nowhere))
}

const UDP: GroupKey = GroupKey {
    short: UDP_SHORT,
    socket_inode: 0,
    socket_cgroup: 0,
    source: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1],
    destination: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 2],
    comm: *b"dns\0\0\0\0\0\0\0\0\0\0\0\0\0",
    owner_comm: [0; 16],
    ifname: *b"eth0\0\0\0\0\0\0\0\0\0\0\0\0",
    owner_tgid: 0,
    padding: 0,
};

const UDP_SHORT: ShortKey = ShortKey {
    location: 0xffff_ffff_8100_0000,
    present: present::DEV | present::NETNS,
    known: known::ADDRESSES | known::IPV4 | known::PORT | known::IP_PROTOCOL,
    reason: 0,
    netns: 4_026_531_840,
    stack_id: 0,
    protocol: IPPROTO_UDP as u16,
    destination_port: 53,
};

const ONE: Counts = Counts {
    drops: 1,
    packets: 2,
    bytes: 3,
};

fn read(groups: &mut Groups, enricher: &mut Enricher, counted: &[(GroupKey, Counts)]) {
    groups.begin_reading(Counts::default());
    for (key, counts) in counted {
        if !groups.add_counted(key, *counts) {
            let (event, packet) = group::parts(key);
            let record = enricher.enrich_group(&event, packet, |_| None);
            groups.add_named(key, &record, *counts);
        }
    }
}

fn values(key: &GroupKey) -> Vec<String> {
    let mut groups = Groups::new(Dimension::value_variants(), 1);
    read(&mut groups, &mut enricher(), &[(*key, ONE)]);
    let group = groups.groups().next().unwrap();
    let texts = group.values.iter().map(|id| groups.text(*id).to_owned());
    texts.collect()
}

/// Drops of each group since the start.
fn drops(groups: &Groups) -> Vec<u64> {
    groups.groups().map(|group| group.total.drops).collect()
}

/// What changed at the last reading: the last value of each group, and its drops.
fn changes(groups: &Groups) -> Vec<(Option<String>, u64)> {
    let mut changes = Vec::new();
    groups.for_each_changed(|values, counts| {
        let value = values.map(|values| values.last().unwrap().1.to_owned());
        changes.push((value, counts.drops));
    });
    changes
}

#[test]
fn values_are_written_as_in_lines() {
    let expected = [
        "-",
        "0xffffffff81000000",
        "eth0",
        "udp",
        "10.0.0.1",
        "10.0.0.2",
        "53",
        "dns",
        "-",
        "4026531840",
        "-",
        "drop",
        "-",
    ];
    assert_eq!(values(&UDP), expected);
}

#[test]
fn what_is_not_known_is_a_dash() {
    let arp = GroupKey {
        short: ShortKey {
            known: known::ETHERTYPE,
            protocol: ETHERTYPE_ARP,
            ..ShortKey::default()
        },
        ..GroupKey::default()
    };
    let mut expected = vec!["-"; Dimension::value_variants().len()];
    expected[3] = "arp";
    // In doubt.
    expected[11] = "drop";
    assert_eq!(values(&arp), expected);
    let v6 = GroupKey {
        short: ShortKey {
            known: known::ADDRESSES,
            ..ShortKey::default()
        },
        source: [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ..GroupKey::default()
    };
    assert_eq!(values(&v6)[4..6], ["fd00::1", "::"]);
}

#[test]
fn names_that_others_chose_are_escaped() {
    let evil = GroupKey {
        comm: *b"a b\x1b[2J\0\0\0\0\0\0\0\0\0",
        ..GroupKey::default()
    };
    assert_eq!(values(&evil)[7], "a\\x20b\\x1b[2J");
}

#[test]
fn keys_with_the_same_names_are_one_group() {
    let mut groups = Groups::new(&[Dimension::Dport], 10);
    let other_netns = GroupKey {
        short: ShortKey {
            netns: 7,
            ..UDP_SHORT
        },
        ..UDP
    };
    read(
        &mut groups,
        &mut enricher(),
        &[(UDP, ONE), (other_netns, ONE)],
    );
    assert_eq!(drops(&groups), [2]);
}

#[test]
fn a_reading_replaces_the_one_before() {
    let (mut groups, mut enricher) = (Groups::new(&[Dimension::Dport], 10), enricher());
    let mut three = ONE;
    three += ONE;
    three += ONE;
    read(&mut groups, &mut enricher, &[(UDP, ONE)]);
    assert_eq!(changes(&groups), [(Some("53".to_owned()), 1)]);
    read(&mut groups, &mut enricher, &[(UDP, three)]);
    let totals: Vec<Counts> = groups.groups().map(|group| group.total).collect();
    assert_eq!(totals, [three]);
    assert_eq!(changes(&groups), [(Some("53".to_owned()), 2)]);
    assert_eq!(groups.totals(), (three, three - ONE));
    read(&mut groups, &mut enricher, &[(UDP, three)]);
    assert!(changes(&groups).is_empty());
    assert_eq!(groups.totals(), (three, Counts::default()));
}

#[test]
fn what_has_most_drops_comes_first() {
    let (mut groups, mut enricher) = (Groups::new(&[Dimension::Dport], 3), enricher());
    let counted: Vec<(GroupKey, Counts)> = [(1, 2), (2, 7), (3, 2), (4, 5)]
        .map(|(destination_port, drops)| {
            let key = GroupKey {
                short: ShortKey {
                    destination_port,
                    ..UDP_SHORT
                },
                ..UDP
            };
            (key, Counts { drops, ..ONE })
        })
        .to_vec();
    read(&mut groups, &mut enricher, &counted);
    let port = |port: &str| Some(port.to_owned());
    assert_eq!(
        changes(&groups),
        [(port("2"), 7), (None, 5), (port("1"), 2), (port("3"), 2)]
    );
}

#[test]
fn records_count_from_the_next_reading_on() {
    let (mut groups, mut enricher) = (Groups::new(&[Dimension::Dport], 1), enricher());
    let (event, packet) = group::parts(&UDP);
    read(&mut groups, &mut enricher, &[]);
    for _ in 0..2 {
        groups.add(&enricher.enrich_group(&event, packet, |_| None));
    }
    assert!(drops(&groups).is_empty());
    read(&mut groups, &mut enricher, &[]);
    assert_eq!(drops(&groups), [2]);
    read(&mut groups, &mut enricher, &[(UDP, ONE)]);
    assert_eq!(drops(&groups), [3]);
    assert_eq!(changes(&groups), [(Some("53".to_owned()), 1)]);
}

#[test]
fn a_name_that_is_learned_later_moves_nothing() {
    let (mut groups, mut enricher) = (Groups::new(&[Dimension::Netns], 10), enricher());
    let mut three = ONE;
    three += ONE;
    three += ONE;
    let nameless = GroupKey {
        short: ShortKey {
            present: 0,
            ..UDP_SHORT
        },
        ..GroupKey::default()
    };
    read(&mut groups, &mut enricher, &[(nameless, ONE)]);
    assert_eq!(changes(&groups), [(Some("-".to_owned()), 1)]);
    // The same key again, and now there is a name for it.
    groups.begin_reading(Counts::default());
    assert!(!groups.add_counted(&nameless, three));
    let (event, packet) = group::parts(&UDP);
    let record = enricher.enrich_group(&event, packet, |_| None);
    groups.add_named(&nameless, &record, three);
    assert_eq!(drops(&groups), [1, 2], "what was shown stays where it was");
    let name = Some("4026531840".to_owned());
    assert_eq!(changes(&groups), [(name.clone(), 2)]);
    // From here on all of it has the name.
    let mut five = three;
    five += ONE;
    five += ONE;
    groups.begin_reading(Counts::default());
    assert!(groups.add_counted(&nameless, five));
    assert_eq!(drops(&groups), [1, 4]);
    assert_eq!(changes(&groups), [(name, 2)]);
}

#[test]
fn groups_beyond_the_limit_are_others() {
    let (mut groups, mut enricher) = (Groups::new(&[Dimension::Dport], 1), enricher());
    let second = GroupKey {
        short: ShortKey {
            destination_port: 54,
            ..UDP_SHORT
        },
        ..UDP
    };
    for _ in 0..2 {
        read(&mut groups, &mut enricher, &[(UDP, ONE), (second, ONE)]);
        assert_eq!(drops(&groups), [1]);
        assert_eq!(groups.other(), ONE);
    }
    let (event, packet) = group::parts(&second);
    groups.add(&enricher.enrich_group(&event, packet, |_| None));
    groups.begin_reading(ONE);
    assert_eq!(
        groups.other().drops,
        3,
        "from records, and without a key, as well"
    );
    groups.begin_reading(ONE);
    assert_eq!(groups.other().drops, 3, "once");
    assert_eq!(groups.find("54"), None, "and leave nothing behind");
    assert_eq!(groups.totals().0.drops, 4);
}

#[test]
fn each_dimension_has_a_bit_and_the_name_that_the_flag_takes() {
    let mut bits = 0;
    for dimension in Dimension::value_variants() {
        assert_eq!(bits & dimension.bit(), 0);
        bits |= dimension.bit();
        let name = dimension.to_possible_value().unwrap();
        assert_eq!(name.get_name(), dimension.name());
    }
}
