//! Figures as people read them. Pure; what is printed for programs is in bytes and RFC 3339.

use std::time::{Duration, SystemTime};

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// `512 B`, `1.4 GiB`, `120 MiB`: three digits at most.
pub(crate) fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    // 999.5 would be shown as 1000: a fourth digit
    while value >= 999.5 {
        let Some(next) = units.next() else { break };
        value /= 1024.0;
        unit = next;
    }
    if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// `98 MiB/s`.
pub(crate) fn rate(bytes_per_second: u64) -> String {
    format!("{}/s", size(bytes_per_second))
}

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 file`, `2 files`.
pub(crate) fn some(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

/// `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// How long ago: `now`, `5 minutes ago`, `2 years ago`; a time to come, by a clock that is wrong, is shown as `now`.
pub(crate) fn ago(then: SystemTime, now: SystemTime) -> String {
    let seconds = now.duration_since(then).unwrap_or_default().as_secs();
    let (number, unit) = match seconds {
        0..60 => return "now".to_owned(),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        86_400..2_592_000 => (seconds / 86_400, "day"),
        2_592_000..31_536_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    format!("{} ago", some(number, unit))
}

/// `71 %`; never 100 before all is there.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let percent = if part >= whole { 100 } else { (u128::from(part) * 100 / u128::from(whole)) as u64 };
    format!("{percent} %")
}

/// A line of a glossary: `search        Find files by name`.
pub(crate) fn term(name: &str, meaning: &str) -> String {
    format!("  {name:12}  {meaning}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_at_most() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (10_189, "10 KiB"),
            (1_023_488, "1.0 MiB"),
            (1_500_000_000, "1.4 GiB"),
            (125_829_120, "120 MiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn counts_and_plurals_are_told_as_people_do() {
        assert_eq!(count(7), "7");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(123_456), "123,456");
        assert_eq!((some(1, "file"), some(0, "file")), ("1 file".into(), "0 files".into()));
    }

    #[test]
    fn a_part_is_not_shown_as_the_whole() {
        assert_eq!(percent(999_999, 1_000_000), "99 %");
        assert_eq!(percent(0, 0), "100 %");
        assert_eq!(percent(u64::MAX - 1, u64::MAX), "99 %");
    }

    #[test]
    fn times_are_told_in_one_or_two_units() {
        assert_eq!(duration(Duration::from_millis(420)), "0.4 s");
        assert_eq!(duration(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(duration(Duration::from_secs(7500)), "2 h 5 min");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        assert_eq!(ago(now - Duration::from_secs(300), now), "5 minutes ago");
        assert_eq!(ago(now - Duration::from_secs(40_000_000), now), "1 year ago");
        assert_eq!(ago(now + Duration::from_secs(300), now), "now");
    }
}
