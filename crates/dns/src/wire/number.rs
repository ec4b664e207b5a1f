//! Numbers of the DNS that this server speaks of (IANA, domain-name-system-parameters).

/// Record and question types.
pub mod kind {
    /// IPv4 address (RFC 1035).
    pub const A: u16 = 1;
    /// Name server (RFC 1035).
    pub const NS: u16 = 2;
    /// Another name (RFC 1035).
    pub const CNAME: u16 = 5;
    /// Start of a zone (RFC 1035).
    pub const SOA: u16 = 6;
    /// Name of an address (RFC 1035).
    pub const PTR: u16 = 12;
    /// Host information; the answer to ANY (RFC 8482).
    pub const HINFO: u16 = 13;
    /// Mail exchange (RFC 1035).
    pub const MX: u16 = 15;
    /// Text (RFC 1035).
    pub const TXT: u16 = 16;
    /// IPv6 address (RFC 3596).
    pub const AAAA: u16 = 28;
    /// Service location (RFC 2782).
    pub const SRV: u16 = 33;
    /// Redirection of a subtree (RFC 6672).
    pub const DNAME: u16 = 39;
    /// EDNS (RFC 6891).
    pub const OPT: u16 = 41;
    /// Signature over a record set (RFC 4034).
    pub const RRSIG: u16 = 46;
    /// Proof of absence (RFC 4034).
    pub const NSEC: u16 = 47;
    /// Proof of absence by hash (RFC 5155).
    pub const NSEC3: u16 = 50;
    /// Incremental transfer (RFC 1995).
    pub const IXFR: u16 = 251;
    /// Full transfer (RFC 5936).
    pub const AXFR: u16 = 252;
    /// Everything there is.
    pub const ANY: u16 = 255;
}

/// Classes.
pub mod class {
    /// The Internet.
    pub const IN: u16 = 1;
}

/// Response codes.
pub mod rcode {
    /// No error.
    pub const NOERROR: u8 = 0;
    /// The query cannot be read.
    pub const FORMERR: u8 = 1;
    /// The server could not find out.
    pub const SERVFAIL: u8 = 2;
    /// The name does not exist.
    pub const NXDOMAIN: u8 = 3;
    /// Such a request is not served.
    pub const NOTIMP: u8 = 4;
    /// Not for this client.
    pub const REFUSED: u8 = 5;
    /// A name that a redirection leads to would be too long (RFC 6672 §2.2).
    pub const YXDOMAIN: u8 = 6;
    /// Unknown EDNS version (RFC 6891 §6.1.3); its upper bits go into OPT.
    pub const BADVERS: u8 = 16;

    /// Names of response codes, as zone tools and CoreDNS's metrics write them.
    pub const NAMES: [&str; 16] = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH",
        "NOTZONE", "11", "12", "13", "14", "15",
    ];

    /// The name of a response code; only its four bits of the header count.
    #[must_use]
    pub fn name(rcode: u8) -> &'static str {
        NAMES.get(usize::from(rcode & 0xf)).copied().unwrap_or_default()
    }
}
