//! Names and numbers by which a machine, its ports and its language are known.

use std::fmt;

use super::error::Fault;

/// Longest host name: Linux's limit, which is below DNS's.
const HOST_NAME_BYTES_MAX: usize = 64;
/// Longest part of a host name (RFC 1123).
const HOST_LABEL_BYTES_MAX: usize = 63;
/// Longest interface name: Linux's limit.
const INTERFACE_NAME_BYTES_MAX: usize = 15;
/// Longest language tag that is of use (RFC 5646, 4.4.1).
const LANGUAGE_BYTES_MAX: usize = 35;

/// A host name as RFC 1123 has it, with or without a domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostName(String);

impl Default for HostName {
    fn default() -> Self {
        Self("nabi".to_owned())
    }
}

impl HostName {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let is_label = |label: &str| {
            (1..=HOST_LABEL_BYTES_MAX).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // RFC 1123, 2.1: the last part tells a name from an address.
        let like_an_address =
            text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if text.len() <= HOST_NAME_BYTES_MAX && text.split('.').all(is_label) && !like_an_address {
            Ok(Self(text.to_owned()))
        } else {
            Err(Fault::HostName(text.to_owned()))
        }
    }
}

/// A language tag (BCP 47), of which the form is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Language(String);

impl Default for Language {
    fn default() -> Self {
        Self("en".to_owned())
    }
}

impl Language {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let (language, rest) = text.split_once('-').map_or((text, None), |(first, rest)| (first, Some(rest)));
        let is_subtag = |subtag: &str| {
            (1..=8).contains(&subtag.len()) && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        let valid = text.len() <= LANGUAGE_BYTES_MAX
            && matches!(language.len(), 2 | 3)
            && language.bytes().all(|byte| byte.is_ascii_alphabetic())
            && rest.is_none_or(|rest| rest.split('-').all(is_subtag));
        if valid { Ok(Self(text.to_owned())) } else { Err(Fault::Language(text.to_owned())) }
    }
}

/// The name of a network interface. It becomes part of file names, and none of its characters has a
/// meaning in systemd's or nftables' files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InterfaceName(String);

impl InterfaceName {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let valid = (1..=INTERFACE_NAME_BYTES_MAX).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            // A number alone is an index to systemd; the others are Linux's own.
            && !text.bytes().all(|byte| byte.is_ascii_digit())
            && !["lo", "all", "default"].contains(&text);
        if valid { Ok(Self(text.to_owned())) } else { Err(Fault::InterfaceName(text.to_owned())) }
    }
}

/// The hardware address of one Ethernet port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let fault = || Fault::Mac(text.to_owned());
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(fault)?;
            // from_str_radix takes a sign, too.
            if !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(fault());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| fault())?;
        }
        // The lowest bit of the first octet marks addresses of groups.
        let one_port = octets[0] & 1 == 0 && octets != [0; 6];
        if parts.next().is_none() && one_port { Ok(Self(octets)) } else { Err(fault()) }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets: Vec<String> = self.0.iter().map(|octet| format!("{octet:02x}")).collect();
        f.write_str(&octets.join(":"))
    }
}

macro_rules! text_of {
    ($($name:ident),*) => {$(
        impl $name {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )*};
}

text_of!(HostName, Language, InterfaceName);

#[cfg(test)]
mod tests {
    use super::super::error::Fault;
    use super::{HostName, InterfaceName, Language, MacAddress};

    fn assert_each<T>(parse: fn(&str) -> Result<T, Fault>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(parse(text).is_ok(), "{text:?} must be accepted");
        }
        for text in bad {
            assert!(parse(text).is_err(), "{text:?} must be refused");
        }
    }

    #[test]
    fn names_are_what_their_standards_allow() {
        let label = "a".repeat(63);
        assert_each(
            HostName::parse,
            &["nabi", "AI-1.moj.gov.example", "3com", &label],
            &["", "-a", "a-", "a..b", "a.", "a b", "a_b", "모델", "10.0.0.1", "1234", &"a".repeat(64)],
        );
        assert!(HostName::parse(&format!("{label}.a")).is_err(), "65 bytes");
        assert_each(
            Language::parse,
            &["en", "ko", "ar", "pt-BR", "zh-Hant-TW", "yue"],
            &["", "e", "english", "en_US", "en-", "-en", "e1", "en-toolongpart"],
        );
        assert_each(
            InterfaceName::parse,
            &["eth0", "enp1s0f0np0", "eno1.10", "bond0", "wlan-0"],
            &["", "lo", "all", "0", ".", "-a", "a*", "a/b", "a b", "a\nb", "sixteen-letters-"],
        );
        assert_each(
            MacAddress::parse,
            &["52:54:00:12:34:56", "52-54-00-AB-cd-EF"],
            &[
                "",
                "52:54:00:12:34",
                "52:54:00:12:34:56:78",
                "52:54:0:12:34:56",
                "+2:54:00:12:34:56",
                "01:00:5e:00:00:01",
                "00:00:00:00:00:00",
                "ff:ff:ff:ff:ff:ff",
            ],
        );
    }
}
