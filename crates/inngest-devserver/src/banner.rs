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
    let port = bound.port;
    let mut text = format!("\n\tInngest Dev Server online at {}, visible at the following URLs:\n\n", bound.shown);
    let mut url = |address: &str, note: &str| text.push_str(&format!("\t - http://{address}:{port}{note}\n"));
    url("127.0.0.1", &format!("  (http://localhost:{port})"));
    if let Some(address) = bound.all_interfaces.then(own_address).flatten() {
        url(&address.to_string(), "");
    }
    if bound.port != bound.wanted {
        text.push_str(&format!(
            "\n\tPort {} was taken. Your apps must be told: INNGEST_DEV=http://localhost:{port}\n",
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
        text.push_str(&format!("\tA demo app is running. Watch its runs: curl localhost:{port}/api/v1/runs\n"));
    } else if options.discovery && options.sdk_urls.is_empty() {
        text.push_str("\tLooking for apps on the usual ports. Start yours with INNGEST_DEV=1, or name it:\n");
        text.push_str("\tinngest dev --no-discovery -u http://localhost:3000/api/inngest\n");
    }
    let kept = if options.persist {
        options.sqlite_dir.display().to_string()
    } else {
        "until it stops (--persist keeps it)".into()
    };
    text.push_str(&format!("\tData is kept {}{kept}\n\n", if options.persist { "in " } else { "" }));
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

    #[test]
    fn the_banner_says_where_and_what_next() {
        let options = DevOptions::resolve(&Layers::default()).unwrap();
        let bound = |port| Bound {
            listeners: Vec::new(),
            port,
            wanted: 8288,
            shown: format!("0.0.0.0:{port}"),
            all_interfaces: true,
        };
        let usual = text(&bound(8288), &options);
        for part in
            ["Inngest Dev Server online at 0.0.0.0:8288", "http://127.0.0.1:8288", "all interfaces", "INNGEST_DEV=1"]
        {
            assert!(usual.contains(part), "{part} in {usual}");
        }
        assert!(!usual.contains("was taken"));
        let moved = text(&bound(8290), &options);
        assert!(
            moved.contains("Port 8288 was taken") && moved.contains("INNGEST_DEV=http://localhost:8290"),
            "{moved}"
        );
    }
}
