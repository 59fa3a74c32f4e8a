//! `warren login`

use crate::client::ClientArgs;
use crate::client::contexts::{Context, Contexts};
use crate::failure::{Exit, Failure, Outcome};
use crate::output;
use clap::Args;
use std::io::IsTerminal;
use warren_wire::channel::Target;
use warren_wire::trust::{AccessToken, pin_authority};

/// The context's name where none is chosen.
const DEFAULT: &str = "default";

/// Use a cluster from this machine, which need not be one of its nodes
///
/// The token comes from `warren token create` on a manager. It is read from standard input where `--token` is left out,
/// so that no other user of this machine sees it.
#[derive(Args, Debug)]
pub struct Login {
    /// Managers of the cluster, as in 10.0.0.1:7400; any that answers will do
    #[arg(required = true, value_name = "HOST:PORT")]
    managers: Vec<String>,
    /// The access token
    #[arg(long, env = "WARREN_ACCESS_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// What this login is called here
    #[arg(long, value_name = "NAME", default_value = DEFAULT)]
    name: String,
}

impl Login {
    /// Runs it.
    ///
    /// # Errors
    /// The token is none, nobody answers, or the cluster refuses it; nothing is kept then.
    pub async fn run(self, client: &ClientArgs) -> Outcome {
        let token = match &self.token {
            Some(token) => token.clone(),
            None => read_token()?,
        };
        let token: AccessToken = token.parse().map_err(Failure::usage)?;
        for manager in &self.managers {
            if !matches!(manager.parse(), Ok(Target::Tcp(_))) {
                let why =
                    format!("{manager:?} is not where a manager is: write as in 10.0.0.1:7400");
                return Err(Failure::usage(why));
            }
        }
        let mut last = Failure::new(Exit::Unreachable, "no manager was named");
        for manager in &self.managers {
            match pin_authority(manager, token.authority).await {
                Ok(pinned) => {
                    let secret = token.secret.to_text().to_string();
                    let managers = self.managers.clone();
                    let context = Context { managers, secret, authority: pinned.authority };
                    return keep(client, &self.name, context).await;
                }
                Err(error) => last = Failure::new(Exit::Unreachable, error),
            }
        }
        Err(last)
    }
}

/// Tries the context, and keeps it with every manager that the cluster names.
async fn keep(client: &ClientArgs, name: &str, mut context: Context) -> Outcome {
    let connected = client.connect_to(&context).await?;
    let asked = crate::client::request(warren_wire::v1::GetClusterRequest {});
    let cluster = connected.clusters().get_cluster(asked).await?.into_inner();
    for manager in cluster.managers {
        if !context.managers.contains(&manager.address) {
            context.managers.push(manager.address);
        }
    }
    let mut contexts = Contexts::load()?;
    contexts.contexts.insert(name.to_owned(), context);
    contexts.current = Some(name.to_owned());
    contexts.save()?;
    output::say(format_args!("cluster {} is used from now on, as {name}", cluster.id));
    Ok(())
}

fn read_token() -> Outcome<String> {
    if std::io::stdin().is_terminal() {
        output::say("access token, then Enter:");
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line)
}
