//! Freeze windows: times of the calendar at which releases are held. They are the configuration of the node that leads,
//! in UTC and by its wall clock.
//!
//! While a window is open and nothing else holds all releases, the leader freezes them; when it is over, it ends the
//! freeze. A freeze that a person made is left alone.

use cronexpr::{Crontab, MakeTimestamp};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use warren_core::State;
use warren_core::command::Command;
use warren_core::service::{Actor, Freeze};
use warren_core::time::{WallTime, millis};
use warren_raft::Raft;

/// How often the leader looks at the clock. Windows begin at whole minutes, and to look costs microseconds.
const LOOK: Duration = Duration::from_secs(2);
/// The shortest window: cron has no finer steps.
const LENGTH_MIN: Duration = Duration::from_secs(60);
/// The longest window: what is to last longer is a freeze by hand.
const LENGTH_MAX: Duration = Duration::from_secs(62 * 24 * 3600);
/// The longest reason, in bytes: it stands in a line of `warren freeze status`.
const REASON_BYTES_MAX: usize = 200;
/// How an actor begins that is a window.
const ACTOR: &str = "freeze window ";
/// The fields of the time at which a window opens.
const FIELDS: [&str; 5] = ["minute", "hour", "day of month", "month", "day of week"];
/// From where it is asked whether a window ever opens: a leap year follows, so that 29 February comes.
const PROBE: WallTime = WallTime(1_704_067_200_000);

/// A time of the calendar at which releases are held.
#[derive(Clone, Debug)]
pub struct FreezeWindow {
    /// Why, which is its name too. Not empty.
    reason: String,
    /// When it opens, in UTC.
    opens: Crontab,
    /// From [`LENGTH_MIN`] to [`LENGTH_MAX`].
    length: Duration,
}

/// Why a text is no freeze window.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FreezeWindowError {
    /// Something is missing at its end.
    #[error(
        "{0:?} is no freeze window: write MINUTE HOUR DAY MONTH WEEKDAY DURATION REASON, as in 0 18 * * 5 62h weekend"
    )]
    Incomplete(String),
    /// One of its fields cannot be.
    #[error("freeze window {window:?}: {field} {value:?}: {why}")]
    Field {
        /// The whole text.
        window: String,
        /// Which field.
        field: &'static str,
        /// What stands there.
        value: String,
        /// What is wrong with it, and what to write.
        why: String,
    },
    /// No day is as it says.
    #[error("freeze window {0:?} never opens: there is no such day")]
    Never(String),
}

impl FreezeWindow {
    /// Reads `MINUTE HOUR DAY MONTH WEEKDAY DURATION REASON`: the five fields of cron in UTC, how long it stays open,
    /// and why, in one word or more.
    ///
    /// # Errors
    /// What is missing, or which field cannot be and why.
    pub fn parse(text: &str) -> Result<Self, FreezeWindowError> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let incomplete = || FreezeWindowError::Incomplete(text.to_owned());
        let (fields, rest) = words.split_at_checked(FIELDS.len()).ok_or_else(incomplete)?;
        let (length, reason) = rest.split_first().ok_or_else(incomplete)?;
        let refuse = |field, value: &str, why: String| FreezeWindowError::Field {
            window: text.to_owned(),
            field,
            value: value.to_owned(),
            why,
        };
        for (index, (field, value)) in FIELDS.into_iter().zip(fields.iter().copied()).enumerate() {
            let mut alone = ["*"; FIELDS.len()];
            alone[index] = value;
            cron(&alone).map_err(|why| refuse(field, value, why))?;
        }
        let opens = cron(fields).map_err(|why| refuse("time", &fields.join(" "), why))?;
        let known = humantime::parse_duration(length).ok();
        let length =
            known.filter(|known| (LENGTH_MIN..=LENGTH_MAX).contains(known)).ok_or_else(|| {
                refuse("duration", length, "write 1m to 62d, as in 90m, 62h or 15d".to_owned())
            })?;
        let reason = reason.join(" ");
        if reason.is_empty() {
            return Err(incomplete());
        }
        if reason.len() > REASON_BYTES_MAX {
            let why = format!("longer than {REASON_BYTES_MAX} bytes: write fewer words");
            return Err(refuse("reason", &reason, why));
        }
        let window = Self { reason, opens, length };
        match window.next(PROBE) {
            Some(_) => Ok(window),
            None => Err(FreezeWindowError::Never(text.to_owned())),
        }
    }

    /// Whether it is open: it opened at `now` or before, and its length is not over.
    fn is_open(&self, now: WallTime) -> bool {
        let began = WallTime(now.0.saturating_sub(millis(self.length)));
        self.next(began).is_some_and(|next| next <= now)
    }

    /// When it opens for the first time after `time`; `None` where it does not in four years.
    fn next(&self, time: WallTime) -> Option<WallTime> {
        let time = MakeTimestamp::from_millisecond(i64::try_from(time.0).ok()?).ok()?;
        let next = self.opens.find_next(time).ok()?.timestamp().as_millisecond();
        u64::try_from(next).ok().map(WallTime)
    }

    fn actor(&self) -> Actor {
        Actor::named(format!("{ACTOR}{}", self.reason))
    }
}

/// Reads the five fields of cron, in UTC.
fn cron(fields: &[&str]) -> Result<Crontab, String> {
    cronexpr::parse_crontab(&format!("{} UTC", fields.join(" "))).map_err(|error| {
        // The library shows the whole expression and points into it; the reason comes last.
        let text = error.to_string();
        text.rsplit("^ ").next().unwrap_or(&text).trim().to_owned()
    })
}

/// The window that is open at `now`; the first in their order, where several are.
fn open(windows: &[FreezeWindow], now: WallTime) -> Option<&FreezeWindow> {
    windows.iter().find(|window| window.is_open(now))
}

/// Whether a window made this freeze, and no person.
pub(crate) fn is_window(freeze: &Freeze) -> bool {
    freeze.by.name.starts_with(ACTOR)
}

/// What is to be proposed, where `freeze` holds all releases at `now`.
fn due(windows: &[FreezeWindow], freeze: Option<&Freeze>, now: WallTime) -> Option<Command> {
    let mine = freeze.is_none_or(is_window);
    if !mine {
        return None;
    }
    // Where a person has frozen since, the guard refuses this.
    let seen = freeze.cloned();
    let set = |reason, by| Some(Command::SetFreeze { service: None, reason, by, seen });
    match (open(windows, now), freeze) {
        (Some(window), Some(freeze)) if freeze.by == window.actor() => None,
        (Some(window), Some(_) | None) => set(Some(window.reason.clone()), window.actor()),
        (None, Some(freeze)) => set(None, freeze.by.clone()),
        (None, None) => None,
    }
}

/// Freezes and ends freezes as the windows say. Lives for one term of leadership.
pub(crate) struct Calendar {
    raft: Raft,
    states: watch::Receiver<std::sync::Arc<State>>,
    windows: Vec<FreezeWindow>,
}

impl Calendar {
    pub(crate) fn new(raft: Raft, windows: Vec<FreezeWindow>) -> Self {
        let states = raft.state();
        Self { raft, states, windows }
    }

    /// Runs until `stop`. It looks again at every turn, so a proposal that failed is made again.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let work = async {
            loop {
                let due = due(&self.windows, self.states.borrow().freeze(), wall_now());
                if let Some(command) = due {
                    self.propose(command).await;
                }
                sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    async fn propose(&self, command: Command) {
        match self.raft.propose(vec![command.clone()]).await {
            Ok(_) => tracing::info!(?command, "a freeze window opened or closed"),
            Err(error) => tracing::warn!(%error, "a freeze window could not be written"),
        }
    }
}

fn wall_now() -> WallTime {
    WallTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_core::time::ClusterTime;

    fn at(text: &str) -> WallTime {
        let time = humantime::parse_rfc3339(text).unwrap();
        WallTime(millis(time.duration_since(UNIX_EPOCH).unwrap()))
    }

    fn windows(texts: &[&str]) -> Vec<FreezeWindow> {
        texts.iter().map(|text| FreezeWindow::parse(text).unwrap()).collect()
    }

    fn opened(windows: &[FreezeWindow], time: &str) -> Option<String> {
        open(windows, at(time)).map(|window| window.reason.clone())
    }

    #[test]
    fn a_window_is_open_from_its_minute_until_its_length_is_over() {
        let weekend = windows(&["0 18 * * 5 62h weekend"]);
        for (time, expected) in [
            // A Friday and the Monday after it.
            ("2026-11-20T17:59:59.999Z", false),
            ("2026-11-20T18:00:00Z", true),
            ("2026-11-22T23:59:59Z", true),
            ("2026-11-23T07:59:59.999Z", true),
            ("2026-11-23T08:00:00Z", false),
            // Over the end of a month, in a leap year, and about the end of a year.
            ("2026-02-01T00:00:00Z", true),
            ("2028-02-29T12:00:00Z", false),
            ("2026-01-02T18:00:00Z", true),
            ("2025-12-31T18:00:00Z", false),
        ] {
            assert_eq!(opened(&weekend, time).is_some(), expected, "{time}");
        }
        let turn = windows(&["30 12 20 12 * 15d turn of the year", "0 0 29 2 * 1d leap day"]);
        for (time, expected) in [
            ("2026-12-20T12:29:59Z", None),
            ("2026-12-20T12:30:00Z", Some("turn of the year")),
            ("2026-12-31T23:59:59Z", Some("turn of the year")),
            ("2027-01-04T12:29:59Z", Some("turn of the year")),
            ("2027-01-04T12:30:00Z", None),
            ("2027-02-28T23:59:59Z", None),
            ("2027-03-01T00:00:00Z", None),
            ("2028-02-29T23:59:59Z", Some("leap day")),
            ("2028-03-01T00:00:00Z", None),
        ] {
            assert_eq!(opened(&turn, time).as_deref(), expected, "{time}");
        }
        let last = windows(&["0 0 L * * 2d month end"]);
        assert!(opened(&last, "2027-02-28T00:00:00Z").is_some());
        assert!(opened(&last, "2027-03-01T23:59:59Z").is_some());
        assert!(opened(&last, "2027-03-02T00:00:00Z").is_none());
        assert!(opened(&[], "2027-03-02T00:00:00Z").is_none());
    }

    #[test]
    fn the_first_of_several_open_windows_counts() {
        let both = windows(&["0 0 * * * 12h first", "0 6 * * * 12h second"]);
        assert_eq!(opened(&both, "2026-11-20T07:00:00Z").as_deref(), Some("first"));
        assert_eq!(opened(&both, "2026-11-20T12:00:00Z").as_deref(), Some("second"));
        assert_eq!(opened(&both, "2026-11-20T18:00:00Z"), None);
    }

    #[test]
    fn a_field_that_cannot_be_is_named() {
        for (text, expected) in [
            ("0 18 * * 5", "write MINUTE HOUR DAY"),
            ("0 18 * * 5 62h", "write MINUTE HOUR DAY"),
            ("60 18 * * 5 62h weekend", "minute \"60\""),
            ("0 24 * * 5 62h weekend", "hour \"24\""),
            ("0 18 32 * 5 62h weekend", "day of month \"32\""),
            ("0 18 * 13 5 62h weekend", "month \"13\""),
            ("0 18 * * 8 62h weekend", "day of week \"8\""),
            ("0 18 * * 5 62 weekend", "duration \"62\": write 1m to 62d"),
            ("0 18 * * 5 63d weekend", "duration \"63d\""),
            ("0 18 * * 5 59s weekend", "duration \"59s\""),
            ("0 0 30 2 * 1d never", "never opens"),
        ] {
            let error = FreezeWindow::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{text}: {error}");
        }
        let long = format!("0 18 * * 5 62h {}", "x".repeat(REASON_BYTES_MAX + 1));
        assert!(FreezeWindow::parse(&long).unwrap_err().to_string().contains("reason"));
    }

    #[test]
    fn only_freezes_of_windows_are_ended_and_none_of_a_person_is_replaced() {
        let weekend = windows(&["0 18 * * 5 62h weekend"]);
        let (inside, outside) = (at("2026-11-21T00:00:00Z"), at("2026-11-24T00:00:00Z"));
        let by = |by: &str| {
            let (by, reason) = (Actor::named(by.to_owned()), "why".to_owned());
            Freeze { by, reason, since: ClusterTime::START, wall: WallTime(0) }
        };
        let set = |seen: Option<&Freeze>, reason: Option<&str>, by: &str| {
            let (reason, by) = (reason.map(str::to_owned), Actor::named(by.to_owned()));
            Some(Command::SetFreeze { service: None, reason, by, seen: seen.cloned() })
        };
        let (window, other) = (by("freeze window weekend"), by("freeze window gone"));
        let person = by("ann");
        assert_eq!(
            due(&weekend, None, inside),
            set(None, Some("weekend"), "freeze window weekend")
        );
        assert_eq!(due(&weekend, None, outside), None);
        assert_eq!(due(&weekend, Some(&window), inside), None);
        assert_eq!(
            due(&weekend, Some(&window), outside),
            set(Some(&window), None, "freeze window weekend")
        );
        assert_eq!(
            due(&[], Some(&window), inside),
            set(Some(&window), None, "freeze window weekend")
        );
        let renamed = set(Some(&other), Some("weekend"), "freeze window weekend");
        assert_eq!(due(&weekend, Some(&other), inside), renamed);
        assert_eq!(due(&weekend, Some(&person), inside), None);
        assert_eq!(due(&weekend, Some(&person), outside), None);
    }
}
