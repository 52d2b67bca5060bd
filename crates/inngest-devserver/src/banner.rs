//! What a person sees in the terminal when the server is up.

use std::io::Write as _;
use std::net::{IpAddr, UdpSocket};

use inngest_config::DevOptions;

use crate::listen::Bound;

/// The terminal that the banner goes to.
#[derive(Clone, Copy, Debug)]
pub struct Terminal;

impl Terminal {
    pub(crate) fn print(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // A terminal that went away misses a banner, nothing else.
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            tracing::debug!("the banner could not be printed");
        }
    }
}

pub(crate) fn text(bound: &Bound, options: &DevOptions) -> String {
    let (port, base) = (bound.port, bound.url());
    let mut text = format!("\n\tInngest Dev Server online at {}, visible at the following URLs:\n\n", bound.shown);
    let localhost = if bound.reachable.ip().is_loopback() { format!("  ({base})") } else { String::new() };
    text.push_str(&format!("\t - http://{}{localhost}\n", bound.reachable));
    if let Some(address) = bound.all_interfaces.then(own_address).flatten() {
        text.push_str(&format!("\t - http://{address}:{port}\n"));
    }
    if bound.port != bound.wanted {
        text.push_str(&format!(
            "\n\tPORT {} WAS TAKEN, {port} IS USED. Apps must be told: INNGEST_DEV={base}\n",
            bound.wanted
        ));
    }
    if bound.all_interfaces {
        text.push_str(
            "\n\tIt listens on all interfaces, so that containers can call it; --host 127.0.0.1 narrows it.\n",
        );
    }
    text.push('\n');
    if options.demo {
        text.push_str(&format!(
            "\tA demo app is running. See its runs:\n\tcurl '{base}/api/v1/runs?include_output=true'\n"
        ));
    } else if options.discovery && options.sdk_urls.is_empty() {
        text.push_str("\tLooking for apps on the usual ports. Start yours with INNGEST_DEV=1, or name it:\n");
        text.push_str("\tinngest dev --no-discovery -u http://localhost:3000/api/inngest\n");
        text.push_str("\tNo app yet? inngest dev --demo brings one.\n");
    } else if options.sdk_urls.is_empty() {
        text.push_str("\tDiscovery is off and no app is named: waiting for apps that register themselves.\n");
    }
    if options.persist {
        text.push_str(&format!("\tData is kept in {}\n\n", options.sqlite_dir.display()));
    } else {
        text.push_str("\tData is kept until the server stops; --persist keeps it longer.\n\n");
    }
    text
}

/// The address that this machine would call others from. Nothing is sent to find out.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_loopback())
}

#[cfg(test)]
mod tests {
    use inngest_config::{DevOptions, Layers};

    use super::*;

    fn banner(host: &str, port: u16, flags: &[(&'static str, &str)]) -> String {
        let mut layers = Layers::default();
        layers.add_flags(flags.iter().map(|(name, value)| (*name, vec![(*value).to_owned()])));
        let address: IpAddr = host.parse().unwrap();
        let bound = Bound {
            listeners: Vec::new(),
            port,
            wanted: 8288,
            shown: format!("{host}:{port}"),
            all_interfaces: address.is_unspecified(),
            reachable: (if address.is_unspecified() { "127.0.0.1".parse().unwrap() } else { address }, port).into(),
        };
        text(&bound, &DevOptions::resolve(&layers).unwrap())
    }

    #[test]
    fn the_banner_says_where_and_what_next() {
        let usual = banner("0.0.0.0", 8288, &[]);
        for part in [
            "Inngest Dev Server online at 0.0.0.0:8288, visible at the following URLs:",
            " - http://127.0.0.1:8288  (http://localhost:8288)",
            "all interfaces",
            "INNGEST_DEV=1",
            "--no-discovery -u",
            "--persist keeps it longer",
        ] {
            assert!(usual.contains(part), "{part} in {usual}");
        }
        assert!(!usual.contains("WAS TAKEN"));
        let moved = banner("0.0.0.0", 8290, &[]);
        assert!(moved.contains("PORT 8288 WAS TAKEN, 8290 IS USED"), "{moved}");
        assert!(moved.contains("INNGEST_DEV=http://localhost:8290"), "{moved}");
    }

    #[test]
    fn the_banner_fits_the_options() {
        let narrow = banner("192.0.2.7", 8288, &[("demo", "true"), ("persist", "true"), ("sqlite-dir", "d")]);
        for part in [" - http://192.0.2.7:8288\n", "curl 'http://192.0.2.7:8288/api/v1/runs", "Data is kept in d\n"] {
            assert!(narrow.contains(part), "{part} in {narrow}");
        }
        assert!(!narrow.contains("all interfaces") && !narrow.contains("localhost"), "{narrow}");
        assert!(banner("127.0.0.1", 8288, &[("no-discovery", "true")]).contains("waiting for apps"));
        assert!(!banner("127.0.0.1", 8288, &[("sdk-url", "http://a")]).contains("usual ports"));
    }
}
