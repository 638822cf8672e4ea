/// Writes milliseconds since 1970 as a date and time in UTC; none for 0, which stands for an unknown time.
pub(crate) fn moment(unix_ms: u64) -> Option<String> {
    if unix_ms == 0 {
        return None;
    }
    let (seconds, millis) = (unix_ms / 1_000, unix_ms % 1_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"))
}

/// The date so many days after the first of January 1970.
fn date(days: u64) -> (u64, u64, u64) {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    // The calendar repeats every 400 years, which have 146097 days; the rest is counted out.
    let (mut year, mut left) = (1970 + days / 146_097 * 400, days % 146_097);
    while left >= 365 + u64::from(is_leap(year)) {
        left -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

/// A text whose further lines stand below its first one.
pub(crate) fn indented(text: &str) -> String {
    text.replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        // By `date -u -d @SECONDS`.
        for (seconds, text) in [
            (1, "1970-01-01T00:00:01.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_827_696, "2000-02-29T12:34:56.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_709_251_200, "2024-03-01T00:00:00.000Z"),
            (1_795_408_501, "2026-11-23T04:35:01.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (13_574_649_599, "2400-02-29T23:59:59.000Z"),
        ] {
            assert_eq!(moment(seconds * 1_000).as_deref(), Some(text), "{seconds}");
        }
        assert_eq!(moment(1_795_408_501_007).as_deref(), Some("2026-11-23T04:35:01.007Z"));
        assert_eq!(moment(0), None, "nobody knows");
    }
}
