use super::*;
use crate::fixture::{KERNELS, btf, btf_with_renamed};

fn targets(hook: Hook, btf: &Btf) -> Vec<&'static str> {
    let points = hook.attach_points(btf);
    points.iter().map(|point| point.target).collect()
}

#[test]
fn probes_go_where_the_kernel_frees_packets() {
    let expected: [&[&str]; 4] = [
        &["kfree_skb"],
        &["kfree_skb_reason"],
        &["sk_skb_reason_drop", "kfree_skb_list_reason"],
        &["sk_skb_reason_drop", "kfree_skb_list_reason"],
    ];
    for (kernel, expected) in KERNELS.into_iter().zip(expected) {
        assert_eq!(targets(Hook::Kprobe, &btf(kernel)), expected, "{kernel}");
    }
}

#[test]
fn the_tracepoint_is_on_every_kernel() {
    for kernel in KERNELS {
        assert_eq!(targets(Hook::Tracepoint, &btf(kernel)), ["kfree_skb"]);
    }
}

#[test]
fn the_list_function_is_left_alone_where_it_calls_the_others() {
    let btf = btf_with_renamed("6.12", LIST_BYPASS_MARKER, "skb_sent_array");
    assert_eq!(targets(Hook::Kprobe, &btf), ["sk_skb_reason_drop"]);
}

#[test]
fn a_kernel_can_lack_a_hook() {
    let btf = btf_with_renamed("5.10", "btf_trace_kfree_skb", "btf_trace_gfree_skb");
    assert!(Hook::Tracepoint.attach_points(&btf).is_empty());
    let btf = btf_with_renamed("6.1", "kfree_skb_reason", "gfree_skb_reason");
    assert!(Hook::Kprobe.attach_points(&btf).is_empty());
}

#[test]
fn auto_prefers_the_tracepoint() {
    use HookChoice::{Auto, Kprobe, Tracepoint};
    assert_eq!(Hook::candidates(Auto), [Hook::Tracepoint, Hook::Kprobe]);
    assert_eq!(Hook::candidates(Tracepoint), [Hook::Tracepoint]);
    assert_eq!(Hook::candidates(Kprobe), [Hook::Kprobe]);
}

#[test]
fn each_attach_point_has_a_program_of_its_own() {
    for (index, point) in ATTACH_POINTS.iter().enumerate() {
        let programs = ATTACH_POINTS[..index].iter().map(|point| point.program);
        assert!(!programs.into_iter().any(|it| it == point.program));
    }
}
