//! DNS messages (RFC 1035): one question out, one answer in.
//!
//! The wire format is `domain`'s (NLnet Labs): it reads lazily, checks every bound, and adds
//! about 15 kB to the program.

use std::net::IpAddr;

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name};
use domain::rdata::{A, Aaaa};

/// Records of the answer section that are looked at.
const RECORDS: usize = 64;

/// Addresses taken from one answer.
pub const ADDRESSES: usize = 8;

/// Which kind of address is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// IPv4 (RFC 1035 section 3.4.1).
    A,
    /// IPv6 (RFC 3596).
    Aaaa,
}

/// One question, in wire format.
#[derive(Clone, Debug)]
pub struct Question {
    message: Message<Vec<u8>>,
    record: Record,
}

/// What some bytes say about a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Not the answer to this question, or not readable.
    NotOurs,
    /// The answer did not fit: ask again over TCP (RFC 7766).
    Truncated,
    /// The addresses at the end of the name's CNAME chain; none when it has none of this kind.
    Addresses(Vec<IpAddr>),
    /// NXDOMAIN: nobody has such a name.
    NoSuchName,
    /// The server could not or would not answer; another one may.
    Refused(Rcode),
}

impl Question {
    /// A question with recursion desired. `None` when `name` is no name of the DNS: a label
    /// above 63 bytes, more than 255 in all, an empty label.
    pub fn new(id: u16, name: &str, record: Record) -> Option<Self> {
        let name: Name<Vec<u8>> = Name::from_chars(name.chars()).ok()?;
        let mut builder = MessageBuilder::from_target(Vec::with_capacity(512)).ok()?;
        builder.header_mut().set_id(id);
        builder.header_mut().set_rd(true);
        let mut builder = builder.question();
        let rtype = match record {
            Record::A => Rtype::A,
            Record::Aaaa => Rtype::AAAA,
        };
        builder.push((name, rtype, Class::IN)).ok()?;
        Some(Question {
            message: builder.into_message(),
            record,
        })
    }

    /// The datagram.
    pub fn bytes(&self) -> &[u8] {
        self.message.as_slice()
    }

    /// Reads what a server sent.
    pub fn read(&self, bytes: &[u8]) -> Answer {
        let Ok(message) = Message::from_octets(bytes) else {
            return Answer::NotOurs;
        };
        if !message.is_answer(&self.message) {
            return Answer::NotOurs;
        }
        if message.header().tc() {
            return Answer::Truncated;
        }
        match message.header().rcode() {
            Rcode::NOERROR => match self.addresses(&message) {
                Some(addresses) => Answer::Addresses(addresses),
                None => Answer::Refused(Rcode::FORMERR),
            },
            Rcode::NXDOMAIN => Answer::NoSuchName,
            other => Answer::Refused(other),
        }
    }

    fn addresses(&self, message: &Message<&[u8]>) -> Option<Vec<IpAddr>> {
        let owner = message.canonical_name()?;
        let mut addresses = Vec::new();
        for record in message.answer().ok()?.take(RECORDS) {
            let record = record.ok()?;
            if record.owner() != owner || record.class() != Class::IN {
                continue;
            }
            let address = match self.record {
                Record::A => record
                    .to_record::<A>()
                    .ok()?
                    .map(|record| IpAddr::V4(record.data().addr())),
                Record::Aaaa => record
                    .to_record::<Aaaa>()
                    .ok()?
                    .map(|record| IpAddr::V6(record.data().addr())),
            };
            if let Some(address) = address
                && addresses.len() < ADDRESSES
                && !addresses.contains(&address)
            {
                addresses.push(address);
            }
        }
        Some(addresses)
    }
}
