use proptest::prelude::*;
use serde_json::Value;

use super::{object::write_text, *};
use crate::format::samples::{Parts, parts};

fn write(parts: &Parts) -> String {
    let mut line = Vec::new();
    JsonFormat::new().write(&parts.record(), &mut line);
    String::from_utf8(line).unwrap()
}

fn lossy(name: &[u8]) -> Value {
    String::from_utf8_lossy(name).into_owned().into()
}

fn optional(name: Option<&[u8]>) -> Value {
    name.map_or(Value::Null, lossy)
}

proptest! {
    #[test]
    fn any_drop_is_one_object_on_one_line(parts in parts()) {
        let line = write(&parts);
        let text = line.strip_suffix('\n').unwrap();
        prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?}");
        let object: Value = serde_json::from_str(text).unwrap();
        let object = object.as_object().unwrap();
        // What is there twice would be once in the map.
        let again = serde_json::to_string(object).unwrap();
        let names: Vec<_> = [&again, text].map(|text| text.matches("\":").count()).into();
        prop_assert_eq!(names[0], names[1], "{}", text);

        prop_assert_eq!(&object["boot_ns"], &Value::from(parts.time.boot_ns));
        prop_assert_eq!(&object["comm"], &lossy(&parts.comm));
        let device = parts.device.as_ref();
        prop_assert_eq!(&object["if"], &optional(device.map(|(_, name)| &name[..])));
        let [container, pod, unit, _] = &parts.workload;
        prop_assert_eq!(&object["container"], &optional(container.as_deref()));
        prop_assert_eq!(&object["pod"], &optional(pod.as_deref()));
        prop_assert_eq!(&object["unit"], &optional(unit.as_deref()));
        if let Some((comm, pid, _)) = &parts.owner {
            prop_assert_eq!(&object["owner_comm"], &lossy(comm));
            prop_assert_eq!(&object["owner_pid"], &Value::from(*pid));
        }
    }

    #[test]
    fn any_bytes_are_a_string(bytes in any::<Vec<u8>>()) {
        let mut text = Vec::new();
        write_text(&bytes, &mut text);
        let read: String = serde_json::from_slice(&text).unwrap();
        prop_assert_eq!(read, String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_text_is_kept(text: String) {
        let mut line = Vec::new();
        write_text(text.as_bytes(), &mut line);
        prop_assert_eq!(serde_json::from_slice::<String>(&line).unwrap(), text);
    }
}

#[test]
fn strings_are_escaped() {
    for (name, expected) in [
        (&b"eth0"[..], r#""eth0""#),
        (b"", r#""""#),
        (b"tmux: server", r#""tmux: server""#),
        (br#"a"b\c"#, r#""a\"b\\c""#),
        (b"a\nb\t\0", r#""a\u000ab\u0009\u0000""#),
        (b"\x1b[31m\x7f", r#""\u001b[31m\u007f""#),
        ("\u{202e}é😀".as_bytes(), r#""\u202e\u00e9\ud83d\ude00""#),
        (b"a\xff\xc3(", r#""a\ufffd\ufffd(""#),
    ] {
        let mut line = Vec::new();
        write_text(name, &mut line);
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }
}

#[test]
fn the_account_has_every_term() {
    let account = Account {
        seen: 28,
        printed: 1,
        counted: None,
        hidden: 2,
        filtered: 3,
        sampled_out: 4,
        limited: 5,
        lost: 13,
    };
    let mut line = Vec::new();
    JsonFormat::new().write_account(&account, &mut line);
    assert_eq!(
        String::from_utf8(line).unwrap(),
        "{\"schema\":1,\"type\":\"account\",\"seen\":28,\"printed\":1,\"hidden\":2,\
         \"filtered\":3,\"sampled_out\":4,\"limited\":5,\"lost\":13}\n"
    );
}
