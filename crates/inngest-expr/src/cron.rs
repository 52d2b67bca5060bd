//! Schedules of cron.
//!
//! `minute hour day-of-month month day-of-week` as the Go server reads them, and what users expect besides: a field
//! for seconds in front, `@daily` and its like, `@every 90s`; with a time zone in front (`TZ=Europe/Paris 0 9 * * 1`).
//!
//! A schedule describes wall-clock times. Each instant at which a clock on the wall shows one of them counts: a time
//! that a clock skips in spring is passed over, one that it shows twice in autumn counts twice.

use std::time::Duration;

use inngest_core::Millis;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use xxhash_rust::xxh64::xxh64;

use crate::duration;

/// A schedule that says nothing within so many years never does.
const YEARS_MAX: i16 = 5;
const DAYS_MAX: usize = 366 * 5 + 2;

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CronError {
    /// Neither five fields nor six.
    #[error("it has {0} fields; expected are 5 (minute hour day-of-month month day-of-week), or 6 with seconds first")]
    Fields(usize),
    /// A field says something that it cannot mean.
    #[error("{field} \"{item}\": {problem}")]
    Field {
        /// Which field.
        field: &'static str,
        /// The part of it.
        item: String,
        /// What is wrong.
        problem: String,
    },
    /// No such time zone.
    #[error("unknown time zone \"{0}\"")]
    Zone(String),
    /// An unknown word after `@`.
    #[error(
        "unknown schedule \"{0}\"; known are @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually and @every <duration>"
    )]
    Word(String),
    /// `@every` with something else than one second or more.
    #[error("@every needs a duration of at least 1s, such as @every 90s; not \"{0}\"")]
    Every(String),
}

/// When something happens again and again.
#[derive(Clone, Debug)]
pub struct Schedule {
    times: Times,
}

#[derive(Clone, Debug)]
enum Times {
    /// Multiples of this many milliseconds since 1970, so that a restart does not move them.
    Every(i64),
    Wall(Box<Wall>),
}

/// Times on the wall.
#[derive(Clone, Debug)]
struct Wall {
    zone: TimeZone,
    seconds: u64,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// The day of the month and the weekday must both fit; if both are restricted, one is enough.
    both_days: bool,
}

struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const SECOND: Field = Field { name: "second", min: 0, max: 59, names: &[] };
const MINUTE: Field = Field { name: "minute", min: 0, max: 59, names: &[] };
const HOUR: Field = Field { name: "hour", min: 0, max: 23, names: &[] };
const DAY: Field = Field { name: "day-of-month", min: 1, max: 31, names: &[] };
const MONTH: Field = Field {
    name: "month",
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: Field =
    Field { name: "day-of-week", min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// A time zone that is known to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// That of schedules that say nothing.
    #[must_use]
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// The zone of an IANA name; none is UTC.
    pub fn named(name: &str) -> Result<Self, CronError> {
        match name {
            "" | "UTC" => Ok(Self::utc()),
            name => TimeZone::get(name).map(Self).map_err(|_| CronError::Zone(name.to_owned())),
        }
    }

    /// The zone that the variable `TZ` names. `:Europe/Berlin` is what POSIX writes for `Europe/Berlin`; its other
    /// form (`CET-1CEST`) is no name of a zone.
    pub fn of_variable(value: &str) -> Result<Self, CronError> {
        let value = value.trim();
        Self::named(value.strip_prefix(':').unwrap_or(value))
    }
}

impl Schedule {
    /// Reads a schedule. One that names no time zone is in UTC.
    pub fn parse(spec: &str) -> Result<Self, CronError> {
        Self::parse_in(spec, &Zone::utc())
    }

    /// Reads a schedule. One that names no time zone is in this one.
    pub fn parse_in(spec: &str, default_zone: &Zone) -> Result<Self, CronError> {
        let (Zone(zone), rest) = match ["TZ=", "CRON_TZ="].iter().find_map(|prefix| spec.strip_prefix(prefix)) {
            Some(rest) => {
                let (name, rest) = rest.split_once(' ').ok_or_else(|| CronError::Zone(rest.to_owned()))?;
                (Zone::named(name)?, rest)
            }
            None => (default_zone.clone(), spec),
        };
        let rest = rest.trim();
        if let Some(word) = rest.strip_prefix('@') {
            return Self::of_word(word, zone);
        }
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let times = match fields[..] {
            [minute, hour, day, month, weekday] => Wall::of(zone, ["0", minute, hour, day, month, weekday])?,
            [second, minute, hour, day, month, weekday] => Wall::of(zone, [second, minute, hour, day, month, weekday])?,
            _ => return Err(CronError::Fields(fields.len())),
        };
        Ok(Self { times: Times::Wall(times.into()) })
    }

    fn of_word(word: &str, zone: TimeZone) -> Result<Self, CronError> {
        if let Some(text) = word.strip_prefix("every ") {
            let text = text.trim();
            let span = duration::parse(text).map_err(|_| CronError::Every(text.to_owned()))?;
            let millis = Some(span.millis()).filter(|millis| *millis >= 1_000);
            let millis = millis.ok_or_else(|| CronError::Every(text.to_owned()))?;
            return Ok(Self { times: Times::Every(millis) });
        }
        let fields = match word {
            "hourly" => ["0", "0", "*", "*", "*", "*"],
            "daily" | "midnight" => ["0", "0", "0", "*", "*", "*"],
            "weekly" => ["0", "0", "0", "*", "*", "0"],
            "monthly" => ["0", "0", "0", "1", "*", "*"],
            "yearly" | "annually" => ["0", "0", "0", "1", "1", "*"],
            _ => return Err(CronError::Word(format!("@{word}"))),
        };
        Ok(Self { times: Times::Wall(Wall::of(zone, fields)?.into()) })
    }

    /// The first time after `after`; `None` when there is none within five years.
    #[must_use]
    pub fn next(&self, after: Millis) -> Option<Millis> {
        match &self.times {
            Times::Every(millis) => Some(Millis(after.0.div_euclid(*millis).checked_add(1)?.checked_mul(*millis)?)),
            Times::Wall(wall) => wall.next(after),
        }
    }

    /// The last time after `after` and not after `until`, however many there are in between.
    #[must_use]
    pub fn latest(&self, after: Millis, until: Millis) -> Option<Millis> {
        let latest = match &self.times {
            Times::Every(millis) => Some(Millis(until.0.div_euclid(*millis) * millis)),
            Times::Wall(wall) => wall.previous(until, after),
        };
        latest.filter(|at| *at > after)
    }
}

/// How much later than its time something happens that is spread over `jitter`: from one second up to `jitter`, the
/// same for the same seed for ever.
#[must_use]
pub fn jitter_offset(seed: &str, jitter: Duration) -> Duration {
    const MIN: Duration = Duration::from_secs(1);
    let range = u64::try_from(jitter.saturating_sub(MIN).as_millis()).unwrap_or(u64::MAX);
    if range == 0 {
        return MIN;
    }
    MIN + Duration::from_millis(xxh64(seed.as_bytes(), 0) % range)
}

impl Wall {
    fn of(zone: TimeZone, fields: [&str; 6]) -> Result<Self, CronError> {
        let [second, minute, hour, day, month, weekday] = fields;
        let (days, any_day) = DAY.read(day)?;
        let (weekdays, any_weekday) = WEEKDAY.read(weekday)?;
        Ok(Self {
            zone,
            seconds: SECOND.read(second)?.0,
            minutes: MINUTE.read(minute)?.0,
            hours: HOUR.read(hour)?.0,
            days,
            months: MONTH.read(month)?.0,
            weekdays,
            both_days: any_day || any_weekday,
        })
    }

    /// Between two changes of its offset a clock runs evenly, so each such stretch is searched as one.
    fn next(&self, after: Millis) -> Option<Millis> {
        let mut from = Timestamp::from_second(after.0.div_euclid(1_000).checked_add(1)?).ok()?;
        let limit = from.to_zoned(TimeZone::UTC).checked_add(i64::from(YEARS_MAX).years()).ok()?.timestamp();
        while from <= limit {
            let offset = self.zone.to_offset(from);
            let stretch_end = self.zone.following(from).next().map(|transition| transition.timestamp());
            let found = self.on_or_after(offset.to_datetime(from)).and_then(|at| offset.to_timestamp(at).ok());
            if let Some(at) = found.filter(|at| stretch_end.is_none_or(|end| *at < end)) {
                return Some(Millis(at.as_millisecond())).filter(|_| at <= limit);
            }
            from = stretch_end?;
        }
        None
    }

    fn previous(&self, until: Millis, after: Millis) -> Option<Millis> {
        let mut to = Timestamp::from_second(until.0.div_euclid(1_000)).ok()?;
        while to.as_millisecond() > after.0 {
            let offset = self.zone.to_offset(to);
            // The change that began this stretch, which may be at this very second.
            let next = to.checked_add(SignedDuration::from_secs(1)).ok()?;
            let stretch_start = self.zone.preceding(next).next().map(|transition| transition.timestamp());
            let found = self.on_or_before(offset.to_datetime(to)).and_then(|at| offset.to_timestamp(at).ok());
            if let Some(at) = found.filter(|at| stretch_start.is_none_or(|start| *at >= start)) {
                return Some(Millis(at.as_millisecond()));
            }
            to = stretch_start?.checked_sub(SignedDuration::from_secs(1)).ok()?;
        }
        None
    }

    fn on_or_after(&self, at: DateTime) -> Option<DateTime> {
        let (mut date, mut time) = (at.date(), Some(at.time()));
        for _ in 0..DAYS_MAX {
            if self.has_day(date) {
                let from = time.unwrap_or(Time::midnight());
                if let Some(time) = self.time_on_or_after(from) {
                    return Some(date.to_datetime(time));
                }
            }
            time = None;
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn on_or_before(&self, at: DateTime) -> Option<DateTime> {
        const LAST: Time = Time::constant(23, 59, 59, 0);
        let (mut date, mut time) = (at.date(), Some(at.time()));
        for _ in 0..DAYS_MAX {
            if self.has_day(date) {
                let to = time.unwrap_or(LAST);
                if let Some(time) = self.time_on_or_before(to) {
                    return Some(date.to_datetime(time));
                }
            }
            time = None;
            date = date.yesterday().ok()?;
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let day = has(self.days, i32::from(date.day()));
        let weekday = has(self.weekdays, i32::from(date.weekday().to_sunday_zero_offset()));
        has(self.months, i32::from(date.month())) && if self.both_days { day && weekday } else { day || weekday }
    }

    fn time_on_or_after(&self, from: Time) -> Option<Time> {
        let (hour, minute, second) = (index(from.hour()), index(from.minute()), index(from.second()));
        if has(self.hours, i32::from(from.hour())) {
            if has(self.minutes, i32::from(from.minute()))
                && let Some(second) = first(self.seconds, second)
            {
                return time(hour, minute, second);
            }
            if let Some(minute) = first(self.minutes, minute + 1) {
                return time(hour, minute, first(self.seconds, 0)?);
            }
        }
        time(first(self.hours, hour + 1)?, first(self.minutes, 0)?, first(self.seconds, 0)?)
    }

    fn time_on_or_before(&self, to: Time) -> Option<Time> {
        let (hour, minute, second) = (index(to.hour()), index(to.minute()), index(to.second()));
        if has(self.hours, i32::from(to.hour())) {
            if has(self.minutes, i32::from(to.minute()))
                && let Some(second) = last(self.seconds, second)
            {
                return time(hour, minute, second);
            }
            if let Some(minute) = minute.checked_sub(1).and_then(|minute| last(self.minutes, minute)) {
                return time(hour, minute, last(self.seconds, 59)?);
            }
        }
        let hour = hour.checked_sub(1).and_then(|hour| last(self.hours, hour))?;
        time(hour, last(self.minutes, 59)?, last(self.seconds, 59)?)
    }
}

fn index(part: i8) -> u32 {
    u32::from(part.unsigned_abs())
}

fn time(hour: u32, minute: u32, second: u32) -> Option<Time> {
    let part = |value: u32| i8::try_from(value).ok();
    Time::new(part(hour)?, part(minute)?, part(second)?, 0).ok()
}

fn has(set: u64, value: i32) -> bool {
    set >> value & 1 == 1
}

/// The smallest member from `from` on.
fn first(set: u64, from: u32) -> Option<u32> {
    let rest = if from < 64 { set >> from << from } else { 0 };
    (rest != 0).then(|| rest.trailing_zeros())
}

/// The largest member up to `to`.
fn last(set: u64, to: u32) -> Option<u32> {
    let rest = set & (u64::MAX >> (63 - to.min(63)));
    (rest != 0).then(|| 63 - rest.leading_zeros())
}

impl Field {
    /// The values a field names, and whether a bare `*` is among them.
    fn read(&self, text: &str) -> Result<(u64, bool), CronError> {
        let (mut set, mut any) = (0, false);
        for item in text.split(',').filter(|item| !item.is_empty()) {
            let (values, is_any) = self.item(item)?;
            set |= values;
            any |= is_any;
        }
        Ok((set, any))
    }

    fn item(&self, item: &str) -> Result<(u64, bool), CronError> {
        let refuse = |problem: String| CronError::Field { field: self.name, item: item.to_owned(), problem };
        let (range, step) = match item.split_once('/') {
            None => (item, None),
            Some((range, step)) => {
                let step = number(step).filter(|step| *step > 0);
                (range, Some(step.ok_or_else(|| refuse("the step must be a number above 0".to_owned()))?))
            }
        };
        let star = matches!(range, "*" | "?");
        let (from, to) = match range.split_once('-') {
            _ if star => (self.min, self.max),
            Some((from, to)) => (self.value(from, item)?, self.value(to, item)?),
            None => {
                let from = self.value(range, item)?;
                (from, if step.is_some() { self.max } else { from })
            }
        };
        if from > to {
            return Err(refuse(format!("the range runs backwards, from {from} to {to}")));
        }
        let step = step.unwrap_or(1);
        let values = (from..=to).step_by(usize::try_from(step).unwrap_or(usize::MAX));
        Ok((values.fold(0, |set, value| set | 1 << value), star && step == 1))
    }

    fn value(&self, text: &str, item: &str) -> Result<u32, CronError> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let value = match named {
            Some(position) => u32::try_from(position).ok().map(|position| position + self.min),
            None => number(text),
        };
        value.filter(|value| (self.min..=self.max).contains(value)).ok_or_else(|| CronError::Field {
            field: self.name,
            item: item.to_owned(),
            problem: format!("values are {} to {}", self.min, self.max),
        })
    }
}

/// Digits, with a plus sign if need be.
fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Millis {
        Millis(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    fn shown(at: Option<Millis>) -> String {
        at.map_or_else(String::new, |at| Timestamp::from_millisecond(at.0).unwrap().to_string())
    }

    #[test]
    fn a_schedule_without_a_zone_is_in_the_default_one() {
        let berlin = Zone::of_variable(":Europe/Berlin").unwrap();
        let noon = |spec: &str| Schedule::parse_in(spec, &berlin).unwrap().next(Millis(0)).unwrap().0 / 3_600_000;
        assert_eq!([noon("0 12 * * *"), noon("TZ=UTC 0 12 * * *"), noon("TZ= 0 12 * * *")], [11, 12, 12]);
        for (value, known) in
            [("UTC", true), (" Europe/Paris ", true), (":", true), ("CET-1CEST", false), ("UTC0", false)]
        {
            assert_eq!(Zone::of_variable(value).is_ok(), known, "{value}");
        }
    }

    #[test]
    fn clocks_that_are_changed_skip_times_or_show_them_twice() {
        for (spec, from, expected) in [
            // Spring: 02:30 does not exist on that day.
            ("TZ=Europe/Berlin 30 2 * * *", "2026-03-28T12:00:00Z", ["2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"]),
            (
                "TZ=America/New_York 30 2 * * *",
                "2026-03-07T12:00:00Z",
                ["2026-03-09T06:30:00Z", "2026-03-10T06:30:00Z"],
            ),
            (
                "TZ=Australia/Sydney 30 2 * * *",
                "2026-10-03T00:00:00Z",
                ["2026-10-04T15:30:00Z", "2026-10-05T15:30:00Z"],
            ),
            // Autumn: 02:30 (01:30 in New York) comes twice.
            ("TZ=Europe/Berlin 30 2 * * *", "2026-10-24T12:00:00Z", ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]),
            (
                "TZ=America/New_York 30 1 * * *",
                "2026-10-31T12:00:00Z",
                ["2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"],
            ),
            (
                "TZ=Australia/Sydney 30 2 * * *",
                "2026-04-04T00:00:00Z",
                ["2026-04-04T15:30:00Z", "2026-04-04T16:30:00Z"],
            ),
        ] {
            let schedule = Schedule::parse(spec).unwrap();
            let first = schedule.next(at(from));
            assert_eq!([shown(first), shown(schedule.next(first.unwrap()))], expected, "{spec}");
        }
    }

    #[test]
    fn words_and_seconds() {
        for (spec, expected) in [
            ("@hourly", "2026-11-24T10:00:00Z"),
            ("@daily", "2026-11-25T00:00:00Z"),
            ("@midnight", "2026-11-25T00:00:00Z"),
            ("@weekly", "2026-11-29T00:00:00Z"),
            ("@monthly", "2026-12-01T00:00:00Z"),
            ("@yearly", "2027-01-01T00:00:00Z"),
            ("@annually", "2027-01-01T00:00:00Z"),
            ("TZ=Asia/Tokyo @daily", "2026-11-24T15:00:00Z"),
            ("@every 90s", "2026-11-24T09:16:30Z"),
            ("@every 1h30m", "2026-11-24T10:30:00Z"),
            ("*/20 * * * * *", "2026-11-24T09:15:20Z"),
            ("15 30 9 * * *", "2026-11-24T09:30:15Z"),
        ] {
            let schedule = Schedule::parse(spec).unwrap_or_else(|error| panic!("{spec}: {error}"));
            assert_eq!(shown(schedule.next(at("2026-11-24T09:15:00.250Z"))), expected, "{spec}");
        }
    }

    #[test]
    fn bad_schedules_say_what_is_wrong() {
        for (spec, expected) in [
            ("", "it has 0 fields; expected are 5"),
            ("* * * *", "it has 4 fields"),
            ("60 * * * *", "minute \"60\": values are 0 to 59"),
            ("* * * * 7", "day-of-week \"7\": values are 0 to 6"),
            ("* 22-2 * * *", "hour \"22-2\": the range runs backwards, from 22 to 2"),
            ("*/0 * * * *", "minute \"*/0\": the step must be a number above 0"),
            ("* * L * *", "day-of-month \"L\""),
            ("TZ=Nowhere/City * * * * *", "unknown time zone \"Nowhere/City\""),
            ("TZ=UTC", "unknown time zone \"UTC\""),
            ("@often", "unknown schedule \"@often\""),
            ("@every 10ms", "@every needs a duration of at least 1s"),
            ("@every soon", "@every needs a duration"),
        ] {
            let error = Schedule::parse(spec).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{spec}: {error}");
        }
    }

    #[test]
    fn jitter_is_the_same_for_the_same_seed() {
        let offset = |seed: &str| jitter_offset(seed, Duration::from_secs(10));
        assert_eq!(offset("a"), offset("a"));
        let all: Vec<Duration> = (0..200).map(|seed| offset(&seed.to_string())).collect();
        assert!(all.iter().all(|offset| (Duration::from_secs(1)..Duration::from_secs(10)).contains(offset)));
        assert!(all.iter().max() > all.iter().min());
        assert_eq!(jitter_offset("a", Duration::from_secs(1)), Duration::from_secs(1));
    }

    #[test]
    fn a_search_is_quick_however_rare_the_times_are() {
        let began = std::time::Instant::now();
        for spec in ["0 0 31 2 *", "0 0 29 2 0", "* * * * * *", ", * * * *", "TZ=Australia/Lord_Howe 15 2 * * *"] {
            let schedule = Schedule::parse(spec).unwrap();
            let _some_time = schedule.next(at("2026-11-24T09:15:00Z"));
            let _some_time = schedule.latest(at("1990-01-01T00:00:00Z"), at("2026-11-24T09:15:00Z"));
        }
        assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
    }

    fn field(max: u32) -> impl Strategy<Value = String> {
        prop_oneof![
            3 => Just("*".to_owned()),
            2 => (0..=max).prop_map(|value| value.max(1).to_string()),
            1 => (1..=9_u32).prop_map(|step| format!("*/{step}")),
            1 => (1..=max).prop_map(move |from| format!("{from}-{max}")),
        ]
    }

    fn spec() -> impl Strategy<Value = String> {
        let zone = prop_oneof![
            Just(""),
            Just("TZ=Europe/Berlin "),
            Just("TZ=America/New_York "),
            Just("TZ=Australia/Lord_Howe "),
            Just("TZ=Asia/Kolkata "),
        ];
        (zone, field(59), field(23), field(28), field(12), field(6)).prop_map(
            |(zone, minute, hour, day, month, weekday)| format!("{zone}{minute} {hour} {day} {month} {weekday}"),
        )
    }

    proptest! {
        #[test]
        fn times_ascend_and_the_latest_is_the_last_of_them(spec in spec(), from in 1_600_000_000_000..1_900_000_000_000_i64) {
            let schedule = Schedule::parse(&spec).unwrap();
            let mut times = Vec::new();
            let mut after = Millis(from);
            while let Some(next) = schedule.next(after) {
                prop_assert!(next > after);
                times.push(next);
                after = next;
                if times.len() == 20 {
                    break;
                }
            }
            if let [.., until] = times[..] {
                prop_assert_eq!(schedule.latest(Millis(from), until), Some(until));
                prop_assert_eq!(schedule.latest(Millis(from), Millis(until.0 + 999)), Some(until));
                let before = times.len().checked_sub(2).map(|index| times[index]);
                prop_assert_eq!(schedule.latest(Millis(from), Millis(until.0 - 1)), before);
            }
        }

        #[test]
        fn never_panics(spec in "[0-9a-zA-Z*?/,@= +-]{0,30}", from in i64::MIN / 2..i64::MAX / 2) {
            if let Ok(schedule) = Schedule::parse(&spec) {
                let _some_time = schedule.next(Millis(from));
                let _some_time = schedule.latest(Millis(0), Millis(from));
            }
        }
    }
}
