//! The way to a Warren: the unix socket in its data directory, or a login to a cluster elsewhere.

pub mod contexts;
mod stale;

pub use stale::StaleArgs;

use crate::failure::{Exit, Failure, Outcome};
use crate::node;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use contexts::{Context, Contexts};
use stale::{Age, Aged};
use std::error::Error;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use warren_wire::channel::{
    self, RESPONSE_BYTES_MAX, SOCKET_PATH_BYTES_MAX, Target, connect_stranger,
};
use warren_wire::v1;

/// Where a node keeps everything, where nothing else is said.
pub const DATA_DIR: &str = "/var/lib/warren";

/// The socket's name in the data directory.
pub const SOCKET_NAME: &str = "warren.sock";

/// How long a call has that only asks or writes: an election and a slow disk, several times over. Creating a service
/// asks a registry as well.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Which Warren to talk to.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Which Warren")]
pub struct ClientArgs {
    /// Data directory of the node to talk to; its socket is in it
    #[arg(
        long,
        global = true,
        env = "WARREN_DATA_DIR",
        value_name = "DIR",
        hide_env_values = true,
        value_parser = folder_parser()
    )]
    pub data_dir: Option<PathBuf>,
    /// Socket to talk to
    #[arg(long, global = true, env = "WARREN_SOCKET", value_name = "PATH", hide_env_values = true)]
    pub socket: Option<PathBuf>,
    /// Login to use, as `warren login` called it [default: the one of `warren context use`]
    #[arg(
        long,
        global = true,
        env = "WARREN_CONTEXT",
        value_name = "NAME",
        hide_env_values = true
    )]
    pub context: Option<String>,
}

/// Reads a folder; an empty text is none, as where a script's variable is not set.
fn folder_parser() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|text| match text.is_empty() {
        true => {
            Err("it is empty: name a folder with --data-dir or in WARREN_DATA_DIR, or unset that")
        }
        false => Ok(PathBuf::from(text)),
    })
}

impl ClientArgs {
    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| DATA_DIR.into())
    }

    /// The socket.
    pub fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.data_dir().join(SOCKET_NAME))
    }

    /// Connects.
    ///
    /// # Errors
    /// Nothing answers at the socket, with what to do about it.
    pub async fn connect(&self) -> Outcome<Client> {
        if let Some(context) = self.chosen()? {
            return self.connect_to(&context).await;
        }
        let path = self.socket();
        match channel::connect(&Target::Unix(path.clone())).await {
            Ok(channel) => Ok(Client { channel, auth: Auth::default(), age: None }),
            Err(error) => match self.worker() {
                Some(failure) => Err(failure),
                None => Err(unreachable(&path, &error)),
            },
        }
    }
}

impl ClientArgs {
    /// The login to use; none for the node of this machine. A socket or a data directory that is named goes before the
    /// login of `warren context use`, and a login that is named before both.
    fn chosen(&self) -> Outcome<Option<Context>> {
        if let Some(name) = &self.context {
            return Contexts::load()?.named(name).cloned().map(Some);
        }
        if self.socket.is_some() || self.data_dir.is_some() {
            return Ok(None);
        }
        let contexts = Contexts::load()?;
        let current = contexts.current.as_deref().map(|name| contexts.named(name).cloned());
        current.transpose()
    }

    /// Connects to the first manager of `context` that answers.
    ///
    /// # Errors
    /// None does, with the last reason.
    pub async fn connect_to(&self, context: &Context) -> Outcome<Client> {
        let mut why = "the login names no manager".to_owned();
        for manager in &context.managers {
            match connect_stranger(manager, &context.authority).await {
                Ok(channel) => {
                    let auth = Auth::bearer(&context.secret)?;
                    return Ok(Client { channel, auth, age: None });
                }
                Err(error) => why = causes(&error),
            }
        }
        Err(Failure::new(Exit::Unreachable, format!("no manager of the cluster answers: {why}"))
            .hint("`warren context ls` shows where they were; `warren login` renews that"))
    }

    /// What is said where a worker runs on the data directory: it has nothing to ask.
    fn worker(&self) -> Option<Failure> {
        if self.socket.is_some() {
            return None;
        }
        let (_, run) = node::holder(&self.data_dir()).ok()??;
        let run = run.filter(|run| run.role == "worker")?;
        let why = format!("this machine is node {}, a worker: only managers answer", run.node_id);
        Some(Failure::new(Exit::Unreachable, why).hint(format!(
            "run the command on a manager: {}",
            node::managers_of(&self.data_dir()).join(", ")
        )))
    }
}

fn unreachable(path: &Path, error: &(dyn Error + 'static)) -> Failure {
    let chain =
        || std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    let io = chain().find_map(|error| error.downcast_ref::<std::io::Error>());
    let shown = path.display();
    let (why, hint) = match io.map(std::io::Error::kind) {
        Some(ErrorKind::NotFound) => (
            format!("no Warren runs here: there is no socket {shown}"),
            "start one with `warren up`, or name its data directory with --data-dir or \
             WARREN_DATA_DIR",
        ),
        Some(ErrorKind::ConnectionRefused) => (
            format!("the Warren of {shown} does not run any more"),
            "start it again with `warren up` and the same --data-dir; its tasks still run",
        ),
        Some(ErrorKind::PermissionDenied) => (
            format!("the socket {shown} is not yours to use"),
            "run the command as the user that Warren runs as, most often root: sudo warren …",
        ),
        Some(ErrorKind::InvalidInput) if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX => (
            format!(
                "{shown} is longer than {SOCKET_PATH_BYTES_MAX} bytes, the most a socket's path may have"
            ),
            "no Warren can listen there: name a shorter path with --data-dir or --socket",
        ),
        _ => (format!("nobody answers: {}", causes(error)), "is this the socket of a Warren?"),
    };
    Failure::new(Exit::Unreachable, why).hint(hint)
}

/// An error with all that caused it, each said once: some layers only pass on what the next one says.
fn causes(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| (*error).source());
    let mut said: Vec<String> = chain.map(ToString::to_string).collect();
    said.dedup();
    said.join(": ")
}

/// Shows the access token with each call; nothing where the connection says who calls.
#[derive(Clone, Default)]
pub struct Auth(Option<MetadataValue<Ascii>>);

impl Auth {
    fn bearer(secret: &str) -> Outcome<Self> {
        let mut value: MetadataValue<Ascii> = format!("Bearer {secret}").parse().map_err(|_| {
            Failure::new(Exit::Failed, "the login holds no token").hint("`warren login` again")
        })?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl Interceptor for Auth {
    fn call(
        &mut self,
        mut request: tonic::Request<()>,
    ) -> Result<tonic::Request<()>, tonic::Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// How a client of one service is reached.
pub type Way = InterceptedService<Aged<Channel>, Auth>;

/// A connection to a Warren.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    auth: Auth,
    /// Where answers may be old: what they say of that.
    age: Option<Age>,
}

macro_rules! clients {
    ($($(#[$doc:meta])* $name:ident: $module:ident :: $client:ident,)*) => {
        $($(#[$doc])*
        pub fn $name(&self) -> v1::$module::$client<Way> {
            let channel = Aged::new(self.channel.clone(), self.age.clone());
            v1::$module::$client::with_interceptor(channel, self.auth.clone())
                .max_decoding_message_size(RESPONSE_BYTES_MAX)
        })*
    };
}

impl Client {
    clients! {
        /// Services.
        services: services_client::ServicesClient,
        /// Tasks.
        tasks: tasks_client::TasksClient,
        /// Releases.
        rollouts: rollouts_client::RolloutsClient,
        /// Nodes.
        nodes: nodes_client::NodesClient,
        /// The cluster.
        clusters: clusters_client::ClustersClient,
        /// Secrets and configs.
        files: files_client::FilesClient,
        /// Events.
        events: events_client::EventsClient,
    }

    /// One service with its tasks and waits.
    ///
    /// # Errors
    /// There is none of that name, with the name that was perhaps meant.
    pub async fn service(&self, name: &str) -> Outcome<v1::GetServiceResponse> {
        let asked = request(v1::GetServiceRequest { service_id: name.to_owned() });
        let answer = self.services().get_service(asked).await.map_err(of_service)?;
        Ok(answer.into_inner())
    }
}

/// The failure of a call that named something: where there is no such thing, it has the hint.
fn not_found_hint(status: tonic::Status, hint: &str) -> Failure {
    let failure = Failure::from(status);
    let says_more = !failure.hint.is_empty()
        || ["did you mean", "`warren "].iter().any(|way| failure.message.contains(way));
    if failure.exit != Exit::NotFound as u8 || says_more {
        return failure;
    }
    failure.hint(hint)
}

/// The failure of a call that named a service or a task of it.
pub fn of_service(status: tonic::Status) -> Failure {
    not_found_hint(status, "`warren service ls` and `warren service ps` show what there is")
}

/// The failure of a call that named a node.
pub fn of_node(status: tonic::Status) -> Failure {
    not_found_hint(status, "`warren node ls` shows what there is")
}

/// A request with the time that a short call has.
pub fn request<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

/// The name that `wrong` was perhaps meant to be.
pub fn suggest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // One slip in three letters: more is another name.
    let slips_max = (wrong.chars().count() / 3).max(1);
    let slips = |name: &&str| strsim::damerau_levenshtein(wrong, name);
    known.filter(|name| slips(name) <= slips_max).min_by_key(slips)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let known = ["web", "worker", "database"];
        let suggest = |wrong: &str| suggest(wrong, known.into_iter());
        assert_eq!(suggest("wbe"), Some("web"));
        assert_eq!(suggest("databse"), Some("database"));
        assert_eq!(suggest("xyz"), None);
        assert_eq!(suggest("we"), Some("web"));
    }

    #[tokio::test]
    async fn a_missing_socket_says_how_to_start_one() {
        let dir = tempfile::tempdir().unwrap();
        let args = ClientArgs { data_dir: Some(dir.path().into()), socket: None, context: None };
        let failure = args.connect().await.err().unwrap();
        assert_eq!(failure.exit, Exit::Unreachable as u8);
        assert!(failure.to_string().contains("warren up"), "{failure}");
        // A socket file whose process is gone.
        drop(std::os::unix::net::UnixListener::bind(args.socket()).unwrap());
        let failure = args.connect().await.err().unwrap();
        assert!(failure.to_string().contains("does not run any more"), "{failure}");
    }

    #[tokio::test]
    async fn a_path_that_no_socket_can_have_is_named_once_with_its_limit() {
        let long = PathBuf::from(format!("/tmp/{}", "long".repeat(30)));
        let args = ClientArgs { data_dir: Some(long.clone()), socket: None, context: None };
        let told = args.connect().await.err().unwrap().to_string();
        assert!(told.contains("longer than 107 bytes") && told.contains("--data-dir"), "{told}");
        assert_eq!(told.matches(&long.display().to_string()).count(), 1, "{told}");
    }
}
