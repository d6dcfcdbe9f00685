//! The first column of a line.

use jiff::{Timestamp, tz::TimeZone};

use crate::record::DropTime;

/// How a line shows its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TimestampStyle {
    /// Wall-clock time of the local time zone, as 07:30:01.123456
    #[default]
    Local,
    /// Wall-clock time in UTC, with date, as 2026-01-31T07:30:01.123456Z
    Utc,
    /// Seconds since boot, as 1234.123456
    Boot,
    /// Seconds since the line before, as +0.001234
    Delta,
    /// No time column
    None,
}

/// Writes timestamps of one style, and keeps what two lines share.
pub(crate) struct TimestampWriter {
    style: TimestampStyle,
    zone: TimeZone,
    /// The second that `prefix` stands for.
    second: i64,
    /// The part of the text up to the second.
    prefix: Vec<u8>,
    /// Time of the line before.
    previous_ns: Option<u64>,
}

/// Date and time of RFC 3339 up to the second.
const UTC_FORMAT: &str = "%Y-%m-%dT%H:%M:%S";

const NS_PER_SECOND: i64 = 1_000_000_000;
const NS_PER_MICROSECOND: i64 = 1_000;
const MICROSECONDS_PER_SECOND: i64 = 1_000_000;

impl TimestampWriter {
    /// A writer for `style`; local time is that of `zone`.
    pub(crate) fn new(style: TimestampStyle, zone: TimeZone) -> Self {
        Self {
            style,
            zone,
            second: i64::MIN,
            prefix: Vec::new(),
            previous_ns: None,
        }
    }

    /// Makes local time that of another zone.
    pub(crate) fn set_zone(&mut self, zone: TimeZone) {
        self.zone = zone;
        self.second = i64::MIN;
    }

    /// Appends the time and the space behind it, or nothing for
    /// [`TimestampStyle::None`].
    pub(crate) fn write(&mut self, time: DropTime, line: &mut Vec<u8>) {
        match self.style {
            TimestampStyle::None => return,
            TimestampStyle::Local => self.write_wall_clock(time.unix_ns, "%H:%M:%S", line),
            TimestampStyle::Utc => {
                self.write_wall_clock(time.unix_ns, UTC_FORMAT, line);
                line.push(b'Z');
            }
            TimestampStyle::Boot => write_seconds(i128::from(time.boot_ns), line),
            TimestampStyle::Delta => {
                let now = i128::from(time.boot_ns);
                let delta = self
                    .previous_ns
                    .map_or(0, |previous| now - i128::from(previous));
                self.previous_ns = Some(time.boot_ns);
                line.push(if delta < 0 { b'-' } else { b'+' });
                write_seconds(delta.abs(), line);
            }
        }
        line.push(b' ');
    }

    /// Appends the wall-clock time as RFC 3339 has it, to the nanosecond; for
    /// [`TimestampStyle::Utc`].
    pub(crate) fn write_rfc3339(&mut self, unix_ns: i64, line: &mut Vec<u8>) {
        self.write_second(unix_ns, UTC_FORMAT, line);
        write_fraction(unix_ns.rem_euclid(NS_PER_SECOND), NS_PER_SECOND, line);
        line.push(b'Z');
    }

    fn write_wall_clock(&mut self, unix_ns: i64, format: &str, line: &mut Vec<u8>) {
        self.write_second(unix_ns, format, line);
        let microseconds = unix_ns.rem_euclid(NS_PER_SECOND) / NS_PER_MICROSECOND;
        write_fraction(microseconds, MICROSECONDS_PER_SECOND, line);
    }

    /// Appends the time up to the second.
    fn write_second(&mut self, unix_ns: i64, format: &str, line: &mut Vec<u8>) {
        let second = unix_ns.div_euclid(NS_PER_SECOND);
        if second != self.second {
            self.second = second;
            self.prefix.clear();
            // An i64 of nanoseconds is always within the range of a timestamp.
            let time = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
            let zone = match self.style {
                TimestampStyle::Utc => TimeZone::UTC,
                _ => self.zone.clone(),
            };
            let text = time.to_zoned(zone).strftime(format).to_string();
            self.prefix.extend_from_slice(text.as_bytes());
        }
        line.extend_from_slice(&self.prefix);
    }
}

/// Appends seconds and microseconds; the rest is cut off, so that time never
/// seems to run backwards.
fn write_seconds(ns: i128, line: &mut Vec<u8>) {
    let seconds = ns / i128::from(NS_PER_SECOND);
    let microseconds = ns % i128::from(NS_PER_SECOND) / i128::from(NS_PER_MICROSECOND);
    let mut buffer = itoa::Buffer::new();
    line.extend_from_slice(buffer.format(seconds).as_bytes());
    write_fraction(microseconds as i64, MICROSECONDS_PER_SECOND, line);
}

/// Appends a point and `number`, which is below `unit`, with as many digits as that has
/// zeros.
fn write_fraction(number: i64, unit: i64, line: &mut Vec<u8>) {
    let start = line.len();
    // The one in front makes room for the point.
    line.extend_from_slice(itoa::Buffer::new().format(unit + number).as_bytes());
    if let Some(first) = line.get_mut(start) {
        *first = b'.';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(style: TimestampStyle, times: &[DropTime]) -> String {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let mut writer = TimestampWriter::new(style, zone);
        let mut line = Vec::new();
        for &time in times {
            writer.write(time, &mut line);
        }
        String::from_utf8(line).unwrap()
    }

    const FIRST: DropTime = DropTime {
        boot_ns: 5_000_001_999,
        unix_ns: 1_769_844_601_123_456_999,
    };
    const SECOND: DropTime = DropTime {
        boot_ns: 5_001_003_000,
        unix_ns: 1_769_844_601_999_999_999,
    };
    const EARLIER: DropTime = DropTime {
        boot_ns: 5_000_000_000,
        unix_ns: 1_769_844_600_000_000_000,
    };

    #[test]
    fn styles() {
        let cases = [
            (TimestampStyle::Local, "09:30:01.123456 09:30:01.999999 "),
            (
                TimestampStyle::Utc,
                "2026-01-31T07:30:01.123456Z 2026-01-31T07:30:01.999999Z ",
            ),
            (TimestampStyle::Boot, "5.000001 5.001003 "),
            (TimestampStyle::Delta, "+0.000000 +0.001001 "),
            (TimestampStyle::None, ""),
        ];
        for (style, expected) in cases {
            assert_eq!(write(style, &[FIRST, SECOND]), expected, "{style:?}");
        }
    }

    #[test]
    fn the_zone_can_change_within_a_second() {
        let mut writer = TimestampWriter::new(TimestampStyle::Local, TimeZone::UTC);
        let mut line = Vec::new();
        writer.write(FIRST, &mut line);
        writer.set_zone(TimeZone::fixed(jiff::tz::offset(-1)));
        writer.write(FIRST, &mut line);
        assert_eq!(line, b"07:30:01.123456 06:30:01.123456 ");
    }

    #[test]
    fn rfc3339_has_every_nanosecond() {
        let mut writer = TimestampWriter::new(TimestampStyle::Utc, TimeZone::UTC);
        for (unix_ns, expected) in [
            (FIRST.unix_ns, "2026-01-31T07:30:01.123456999Z"),
            (0, "1970-01-01T00:00:00.000000000Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
            (i64::MIN, "1677-09-21T00:12:43.145224192Z"),
        ] {
            let mut line = Vec::new();
            writer.write_rfc3339(unix_ns, &mut line);
            assert_eq!(String::from_utf8(line).unwrap(), expected);
        }
    }

    #[test]
    fn two_processors_may_report_out_of_order() {
        assert_eq!(
            write(TimestampStyle::Delta, &[SECOND, EARLIER]),
            "+0.000000 -0.001003 "
        );
    }
}
