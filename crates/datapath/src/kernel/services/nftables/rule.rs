//! A rule: expressions in a row, over sixteen registers of four bytes.

use sha2::{Digest as _, Sha256};

use super::batch::Writer;
use super::kernel_tables::comment_bytes;
use super::layout::SetId;

/// A register; `NFT_REG32_00` and on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Register(pub(super) u32);

/// Part of a packet that offsets count from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Base {
    /// The IP header.
    Network = 1,
    /// The header after it.
    Transport = 2,
}

/// What becomes of a packet.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    Drop,
    Accept,
    Jump(String),
    Goto(&'static str),
}

/// What is done to a connection's addresses.
#[derive(Debug, Clone, Copy)]
pub(super) enum Nat {
    Source,
    Destination,
}

/// What a packet does to a map.
#[derive(Debug, Clone, Copy)]
pub(super) enum Learn {
    Update = 1,
    Delete = 2,
}

/// `meta` keys.
#[derive(Debug, Clone, Copy)]
pub(super) enum Meta {
    Iif = 4,
    NfProto = 15,
    L4Proto = 16,
}

/// `ct` keys.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ct {
    State = 0,
    Status = 2,
    ProtoDst = 12,
    DstIp = 20,
    DstIp6 = 22,
}

/// A rule being written.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) table: &'static str,
    pub(super) chain: String,
    purpose: &'static str,
    expressions: Writer,
}

const NFT_REG_VERDICT: u32 = 0;
const NFT_REG32_00: u32 = 8;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`: two clients' connections must not race for one port.
const RANDOM_FULLY: u32 = 1 << 4;

// === impl Register ===

impl Register {
    fn number(self) -> u32 {
        NFT_REG32_00 + self.0
    }

    /// The register `count` further on.
    pub(super) fn after(self, count: u32) -> Self {
        Self(self.0 + count)
    }
}

// === impl Verdict ===

impl Verdict {
    /// Writes `NFTA_DATA_VERDICT`.
    pub(super) fn write(&self, writer: &mut Writer) {
        let (code, chain): (i32, Option<&str>) = match self {
            Verdict::Drop => (0, None),
            Verdict::Accept => (1, None),
            Verdict::Jump(chain) => (-3, Some(chain)),
            Verdict::Goto(chain) => (-4, Some(chain)),
        };
        writer.nest(2, |writer| {
            writer.attribute(1, &code.to_be_bytes());
            chain.into_iter().for_each(|chain| writer.text(2, chain));
        });
    }
}

// === impl Rule ===

impl Rule {
    pub(super) fn new(table: &'static str, chain: impl Into<String>, purpose: &'static str) -> Self {
        Self { table, chain: chain.into(), purpose, expressions: Writer::default() }
    }

    pub(super) fn purpose(&self) -> &'static str {
        self.purpose
    }

    pub(super) fn expressions(&self) -> &[u8] {
        &self.expressions.0
    }

    /// The comment that `nft` shows, with a fingerprint by which the rule is recognized.
    pub(super) fn comment(&self) -> String {
        let mut comment = format!("{} #", self.purpose);
        for byte in Sha256::digest(&self.expressions.0).iter().take(4) {
            comment.push_str(&format!("{byte:02x}"));
        }
        comment
    }

    /// The comment as `NFTA_RULE_USERDATA`.
    pub(super) fn user_data(&self) -> Vec<u8> {
        comment_bytes(&self.comment())
    }

    fn expression(mut self, name: &str, fill: impl FnOnce(&mut Writer)) -> Self {
        self.expressions.nest(1, |writer| {
            writer.text(1, name);
            writer.nest(2, fill);
        });
        self
    }

    pub(super) fn payload(self, to: Register, base: Base, offset: u32, length: u32) -> Self {
        self.expression("payload", |w| {
            w.u32(1, to.number());
            w.u32(2, base as u32);
            w.u32(3, offset);
            w.u32(4, length);
        })
    }

    pub(super) fn meta(self, to: Register, key: Meta) -> Self {
        self.expression("meta", |w| {
            w.u32(1, to.number());
            w.u32(2, key as u32);
        })
    }

    /// A property of the connection.
    pub(super) fn ct(self, to: Register, key: Ct) -> Self {
        self.expression("ct", |w| {
            w.u32(1, to.number());
            w.u32(2, key as u32);
        })
    }

    /// A property of the connection's first packet as it came.
    pub(super) fn ct_original(self, to: Register, key: Ct) -> Self {
        self.expression("ct", |w| {
            w.u32(1, to.number());
            w.u32(2, key as u32);
            w.attribute(3, &[0]);
        })
    }

    /// Goes on when the register holds `value`.
    pub(super) fn equals(self, register: Register, value: &[u8]) -> Self {
        self.compare(register, 0, value)
    }

    /// Goes on when the register holds anything but `value`.
    pub(super) fn differs(self, register: Register, value: &[u8]) -> Self {
        self.compare(register, 1, value)
    }

    fn compare(self, register: Register, operation: u32, value: &[u8]) -> Self {
        self.expression("cmp", |w| {
            w.u32(1, register.number());
            w.u32(2, operation);
            w.nest(3, |w| w.attribute(1, value));
        })
    }

    /// Keeps the bits of `mask`.
    pub(super) fn mask(self, from: Register, to: Register, mask: &[u8]) -> Self {
        self.expression("bitwise", |w| {
            w.u32(1, from.number());
            w.u32(2, to.number());
            w.u32(3, u32::try_from(mask.len()).unwrap_or_default());
            w.nest(4, |w| w.attribute(1, mask));
            w.nest(5, |w| w.attribute(1, &vec![0; mask.len()]));
        })
    }

    /// Copies a register.
    pub(super) fn copy(self, from: Register, to: Register) -> Self {
        self.mask(from, to, &[0xff; 4])
    }

    /// Goes on when the key is in the set.
    pub(super) fn within(self, key: Register, set: SetId) -> Self {
        self.expression("lookup", |w| {
            w.text(1, &set.name());
            w.u32(2, key.number());
        })
    }

    /// Goes on when the key is not in the set.
    pub(super) fn outside(self, key: Register, set: SetId) -> Self {
        self.expression("lookup", |w| {
            w.text(1, &set.name());
            w.u32(2, key.number());
            w.u32(5, 1);
        })
    }

    /// Loads what the key leads to; goes on when there is something.
    pub(super) fn find(self, key: Register, map: SetId, to: Register) -> Self {
        self.expression("lookup", |w| {
            w.text(1, &map.name());
            w.u32(2, key.number());
            w.u32(3, to.number());
        })
    }

    /// Does what the key leads to.
    pub(super) fn follow(self, key: Register, map: SetId) -> Self {
        self.expression("lookup", |w| {
            w.text(1, &map.name());
            w.u32(2, key.number());
            w.u32(3, NFT_REG_VERDICT);
        })
    }

    /// A number below `modulus`: at random, or the next one.
    pub(super) fn number(self, to: Register, modulus: u32, random: bool) -> Self {
        self.expression("numgen", |w| {
            w.u32(1, to.number());
            w.u32(2, modulus);
            w.u32(3, u32::from(random));
            w.u32(4, 0);
        })
    }

    /// Jenkins' hash of registers, below `modulus`; the same on every node.
    pub(super) fn hash(self, from: Register, length: u32, to: Register, modulus: u32) -> Self {
        self.expression("hash", |w| {
            w.u32(1, from.number());
            w.u32(2, to.number());
            w.u32(3, length);
            w.u32(4, modulus);
            w.u32(5, HASH_SEED);
            w.u32(6, 0);
            w.u32(7, 0);
        })
    }

    /// The type of the source address, as routing sees it (`RTN_*`).
    pub(super) fn source_address_type(self, to: Register) -> Self {
        self.expression("fib", |w| {
            w.u32(1, to.number());
            w.u32(2, 3);
            w.u32(3, 1);
        })
    }

    /// Changes a map by the packet: key and data from registers.
    pub(super) fn learn(
        self,
        map: SetId,
        what: Learn,
        key: Register,
        data: Option<Register>,
        timeout_seconds: Option<u32>,
    ) -> Self {
        self.expression("dynset", |w| {
            w.text(1, &map.name());
            w.u32(3, what as u32);
            w.u32(4, key.number());
            data.into_iter().for_each(|data| w.u32(5, data.number()));
            let timeout = timeout_seconds.map(|seconds| u64::from(seconds) * 1000);
            timeout.into_iter().for_each(|millis| w.attribute(6, &millis.to_be_bytes()));
        })
    }

    /// Translates: address from a register, port from another when there is one.
    pub(super) fn nat(self, nat: Nat, v6: bool, address: Register, port: Option<Register>) -> Self {
        self.expression("nat", |w| {
            w.u32(1, matches!(nat, Nat::Destination).into());
            w.u32(2, if v6 { 10 } else { 2 });
            w.u32(3, address.number());
            port.into_iter().for_each(|port| w.u32(5, port.number()));
            if matches!(nat, Nat::Source) {
                w.u32(7, RANDOM_FULLY);
            }
        })
    }

    /// Hides the source behind an address of the device the packet leaves by.
    pub(super) fn masquerade(self) -> Self {
        self.expression("masq", |w| w.u32(1, RANDOM_FULLY))
    }

    /// Loads bytes.
    pub(super) fn load(self, to: Register, value: &[u8]) -> Self {
        self.expression("immediate", |w| {
            w.u32(1, to.number());
            w.nest(2, |w| w.attribute(1, value));
        })
    }

    /// TCP reset.
    pub(super) fn reset(self) -> Self {
        self.expression("reject", |w| w.u32(1, 1))
    }

    /// ICMP port unreachable of the packet's family.
    pub(super) fn unreachable(self) -> Self {
        self.expression("reject", |w| {
            w.u32(1, 2);
            w.attribute(2, &[1]);
        })
    }

    pub(super) fn verdict(self, verdict: &Verdict) -> Self {
        self.expression("immediate", |w| {
            w.u32(1, NFT_REG_VERDICT);
            w.nest(2, |w| verdict.write(w));
        })
    }
}

/// Any fixed number does; all nodes must have the same.
const HASH_SEED: u32 = 0x5ea_0a83;
