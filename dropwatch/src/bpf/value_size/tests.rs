use super::{super::object::OBJECT, *};

#[test]
fn only_the_size_of_a_stack_changes() {
    let mut object = OBJECT.to_vec();
    change(&mut object, "STACKS", |_| 176).unwrap();
    let position = position(&object, "STACKS").unwrap();
    // Before it are `BPF_MAP_TYPE_STACK_TRACE` and the size of a key.
    let before: Vec<u8> = [7_u32, 4].into_iter().flat_map(u32::to_ne_bytes).collect();
    assert_eq!(object[position - 8..position], before);
    assert_eq!(object[position..position + 4], 176_u32.to_ne_bytes());
    object[position..position + 4].copy_from_slice(&OBJECT[position..position + 4]);
    assert!(object == OBJECT, "something else has changed, too");
}

#[test]
fn the_scratch_area_fits_into_a_per_cpu_map() {
    use dropwatch_common::event::{MAX_RECORD_SIZE, MAX_TAIL};

    let mut size = 0;
    let as_it_is = |bytes| {
        size = bytes;
        bytes
    };
    change(&mut OBJECT.to_vec(), "SCRATCH", as_it_is).unwrap();
    // `PCPU_MIN_UNIT_SIZE` in the kernel's `include/linux/percpu.h`.
    assert!(
        size as usize > MAX_RECORD_SIZE && size <= 32 << 10,
        "{size}"
    );
    assert!(size as usize - MAX_TAIL < 4096, "{size} without a tail");
}

#[test]
fn what_is_no_object_is_an_error() {
    for bytes in [&b""[..], b"not an object", &OBJECT[..100]] {
        let error = change(&mut bytes.to_vec(), "STACKS", |_| 176).unwrap_err();
        assert_eq!(error.to_string(), "finding the map STACKS");
    }
}

#[test]
fn an_object_without_the_map_is_an_error() {
    let mut object = OBJECT.to_vec();
    for start in 0..object.len() - 8 {
        if object[start..].starts_with(b"\0STACKS\0") {
            object[start + 1] = b'R';
        }
    }
    let error = format!("{:#}", change(&mut object, "STACKS", |_| 176).unwrap_err());
    assert!(error.contains("no map STACKS"), "{error}");
}
