//! The network that an application's containers share.
//!
//! Containers have fixed addresses in it. Docker hands addresses out anew after a restart of the machine, in whatever
//! order containers come up: without fixed ones, blue and green could swap theirs, and the proxy would send traffic to
//! the wrong version. Docker pins addresses only in networks whose subnet somebody chose, so we choose one: the very
//! one that Docker would have taken, since it knows its own pools and the routes of its host.

mod address;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use bollard::models::{EndpointSettings, Ipam, IpamConfig, NetworkCreateRequest, NetworkInspect};
use bollard::query_parameters::{
    InspectNetworkOptions, ListContainersOptionsBuilder, ListNetworksOptionsBuilder,
};
use ipnet::IpNet;

use super::deadline::ANSWER;
use super::{DockerError, DockerErrorKind, Engine};

pub use address::address_for;

/// Carried by the network that is made for a moment to learn a free subnet; its value is the network it is made for.
const PROBE: &str = "switcher.probe";

/// How often a subnet is tried that somebody else may take in the same moment.
const TRIES: u32 = 5;

/// A network as it was found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// The engine's id.
    pub id: String,
    /// Its addresses: IPv4 where there are any. None for networks without addresses of their own, such as `host`.
    pub subnet: Option<IpNet>,
    /// Whether it may be tried to pin addresses in it. The engine does not show whether somebody chose the subnet:
    /// [`address_refusal`] has the last word.
    pub pinnable: bool,
}

/// Why a pinned address was refused when a container was to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressRefusal {
    /// Somebody else has it.
    Taken,
    /// The network pins no addresses: nobody chose its subnet.
    NotPinnable,
}

/// Whether an error says that a pinned address was refused, by the engine's own words: it has no code for it.
#[must_use]
pub fn address_refusal(error: &DockerError) -> Option<AddressRefusal> {
    let words = error.to_string();
    if words.contains("Address already in use") {
        Some(AddressRefusal::Taken)
    } else if words.contains("networks with user configured subnets")
        || words.contains("user defined networks")
    {
        Some(AddressRefusal::NotPinnable)
    } else {
        None
    }
}

impl Engine {
    /// The network of that name; it is made when it is missing.
    ///
    /// # Errors
    /// When the engine refuses, or has no free subnet.
    pub async fn ensure_network(&self, name: &str) -> Result<Network, DockerError> {
        let mut refused = None;
        for _ in 0..TRIES {
            if let Some(found) = self.network(name).await? {
                return Ok(found);
            }
            let subnet = self.free_subnet(name).await?;
            match self.make_network(name, subnet).await {
                Ok(None) => {}
                Ok(Some(made)) => {
                    let found = self.network(name).await?;
                    if found.as_ref().is_none_or(|found| found.id != made) {
                        // An old engine let two of us make it: one stays.
                        self.remove_network(&made).await?;
                    }
                }
                // Somebody made the network, or took the subnet, between our question and our request.
                Err(error) if lost_race(&error) => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or_else(|| {
            let message = format!("the network {name} was made, and somebody removes it again");
            DockerError::new(DockerErrorKind::Conflict, message)
        }))
    }

    /// Every address in a network that belongs to a container other than the one named `except`, running or not, and
    /// the gateway's.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn taken_addresses(
        &self,
        network: &Network,
        except: &str,
    ) -> Result<BTreeSet<IpAddr>, DockerError> {
        // By name as well: a container that never ran does not know the network's id yet.
        let filters = HashMap::from([("network".to_owned(), vec![network.id.clone(), network.name.clone()])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let doing = format!("list the containers in the network {}", network.name);
        let list = self.within(ANSWER, &doing, self.docker.list_containers(Some(options))).await?;
        let mut taken = BTreeSet::new();
        for container in list {
            let name = format!("/{except}");
            if container.names.is_some_and(|names| names.contains(&name)) {
                continue;
            }
            let networks = container.network_settings.and_then(|settings| settings.networks);
            if let Some(endpoint) = networks.unwrap_or_default().get(&network.name) {
                taken.extend(addresses(endpoint));
            }
        }
        Ok(taken)
    }

    /// The network of that name. Old engines allow several; the one with the lowest id is it, for everybody.
    async fn network(&self, name: &str) -> Result<Option<Network>, DockerError> {
        let filters = HashMap::from([("name".to_owned(), vec![name.to_owned()])]);
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let doing = format!("look for the network {name}");
        let list = self.within(ANSWER, &doing, self.docker.list_networks(Some(options))).await?;
        // The engine's filter finds parts of names, too.
        let ids = list.into_iter().filter(|network| network.name.as_deref() == Some(name));
        let Some(id) = ids.filter_map(|network| network.id).min() else { return Ok(None) };
        Ok(self.network_by_id(&id).await?.map(|found| described(name, &id, &found)))
    }

    async fn network_by_id(&self, id: &str) -> Result<Option<NetworkInspect>, DockerError> {
        let look = self.docker.inspect_network(id, None::<InspectNetworkOptions>);
        match self.within(ANSWER, &format!("look at the network {id}"), look).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == DockerErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A subnet that the engine itself takes for free: it is let make a network, asked which subnet it took, and the
    /// network is removed again. None when somebody else removed it in between.
    async fn free_subnet(&self, name: &str) -> Result<Option<IpNet>, DockerError> {
        self.remove_probes(name).await?;
        let request = NetworkCreateRequest {
            name: format!("{name}-probe"),
            driver: Some("bridge".to_owned()),
            labels: Some(HashMap::from([(PROBE.to_owned(), name.to_owned())])),
            ..NetworkCreateRequest::default()
        };
        let doing = format!("find a free subnet for the network {name}");
        let probe = self.within(ANSWER, &doing, self.docker.create_network(request)).await?.id;
        let found = self.network_by_id(&probe).await;
        self.remove_network(&probe).await?;
        Ok(found?.and_then(|found| described(name, &probe, &found).subnet))
    }

    /// Probes that a killed command left behind.
    async fn remove_probes(&self, name: &str) -> Result<(), DockerError> {
        let filters = HashMap::from([("label".to_owned(), vec![format!("{PROBE}={name}")])]);
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let list = self.docker.list_networks(Some(options));
        let list = self.within(ANSWER, &format!("look for the network {name}"), list).await?;
        for id in list.into_iter().filter_map(|network| network.id) {
            self.remove_network(&id).await?;
        }
        Ok(())
    }

    async fn remove_network(&self, id: &str) -> Result<(), DockerError> {
        let remove = self.docker.remove_network(id);
        match self.within(ANSWER, &format!("remove the network {id}"), remove).await {
            Err(error) if error.kind() == DockerErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// The id of the network that was made; none without a subnet.
    async fn make_network(&self, name: &str, subnet: Option<IpNet>) -> Result<Option<String>, DockerError> {
        let Some(subnet) = subnet else { return Ok(None) };
        let range = IpamConfig {
            subnet: Some(subnet.to_string()),
            // The engine's own numbering keeps to the lower half, ours counts down from the top.
            ip_range: address::lower_half(subnet).map(|half| half.to_string()),
            ..IpamConfig::default()
        };
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            ipam: Some(Ipam { config: Some(vec![range]), ..Ipam::default() }),
            ..NetworkCreateRequest::default()
        };
        let make = self.docker.create_network(request);
        self.within(ANSWER, &format!("make the network {name}"), make).await.map(|made| Some(made.id))
    }
}

/// Whether a network could not be made because somebody else was faster.
fn lost_race(error: &DockerError) -> bool {
    error.kind() == DockerErrorKind::Conflict || error.to_string().contains("overlaps")
}

fn described(name: &str, id: &str, found: &NetworkInspect) -> Network {
    let configs = found.ipam.as_ref().and_then(|ipam| ipam.config.as_deref()).unwrap_or_default();
    let subnets: Vec<IpNet> =
        configs.iter().filter_map(|config| config.subnet.as_deref()?.parse().ok()).collect();
    let subnet = subnets.iter().find(|net| matches!(net, IpNet::V4(_))).or_else(|| subnets.first());
    // Other drivers may use the addresses of a network that machines outside are part of.
    let inside = matches!(found.driver.as_deref(), Some("bridge" | "overlay"));
    Network {
        name: name.to_owned(),
        id: id.to_owned(),
        subnet: subnet.copied(),
        pinnable: subnet.is_some() && inside,
    }
}

/// Every address that an endpoint has, and that it asks for while its container is stopped.
fn addresses(endpoint: &EndpointSettings) -> impl Iterator<Item = IpAddr> {
    let pinned = endpoint.ipam_config.as_ref();
    [
        endpoint.gateway.as_ref(),
        endpoint.ipv6_gateway.as_ref(),
        endpoint.ip_address.as_ref(),
        endpoint.global_ipv6_address.as_ref(),
        pinned.and_then(|config| config.ipv4_address.as_ref()),
        pinned.and_then(|config| config.ipv6_address.as_ref()),
    ]
    .into_iter()
    .filter_map(|text| text?.parse().ok())
}
