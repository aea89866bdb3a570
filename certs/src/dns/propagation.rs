//! Whether a record is visible everywhere an authority may look: at every authoritative server of its zone.

use std::net::{IpAddr, SocketAddr};

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use tokio::task::JoinSet;

use super::lookup::{self, LookupError, Resolvers, plain};

/// Name servers always listen here (RFC 1035 section 4.2).
const PORT: u16 = 53;

/// What one address of a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum View {
    Shows,
    Lacks,
    /// It answers, but not to this question.
    Refuses(ResponseCode),
    Unreachable(String),
}

/// The authoritative servers that do not show the value yet, each with what is wrong. Empty: every one shows it.
pub(super) async fn lacking(
    resolvers: &Resolvers,
    record: &Name,
    value: &str,
) -> Result<Vec<String>, LookupError> {
    let owner = resolvers.follow(record).await?;
    let zone = resolvers.zone(&owner).await?;
    let servers = resolvers.name_servers(&zone).await?;
    if servers.is_empty() {
        return Ok(vec![format!("the zone {} names no server", plain(&zone))]);
    }
    let mut looks = JoinSet::new();
    for server in servers {
        let (resolvers, owner, value) = (resolvers.clone(), owner.clone(), value.to_owned());
        looks.spawn(async move {
            let views = visit(&resolvers, &server, &owner, &value).await?;
            Ok(judge(&plain(&server), &views))
        });
    }
    let found: Result<Vec<Option<String>>, LookupError> = looks.join_all().await.into_iter().collect();
    let mut lacking: Vec<String> = found?.into_iter().flatten().collect();
    lacking.sort();
    Ok(lacking)
}

/// What each address of a server says. All at once, so that a silent one delays nobody.
async fn visit(
    resolvers: &Resolvers,
    server: &Name,
    owner: &Name,
    value: &str,
) -> Result<Vec<(IpAddr, View)>, LookupError> {
    let mut looks = JoinSet::new();
    for address in resolvers.addresses(server).await? {
        let (owner, value) = (owner.clone(), value.to_owned());
        looks.spawn(async move { (address, look(SocketAddr::new(address, PORT), &owner, &value).await) });
    }
    let mut views = looks.join_all().await;
    views.sort_by_key(|(address, _)| *address);
    Ok(views)
}

async fn look(server: SocketAddr, owner: &Name, value: &str) -> View {
    let answer = match lookup::ask(server, owner, RecordType::TXT, false).await {
        Ok(answer) => answer,
        Err(error) => return View::Unreachable(error.to_string()),
    };
    if !lookup::is_answer(answer.metadata.response_code) {
        return View::Refuses(answer.metadata.response_code);
    }
    let shown = answer.answers.iter().any(|record| {
        // Long values come in pieces.
        matches!(&record.data, RData::TXT(text) if text.txt_data.concat() == value.as_bytes())
    });
    if shown { View::Shows } else { View::Lacks }
}

/// What is wrong with a server, if anything is. An address that cannot be reached from here (IPv6 without a
/// route, say) does not count as long as another one of the same server shows the value.
fn judge(server: &str, views: &[(IpAddr, View)]) -> Option<String> {
    if views.is_empty() {
        return Some(format!("{server} has no address"));
    }
    let wrong = views.iter().find_map(|(address, view)| match view {
        View::Shows | View::Unreachable(_) => None,
        View::Lacks => Some(format!("{server} ({address}) does not show it")),
        View::Refuses(code) => Some(format!("{server} ({address}) says {code}")),
    });
    if wrong.is_some() || views.iter().any(|(_, view)| *view == View::Shows) {
        return wrong;
    }
    views.iter().find_map(|(address, view)| match view {
        View::Unreachable(why) => Some(format!("{server} ({address}) {why}")),
        View::Shows | View::Lacks | View::Refuses(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_counts_by_those_of_its_addresses_that_can_be_reached() {
        let four: IpAddr = [192, 0, 2, 1].into();
        let six: IpAddr = "2001:db8::1".parse().expect("an address");
        let silent = || View::Unreachable("does not answer".to_owned());
        for (views, wrong) in [
            (vec![(four, View::Shows)], None),
            (vec![(four, View::Shows), (six, silent())], None),
            (vec![(four, silent()), (six, View::Shows)], None),
            (vec![(four, View::Shows), (six, View::Lacks)], Some("ns (2001:db8::1) does not show it")),
            (vec![(four, View::Lacks), (six, silent())], Some("ns (192.0.2.1) does not show it")),
            (vec![(four, View::Refuses(ResponseCode::Refused))], Some("ns (192.0.2.1) says Query Refused")),
            (vec![(four, silent()), (six, silent())], Some("ns (192.0.2.1) does not answer")),
            (vec![], Some("ns has no address")),
        ] {
            assert_eq!(judge("ns", &views).as_deref(), wrong, "{views:?}");
        }
    }
}
