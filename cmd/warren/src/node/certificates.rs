//! Keeps the node's certificate valid: renews it in the second half of its life, or at once where the node was off for
//! longer than that, and when the cluster gives the node another role.

use super::data_dir::DataDir;
use super::identity::{Identity, Member};
use super::port;
use super::problems::Problems;
use crate::failure::{Exit, Failure, Outcome};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Response};
use warren_core::node::Role;
use warren_manager::Keeper;
use warren_wire::channel::{Dialer, Target, connect_stranger};
use warren_wire::trust::{CertificateRequest, MANAGER_NAME, SealKey, validity_of};
use warren_wire::v1;
use warren_wire::v1::membership_client::MembershipClient;

/// How often the wall clock is compared with the certificate: a machine that slept notices within this. A certificate
/// that lives for minutes is looked at each second.
const LOOK: Duration = Duration::from_secs(60);
const LOOK_OFTEN: Duration = Duration::from_secs(1);

/// A certificate with less time than this until it is renewed is looked at often.
const SOON: Duration = Duration::from_secs(120);

/// The wait after a renewal that failed: there are weeks of life left, or the node can do nothing else.
const RETRY: Duration = Duration::from_secs(5);

/// How long one manager has to answer: it signs in a millisecond.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Who signs.
#[derive(Clone)]
pub enum Signer {
    /// This node, which is a manager.
    Itself(Keeper),
    /// Any of these managers.
    Managers(watch::Receiver<Vec<Target>>),
}

/// Whose certificate it is, and where it is kept.
#[derive(Clone)]
pub struct Holder {
    pub identity: Arc<Identity>,
    pub dir: Arc<DataDir>,
    pub member: Member,
}

impl Holder {
    /// Renews the certificate when it is time, until `shutdown`.
    pub async fn keep_fresh(self, signer: Signer, shutdown: CancellationToken) {
        loop {
            let wait = match self.due() {
                Some(left) if left > SOON => LOOK,
                Some(left) if left > Duration::ZERO => LOOK_OFTEN,
                Some(_) | None => match self.renew(&signer).await {
                    Ok(()) => {
                        tracing::info!("certificate renewed");
                        LOOK_OFTEN
                    }
                    Err(failure) => {
                        tracing::warn!(why = %failure, "certificate not renewed, trying again");
                        RETRY
                    }
                },
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(wait) => {}
            }
        }
    }

    /// How long until it is to be renewed; `None` where that cannot be told, so that it is renewed.
    fn due(&self) -> Option<Duration> {
        let shown = self.identity.credentials().borrow().clone();
        let validity = shown.and_then(|shown| validity_of(&shown.certificate_der().ok()?).ok());
        let spread = self.identity.fingerprint().0[0];
        Some(validity?.renewal(spread).duration_since(SystemTime::now()).unwrap_or_default())
    }

    async fn renew(&self, signer: &Signer) -> Outcome {
        match signer {
            Signer::Itself(keeper) => self.sign(keeper),
            Signer::Managers(managers) => {
                let managers = managers.borrow().clone();
                self.ask(&managers).await.map(drop)
            }
        }
    }

    /// Signs as the manager that this node is.
    ///
    /// # Errors
    /// The cluster has no authority yet, or the key does not open it.
    pub fn sign(&self, keeper: &Keeper) -> Outcome {
        let refused = |error: &dyn std::fmt::Display| Failure::new(Exit::Failed, error);
        let request = CertificateRequest::parse(&self.identity.request()?);
        let request = request.map_err(|error| refused(&error))?;
        let certificate = keeper
            .certify(&request, self.member.node, Role::Manager)
            .map_err(|error| refused(&error))?;
        let authority = keeper.authority_pem();
        let authority = authority
            .ok_or_else(|| Failure::new(Exit::Failed, "the cluster has no authority yet"))?;
        self.identity.certified(&self.dir, authority, certificate)
    }

    /// Has one of `managers` sign, and keeps what came with it. Returns what the node is now.
    ///
    /// # Errors
    /// None of them did, with the last reason.
    pub async fn ask(&self, managers: &[Target]) -> Outcome<Role> {
        let mut last = Failure::new(Exit::Unreachable, "no address of a manager is known");
        let known = self.member.managers.iter().filter_map(|text| text.parse().ok());
        let targets: Vec<Target> = managers.iter().cloned().chain(known).collect();
        for target in targets {
            match self.ask_one(&target).await {
                Ok(role) => return Ok(role),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    async fn ask_one(&self, target: &Target) -> Outcome<Role> {
        let Target::Tcp(address) = target else {
            return Err(Failure::new(Exit::Unreachable, "certificates are signed over TLS"));
        };
        let shown = self.identity.credentials().borrow().clone();
        let shown = shown
            .ok_or_else(|| Failure::new(Exit::Failed, "this node has no certificate to renew"))?;
        // With its own certificate a node is trusted with more. An expired one is refused at the door, which TLS 1.3
        // says only once something is asked.
        let dialer = Dialer::new(self.identity.credentials());
        let as_itself = async {
            let channel = dialer.connect(target, MANAGER_NAME).await;
            self.renew_by(channel.map_err(|error| unreachable(address, &error))?).await
        };
        let answer = match as_itself.await {
            Err(failure) if failure.exit == Exit::Unreachable as u8 => {
                let channel = connect_stranger(address, &shown.authority).await;
                self.renew_by(channel.map_err(|error| unreachable(address, &error))?).await?
            }
            answer => answer?,
        };
        if let Some(seal) = SealKey::parse(&answer.seal_key) {
            self.identity.keep_seal(&self.dir, &seal)?;
        }
        self.identity.certified(&self.dir, shown.authority, answer.certificate)?;
        Ok(if answer.role == "manager" { Role::Manager } else { Role::Worker })
    }

    /// Asks for a certificate by `channel`. Where nobody says anything about it, that is [`Exit::Unreachable`].
    async fn renew_by(&self, channel: Channel) -> Outcome<v1::RenewResponse> {
        let request = v1::RenewRequest { certificate_request: self.identity.request()? };
        let mut client = MembershipClient::new(channel);
        let answer = timeout(ANSWER_TIMEOUT, client.renew(request)).await;
        let answer = answer.map_err(|_| Failure::new(Exit::Unreachable, "no answer"))?;
        answer.map(Response::into_inner).map_err(|status| {
            let unheard =
                matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown);
            let failure = Failure::from(status);
            if unheard { Failure { exit: Exit::Unreachable as u8, ..failure } } else { failure }
        })
    }

    /// Waits until the cluster wants this node to be something else, and it has the papers and the port for that. Never
    /// returns before.
    pub async fn new_role(
        &self,
        mut told: watch::Receiver<Option<Role>>,
        managers: watch::Receiver<Vec<Target>>,
        door: &Door,
    ) -> Role {
        loop {
            let wanted = *told.borrow_and_update();
            if wanted.is_some_and(|wanted| wanted != self.member.role) {
                if wanted == Some(Role::Manager) && !door.opens().await {
                    sleep(RETRY).await;
                    continue;
                }
                let managers = managers.borrow().clone();
                match self.ask(&managers).await {
                    Ok(role) if role != self.member.role => {
                        let member = Member { role, ..self.member.clone() };
                        match self.identity.keep_member(&self.dir, &member) {
                            Ok(()) => return role,
                            Err(failure) => tracing::error!(why = %failure, "role not kept"),
                        }
                    }
                    Ok(_) => tracing::debug!("the manager that answered does not know of it yet"),
                    Err(failure) => tracing::warn!(why = %failure, "no papers for the new role"),
                }
                sleep(RETRY).await;
            } else if told.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Where a worker would serve other machines, were it a manager.
#[derive(Clone)]
pub struct Door {
    /// The address of the settings.
    pub listen: SocketAddr,
    /// Whether this node has taken it already.
    pub opens: bool,
    /// What is told of this node where it does not open.
    pub problems: watch::Sender<Problems>,
}

impl Door {
    /// Whether it can be opened. A node that stopped for it and could not start again would leave its tasks alone, so
    /// it stays what it is until there is a port, and says so.
    async fn opens(&self) -> bool {
        let begins = "it is to be a manager, and ";
        let refused = match self.opens {
            true => None,
            false => port::bind(self.listen).await.err(),
        };
        let problem = refused.map(|Failure { message, hint, .. }| {
            format!("{begins}{message}: {hint}, and start Warren there again")
        });
        let told = self.problems.send_if_modified(|told| {
            let before = told.clone();
            told.retain(|known| !known.starts_with(begins));
            told.extend(problem.clone());
            *told != before
        });
        if let (true, Some(problem)) = (told, &problem) {
            tracing::warn!(problem, "this node cannot be what the cluster wants");
        }
        problem.is_none()
    }
}

fn unreachable(address: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Unreachable, format!("{address}: {error}"))
}
