//! Hosts of a test's own: network namespaces joined by a bridge, where the system permits them.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::process::binary;

/// A host's number in the test's network.
pub type Host = u8;

/// Namespaces `0..hosts`; host 0 holds the bridge.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    hosts: Host,
}

static NETWORKS: AtomicU32 = AtomicU32::new(0);

impl Network {
    /// Builds a network.
    ///
    /// Errors: why the system does not permit it, for a test to print.
    pub fn new(hosts: Host) -> Result<Self, String> {
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("bl{}n{number}", std::process::id());
        // Dropped, and so cleaned up, also when a later step fails.
        let network = Self { prefix, hosts };
        for host in 0..hosts {
            network.ip(&["netns", "add", &network.name(host)])?;
            network.inside(host, &["link", "set", "lo", "up"])?;
        }
        network.inside(0, &["link", "add", "bridge", "type", "bridge"])?;
        network.inside(0, &["link", "set", "bridge", "up"])?;
        network.inside(0, &["address", "add", &format!("{}/24", Self::address(0)), "dev", "bridge"])?;
        for host in 1..hosts {
            let (near, far) = (format!("near{host}"), format!("far{host}"));
            network.inside(0, &["link", "add", &near, "type", "veth", "peer", "name", &far])?;
            network.inside(0, &["link", "set", &near, "master", "bridge", "up"])?;
            network.inside(0, &["link", "set", &far, "netns", &network.name(host)])?;
            network.inside(host, &["address", "add", &format!("{}/24", Self::address(host)), "dev", &far])?;
            network.inside(host, &["link", "set", &far, "up"])?;
        }
        Ok(network)
    }

    /// A host's address, which only this network's hosts reach.
    pub fn address(host: Host) -> String {
        format!("10.77.0.{}", host + 1)
    }

    /// Takes a host off the bridge: what it sends and what it is sent vanishes, and no side is told.
    pub fn cut_off(&self, host: Host) {
        let done = self.inside(0, &["link", "set", &format!("near{host}"), "nomaster"]);
        done.expect("a host can be taken off the bridge that it was put on");
    }

    /// Puts a host back on the bridge.
    pub fn heal(&self, host: Host) {
        let done = self.inside(0, &["link", "set", &format!("near{host}"), "master", "bridge"]);
        done.expect("a host can be put on the bridge again");
    }

    /// The program under test on a host, with a cleared environment, in `folder`.
    pub fn bitloop(&self, host: Host, folder: &Path, arguments: &[&str]) -> Command {
        // `ip netns exec` becomes the program, so that a signal reaches it.
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(host), "env", "-i"]).arg(binary()).args(arguments);
        command.current_dir(folder).stdin(Stdio::null());
        command
    }

    fn name(&self, host: Host) -> String {
        format!("{}h{host}", self.prefix)
    }

    fn inside(&self, host: Host, arguments: &[&str]) -> Result<(), String> {
        let name = self.name(host);
        self.ip(&[&["-netns", name.as_str()], arguments].concat())
    }

    fn ip(&self, arguments: &[&str]) -> Result<(), String> {
        let done = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
        let done = done.map_err(|error| format!("`ip` cannot be run: {error}"))?;
        if done.status.success() {
            return Ok(());
        }
        Err(format!("`ip {}`: {}", arguments.join(" "), String::from_utf8_lossy(&done.stderr).trim()))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in 0..self.hosts {
            // A namespace that was never made cannot be removed either.
            let _ = self.ip(&["netns", "delete", &self.name(host)]);
        }
    }
}
