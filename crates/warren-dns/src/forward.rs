//! Names that are not ours, asked of the machine's own name servers.

use crate::metrics;
use crate::slow::Reply;
use hickory_proto::op::{LowerQuery, ResponseCode};
use hickory_proto::rr::RecordType;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// How long one upstream may take. Clients ask again after 5 s, so that a second upstream must have
/// answered by then.
const ATTEMPT_MAX: Duration = Duration::from_secs(2);
/// How long a forwarded question may take in all.
const QUESTION_MAX: Duration = Duration::from_millis(4500);
/// How many questions may be with upstreams at a time: fewer than the slow path has room for, so
/// that names of the zone are answered while upstreams are silent.
const QUESTIONS_MAX: usize = 192;
/// How many answers are remembered; one takes about 1 KiB.
const CACHE_ANSWERS_MAX: u64 = 4096;
/// The longest that anything is remembered, whatever its TTL says: a day, the custom of resolvers.
const TTL_MAX: Duration = Duration::from_hours(24);
/// The longest that an absence is remembered, as RFC 2308 proposes.
const TTL_NEGATIVE_MAX: Duration = Duration::from_hours(1);

/// Asks upstreams and remembers what they say.
pub(crate) struct Forwarder {
    resolver: TokioResolver,
    places: Semaphore,
}

impl Forwarder {
    /// A forwarder to some upstreams; `None` without any, or if none can be asked.
    pub(crate) fn new(upstreams: &[SocketAddr]) -> Option<Self> {
        if upstreams.is_empty() {
            return None;
        }
        let server = |upstream: &SocketAddr| {
            let mut server = NameServerConfig::udp_and_tcp(upstream.ip());
            for connection in &mut server.connections {
                connection.port = upstream.port();
            }
            server
        };
        let servers = upstreams.iter().map(server).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.timeout = ATTEMPT_MAX;
        options.attempts = 1;
        options.cache_size = CACHE_ANSWERS_MAX;
        options.positive_max_ttl = Some(TTL_MAX);
        options.negative_max_ttl = Some(TTL_NEGATIVE_MAX);
        // The machine's own /etc/hosts is not for its containers.
        options.use_hosts_file = ResolveHosts::Never;
        // A forged answer must guess the case of every letter as well.
        options.case_randomization = true;
        options.max_active_requests = QUESTIONS_MAX;
        match builder.build() {
            Ok(resolver) => Some(Self { resolver, places: Semaphore::new(QUESTIONS_MAX) }),
            Err(error) => {
                tracing::error!(%error, "cannot ask upstreams, other names are refused");
                None
            }
        }
    }

    /// Asks one question of the upstreams, or of the cache.
    pub(crate) async fn ask(&self, query: &LowerQuery) -> Reply {
        if is_meta(query.query_type()) {
            return Reply::code(ResponseCode::Refused);
        }
        let Ok(_place) = self.places.try_acquire() else {
            metrics::forwarded("busy", Duration::ZERO);
            return Reply::code(ResponseCode::ServFail);
        };
        let start = Instant::now();
        let mut name = hickory_proto::rr::Name::clone(query.name());
        name.set_fqdn(true);
        let asked = timeout(QUESTION_MAX, self.resolver.lookup(name, query.query_type())).await;
        let (reply, result) = match asked {
            Ok(Ok(found)) => {
                let mut reply = Reply::code(ResponseCode::NoError);
                reply.answers.extend_from_slice(found.answers());
                (reply, "found")
            }
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(absent)))) => {
                (negative(absent), "absent")
            }
            Ok(Err(NetError::Dns(DnsError::ResponseCode(code)))) => (Reply::code(code), "refused"),
            Ok(Err(error)) => {
                tracing::debug!(%error, "upstream cannot be asked");
                (Reply::code(ResponseCode::ServFail), "failed")
            }
            Err(_) => (Reply::code(ResponseCode::ServFail), "timeout"),
        };
        metrics::forwarded(result, start.elapsed());
        reply
    }
}

/// What an upstream said of a name that is not there, or has nothing of the type. Its SOA comes
/// along, so that the client may remember it.
fn negative(absent: NoRecords) -> Reply {
    let mut reply = Reply::code(absent.response_code);
    reply.authorities.extend(absent.soa.map(|soa| soa.into_record_of_rdata()));
    reply
}

/// Whether a type is about messages and zones rather than names (RFC 6895): not to be passed on.
fn is_meta(kind: RecordType) -> bool {
    let code = u16::from(kind);
    kind == RecordType::OPT || (128..=255).contains(&code)
}
