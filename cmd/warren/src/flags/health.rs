//! The flags of health and readiness checks: the same ones under two names.

use super::words;
use clap::Args;
use warren_wire::v1;
use warren_wire::v1::health_check::Probe;

/// What the flags of one check say.
pub struct CheckFlags<'a> {
    http: Option<&'a v1::HttpProbe>,
    tcp: Option<u16>,
    exec: Option<&'a str>,
    grpc: Option<&'a v1::GrpcProbe>,
    off: bool,
    interval: Option<u64>,
    timeout: Option<u64>,
    start_period: Option<u64>,
    retries: Option<u32>,
    successes: Option<u32>,
}

impl CheckFlags<'_> {
    /// Lays the flags over a check that may be there already.
    ///
    /// # Errors
    /// Numbers for a check that is not there.
    pub fn lay_over(&self, name: &str, check: &mut Option<v1::HealthCheck>) -> Result<(), String> {
        if self.off {
            *check = None;
            return Ok(());
        }
        if let Some(probe) = self.probe()? {
            check.get_or_insert_default().probe = Some(probe);
        }
        if !self.has_numbers() {
            return Ok(());
        }
        let Some(check) = check else {
            return Err(format!(
                "--{name}-interval and the like need a check: add --{name}-http PORT/PATH, \
                 --{name}-tcp PORT, --{name}-grpc PORT or --{name}-exec COMMAND"
            ));
        };
        check.interval_ms = self.interval.or(check.interval_ms);
        check.timeout_ms = self.timeout.or(check.timeout_ms);
        check.start_period_ms = self.start_period.or(check.start_period_ms);
        check.retries = self.retries.or(check.retries);
        check.successes = self.successes.or(check.successes);
        Ok(())
    }

    fn has_numbers(&self) -> bool {
        let times = [self.interval, self.timeout, self.start_period];
        let counts = [self.retries, self.successes];
        times.iter().any(Option::is_some) || counts.iter().any(Option::is_some)
    }

    fn probe(&self) -> Result<Option<Probe>, String> {
        if let Some(http) = self.http {
            return Ok(Some(Probe::Http(http.clone())));
        }
        if let Some(port) = self.tcp {
            return Ok(Some(Probe::Tcp(v1::TcpProbe { port: port.into() })));
        }
        if let Some(grpc) = self.grpc {
            return Ok(Some(Probe::Grpc(grpc.clone())));
        }
        let command = self.exec.map(words::command_line).transpose()?;
        Ok(command.map(|command| Probe::Exec(v1::ExecProbe { command })))
    }
}

macro_rules! check_flags {
    ($(#[$doc:meta])* $name:ident, $heading:literal, $no:literal,
     $http:literal, $tcp:literal, $exec:literal, $grpc:literal,
     $interval:literal, $timeout:literal, $start:literal, $retries:literal, $successes:literal) => {
        $(#[$doc])*
        #[derive(Args, Clone, Debug, Default)]
        #[command(next_help_heading = $heading)]
        pub struct $name {
            /// `GET` of this path answers 200 to 399
            #[arg(id = $http, long = $http, value_name = "PORT/PATH",
                value_parser = words::http_probe, group = $heading)]
            http: Option<v1::HttpProbe>,
            /// This port accepts a connection
            #[arg(id = $tcp, long = $tcp, value_name = "PORT",
                value_parser = words::port_number, group = $heading)]
            tcp: Option<u16>,
            /// This command exits with 0 inside the container; quotes keep spaces, no shell is run
            #[arg(id = $exec, long = $exec, value_name = "COMMAND", group = $heading)]
            exec: Option<String>,
            /// The gRPC health service answers SERVING
            #[arg(id = $grpc, long = $grpc, value_name = "PORT[/SERVICE]",
                value_parser = words::grpc_probe, group = $heading)]
            grpc: Option<v1::GrpcProbe>,
            /// Take the check away
            #[arg(id = $no, long = $no, group = $heading)]
            off: bool,
            /// Between looks [default: 10s]
            #[arg(id = $interval, long = $interval, value_name = "TIME",
                value_parser = words::duration_ms)]
            interval: Option<u64>,
            /// For one look [default: 2s]
            #[arg(id = $timeout, long = $timeout, value_name = "TIME",
                value_parser = words::duration_ms)]
            timeout: Option<u64>,
            /// Failures this soon after the start do not count [default: 30s]
            #[arg(id = $start, long = $start, value_name = "TIME",
                value_parser = words::duration_ms)]
            start_period: Option<u64>,
            /// So many failures in a row count [default: 3]
            #[arg(id = $retries, long = $retries, value_name = "N")]
            retries: Option<u32>,
            /// So many successes in a row count [default: 1]
            #[arg(id = $successes, long = $successes, value_name = "N")]
            successes: Option<u32>,
        }

        impl $name {
            /// What the flags say.
            pub fn flags(&self) -> CheckFlags<'_> {
                CheckFlags {
                    http: self.http.as_ref(),
                    tcp: self.tcp,
                    exec: self.exec.as_deref(),
                    grpc: self.grpc.as_ref(),
                    off: self.off,
                    interval: self.interval,
                    timeout: self.timeout,
                    start_period: self.start_period,
                    retries: self.retries,
                    successes: self.successes,
                }
            }
        }
    };
}

check_flags!(
    /// An unhealthy task is restarted.
    HealthFlags,
    "Health (an unhealthy task is restarted)",
    "no-health",
    "health-http",
    "health-tcp",
    "health-exec",
    "health-grpc",
    "health-interval",
    "health-timeout",
    "health-start-period",
    "health-retries",
    "health-successes"
);
check_flags!(
    /// An unready task gets no traffic.
    ReadyFlags,
    "Readiness (an unready task gets no traffic; without these, healthy means ready)",
    "no-ready",
    "ready-http",
    "ready-tcp",
    "ready-exec",
    "ready-grpc",
    "ready-interval",
    "ready-timeout",
    "ready-start-period",
    "ready-retries",
    "ready-successes"
);
