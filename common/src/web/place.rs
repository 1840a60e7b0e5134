//! Where a page is to be, as it is typed.

use std::net::SocketAddr;
use std::str::FromStr;

use super::PagePlan;

impl FromStr for PagePlan {
    type Err = String;

    /// `off`, a port of loopback, or an address with a port.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let loopback = text.parse().map(|port: u16| SocketAddr::from(([127, 0, 0, 1], port)));
        let address = loopback.or_else(|_| text.parse::<SocketAddr>());
        address.map(Self::At).map_err(|_| "give a port, an address with a port such as 127.0.0.1:9481, or off".to_owned())
    }
}

/// A name with a port, as a browser sends it.
///
/// # Errors
/// When it is none.
pub fn parse_host(text: &str) -> Result<String, String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | ':' | '[' | ']');
    match text.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.parse::<u16>().is_ok() && text.chars().all(is_name) => Ok(text.to_owned()),
        _ => Err("give a name in small letters and a port, as in the address bar: nas.lan:9481".to_owned()),
    }
}

/// A page that others on the network can reach must be told by what name: the names of a machine are no secret, and a web site
/// could use any.
///
/// # Errors
/// When it can be reached and no name is told.
pub fn check_exposure(plan: PagePlan, hosts: &[String]) -> Result<(), String> {
    match plan {
        PagePlan::At(address) if !address.ip().is_loopback() && hosts.is_empty() => Err(format!(
            "at {address} others can reach the page: name it with --page-host NAME:PORT, or take --page 127.0.0.1:{} and a tunnel",
            address.port()
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_port_an_address_or_off() {
        for (text, plan) in [
            ("off", PagePlan::Off),
            ("0", PagePlan::At("127.0.0.1:0".parse().unwrap())),
            ("[::1]:9", PagePlan::At("[::1]:9".parse().unwrap())),
        ] {
            assert_eq!(text.parse(), Ok(plan), "{text}");
        }
        assert!(["", "localhost", "localhost:9481", "99999"].iter().all(|text| text.parse::<PagePlan>().is_err()));
        assert!(parse_host("nas.lan:9481").is_ok());
        assert!(["nas.lan", ":9481", "NAS:1", "a b:1", "http://nas:1", "nas:99999"].iter().all(|text| parse_host(text).is_err()));
    }

    #[test]
    fn a_page_for_others_needs_a_name() {
        let open = PagePlan::At("0.0.0.0:9481".parse().unwrap());
        assert!(check_exposure(open, &[]).is_err_and(|error| error.contains("--page-host")));
        assert!(check_exposure(open, &["nas.lan:9481".to_owned()]).is_ok());
        assert!(check_exposure(PagePlan::Default, &[]).is_ok());
    }
}
