//! Keeps the node's certificate valid: renews it in the second half of its life, or at once where the node was off for
//! longer than that, and when the cluster gives the node another role.

use super::data_dir::DataDir;
use super::identity::{Identity, Member};
use crate::failure::{Exit, Failure, Outcome};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use warren_core::node::Role;
use warren_manager::Keeper;
use warren_wire::channel::{Dialer, Target, connect_stranger};
use warren_wire::trust::{
    CERTIFICATE_LIFE, CertificateRequest, MANAGER_NAME, SealKey, renew_after, validity_of,
};
use warren_wire::v1;
use warren_wire::v1::membership_client::MembershipClient;

/// How often the wall clock is compared with the certificate: a machine that slept notices within this.
const LOOK: Duration = Duration::from_secs(60);

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
                false => LOOK,
                true => match self.renew(&signer).await {
                    Ok(()) => {
                        tracing::info!("certificate renewed");
                        LOOK
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

    fn due(&self) -> bool {
        let shown = self.identity.credentials().borrow().clone();
        let validity = shown.and_then(|shown| validity_of(&shown.certificate_der().ok()?).ok());
        let Some(validity) = validity else { return true };
        let spread = self.identity.fingerprint().0[0];
        let begun = validity.to - CERTIFICATE_LIFE;
        SystemTime::now() >= begun + renew_after(CERTIFICATE_LIFE, spread)
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
        let unreachable = |error: &dyn std::fmt::Display| {
            Failure::new(Exit::Unreachable, format!("{address}: {error}"))
        };
        // With its own certificate a node is trusted with more; an expired one is refused at the door.
        let dialer = Dialer::new(self.identity.credentials());
        let channel = match dialer.connect(target, MANAGER_NAME).await {
            Ok(channel) => channel,
            Err(_) => connect_stranger(address, &shown.authority)
                .await
                .map_err(|error| unreachable(&error))?,
        };
        let request = v1::RenewRequest { certificate_request: self.identity.request()? };
        let mut client = MembershipClient::new(channel);
        let answer = timeout(ANSWER_TIMEOUT, client.renew(request)).await;
        let answer = answer.map_err(|_| unreachable(&"no answer"))?.map_err(Failure::from)?;
        let answer = answer.into_inner();
        if let Some(seal) = SealKey::parse(&answer.seal_key) {
            self.identity.keep_seal(&self.dir, &seal)?;
        }
        self.identity.certified(&self.dir, shown.authority, answer.certificate)?;
        Ok(if answer.role == "manager" { Role::Manager } else { Role::Worker })
    }

    /// Waits until the cluster wants this node to be something else, and has the papers for it. Never returns before.
    pub async fn new_role(
        &self,
        mut told: watch::Receiver<Option<Role>>,
        managers: watch::Receiver<Vec<Target>>,
    ) -> Role {
        loop {
            let wanted = *told.borrow_and_update();
            if wanted.is_some_and(|wanted| wanted != self.member.role) {
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
