//! Numbers, moments and names as people read them.

use tallymill_ledger::Amount;
use tallymill_protocol::Micros;

/// Characters of an id that are shown; the whole id stands beside them in a title.
const SHORT: usize = 10;

/// Credits with thousands separators and no needless zeros: `-1,234.5`.
///
/// ```
/// use tallymill_coordinator::pages::format::credits;
/// use tallymill_ledger::Amount;
/// assert_eq!(credits(&Amount::new(-1_234_500_000)), "-1,234.5");
/// ```
#[must_use]
pub fn credits(amount: &Amount) -> String {
    let unit = Amount::CREDIT.unsigned_abs();
    let micros = amount.micros().unsigned_abs();
    let sign = if amount.micros() < 0 { "-" } else { "" };
    let whole = count(&(micros / unit));
    let fraction = format!("{:06}", micros % unit);
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{whole}"),
        digits => format!("{sign}{whole}.{digits}"),
    }
}

/// A number with thousands separators; for fuel, tasks and bytes.
///
/// ```
/// use tallymill_coordinator::pages::format::count;
/// assert_eq!(count(&1_234_567), "1,234,567");
/// ```
#[must_use]
pub fn count(number: &u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The first characters of an id, with `…` when some are left out.
///
/// ```
/// use tallymill_coordinator::pages::format::short;
/// assert_eq!(short("0123456789abcdef"), "0123456789…");
/// ```
#[must_use]
pub fn short(id: &str) -> String {
    match id.char_indices().nth(SHORT) {
        Some((end, _)) => format!("{}…", &id[..end]),
        None => id.to_owned(),
    }
}

/// A moment for people, in UTC to the second: `2026-03-01 12:30:05 UTC`.
#[must_use]
pub fn moment(at: &Micros) -> String {
    let (date, clock) = parts(*at);
    format!("{date} {clock} UTC")
}

/// A moment for programs, in UTC to the second (RFC 3339): `2026-03-01T12:30:05Z`.
#[must_use]
pub fn machine(at: &Micros) -> String {
    let (date, clock) = parts(*at);
    format!("{date}T{clock}Z")
}

/// How far `at` lies from `now`: `just now`, `5 min ago`, `in 3 h`.
#[must_use]
pub fn relative(at: &Micros, now: &Micros) -> String {
    let (past, future) = (now.since(*at), at.since(*now));
    let seconds = past.max(future) / Micros::SECOND;
    let distance = match seconds {
        0..5 => return "just now".to_owned(),
        5..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", count(&(seconds / 86_400))),
    };
    if past > 0 { format!("{distance} ago") } else { format!("in {distance}") }
}

/// The class that colours a state's name. The name itself says the state, colour only repeats it.
#[must_use]
pub fn tone(state: &str) -> &'static str {
    match state {
        "final" | "finished" | "active" | "open" => "good",
        "failed" | "expired" | "suspended" | "void" | "lost" => "bad",
        "running" | "leased" | "reported" | "provisional" => "busy",
        _ => "plain",
    }
}

/// Date and time of day.
fn parts(at: Micros) -> (String, String) {
    let seconds = at.0 / Micros::SECOND;
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    (format!("{year:04}-{month:02}-{day:02}"), format!("{hour:02}:{minute:02}:{second:02}"))
}

/// Year, month and day of a number of days since 1970-01-01 in the proleptic Gregorian calendar. Years are
/// counted from March, so that the leap day is the last of its year: a cycle of 400 years has 146,097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    /// Days from 0000-03-01 to 1970-01-01.
    const SHIFT: u64 = 719_468;
    let days = days + SHIFT;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + next, month, day)
}
