//! The ways in which the server can be told to misbehave.

/// Every fault, switched off by default. Set by environment (`FAULT_ERROR_RATE=0.1`) and, while it runs, by
/// `POST /admin/faults` (`error_rate=0.1&latency_ms=50`).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Faults {
    /// The share of requests, 0 to 1, that get a 500. Spread evenly, not at random, so that a test can count on it.
    pub(crate) error_rate: f64,
    /// Added to every request, in milliseconds.
    pub(crate) latency_ms: u64,
    /// The process ends with code 70 so many seconds after this was set.
    pub(crate) crash_after_s: Option<u64>,
    /// The port opens so many seconds after the start.
    pub(crate) slow_start_s: u64,
    /// `/ready` says 503.
    pub(crate) never_ready: bool,
    /// `/health` says 503.
    pub(crate) unhealthy: bool,
    /// SIGTERM is ignored.
    pub(crate) hang_on_stop: bool,
    /// So many MiB are held and touched.
    pub(crate) memory_mib: usize,
    /// Items are taken in and never worked off, so that the queue grows.
    pub(crate) queue_stall: bool,
}

/// The names of the faults, as in the admin form; in the environment they are upper case after `FAULT_`.
pub(crate) const NAMES: [&str; 9] = [
    "error_rate",
    "latency_ms",
    "crash_after_s",
    "slow_start_s",
    "never_ready",
    "unhealthy",
    "hang_on_stop",
    "memory_mib",
    "queue_stall",
];

impl Faults {
    /// Reads `FAULT_…` from `lookup`.
    pub(crate) fn from_environment(
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let mut faults = Self::default();
        for name in NAMES {
            let variable = format!("FAULT_{}", name.to_ascii_uppercase());
            if let Some(value) = lookup(&variable) {
                faults.set(name, &value).map_err(|error| format!("{variable}: {error}"))?;
            }
        }
        Ok(faults)
    }

    /// Takes a form such as `error_rate=0.1&unhealthy=true`; on an error nothing has changed.
    pub(crate) fn with_form(self, form: &str) -> Result<Self, String> {
        let mut faults = self;
        for pair in form.trim().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            faults.set(name, value)?;
        }
        Ok(faults)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = || value.parse().map_err(|_| format!("{name}: `{value}` is no whole number"));
        let flag = || match value {
            "1" | "true" | "on" => Ok(true),
            "" | "0" | "false" | "off" => Ok(false),
            _ => Err(format!("{name}: `{value}` is neither true nor false")),
        };
        match name {
            "error_rate" => self.error_rate = share(name, value)?,
            "latency_ms" => self.latency_ms = number()?,
            "crash_after_s" if matches!(value, "" | "off") => self.crash_after_s = None,
            "crash_after_s" => self.crash_after_s = Some(number()?),
            "slow_start_s" => self.slow_start_s = number()?,
            "never_ready" => self.never_ready = flag()?,
            "unhealthy" => self.unhealthy = flag()?,
            "hang_on_stop" => self.hang_on_stop = flag()?,
            "memory_mib" => {
                let mib = number()?;
                self.memory_mib = usize::try_from(mib).unwrap_or(usize::MAX);
            }
            "queue_stall" => self.queue_stall = flag()?,
            _ => return Err(format!("`{name}` is no fault; there are: {}", NAMES.join(", "))),
        }
        Ok(())
    }

    /// One JSON object.
    pub(crate) fn to_json(self) -> String {
        let crash = self.crash_after_s.map_or_else(|| "null".to_owned(), |s| s.to_string());
        format!(
            "{{\"error_rate\":{},\"latency_ms\":{},\"crash_after_s\":{crash},\"slow_start_s\":{},\
             \"never_ready\":{},\"unhealthy\":{},\"hang_on_stop\":{},\"memory_mib\":{},\
             \"queue_stall\":{}}}\n",
            self.error_rate,
            self.latency_ms,
            self.slow_start_s,
            self.never_ready,
            self.unhealthy,
            self.hang_on_stop,
            self.memory_mib,
            self.queue_stall,
        )
    }
}

fn share(name: &str, value: &str) -> Result<f64, String> {
    match value.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("{name}: `{value}` is no share between 0 and 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_can_be_set_and_shows() {
        for name in NAMES {
            let faults = Faults::default().with_form(&format!("{name}=1")).unwrap();
            assert_ne!(faults, Faults::default(), "{name} changed nothing");
            assert!(faults.to_json().contains(&format!("\"{name}\":")), "{name} does not show");
        }
    }

    #[test]
    fn a_wrong_form_changes_nothing_and_names_the_way_out() {
        let faults = Faults::default();
        assert!(faults.with_form("error_rate=2").unwrap_err().contains("between 0 and 1"));
        assert!(faults.with_form("latency_ms=50&eror_rate=1").unwrap_err().contains("error_rate"));
        assert!(faults.with_form("unhealthy=perhaps").is_err());
    }

    #[test]
    fn the_environment_is_read_in_upper_case() {
        let lookup = |name: &str| (name == "FAULT_LATENCY_MS").then(|| "20".to_owned());
        assert_eq!(Faults::from_environment(lookup).unwrap().latency_ms, 20);
        let lookup = |name: &str| (name == "FAULT_UNHEALTHY").then(|| "so so".to_owned());
        assert!(Faults::from_environment(lookup).unwrap_err().starts_with("FAULT_UNHEALTHY"));
    }
}
