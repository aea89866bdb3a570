//! Questions to DNS servers: to resolvers for finding things, to authoritative servers for looking at them.
//!
//! Nothing is remembered and the hosts file is not read: what counts is what the authority will see. Used by
//! dns-01 ([`crate::dns`]) and by [`crate::check`].

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long one server may take for one try.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a server is asked over UDP, which loses packets.
const TRIES: usize = 2;

/// The largest answer over UDP that crosses every network whole (DNS flag day 2020); longer ones come over TCP.
const PAYLOAD: u16 = 1232;

/// How many aliases may follow one another, as resolvers allow.
const LONGEST_CHAIN: usize = 8;

/// Why something could not be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// Neither the configuration nor the system names one.
    #[error("no DNS resolver is known ({0}); name one in `acme.resolvers`")]
    NoResolver(String),
    /// None of them gave an answer.
    #[error(
        "no resolver answers for {kind} of {name}: {tried}; check them, or name others in `acme.resolvers`"
    )]
    Unanswered {
        /// The name asked for.
        name: String,
        /// The record type.
        kind: RecordType,
        /// Each resolver with what it did instead.
        tried: String,
    },
    /// The aliases go round in a circle, or nearly.
    #[error(
        "{0} is an alias of an alias, more than {LONGEST_CHAIN} times; shorten the chain of CNAME records"
    )]
    Chain(String),
    /// No SOA record up to the root.
    #[error("no DNS zone holds {0}; check that the domain is registered and delegated")]
    NoZone(String),
    /// A text that cannot be a name.
    #[error("{name:?} is no DNS name: {why}")]
    Name {
        /// The text.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Servers that answer for every name.
#[derive(Debug, Clone)]
pub struct Resolvers(Vec<SocketAddr>);

impl Resolvers {
    /// These, or the system's at the time of each question where there are none.
    #[must_use]
    pub fn new(given: &[SocketAddr]) -> Self {
        Self(given.to_vec())
    }

    /// The answer of the first resolver that has one. That a name or a record does not exist is an answer.
    ///
    /// # Errors
    /// When there is no resolver or none answers.
    pub async fn ask(&self, name: &Name, kind: RecordType) -> Result<Message, LookupError> {
        let mut tried = Vec::new();
        for server in self.servers()? {
            match ask(server, name, kind, true).await {
                Ok(message) if is_answer(message.metadata.response_code) => return Ok(message),
                Ok(message) => tried.push(format!("{server} says {}", message.metadata.response_code)),
                Err(error) => tried.push(format!("{server} {error}")),
            }
        }
        Err(LookupError::Unanswered { name: plain(name), kind, tried: tried.join(", ") })
    }

    /// The addresses of a name, through its aliases.
    ///
    /// # Errors
    /// When no resolver answers.
    pub async fn addresses(&self, name: &Name) -> Result<Vec<IpAddr>, LookupError> {
        let (four, six) = tokio::join!(self.ask(name, RecordType::A), self.ask(name, RecordType::AAAA));
        let mut found = Vec::new();
        for record in four?.answers.iter().chain(&six?.answers) {
            if let RData::A(address) = record.data {
                found.push(IpAddr::V4(address.0));
            } else if let RData::AAAA(address) = record.data {
                found.push(IpAddr::V6(address.0));
            }
        }
        found.dedup();
        Ok(found)
    }

    /// Where a name's records really are: behind its CNAME records, or at the name itself.
    ///
    /// # Errors
    /// When no resolver answers, or the aliases do not end.
    pub async fn follow(&self, name: &Name) -> Result<Name, LookupError> {
        let mut at = name.clone();
        for _ in 0..=LONGEST_CHAIN {
            let answer = self.ask(&at, RecordType::CNAME).await?;
            let next = answer.answers.iter().filter(|record| record.name == at).find_map(|record| {
                if let RData::CNAME(target) = &record.data { Some(target.0.clone()) } else { None }
            });
            match next {
                Some(next) => at = next,
                None => return Ok(at),
            }
        }
        Err(LookupError::Chain(plain(name)))
    }

    /// The zone that holds a name: the nearest one above it with an SOA record.
    ///
    /// # Errors
    /// When no resolver answers, or there is none.
    pub async fn zone(&self, name: &Name) -> Result<Name, LookupError> {
        let mut at = name.clone();
        while !at.is_root() {
            let answer = self.ask(&at, RecordType::SOA).await?;
            // A negative answer carries the zone's SOA record too (RFC 2308 section 3).
            let soa = answer.answers.iter().chain(&answer.authorities).find(|record| {
                matches!(record.data, RData::SOA(_)) && record.name.zone_of(&at) && !record.name.is_root()
            });
            if let Some(soa) = soa {
                return Ok(soa.name.clone());
            }
            at = at.base_name();
        }
        Err(LookupError::NoZone(plain(name)))
    }

    /// The name servers of a zone.
    ///
    /// # Errors
    /// When no resolver answers.
    pub async fn name_servers(&self, zone: &Name) -> Result<Vec<Name>, LookupError> {
        let answer = self.ask(zone, RecordType::NS).await?;
        let mut found: Vec<Name> = answer
            .answers
            .iter()
            .filter_map(
                |record| {
                    if let RData::NS(server) = &record.data { Some(server.0.clone()) } else { None }
                },
            )
            .collect();
        found.sort();
        found.dedup();
        Ok(found)
    }

    fn servers(&self) -> Result<Vec<SocketAddr>, LookupError> {
        if !self.0.is_empty() {
            return Ok(self.0.clone());
        }
        let (config, _) = read_system_conf().map_err(|error| LookupError::NoResolver(error.to_string()))?;
        Ok(config.name_servers().iter().map(|server| SocketAddr::new(server.ip, 53)).collect())
    }
}

/// Whether a server knew what it was asked for. That there is no such name is an answer too.
#[must_use]
pub fn is_answer(code: ResponseCode) -> bool {
    matches!(code, ResponseCode::NoError | ResponseCode::NXDomain)
}

/// A name that starts at the root, whatever the system's search list says.
///
/// # Errors
/// When the text cannot be a name.
pub fn name(text: &str) -> Result<Name, LookupError> {
    let mut name = Name::from_ascii(text)
        .map_err(|error| LookupError::Name { name: text.to_owned(), why: error.to_string() })?;
    name.set_fqdn(true);
    Ok(name)
}

/// A name as people write it: in lower case, without the dot of the root.
#[must_use]
pub fn plain(name: &Name) -> String {
    name.to_lowercase().to_ascii().trim_end_matches('.').to_owned()
}

/// Why a server gave no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// It was not heard of in time.
    Silent,
    /// It cannot be reached.
    Unreachable(io::Error),
    /// What it said is no answer to the question.
    Garbled(String),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("does not answer"),
            Self::Unreachable(error) => write!(f, "cannot be reached ({error})"),
            Self::Garbled(why) => write!(f, "answers nonsense ({why})"),
        }
    }
}

impl From<io::Error> for NoAnswer {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error)
    }
}

/// Asks one server one question, over UDP and, when the answer is too long for that, over TCP.
///
/// # Errors
/// When it gives no answer. A refusal is an answer.
pub async fn ask(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    recursion: bool,
) -> Result<Message, NoAnswer> {
    let mut question = Message::query();
    question.metadata.recursion_desired = recursion;
    question.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    question.set_edns(edns);
    let wire = question.to_vec().map_err(|error| NoAnswer::Garbled(error.to_string()))?;
    let answer = over_udp(server, &question, &wire).await?;
    if !answer.metadata.truncation {
        return Ok(answer);
    }
    timeout(PATIENCE, over_tcp(server, &question, &wire)).await.unwrap_or(Err(NoAnswer::Silent))
}

async fn over_udp(server: SocketAddr, question: &Message, wire: &[u8]) -> Result<Message, NoAnswer> {
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    // Connected, so that only this server's datagrams arrive and a closed port is told at once.
    socket.connect(server).await?;
    for _ in 0..TRIES {
        socket.send(wire).await?;
        if let Ok(answer) = timeout(PATIENCE, matching(&socket, question)).await {
            return answer;
        }
    }
    Err(NoAnswer::Silent)
}

/// The first datagram that answers the question; late answers to others are passed over.
async fn matching(socket: &UdpSocket, question: &Message) -> Result<Message, NoAnswer> {
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Ok(message) = Message::from_vec(&buffer[..length])
            && answers(&message, question)
        {
            return Ok(message);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &Message, wire: &[u8]) -> Result<Message, NoAnswer> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(wire.len()).map_err(|error| NoAnswer::Garbled(error.to_string()))?;
    stream.write_all(&[&length.to_be_bytes(), wire].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    let message = Message::from_vec(&answer).map_err(|error| NoAnswer::Garbled(error.to_string()))?;
    if answers(&message, question) {
        Ok(message)
    } else {
        Err(NoAnswer::Garbled("to another question".to_owned()))
    }
}

/// Whether a message answers this question and no other. A server that cannot read the question leaves it out.
fn answers(message: &Message, question: &Message) -> bool {
    message.metadata.message_type == MessageType::Response
        && message.metadata.id == question.metadata.id
        && (message.queries.is_empty() || message.queries == question.queries)
}
