//! Address questions, answered in place.
//!
//! A packet is read by hand and only as far as needed; whatever is not a plain question for an
//! address of a known service is left to the slow path, which knows the rest of DNS.

use crate::batch::ANSWER_BYTES_MAX;
use crate::publish::Published;
use warren_core::answer::{Pool, TTL_NEGATIVE};

/// The length of a header.
pub(crate) const HEADER_BYTES: usize = 12;
/// The largest answer over UDP that we send and offer to take: what passes every link unfragmented.
pub(crate) const PAYLOAD_BYTES_MAX: u16 = 1232;
/// Refresh, retry and expire in the SOA record, in seconds: nobody copies this zone, so the common
/// values do.
pub(crate) const SOA_TIMES: [u32; 3] = [3600, 600, 86_400];

const NAME_BYTES_MAX: usize = 255;
const LABEL_BYTES_MAX: u8 = 63;
const CLASS_IN: u16 = 1;
const TYPE_A: u16 = 1;
const TYPE_SOA: u16 = 6;
const TYPE_AAAA: u16 = 28;
const TYPE_OPT: u16 = 41;
/// A pointer to a name at an offset that is added to it.
const POINTER: u16 = 0xc000;
/// A pointer to the question's name, right after the header.
const POINTER_TO_QUESTION: u16 = POINTER + 12;

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// The answer is written.
    Answered(Answered),
    /// The slow path shall see it.
    Slow,
}

/// An answer that was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answered {
    /// Its length.
    pub(crate) length: usize,
    /// Whether IPv6 addresses were asked for.
    pub(crate) v6: bool,
    /// Whether it has records.
    pub(crate) found: bool,
}

/// Answers a packet in place, if it is a plain question for addresses of a known name.
pub(crate) fn answer(
    packet: &[u8],
    published: &Published,
    recursion: bool,
    draw: u64,
    out: &mut [u8; ANSWER_BYTES_MAX],
) -> Outcome {
    let Some(question) = Question::read(packet) else { return Outcome::Slow };
    let v6 = match question.kind {
        TYPE_A => false,
        TYPE_AAAA => true,
        _ => return Outcome::Slow,
    };
    let Some((zone, names)) = question.before_zone(&published.zone) else { return Outcome::Slow };
    let pool = match names {
        [Some(service), None] => published.index.pool(service, None),
        [Some(qualifier), Some(service)] => published.index.pool(service, Some(qualifier)),
        [None, _] => None,
    };
    let Some((pool, ttl)) = pool else { return Outcome::Slow };
    let found = !v6 && pool.ready() > 0;
    let mut writer = Writer { out, at: 0 };
    writer.head(packet, &question, recursion);
    if found {
        writer.addresses(pool, u32::try_from(ttl.as_secs()).unwrap_or(0), draw);
    } else {
        writer.soa(zone, published.index.epoch());
    }
    writer.opt(question.opt);
    Outcome::Answered(Answered { length: writer.at, v6, found })
}

/// Writes the answer that says no more than to ask again over TCP. Returns its length; `None` for
/// a packet that is not a plain question.
pub(crate) fn truncated(packet: &[u8], out: &mut [u8; ANSWER_BYTES_MAX]) -> Option<usize> {
    let question = Question::read(packet)?;
    let mut writer = Writer { out, at: 0 };
    writer.head(packet, &question, false);
    writer.out[2] |= 0b10;
    writer.opt(question.opt);
    Some(writer.at)
}

/// A question as it stands in a packet.
struct Question {
    /// The name in lower case, labels with their lengths and the root.
    name: [u8; NAME_BYTES_MAX],
    name_bytes: usize,
    kind: u16,
    opt: Option<Opt>,
}

#[derive(Clone, Copy)]
struct Opt {
    dnssec_ok: bool,
}

impl Question {
    /// Reads a packet that is one question of class IN, with at most an OPT record of version 0.
    fn read(packet: &[u8]) -> Option<Self> {
        let (header, rest) = packet.split_at_checked(HEADER_BYTES)?;
        // A query, of the usual opcode, whole, with one question and nothing else but an OPT.
        let plain = header[2] & 0b1111_1010 == 0 && header[4..10] == [0, 1, 0, 0, 0, 0];
        let extra = u16::from_be_bytes([header[10], header[11]]);
        if !plain || extra > 1 {
            return None;
        }
        let name_bytes = name_bytes(rest)?;
        let (raw, rest) = rest.split_at_checked(name_bytes)?;
        let (fixed, rest) = rest.split_first_chunk::<4>()?;
        let [kind, class] = [[fixed[0], fixed[1]], [fixed[2], fixed[3]]].map(u16::from_be_bytes);
        if class != CLASS_IN {
            return None;
        }
        let opt = match (extra, rest) {
            (0, []) => None,
            (1, rest) => Some(Opt::read(rest)?),
            _ => return None,
        };
        let mut name = [0; NAME_BYTES_MAX];
        name[..name_bytes].copy_from_slice(raw);
        // Lengths are below the letters, so that this changes labels alone.
        name[..name_bytes].make_ascii_lowercase();
        Some(Self { name, name_bytes, kind, opt })
    }

    /// Where in the name the zone begins, and the one or two labels before it, the leftmost first.
    fn before_zone(&self, zone: &[u8]) -> Option<(usize, [Option<&[u8]>; 2])> {
        let name = &self.name[..self.name_bytes];
        let mut labels = [None; 2];
        let mut at = 0;
        for label in &mut labels {
            let length = usize::from(*name.get(at)?);
            *label = Some(name.get(at + 1..at + 1 + length)?);
            at += 1 + length;
            if &name[at..] == zone {
                return Some((at, labels));
            }
        }
        None
    }
}

impl Opt {
    fn read(record: &[u8]) -> Option<Self> {
        let (fixed, options) = record.split_first_chunk::<11>()?;
        let [root, kind @ .., _, _, _, version, flags, _, high, low] = *fixed;
        let plain = root == 0
            && u16::from_be_bytes(kind) == TYPE_OPT
            && version == 0
            && options.len() == usize::from(u16::from_be_bytes([high, low]));
        plain.then_some(Self { dnssec_ok: flags & 0x80 != 0 })
    }
}

/// How long the name at the start is, with its root; `None` for one that is compressed or too long.
fn name_bytes(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            0 => return (at < NAME_BYTES_MAX).then_some(at + 1),
            length if length <= LABEL_BYTES_MAX => at += 1 + usize::from(length),
            _ => return None,
        }
        if at >= NAME_BYTES_MAX {
            return None;
        }
    }
}

/// Writes an answer. All of them fit: a header (12), the longest question (259), eight addresses
/// (128) or an SOA (35), and an OPT (11) are below 512 bytes.
struct Writer<'o> {
    out: &'o mut [u8; ANSWER_BYTES_MAX],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn put_u16(&mut self, number: u16) {
        self.put(&number.to_be_bytes());
    }

    fn put_u32(&mut self, number: u32) {
        self.put(&number.to_be_bytes());
    }

    fn count(&mut self, section: usize) {
        self.out[section + 1] += 1;
    }

    /// The header of an authoritative answer without records, and the question as it was asked, so
    /// that the case of its letters comes back.
    fn head(&mut self, packet: &[u8], question: &Question, recursion: bool) {
        let [id @ .., flags, more] = [packet[0], packet[1], packet[2], packet[3]];
        let available = if recursion { 0x80 } else { 0 };
        self.put(&id);
        // A response, authoritative, RD and CD as asked.
        self.put(&[0x84 | flags & 1, available | more & 0x10, 0, 1, 0, 0, 0, 0, 0, 0]);
        self.put(&packet[HEADER_BYTES..HEADER_BYTES + question.name_bytes + 4]);
    }

    fn addresses(&mut self, pool: &Pool, ttl: u32, draw: u64) {
        for target in pool.draw(draw).iter() {
            self.put_u16(POINTER_TO_QUESTION);
            self.put_u16(TYPE_A);
            self.put_u16(CLASS_IN);
            self.put_u32(ttl);
            self.put_u16(4);
            self.put(&target.address.octets());
            self.count(6);
        }
    }

    /// The zone's SOA record, which says how long the absence may be remembered. `zone` is where in
    /// the question's name the zone begins.
    fn soa(&mut self, zone: usize, epoch: u64) {
        let zone = POINTER | u16::try_from(HEADER_BYTES + zone).unwrap_or_default();
        let negative = u32::try_from(TTL_NEGATIVE.as_secs()).unwrap_or_default();
        self.put_u16(zone);
        self.put_u16(TYPE_SOA);
        self.put_u16(CLASS_IN);
        self.put_u32(negative);
        let length = self.at;
        self.put_u16(0);
        self.put_u16(zone);
        // The root as the mailbox: there is nobody to write to.
        self.put(&[0]);
        self.put_u32(serial(epoch));
        SOA_TIMES.iter().for_each(|seconds| self.put_u32(*seconds));
        self.put_u32(negative);
        let written = u16::try_from(self.at - length - 2).unwrap_or_default();
        self.out[length..length + 2].copy_from_slice(&written.to_be_bytes());
        self.count(8);
    }

    fn opt(&mut self, asked: Option<Opt>) {
        let Some(opt) = asked else { return };
        self.put(&[0]);
        self.put_u16(TYPE_OPT);
        self.put_u16(PAYLOAD_BYTES_MAX);
        let flags = if opt.dnssec_ok { 0x80 } else { 0 };
        self.put(&[0, 0, flags, 0, 0, 0]);
        self.count(10);
    }
}

/// The serial of the zone: the epoch, which wraps as serials do.
pub(crate) fn serial(epoch: u64) -> u32 {
    let [_, _, _, _, low @ ..] = epoch.to_be_bytes();
    u32::from_be_bytes(low)
}

#[cfg(test)]
mod tests;
