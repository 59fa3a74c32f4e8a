//! The bridge network that tasks of this node join.

use crate::runtime::docker::client::{CHANGE, Client, READ, ours};
use crate::runtime::{NetworkSpec, RuntimeError, Scope, label};
use bollard::models::{Ipam, IpamConfig, Network, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptionsBuilder;
use std::collections::HashMap;

/// The longest name of a network interface.
const INTERFACE_NAME_BYTES_MAX: usize = 15;

/// Makes the network, or finds it as it is.
pub(super) async fn prepare(
    client: &Client,
    scope: &Scope,
    spec: &NetworkSpec,
) -> Result<(), RuntimeError> {
    let what = format!("network {} ({})", spec.name, spec.subnet);
    if let Some(found) = find(client, scope, &spec.name).await? {
        return check(&found, spec);
    }
    // The engine takes a second network of one name, and then can start no container in either.
    if named(client, HashMap::new(), &spec.name).await?.is_some() {
        let why = format!(
            "a network of this name is there and is not Warren's: remove it (docker network rm {})",
            spec.name
        );
        return Err(RuntimeError::Conflict { what, why });
    }
    let request = request(scope, spec);
    match client.call(&what, CHANGE, client.docker.create_network(request)).await {
        Ok(_) => Ok(()),
        Err(RuntimeError::Refused { what, why } | RuntimeError::Conflict { what, why })
            if why.to_ascii_lowercase().contains("pool overlap") =>
        {
            let why = format!(
                "another network of this machine has some of these addresses ({why}): remove that \
                 network, or give this node another subnet"
            );
            Err(RuntimeError::Conflict { what, why })
        }
        Err(error) => Err(error),
    }
}

/// The engine's id of our network of that name.
pub(super) async fn id(client: &Client, scope: &Scope, name: &str) -> Result<String, RuntimeError> {
    let network = find(client, scope, name).await?;
    network.and_then(|network| network.id).ok_or_else(|| RuntimeError::Conflict {
        what: format!("network {name}"),
        why: "it is gone: it must be prepared again first".to_owned(),
    })
}

async fn find(client: &Client, scope: &Scope, name: &str) -> Result<Option<Network>, RuntimeError> {
    named(client, ours(scope), name).await
}

async fn named(
    client: &Client,
    filters: HashMap<String, Vec<String>>,
    name: &str,
) -> Result<Option<Network>, RuntimeError> {
    let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
    let listing = client.docker.list_networks(Some(options));
    let networks = client.call("listing networks", READ, listing).await?;
    Ok(networks.into_iter().find(|network| network.name.as_deref() == Some(name)))
}

/// Removes every network that was prepared in this scope.
pub(super) async fn remove(client: &Client, scope: &Scope) -> Result<(), RuntimeError> {
    let options = ListNetworksOptionsBuilder::new().filters(&ours(scope)).build();
    let listing = client.docker.list_networks(Some(options));
    for network in client.call("listing networks", READ, listing).await? {
        let name = network.name.unwrap_or_default();
        let id = network.id.unwrap_or_default();
        let call = client.docker.remove_network(&id);
        match client.call(&format!("network {name}"), CHANGE, call).await {
            Ok(()) | Err(RuntimeError::NotFound { .. }) => {}
            Err(RuntimeError::Refused { what, why }) if why.contains("active endpoints") => {
                let why = format!("{why}: disconnect the containers that are not Warren's from it");
                return Err(RuntimeError::Conflict { what, why });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn check(found: &Network, spec: &NetworkSpec) -> Result<(), RuntimeError> {
    let config = found.ipam.as_ref().and_then(|ipam| ipam.config.as_ref()?.first());
    let subnet = config.and_then(|config| config.subnet.as_deref()).unwrap_or("no subnet");
    if subnet == spec.subnet.to_string() {
        return Ok(());
    }
    Err(RuntimeError::Conflict {
        what: format!("network {} ({})", spec.name, spec.subnet),
        why: format!(
            "it was made with {subnet} before: remove the containers in it and then the network \
             (docker network rm {}), and it is made anew",
            spec.name
        ),
    })
}

fn request(scope: &Scope, spec: &NetworkSpec) -> NetworkCreateRequest {
    let mut options = HashMap::new();
    if spec.name.len() <= INTERFACE_NAME_BYTES_MAX {
        options.insert("com.docker.network.bridge.name".to_owned(), spec.name.clone());
    }
    if let Some(mtu) = spec.mtu {
        options.insert("com.docker.network.driver.mtu".to_owned(), mtu.to_string());
    }
    let pool = IpamConfig {
        subnet: Some(spec.subnet.to_string()),
        gateway: Some(spec.gateway.to_string()),
        ip_range: Some(spec.runtime_range().to_string()),
        ..Default::default()
    };
    NetworkCreateRequest {
        name: spec.name.clone(),
        driver: Some("bridge".to_owned()),
        attachable: Some(true),
        ipam: Some(Ipam { config: Some(vec![pool]), ..Default::default() }),
        options: Some(options),
        labels: Some(HashMap::from([
            (label::CLUSTER.to_owned(), scope.cluster.clone()),
            (label::NODE.to_owned(), scope.node.to_string()),
        ])),
        ..Default::default()
    }
}
